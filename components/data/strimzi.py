"""Kafka by Strimzi: what each of its objects says. docs/layers/data.md has where that comes from.

Everything here is a function of the settings; `components.data.kafka` makes resources of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs
from pulumi_kubernetes.networking.v1 import (
    NetworkPolicyEgressRuleArgs,
    NetworkPolicyIngressRuleArgs,
    NetworkPolicyPeerArgs,
    NetworkPolicyPortArgs,
    NetworkPolicySpecArgs,
)

from cloudmart.settings import Party, Resources
from cloudmart.settings.data import KafkaSettings, Storage, Topic
from cloudmart.settings.service import ServiceTopics
from components import network
from components.data.cloudnative_pg import OUT_OF_THE_MESH, to_api_server
from components.layer import API_SERVER_PORTS, resources
from components.specs import strimzi

#: The nodes among each other, the operator, and the agent in each pod that tells it how a node is. All of it is TLS
#: with certificates of Strimzi's own.
_CONTROL_PLANE, _REPLICATION, _AGENT = 9090, 9091, 8443
OPERATOR_PORTS = (_CONTROL_PLANE, _REPLICATION, _AGENT)
_HOST, _ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
_MIB = 2**20
_HOUR_MS = 3_600_000
#: Copies of each partition, and how many must have a message before its producer hears that it is safe.
_COPIES, _IN_SYNC = 3, 2

BROKERS, CONTROLLERS = "broker", "controller"


def cluster_label(name: str) -> dict[str, str]:
    """What says to which cluster a pool, a topic or a user belongs."""
    return {"strimzi.io/cluster": name}


def nodes_selector(name: str) -> LabelSelectorArgs:
    """Brokers and controllers."""
    return LabelSelectorArgs(match_labels={**cluster_label(name), "strimzi.io/name": f"{name}-kafka"})


def _entity_operator(name: str) -> dict[str, str]:
    return {**cluster_label(name), "strimzi.io/name": f"{name}-entity-operator"}


def exporter_pods(name: str) -> dict[str, str]:
    """Labels of the pod that tells how far behind consumers are."""
    return {**cluster_label(name), "strimzi.io/name": f"{name}-kafka-exporter"}


def controller_pods(name: str) -> dict[str, str]:
    """Labels of controllers that are nodes of their own."""
    return {**cluster_label(name), "strimzi.io/pool-name": CONTROLLERS}


def kafka(
    name: str, settings: KafkaSettings, *, metrics: bool, priority_class: pulumi.Input[str] | None
) -> strimzi.Kafka:
    """The cluster, without its nodes."""
    entity = settings.cluster.entity_operator
    own = {**cluster_label(name), "strimzi.io/name": f"{name}-kafka"}
    around = ",".join(str(port) for port in (*OPERATOR_PORTS, *API_SERVER_PORTS))
    past = list(OPERATOR_PORTS)
    if metrics and settings.cluster.controllers:
        # Controllers are no party that the mesh has rules for.
        past.append(settings.cluster_metrics_port)
    one = strimzi.Template(
        pod=strimzi.PodTemplate(metadata={"labels": OUT_OF_THE_MESH}, priority_class_name=priority_class)
    )
    return strimzi.Kafka(
        kafka=strimzi.Brokers(
            version=settings.cluster.version,
            listeners=[
                strimzi.Listener(
                    name="clients",
                    port=settings.server_port,
                    type_="internal",
                    # The mesh encrypts; Strimzi's own certificates would have to be in every client's trust store.
                    tls=False,
                    authentication=strimzi.OfType(type_="scram-sha-512"),
                )
            ],
            authorization=strimzi.OfType(type_="simple"),
            config={
                # Topics are declared, each with its rights.
                "auto.create.topics.enable": False,
                "num.partitions": settings.partitions,
                "log.retention.hours": settings.retention_hours,
                "default.replication.factor": _COPIES,
                "min.insync.replicas": _IN_SYNC,
                "offsets.topic.replication.factor": _COPIES,
                "transaction.state.log.replication.factor": _COPIES,
                "transaction.state.log.min.isr": _IN_SYNC,
                "share.coordinator.state.topic.replication.factor": _COPIES,
                "share.coordinator.state.topic.min.isr": _IN_SYNC,
            },
            rack=strimzi.Rack(type_="topology-label", topology_key=_ZONE),
            metrics_config=strimzi.OfType(type_="strimziMetricsReporter") if metrics else None,
            template=strimzi.Template(
                pod=strimzi.PodTemplate(
                    metadata={
                        # With a proxy in the pod the clients' port is in the mesh, and the rest goes past it. A node's
                        # proxy can leave no port out, so there the pods are not in the mesh.
                        "labels": {"istio.io/dataplane-mode": "none"},
                        "annotations": {
                            "traffic.sidecar.istio.io/excludeInboundPorts": ",".join(map(str, past)),
                            "traffic.sidecar.istio.io/excludeOutboundPorts": around,
                        },
                    },
                    priority_class_name=priority_class,
                    topology_spread_constraints=[
                        {
                            "maxSkew": 1,
                            "topologyKey": _ZONE,
                            "whenUnsatisfiable": "ScheduleAnyway",
                            "labelSelector": {"matchLabels": own},
                        }
                    ],
                    # Two nodes on one machine would go together. Pools may share one: their roles differ.
                    affinity={
                        "podAntiAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": [
                                {
                                    "labelSelector": {"matchLabels": own},
                                    "matchLabelKeys": ["strimzi.io/pool-name"],
                                    "topologyKey": _HOST,
                                }
                            ]
                        }
                    },
                )
            ),
        ),
        entity_operator=strimzi.EntityOperator(
            topic_operator=strimzi.Operator(resources=resources(entity.topics)),
            # Its Secrets would otherwise bear the services' own names.
            user_operator=strimzi.Operator(resources=resources(entity.users), secret_prefix=f"{name}-user-"),
            template=one,
        ),
        kafka_exporter=strimzi.Exporter(resources=resources(settings.exporter.resources), template=one)
        if metrics
        else None,
    )


def _pool(replicas: int, roles: Sequence[str], storage: Storage, amounts: Resources) -> strimzi.NodePool:
    # The other half is for the JVM itself and for the page cache that Kafka reads from.
    heap = f"{amounts.limits.memory.bytes // 2 // _MIB}m"
    return strimzi.NodePool(
        replicas=replicas,
        roles=roles,
        storage=strimzi.Jbod(
            type_="jbod",
            volumes=[
                strimzi.Volume(
                    id_=0,
                    type_="persistent-claim",
                    size=str(storage.size),
                    class_=storage.storage_class,
                    # Data outlives its nodes: whoever wants it gone deletes the claims.
                    delete_claim=False,
                    kraft_metadata="shared",
                )
            ],
        ),
        resources=resources(amounts),
        jvm_options=strimzi.JvmOptions(xms=heap, xmx=heap),
    )


def pools(settings: KafkaSettings) -> dict[str, strimzi.NodePool]:
    """The nodes, by the name of their pool."""
    of = settings.cluster.controllers
    roles = ["broker"] if of else ["controller", "broker"]
    found = {BROKERS: _pool(settings.cluster.brokers, roles, settings.storage, settings.resources)}
    if of:
        found[CONTROLLERS] = _pool(of.replicas, ["controller"], of.storage, of)
    return found


def topic(settings: KafkaSettings, of: Topic) -> strimzi.Topic:
    """One declared topic."""
    return strimzi.Topic(
        partitions=of.partitions or settings.partitions,
        replicas=_COPIES,
        config={
            "retention.ms": (of.retention_hours or settings.retention_hours) * _HOUR_MS,
            "min.insync.replicas": _IN_SYNC,
        },
    )


def user(caller: str, topics: ServiceTopics, credentials: str, key: str) -> strimzi.User:
    """One caller, with exactly the rights that its topics need. Its consumers' group bears its own name."""

    def acl(type_: str, name: str, *operations: str) -> strimzi.Acl:
        return strimzi.Acl(
            resource=strimzi.AclResource(type_=type_, name=name, pattern_type="literal"), operations=operations
        )

    rights = [acl("topic", name, "Describe", "Write") for name in topics.produces]
    rights += [acl("topic", name, "Describe", "Read") for name in topics.consumes]
    if topics.consumes:
        rights.append(acl("group", caller, "Describe", "Read"))
    return strimzi.User(
        authentication=strimzi.Authentication(
            type_="scram-sha-512",
            password={"valueFrom": {"secretKeyRef": {"name": credentials, "key": key}}},
        ),
        authorization=strimzi.Authorization(type_="simple", acls=rights),
    )


def _ports(*numbers: int) -> list[NetworkPolicyPortArgs]:
    return [port for number in numbers for port in network.tcp(number)]


def nodes_policy(
    name: str,
    settings: KafkaSettings,
    callers: Sequence[Party],
    operator: Party,
    scrapers: Sequence[tuple[Party, int]],
    home: str,
    api_server: Sequence[str],
) -> NetworkPolicySpecArgs:
    """The declared callers come in at the clients' port; the nodes, Strimzi and its entity operator at theirs."""
    nodes = NetworkPolicyPeerArgs(pod_selector=nodes_selector(name))
    return NetworkPolicySpecArgs(
        pod_selector=nodes_selector(name),
        policy_types=["Ingress", "Egress"],
        ingress=[
            *network.ingress_from(callers, [settings.server_port], home),
            NetworkPolicyIngressRuleArgs(from_=[nodes], ports=_ports(_CONTROL_PLANE, _REPLICATION)),
            NetworkPolicyIngressRuleArgs(
                from_=[
                    network.pods(_entity_operator(name)),
                    *([network.pods(exporter_pods(name))] if settings.exporter.enabled else []),
                ],
                ports=_ports(_REPLICATION),
            ),
            NetworkPolicyIngressRuleArgs(from_=[network.party(operator, home)], ports=_ports(*OPERATOR_PORTS)),
            *network.ingress_of_scrapers(scrapers, home),
        ],
        egress=[
            NetworkPolicyEgressRuleArgs(to=[nodes], ports=_ports(_CONTROL_PLANE, _REPLICATION)),
            # Each asks once, at its start, in which zone its node is.
            to_api_server(api_server),
        ],
    )


def entity_operator_policy(name: str, api_server: Sequence[str]) -> NetworkPolicySpecArgs:
    """It calls the brokers and the API server; nobody calls it."""
    nodes = NetworkPolicyPeerArgs(pod_selector=nodes_selector(name))
    return NetworkPolicySpecArgs(
        pod_selector=LabelSelectorArgs(match_labels=_entity_operator(name)),
        policy_types=["Ingress", "Egress"],
        ingress=[],
        egress=[NetworkPolicyEgressRuleArgs(to=[nodes], ports=_ports(_REPLICATION)), to_api_server(api_server)],
    )


def exporter_policy(name: str, scrapers: Sequence[tuple[Party, int]], home: str) -> NetworkPolicySpecArgs:
    """It calls the brokers, with a certificate of Strimzi's; Prometheus calls it."""
    nodes = NetworkPolicyPeerArgs(pod_selector=nodes_selector(name))
    return NetworkPolicySpecArgs(
        pod_selector=LabelSelectorArgs(match_labels=exporter_pods(name)),
        policy_types=["Ingress", "Egress"],
        ingress=network.ingress_of_scrapers(scrapers, home),
        egress=[NetworkPolicyEgressRuleArgs(to=[nodes], ports=_ports(_REPLICATION))],
    )
