"""CloudNativePG's kinds (``postgresql.cnpg.io/v1``) and its Barman Cloud plugin's (``barmancloud.cnpg.io/v1``): the
fields that this project sets, as of operator 1.30 and plugin 0.13."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.custom import CustomKind, Spec

_POSTGRES = "postgresql.cnpg.io/v1"

CLUSTER = CustomKind(_POSTGRES, "Cluster")
DATABASE = CustomKind(_POSTGRES, "Database")
DATABASE_ROLE = CustomKind(_POSTGRES, "DatabaseRole")
POOLER = CustomKind(_POSTGRES, "Pooler")
SCHEDULED_BACKUP = CustomKind(_POSTGRES, "ScheduledBackup")
OBJECT_STORE = CustomKind("barmancloud.cnpg.io/v1", "ObjectStore")


@dataclass(frozen=True, kw_only=True)
class Reference(Spec):
    """An object of the same namespace."""

    name: str


@dataclass(frozen=True, kw_only=True)
class KeyReference(Spec):
    """One key of a Secret of the same namespace."""

    name: str
    key: str


@dataclass(frozen=True, kw_only=True)
class InheritedMetadata(Spec):
    """What every object that the operator makes for a cluster carries, its pods and claims included."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class ClusterStorage(Spec):
    """A claim for each instance."""

    size: str
    storage_class: str | None = None


@dataclass(frozen=True, kw_only=True)
class InitDb(Spec):
    """A new database, made once; later changes have no effect."""

    database: str
    owner: str
    secret: Reference
    data_checksums: bool
    #: Run as superuser in the new database.
    post_init_application_sql: Sequence[str] = field(metadata={"wire": "postInitApplicationSQL"})


@dataclass(frozen=True, kw_only=True)
class Bootstrap(Spec):
    """Where a new cluster's data comes from."""

    initdb: InitDb


@dataclass(frozen=True, kw_only=True)
class Synchronous(Spec):
    """How many standbys must have a transaction before it is committed."""

    method: str
    number: int
    data_durability: str
    failover_quorum: bool


@dataclass(frozen=True, kw_only=True)
class PostgresConfiguration(Spec):
    """The server's configuration, besides what the operator sets itself."""

    parameters: Mapping[str, str]
    synchronous: Synchronous | None = None


@dataclass(frozen=True, kw_only=True)
class Affinity(Spec):
    """The operator's own anti-affinity between the instances."""

    enable_pod_anti_affinity: bool
    topology_key: str
    pod_anti_affinity_type: str


@dataclass(frozen=True, kw_only=True)
class TopologySpread(Spec):
    """One of a pod's ``topologySpreadConstraints``."""

    max_skew: int
    topology_key: str
    when_unsatisfiable: str
    label_selector: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plugin(Spec):
    """A plugin of the operator, and whether it archives the write-ahead log."""

    name: str
    parameters: Mapping[str, str]
    is_wal_archiver: bool | None = field(default=None, metadata={"wire": "isWALArchiver"})


@dataclass(frozen=True, kw_only=True)
class Cluster(Spec):
    """A primary and its standbys."""

    instances: int
    image_name: str
    image_pull_secrets: Sequence[Reference] | None = None
    inherited_metadata: InheritedMetadata
    storage: ClusterStorage
    wal_storage: ClusterStorage
    resources: Mapping[str, Mapping[str, str]]
    enable_superuser_access: bool
    bootstrap: Bootstrap
    postgresql: PostgresConfiguration
    affinity: Affinity
    topology_spread_constraints: Sequence[TopologySpread]
    priority_class_name: Any = None
    enable_pdb: bool = field(metadata={"wire": "enablePDB"})
    plugins: Sequence[Plugin] | None = None


@dataclass(frozen=True, kw_only=True)
class DatabaseRole(Spec):
    """A role, with the password of a Secret. What it leaves out is forced back to PostgreSQL's defaults."""

    cluster: Reference
    name: str
    comment: str
    login: bool
    password_secret: Reference
    in_roles: Sequence[str]
    connection_limit: int
    database_role_reclaim_policy: str


@dataclass(frozen=True, kw_only=True)
class Schema(Spec):
    """A schema of a database."""

    name: str
    owner: str


@dataclass(frozen=True, kw_only=True)
class Database(Spec):
    """A database, and the schemas in it."""

    cluster: Reference
    name: str
    owner: str
    schemas: Sequence[Schema]
    database_reclaim_policy: str


@dataclass(frozen=True, kw_only=True)
class PgBouncer(Spec):
    """PgBouncer's own configuration; the pooler's users and passwords come from the cluster."""

    pool_mode: str
    image: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class PodTemplate(Spec):
    """Pods of a pooler. A container of the operator's name is merged with the operator's own."""

    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Pooler(Spec):
    """PgBouncer in front of a cluster's primary (``rw``)."""

    cluster: Reference
    type_: str
    instances: int
    pgbouncer: PgBouncer
    template: PodTemplate


@dataclass(frozen=True, kw_only=True)
class ScheduledBackup(Spec):
    """A base backup by `schedule`: six fields, the first are seconds."""

    cluster: Reference
    schedule: str
    immediate: bool
    backup_owner_reference: str
    method: str
    plugin_configuration: Reference


@dataclass(frozen=True, kw_only=True)
class S3Credentials(Spec):
    """Keys in a Secret, or the identity that the cloud gives to the pods."""

    access_key_id: KeyReference | None = None
    secret_access_key: KeyReference | None = None
    inherit_from_iam_role: bool | None = field(default=None, metadata={"wire": "inheritFromIAMRole"})


@dataclass(frozen=True, kw_only=True)
class Compressed(Spec):
    """How one kind of files is stored."""

    compression: str


@dataclass(frozen=True, kw_only=True)
class ObjectStoreConfiguration(Spec):
    """A place in object storage."""

    destination_path: str
    endpoint_url: str | None = field(default=None, metadata={"wire": "endpointURL"})
    s3_credentials: S3Credentials
    wal: Compressed
    data: Compressed


@dataclass(frozen=True, kw_only=True)
class Sidecar(Spec):
    """The plugin's container beside each instance."""

    resources: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class ObjectStore(Spec):
    """Where the plugin keeps backups and the archived log, and for how long."""

    configuration: ObjectStoreConfiguration
    retention_policy: str
    instance_sidecar_configuration: Sidecar
