"""Helm charts that this project installs: one table, each at a pinned version, and where a stack may take them from.

Knows no Pulumi: the components, the reachability check and the policies all read this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, Strict, model_validator

from cloudmart.settings.base import MisfitError, Model


class Source(StrEnum):
    """The kinds of places that a chart can be taken from."""

    REPOSITORY = "repository"
    OCI = "oci"
    PATH = "path"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart at one version, and where it is.

    `repo` is the URL of a chart repository, the whole ``oci://`` reference of the chart without its tag, or the path
    of a chart's folder or archive relative to the project's root; `source` says which of the three.
    """

    name: str
    version: str
    repo: str
    source: Source = Source.REPOSITORY

    @property
    def reference(self) -> str:
        """What Helm is to be given as the chart: its name in a repository, else the place itself."""
        if self.source is Source.REPOSITORY:
            return self.name
        # A bare `charts/x` would be read as chart x of a repository called charts.
        relative = self.source is Source.PATH and not self.repo.startswith(("/", "./", "../"))
        return f"./{self.repo}" if relative else self.repo

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


# renovate: datasource=helm depName=kubecost registryUrl=https://kubecost.github.io/kubecost/
KUBECOST = Chart(name="kubecost", version="3.2.1", repo="https://kubecost.github.io/kubecost/")

# The last 2.x that stands alone: 2.9 only prepares an upgrade to 3.x, and refuses to install without object storage.
# renovate: datasource=helm depName=cost-analyzer registryUrl=https://kubecost.github.io/cost-analyzer/
COST_ANALYZER = Chart(name="cost-analyzer", version="2.8.7", repo="https://kubecost.github.io/cost-analyzer/")

# renovate: datasource=helm depName=ingress registryUrl=https://charts.konghq.com
KONG = Chart(name="ingress", version="0.24.0", repo="https://charts.konghq.com")

# The four charts of Istio are released together, under one version.
# renovate: datasource=helm depName=base registryUrl=https://istio-release.storage.googleapis.com/charts
ISTIO_BASE = Chart(name="base", version="1.30.3", repo="https://istio-release.storage.googleapis.com/charts")

# renovate: datasource=helm depName=istiod registryUrl=https://istio-release.storage.googleapis.com/charts
ISTIOD = Chart(name="istiod", version="1.30.3", repo="https://istio-release.storage.googleapis.com/charts")

# renovate: datasource=helm depName=cni registryUrl=https://istio-release.storage.googleapis.com/charts
ISTIO_CNI = Chart(name="cni", version="1.30.3", repo="https://istio-release.storage.googleapis.com/charts")

# renovate: datasource=helm depName=ztunnel registryUrl=https://istio-release.storage.googleapis.com/charts
ZTUNNEL = Chart(name="ztunnel", version="1.30.3", repo="https://istio-release.storage.googleapis.com/charts")

# renovate: datasource=helm depName=gatekeeper registryUrl=https://open-policy-agent.github.io/gatekeeper/charts
GATEKEEPER = Chart(name="gatekeeper", version="3.23.0", repo="https://open-policy-agent.github.io/gatekeeper/charts")

# renovate: datasource=helm depName=argo-cd registryUrl=https://argoproj.github.io/argo-helm
ARGO_CD = Chart(name="argo-cd", version="10.1.1", repo="https://argoproj.github.io/argo-helm")

# renovate: datasource=helm depName=kube-prometheus-stack registryUrl=https://prometheus-community.github.io/helm-charts
KUBE_PROMETHEUS_STACK = Chart(
    name="kube-prometheus-stack", version="88.5.3", repo="https://prometheus-community.github.io/helm-charts"
)

# renovate: datasource=helm depName=metrics-server registryUrl=https://kubernetes-sigs.github.io/metrics-server/
METRICS_SERVER = Chart(
    name="metrics-server", version="3.13.1", repo="https://kubernetes-sigs.github.io/metrics-server/"
)

# renovate: datasource=helm depName=vertical-pod-autoscaler registryUrl=https://kubernetes.github.io/autoscaler
VERTICAL_POD_AUTOSCALER = Chart(
    name="vertical-pod-autoscaler", version="0.11.0", repo="https://kubernetes.github.io/autoscaler"
)

# renovate: datasource=helm depName=cloudnative-pg registryUrl=https://cloudnative-pg.github.io/charts
CLOUDNATIVE_PG = Chart(name="cloudnative-pg", version="0.29.0", repo="https://cloudnative-pg.github.io/charts")

# renovate: datasource=helm depName=strimzi-kafka-operator registryUrl=https://strimzi.io/charts/
STRIMZI = Chart(name="strimzi-kafka-operator", version="1.2.0", repo="https://strimzi.io/charts/")

# renovate: datasource=helm depName=plugin-barman-cloud registryUrl=https://cloudnative-pg.github.io/charts
BARMAN_CLOUD = Chart(name="plugin-barman-cloud", version="0.7.0", repo="https://cloudnative-pg.github.io/charts")

# renovate: datasource=helm depName=redis-ha registryUrl=https://dandydeveloper.github.io/charts
REDIS_HA = Chart(name="redis-ha", version="4.39.0", repo="https://dandydeveloper.github.io/charts")

#: Every chart, by its name.
CHARTS = {
    chart.name: chart
    for chart in (
        KUBECOST,
        COST_ANALYZER,
        KONG,
        ISTIO_BASE,
        ISTIOD,
        ISTIO_CNI,
        ZTUNNEL,
        GATEKEEPER,
        ARGO_CD,
        KUBE_PROMETHEUS_STACK,
        METRICS_SERVER,
        VERTICAL_POD_AUTOSCALER,
        CLOUDNATIVE_PG,
        STRIMZI,
        BARMAN_CLOUD,
        REDIS_HA,
    )
}

# No user name or password in an address: they would stand in the state and in every preview.
_HOST_AND_PATH = r"[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?$"


class ChartSource(Model):
    """Where a stack takes a chart from, where that is not what the table says. At most one of the three places."""

    #: A version that is not the table's; for a local path, the version that its Chart.yaml must have.
    version: Annotated[str, Strict(), Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$")] | None = None
    #: URL of a chart repository, such as a mirror.
    repo: Annotated[str, Strict(), Field(pattern=rf"^https?://{_HOST_AND_PATH}", max_length=500)] | None = None
    #: Reference of the chart in an OCI registry, without a tag: ``oci://registry.example.com/charts/kubecost``.
    oci: Annotated[str, Strict(), Field(pattern=rf"^oci://{_HOST_AND_PATH}", max_length=500)] | None = None
    #: A chart's folder or ``.tgz`` archive, relative to the project's root.
    path: Annotated[str, Strict(), Field(min_length=1, max_length=500)] | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = [key for key in ("repo", "oci", "path") if getattr(self, key) is not None]
        if len(given) > 1:
            raise MisfitError(
                f"{' and '.join(given)} are given; allowed: one of repo, oci and path, or none of them",
                *[(key,) for key in given],
            )
        return self

    def _places(self) -> dict[Source, str]:
        places = {Source.REPOSITORY: self.repo, Source.OCI: self.oci, Source.PATH: self.path}
        return {source: place for source, place in places.items() if place is not None}

    def of(self, chart: Chart) -> Chart:
        """The chart of the table, at the version and from the place that the stack wants it from."""
        for source, place in self._places().items():
            chart = replace(chart, repo=place, source=source)
        return replace(chart, version=self.version or chart.version)
