"""Strimzi's kinds (``kafka.strimzi.io/v1``): the fields that this project sets, as of Strimzi 1.2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.custom import CustomKind, Spec

_GROUP = "kafka.strimzi.io/v1"

KAFKA = CustomKind(_GROUP, "Kafka")
NODE_POOL = CustomKind(_GROUP, "KafkaNodePool")
TOPIC = CustomKind(_GROUP, "KafkaTopic")
USER = CustomKind(_GROUP, "KafkaUser")


@dataclass(frozen=True, kw_only=True)
class OfType(Spec):
    """A part of which nothing but its kind is set."""

    type_: str


@dataclass(frozen=True, kw_only=True)
class Listener(Spec):
    """Where clients come in."""

    name: str
    port: int
    type_: str
    tls: bool
    authentication: OfType


@dataclass(frozen=True, kw_only=True)
class Rack(Spec):
    """The label of nodes that says where a broker is: copies of a partition go to different places."""

    type_: str
    topology_key: str


@dataclass(frozen=True, kw_only=True)
class PodTemplate(Spec):
    """What pods carry beyond Strimzi's own."""

    metadata: Mapping[str, Mapping[str, str]]
    priority_class_name: Any = None
    topology_spread_constraints: Sequence[Mapping[str, Any]] | None = None
    affinity: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Template(Spec):
    """How Strimzi makes its objects."""

    pod: PodTemplate


@dataclass(frozen=True, kw_only=True)
class Brokers(Spec):
    """What all nodes of a cluster share."""

    version: str
    listeners: Sequence[Listener]
    authorization: OfType
    config: Mapping[str, Any]
    rack: Rack
    metrics_config: OfType | None = None
    template: Template


@dataclass(frozen=True, kw_only=True)
class Operator(Spec):
    """One container of the entity operator."""

    resources: Mapping[str, Mapping[str, str]]
    secret_prefix: str | None = None


@dataclass(frozen=True, kw_only=True)
class EntityOperator(Spec):
    """The pod that makes topics and users of their objects."""

    topic_operator: Operator
    user_operator: Operator
    template: Template


@dataclass(frozen=True, kw_only=True)
class Exporter(Spec):
    """The pod that tells how far behind consumers are: brokers do not know."""

    resources: Mapping[str, Mapping[str, str]]
    template: Template


@dataclass(frozen=True, kw_only=True)
class Kafka(Spec):
    """A cluster; its nodes are in pools that carry its name as a label."""

    kafka: Brokers
    entity_operator: EntityOperator
    kafka_exporter: Exporter | None = None


@dataclass(frozen=True, kw_only=True)
class Volume(Spec):
    """A claim for each node."""

    id_: int
    type_: str
    size: str
    class_: str | None = None
    delete_claim: bool
    kraft_metadata: str | None = None


@dataclass(frozen=True, kw_only=True)
class Jbod(Spec):
    """Disks of a node."""

    type_: str
    volumes: Sequence[Volume]


@dataclass(frozen=True, kw_only=True)
class JvmOptions(Spec):
    """The heap."""

    xms: str = field(metadata={"wire": "-Xms"})
    xmx: str = field(metadata={"wire": "-Xmx"})


@dataclass(frozen=True, kw_only=True)
class NodePool(Spec):
    """Nodes that are alike."""

    replicas: int
    roles: Sequence[str]
    storage: Jbod
    resources: Mapping[str, Mapping[str, str]]
    jvm_options: JvmOptions


@dataclass(frozen=True, kw_only=True)
class Topic(Spec):
    """A topic, under the name of its object."""

    partitions: int
    replicas: int
    config: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class AclResource(Spec):
    """What a right is for."""

    type_: str
    name: str
    pattern_type: str


@dataclass(frozen=True, kw_only=True)
class Acl(Spec):
    """What a user may do with one resource."""

    resource: AclResource
    operations: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Authorization(Spec):
    """A user's rights; whatever is not among them is refused."""

    type_: str
    acls: Sequence[Acl]


@dataclass(frozen=True, kw_only=True)
class Authentication(Spec):
    """How a user says who it is."""

    type_: str
    password: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class User(Spec):
    """A user, under the name of its object."""

    authentication: Authentication
    authorization: Authorization
