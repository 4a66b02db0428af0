"""The whole shop: which components there are, and what waits for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from cloudmart.settings import GATEWAY, Criticality, Party, Settings
from cloudmart.settings.admission import AdmissionEngine
from cloudmart.settings.data import StoreMode
from components import network
from components.admission.gatekeeper import Gatekeeper, GatekeeperArgs
from components.admission.native import NativePolicies, NativePoliciesArgs
from components.authorization import (
    Authorization,
    AuthorizationArgs,
    EntranceArgs,
    EntranceAuthorization,
    Waypoint,
    jwks_port,
    pod_annotations,
    service_annotations,
    service_labels,
    waypoint_party,
)
from components.data import DataLayer, DataLayerArgs, OperatorArgs
from components.gateway import Gateway, GatewayArgs, Routes, RoutesArgs, Upstream
from components.gateway_values import ADMIN_PORT, CONTROLLER_LABELS, RELEASE, proxy_port
from components.gitops import Delivered, GitOps, GitOpsArgs
from components.kubecost import Kubecost, KubecostArgs
from components.labels import Labels
from components.mesh import Mesh, MeshArgs
from components.microservice import Microservice, MicroserviceArgs
from components.monitoring.stack import Monitoring, MonitoringArgs
from components.namespace import GuardedNamespace, GuardedNamespaceArgs
from components.operators import (
    CloudNativePg,
    CloudNativePgArgs,
    Strimzi,
    StrimziArgs,
    cloudnative_pg_party,
    strimzi_party,
)
from components.priority import PriorityClasses, PriorityClassesArgs
from components.quota import limit_range, quota
from components.vertical_autoscaling import VerticalAutoscaling, VerticalAutoscalingArgs, Watched
from components.wiring import connections


@dataclass(frozen=True, kw_only=True)
class PlatformArgs:
    """Everything is in the settings."""

    settings: Settings


class Platform(pulumi.ComponentResource):
    """``cloudmart:platform:Platform``

    PriorityClasses, GuardedNamespace, DataLayer, one Microservice a service, and each layer that is on, in this order:
    what serves the kinds that others use comes before them.
    """

    #: What the program exports; see `outputs`.
    outputs: Mapping[str, Any]

    def __init__(self, name: str, args: PlatformArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        settings = args.settings
        delivered = Delivered()
        if settings.gitops.enabled:
            opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(transformations=[delivered.note]))
        super().__init__("cloudmart:platform:Platform", name, None, opts)
        shop = Labels(
            app=settings.project,
            component="platform",
            tier="platform",
            version="v1",
            project=settings.project,
            team=settings.namespace.team,
            cost_center=settings.namespace.cost_center,
        )
        child = pulumi.ResourceOptions(parent=self)
        priorities = PriorityClasses(name, PriorityClassesArgs(prefix=settings.project, labels=shop), child)
        namespace = GuardedNamespace(
            name,
            GuardedNamespaceArgs(
                name=settings.namespace.name,
                labels=shop,
                cluster=settings.cluster,
                quota=quota(settings),
                limit_range=limit_range(settings),
                retain=settings.namespace.retain,
                mesh=settings.mesh,
            ),
            child,
        )
        # Quota, limits, the default deny and, in the mesh, what injects proxies and tells them whom to let in: all of
        # it stands before the first pod does.
        guards: list[pulumi.Resource] = [
            namespace,
            *(_mesh(settings, shop, namespace, child) if settings.mesh.enabled else []),
        ]
        if settings.admission.enabled:
            guards.append(_admission(settings, shop, child))
        guarded = pulumi.ResourceOptions(parent=self, depends_on=list(guards))

        def parties_calling(target: str) -> list[Party]:
            return [settings.parties[caller] for caller in settings.callers_of(target)]

        def scrapers_of(target: str) -> list[tuple[Party, int]]:
            return [(settings.parties[edge.caller], edge.port) for edge in settings.scrapes_of(target)]

        data = DataLayer(
            name,
            DataLayerArgs(
                namespace=namespace.namespace,
                settings=settings.data,
                labels=shop,
                callers={store: parties_calling(store) for store in settings.stores},
                scrapers={store: scrapers_of(store) for store in settings.stores},
                mesh_ports=network.mesh_ports(settings.mesh),
                pod_annotations={store: pod_annotations(settings, store) for store in settings.stores},
                home=settings.namespace.name,
                secrets=settings.secrets,
                # Whatever needs a store is down without it.
                priority_class=priorities.names[Criticality.CRITICAL],
                # They watch the shop's namespace, and bind roles in it.
                operators=_operators(settings, shop, guarded),
                guards=guards,
            ),
            child,
        )
        wired = connections(settings, data.connections_of_callers)
        services: dict[str, Microservice] = {}
        for service_name, service in settings.services.items():
            services[service_name] = Microservice(
                service_name,
                MicroserviceArgs(
                    settings=service,
                    namespace=namespace.namespace,
                    labels=Labels(
                        app=service_name,
                        component="microservice",
                        tier=service.tier,
                        version=service.version,
                        project=settings.project,
                        team=settings.team_of(service),
                        cost_center=settings.cost_center_of(service),
                    ),
                    connections=wired[service_name],
                    callers=parties_calling(service_name),
                    scrapers=scrapers_of(service_name),
                    mesh_ports=network.mesh_ports(settings.mesh),
                    pod_annotations=pod_annotations(settings, service_name),
                    service_labels=service_labels(settings, service_name),
                    service_annotations=service_annotations(settings, service_name),
                    home=settings.namespace.name,
                    priority_class=priorities.names[service.criticality],
                    placeholder_image=settings.placeholder_image,
                    guards=guards,
                ),
                child,
            )
        if settings.vertical_autoscaling.enabled:
            VerticalAutoscaling(
                "vertical-autoscaling",
                VerticalAutoscalingArgs(
                    settings=settings.vertical_autoscaling,
                    cluster=settings.cluster,
                    labels=shop,
                    home=namespace.namespace,
                    watched=[
                        *(Watched(kind="Deployment", name=name, labels=of.labels) for name, of in services.items()),
                        # An operator sizes its own pods.
                        *(
                            Watched(kind="StatefulSet", name=name, labels=of)
                            for name, of in data.labels.items()
                            if getattr(settings.data, name).mode is StoreMode.SINGLE
                        ),
                    ],
                ),
                child,
            )
        if settings.gateway.enabled:
            gateway = self._gateway(settings, shop, namespace, priorities.names[Criticality.CRITICAL], guarded)
            if settings.mesh.enabled:
                _entrance(settings, gateway, guards, child)
            guards = [*guards, gateway]
        if settings.mesh.enabled and settings.mesh.is_ambient:
            # After the gateway, which brings the definition of its kind.
            Waypoint(
                "waypoint",
                AuthorizationArgs(settings=settings, namespace=namespace.namespace, labels=shop, after=guards),
                child,
            )
        kubecost = None
        if settings.kubecost.enabled:
            kubecost = Kubecost(
                "kubecost",
                KubecostArgs(
                    settings=settings.kubecost,
                    cluster=settings.cluster,
                    labels=shop,
                    default_cluster_id=f"{settings.project}-{settings.stack}",
                ),
                child,
            )
        monitoring = None
        if settings.monitoring.enabled:
            monitoring = Monitoring("monitoring", MonitoringArgs(settings=settings, labels=shop), child)
        # Last: Argo CD may deliver what was made before it.
        if settings.gitops.enabled:
            GitOps(
                "gitops",
                GitOpsArgs(
                    settings=settings.gitops,
                    cluster=settings.cluster,
                    labels=shop,
                    project=settings.project,
                    stack=settings.stack,
                    home=settings.namespace.name,
                    scaled=[name for name, service in settings.services.items() if service.autoscaling],
                    delivered=delivered,
                    # While it is away the shop runs on.
                    priority_class=priorities.names[Criticality.STANDARD],
                ),
                child,
            )
        self.outputs = _outputs(settings, namespace, services, data, kubecost)
        if monitoring:
            self.outputs |= {"prometheusUrl": monitoring.prometheus_url, "grafanaUrl": monitoring.grafana_url}
        self.register_outputs({"outputs": self.outputs})

    def _gateway(
        self,
        settings: Settings,
        shop: Labels,
        namespace: GuardedNamespace,
        priority_class: pulumi.Input[str],
        opts: pulumi.ResourceOptions,
    ) -> Gateway:
        """The entrance, then the routes through it."""
        gateway = Gateway(
            "gateway",
            GatewayArgs(
                settings=settings.gateway,
                cluster=settings.cluster,
                labels=shop,
                project=settings.project,
                home=settings.namespace.name,
                upstreams=[
                    *(
                        Upstream(party=settings.parties[edge.target], port=edge.port)
                        for edge in settings.needs_of(GATEWAY)
                    ),
                    *(
                        Upstream(party=waypoint_party(settings), port=port)
                        for port in network.mesh_ports(settings.mesh)
                    ),
                ],
                scrapers=[(settings.parties[edge.caller], edge.port) for edge in settings.scrapes_of(GATEWAY)],
                # Nothing of the shop can be reached without it.
                priority_class=priority_class,
                mesh=settings.mesh,
            ),
            opts,
        )
        Routes(
            "gateway-routes",
            RoutesArgs(
                settings=settings.gateway,
                identity=settings.identity,
                services={name: service for name, service in settings.services.items() if service.routes},
                gateway=settings.project,
                namespace=namespace.namespace,
                gateway_namespace=gateway.namespace,
                labels=gateway.labels,
                mesh=settings.mesh.enabled,
                scraped=bool(settings.scrapes_of(GATEWAY)),
            ),
            pulumi.ResourceOptions(parent=self, depends_on=[gateway]),
        )
        return gateway


def _admission(settings: Settings, shop: Labels, opts: pulumi.ResourceOptions) -> pulumi.Resource:
    """What refuses objects that break a rule."""
    if settings.admission.engine is AdmissionEngine.NATIVE:
        return NativePolicies("admission", NativePoliciesArgs(settings=settings, labels=shop), opts)
    return Gatekeeper(
        "admission",
        GatekeeperArgs(settings=settings.admission, cluster=settings.cluster, labels=shop, whole=settings),
        opts,
    )


def _mesh(
    settings: Settings, shop: Labels, namespace: GuardedNamespace, child: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """The mesh, then who may call whom in it."""
    identity, gateway, monitoring = settings.identity, settings.gateway, settings.monitoring
    mesh = Mesh(
        "mesh",
        MeshArgs(
            settings=settings.mesh,
            cluster=settings.cluster,
            labels=shop,
            members=[settings.namespace.name, *([gateway.namespace] if gateway.enabled else [])],
            scraper=monitoring.namespace if monitoring.enabled else None,
            jwks_port=jwks_port(identity) if identity else None,
        ),
        child,
    )
    authorization = Authorization(
        "authorization",
        AuthorizationArgs(settings=settings, namespace=namespace.namespace, labels=shop, after=[namespace, mesh]),
        child,
    )
    return [mesh, authorization]


def _entrance(
    settings: Settings, gateway: Gateway, mesh: Sequence[pulumi.Resource], child: pulumi.ResourceOptions
) -> None:
    """The gateway as a part of the mesh: everybody may come to its public port, and it goes where the routes lead."""
    EntranceAuthorization(
        "entrance",
        EntranceArgs(
            settings=settings,
            namespace=gateway.namespace,
            labels=gateway.labels,
            after=[*mesh, gateway],
            public_ports=[proxy_port(settings.gateway)],
            controller=Party(
                name="controller",
                namespace=settings.gateway.namespace,
                pod_labels=CONTROLLER_LABELS,
                service_account=f"{RELEASE}-controller",
            ),
            admin_port=ADMIN_PORT,
        ),
        child,
    )


def _operators(settings: Settings, shop: Labels, opts: pulumi.ResourceOptions) -> dict[str, OperatorArgs]:
    """The operators that stores want, each with what its store needs to know of it."""
    home, data, operators = settings.namespace.name, settings.data, settings.operators
    made: dict[str, OperatorArgs] = {}
    if data.postgres and data.postgres.mode is StoreMode.OPERATOR:
        plugin = settings.guests.get("data.postgres.cluster.backup")
        cloudnative_pg = CloudNativePg(
            "cloudnative-pg",
            CloudNativePgArgs(
                settings=operators.cloudnative_pg, cluster=settings.cluster, labels=shop, home=home, backup=plugin
            ),
            opts,
        )
        made["postgres"] = OperatorArgs(
            party=cloudnative_pg_party(operators.cloudnative_pg),
            release=cloudnative_pg.ready,
            api_server_cidrs=operators.api_server_cidrs,
        )
    if data.kafka and data.kafka.mode is StoreMode.OPERATOR:
        strimzi = Strimzi(
            "strimzi",
            StrimziArgs(settings=operators.strimzi, cluster=settings.cluster, labels=shop, home=home),
            opts,
        )
        made["kafka"] = OperatorArgs(
            party=strimzi_party(operators.strimzi),
            release=strimzi.ready,
            api_server_cidrs=operators.api_server_cidrs,
            topics={caller: settings.services[caller].topics for caller in settings.callers_of("kafka")},
        )
    if data.redis and data.redis.mode is StoreMode.OPERATOR:
        made["redis"] = OperatorArgs()
    return made


def _outputs(
    settings: Settings,
    namespace: GuardedNamespace,
    services: Mapping[str, Microservice],
    data: DataLayer,
    kubecost: Kubecost | None,
) -> dict[str, Any]:
    """What people and pipelines ask a stack for. Nothing of it is secret."""
    declared = settings.services
    return {
        "namespace": namespace.namespace,
        "serviceUrls": {name: service.url for name, service in services.items()},
        "hpaRanges": {
            name: {"min": service.autoscaling.min, "max": service.autoscaling.max}
            for name, service in declared.items()
            if service.autoscaling
        },
        "storeEndpoints": {name: f"{c.host}:{c.port}" for name, c in data.connections.items()},
        "kubecostUrl": kubecost.api_url if kubecost else None,
        "monthlyEstimateInputs": {
            name: {
                "costCenter": settings.cost_center_of(service),
                "cpuRequest": str(service.resources.requests.cpu),
                "memoryRequest": str(service.resources.requests.memory),
                "replicas": {
                    "min": service.min_replicas,
                    "expected": service.replicas,
                    "max": service.max_replicas,
                },
            }
            for name, service in declared.items()
        },
    }
