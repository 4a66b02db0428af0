"""Alerts on stores that an operator runs: what only their own metrics tell.

Names of metrics, and where they were read: docs/layers/monitoring.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from cloudmart.settings import Settings
from cloudmart.settings.data import KafkaSettings, PostgresSettings, RedisSettings, Store, StoreMode
from components.monitoring.monitors import CONTROLLERS, EXPORTER, INSTANCES, REPLICAS
from components.monitoring.promql import Owner, alert
from components.specs.prometheus import Rule

#: Makes an alert of its name, expression, wait, severity, summary and description.
_Tell = Callable[..., Rule]

#: What follows a Deployment's name in those of its pods.
_POD = "-[a-z0-9]+-[a-z0-9]{5}"
#: Seconds; the operator's own sample of rules has the same.
_LAG = 300
#: Of what a Redis may hold that refuses writes when it is full.
_FULL = 0.9
#: The newest base backup, as the plugin's container tells it: the operator's own metric knows of snapshots alone.
LAST_BACKUP = "barman_cloud_cloudnative_pg_io_last_available_backup_timestamp"


def store_rules(settings: Settings, owner: Owner) -> Iterator[Rule]:
    """Those of one store; none for what is no store."""
    store = getattr(settings.data, owner.name, None)
    if store is None:
        return

    def tell(name: str, expr: str, wait: str, severity: str, summary: str, description: str, **more: str) -> Rule:
        return alert(
            name,
            expr,
            wait=wait,
            severity=severity,
            labels={**owner.labels, **more},
            summary=summary,
            description=description,
            runbooks=settings.monitoring.runbooks,
        )

    operated = store.mode is StoreMode.OPERATOR
    if operated:
        for what, (pods, declared) in _parts(store).items():
            yield _ready(settings, owner, tell, what, pods, declared)
    if not store.exporter.enabled:
        return
    match store:
        case PostgresSettings() if operated:
            yield from _postgres(settings, owner, tell, store)
        case RedisSettings() if operated:
            yield from _redis(settings, owner, tell, store)
        case KafkaSettings():
            if operated:
                yield from _kafka(settings, owner, tell, store)
            yield _lag(settings, tell, EXPORTER if operated else owner.name)


def _of(settings: Settings, job: str, more: str = "") -> str:
    return f'{{namespace="{settings.namespace.name}", job="{job}"{more}}}'


def _parts(store: Store) -> Mapping[str, tuple[str, int]]:
    """What a store in mode `operator` consists of: names of its pods, and how many are declared."""
    match store:
        case PostgresSettings(cluster=of):
            return {
                "instances": ("postgres-[0-9]+", of.instances),
                "poolers": (f"postgres-pooler{_POD}", of.pooler.replicas),
            }
        case RedisSettings(cluster=of):
            return {
                "replicas": ("redis-server-[0-9]+", of.replicas),
                "proxies": (f"redis-haproxy{_POD}", of.proxy.replicas),
            }
        case KafkaSettings(cluster=of):
            found = {"brokers": ("kafka-broker-[0-9]+", of.brokers)}
            if of.controllers:
                found["controllers"] = ("kafka-controller-[0-9]+", of.controllers.replicas)
            return found
    return {}


def _ready(settings: Settings, owner: Owner, tell: _Tell, what: str, pods: str, declared: int) -> Rule:
    home = settings.namespace.name
    ready = f'sum(kube_pod_status_ready{{namespace="{home}", pod=~"{pods}", condition="true"}})'
    return tell(
        "ReplicasMissing",
        # With none of them left there is no series; with no kube-state-metrics there is nothing to say.
        f'({ready} or count(kube_pod_info{{namespace="{home}"}}) * 0) < {declared}',
        "15m",
        owner.later,
        f"{owner.name} has {{{{ $value }}}} {what} that are ready",
        f"{declared} are declared, so that one can be lost without harm.",
        part=what,
    )


def _postgres(settings: Settings, owner: Owner, tell: _Tell, store: PostgresSettings) -> Iterator[Rule]:
    of = _of(settings, INSTANCES)
    yield tell(
        "ReplicationLag",
        f"max by (pod) (cnpg_pg_replication_lag{of}) > {_LAG}",
        "5m",
        owner.later,
        "{{ $labels.pod }} is {{ $value | humanizeDuration }} behind the primary",
        "Promoted, it would replay that first; whoever reads from it reads the past.",
    )
    # Without a connection the lag is told as none: all that was received is replayed.
    yield tell(
        "ReplicationBroken",
        f"max by (pod) (cnpg_pg_replication_in_recovery{of})"
        f" > max by (pod) (cnpg_pg_replication_is_wal_receiver_up{of})",
        "10m",
        owner.later,
        "{{ $labels.pod }} receives nothing from the primary",
        "It takes no part in commits, and cannot be promoted without loss.",
    )
    yield tell(
        "PoolerSaturated",
        f"sum by (database, user) (cnpg_pgbouncer_pools_cl_waiting{_of(settings, owner.name)}) > 0",
        "5m",
        owner.later,
        "{{ $value }} connections of {{ $labels.user }} wait for one to the server",
        "All connections that the poolers may hold for this user are in use.",
    )
    if backup := store.cluster.backup:
        hours = backup.alert_after_hours
        yield tell(
            "BackupMissing",
            # Zero where there has never been one, and where the plugin says nothing.
            f"time() - (max({LAST_BACKUP}{of}) or count(cnpg_collector_up{of}) * 0) > {hours * 3600}",
            "30m",
            owner.later,
            f"{owner.name} has no backup of the last {hours} hours",
            f"It is made by `{backup.schedule}`. The older it is, the longer is a restore.",
        )
        archiver = "cnpg_pg_stat_archiver_last"
        yield tell(
            "LogNotArchived",
            f"max by (pod) ({archiver}_failed_time{of}) - max by (pod) ({archiver}_archived_time{of}) > 0",
            "15m",
            owner.urgent,
            "{{ $labels.pod }} cannot archive the write-ahead log",
            "What is written now could not be restored, and the log stays on its volume until that is full.",
        )


def _redis(settings: Settings, owner: Owner, tell: _Tell, store: RedisSettings) -> Iterator[Rule]:
    of = _of(settings, REPLICAS)
    master = _of(settings, REPLICAS, ', role="master"')
    yield tell(
        "MasterMissing",
        f"(count(redis_instance_info{master}) or count(redis_up{of}) * 0) != 1",
        "3m",
        owner.urgent,
        f"{owner.name} has {{{{ $value }}}} masters",
        "Without one nothing is written; of two, one loses what it took.",
    )
    replicas = store.cluster.replicas - 1
    yield tell(
        "ReplicationBroken",
        # Replicas have none, so the most is the master's.
        f"max(redis_connected_slaves{of}) < {replicas}",
        "10m",
        owner.later,
        f"{owner.name}'s master has {{{{ $value }}}} replicas",
        f"{replicas} are declared. With none left the master takes no writes.",
    )
    # One that evicts is full at all times, and that is how a cache works.
    if not store.eviction.value.startswith("allkeys-"):
        used, allowed = (f"redis_memory_{kind}_bytes{of}" for kind in ("used", "max"))
        yield tell(
            "MemoryFull",
            f"max by (pod) ({used}) / max by (pod) ({allowed} > 0) > {_FULL}",
            "10m",
            owner.urgent,
            "{{ $labels.pod }} uses {{ $value | humanizePercentage }} of what it may hold",
            f"When it is full it refuses writes ({store.eviction.value}).",
        )


def _kafka(settings: Settings, owner: Owner, tell: _Tell, store: KafkaSettings) -> Iterator[Rule]:
    brokers = _of(settings, owner.name)
    # Brokers that are controllers as well are scraped as brokers.
    controllers = _of(settings, CONTROLLERS if store.cluster.controllers else owner.name)
    yield tell(
        "PartitionsUnderReplicated",
        f"sum(kafka_server_replicamanager_underreplicatedpartitions{brokers}) > 0",
        "10m",
        owner.later,
        "{{ $value }} partitions have fewer copies in step than they should",
        "Below two in step a partition takes no writes.",
    )
    yield tell(
        "PartitionsOffline",
        f"max(kafka_controller_kafkacontroller_offlinepartitionscount{controllers}) > 0",
        "3m",
        owner.urgent,
        "{{ $value }} partitions have no leader",
        "Nobody can write to them or read from them.",
    )
    yield tell(
        "ControllerMissing",
        f"sum(kafka_controller_kafkacontroller_activecontrollercount{controllers}) != 1",
        "3m",
        owner.urgent,
        f"{owner.name} has {{{{ $value }}}} active controllers",
        "Without one no leader is chosen, no topic made and no broker comes back.",
    )


def _lag(settings: Settings, tell: _Tell, job: str) -> Rule:
    of = _of(settings, job)
    by = "by (consumergroup, topic)"
    return tell(
        "ConsumerLag",
        f"sum {by} (kafka_consumergroup_lag{of}) > 0 and sum {by} (kafka_consumergroup_lag{of})"
        f" > 600 * sum {by} (rate(kafka_consumergroup_current_offset{of}[10m]))",
        "10m",
        "warning",
        "{{ $labels.consumergroup }} is {{ $value }} messages behind on {{ $labels.topic }}",
        "At its present pace it would take more than ten minutes to catch up.",
    )
