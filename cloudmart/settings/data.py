"""The stores of the data layer: PostgreSQL, Redis and Kafka.

A store that is null is not there. Defaults are those of a small production environment; what an image needs of its pod
(user, folders, commands) is no setting and stands with the component.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, Strict, model_validator

from cloudmart.settings.base import (
    Amounts,
    Cidr,
    DnsLabel,
    Flag,
    FrozenMapping,
    HostName,
    Image,
    LabelValue,
    MisfitError,
    Model,
    Port,
    Positive,
    Resources,
    VolumeSize,
)
from cloudmart.settings.charts import BARMAN_CLOUD, REDIS_HA, ChartSource
from cloudmart.settings.layer import Layer, Workload, workload
from cloudmart.settings.quantities import Bytes, Cpu

_MIB = 2**20

#: What a generated password is called after whose it is.
PASSWORD = "password"  # noqa: S105
SUPERUSER_PASSWORD = "superuser-password"  # noqa: S105

#: As Kafka allows it, without the underscore: Kafka takes it for the same as the dot in names of metrics.
TopicName = Annotated[str, Strict(), Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=200)]

#: A role or user that needs no quoting in SQL, Redis ACLs or JAAS.
_UserName = Annotated[str, Strict(), Field(pattern=r"^[a-z_][a-z0-9_]*$", max_length=63)]


class StoreMode(StrEnum):
    """Where a store runs."""

    #: One replica in the cluster: no failover, back up within minutes of losing its node.
    SINGLE = "single"
    #: A managed service outside the cluster: only its name and its credentials are made here.
    EXTERNAL = "external"
    #: Several replicas in the cluster that stand in for each other, run by an operator or a chart: see `cluster`.
    OPERATOR = "operator"


class Storage(Model):
    """The volume claim of a store's pod."""

    #: Size of the volume; it can only grow.
    size: VolumeSize = Bytes("20Gi")
    #: The cluster's default class where it is left out.
    storage_class: HostName | None = None


class Exporter(Model):
    """A Prometheus exporter beside the store, in the same pod."""

    #: Whether it runs.
    enabled: Flag = False
    #: Its image.
    image: Image
    #: Exporters idle between scrapes; the limit leaves room for a scrape of many tables, keys or partitions.
    resources: Resources = Resources(
        requests=Amounts(cpu=Cpu("20m"), memory=Bytes("32Mi")), limits=Amounts(cpu=Cpu("100m"), memory=Bytes("64Mi"))
    )


class ExternalEndpoint(Model):
    """A managed endpoint outside the cluster."""

    #: Its name, which services are given.
    host: HostName
    #: Its port.
    port: Port
    #: Where its addresses lie. NetworkPolicies know no host names, and no range is safe to guess.
    cidrs: Annotated[tuple[Cidr, ...], Field(min_length=1)]


class Store(Model):
    """What the stores share."""

    #: Below this the server does not start, or starts and is killed under the first load.
    minimum_memory: ClassVar[Bytes]
    #: The port on which the server in the cluster takes clients.
    server_port: ClassVar[int]
    #: The port of its exporter, as registered with Prometheus.
    metrics_port: ClassVar[int]
    #: The same of the pods that clients connect to in mode `operator`.
    cluster_metrics_port: ClassVar[int]

    #: How it runs.
    mode: StoreMode = StoreMode.SINGLE
    #: Who pays; the namespace's cost center where it is left out.
    cost_center: LabelValue | None = None
    #: Refuses to delete the workload until a stack says otherwise. Not its passwords: the server takes up another one.
    protect: Flag = False

    #: Its image in mode `single`.
    image: Image
    #: The volume of each replica.
    storage: Storage
    #: Requests and limits of each replica.
    resources: Resources
    #: Its metrics for Prometheus.
    exporter: Exporter
    #: The managed endpoint of mode `external`.
    external: ExternalEndpoint | None = None

    @property
    def is_inside(self) -> bool:
        """Whether it runs in the cluster."""
        return self.mode is not StoreMode.EXTERNAL

    @property
    def client_port(self) -> int:
        """The port that clients connect to."""
        return self.external.port if self.external else self.server_port

    def passwords(self, name: str, callers: Sequence[str], *, managed: bool) -> Sequence[str]:
        """Names of its passwords, and of those of `callers` where each has its own; of one in mode `external` where it
        is `managed` like the others, and is not from the configuration."""
        match self.mode:
            case StoreMode.EXTERNAL if not managed:
                return ()
            case StoreMode.OPERATOR:
                return self._cluster_passwords(name, callers)
        return (f"{name}-{PASSWORD}",)

    # How mode `operator` differs; its subclass says so where it does.

    def _cluster_passwords(self, name: str, callers: Sequence[str]) -> Sequence[str]:  # noqa: ARG002
        return (f"{name}-{PASSWORD}",)

    def pod_labels(self, name: str) -> Mapping[str, str]:
        """Labels that select the pods which clients connect to."""
        return {"app": name}

    def service_account(self, name: str) -> str:
        """The ServiceAccount of the pods which clients connect to."""
        return name

    def hosts(self, name: str) -> Sequence[str]:
        """Names of the Services through which clients reach a store that is inside."""
        return (f"{name}-service",)

    @property
    def pods(self) -> int:
        """How many pods of the store can run at once in the shop's namespace."""
        match self.mode:
            case StoreMode.EXTERNAL:
                return 0
            case StoreMode.OPERATOR:
                return self._cluster_pods
        return 1

    @property
    def containers(self) -> Sequence[tuple[int, Resources]]:
        """Every container of those pods: how many of them have it, and what it takes."""
        match self.mode:
            case StoreMode.EXTERNAL:
                return ()
            case StoreMode.OPERATOR:
                return self._cluster_containers
        return ((1, self.resources), *(((1, self.exporter.resources),) if self.exporter.enabled else ()))

    @property
    def claims(self) -> Sequence[Bytes]:
        """The size of every volume claim that the store can have at once."""
        match self.mode:
            case StoreMode.EXTERNAL:
                return ()
            case StoreMode.OPERATOR:
                return self._cluster_claims
        return (self.storage.size,)

    @property
    def _cluster_pods(self) -> int:
        raise NotImplementedError

    @property
    def _cluster_containers(self) -> Sequence[tuple[int, Resources]]:
        raise NotImplementedError

    @property
    def _cluster_claims(self) -> Sequence[Bytes]:
        raise NotImplementedError

    @property
    def scrape_port(self) -> int | None:
        """Where Prometheus finds its metrics; None where there are none."""
        if not self.exporter.enabled or self.mode is StoreMode.EXTERNAL:
            return None
        return self.metrics_port if self.mode is StoreMode.SINGLE else self.cluster_metrics_port

    @model_validator(mode="after")
    def _mode_fits(self) -> Self:
        if self.mode is StoreMode.EXTERNAL and self.external is None:
            raise MisfitError(
                "mode is external, but external is not given; allowed: external with host and cidrs",
                ("mode",),
                ("external",),
            )
        if self.mode is not StoreMode.EXTERNAL and self.external is not None:
            raise MisfitError(
                f"external is given, but mode is {self.mode}; allowed: mode external, or no external",
                ("external",),
                ("mode",),
            )
        if self.resources.limits.memory < self.minimum_memory:
            raise MisfitError(
                f"limits.memory {self.resources.limits.memory} is too little for this server; "
                f"allowed: {self.minimum_memory} or more",
                ("resources", "limits", "memory"),
            )
        return self


class PostgresEndpoint(ExternalEndpoint):
    """A managed PostgreSQL."""

    port: Port = 5432
    #: libpq's `sslmode`. `verify-full` needs the provider's CA in the client's image.
    ssl_mode: Literal["require", "verify-ca", "verify-full"] = "require"


class PostgresExporter(Exporter):
    """postgres_exporter, of the Prometheus community."""

    image: Image = Image(repository="quay.io/prometheuscommunity/postgres-exporter", tag="v0.20.1")


class PoolMode(StrEnum):
    """For how long a client has a server connection to itself."""

    #: As long as it is connected: everything works as without a pooler.
    SESSION = "session"
    #: For one transaction: far fewer connections, and no session state such as `SET`, `LISTEN` or advisory locks.
    TRANSACTION = "transaction"


class Pooler(Workload):
    """PgBouncer between the services and the primary: they need not know which instance that is."""

    replicas: Positive = 2
    image: Image = Image(repository="ghcr.io/cloudnative-pg/pgbouncer", tag="1.25.1")
    #: When a client gives its connection to the server back.
    mode: PoolMode = PoolMode.SESSION


class BackupPlugin(Layer):
    """The chart of CloudNativePG's plugin for backups, in the operator's namespace, which is where it is looked for."""

    chart: ChartSource = ChartSource()

    CHARTS: ClassVar = {"chart": BARMAN_CLOUD}


class Backup(Model):
    """Backups to object storage that speaks S3: the write-ahead log continuously, everything by `schedule`. They can be
    restored to any moment in between."""

    #: Where to: ``s3://bucket/folder``.
    destination: Annotated[str, Strict(), Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?$")]
    #: The storage's URL where it is not AWS.
    endpoint: Annotated[str, Strict(), Field(pattern=r"^https://[a-z0-9.-]+(:[0-9]{1,5})?$")] | None = None
    #: Where the endpoint's addresses lie; the whole internet where it is left out. NetworkPolicies know no host names.
    cidrs: tuple[Cidr, ...] = ()
    #: A Secret of the shop's namespace with the keys ACCESS_KEY_ID and ACCESS_SECRET_KEY; the identity that the cloud
    #: gives to the pods where it is left out.
    credentials: DnsLabel | None = None
    #: How long a backup can be restored: days, weeks or months.
    retention: Annotated[str, Strict(), Field(pattern=r"^[1-9][0-9]*[dwm]$")] = "30d"
    #: Six fields, the first are seconds.
    schedule: Annotated[str, Strict(), Field(pattern=r"^([0-9*/,-]+ ){3}([0-9A-Za-z*/,-]+ ){2}[0-9A-Za-z*/,-]+$")] = (
        "0 0 2 * * *"
    )
    #: The monitoring alerts when the newest backup is older: more than the schedule's longest pause.
    alert_after_hours: Positive = 36
    #: Of the plugin's container beside each instance.
    resources: Resources = Resources(
        requests=Amounts(cpu=Cpu("50m"), memory=Bytes("128Mi")), limits=Amounts(cpu=Cpu("500m"), memory=Bytes("512Mi"))
    )

    chart: ChartSource = ChartSource()

    def layer(self, namespace: str) -> BackupPlugin:
        """The chart as a layer, in the operator's `namespace`."""
        return BackupPlugin(enabled=True, namespace=namespace, chart=self.chart)

    @property
    def port(self) -> int:
        """The port of the endpoint."""
        _, _, port = (self.endpoint or "").removeprefix("https://").partition(":")
        return int(port or 443)


class WalStorage(Storage):
    """The write-ahead log's own volume: a log that nobody archives then fills that one, and not the data's."""

    size: VolumeSize = Bytes("10Gi")


class PostgresCluster(Model):
    """PostgreSQL in mode `operator`: a primary with standbys, by CloudNativePG. Resources and storage are the store's
    own, for each instance."""

    #: Three keep a synchronous standby while one is away.
    instances: Annotated[int, Strict(), Field(ge=2, le=9)] = 3
    #: Of the operator's own series, which brings what it needs; the tag names the Debian release, whose collations the
    #: indexes depend on.
    image: Image = Image(repository="ghcr.io/cloudnative-pg/postgresql", tag="18.4-minimal-trixie")
    #: The write-ahead log's own volume.
    wal_storage: WalStorage = WalStorage()
    #: PgBouncer in front.
    pooler: Pooler = Pooler.model_validate(
        workload(requests=("50m", "64Mi"), limits=("500m", "128Mi"), replicas=2).model_dump()
    )
    #: Left out, there is none.
    backup: Backup | None = None


class PostgresSettings(Store):
    """PostgreSQL: accounts and everything else that must be consistent."""

    minimum_memory = Bytes("256Mi")
    server_port = 5432
    metrics_port = 9187
    cluster_metrics_port = 9127

    #: The Debian variant: Alpine's collations differ, so changing the variant later corrupts text indexes.
    image: Image = Image(repository="docker.io/library/postgres", tag="18.6-trixie")
    storage: Storage = Storage()
    #: Memory is requested in full: a database that is evicted for memory takes every service with it.
    resources: Resources = Resources(
        requests=Amounts(cpu=Cpu("250m"), memory=Bytes("1Gi")), limits=Amounts(cpu=Cpu("1"), memory=Bytes("1Gi"))
    )
    exporter: PostgresExporter = PostgresExporter()
    external: PostgresEndpoint | None = None

    #: The database that services share.
    database: _UserName = "cloudmart"
    #: The role that services use. It owns the database and is no superuser.
    user: _UserName = "cloudmart"
    #: Enough for every replica at the top of its range with a pool of ten; each costs up to some 10 MiB.
    max_connections: Positive = 100
    #: The cluster of mode `operator`.
    cluster: PostgresCluster = PostgresCluster()

    @model_validator(mode="after")
    def _not_the_superuser(self) -> Self:
        for key in ("database", "user"):
            if getattr(self, key) == "postgres":
                raise MisfitError(f"{key} is 'postgres', the administrator's own; allowed: any other name", (key,))
        return self

    def passwords(self, name: str, callers: Sequence[str], *, managed: bool) -> Sequence[str]:
        superuser = (f"{name}-{SUPERUSER_PASSWORD}",) if self.mode is StoreMode.SINGLE else ()
        return (*super().passwords(name, callers, managed=managed), *superuser)

    def _cluster_passwords(self, name: str, callers: Sequence[str]) -> Sequence[str]:
        # The database's owner, then the roles of the services.
        return (f"{name}-{PASSWORD}", *(f"{name}-{caller}-{PASSWORD}" for caller in callers))

    def pod_labels(self, name: str) -> Mapping[str, str]:
        # Clients reach the pooler alone, not the instances behind it.
        return (
            {"cnpg.io/poolerName": pooler_name(name)} if self.mode is StoreMode.OPERATOR else super().pod_labels(name)
        )

    def service_account(self, name: str) -> str:
        return pooler_name(name) if self.mode is StoreMode.OPERATOR else super().service_account(name)

    @property
    def _instances(self) -> int:
        # One more: the job that prepares a new one.
        return self.cluster.instances + 1

    @property
    def _poolers(self) -> int:
        # One more while they are replaced.
        return self.cluster.pooler.replicas + 1

    @property
    def _cluster_pods(self) -> int:
        return self._instances + self._poolers

    @property
    def _cluster_containers(self) -> Sequence[tuple[int, Resources]]:
        backup = self.cluster.backup
        return (
            (self._instances, self.resources),
            (self._poolers, self.cluster.pooler),
            *(((self._instances, backup.resources),) if backup else ()),
        )

    @property
    def _cluster_claims(self) -> Sequence[Bytes]:
        # One pair more: an instance that is made anew has its claims before the old ones are gone.
        return (self.storage.size, self.cluster.wal_storage.size) * self._instances

    @property
    def shared_buffers(self) -> int:
        """PostgreSQL's own cache in MiB: a quarter of the memory limit, as its manual recommends."""
        return self.resources.limits.memory.bytes // 4 // _MIB


class EvictionPolicy(StrEnum):
    """What Redis does when it is full: `maxmemory-policy`."""

    ALLKEYS_LRU = "allkeys-lru"
    ALLKEYS_LFU = "allkeys-lfu"
    VOLATILE_LRU = "volatile-lru"
    VOLATILE_LFU = "volatile-lfu"
    VOLATILE_TTL = "volatile-ttl"
    NOEVICTION = "noeviction"


class RedisEndpoint(ExternalEndpoint):
    """A managed Redis or Valkey."""

    port: Port = 6379
    #: Whether it speaks TLS.
    tls: Flag = True


class RedisExporter(Exporter):
    """redis_exporter."""

    image: Image = Image(repository="docker.io/oliver006/redis_exporter", tag="v1.92.1")


class RedisStorage(Storage):
    """Several times the memory: the append-only file is written anew beside the old one."""

    size: VolumeSize = Bytes("5Gi")


class RedisHa(Layer):
    """The chart that runs Redis in mode `operator`, in the shop's namespace."""

    chart: ChartSource = ChartSource()

    CHARTS: ClassVar = {"chart": REDIS_HA}


class RedisProxy(Workload):
    """HAProxy in front of Redis: it asks every replica each second which one is the master."""

    replicas: Positive = 2
    image: Image = Image(repository="docker.io/library/haproxy", tag="3.3.10-alpine")


class RedisCluster(Model):
    """Redis in mode `operator`: a master with replicas, and Sentinels that promote one of them when it is gone, by the
    chart redis-ha. Resources and storage are the store's own, for each replica."""

    #: Sentinels decide by a majority, so an odd number.
    replicas: Literal[3, 5, 7] = 3
    #: HAProxy in front.
    proxy: RedisProxy = RedisProxy.model_validate(
        workload(requests=("50m", "64Mi"), limits=("500m", "128Mi"), replicas=2).model_dump()
    )
    #: Of the Sentinel beside each replica, and of the script that heals a split brain.
    sentinel: Resources = Resources(
        requests=Amounts(cpu=Cpu("25m"), memory=Bytes("32Mi")), limits=Amounts(cpu=Cpu("200m"), memory=Bytes("64Mi"))
    )
    chart: ChartSource = ChartSource()


class RedisSettings(Store):
    """Redis: the product catalogue's cache."""

    minimum_memory = Bytes("64Mi")
    server_port = 6379
    metrics_port = 9121
    cluster_metrics_port = 9101

    image: Image = Image(repository="docker.io/library/redis", tag="8.8.3-trixie")
    storage: RedisStorage = RedisStorage()
    resources: Resources = Resources(
        requests=Amounts(cpu=Cpu("125m"), memory=Bytes("512Mi")), limits=Amounts(cpu=Cpu("500m"), memory=Bytes("512Mi"))
    )
    exporter: RedisExporter = RedisExporter()
    external: RedisEndpoint | None = None

    #: A cache evicts what was not read for longest; `noeviction` is for data that exists nowhere else.
    eviction: EvictionPolicy = EvictionPolicy.ALLKEYS_LRU
    #: The replicas of mode `operator`.
    cluster: RedisCluster = RedisCluster()

    def pod_labels(self, name: str) -> Mapping[str, str]:
        if self.mode is StoreMode.OPERATOR:
            return {"app": f"{name}-haproxy", "release": name}
        return super().pod_labels(name)

    def service_account(self, name: str) -> str:
        return f"{name}-haproxy" if self.mode is StoreMode.OPERATOR else super().service_account(name)

    @property
    def _proxies(self) -> int:
        # One more while they are replaced.
        return self.cluster.proxy.replicas + 1

    @property
    def _cluster_pods(self) -> int:
        return self.cluster.replicas + self._proxies

    @property
    def _cluster_containers(self) -> Sequence[tuple[int, Resources]]:
        cluster = self.cluster
        return (
            (cluster.replicas, self.resources),
            *((cluster.replicas, cluster.sentinel) for _ in ("sentinel", "split brain")),
            (self._proxies, cluster.proxy),
            *(((cluster.replicas, self.exporter.resources),) if self.exporter.enabled else ()),
        )

    @property
    def _cluster_claims(self) -> Sequence[Bytes]:
        return (self.storage.size,) * self.cluster.replicas

    def layer(self, namespace: str) -> RedisHa:
        """The chart as a layer, which lives in the shop's `namespace` because its clients' credentials do."""
        return RedisHa(enabled=True, namespace=namespace, cost_center=self.cost_center, chart=self.cluster.chart)

    @property
    def max_memory(self) -> int:
        """`maxmemory` in MiB: 60 % of the limit. The rest is for copy-on-write pages while the append-only file is
        rewritten, for client buffers and for fragmentation."""
        return self.resources.limits.memory.bytes * 60 // 100 // _MIB


class KafkaEndpoint(ExternalEndpoint):
    """A managed Kafka."""

    port: Port = 9096
    #: With or without TLS.
    security_protocol: Literal["SASL_SSL", "SASL_PLAINTEXT"] = "SASL_SSL"
    #: How clients authenticate.
    sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"


class KafkaExporter(Exporter):
    """kafka_exporter: consumer lag and offsets. In mode `operator` a pod of its own, of Strimzi's image."""

    image: Image = Image(repository="docker.io/danielqsj/kafka-exporter", tag="v1.9.0")


class Topic(Model):
    """A topic. What it leaves out is as the store has it."""

    #: Its parallelism; the store's where it is left out.
    partitions: Positive | None = None
    #: How long messages stay; as the store says where it is left out.
    retention_hours: Positive | None = None


class KafkaControllers(Workload):
    """Nodes that keep the metadata and nothing else."""

    replicas: Literal[3, 5] = 3
    #: The volume of each.
    storage: Storage = Storage(size=Bytes("10Gi"))


class EntityOperator(Model):
    """Strimzi's two operators beside a cluster, one for topics and one for users, each in a container of its own."""

    #: The one for topics.
    topics: Resources = Resources(
        requests=Amounts(cpu=Cpu("50m"), memory=Bytes("256Mi")), limits=Amounts(cpu=Cpu("500m"), memory=Bytes("256Mi"))
    )
    #: The one for users.
    users: Resources = Resources(
        requests=Amounts(cpu=Cpu("50m"), memory=Bytes("256Mi")), limits=Amounts(cpu=Cpu("500m"), memory=Bytes("256Mi"))
    )


#: Of the entity operator and of the exporter: one, and one more while it is replaced.
_ONE_OF_A_KIND = 2


class KafkaCluster(Model):
    """Kafka in mode `operator`: brokers by Strimzi. Resources and storage are the store's own, for each broker."""

    #: Three keep two copies of everything while one is away.
    brokers: Annotated[int, Strict(), Field(ge=3, le=99)] = 3
    #: The brokers are controllers as well where it is left out.
    controllers: KafkaControllers | None = None
    #: One that the pinned Strimzi has an image for.
    version: Literal["4.2.0", "4.2.1", "4.3.0", "4.3.1"] = "4.3.1"
    #: Strimzi's operators for topics and users.
    entity_operator: EntityOperator = EntityOperator()


class KafkaSettings(Store):
    """Kafka in KRaft mode: the orders on their way to payment and notification."""

    minimum_memory = Bytes("768Mi")
    server_port = 9092
    metrics_port = 9308
    cluster_metrics_port = 9404

    image: Image = Image(repository="docker.io/apache/kafka", tag="4.3.1")
    storage: Storage = Storage()
    resources: Resources = Resources(
        requests=Amounts(cpu=Cpu("500m"), memory=Bytes("2Gi")), limits=Amounts(cpu=Cpu("2"), memory=Bytes("2Gi"))
    )
    exporter: KafkaExporter = KafkaExporter()
    external: KafkaEndpoint | None = None

    #: The user that services authenticate as.
    user: _UserName = "cloudmart"
    #: Three days outlast a weekend on which nobody looked at a consumer that stopped.
    retention_hours: Positive = 72
    #: Parallelism of a topic that does not say how much it wants.
    partitions: Positive = 3
    #: A producer's first message makes a topic that is not there. In mode `operator` topics are only those declared.
    auto_create_topics: Flag = True
    #: The topics; services say which they produce to and consume from. In mode `operator` there are no others.
    topics: FrozenMapping[TopicName, Topic] = Field(default={}, validate_default=True)
    #: The brokers of mode `operator`.
    cluster: KafkaCluster = KafkaCluster()

    def _cluster_passwords(self, name: str, callers: Sequence[str]) -> Sequence[str]:
        return tuple(f"{name}-{caller}-{PASSWORD}" for caller in callers)

    def pod_labels(self, name: str) -> Mapping[str, str]:
        if self.mode is StoreMode.OPERATOR:
            return {"strimzi.io/cluster": name, "strimzi.io/broker-role": "true"}
        return super().pod_labels(name)

    def service_account(self, name: str) -> str:
        return f"{name}-kafka" if self.mode is StoreMode.OPERATOR else super().service_account(name)

    def hosts(self, name: str) -> Sequence[str]:
        # After their first contact clients speak with each broker by its own name, which the headless Service gives it.
        brokers = (f"{name}-kafka-brokers",) if self.mode is StoreMode.OPERATOR else ()
        return (*super().hosts(name), *brokers)

    @property
    def _cluster_pods(self) -> int:
        controllers = self.cluster.controllers
        alone = _ONE_OF_A_KIND * (2 if self.exporter.enabled else 1)
        return self.cluster.brokers + (controllers.replicas if controllers else 0) + alone

    @property
    def _cluster_containers(self) -> Sequence[tuple[int, Resources]]:
        cluster = self.cluster
        return (
            (cluster.brokers, self.resources),
            *(((cluster.controllers.replicas, cluster.controllers),) if cluster.controllers else ()),
            (_ONE_OF_A_KIND, cluster.entity_operator.topics),
            (_ONE_OF_A_KIND, cluster.entity_operator.users),
            *(((_ONE_OF_A_KIND, self.exporter.resources),) if self.exporter.enabled else ()),
        )

    @property
    def _cluster_claims(self) -> Sequence[Bytes]:
        controllers = self.cluster.controllers
        return (
            *(self.storage.size,) * self.cluster.brokers,
            *((controllers.storage.size,) * controllers.replicas if controllers else ()),
        )

    @property
    def heap(self) -> int:
        """The JVM's heap in MiB: half of the memory limit. The other half is for the JVM itself, for the client that
        probes the start, and for the page cache that Kafka reads from."""
        return self.resources.limits.memory.bytes // 2 // _MIB


class DataSettings(Model):
    """The data layer. A store that is left out or null does not exist."""

    #: PostgreSQL.
    postgres: PostgresSettings | None = None
    #: Redis.
    redis: RedisSettings | None = None
    #: Kafka.
    kafka: KafkaSettings | None = None


def pooler_name(store: str) -> str:
    """Name of the pooler in front of a PostgreSQL cluster, and of what belongs to it."""
    return f"{store}-pooler"
