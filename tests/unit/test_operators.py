"""Stores in mode `operator`: what CloudNativePG, Strimzi and redis-ha are told, and the values of their charts."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudmart.errors import UserError
from cloudmart.finops.estimate import estimate
from cloudmart.finops.operated import workloads
from cloudmart.finops.prices import load as load_prices
from cloudmart.preview.recorder import SECRET, Recorded, Recording, overridden, record
from cloudmart.settings import Settings, load
from cloudmart.settings.charts import BARMAN_CLOUD, CLOUDNATIVE_PG, REDIS_HA, STRIMZI
from cloudmart.settings.data import Backup, KafkaSettings, PostgresSettings, RedisSettings, Store
from components.data.cloudnative_pg import application_sql, connections_each, object_store
from components.data.redis_ha import redis_ha_values
from components.data.strimzi import kafka, pools
from components.operators_values import barman_cloud_values, cloudnative_pg_values, strimzi_values
from tests.conftest import ROOT, Project
from tests.evaluators.network import Network, Pod

Json = Any
TEST_CHARTS = ROOT / "tests" / "charts"
SHOP = "cloudmart"
BACKUP = {"destination": "s3://backups/shop", "credentials": "bucket"}
OPERATED: Json = {
    "postgres": {"mode": "operator", "protect": True, "exporter": {"enabled": True}, "cluster": {"backup": BACKUP}},
    "redis": {"mode": "operator", "protect": True, "exporter": {"enabled": True}},
    "kafka": {"mode": "operator", "protect": True, "exporter": {"enabled": True}, "cluster": {"controllers": None}},
}


def settings_with(root: Path, stack: str = "dev", **data: Json) -> Settings:
    """A stack's settings with other stores."""
    config = yaml.safe_load((root / f"Pulumi.{stack}.yaml").read_text())["config"]
    engine = {key: json.dumps(value) for key, value in config.items()}
    return load(stack, root, engine | {"cloudmart:data": json.dumps(data)})


@pytest.fixture(scope="module")
def operated() -> Recording:
    # Small stores of dev, so that nothing here comes from prod's own file.
    return record("dev", ROOT, overrides={"cloudmart:data": OPERATED})


@pytest.fixture(scope="module")
def settings() -> Settings:
    return settings_with(ROOT, **OPERATED)


def named(recording: Recording, kind: str) -> dict[str, Recorded]:
    """Objects of a kind in the shop's namespace, by name."""
    return {
        str(found.object_name): found
        for found in recording.resources
        if found.is_kubernetes_object and found.kind == kind and found.namespace == SHOP
    }


def spec(recording: Recording, kind: str, name: str) -> Json:
    return named(recording, kind)[name].inputs["spec"]


def env(recording: Recording, service: str) -> dict[str, Json]:
    (container,) = spec(recording, "Deployment", service)["template"]["spec"]["containers"]
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}


# --- every caller is somebody of its own ------------------------------------------------------------------------------


def test_each_caller_of_postgres_has_a_role_a_password_and_a_schema_of_its_own(operated: Recording) -> None:
    role = spec(operated, "DatabaseRole", "postgres-user-service")
    secret = named(operated, "Secret")["postgres-user-service-credentials"].inputs
    assert (role["name"], role["login"]) == ("user-service", True)
    assert role["passwordSecret"] == {"name": "postgres-user-service-credentials"}
    assert role["inRoles"] == ["cloudmart_services"]
    assert not {"superuser", "createdb", "createrole", "replication", "bypassrls"} & role.keys()
    assert secret["type"] == "kubernetes.io/basic-auth"
    assert spec(operated, "Database", "postgres-cloudmart")["schemas"] == [
        {"name": "user-service", "owner": "user-service"}
    ]
    wired = env(operated, "user-service")
    assert wired["DB_USER"] == "user-service"
    assert wired["DB_PASSWORD"] == {"secretKeyRef": {"name": "postgres-user-service-credentials", "key": "password"}}


def test_nobody_who_is_not_a_declared_caller_has_a_user_in_any_store(operated: Recording) -> None:
    assert named(operated, "DatabaseRole").keys() == {"postgres-user-service"}
    assert named(operated, "KafkaUser").keys() == {"order-service", "notification-service"}


def test_who_is_no_member_of_the_services_role_cannot_even_connect() -> None:
    assert application_sql(PostgresSettings()) == [
        'REVOKE ALL ON DATABASE "cloudmart" FROM PUBLIC',
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        'CREATE ROLE "cloudmart_services" NOLOGIN',
        'GRANT CONNECT, TEMPORARY ON DATABASE "cloudmart" TO "cloudmart_services"',
    ]


def test_a_kafka_user_may_do_with_its_topics_what_it_declares_and_nothing_else(operated: Recording) -> None:
    def rights(user: str) -> set[tuple[str, str, str]]:
        acls = spec(operated, "KafkaUser", user)["authorization"]["acls"]
        assert {acl["resource"]["patternType"] for acl in acls} == {"literal"}
        return {(acl["resource"]["type"], acl["resource"]["name"], op) for acl in acls for op in acl["operations"]}

    assert rights("order-service") == {("topic", "orders", "Describe"), ("topic", "orders", "Write")}
    assert rights("notification-service") == {
        ("topic", "orders", "Describe"),
        ("topic", "orders", "Read"),
        ("group", "notification-service", "Describe"),
        ("group", "notification-service", "Read"),
    }
    wired = env(operated, "order-service")
    assert wired["KAFKA_USERNAME"] == "order-service"
    reference = spec(operated, "KafkaUser", "order-service")["authentication"]["password"]["valueFrom"]["secretKeyRef"]
    assert wired["KAFKA_PASSWORD"] == {"secretKeyRef": reference}


def test_what_clients_are_given_keeps_its_names_in_every_mode(operated: Recording) -> None:
    assert env(operated, "user-service")["DB_HOST"] == "postgres-service"
    assert env(operated, "product-service")["REDIS_HOST"] == "redis-service"
    assert env(operated, "order-service")["KAFKA_BROKERS"] == "kafka-service:9092"
    single = record("dev", ROOT)
    for service in ("user-service", "product-service", "order-service"):
        assert env(operated, service).keys() == env(single, service).keys()


def test_no_password_stands_anywhere_but_in_secrets(operated: Recording) -> None:
    assert operated.generated
    for found in operated.resources:
        if found.is_kubernetes_object and found.kind != "Secret":
            assert SECRET not in str(found.inputs), found.name


def test_new_credentials_of_one_caller_roll_that_one_alone(operated: Recording) -> None:
    def checksums(service: str) -> set[str]:
        annotations = spec(operated, "Deployment", service)["template"]["metadata"]["annotations"]
        return {value for key, value in annotations.items() if key == "checksum/kafka-service"}

    assert checksums("order-service")
    assert checksums("order-service").isdisjoint(checksums("notification-service"))


# --- data outlives the stack ------------------------------------------------------------------------------------------


def test_what_would_take_data_with_it_is_retained_and_protected(operated: Recording) -> None:
    for kind in ("Cluster", "Kafka", "KafkaNodePool", "KafkaTopic"):
        assert named(operated, kind)
        for found in named(operated, kind).values():
            assert found.protect, kind
            assert found.retain_on_delete, kind


def test_a_service_can_stop_needing_a_protected_store(operated: Recording) -> None:
    """What is protected cannot be deleted: a caller's own password would stop the whole update."""
    passwords = {r.name: r.protect for r in operated.resources if r.type.endswith("RandomPassword")}
    assert passwords == dict.fromkeys(
        [
            "postgres-password",
            "postgres-user-service-password",
            "redis-password",
            "kafka-order-service-password",
            "kafka-notification-service-password",
        ],
        False,
    )


def test_deleting_a_node_pool_or_a_role_deletes_no_data(operated: Recording) -> None:
    for pool in named(operated, "KafkaNodePool").values():
        assert {volume["deleteClaim"] for volume in pool.inputs["spec"]["storage"]["volumes"]} == {False}
    assert spec(operated, "DatabaseRole", "postgres-user-service")["databaseRoleReclaimPolicy"] == "retain"
    assert spec(operated, "Database", "postgres-cloudmart")["databaseReclaimPolicy"] == "retain"


def test_backups_archive_the_log_and_are_kept_as_long_as_is_said(operated: Recording) -> None:
    (plugin,) = spec(operated, "Cluster", "postgres")["plugins"]
    store = spec(operated, "ObjectStore", plugin["parameters"]["barmanObjectName"])
    assert plugin["isWALArchiver"] is True
    assert store["retentionPolicy"] == "30d"
    assert store["configuration"]["destinationPath"] == "s3://backups/shop"
    assert store["configuration"]["s3Credentials"] == {
        "accessKeyId": {"name": "bucket", "key": "ACCESS_KEY_ID"},
        "secretAccessKey": {"name": "bucket", "key": "ACCESS_SECRET_KEY"},
    }
    scheduled = spec(operated, "ScheduledBackup", "postgres")
    assert (scheduled["method"], scheduled["pluginConfiguration"]) == ("plugin", {"name": plugin["name"]})
    assert len(scheduled["schedule"].split()) == 6


def test_without_keys_backups_use_the_identity_that_the_cloud_gives() -> None:
    backup = Backup(destination="s3://backups/shop")
    assert object_store(backup).wire()["configuration"]["s3Credentials"] == {"inheritFromIAMRole": True}


def test_without_backups_there_is_no_plugin_and_nothing_of_its_kinds() -> None:
    data = {"postgres": {"mode": "operator", "cluster": {"instances": 2}}}
    recording = record("dev", ROOT, overrides={"cloudmart:data": data})
    assert "plugins" not in spec(recording, "Cluster", "postgres")
    # Two instances do not wait for each other: either being away would stop all writing.
    assert "synchronous" not in spec(recording, "Cluster", "postgres")["postgresql"]
    assert not {"ObjectStore", "ScheduledBackup"} & {found.kind for found in recording.resources}
    releases = {found.name for found in recording.resources if found.type.endswith(":Release")}
    assert "cloudnative-pg" in releases
    assert "plugin-barman-cloud" not in releases


# --- availability -----------------------------------------------------------------------------------------------------


def test_commits_and_messages_stand_on_two_machines_before_they_are_confirmed(operated: Recording) -> None:
    cluster, kafka = spec(operated, "Cluster", "postgres"), spec(operated, "Kafka", "kafka")["kafka"]
    assert cluster["instances"] == 3
    assert cluster["postgresql"]["synchronous"]["number"] == 1
    assert cluster["affinity"]["podAntiAffinityType"] == "required"
    assert kafka["config"]["default.replication.factor"] == 3
    assert kafka["config"]["min.insync.replicas"] == 2
    assert spec(operated, "KafkaTopic", "orders")["config"]["min.insync.replicas"] == 2
    assert kafka["rack"]["topologyKey"] == "topology.kubernetes.io/zone"


def test_poolers_together_never_ask_for_more_connections_than_the_server_has() -> None:
    settings = PostgresSettings()
    for callers in range(1, 20):
        used = connections_each(settings, callers) * callers * settings.cluster.pooler.replicas
        assert used <= settings.max_connections - 20


def test_controllers_of_their_own_are_a_pool_of_their_own() -> None:
    alike = pools(KafkaSettings.model_validate({"mode": "operator"}))
    apart = pools(KafkaSettings.model_validate({"mode": "operator", "cluster": {"controllers": _CONTROLLERS}}))
    assert {name: [*pool.roles] for name, pool in alike.items()} == {"broker": ["controller", "broker"]}
    assert {name: [*pool.roles] for name, pool in apart.items()} == {"broker": ["broker"], "controller": ["controller"]}


@pytest.mark.parametrize(("controllers", "past"), [(None, "9090,9091,8443"), ("apart", "9090,9091,8443,9404")])
def test_metrics_of_controllers_go_past_the_mesh_which_knows_brokers_alone(controllers: str | None, past: str) -> None:
    cluster = {"controllers": _CONTROLLERS} if controllers else {}
    settings = KafkaSettings.model_validate({"mode": "operator", "cluster": cluster})
    pod = kafka("kafka", settings, metrics=True, priority_class=None).wire()["kafka"]["template"]["pod"]
    assert pod["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeInboundPorts"] == past


_CONTROLLERS = {
    "replicas": 3,
    "requests": {"cpu": "250m", "memory": "1Gi"},
    "limits": {"cpu": "1", "memory": "1Gi"},
}


# --- who may talk to whom ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cast(operated: Recording, settings: Settings) -> tuple[Network, dict[str, Pod]]:
    """The policies, and pods with the labels that the operators give them."""
    network = Network(found.inputs for found in operated.resources if found.is_kubernetes_object)

    def pod(name: str, labels: Mapping[str, str], namespace: str = SHOP) -> Pod:
        return Pod(name, namespace, labels, ())

    cluster, kafka = {"cnpg.io/cluster": "postgres"}, {"strimzi.io/cluster": "kafka"}
    pods = [
        pod("pooler", {**cluster, "cnpg.io/poolerName": "postgres-pooler", "cnpg.io/podRole": "pooler"}),
        pod("instance", {**cluster, "cnpg.io/podRole": "instance"}),
        pod("other instance", {**cluster, "cnpg.io/podRole": "instance"}),
        pod("job", {**cluster, "cnpg.io/jobRole": "join"}),
        pod("broker", {**kafka, "strimzi.io/name": "kafka-kafka", "strimzi.io/broker-role": "true"}),
        pod("other broker", {**kafka, "strimzi.io/name": "kafka-kafka", "strimzi.io/broker-role": "true"}),
        pod("entity operator", {**kafka, "strimzi.io/name": "kafka-entity-operator"}),
        pod("exporter", {**kafka, "strimzi.io/name": "kafka-kafka-exporter"}),
        pod("proxy", {"app": "redis-haproxy", "release": "redis", "component": "haproxy"}),
        pod("replica", {"app": "redis", "release": "redis"}),
        pod("other replica", {"app": "redis", "release": "redis"}),
        pod("cnpg", {"app.kubernetes.io/name": "cloudnative-pg"}, settings.operators.cloudnative_pg.namespace),
        pod("strimzi", {"strimzi.io/kind": "cluster-operator"}, settings.operators.strimzi.namespace),
        *(pod(name, {"app": name}) for name in settings.services),
    ]
    return network, {pod.name: pod for pod in pods}


#: Every pair that may talk, and at which ports.
_FLOWS = {
    ("user-service", "pooler"): {5432},
    ("pooler", "instance"): {5432},
    ("pooler", "other instance"): {5432},
    ("pooler", "job"): {5432},
    **{
        (one, two): {5432, 8000}
        for one in ("instance", "other instance", "job")
        for two in ("instance", "other instance", "job")
        if one != two
    },
    **{("cnpg", of): {5432, 8000} for of in ("instance", "other instance", "job")},
    **{
        (service, broker): {9092}
        for service in ("order-service", "notification-service")
        for broker in ("broker", "other broker")
    },
    ("broker", "other broker"): {9090, 9091},
    ("other broker", "broker"): {9090, 9091},
    **{(beside, broker): {9091} for beside in ("entity operator", "exporter") for broker in ("broker", "other broker")},
    **{("strimzi", broker): {9090, 9091, 8443} for broker in ("broker", "other broker")},
    ("product-service", "proxy"): {6379},
    **{("proxy", replica): {6379, 26379} for replica in ("replica", "other replica")},
    ("replica", "other replica"): {6379, 26379},
    ("other replica", "replica"): {6379, 26379},
    ("order-service", "payment-service"): {8080},
}


def test_declared_callers_reach_the_front_of_each_store_and_nobody_else_reaches_any_of_it(
    cast: tuple[Network, dict[str, Pod]],
) -> None:
    network, pods = cast
    tried = (5432, 6379, 8000, 8080, 8443, 9090, 9091, 9092, 9093, 9187, 26379)
    found: dict[tuple[str, str], set[int]] = {}
    for caller in pods.values():
        for target in pods.values():
            for port in tried:
                if caller != target and target.namespace == SHOP and network.allows(caller, target, port):
                    found.setdefault((caller.name, target.name), set()).add(port)
    assert found == _FLOWS


def test_no_pod_of_a_store_reaches_the_internet_but_for_backups(cast: tuple[Network, dict[str, Pod]]) -> None:
    network, pods = cast
    stores = ["pooler", "instance", "job", "broker", "entity operator", "exporter", "proxy", "replica"]
    outside = {
        (name, port) for name in stores for port in (80, 443, 6443) if network.allows(pods[name], "203.0.113.7", port)
    }
    assert outside == {("instance", 443), ("job", 443)}


def test_parties_are_the_pods_that_clients_connect_to(settings: Settings, cast: tuple[Network, dict[str, Pod]]) -> None:
    _, pods = cast
    for store, pod, account in (
        ("postgres", "pooler", "postgres-pooler"),
        ("kafka", "broker", "kafka-kafka"),
        ("redis", "proxy", "redis-haproxy"),
    ):
        party = settings.parties[store]
        assert party.service_account == account
        chosen = {name for name, of in pods.items() if party.pod_labels.items() <= of.labels.items()}
        assert pod in chosen
        assert not chosen & {"instance", "job", "entity operator", "exporter", "replica"}


def test_the_clients_services_choose_the_pods_of_the_parties(operated: Recording, settings: Settings) -> None:
    for store in settings.stores:
        assert spec(operated, "Service", f"{store}-service")["selector"] == settings.parties[store].pod_labels
    assert settings.data.kafka is not None
    assert [*settings.data.kafka.hosts("kafka")] == ["kafka-service", "kafka-kafka-brokers"]


# --- charts -----------------------------------------------------------------------------------------------------------


LABELS = {"project": "shop", "team": "core", "cost-center": "CC-1", "app": "x", "app.kubernetes.io/component": "cache"}
VALUES: dict[str, Callable[[Settings], Json]] = {
    "cloudnative-pg": lambda s: cloudnative_pg_values(s.operators.cloudnative_pg, "shop", LABELS),
    "plugin-barman-cloud": lambda s: barman_cloud_values(s.operators.cloudnative_pg, LABELS),
    "strimzi-kafka-operator": lambda s: strimzi_values(s.operators.strimzi, "shop", LABELS),
    "redis-ha": lambda s: redis_ha_values(
        "redis", s.data.redis or RedisSettings(), LABELS, secret="s", key="k", priority_class="high", checksum="c"
    ),
}
#: What a chart takes as it comes.
_FREE = {"podAnnotations", "config", "labels", "podLabels", "resources", "securityContext", "containerSecurityContext"}
_FREE |= {"podDisruptionBudget"}


def _unknown(given: Json, known: Json, at: str = "") -> list[str]:
    found = []
    for key, value in given.items():
        if key not in known:
            found.append(f"{at}{key}")
        elif isinstance(value, dict) and key not in _FREE:
            found += _unknown(value, known[key] or {}, f"{at}{key}.")
    return found


@pytest.mark.parametrize("chart", VALUES)
def test_the_charts_that_stand_in_know_every_value_and_have_the_pinned_version(chart: str, settings: Settings) -> None:
    known = yaml.safe_load((TEST_CHARTS / chart / "values.yaml").read_text())
    about = yaml.safe_load((TEST_CHARTS / chart / "Chart.yaml").read_text())
    pinned = {of.name: of.version for of in (CLOUDNATIVE_PG, BARMAN_CLOUD, STRIMZI, REDIS_HA)}
    assert _unknown(VALUES[chart](settings), known) == []
    assert (about["name"], about["version"]) == (chart, pinned[chart])


def test_operators_watch_the_shops_namespace_and_no_other(settings: Settings) -> None:
    values = VALUES["cloudnative-pg"](settings)
    assert values["additionalEnv"] == [{"name": "WATCH_NAMESPACE", "value": "shop"}]
    assert VALUES["strimzi-kafka-operator"](settings)["watchNamespaces"] == ["shop"]


def test_strimzi_makes_pods_that_the_shops_namespace_admits_and_no_policies_of_its_own(settings: Settings) -> None:
    values = VALUES["strimzi-kafka-operator"](settings)
    assert {"name": "STRIMZI_POD_SECURITY_PROVIDER_CLASS", "value": "restricted"} in values["extraEnvs"]
    assert values["generateNetworkPolicy"] is False


def test_a_digest_of_an_image_reaches_the_chart_of_redis_with_its_tag(settings: Settings) -> None:
    digest = "sha256:" + "0" * 64
    redis = RedisSettings.model_validate({"mode": "operator", "image": {"repository": "docker.io/library/redis"}})
    assert redis.image.tag is not None
    image = redis.image.model_copy(update={"digest": digest})
    values = redis_ha_values(
        "redis",
        redis.model_copy(update={"image": image}),
        LABELS,
        secret="s",
        key="k",
        priority_class=None,
        checksum="c",
    )
    assert ":".join((values["image"]["repository"], values["image"]["tag"])) == image.reference


def test_labels_that_the_chart_of_redis_writes_without_quotes_stay_text(settings: Settings) -> None:
    labels = VALUES["redis-ha"](settings)["labels"]
    rendered = yaml.safe_load("\n".join(f"{key}: {value}" for key, value in labels.items()))
    assert all(isinstance(value, str) for value in rendered.values())


# --- settings ---------------------------------------------------------------------------------------------------------


def test_operators_are_on_where_a_store_wants_them_and_nowhere_else(settings: Settings) -> None:
    assert {key for key in settings.layers if key.startswith("operators")} == {
        "operators.cloudnativePg",
        "operators.strimzi",
    }
    assert settings.guests.keys() == {"data.postgres.cluster.backup", "data.redis.cluster"}
    assert not [key for key in load("dev", ROOT).layers if key.startswith("operators")]
    assert not load("dev", ROOT).guests


@pytest.mark.parametrize(
    "key", ["operators.cloudnativePg", "operators.strimzi", "data.redis.cluster", "data.postgres.cluster.backup"]
)
def test_a_chart_that_cannot_be_had_leaves_a_single_store_or_one_without_backups(key: str, settings: Settings) -> None:
    off = Settings.without(key)
    again = settings_with(ROOT, **overridden({"data": OPERATED}, off)["data"])
    assert key not in {**again.layers, **again.guests}


#: Kafka as an operator's, with the topics that the catalog has.
_KAFKA: Json = {"mode": "operator", "topics": {"orders": {}}}


def _with_the_owners_name(catalog: Json) -> None:
    catalog["data"]["postgres"] = {"mode": "operator", "user": "shop"}
    catalog["services"]["shop"] = copy.deepcopy({**catalog["services"]["user-service"], "routes": []})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["services"]["order-service"]["topics"].update(produces=["order"]),
            r"services\.order-service\.topics\.produces\[0\]: found 'order' \(did you mean 'orders'\?\); allowed, "
            r"from data\.kafka\.topics: orders",
        ),
        (
            lambda c: c["services"]["user-service"].update(topics={"produces": ["orders"]}),
            r"services\.user-service\.topics: found topics, but no need of kafka; allowed: both or neither",
        ),
        (
            lambda c: (c["services"]["order-service"].pop("topics"), c["data"].update(kafka=_KAFKA)),
            r"services\.order-service: found a need of kafka, but no topics",
        ),
        (
            _with_the_owners_name,
            r"services\.shop: found the name of the database's owner",
        ),
        (
            lambda c: c["operators"]["strimzi"].update(enabled=True),
            r"operators\.strimzi\.enabled: found enabled, which follows from the store; allowed: `mode: operator` at",
        ),
        (
            lambda c: c["data"].update(postgres={"cluster": {"backup": {"destination": "http://x"}}}),
            r"data\.postgres\.cluster\.backup\.destination: found 'http://x'",
        ),
    ],
)
def test_what_cannot_work_is_one_clear_error(project: Project, change: Callable[[Json], object], message: str) -> None:
    project.catalog(change)
    with pytest.raises(UserError, match=message):
        load("dev", project.root)


@pytest.mark.parametrize("store", ["postgres", "redis", "kafka"])
def test_the_quota_holds_every_pod_and_claim_that_an_operator_may_make_at_once(store: str, settings: Settings) -> None:
    of: Store = getattr(settings.data, store)
    least = {"postgres": (3, 6), "redis": (3, 3), "kafka": (3, 3)}[store]
    assert sum(count for count, amounts in of.containers if amounts == of.resources) >= least[0]
    assert len(of.claims) >= least[1]


# --- costs ------------------------------------------------------------------------------------------------------------


def test_what_operators_make_costs_what_as_many_pods_and_volumes_cost(operated: Recording) -> None:
    priced = estimate(operated.resources, load_prices())
    lines = [line for line in priced.lines if line.name == "postgres" and line.kind == "StatefulSet"]
    amounts = {(line.item, line.quantity, line.count.expected) for line in lines}
    assert {line.cost_center for line in lines} == {"CC-2001"}
    assert amounts == {
        ("cpu", Decimal("0.15"), Decimal(3)),  # 100m of the server, 50m of the plugin
        ("memory", Decimal("0.375"), Decimal(3)),  # 256Mi and 128Mi
        ("storage", Decimal(1), Decimal(3)),
        ("storage", Decimal(10), Decimal(3)),
    }


def test_kafkas_exporter_is_there_where_metrics_are_with_limits_a_payer_and_a_price(operated: Recording) -> None:
    exporter = spec(operated, "Kafka", "kafka")["kafkaExporter"]
    assert exporter["resources"] == {
        "requests": {"cpu": "20m", "memory": "32Mi"},
        "limits": {"cpu": "100m", "memory": "64Mi"},
    }
    lines = [line for line in estimate(operated.resources, load_prices()).lines if line.name == "kafka"]
    (cpu,) = [line for line in lines if line.item == "cpu" and line.quantity == Decimal("0.02")]
    assert (cpu.cost_center, cpu.count.expected) == ("CC-2001", Decimal(1))
    off = {"kafka": {"mode": "operator"}}
    without = record("dev", ROOT, overrides={"cloudmart:data": off})
    assert "kafkaExporter" not in spec(without, "Kafka", "kafka")
    assert "kafka-exporter" not in named(without, "NetworkPolicy")


def test_an_object_that_no_operator_makes_pods_of_is_left_as_it_is() -> None:
    assert workloads({"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaTopic", "spec": {}}, {}) is None
    assert workloads({"apiVersion": "apps/v1", "kind": "Deployment"}, {}) is None
