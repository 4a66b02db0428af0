"""Istio's kinds, with the fields that this project sets. Reference: https://istio.io/latest/docs/reference/config/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.custom import CustomKind, Spec

AUTHORIZATION_POLICY = CustomKind("security.istio.io/v1", "AuthorizationPolicy")
PEER_AUTHENTICATION = CustomKind("security.istio.io/v1", "PeerAuthentication")
REQUEST_AUTHENTICATION = CustomKind("security.istio.io/v1", "RequestAuthentication")
DESTINATION_RULE = CustomKind("networking.istio.io/v1", "DestinationRule")
SERVICE_ENTRY = CustomKind("networking.istio.io/v1", "ServiceEntry")
SIDECAR = CustomKind("networking.istio.io/v1", "Sidecar")
VIRTUAL_SERVICE = CustomKind("networking.istio.io/v1", "VirtualService")
#: A Gateway of the class ``istio-waypoint`` is a proxy in front of Services.
WAYPOINT = CustomKind("gateway.networking.k8s.io/v1", "Gateway")


@dataclass(frozen=True, kw_only=True)
class Selector(Spec):
    """Pods of the policy's own namespace."""

    match_labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class TargetRef(Spec):
    """What a waypoint's policy is for: its Gateway, or a Service behind it."""

    kind: str
    group: str
    name: str


# --- security.istio.io -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class MutualTls(Spec):
    """``STRICT``: nothing without a certificate. ``PERMISSIVE``: plain text as well."""

    mode: str


@dataclass(frozen=True, kw_only=True)
class PeerAuthenticationSpec(Spec):
    """What connections pods take. Ports are the pod's, as text."""

    mtls: MutualTls
    selector: Selector | None = None
    port_level_mtls: Mapping[str, MutualTls] | None = None


@dataclass(frozen=True, kw_only=True)
class JwtRule(Spec):
    """One issuer whose tokens are accepted."""

    issuer: str
    jwks_uri: str
    audiences: Sequence[str] | None = None
    forward_original_token: bool | None = None


@dataclass(frozen=True, kw_only=True)
class RequestAuthenticationSpec(Spec):
    """Tokens that are there must be valid; that there is one is for an AuthorizationPolicy to ask."""

    jwt_rules: Sequence[JwtRule]
    selector: Selector | None = None
    target_refs: Sequence[TargetRef] | None = None


@dataclass(frozen=True, kw_only=True)
class Source(Spec):
    """Who calls; all fields must match."""

    principals: Sequence[str] | None = None
    not_principals: Sequence[str] | None = None
    request_principals: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Operation(Spec):
    """What is called; all fields must match."""

    ports: Sequence[str] | None = None
    methods: Sequence[str] | None = None
    paths: Sequence[str] | None = None
    not_paths: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class From(Spec):
    """A source, wrapped as the API has it."""

    source: Source


@dataclass(frozen=True, kw_only=True)
class To(Spec):
    """An operation, wrapped as the API has it."""

    operation: Operation


@dataclass(frozen=True, kw_only=True)
class Rule(Spec):
    """One of the sources and one of the operations."""

    from_: Sequence[From] | None = None
    to: Sequence[To] | None = None


@dataclass(frozen=True, kw_only=True)
class AuthorizationPolicySpec(Spec):
    """Without rules it matches nothing, so an ALLOW without rules denies everything."""

    selector: Selector | None = None
    target_refs: Sequence[TargetRef] | None = None
    action: str | None = None
    rules: Sequence[Rule] | None = None


# --- networking.istio.io ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ClientTls(Spec):
    """``ISTIO_MUTUAL``: with the certificates of the mesh."""

    mode: str


@dataclass(frozen=True, kw_only=True)
class TcpPool(Spec):
    """Connections to all pods of a service together, from one caller's pod."""

    connect_timeout: str
    max_connections: int | None = None


@dataclass(frozen=True, kw_only=True)
class HttpPool(Spec):
    """Requests that wait for a connection."""

    http1_max_pending_requests: int


@dataclass(frozen=True, kw_only=True)
class ConnectionPool(Spec):
    """The bulkhead."""

    tcp: TcpPool
    http: HttpPool | None = None


@dataclass(frozen=True, kw_only=True)
class Outliers(Spec):
    """The circuit breaker."""

    consecutive_gateway_errors: int
    #: 0 switches it off; else its default of five would count what the service itself answers.
    consecutive_5xx_errors: int
    interval: str
    base_ejection_time: str
    max_ejection_percent: int


@dataclass(frozen=True, kw_only=True)
class TrafficPolicy(Spec):
    """How callers connect."""

    connection_pool: ConnectionPool
    tls: ClientTls | None = None
    outlier_detection: Outliers | None = None


@dataclass(frozen=True, kw_only=True)
class DestinationRuleSpec(Spec):
    """What callers do on their way to `host`."""

    host: str
    traffic_policy: TrafficPolicy


@dataclass(frozen=True, kw_only=True)
class HttpRetry(Spec):
    """`retry_on` as Envoy has it, with commas."""

    attempts: int
    per_try_timeout: str | None = None
    retry_on: str | None = None


@dataclass(frozen=True, kw_only=True)
class StringMatch(Spec):
    """The whole text matches an RE2 expression."""

    regex: str


@dataclass(frozen=True, kw_only=True)
class HttpMatch(Spec):
    """Requests that a route is for."""

    method: StringMatch


@dataclass(frozen=True, kw_only=True)
class PortSelector(Spec):
    """A Service's port."""

    number: int


@dataclass(frozen=True, kw_only=True)
class Destination(Spec):
    """A Service."""

    host: str
    port: PortSelector


@dataclass(frozen=True, kw_only=True)
class RouteDestination(Spec):
    """A destination, wrapped as the API has it."""

    destination: Destination


@dataclass(frozen=True, kw_only=True)
class HttpRoute(Spec):
    """What becomes of requests that match, or of all that are left."""

    name: str
    route: Sequence[RouteDestination]
    timeout: str
    retries: HttpRetry
    match: Sequence[HttpMatch] | None = None


@dataclass(frozen=True, kw_only=True)
class VirtualServiceSpec(Spec):
    """How requests to `hosts` are routed; the first route that matches counts."""

    hosts: Sequence[str]
    http: Sequence[HttpRoute]


@dataclass(frozen=True, kw_only=True)
class OutboundTrafficPolicy(Spec):
    """``REGISTRY_ONLY``: to hosts that the mesh knows, and nowhere else."""

    mode: str


@dataclass(frozen=True, kw_only=True)
class EgressListener(Spec):
    """``<namespace>/<host>`` of what pods may call; ``.`` is their own namespace."""

    hosts: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class WorkloadSelector(Spec):
    """Pods of the same namespace."""

    labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class SidecarSpec(Spec):
    """What a pod's proxy knows of the mesh."""

    egress: Sequence[EgressListener]
    outbound_traffic_policy: OutboundTrafficPolicy
    workload_selector: WorkloadSelector | None = None


@dataclass(frozen=True, kw_only=True)
class ServicePort(Spec):
    """A port outside."""

    number: int
    name: str
    protocol: str


@dataclass(frozen=True, kw_only=True)
class ServiceEntrySpec(Spec):
    """A host outside the mesh."""

    hosts: Sequence[str]
    ports: Sequence[ServicePort]
    location: str
    resolution: str
    export_to: Sequence[str]


# --- gateway.networking.k8s.io ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class WaypointListener(Spec):
    """Where the nodes' proxies come in."""

    name: str
    port: int
    protocol: str


@dataclass(frozen=True, kw_only=True)
class Infrastructure(Spec):
    """Labels of what istiod makes for the Gateway; eight at most."""

    labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class WaypointSpec(Spec):
    """A proxy in front of Services."""

    gateway_class_name: str
    listeners: Sequence[WaypointListener]
    infrastructure: Infrastructure
