"""The gateway: Kong in Gateway API mode, and the routes that the catalog declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.core.v1 import Secret
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import (
    IPBlockArgs,
    NetworkPolicyEgressRuleArgs,
    NetworkPolicyIngressRuleArgs,
    NetworkPolicyPeerArgs,
    NetworkPolicyPortArgs,
    NetworkPolicySpecArgs,
)
from pulumi_kubernetes.yaml.v2 import ConfigFile

from cloudmart.settings import Party, Service
from cloudmart.settings.gateway import Cors, GatewaySettings, ServiceType
from cloudmart.settings.identity import IdentitySettings
from cloudmart.settings.mesh import MeshSettings
from cloudmart.settings.service import HttpMethod, Route, RouteAuth
from components import network
from components.custom import CustomKind, CustomObject, Spec
from components.gateway_values import (
    ADMIN_PORT,
    CONTROLLER_LABELS,
    HTTP_PORT,
    HTTPS_PORT,
    RELEASE,
    WEBHOOK_PORT,
    kong_values,
    methods,
    proxy_port,
)
from components.labels import Labels
from components.layer import API_SERVER_PORTS, ChartLayer, LayerArgs, from_anywhere, layer_labels, layer_quota, to_ports
from components.specs import gateway_api, kong
from components.wiring import SERVICE_PORT

_CONTROLLER_NAME = "konghq.com/kic-gateway-controller"


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A routed service's pods, and the port that they listen on."""

    party: Party
    port: int


@dataclass(frozen=True, kw_only=True)
class GatewayArgs(LayerArgs[GatewaySettings]):
    """`project` goes before the names of cluster-wide objects; `home` is the shop's namespace."""

    project: str
    home: str
    #: What the proxy calls.
    upstreams: Sequence[Upstream]
    #: Who collects the proxy's metrics, and at which port of it.
    scrapers: Sequence[tuple[Party, int]] = ()
    priority_class: pulumi.Input[str]
    #: The mesh that its pods are in, where it is on.
    mesh: MeshSettings


class Gateway(ChartLayer):
    """``cloudmart:gateway:Gateway``

    ConfigFile with the Gateway API's definitions, unless the cluster has them; GuardedNamespace; NetworkPolicies
    ``allow-clients``, ``allow-admin-api`` and ``allow-controller`` (both ends of the controller's way to the proxy),
    ``allow-api-server``, ``allow-services``, and where they are on ``allow-webhook`` and ``allow-scraping``; Helm
    Release ``kong``; GatewayClass ``<project>-kong``; Gateway ``<project>``.
    """

    #: The labels of its own objects.
    labels: Labels

    def __init__(self, name: str, args: GatewayArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:gateway:Gateway", name, None, opts)
        settings = args.settings
        chart = settings.chart_of("chart")
        labels = layer_labels(args.labels, settings, app=RELEASE, component="gateway", version=chart.version)
        self.labels = labels
        self._guard(
            name,
            settings,
            labels,
            args.cluster,
            _network_policies(args),
            quota=_quota(settings),
            mesh=args.mesh,
        )
        definitions = []
        if settings.crds.install:
            definitions.append(
                ConfigFile(f"{name}-crds", file=settings.crds.source, opts=pulumi.ResourceOptions(parent=self))
            )
        values = kong_values(settings, home=args.home, labels=labels.metadata, priority_class=args.priority_class)
        release = self._release(RELEASE, settings, chart, values, after=definitions)
        # Whoever uses a kind comes after whoever serves it: the definitions, and the release with Kong's own.
        child = pulumi.ResourceOptions(parent=self, depends_on=[release, *definitions])
        class_name = f"{args.project}-kong"
        CustomObject(
            class_name,
            gateway_api.GATEWAY_CLASS,
            metadata=ObjectMetaArgs(
                name=class_name,
                labels=labels.metadata,
                # The proxy is the release's: the controller is to configure it, not to make one.
                annotations={"konghq.com/gatewayclass-unmanaged": "true"},
            ),
            spec=gateway_api.GatewayClassSpec(
                controller_name=_CONTROLLER_NAME, description=f"Kong, as {args.project}'s gateway"
            ),
            opts=child,
        )
        tls = settings.tls
        issuer = {"cert-manager.io/cluster-issuer": tls.cluster_issuer} if tls and tls.cluster_issuer else None
        CustomObject(
            args.project,
            gateway_api.GATEWAY,
            metadata=ObjectMetaArgs(
                name=args.project, namespace=self.namespace, labels=labels.metadata, annotations=issuer
            ),
            spec=gateway_api.GatewaySpec(gateway_class_name=class_name, listeners=[_listener(settings, args.home)]),
            opts=child,
        )
        self.register_outputs({"namespace": self.namespace})


def listener_name(settings: GatewaySettings) -> str:
    """Name of the Gateway's only listener."""
    return "http" if settings.tls is None else "https"


def _listener(settings: GatewaySettings, home: str) -> gateway_api.Listener:
    tls = settings.tls
    return gateway_api.Listener(
        name=listener_name(settings),
        port=HTTP_PORT if tls is None else HTTPS_PORT,
        protocol="HTTP" if tls is None else "HTTPS",
        hostname=settings.host,
        tls=gateway_api.ListenerTls(certificate_refs=[gateway_api.SecretReference(name=tls.secret)]) if tls else None,
        allowed_routes=gateway_api.AllowedRoutes(
            kinds=[gateway_api.RouteKind()],
            namespaces=gateway_api.RouteNamespaces(
                selector=gateway_api.LabelSelector(match_labels={"kubernetes.io/metadata.name": home})
            ),
        ),
    )


def _quota(settings: GatewaySettings) -> dict[str, str]:
    """The load balancer, if there is one, and the node port that belongs to it."""
    count = int(settings.service.type is ServiceType.LOAD_BALANCER)
    return layer_quota(settings.workloads, load_balancers=count) | {"services.nodeports": str(count)}


def _network_policies(args: GatewayArgs) -> dict[str, NetworkPolicySpecArgs]:
    settings = args.settings
    proxy = LabelSelectorArgs(match_labels=dict(settings.pod_labels))
    controller = LabelSelectorArgs(match_labels=CONTROLLER_LABELS)

    def ports(number: int) -> list[NetworkPolicyPortArgs]:
        return [port for each in dict.fromkeys((number, *network.mesh_ports(args.mesh))) for port in network.tcp(each)]

    def into(*rules: NetworkPolicyIngressRuleArgs) -> NetworkPolicySpecArgs:
        return NetworkPolicySpecArgs(pod_selector=proxy, policy_types=["Ingress"], ingress=rules)

    # By address, which the load balancer keeps. Pods of the cluster are no clients.
    anywhere = [NetworkPolicyPeerArgs(ip_block=IPBlockArgs(cidr=cidr)) for cidr in ("0.0.0.0/0", "::/0")]
    specs = {
        "allow-clients": into(NetworkPolicyIngressRuleArgs(from_=anywhere, ports=network.tcp(proxy_port(settings)))),
        "allow-controller": into(
            NetworkPolicyIngressRuleArgs(from_=[network.pods(CONTROLLER_LABELS)], ports=ports(ADMIN_PORT))
        ),
        "allow-admin-api": NetworkPolicySpecArgs(
            pod_selector=controller,
            policy_types=["Egress"],
            egress=[NetworkPolicyEgressRuleArgs(to=[network.pods(settings.pod_labels)], ports=ports(ADMIN_PORT))],
        ),
        "allow-api-server": to_ports(API_SERVER_PORTS, controller),
        "allow-services": NetworkPolicySpecArgs(
            pod_selector=proxy,
            policy_types=["Egress"],
            egress=[
                NetworkPolicyEgressRuleArgs(
                    to=[network.party(upstream.party, settings.namespace)], ports=ports(upstream.port)
                )
                for upstream in args.upstreams
            ],
        ),
    }
    if settings.webhook:
        specs["allow-webhook"] = from_anywhere([WEBHOOK_PORT], controller)
    if args.scrapers:
        specs["allow-scraping"] = into(*network.ingress_of_scrapers(args.scrapers, settings.namespace))
    return specs


@dataclass(frozen=True, kw_only=True)
class RoutesArgs:
    """`services` are those with routes, by name; `gateway` is the name of the Gateway in `settings.namespace`."""

    settings: GatewaySettings
    identity: IdentitySettings | None
    services: Mapping[str, Service]
    gateway: str
    #: The shop's namespace, where the routes and the services are.
    namespace: pulumi.Input[str]
    #: The gateway's namespace, where the issuer's key is.
    gateway_namespace: pulumi.Input[str]
    #: The gateway's.
    labels: Labels
    #: Whether the mesh's proxies stand between the gateway and the services; they route by the name of the Service.
    mesh: bool = False
    #: Whether somebody collects what is counted.
    scraped: bool = False


class Routes(pulumi.ComponentResource):
    """``cloudmart:gateway:Routes``

    In the shop's namespace one HTTPRoute a routed service, and the KongPlugins that they use: ``gateway-jwt``,
    ``gateway-cors``, ``gateway-request-size``, ``gateway-correlation-id``, ``gateway-metrics`` where they are
    collected, and ``gateway-rate-limit-<criticality>``. In the gateway's namespace, where a route asks for tokens,
    KongConsumer ``token-issuer``, with Secret ``token-issuer`` where the settings hold the issuer's key themselves.
    """

    def __init__(self, name: str, args: RoutesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:gateway:Routes", name, None, opts)
        self._args = args
        self._child = pulumi.ResourceOptions(parent=self)
        asks = [route.auth for service in args.services.values() for route in service.routes]
        if RouteAuth.JWT in asks and args.identity is not None:
            self._issuer(args.identity)
        made = [
            self._object(plugin, kong.KONG_PLUGIN, self._metadata(plugin), fields=fields)
            for plugin, fields in _plugins(args).items()
        ]
        after = pulumi.ResourceOptions(parent=self, depends_on=made)
        for service, matched in methods(args.services, preflights=args.settings.cors is not None).items():
            CustomObject(
                service,
                gateway_api.HTTP_ROUTE,
                metadata=self._metadata(
                    service,
                    # Kong passes on the name that the client asked for, and a mesh knows nothing of that one.
                    {"konghq.com/preserve-host": "false"} if args.mesh else None,
                ),
                spec=gateway_api.HttpRouteSpec(
                    parent_refs=[
                        gateway_api.ParentReference(
                            name=args.gateway,
                            namespace=args.settings.namespace,
                            section_name=listener_name(args.settings),
                        )
                    ],
                    hostnames=[args.settings.host] if args.settings.host else None,
                    rules=[self._rule(service, route, allowed) for route, allowed in matched],
                ),
                opts=after,
            )
        self.register_outputs({})

    def _metadata(self, name: str, annotations: Mapping[str, str] | None = None) -> ObjectMetaArgs:
        return ObjectMetaArgs(
            name=name, namespace=self._args.namespace, labels=self._args.labels.metadata, annotations=annotations
        )

    def _object(self, name: str, kind: CustomKind, metadata: ObjectMetaArgs, fields: Spec) -> CustomObject:
        return CustomObject(name, kind, metadata=metadata, fields=fields, opts=self._child)

    def _issuer(self, identity: IdentitySettings) -> None:
        """Kong's stand-in for everybody who has a token: the issuer, with the key that tokens are signed with."""
        name, namespace = "token-issuer", self._args.gateway_namespace
        secret, after = identity.public_key_secret, []
        if secret is None:
            secret = name
            after.append(
                Secret(
                    name,
                    metadata=ObjectMetaArgs(
                        name=name,
                        namespace=namespace,
                        labels=self._args.labels.metadata | {"konghq.com/credential": "jwt"},
                    ),
                    string_data={
                        "key": identity.issuer,
                        "algorithm": identity.algorithm,
                        "rsa_public_key": identity.public_key_pem or "",
                    },
                    opts=self._child,
                )
            )
        CustomObject(
            name,
            kong.KONG_CONSUMER,
            metadata=ObjectMetaArgs(
                name=name,
                namespace=namespace,
                labels=self._args.labels.metadata,
                annotations={"kubernetes.io/ingress.class": "kong"},
            ),
            fields=kong.KongConsumer(username=identity.issuer, credentials=[secret]),
            opts=pulumi.ResourceOptions(parent=self, depends_on=after),
        )

    def _rule(self, name: str, route: Route, allowed: Sequence[HttpMethod]) -> gateway_api.RouteRule:
        path = gateway_api.PathMatch(value=route.path)
        filters = [
            gateway_api.RouteFilter(
                extension_ref=gateway_api.ExtensionReference(group=kong.GROUP, kind=kong.KONG_PLUGIN.kind, name=plugin)
            )
            for plugin in _plugins_of(self._args, self._args.services[name], route)
        ]
        return gateway_api.RouteRule(
            matches=[gateway_api.RouteMatch(path=path, method=method.value) for method in allowed]
            or [gateway_api.RouteMatch(path=path)],
            filters=filters,
            backend_refs=[gateway_api.BackendReference(name=name, port=SERVICE_PORT)],
        )


_JWT, _CORS, _SIZE, _CORRELATION, _METRICS, _RATE = (
    f"gateway-{plugin}" for plugin in ("jwt", "cors", "request-size", "correlation-id", "metrics", "rate-limit")
)


def _plugins_of(args: RoutesArgs, service: Service, route: Route) -> list[str]:
    """Names of the KongPlugins of one rule."""
    return [
        *([_JWT] if route.auth is RouteAuth.JWT else []),
        *([_CORS] if args.settings.cors else []),
        f"{_RATE}-{service.criticality}",
        _SIZE,
        _CORRELATION,
        *([_METRICS] if args.scraped else []),
    ]


def _plugins(args: RoutesArgs) -> dict[str, kong.KongPlugin]:
    """Every KongPlugin that a rule names."""
    settings = args.settings
    used = {
        plugin
        for service in args.services.values()
        for route in service.routes
        for plugin in _plugins_of(args, service, route)
    }
    known = {
        _JWT: kong.KongPlugin(plugin="jwt", config=kong.Jwt()),
        _SIZE: kong.KongPlugin(
            plugin="request-size-limiting",
            config=kong.RequestSizeLimiting(allowed_payload_size=settings.max_request_kilobytes),
        ),
        _CORRELATION: kong.KongPlugin(plugin="correlation-id", config=kong.CorrelationId()),
        _METRICS: kong.KongPlugin(plugin="prometheus", config=kong.Prometheus()),
        **{
            f"{_RATE}-{service.criticality}": kong.KongPlugin(
                plugin="rate-limiting",
                config=kong.RateLimiting(minute=settings.requests_per_minute.of(service.criticality)),
            )
            for service in args.services.values()
        },
    }
    if settings.cors:
        known[_CORS] = kong.KongPlugin(plugin="cors", config=_cors(settings.cors))
    return {name: plugin for name, plugin in sorted(known.items()) if name in used}


def _cors(settings: Cors) -> kong.CorsConfig:
    return kong.CorsConfig(
        origins=settings.origins,
        max_age=settings.max_age_seconds,
        methods=tuple(method.value for method in HttpMethod),
    )
