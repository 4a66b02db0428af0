"""What Prometheus scrapes of the shop and of its platform: one PodMonitor for each edge of purpose `scrape`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cloudmart.settings import Edge, Purpose, Settings
from cloudmart.settings.data import StoreMode
from cloudmart.settings.mesh import ISTIOD_PODS
from cloudmart.settings.model import PROXY_METRICS_PORT
from components.data import strimzi
from components.mesh_values import ISTIOD, ISTIOD_METRICS_PORT
from components.specs.prometheus import Namespaces, PodEndpoint, PodMonitorSpec, Relabeling, Selector

#: The container of the mesh's proxy, and where it answers: with its own metrics, and with those of the pod's container
#: that the annotations `prometheus.io/…` name.
_PROXY, _PROXY_PATH = "istio-proxy", "/stats/prometheus"
_PATH = "/metrics"
#: Pods of a store that an operator runs and that clients do not connect to, by the name that their metrics have.
INSTANCES, REPLICAS, EXPORTER, CONTROLLERS = (
    "postgres-instances",
    "redis-replicas",
    "kafka-exporter",
    "kafka-controllers",
)


def monitors(settings: Settings) -> Mapping[str, PodMonitorSpec]:
    """By name of what is scraped: all edges of that purpose, and what is no end of one."""
    found = {edge.target: _monitor(settings, edge) for edge in settings.edges if edge.purpose is Purpose.SCRAPE}
    for behind in unseen(settings):
        endpoint = PodEndpoint(port_number=behind.port, path=_PATH, relabelings=(_job(behind.name),))
        found[behind.name] = _pods(behind.pods, behind.namespace, endpoint)
    return found


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """Pods that are scraped and are no end of an edge: nobody of the shop calls them."""

    name: str
    #: Whose they are: a store, or a layer.
    owner: str
    namespace: str
    pods: Mapping[str, str]
    port: int


def unseen(settings: Settings) -> list[Unseen]:
    """The mesh's control plane, and of a store that an operator runs what clients do not connect to: what stands behind
    the pooler or proxy, Kafka's exporter, and its controllers where they are nodes of their own."""
    found = []
    if settings.mesh.enabled:
        home = settings.mesh.namespace
        found.append(Unseen(name=ISTIOD, owner="mesh", namespace=home, pods=ISTIOD_PODS, port=ISTIOD_METRICS_PORT))
    behind = {
        "postgres": (INSTANCES, {"cnpg.io/cluster": "postgres", "cnpg.io/podRole": "instance"}),
        "redis": (REPLICAS, {"app": "redis", "release": "redis"}),
    }
    for store, (name, pods) in behind.items():
        of = getattr(settings.data, store)
        if of is not None and of.mode is StoreMode.OPERATOR and of.exporter.enabled:
            home = settings.namespace.name
            found.append(Unseen(name=name, owner=store, namespace=home, pods=pods, port=of.metrics_port))
    kafka = settings.data.kafka
    if kafka is not None and kafka.mode is StoreMode.OPERATOR and kafka.exporter.enabled:
        beside = {EXPORTER: strimzi.exporter_pods("kafka")}
        if kafka.cluster.controllers:
            beside[CONTROLLERS] = strimzi.controller_pods("kafka")
        home, port = settings.namespace.name, kafka.cluster_metrics_port
        found += [
            Unseen(name=name, owner="kafka", namespace=home, pods=pods, port=port) for name, pods in beside.items()
        ]
    return found


def _job(name: str) -> Relabeling:
    """By the name that people know, not by that of the monitor."""
    return Relabeling(target_label="job", replacement=name)


def _pods(labels: Mapping[str, str], namespace: str, endpoint: PodEndpoint) -> PodMonitorSpec:
    return PodMonitorSpec(
        selector=Selector(match_labels=labels),
        namespace_selector=Namespaces(match_names=[namespace]),
        pod_metrics_endpoints=[endpoint],
    )


def _monitor(settings: Settings, edge: Edge) -> PodMonitorSpec:
    party = settings.parties[edge.target]
    job = _job(edge.target)
    if edge.port == PROXY_METRICS_PORT:
        endpoint = PodEndpoint(
            path=_PROXY_PATH,
            relabelings=(
                # The pod declares no such port: of its targets the proxy's is kept, at another port.
                Relabeling(action="keep", source_labels=["__meta_kubernetes_pod_container_name"], regex=_PROXY),
                Relabeling(
                    source_labels=["__address__"],
                    regex=r"(.+):\d+",
                    target_label="__address__",
                    replacement=f"$1:{PROXY_METRICS_PORT}",
                ),
                job,
            ),
        )
    else:
        service = settings.services.get(edge.target)
        path = service.metrics.path if service and service.metrics else _PATH
        endpoint = PodEndpoint(port_number=edge.port, path=path, relabelings=(job,))
    return _pods(party.pod_labels, party.namespace, endpoint)
