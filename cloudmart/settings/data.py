"""The stores of the data layer: PostgreSQL, Redis and Kafka.

A store that is null is not there. Defaults are those of a small production environment; what an image needs of its pod
(user, folders, commands) is no setting and stands with the component.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, Strict, model_validator

from cloudmart.settings.base import (
    Amounts,
    Cidr,
    DnsLabel,
    Flag,
    HostName,
    Image,
    LabelValue,
    Model,
    Port,
    Positive,
    Resources,
    VolumeSize,
)
from cloudmart.settings.quantities import Bytes, Cpu

_MIB = 2**20

#: A role or user that needs no quoting in SQL, Redis ACLs or JAAS.
_UserName = Annotated[str, Strict(), Field(pattern=r"^[a-z_][a-z0-9_]*$", max_length=63)]


class StoreMode(StrEnum):
    """Where a store runs."""

    #: One replica in the cluster: no failover, back up within minutes of losing its node.
    SINGLE = "single"
    #: A managed service outside the cluster: only its name and its credentials are made here.
    EXTERNAL = "external"


class Storage(Model):
    """The volume claim of a store's pod."""

    size: VolumeSize = Bytes("20Gi")
    #: The cluster's default class where it is left out.
    storage_class: HostName | None = None


class Exporter(Model):
    """A Prometheus exporter beside the store, in the same pod."""

    enabled: Flag = False
    image: Image
    #: Exporters idle between scrapes; the limit leaves room for a scrape of many tables, keys or partitions.
    resources: Resources = Resources(
        requests=Amounts(cpu=Cpu("20m"), memory=Bytes("32Mi")), limits=Amounts(cpu=Cpu("100m"), memory=Bytes("64Mi"))
    )
    #: Only pods of this namespace may scrape.
    scrape_namespace: DnsLabel = "monitoring"


class ExternalEndpoint(Model):
    """A managed endpoint outside the cluster."""

    host: HostName
    port: Port
    #: Where its addresses lie. NetworkPolicies know no host names, and no range is safe to guess.
    cidrs: Annotated[tuple[Cidr, ...], Field(min_length=1)]


class Store(Model):
    """What the stores share."""

    #: Below this the server does not start, or starts and is killed under the first load.
    minimum_memory: ClassVar[Bytes]
    #: The port on which the server in the cluster takes clients.
    server_port: ClassVar[int]

    mode: StoreMode = StoreMode.SINGLE
    #: Who pays; the namespace's cost center where it is left out.
    cost_center: LabelValue | None = None
    #: Refuses to delete the workload and its generated password until a stack says otherwise. A password that is lost
    #: locks the data up as surely as a lost disk.
    protect: Flag = False

    image: Image
    storage: Storage
    resources: Resources
    exporter: Exporter
    external: ExternalEndpoint | None = None

    @property
    def is_inside(self) -> bool:
        """Whether it runs in the cluster."""
        return self.mode is not StoreMode.EXTERNAL

    @property
    def client_port(self) -> int:
        """The port that clients connect to."""
        return self.external.port if self.external else self.server_port

    @model_validator(mode="after")
    def _mode_fits(self) -> Self:
        if self.mode is StoreMode.EXTERNAL and self.external is None:
            raise ValueError("mode is external, but external is not given; allowed: external with host and cidrs")
        if self.mode is not StoreMode.EXTERNAL and self.external is not None:
            raise ValueError(f"external is given, but mode is {self.mode}; allowed: mode external, or no external")
        if self.resources.limits.memory < self.minimum_memory:
            raise ValueError(
                f"limits.memory {self.resources.limits.memory} is too little for this server; "
                f"allowed: {self.minimum_memory} or more"
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


class PostgresSettings(Store):
    """PostgreSQL: accounts and everything else that must be consistent."""

    minimum_memory = Bytes("256Mi")
    server_port = 5432

    #: The Debian variant: Alpine's collations differ, so changing the variant later corrupts text indexes.
    image: Image = Image(repository="docker.io/library/postgres", tag="18.6-trixie")
    storage: Storage = Storage()
    #: Memory is requested in full: a database that is evicted for memory takes every service with it.
    resources: Resources = Resources(
        requests=Amounts(cpu=Cpu("250m"), memory=Bytes("1Gi")), limits=Amounts(cpu=Cpu("1"), memory=Bytes("1Gi"))
    )
    exporter: PostgresExporter = PostgresExporter()
    external: PostgresEndpoint | None = None

    database: _UserName = "cloudmart"
    #: The role that services use. It owns the database and is no superuser.
    user: _UserName = "cloudmart"
    #: Enough for every replica at the top of its range with a pool of ten; each costs up to some 10 MiB.
    max_connections: Positive = 100

    @model_validator(mode="after")
    def _not_the_superuser(self) -> Self:
        for key in ("database", "user"):
            if getattr(self, key) == "postgres":
                raise ValueError(f"{key} is 'postgres', the administrator's own; allowed: any other name")
        return self

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
    tls: Flag = True


class RedisExporter(Exporter):
    """redis_exporter."""

    image: Image = Image(repository="docker.io/oliver006/redis_exporter", tag="v1.92.1")


class RedisStorage(Storage):
    """Several times the memory: the append-only file is written anew beside the old one."""

    size: VolumeSize = Bytes("5Gi")


class RedisSettings(Store):
    """Redis: the product catalogue's cache."""

    minimum_memory = Bytes("64Mi")
    server_port = 6379

    image: Image = Image(repository="docker.io/library/redis", tag="8.8.3-trixie")
    storage: RedisStorage = RedisStorage()
    resources: Resources = Resources(
        requests=Amounts(cpu=Cpu("125m"), memory=Bytes("512Mi")), limits=Amounts(cpu=Cpu("500m"), memory=Bytes("512Mi"))
    )
    exporter: RedisExporter = RedisExporter()
    external: RedisEndpoint | None = None

    #: A cache evicts what was not read for longest; `noeviction` is for data that exists nowhere else.
    eviction: EvictionPolicy = EvictionPolicy.ALLKEYS_LRU

    @property
    def max_memory(self) -> int:
        """`maxmemory` in MiB: 60 % of the limit. The rest is for copy-on-write pages while the append-only file is
        rewritten, for client buffers and for fragmentation."""
        return self.resources.limits.memory.bytes * 60 // 100 // _MIB


class KafkaEndpoint(ExternalEndpoint):
    """A managed Kafka."""

    port: Port = 9096
    security_protocol: Literal["SASL_SSL", "SASL_PLAINTEXT"] = "SASL_SSL"
    sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"


class KafkaExporter(Exporter):
    """kafka_exporter: consumer lag and offsets."""

    image: Image = Image(repository="docker.io/danielqsj/kafka-exporter", tag="v1.9.0")


class KafkaSettings(Store):
    """Kafka in KRaft mode: the orders on their way to payment and notification."""

    minimum_memory = Bytes("768Mi")
    server_port = 9092

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
    #: On, as long as no topic is declared: a producer's first message makes its topic.
    auto_create_topics: Flag = True

    @property
    def heap(self) -> int:
        """The JVM's heap in MiB: half of the memory limit. The other half is for the JVM itself, for the client that
        probes the start, and for the page cache that Kafka reads from."""
        return self.resources.limits.memory.bytes // 2 // _MIB


class DataSettings(Model):
    """The data layer. A store that is left out or null does not exist."""

    postgres: PostgresSettings | None = None
    redis: RedisSettings | None = None
    kafka: KafkaSettings | None = None
