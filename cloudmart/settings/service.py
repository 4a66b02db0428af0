"""A service: what it is, what it needs, how it scales. Everything else about it is derived from this."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, Strict, model_validator

from cloudmart.settings.base import (
    AddressOrCidr,
    Cidr,
    Count,
    DnsLabel,
    EnvName,
    Flag,
    FrozenMapping,
    HostName,
    Image,
    LabelValue,
    MisfitError,
    Model,
    OwnNamespace,
    Percent,
    Port,
    Positive,
    Resources,
    Seconds,
    ServiceName,
    Text,
)


class Criticality(StrEnum):
    """How much an outage hurts; decides the priority class, and with it who is evicted last."""

    CRITICAL = "critical"
    HIGH = "high"
    STANDARD = "standard"
    LOW = "low"


class Traffic(StrEnum):
    """The shape of a service's load, as the catalog describes it."""

    STEADY = "steady"
    HIGH = "high"
    BURSTS = "bursts"
    LOW = "low"


class ScalingPolicy(Model):
    """How fast one direction may go: at most `percent` of the current replicas in every `periodSeconds`."""

    #: How long a recommendation must hold before it is followed.
    window_seconds: Annotated[int, Strict(), Field(ge=0, le=3600)]
    #: Most that is added or taken away in a period, in percent of what there is.
    percent: Annotated[int, Strict(), Field(ge=1, le=1000)]
    #: The period.
    period_seconds: Annotated[int, Strict(), Field(ge=1, le=1800)]


class Autoscaling(Model):
    """A HorizontalPodAutoscaler: bounds, and target utilization as a percentage of the *requests*."""

    #: Fewest replicas.
    min: Positive
    #: Most replicas.
    max: Positive
    #: Percent of the CPU request; null switches it off.
    cpu: Percent | None = None
    #: Percent of the memory request.
    memory: Percent | None = None
    #: How fast replicas may go.
    scale_down: ScalingPolicy = ScalingPolicy(window_seconds=300, percent=50, period_seconds=60)
    #: How fast replicas may come.
    scale_up: ScalingPolicy = ScalingPolicy(window_seconds=0, percent=100, period_seconds=30)

    @model_validator(mode="after")
    def _bounds_and_target(self) -> Self:
        if self.min > self.max:
            raise MisfitError(f"min {self.min} is above max {self.max}; allowed: min up to max", ("min",), ("max",))
        if self.cpu is None and self.memory is None:
            raise MisfitError(
                "neither cpu nor memory has a target; allowed: one or both, in percent of the requests",
                ("cpu",),
                ("memory",),
            )
        return self


class RouteAuth(StrEnum):
    """What a route asks of its callers."""

    #: A valid token of the identity layer's issuer.
    JWT = "jwt"
    #: Nothing. Never a default: who wants it has to write it.
    ANONYMOUS = "anonymous"


class HttpMethod(StrEnum):
    """Methods that a route can be limited to."""

    GET = "GET"
    HEAD = "HEAD"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"
    OPTIONS = "OPTIONS"


# A part of a path.
_PART = r"\.?[A-Za-z0-9_~-][A-Za-z0-9_.~-]*"


class Route(Model):
    """A path, with all below it, at which the gateway lets requests in from outside."""

    # One spelling for each path: no empty, `.` or `..` parts, and none at the end.
    #: The path, with all below it. The longest that fits a request wins.
    path: Annotated[str, Strict(), Field(pattern=rf"^/({_PART}(/{_PART})*)?$", max_length=200)]
    #: All methods where it is left out.
    methods: tuple[HttpMethod, ...] = ()
    #: What callers must bring.
    auth: RouteAuth = RouteAuth.JWT

    def overlaps(self, other: Route) -> bool:
        """Whether a request can be for both, neither of which is the longer path."""
        mine, theirs = self.methods or tuple(HttpMethod), other.methods or tuple(HttpMethod)
        return self.path == other.path and not set(mine).isdisjoint(theirs)


class Probe(Model):
    """An HTTP probe on the container's port."""

    #: Where it asks.
    path: Annotated[str, Strict(), Field(pattern=r"^/[A-Za-z0-9/_.~-]*$", max_length=200)]
    #: Seconds before the first.
    initial_delay_seconds: Seconds
    #: Seconds between two.
    period_seconds: Annotated[int, Strict(), Field(ge=1, le=3600)]
    #: Seconds until no answer is a failure.
    timeout_seconds: Annotated[int, Strict(), Field(ge=1, le=3600)] = 2
    #: Failures in a row that count.
    failure_threshold: Positive = 3


class RetryOn(StrEnum):
    """What a proxy may try again after, in Envoy's terms (x-envoy-retry-on)."""

    #: No connection came about.
    CONNECT_FAILURE = "connect-failure"
    #: HTTP/2 only: the server says that it has not looked at the request.
    REFUSED_STREAM = "refused-stream"
    #: The connection broke before a request was sent over it.
    RESET_BEFORE_REQUEST = "reset-before-request"
    #: The connection broke, or no answer came within the time of one try.
    RESET = "reset"
    #: 502, 503 or 504.
    GATEWAY_ERROR = "gateway-error"
    #: Any 5xx, and all of the above.
    SERVER_ERROR = "5xx"


class Retries(Model):
    """How often a caller's proxy tries again.

    `retryOn` holds for idempotent methods alone (RFC 9110, 9.2.2). Others, POST above all, are tried again only when no
    server can have seen the request: a second POST could be a second payment.
    """

    #: Tries after the first; 0 for none.
    attempts: Annotated[int, Strict(), Field(ge=0, le=10)] = 2
    #: Time for each try of an idempotent request. Others have the whole time limit for one.
    per_try_timeout_seconds: Annotated[int, Strict(), Field(ge=1, le=3600)] = 5
    #: What is tried again.
    retry_on: Annotated[tuple[RetryOn, ...], Field(min_length=1)] = (
        RetryOn.CONNECT_FAILURE,
        RetryOn.REFUSED_STREAM,
        RetryOn.RESET,
        RetryOn.GATEWAY_ERROR,
    )


class OutlierDetection(Model):
    """When callers leave a pod out that keeps failing."""

    #: Failed requests in a row: 502, 503, 504, time limits, broken connections.
    consecutive_errors: Positive = 5
    #: How often pods are judged.
    interval_seconds: Annotated[int, Strict(), Field(ge=1, le=3600)] = 10
    #: How long a pod is left out the first time; it grows with every further time.
    ejection_seconds: Annotated[int, Strict(), Field(ge=1, le=3600)] = 30
    #: Most of a service's pods that are left out at once, in percent: the last one never is.
    max_ejection_percent: Annotated[int, Strict(), Field(ge=1, le=99)] = 50


class Resilience(Model):
    """How callers in the mesh deal with a service that is slow or failing."""

    #: From the request to the last byte of the answer, tries and all.
    timeout_seconds: Annotated[int, Strict(), Field(ge=1, le=3600)] = 15
    #: How often a caller's proxy tries again.
    retries: Retries = Retries()
    #: By the service's criticality where it is left out.
    outlier_detection: OutlierDetection | None = None
    #: Connections that one caller's pod may have open, and requests that may wait in it for one. More are refused at
    #: once: a caller that queues without bound falls with the service that it calls.
    max_connections: Positive = 100
    #: See `maxConnections`.
    max_pending_requests: Positive = 100

    @model_validator(mode="after")
    def _tries_fit(self) -> Self:
        if self.retries.per_try_timeout_seconds > self.timeout_seconds:
            raise MisfitError(
                f"retries.perTryTimeoutSeconds {self.retries.per_try_timeout_seconds} is above timeoutSeconds "
                f"{self.timeout_seconds}; allowed: up to {self.timeout_seconds}",
                ("retries", "perTryTimeoutSeconds"),
                ("timeoutSeconds",),
            )
        return self


#: What many people wait for: a pod that fails is found sooner, and given more time to recover.
_STRICT_OUTLIERS = OutlierDetection(consecutive_errors=3, interval_seconds=5, ejection_seconds=60)


class Metrics(Model):
    """Where a service's own image answers with its metrics, in Prometheus' text format."""

    #: The container's port where it is left out.
    port: Port | None = None
    #: Where it answers.
    path: Annotated[str, Strict(), Field(pattern=r"^/[A-Za-z0-9/_.~-]*$", max_length=200)] = "/metrics"


#: Bounds that the histograms of Istio, of Kong and of Prometheus' client libraries have in common: only at a bound is
#: the share of slow requests exact.
Milliseconds = Literal[25, 50, 100, 250, 1000, 5000, 10000]


class Objective(Model):
    """What a service promises its callers, over 30 days: an SLO."""

    #: Percent of the requests that are not answered with 5xx. Below 95 the fastest burn rate, 14.4, could not be told
    #: from a total outage.
    availability: Annotated[float, Field(ge=95, lt=100)]
    #: Percent of the requests that are answered within `milliseconds`.
    fast: Annotated[float, Field(ge=95, lt=100)]
    #: The bound that `fast` is about.
    milliseconds: Milliseconds


class OwnObjective(Model):
    """What a service promises where it is not what its criticality says."""

    #: Percent of the requests that are not answered with 5xx.
    availability: Annotated[float, Field(ge=95, lt=100)] | None = None
    #: Percent of the requests that are answered within `milliseconds`.
    fast: Annotated[float, Field(ge=95, lt=100)] | None = None
    #: The bound that `fast` is about.
    milliseconds: Milliseconds | None = None


class SecretKey(Model):
    """One key of a Kubernetes Secret that exists apart from the program."""

    #: The Secret.
    name: DnsLabel
    #: Its key.
    key: Annotated[str, Strict(), Field(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]


class ServiceTopics(Model):
    """The topics of Kafka that a service uses; each must stand in `data.kafka.topics`."""

    #: Topics that it writes to.
    produces: tuple[Annotated[str, Strict()], ...] = ()
    #: Topics that it reads.
    consumes: tuple[Annotated[str, Strict()], ...] = ()


class Service(Model):
    """One microservice. `needs` names services, stores and externals: each is an edge, and is written only here."""

    #: What it does, for people.
    description: Text
    #: How much an outage hurts: decides priority, objectives and rate limits.
    criticality: Criticality
    #: The shape of its load, for `cloudmart local load`.
    traffic: Traffic
    #: Who pays; the namespace's cost center where it is left out.
    cost_center: LabelValue | None = None
    #: Who runs it; the namespace's team where it is left out.
    team: LabelValue | None = None
    #: The label `tier`.
    tier: LabelValue = "backend"
    #: The label `version`.
    version: LabelValue = "v1"
    #: The placeholder web server where a team has no image yet.
    image: Image | None = None
    #: Replicas at the start; the autoscaler moves them within its bounds.
    replicas: Positive
    #: Requests and limits of its container.
    resources: Resources
    #: Left out, the number of replicas is fixed.
    autoscaling: Autoscaling | None = None
    #: Services, stores and externals that it calls. All that leads there follows from this.
    needs: tuple[ServiceName, ...] = ()
    #: What it does with Kafka, where it needs that. Users and their rights are made from it in mode `operator`.
    topics: ServiceTopics = ServiceTopics()
    #: What the gateway lets in; a service without routes is not reachable from outside.
    routes: Annotated[tuple[Route, ...], Field(max_length=16)] = ()
    #: Environment variables, in plain. They count before those that follow from an edge.
    env: FrozenMapping[EnvName, Annotated[str, Strict()]] = Field(default={}, validate_default=True)
    #: Environment variables from Secrets that exist apart from the program.
    secret_env: FrozenMapping[EnvName, SecretKey] = Field(default={}, validate_default=True)
    #: The port that the container listens on.
    container_port: Port = 8080
    #: A pod that fails it is restarted.
    liveness: Probe = Probe(path="/health", initial_delay_seconds=30, period_seconds=10)
    #: A pod that fails it gets no requests.
    readiness: Probe = Probe(path="/ready", initial_delay_seconds=10, period_seconds=5)
    #: How long a pod has to stay ready until the rollout goes on to the next one; less than the rollout's deadline.
    min_ready_seconds: Annotated[int, Strict(), Field(ge=0, le=240)] = 5
    #: What callers' proxies do where there is a mesh.
    resilience: Resilience = Resilience()
    #: Where its own metrics are; it needs an image of its own.
    metrics: Metrics | None = None
    #: What it promises where that is not what its criticality says.
    slo: OwnObjective = OwnObjective()
    #: Time between "leave the endpoints" and SIGTERM, so that clients and proxies have stopped sending.
    pre_stop_seconds: Seconds = 5
    #: Time that a pod has to stop, `preStopSeconds` included.
    termination_grace_seconds: Seconds = 30

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        scaling = self.autoscaling
        if scaling and not scaling.min <= self.replicas <= scaling.max:
            raise MisfitError(
                f"replicas {self.replicas} is outside the autoscaling range; allowed: {scaling.min} to {scaling.max}",
                ("replicas",),
                ("autoscaling", "min" if self.replicas < scaling.min else "max"),
            )
        if self.pre_stop_seconds >= self.termination_grace_seconds:
            raise MisfitError(
                f"preStopSeconds {self.pre_stop_seconds} leaves nothing of terminationGraceSeconds "
                f"{self.termination_grace_seconds}; allowed: less than that",
                ("preStopSeconds",),
                ("terminationGraceSeconds",),
            )
        if self.metrics and self.image is None:
            raise MisfitError(
                "metrics is given and image is not: the placeholder has none; allowed: both, or no metrics",
                ("metrics",),
                ("image",),
            )
        if both := sorted(self.env.keys() & self.secret_env.keys()):
            raise MisfitError(
                f"{both[0]} stands in env and in secretEnv; allowed: one of the two",
                ("secretEnv", both[0]),
                ("env", both[0]),
            )
        for index, target in enumerate(self.needs):
            if target in self.needs[:index]:
                raise MisfitError(f"{target!r} a second time; allowed: each once", ("needs", index))
        return self

    @property
    def metrics_port(self) -> int | None:
        """The port of the service's own metrics; None where it has none."""
        return (self.metrics.port or self.container_port) if self.metrics else None

    @property
    def min_replicas(self) -> int:
        """The fewest replicas that run: the HPA's lower bound, or the fixed number."""
        return self.autoscaling.min if self.autoscaling else self.replicas

    @property
    def max_replicas(self) -> int:
        """The most replicas that run: the HPA's upper bound, or the fixed number."""
        return self.autoscaling.max if self.autoscaling else self.replicas

    @property
    def outlier_detection(self) -> OutlierDetection:
        """What is declared, else what the criticality asks for."""
        by_criticality = _STRICT_OUTLIERS if self.criticality is Criticality.CRITICAL else OutlierDetection()
        return self.resilience.outlier_detection or by_criticality


class External(Model):
    """Something outside the cluster that a service calls."""

    #: What it is, for people.
    description: Text
    #: Its name.
    host: HostName
    #: Its port.
    port: Port = 443
    #: What is spoken there.
    scheme: Literal["https", "http"] = "https"
    #: Where its addresses lie, as far as it says so; NetworkPolicies know no host names. Default: everything but
    #: private ranges.
    cidrs: tuple[Cidr, ...] = ()


class CostCenter(Model):
    """An entry of the closed registry: nothing is billed to a code that is not in it."""

    #: What it is called.
    name: Text
    #: The team that answers for it.
    owner: LabelValue


class Headroom(Model):
    """Room that the quota leaves above the services' maxima, in percent: rolling updates, and an operator's pod."""

    #: Of CPU.
    cpu_percent: Count = 20
    #: Of memory.
    memory_percent: Count = 20


#: On what other stacks could take for theirs, namespaces and priority classes: the stack.
STACK_OF = "cloudmart/stack"


class NamespaceSettings(Model):
    """The namespace of the shop, its owner, and who pays by default."""

    #: The namespace; not `default`, nor one of `kube-`.
    name: OwnNamespace
    #: Who runs what says nothing else: the label `team`.
    team: LabelValue
    #: Who pays for what says nothing else: the label `cost-center`.
    cost_center: LabelValue
    #: Room above the services' maxima.
    headroom: Headroom = Headroom()
    #: Whether `pulumi destroy` leaves the namespace, and with it the volume claims: the data outlives the stack.
    retain: Flag = True


#: What is used of its API is there from this minor version on: with its schemas no layer of any stack has an error,
#: while the one before lacks ValidatingAdmissionPolicy, of which native admission is made.
OLDEST_KUBERNETES = "1.30"


def _new_enough(version: str) -> str:
    if version < OLDEST_KUBERNETES:
        raise ValueError(f"{version!r}; allowed: {OLDEST_KUBERNETES} or newer, which has all that is used of it")
    return version


class Cluster(Model):
    """The cluster that a stack goes to."""

    #: Manifests are checked against the schemas of this minor version; 1.30 or newer.
    kubernetes_version: Annotated[
        str,
        Strict(),
        Field(pattern=r"^1\.[0-9]{2}$", json_schema_extra={"not": {"pattern": r"^1\.[012]"}}),
        AfterValidator(_new_enough),
    ]
    #: Context of the kubeconfig; the current one where it is left out.
    context: Annotated[str, Strict(), Field(min_length=1, max_length=253)] | None = None
    #: DNS of the cluster, to which every pod may talk.
    dns_namespace: DnsLabel = "kube-system"
    #: Labels of DNS' pods there.
    dns_labels: FrozenMapping[str, LabelValue] = Field(default={"k8s-app": "kube-dns"}, validate_default=True)
    #: Where DNS answers besides those pods: what runs on the nodes' own network, such as NodeLocal DNSCache, is no pod
    #: that a NetworkPolicy could select.
    dns_addresses: tuple[AddressOrCidr, ...] = ()
