"""Who may call whom, as the mesh enforces it: every object here is derived from the declared edges."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import pulumi
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, LabelSelectorRequirementArgs, ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import NetworkPolicy, NetworkPolicyEgressRuleArgs, NetworkPolicySpecArgs

from cloudmart.settings import GATEWAY, Edge, Party, Settings, TargetKind
from cloudmart.settings.identity import IdentitySettings
from cloudmart.settings.mesh import HBONE_PORT
from cloudmart.settings.model import PROMETHEUS, PROXY_METRICS_PORT, Purpose
from cloudmart.settings.service import HttpMethod, RetryOn, Route, RouteAuth, Service
from components import network
from components.custom import CustomKind, CustomObject, Spec
from components.data import connections_of
from components.labels import COST_LABELS, Labels
from components.mesh_values import WAYPOINT
from components.specs import istio
from components.wiring import SERVICE_PORT

_DOMAIN = "svc.cluster.local"


def strict() -> istio.MutualTls:
    """Nothing without a certificate."""
    return istio.MutualTls(mode="STRICT")


def _permissive() -> istio.MutualTls:
    return istio.MutualTls(mode="PERMISSIVE")


#: RFC 9110, 9.2.2: asking twice does what asking once does.
_IDEMPOTENT = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")
#: After these no server can have seen the request, whatever it was.
_UNSEEN = (RetryOn.CONNECT_FAILURE, RetryOn.REFUSED_STREAM, RetryOn.RESET_BEFORE_REQUEST)
_CONNECT_TIMEOUT = "3s"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One object of the mesh, before Pulumi knows of it."""

    kind: CustomKind
    name: str
    spec: Spec


@dataclass(frozen=True, kw_only=True)
class AuthorizationArgs:
    """`namespace` and `labels` are those of the objects; `after` is what serves their kinds."""

    settings: Settings
    namespace: pulumi.Input[str]
    labels: Labels
    after: Sequence[pulumi.Resource]


class _FromPlan(pulumi.ComponentResource, abc.ABC):
    """Makes what was planned."""

    def _make(self, name: str, args: AuthorizationArgs, objects: Iterable[Planned]) -> None:
        labels = args.labels.with_component("authorization").metadata
        for one in objects:
            CustomObject(
                f"{name}-{one.name}",
                one.kind,
                metadata=ObjectMetaArgs(name=one.name, namespace=args.namespace, labels=labels),
                spec=one.spec,
                opts=pulumi.ResourceOptions(parent=self, depends_on=list(args.after)),
            )


class Authorization(_FromPlan):
    """``cloudmart:authorization:Authorization``

    PeerAuthentication ``default`` (STRICT); AuthorizationPolicy ``deny-by-default`` and one ``<caller>-to-<target>`` an
    edge; RequestAuthentication ``<service>`` for services with routes; DestinationRule and VirtualService
    ``<service>``, DestinationRule ``<store>``; in sidecar mode Sidecar ``default`` and one a workload; ServiceEntry
    ``<external>`` and ``<store>`` of those that are outside.
    """

    def __init__(self, name: str, args: AuthorizationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:authorization:Authorization", name, None, opts)
        self._make(name, args, planned(args.settings))
        self.register_outputs({})


@dataclass(frozen=True, kw_only=True)
class EntranceArgs(AuthorizationArgs):
    """The gateway's ports for everybody outside; and its controller, with the port of the gateway's that it uses."""

    public_ports: Sequence[int]
    controller: Party
    admin_port: int


class EntranceAuthorization(_FromPlan):
    """``cloudmart:authorization:EntranceAuthorization``

    In the gateway's namespace: PeerAuthentication ``gateway`` (STRICT, but for the ports that are for everybody),
    AuthorizationPolicies ``outside-to-gateway``, ``controller-to-gateway`` and, where it is scraped,
    ``prometheus-to-gateway``; in sidecar mode Sidecar ``gateway``.
    """

    def __init__(self, name: str, args: EntranceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:authorization:EntranceAuthorization", name, None, opts)
        self._make(name, args, planned_entrance(args))
        self.register_outputs({})


class Waypoint(pulumi.ComponentResource):
    """``cloudmart:authorization:Waypoint``

    In ambient mode, in front of the shop's services: Gateway ``waypoint``, of which istiod makes a Deployment; and
    NetworkPolicies for its callers, itself and the services behind it.
    """

    def __init__(self, name: str, args: AuthorizationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:authorization:Waypoint", name, None, opts)
        settings, labels = args.settings, replace(args.labels, app=WAYPOINT, component="proxy")
        shown = {key: labels.metadata[key] for key in ("app", "app.kubernetes.io/name", *COST_LABELS)}
        spec = istio.WaypointSpec(
            gateway_class_name="istio-waypoint",
            listeners=[istio.WaypointListener(name="mesh", port=HBONE_PORT, protocol="HBONE")],
            infrastructure=istio.Infrastructure(labels=shown),
        )
        CustomObject(
            name,
            istio.WAYPOINT,
            metadata=ObjectMetaArgs(
                name=WAYPOINT,
                namespace=args.namespace,
                labels=labels.metadata | {"istio.io/waypoint-for": "service"},
            ),
            spec=spec,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(args.after)),
        )
        for policy, rules in _waypoint_policies(settings).items():
            NetworkPolicy(
                f"{name}-{policy}",
                metadata=ObjectMetaArgs(name=policy, namespace=args.namespace, labels=labels.metadata),
                spec=rules,
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({})


def planned(settings: Settings) -> Iterator[Planned]:
    """Every object in the shop's namespace."""
    yield Planned(kind=istio.PEER_AUTHENTICATION, name="default", spec=istio.PeerAuthenticationSpec(mtls=strict()))
    yield from _allowed(settings)
    if settings.identity is not None:
        yield from _tokens(settings, settings.identity)
    yield from _traffic(settings)
    yield from _outside(settings)
    if not settings.mesh.is_ambient:
        yield from _scopes(settings)


# --- who may call ----------------------------------------------------------------------------------------------------


def _allowed(settings: Settings) -> Iterator[Planned]:
    nothing = istio.AuthorizationPolicySpec()
    yield Planned(kind=istio.AUTHORIZATION_POLICY, name="deny-by-default", spec=nothing)
    ambient = settings.mesh.is_ambient
    if ambient:
        # A waypoint knows no policies but those that name it or a Service behind it.
        spec = replace(nothing, target_refs=[_ref("Gateway", WAYPOINT)])
        yield Planned(kind=istio.AUTHORIZATION_POLICY, name=f"deny-by-default-at-{WAYPOINT}", spec=spec)
        for service in settings.services:
            if settings.callers_of(service):
                yield _policy(
                    settings,
                    WAYPOINT,
                    service,
                    [_rule(settings.identity_of(waypoint_party(settings)), _port(settings, service))],
                )
    for edge in settings.edges:
        if edge.kind is TargetKind.SERVICE and edge.purpose is Purpose.CALL:
            port = None if ambient else edge.port  # a waypoint sees the Service's port, and there is but one
            yield _policy(settings, edge.caller, edge.target, _rules(settings, edge, port), at_waypoint=ambient)
        elif edge.kind is TargetKind.STORE and edge.purpose is Purpose.CALL and _is_inside(settings, edge.target):
            yield _policy(settings, edge.caller, edge.target, [_rule(edge.identity, edge.port)])
    yield from _scraped(settings)


def _scraped(settings: Settings) -> Iterator[Planned]:
    """Prometheus is not in the mesh, so it has neither a certificate nor an identity: its ports take plain text from
    everybody whom the NetworkPolicies let come."""
    edges = [edge for edge in settings.edges if edge.purpose is Purpose.SCRAPE and edge.port != PROXY_METRICS_PORT]
    for edge in edges:
        if edge.kind is not TargetKind.LAYER:
            pods = istio.Selector(match_labels=settings.parties[edge.target].pod_labels)
            spec = istio.PeerAuthenticationSpec(
                mtls=strict(), selector=pods, port_level_mtls={str(edge.port): _permissive()}
            )
            yield Planned(kind=istio.PEER_AUTHENTICATION, name=edge.target, spec=spec)
            yield _policy(settings, edge.caller, edge.target, [_anonymous([edge.port])])


def _policy(
    settings: Settings, caller: str, target: str, rules: list[istio.Rule], *, at_waypoint: bool = False
) -> Planned:
    spec = istio.AuthorizationPolicySpec(
        selector=None if at_waypoint else istio.Selector(match_labels=settings.parties[target].pod_labels),
        target_refs=[_ref("Service", target)] if at_waypoint else None,
        action="ALLOW",
        rules=rules,
    )
    return Planned(kind=istio.AUTHORIZATION_POLICY, name=f"{caller}-to-{target}", spec=spec)


def _rule(identity: str, port: int) -> istio.Rule:
    operation = istio.Operation(ports=[str(port)])
    return istio.Rule(
        from_=[istio.From(source=istio.Source(principals=[identity]))], to=[istio.To(operation=operation)]
    )


def _anonymous(ports: Iterable[int]) -> istio.Rule:
    """Callers without a certificate: whoever has one is judged by who it is."""
    operation = istio.Operation(ports=[str(port) for port in ports])
    return istio.Rule(from_=[istio.From(source=istio.Source(not_principals=["*"]))], to=[istio.To(operation=operation)])


def planned_entrance(args: EntranceArgs) -> Iterator[Planned]:
    """Every object in the gateway's namespace.

    In sidecar mode the gateway's proxy leaves these ports alone (`unmeshed_ports`), because it would hide the client's
    address, by which requests are limited: the policies then say what holds if it did not.
    """
    settings = args.settings
    gateway = settings.parties[GATEWAY]
    pods = istio.Selector(match_labels=gateway.pod_labels)
    scraped = [edge.port for edge in settings.scrapes_of(GATEWAY)]
    ports = {str(port): _permissive() for port in [*args.public_ports, *scraped]}
    spec = istio.PeerAuthenticationSpec(mtls=strict(), selector=pods, port_level_mtls=ports)
    yield Planned(kind=istio.PEER_AUTHENTICATION, name=GATEWAY, spec=spec)
    rules = {
        "outside": _anonymous(args.public_ports),
        "controller": _rule(settings.identity_of(args.controller), args.admin_port),
        **({PROMETHEUS: _anonymous(scraped)} if scraped else {}),
    }
    for caller, rule in rules.items():
        yield _policy(settings, caller, GATEWAY, [rule])
    if not settings.mesh.is_ambient:
        yield Planned(kind=istio.SIDECAR, name=GATEWAY, spec=egress_scope(settings, gateway))


def _waypoint_policies(settings: Settings) -> dict[str, NetworkPolicySpecArgs]:
    """From callers to the waypoint, from there to the services behind it, and to istiod."""
    home = settings.namespace.name
    behind = [settings.parties[name] for name in settings.services if settings.callers_of(name)]
    callers = {caller: settings.parties[caller] for service in behind for caller in settings.callers_of(service.name)}
    itself = waypoint_party(settings)
    at_home = [party for party in callers.values() if party.namespace == home]

    def of(parties: Iterable[Party]) -> LabelSelectorArgs:
        names = [party.pod_labels["app"] for party in parties]
        return LabelSelectorArgs(
            match_expressions=[LabelSelectorRequirementArgs(key="app", operator="In", values=names)]
        )

    def egress(selector: LabelSelectorArgs, to: Iterable[Party]) -> NetworkPolicySpecArgs:
        peers = [network.party(party, home) for party in to]
        return NetworkPolicySpecArgs(
            pod_selector=selector,
            policy_types=["Egress"],
            egress=[NetworkPolicyEgressRuleArgs(to=peers, ports=network.tcp(HBONE_PORT))],
        )

    def ingress(selector: LabelSelectorArgs, from_: Iterable[Party]) -> NetworkPolicySpecArgs:
        return NetworkPolicySpecArgs(
            pod_selector=selector,
            policy_types=["Ingress"],
            ingress=network.ingress_from(from_, [HBONE_PORT], home),
        )

    own = LabelSelectorArgs(match_labels=dict(itself.pod_labels))
    found = {f"{WAYPOINT}-to-istiod": network.to_control_plane(settings.mesh, own)}
    if behind:
        found |= {
            f"to-{WAYPOINT}": ingress(own, callers.values()),
            f"from-{WAYPOINT}": egress(own, behind),
            f"{WAYPOINT}-targets": ingress(of(behind), [itself]),
        }
    if at_home:
        found[f"{WAYPOINT}-callers"] = egress(of(at_home), [itself])
    return found


def waypoint_party(settings: Settings) -> Party:
    """The waypoint, as policies name it."""
    return Party(
        name=WAYPOINT,
        namespace=settings.namespace.name,
        pod_labels={"gateway.networking.k8s.io/gateway-name": WAYPOINT},
        service_account=WAYPOINT,
    )


def _rules(settings: Settings, edge: Edge, port: int | None) -> list[istio.Rule]:
    """What a caller may ask of a service: anything, but for the gateway, which may ask what the routes say."""
    caller = istio.Source(principals=[edge.identity])
    ports = None if port is None else [str(port)]
    if edge.caller != GATEWAY:
        to = None if ports is None else [istio.To(operation=istio.Operation(ports=ports))]
        return [istio.Rule(from_=[istio.From(source=caller)], to=to)]
    routes = settings.services[edge.target].routes
    found = []
    for auth in RouteAuth:
        source = caller
        if auth is RouteAuth.JWT and settings.identity is not None:
            source = replace(caller, request_principals=[f"{settings.identity.issuer}/*"])
        operations = [
            istio.To(operation=replace(operation, ports=ports))
            for route in routes
            if route.auth is auth
            for operation in _operations(route, routes)
        ]
        if operations:
            found.append(istio.Rule(from_=[istio.From(source=source)], to=operations))
    return found


def _operations(route: Route, routes: Iterable[Route]) -> Iterator[istio.Operation]:
    """What a route is for: all below its path, but for what a longer path takes over and asks a token for."""
    stricter = [
        other
        for other in routes
        if route.auth is RouteAuth.ANONYMOUS
        and other.auth is RouteAuth.JWT
        and other != route
        and _is_below(other.path, route.path)
    ]
    if not stricter:
        yield istio.Operation(paths=_paths(route.path), methods=[str(each) for each in route.methods] or None)
        return
    by_exceptions: dict[tuple[str, ...], list[str]] = {}
    for method in route.methods or HttpMethod:
        taken = tuple(other.path for other in stricter if not other.methods or method in other.methods)
        by_exceptions.setdefault(taken, []).append(str(method))
    for taken, methods in by_exceptions.items():
        if route.path not in taken:
            exceptions = [path for other in taken for path in _paths(other)]
            yield istio.Operation(paths=_paths(route.path), methods=methods, not_paths=exceptions or None)


def _paths(prefix: str) -> list[str]:
    """Patterns of a path and all below it: ``/users`` and ``/users/…``, but not ``/users-of-old``."""
    base = prefix.rstrip("/")
    return [base, f"{base}/*"] if base else ["/*"]


def _is_below(path: str, prefix: str) -> bool:
    return f"{path.rstrip('/')}/".startswith(f"{prefix.rstrip('/')}/")


def _tokens(settings: Settings, identity: IdentitySettings) -> Iterator[Planned]:
    """A token that is no good is refused wherever the gateway calls, and a good one is what rules can ask for."""
    rule = istio.JwtRule(
        issuer=identity.issuer,
        jwks_uri=identity.jwks_uri,
        audiences=list(identity.audiences) or None,
        # The service reads the claims; Istio would take the header off.
        forward_original_token=True,
    )
    for name, service in settings.services.items():
        if service.routes:
            ambient = settings.mesh.is_ambient
            spec = istio.RequestAuthenticationSpec(
                jwt_rules=[rule],
                selector=None if ambient else istio.Selector(match_labels=settings.parties[name].pod_labels),
                target_refs=[_ref("Service", name)] if ambient else None,
            )
            yield Planned(kind=istio.REQUEST_AUTHENTICATION, name=name, spec=spec)


# --- how calls are made ----------------------------------------------------------------------------------------------


def _traffic(settings: Settings) -> Iterator[Planned]:
    ambient = settings.mesh.is_ambient
    # In ambient mode encryption is the nodes' business, and nobody but a waypoint reads these.
    tls = None if ambient else istio.ClientTls(mode="ISTIO_MUTUAL")
    for name, service in settings.services.items():
        host = _host(settings, name)
        resilience, outliers = service.resilience, service.outlier_detection
        policy = istio.TrafficPolicy(
            tls=tls,
            connection_pool=istio.ConnectionPool(
                tcp=istio.TcpPool(max_connections=resilience.max_connections, connect_timeout=_CONNECT_TIMEOUT),
                http=istio.HttpPool(http1_max_pending_requests=resilience.max_pending_requests),
            ),
            outlier_detection=istio.Outliers(
                consecutive_gateway_errors=outliers.consecutive_errors,
                consecutive_5xx_errors=0,
                interval=f"{outliers.interval_seconds}s",
                base_ejection_time=f"{outliers.ejection_seconds}s",
                max_ejection_percent=outliers.max_ejection_percent,
            ),
        )
        rule = istio.DestinationRuleSpec(host=host, traffic_policy=policy)
        yield Planned(kind=istio.DESTINATION_RULE, name=name, spec=rule)
        routes = istio.VirtualServiceSpec(hosts=[host], http=_http(host, service))
        yield Planned(kind=istio.VIRTUAL_SERVICE, name=name, spec=routes)
    if ambient:
        return
    for name in _stores(settings):
        # No outlier detection: a store has one primary, and to leave it out would be the outage.
        pool = istio.ConnectionPool(tcp=istio.TcpPool(connect_timeout=_CONNECT_TIMEOUT))
        for number, host in enumerate(_store_hosts(settings, name)):
            spec = istio.DestinationRuleSpec(
                host=host, traffic_policy=istio.TrafficPolicy(tls=tls, connection_pool=pool)
            )
            suffix = f"-{number}" if number else ""
            yield Planned(kind=istio.DESTINATION_RULE, name=f"{name}{suffix}", spec=spec)


def _http(host: str, service: Service) -> list[istio.HttpRoute]:
    """What may be asked twice, and what may not."""
    resilience, retries = service.resilience, service.resilience.retries

    def route(name: str, retry: istio.HttpRetry, match: list[istio.HttpMatch] | None = None) -> istio.HttpRoute:
        to = istio.Destination(host=host, port=istio.PortSelector(number=SERVICE_PORT))
        return istio.HttpRoute(
            name=name,
            match=match,
            route=[istio.RouteDestination(destination=to)],
            timeout=f"{resilience.timeout_seconds}s",
            # Left out, Istio would retry twice, and after more than it may.
            retries=retry if retries.attempts else istio.HttpRetry(attempts=0),
        )

    idempotent = istio.HttpRetry(
        attempts=retries.attempts,
        per_try_timeout=f"{retries.per_try_timeout_seconds}s",
        retry_on=",".join(retries.retry_on),
    )
    others = istio.HttpRetry(attempts=retries.attempts, retry_on=",".join(_UNSEEN))
    method = istio.HttpMatch(method=istio.StringMatch(regex="|".join(_IDEMPOTENT)))
    return [route("idempotent", idempotent, [method]), route("others", others)]


# --- what proxies know -----------------------------------------------------------------------------------------------


def _scopes(settings: Settings) -> Iterator[Planned]:
    # For pods that nobody declared: they reach nothing.
    yield Planned(kind=istio.SIDECAR, name="default", spec=_scope(settings, []))
    for party in settings.parties.values():
        if party.namespace == settings.namespace.name:
            yield Planned(kind=istio.SIDECAR, name=party.name, spec=egress_scope(settings, party))


def egress_scope(settings: Settings, party: Party) -> istio.SidecarSpec:
    """What one party's proxies may reach: the hosts of its declared targets."""
    hosts = [
        f"{settings.namespace.name}/{host}"
        for edge in settings.needs_of(party.name)
        for host in _hosts_of(settings, edge)
    ]
    return replace(_scope(settings, hosts), workload_selector=istio.WorkloadSelector(labels=dict(party.pod_labels)))


def _scope(settings: Settings, hosts: list[str]) -> istio.SidecarSpec:
    return istio.SidecarSpec(
        egress=[istio.EgressListener(hosts=[*hosts, f"{settings.mesh.namespace}/*"])],
        outbound_traffic_policy=istio.OutboundTrafficPolicy(mode="REGISTRY_ONLY"),
    )


def _hosts_of(settings: Settings, edge: Edge) -> list[str]:
    match edge.kind:
        case TargetKind.STORE:
            return _store_hosts(settings, edge.target)
        case TargetKind.EXTERNAL:
            return [settings.externals[edge.target].host]
        case _:
            return [_host(settings, edge.target)]


def _outside(settings: Settings) -> Iterator[Planned]:
    """What lies outside the mesh and is declared. TLS is the caller's own, and passed on by the name that it asks for:
    were the proxy to make it, the address that services are given would have to be one without."""
    called = {edge.target for edge in settings.edges if edge.purpose is Purpose.CALL}
    for name, external in settings.externals.items():
        if name in called:
            protocol = "TLS" if external.scheme == "https" else "HTTP"
            yield _entry(name, external.host, external.port, protocol)
    for name, connection in connections_of(settings.data).items():
        if name in called and connection.pod_selector is None:
            # TLS or not: a database's may begin in plain text, so that no proxy can read the name.
            yield _entry(name, connection.host, connection.port, "TCP")


def _entry(name: str, host: str, port: int, protocol: str) -> Planned:
    spec = istio.ServiceEntrySpec(
        hosts=[host],
        ports=[istio.ServicePort(number=port, name=protocol.lower(), protocol=protocol)],
        location="MESH_EXTERNAL",
        resolution="DNS",
        export_to=["."],
    )
    return Planned(kind=istio.SERVICE_ENTRY, name=name, spec=spec)


# --- what others have to carry ---------------------------------------------------------------------------------------


def pod_annotations(settings: Settings, name: str) -> dict[str, str]:
    """Annotations of a service's or store's pods. In sidecar mode the proxy answers for the pod's own metrics as well:
    it must be told where they are, and the pod's port stays closed to whoever is not in the mesh."""
    if not settings.mesh.enabled or settings.mesh.is_ambient:
        return {}
    service = settings.services.get(name)
    port = service.metrics_port if service else getattr(settings.data, name).scrape_port
    path = service.metrics.path if service and service.metrics else "/metrics"
    if port is None:
        return {}
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(port), "prometheus.io/path": path}


def service_labels(settings: Settings, name: str) -> dict[str, str]:
    """Labels of a service's Service: in ambient mode, the waypoint that callers are sent through."""
    ambient = settings.mesh.enabled and settings.mesh.is_ambient
    return {"istio.io/use-waypoint": WAYPOINT} if ambient and settings.callers_of(name) else {}


def service_annotations(settings: Settings, name: str) -> dict[str, str]:
    """Annotations of a service's Service that is called by the gateway. Kong would choose a pod itself and keep the
    caller's Host; the mesh knows neither, and would neither route the request nor apply a policy to it."""
    if not settings.mesh.enabled or GATEWAY not in settings.callers_of(name):
        return {}
    return {
        "ingress.kubernetes.io/service-upstream": "true",
        "konghq.com/host-header": _host(settings, name),
    }


def jwks_port(identity: IdentitySettings) -> int:
    """Where the issuer's keys are got from."""
    return urlsplit(identity.jwks_uri).port or 443


# --- names -----------------------------------------------------------------------------------------------------------


def _is_inside(settings: Settings, store: str) -> bool:
    return store in settings.parties


def _stores(settings: Settings) -> list[str]:
    return [name for name in settings.stores if _is_inside(settings, name)]


def _store_hosts(settings: Settings, name: str) -> list[str]:
    """Where clients find a store: they know one name, and Kafka then sends them to its brokers by their own."""
    host = connections_of(settings.data)[name].host
    if "." in host:
        return [host]
    return [_host(settings, service) for service in getattr(settings.data, name).hosts(name)]


def _host(settings: Settings, service: str) -> str:
    return f"{service}.{settings.namespace.name}.{_DOMAIN}"


def _port(settings: Settings, service: str) -> int:
    return settings.services[service].container_port


def _ref(kind: str, name: str) -> istio.TargetRef:
    group = "gateway.networking.k8s.io" if kind == "Gateway" else ""
    return istio.TargetRef(kind=kind, group=group, name=name)
