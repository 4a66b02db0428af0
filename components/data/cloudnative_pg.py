"""PostgreSQL by CloudNativePG: what each of its objects says. docs/layers/data.md has where that comes from.

Everything here is a function of the settings; `components.data.postgres` makes resources of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, LabelSelectorRequirementArgs
from pulumi_kubernetes.networking.v1 import (
    IPBlockArgs,
    NetworkPolicyEgressRuleArgs,
    NetworkPolicyIngressRuleArgs,
    NetworkPolicyPeerArgs,
    NetworkPolicyPortArgs,
    NetworkPolicySpecArgs,
)

from cloudmart.settings import Party
from cloudmart.settings.data import Backup, PostgresSettings, StoreMode, pooler_name
from components import network
from components.labels import Labels
from components.layer import API_SERVER_PORTS, resources
from components.specs import cnpg

#: Where an instance tells the operator, and the others, how it is.
STATUS_PORT = 8000
#: What clients may need that is no service: the operator itself, and whoever repairs something by hand.
_RESERVED_CONNECTIONS = 20
_MAX_CLIENTS = 1000
_MIB = 2**20
_PLUGIN = "barman-cloud.cloudnative-pg.io"
_HOST, _ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"

#: Instances have TLS of their own among each other and to the operator, which is not in the mesh: so neither are they.
OUT_OF_THE_MESH = {"sidecar.istio.io/inject": "false", "istio.io/dataplane-mode": "none"}


def services_role(settings: PostgresSettings) -> str:
    """The role that every service's own role is a member of. No service can have this name: it has an underscore."""
    return f"{settings.user}_services"


def application_sql(settings: PostgresSettings) -> list[str]:
    """Run once in the new database. Without it everybody who can log in may connect and look at `public`."""
    database, services = f'"{settings.database}"', f'"{services_role(settings)}"'
    return [
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        f"CREATE ROLE {services} NOLOGIN",
        f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {services}",
    ]


def connections_each(settings: PostgresSettings, callers: int) -> int:
    """How many server connections each pooler may hold for each caller: together they fit into `maxConnections`."""
    shares = settings.cluster.pooler.replicas * max(callers, 1)
    return max((settings.max_connections - _RESERVED_CONNECTIONS) // shares, 1)


def cluster(
    name: str,
    settings: PostgresSettings,
    labels: Labels,
    credentials: str,
    priority_class: pulumi.Input[str] | None,
) -> cnpg.Cluster:
    """The instances. `credentials` is the Secret of the database's owner."""
    of, wal = settings.cluster, settings.cluster.wal_storage
    return cnpg.Cluster(
        instances=of.instances,
        image_name=of.image.reference,
        image_pull_secrets=[cnpg.Reference(name=secret) for secret in of.image.pull_secrets] or None,
        inherited_metadata=cnpg.InheritedMetadata(labels={**labels.metadata, **OUT_OF_THE_MESH}),
        storage=cnpg.ClusterStorage(size=str(settings.storage.size), storage_class=settings.storage.storage_class),
        wal_storage=cnpg.ClusterStorage(size=str(wal.size), storage_class=wal.storage_class),
        resources=resources(settings.resources),
        # Nobody needs the superuser's password: people use `kubectl exec`, where the server asks the kernel who calls.
        enable_superuser_access=False,
        bootstrap=cnpg.Bootstrap(
            initdb=cnpg.InitDb(
                database=settings.database,
                owner=settings.user,
                secret=cnpg.Reference(name=credentials),
                data_checksums=True,
                post_init_application_sql=application_sql(settings),
            )
        ),
        postgresql=cnpg.PostgresConfiguration(
            parameters={
                "shared_buffers": f"{settings.shared_buffers}MB",
                "effective_cache_size": f"{settings.shared_buffers * 3}MB",
                "max_connections": str(settings.max_connections),
                # A standby that is long away would keep the log until the volume is full; past this it is made anew.
                "max_slot_wal_keep_size": f"{wal.size.bytes // 2 // _MIB}MB",
            },
            # With three instances a commit stands on two of them, so that no failover loses it; with two, waiting for
            # the other one would mean that either being away stops all writing.
            synchronous=cnpg.Synchronous(method="any", number=1, data_durability="required", failover_quorum=True)
            if of.instances > 2
            else None,
        ),
        # Two instances on one node would go together.
        affinity=cnpg.Affinity(enable_pod_anti_affinity=True, topology_key=_HOST, pod_anti_affinity_type="required"),
        topology_spread_constraints=[
            cnpg.TopologySpread(
                max_skew=1,
                topology_key=_ZONE,
                when_unsatisfiable="ScheduleAnyway",
                label_selector={"matchLabels": {"cnpg.io/cluster": name, "cnpg.io/podRole": "instance"}},
            )
        ],
        priority_class_name=priority_class,
        enable_pdb=True,
        plugins=[cnpg.Plugin(name=_PLUGIN, parameters={"barmanObjectName": name}, is_wal_archiver=True)]
        if of.backup
        else None,
    )


def role(name: str, settings: PostgresSettings, caller: str, credentials: str, callers: int) -> cnpg.DatabaseRole:
    """One caller: it may connect, and has a schema of its own name, which PostgreSQL looks into first."""
    limit = connections_each(settings, callers) * settings.cluster.pooler.replicas
    return cnpg.DatabaseRole(
        cluster=cnpg.Reference(name=name),
        name=caller,
        comment=f"{caller}, as the catalog declares it",
        login=True,
        password_secret=cnpg.Reference(name=credentials),
        in_roles=[services_role(settings)],
        connection_limit=limit,
        # It owns its tables; dropping it would have to drop them.
        database_role_reclaim_policy="retain",
    )


def database(name: str, settings: PostgresSettings, callers: Sequence[str]) -> cnpg.Database:
    """The callers' schemas."""
    return cnpg.Database(
        cluster=cnpg.Reference(name=name),
        name=settings.database,
        owner=settings.user,
        schemas=[cnpg.Schema(name=caller, owner=caller) for caller in callers],
        database_reclaim_policy="retain",
    )


def pooler(
    name: str, settings: PostgresSettings, labels: Labels, callers: int, priority_class: pulumi.Input[str] | None
) -> cnpg.Pooler:
    """PgBouncer in front of the primary."""
    of = settings.cluster.pooler
    amounts = resources(of)
    return cnpg.Pooler(
        cluster=cnpg.Reference(name=name),
        type_="rw",
        instances=of.replicas,
        pgbouncer=cnpg.PgBouncer(
            pool_mode=of.mode.value,
            image=of.image.reference,
            parameters={
                "max_client_conn": str(_MAX_CLIENTS),
                "default_pool_size": str(connections_each(settings, callers)),
                "client_tls_sslmode": "require",
            },
        ),
        template=cnpg.PodTemplate(
            metadata={
                "labels": {**labels.metadata, "app": pooler_name(name)},
                # In the mesh its callers are checked; what it calls itself has TLS of its own.
                "annotations": {
                    "traffic.sidecar.istio.io/excludeOutboundPorts": ",".join(
                        str(port) for port in (settings.server_port, *API_SERVER_PORTS)
                    )
                },
            },
            spec={
                "priorityClassName": priority_class,
                "imagePullSecrets": [{"name": secret} for secret in of.image.pull_secrets],
                # By these names the operator adds the rest of them.
                "initContainers": [{"name": "bootstrap-controller", "resources": amounts}],
                "containers": [{"name": "pgbouncer", "resources": amounts}],
                "topologySpreadConstraints": [
                    {
                        "maxSkew": 1,
                        "topologyKey": key,
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": {"matchLabels": dict(settings.pod_labels(name))},
                    }
                    for key in (_HOST, _ZONE)
                ],
            },
        ),
    )


def object_store(backup: Backup) -> cnpg.ObjectStore:
    """Where backups and the archived log go."""
    keys = backup.credentials
    return cnpg.ObjectStore(
        configuration=cnpg.ObjectStoreConfiguration(
            destination_path=backup.destination,
            endpoint_url=backup.endpoint,
            s3_credentials=cnpg.S3Credentials(
                access_key_id=cnpg.KeyReference(name=keys, key="ACCESS_KEY_ID"),
                secret_access_key=cnpg.KeyReference(name=keys, key="ACCESS_SECRET_KEY"),
            )
            if keys
            else cnpg.S3Credentials(inherit_from_iam_role=True),
            wal=cnpg.Compressed(compression="gzip"),
            data=cnpg.Compressed(compression="gzip"),
        ),
        retention_policy=backup.retention,
        instance_sidecar_configuration=cnpg.Sidecar(resources=resources(backup.resources)),
    )


def scheduled_backup(name: str, backup: Backup) -> cnpg.ScheduledBackup:
    """The first one at once: until there is one, the archived log is of no use."""
    return cnpg.ScheduledBackup(
        cluster=cnpg.Reference(name=name),
        schedule=backup.schedule,
        immediate=True,
        # A backup's object outlives its schedule.
        backup_owner_reference="cluster",
        method="plugin",
        plugin_configuration=cnpg.Reference(name=_PLUGIN),
    )


def _ports(*numbers: int) -> list[NetworkPolicyPortArgs]:
    return [port for number in numbers for port in network.tcp(number)]


def to_api_server(cidrs: Sequence[str]) -> NetworkPolicyEgressRuleArgs:
    """Where operators' pods find the state that they act on."""
    peers = [NetworkPolicyPeerArgs(ip_block=IPBlockArgs(cidr=cidr)) for cidr in cidrs]
    return NetworkPolicyEgressRuleArgs(to=peers, ports=_ports(*API_SERVER_PORTS))


def instances_selector(name: str) -> LabelSelectorArgs:
    """The instances, and the jobs that prepare them, which carry fewer labels; not the pooler."""
    return LabelSelectorArgs(
        match_labels={"cnpg.io/cluster": name},
        match_expressions=[LabelSelectorRequirementArgs(key="cnpg.io/poolerName", operator="DoesNotExist")],
    )


def pooler_policy(
    name: str,
    settings: PostgresSettings,
    callers: Sequence[Party],
    scrapers: Sequence[tuple[Party, int]],
    home: str,
    api_server: Sequence[str],
    mesh_ports: Sequence[int] = (),
) -> NetworkPolicySpecArgs:
    """The declared callers come in; what they want is with the instances."""
    instances = NetworkPolicyPeerArgs(pod_selector=instances_selector(name))
    return NetworkPolicySpecArgs(
        pod_selector=LabelSelectorArgs(match_labels=dict(settings.pod_labels(name))),
        policy_types=["Ingress", "Egress"],
        ingress=[
            *network.ingress_from(callers, [settings.server_port, *mesh_ports], home),
            *network.ingress_of_scrapers(scrapers, home),
        ],
        egress=[
            NetworkPolicyEgressRuleArgs(to=[instances], ports=_ports(settings.server_port)),
            to_api_server(api_server),
        ],
    )


def instances_policy(
    name: str,
    settings: PostgresSettings,
    operator: Party,
    scrapers: Sequence[tuple[Party, int]],
    home: str,
    api_server: Sequence[str],
) -> NetworkPolicySpecArgs:
    """The pooler, the other instances and the operator come in; nobody else, and no service."""
    instances = NetworkPolicyPeerArgs(pod_selector=instances_selector(name))
    server = settings.server_port
    egress = [
        NetworkPolicyEgressRuleArgs(to=[instances], ports=_ports(server, STATUS_PORT)),
        to_api_server(api_server),
    ]
    if backup := settings.cluster.backup:
        egress.append(network.egress_outside(backup.cidrs, backup.port))
    return NetworkPolicySpecArgs(
        pod_selector=instances_selector(name),
        policy_types=["Ingress", "Egress"],
        ingress=[
            NetworkPolicyIngressRuleArgs(from_=[network.pods(settings.pod_labels(name))], ports=_ports(server)),
            NetworkPolicyIngressRuleArgs(from_=[instances], ports=_ports(server, STATUS_PORT)),
            NetworkPolicyIngressRuleArgs(
                from_=[network.party(operator, home)],
                ports=_ports(server, STATUS_PORT),
            ),
            *network.ingress_of_scrapers([(party, settings.metrics_port) for party, _ in scrapers], home),
        ],
        egress=egress,
    )


def connection_env(settings: PostgresSettings, caller: str | None) -> Mapping[str, Any]:
    """What differs for clients: each has a role of its own, and PgBouncer insists on TLS."""
    if settings.mode is not StoreMode.OPERATOR:
        return {}
    return {"DB_USER": caller or settings.user, "DB_SSLMODE": "require"}
