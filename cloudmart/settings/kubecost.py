"""Kubecost: which chart, how large, how long it remembers, and who pays for it.

Sizes are for a cluster of some hundred pods; Kubecost's own defaults aim at thousands, and leave several containers
without requests or limits. CPU limits are at most four times, memory limits at most twice the requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, Strict, model_validator

from cloudmart.settings.base import DnsLabel, Flag, LabelValue, MisfitError, Model, OwnNamespace, Resources, VolumeSize
from cloudmart.settings.charts import CHARTS, COST_ANALYZER, KUBECOST, Chart, ChartSource
from cloudmart.settings.layer import Layer, Workload, amounts
from cloudmart.settings.quantities import Bytes

_DNS_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"


class ChartName(StrEnum):
    """Kubecost's two charts: 3.x, and 2.x which brings its own Prometheus."""

    KUBECOST = KUBECOST.name
    COST_ANALYZER = COST_ANALYZER.name


class KubecostChart(ChartSource):
    """Which of the two charts, and where it comes from."""

    #: 3.x or 2.x.
    name: ChartName = ChartName.KUBECOST

    @property
    def resolved(self) -> Chart:
        """The chart at its version, from its place."""
        return self.of(CHARTS[self.name])

    @property
    def major_minor(self) -> tuple[int, int]:
        """The first two numbers of the version."""
        major, minor, _ = self.resolved.version.split(".", 2)
        return int(major), int(minor)

    @model_validator(mode="after")
    def _version_of_the_chart(self) -> Self:
        expected = {ChartName.KUBECOST: (3, 0), ChartName.COST_ANALYZER: (2, 8)}[self.name]
        if self.major_minor[0] != expected[0] or self.major_minor < expected:
            raise MisfitError(
                f"version {self.version} is not one of chart {self.name}; "
                f"allowed: {expected[0]}.{expected[1]} or later within {expected[0]}.x",
                ("version",),
                ("name",),
            )
        return self


class KubecostStorage(Model):
    """Sizes of the volumes. They can only grow, and only where the storage class lets them."""

    #: The cluster's default class where it is left out.
    storage_class: Annotated[str, Strict(), Field(pattern=_DNS_NAME, max_length=253)] | None = None
    #: 3.x: the aggregator's database.
    database: VolumeSize = Bytes("32Gi")
    #: 3.x: what the agent has collected, where there is no bucket. 2.x: the cost model's store.
    store: VolumeSize = Bytes("16Gi")
    #: 3.x: settings that people make in Kubecost's own pages; one such volume for the aggregator, one for cloud costs.
    configs: VolumeSize = Bytes("1Gi")
    #: 2.x: the bundled Prometheus.
    prometheus: VolumeSize = Bytes("32Gi")


class KubecostRetention(Model):
    """How long costs are remembered: `days` at daily, `hours` at hourly resolution."""

    #: Days at daily resolution.
    days: Annotated[int, Strict(), Field(ge=1, le=1095)] = 91
    #: Hours at hourly resolution. 2.x wants its Prometheus to hold more than this, and at least 50 hours.
    hours: Annotated[int, Strict(), Field(ge=1, le=720)] = 49


class OptionalComponent(Resources):
    """A part of Kubecost that can be left out."""

    #: Whether it runs.
    enabled: Flag


class KubecostComponents(Model):
    """Requests and limits of every container that the charts make.

    The pods that attribute network traffic (`networkCosts` in the charts) are left out for good: they are privileged
    and on the host's network, and the whole namespace would have to allow that.
    """

    #: Answers the queries. Both charts.
    aggregator: Resources = Resources(requests=amounts("250m", "3Gi"), limits=amounts("1", "4Gi"))
    #: Collects from the cluster. 3.x, and 2.9.
    agent: Resources = Resources(requests=amounts("200m", "512Mi"), limits=amounts("800m", "1Gi"))
    #: The web pages, and the way to the API. Both charts.
    frontend: Resources = Resources(requests=amounts("25m", "64Mi"), limits=amounts("100m", "128Mi"))
    #: Keeps what the agent collects, where there is no bucket. 3.x.
    local_store: Resources = Resources(requests=amounts("100m", "512Mi"), limits=amounts("400m", "1Gi"))
    #: Reads the cloud's bill; runs in 3.x where `cloudIntegrationSecret` is given, and always in 2.x.
    cloud_cost: Resources = Resources(requests=amounts("50m", "256Mi"), limits=amounts("200m", "512Mi"))
    #: Collects from the cluster. 2.x.
    cost_model: Resources = Resources(requests=amounts("200m", "512Mi"), limits=amounts("800m", "1Gi"))
    #: 2.x.
    prometheus: Resources = Resources(requests=amounts("250m", "1Gi"), limits=amounts("1", "2Gi"))
    forecasting: OptionalComponent = OptionalComponent(
        enabled=True, requests=amounts("200m", "512Mi"), limits=amounts("800m", "1Gi")
    )
    #: Off: it resizes workloads and deletes namespaces by itself, which the next `pulumi up` would undo.
    cluster_controller: OptionalComponent = OptionalComponent(
        enabled=False, requests=amounts("50m", "128Mi"), limits=amounts("200m", "256Mi")
    )


class KubecostSettings(Layer):
    """The Kubecost layer of a stack."""

    enabled: Flag = True
    namespace: OwnNamespace = "kubecost"
    chart: KubecostChart = KubecostChart()
    #: Names the cluster in every allocation, and must differ between clusters that share a bucket; project and stack
    #: where it is left out.
    cluster_id: LabelValue | None = None
    storage: KubecostStorage = KubecostStorage()
    retention: KubecostRetention = KubecostRetention()
    components: KubecostComponents = KubecostComponents()
    #: Secret in Kubecost's namespace with the key ``federated-store.yaml``: a bucket for long-term storage.
    federated_storage_secret: DnsLabel | None = None
    #: Secret in Kubecost's namespace with the key ``cloud-integration.json``: reads the cloud's bill.
    cloud_integration_secret: DnsLabel | None = None
    #: Registry that mirrors the images (3.x); the chart's own where it is left out.
    image_registry: Annotated[str, Strict(), Field(pattern=r"^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._/-]+)?$")] | None = None
    #: Secrets of Kubecost's namespace that the registry asks for.
    image_pull_secrets: tuple[DnsLabel, ...] = ()
    #: Namespaces whose pods may call the API, besides Kubecost's own.
    api_clients: tuple[DnsLabel, ...] = ()
    #: Sends usage statistics to the vendor.
    telemetry: Flag = False

    @model_validator(mode="after")
    def _what_the_chart_can_do(self) -> Self:
        if self.is_v3:
            return self
        if self.image_registry is not None:
            raise MisfitError(
                "imageRegistry with chart cost-analyzer; allowed: only with chart kubecost",
                ("imageRegistry",),
                ("chart", "name"),
            )
        if self.has_agent != (self.federated_storage_secret is not None):
            version = self.chart.resolved.version
            raise MisfitError(
                f"chart cost-analyzer {version} without federatedStorageSecret; allowed: with it, because 2.9 only "
                "prepares an upgrade to 3.x, or version 2.8"
                if self.has_agent
                else f"federatedStorageSecret with chart cost-analyzer {version}; allowed: 2.9, or chart kubecost",
                ("federatedStorageSecret",),
                ("chart", "version"),
                ("chart", "name"),
            )
        return self

    @property
    def is_v3(self) -> bool:
        """Whether this is chart ``kubecost`` (3.x)."""
        return self.chart.name is ChartName.KUBECOST

    @property
    def has_agent(self) -> bool:
        """Whether the chart runs the FinOps agent: all of 3.x, and 2.9."""
        return self.chart.major_minor >= (2, 9)

    @property
    def charts(self) -> Mapping[str, Chart]:
        return {"chart": self.chart.resolved}

    @property
    def workloads(self) -> Mapping[str, Workload]:
        return {name: Workload(requests=part.requests, limits=part.limits) for name, part in self.containers.items()}

    @property
    def containers(self) -> dict[str, Resources]:
        """What runs, by its key under `components`: one container each."""
        parts = self.components
        found: dict[str, Resources] = {"aggregator": parts.aggregator, "frontend": parts.frontend}
        if self.has_agent:
            found["agent"] = parts.agent
        if self.is_v3 and self.federated_storage_secret is None:
            found["localStore"] = parts.local_store
        if not self.is_v3:
            found |= {"costModel": parts.cost_model, "prometheus": parts.prometheus}
        if not self.is_v3 or self.cloud_integration_secret is not None:
            found["cloudCost"] = parts.cloud_cost
        optional = {"forecasting": parts.forecasting, "clusterController": parts.cluster_controller}
        return found | {name: part for name, part in optional.items() if part.enabled}

    @property
    def volumes(self) -> dict[str, Bytes]:
        """The volume claims that the chart makes: what each is for, and its size."""
        storage = self.storage
        if not self.is_v3:
            agent = {"agent": storage.configs} if self.has_agent else {}
            return {"store": storage.store, "prometheus": storage.prometheus} | agent
        found = {"database": storage.database, "configs": storage.configs}
        if "localStore" in self.containers:
            found["store"] = storage.store
        if "cloudCost" in self.containers:
            found["cloudCost"] = storage.configs
        return found
