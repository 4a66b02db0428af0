"""The gateway: Kong, as controller and data plane of the Gateway API."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, Strict, model_validator

from cloudmart.settings.base import (
    DnsLabel,
    Flag,
    FrozenMapping,
    HostName,
    MisfitError,
    Model,
    OwnNamespace,
    Positive,
    Seconds,
)
from cloudmart.settings.charts import KONG, Chart, ChartSource
from cloudmart.settings.layer import Layer, Workload, workload
from cloudmart.settings.service import Criticality

# As new as what the local cluster checks against; the controller needs 1.3 or later.
# renovate: datasource=github-releases depName=kubernetes-sigs/gateway-api
GATEWAY_API_VERSION = "v1.6.3"


class ServiceType(StrEnum):
    """How the proxy is reached."""

    #: By a load balancer of the cloud's, which costs by the hour.
    LOAD_BALANCER = "LoadBalancer"
    #: From within the cluster alone: by `kubectl port-forward`, or by a load balancer that somebody else runs.
    CLUSTER_IP = "ClusterIP"


class GatewayService(Model):
    """The Service in front of the proxy's pods."""

    #: How it is reached.
    type: ServiceType = ServiceType.CLUSTER_IP
    #: What the cloud's load balancer reads, such as its kind and whether it is internal.
    annotations: FrozenMapping[str, Annotated[str, Strict()]] = Field(default={}, validate_default=True)


class GatewayTls(Model):
    """HTTPS, and no HTTP beside it: a token that was once sent in plain is no secret any more."""

    #: The Secret with certificate and key (type ``kubernetes.io/tls``) in the gateway's namespace.
    secret: DnsLabel
    #: The ClusterIssuer from which cert-manager is to get it; left out, somebody else puts the Secret there.
    cluster_issuer: DnsLabel | None = None


class Cors(Model):
    """Which other origins' pages may call the API from a browser."""

    #: Whose pages may call, each written out.
    origins: Annotated[
        tuple[Annotated[str, Strict(), Field(pattern=r"^https?://[a-z0-9.-]+(:[0-9]{1,5})?$", max_length=300)], ...],
        Field(min_length=1),
    ]
    #: How long a browser may keep the answer to its preflight request.
    max_age_seconds: Seconds = 3600


class RequestsPerMinute(Model):
    """How many requests one client address may make on one route, by the criticality of the service behind it.

    Counted by each of the proxy's pods for itself. The more critical a service, the later is a caller turned away: the
    limit is for abuse, not for load.
    """

    #: Of services of criticality `critical`.
    critical: Positive = 1200
    #: Of `high`.
    high: Positive = 600
    #: Of `standard`.
    standard: Positive = 300
    #: Of `low`.
    low: Positive = 120

    def of(self, criticality: Criticality) -> int:
        """The limit for services of a criticality."""
        limits = {
            Criticality.CRITICAL: self.critical,
            Criticality.HIGH: self.high,
            Criticality.STANDARD: self.standard,
            Criticality.LOW: self.low,
        }
        return limits[criticality]


class GatewayCrds(Model):
    """The definitions of the Gateway API's kinds, which no chart of Kong's brings."""

    #: False where the cluster has them already.
    install: Flag = True
    #: URL or path (relative to the project's root) of their manifest.
    source: Annotated[str, Strict(), Field(min_length=1, max_length=500)] = (
        f"https://github.com/kubernetes-sigs/gateway-api/releases/download/{GATEWAY_API_VERSION}/standard-install.yaml"
    )


class GatewaySettings(Layer):
    """Lets the declared routes in from outside the cluster, and nothing else."""

    namespace: OwnNamespace = "gateway"
    chart: ChartSource = ChartSource()
    controller: Workload = workload(requests=("100m", "128Mi"), limits=("400m", "256Mi"))
    #: A fixed number of pods: rate limits are counted by each for itself, and would grow with the load otherwise.
    proxy: Workload = workload(requests=("200m", "512Mi"), limits=("800m", "1Gi"), replicas=2)
    #: The name that requests must be for; any where it is left out.
    host: HostName | None = None
    #: HTTP on port 80 where it is left out.
    tls: GatewayTls | None = None
    service: GatewayService = Field(default_factory=GatewayService)
    #: Left out, browsers let no other origin's pages read answers.
    cors: Cors | None = None
    requests_per_minute: RequestsPerMinute = RequestsPerMinute()
    #: The largest body of a request.
    max_request_kilobytes: Annotated[int, Strict(), Field(ge=1, le=1_048_576)] = 1024
    #: Whether Kong checks its objects when they are written. It only warns of none: without an answer they are let by.
    webhook: Flag = True
    crds: GatewayCrds = GatewayCrds()

    CHARTS: ClassVar[Mapping[str, Chart]] = {"chart": KONG}

    @model_validator(mode="after")
    def _issuer_knows_the_host(self) -> Self:
        if self.tls is not None and self.tls.cluster_issuer is not None and self.host is None:
            raise MisfitError(
                "tls.clusterIssuer without host; allowed: both, because a certificate is for a name",
                ("tls", "clusterIssuer"),
                ("host",),
            )
        return self

    @property
    def workloads(self) -> Mapping[str, Workload]:
        return {"controller": self.controller, "proxy": self.proxy}

    @property
    def manifests(self) -> Mapping[str, str]:
        return {"crds.source": self.crds.source} if self.crds.install else {}

    @property
    def pod_labels(self) -> Mapping[str, str]:
        """Labels of the data plane's pods: they are the ones that call services."""
        return {"app.kubernetes.io/name": "gateway", "app.kubernetes.io/instance": "kong"}

    @property
    def service_account(self) -> str:
        """The data plane's service account."""
        return "kong-gateway"
