"""The data layer: what is sent to Kubernetes for each store, in each mode."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cloudmart.preview.recorder import SECRET, Recorded, Recording, record
from cloudmart.preview.schema import validate
from cloudmart.settings.data import DataSettings
from components.data import connections_of

STORES = ("postgres", "redis", "kafka")
PORTS = {"postgres": 5432, "redis": 6379, "kafka": 9092}

PROGRAM = """
import json
import pulumi
from cloudmart.settings import Party
from cloudmart.settings.data import DataSettings
from components.data import DataLayer, DataLayerArgs
from components.labels import Labels

shop = Labels(app="shop", component="platform", tier="platform", version="v1", project="shop", team="core",
              cost_center="CC-1")
settings = DataSettings.model_validate(json.loads({settings!r}))
def party(name): return Party(name=name, namespace="shop", pod_labels={{"app": name}}, service_account=name)
layer = DataLayer("shop", DataLayerArgs(namespace="shop", settings=settings, labels=shop,
    callers={{"postgres": [party("user-service"), party("report-service")], "kafka": [party("order-service")]}},
    home="shop", priority_class="shop-critical"))
for store, connection in layer.connections.items():
    pulumi.export(store, {{"env": dict(connection.env), "checksum": connection.checksum,
        "secrets": {{name: [ref.name, ref.key] for name, ref in connection.secret_env.items()}}}})
"""

ALL: dict[str, Any] = {store: {} for store in STORES}
EXTERNAL: dict[str, Any] = {
    store: {"mode": "external", "external": {"host": f"{store}.example.com", "cidrs": ["10.20.0.0/16"]}}
    for store in STORES
}


def run(root: Path, settings: Mapping[str, Any], stack: str = "config: {}") -> Recording:
    root.mkdir(parents=True, exist_ok=True)
    (root / "Pulumi.yaml").write_text("name: cloudmart\nruntime: python\n")
    (root / "Pulumi.dev.yaml").write_text(stack)
    (root / "__main__.py").write_text(PROGRAM.format(settings=json.dumps(settings)))
    return record("dev", root)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return run(tmp_path_factory.mktemp("single"), ALL)


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    secrets = "".join(f"  cloudmart:{store}Password:\n    secure: v1:abc\n" for store in STORES)
    return run(tmp_path_factory.mktemp("external"), EXTERNAL, f"config:\n{secrets}")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Every option on: exporters, protection, a storage class, a private registry."""
    options = {
        "protect": True,
        "exporter": {"enabled": True},
        "storage": {"size": "7Gi", "storageClass": "fast"},
        "costCenter": "CC-9",
    }
    return run(tmp_path_factory.mktemp("everything"), dict.fromkeys(STORES, options))


def kind(recording: Recording, kind: str) -> dict[str, Recorded]:
    return {str(r.object_name): r for r in recording.resources if r.kind == kind}


def stateful_sets(recording: Recording) -> list[Recorded]:
    return list(kind(recording, "StatefulSet").values())


def pod(recording: Recording, store: str) -> dict[str, Any]:
    spec: dict[str, Any] = kind(recording, "StatefulSet")[store].inputs["spec"]["template"]["spec"]
    return spec


def containers(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def env(container: Mapping[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env", [])}


def test_every_object_of_every_mode_fits_the_schema_of_its_kind(
    single: Recording, external: Recording, everything: Recording
) -> None:
    for recording in (single, external, everything):
        objects = [r for r in recording.resources if r.is_kubernetes_object]
        assert objects
        result = validate(objects, "1.36")
        assert result.checked == len(objects)
        assert result.errors == []


def test_a_password_reaches_nothing_but_its_secret(single: Recording, external: Recording) -> None:
    for recording in (single, external):
        assert not recording.output_leaks
        for resource in recording.resources:
            assert resource.leaks == ()
            assert not resource.secret_paths or resource.kind == "Secret", resource.urn
        for store in STORES:
            assert kind(recording, "Secret")[f"{store}-credentials"].inputs["stringData"]["password"] == SECRET


def test_a_single_store_has_exactly_the_objects_that_its_component_names(single: Recording) -> None:
    for store in STORES:
        own = {
            (str(r.kind), str(r.object_name)) for r in single.resources if r.parent.endswith(f"::{store}") and r.kind
        }
        assert own == {
            ("Secret", f"{store}-credentials"),
            ("ConfigMap", f"{store}-config"),
            ("ServiceAccount", store),
            ("Service", f"{store}-headless"),
            ("Service", f"{store}-service"),
            ("StatefulSet", store),
            ("NetworkPolicy", store),
        }


def test_services_have_the_names_and_ports_that_clients_are_given(single: Recording) -> None:
    services = kind(single, "Service")
    for store in STORES:
        client, headless = services[f"{store}-service"], services[f"{store}-headless"]
        for service in (client, headless):
            assert service.inputs["spec"]["selector"] == {"app": store}
            assert [port["port"] for port in service.inputs["spec"]["ports"]] == [PORTS[store]]
        assert client.inputs["spec"]["type"] == "ClusterIP"
        assert headless.inputs["spec"]["clusterIP"] == "None"
        assert kind(single, "StatefulSet")[store].inputs["spec"]["serviceName"] == f"{store}-headless"
        ports = [p for c in containers(pod(single, store)) for p in c.get("ports", [])]
        assert [(p["name"], p["containerPort"]) for p in ports] == [(store, PORTS[store])]


def test_every_container_meets_the_restricted_standard_with_a_read_only_root_and_resources(
    everything: Recording,
) -> None:
    for stateful_set in stateful_sets(everything):
        spec = stateful_set.inputs["spec"]["template"]["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        for container in containers(spec):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context.get("runAsUser", 1) > 0
            for amounts in (container["resources"]["requests"], container["resources"]["limits"]):
                assert amounts.keys() == {"cpu", "memory"}


@pytest.mark.parametrize(
    ("store", "user", "writable"),
    [
        ("postgres", 999, {"/var/lib/postgresql", "/var/run/postgresql", "/tmp", "/dev/shm"}),  # noqa: S108
        ("redis", 999, {"/data"}),
        ("kafka", 1000, {"/var/lib/kafka/data", "/tmp"}),  # noqa: S108
    ],
)
def test_each_image_gets_its_own_user_and_exactly_the_writable_folders_that_it_needs(
    single: Recording, store: str, user: int, writable: set[str]
) -> None:
    spec = pod(single, store)
    assert {spec["securityContext"][key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {user}
    for container in containers(spec):
        assert {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")} == writable
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert all("sizeLimit" in v["emptyDir"] for v in volumes.values() if "emptyDir" in v)
    declared = volumes.keys() | {"data"}
    assert {m["name"] for c in containers(spec) for m in c["volumeMounts"]} <= declared


def test_no_server_writes_into_the_root_of_its_claim_where_lost_and_found_may_lie(single: Recording) -> None:
    postgres = env(pod(single, "postgres")["containers"][0])
    assert postgres["PGDATA"].startswith("/var/lib/postgresql/")
    log_dirs = properties(single)["log.dirs"]
    assert log_dirs.startswith("/var/lib/kafka/data/")


def properties(recording: Recording) -> dict[str, str]:
    text = kind(recording, "ConfigMap")["kafka-config"].inputs["data"]["server.properties"]
    return dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))


def test_claims_outlive_their_workload_and_say_who_pays(everything: Recording) -> None:
    for stateful_set in stateful_sets(everything):
        spec = stateful_set.inputs["spec"]
        assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
        (claim,) = spec["volumeClaimTemplates"]
        assert claim["spec"]["resources"]["requests"] == {"storage": "7Gi"}
        assert claim["spec"]["storageClassName"] == "fast"
        for labels in (
            claim["metadata"]["labels"],
            spec["template"]["metadata"]["labels"],
            stateful_set.metadata["labels"],
        ):
            assert (labels["project"], labels["team"], labels["cost-center"]) == ("shop", "core", "CC-9")
            assert labels["tier"] == "data"


def test_protection_covers_what_holds_the_data_and_not_passwords_which_can_be_rotated(
    everything: Recording, single: Recording
) -> None:
    def protected(recording: Recording) -> set[str]:
        return {r.name for r in recording.resources if r.protect}

    assert protected(everything) == set(STORES)
    assert protected(single) == set()
    assert sum(r.type.endswith("RandomPassword") for r in everything.resources) == 4


def test_up_does_not_wait_forever_for_a_claim_that_never_binds(single: Recording) -> None:
    for stateful_set in stateful_sets(single):
        assert stateful_set.custom_timeouts["create"] == "5m"


def test_only_declared_callers_reach_a_store_and_it_calls_nobody(single: Recording, everything: Recording) -> None:
    def rules(recording: Recording, store: str) -> Any:
        spec = kind(recording, "NetworkPolicy")[store].inputs["spec"]
        assert spec["podSelector"] == {"matchLabels": {"app": store}}
        assert sorted(spec["policyTypes"]) == ["Egress", "Ingress"]
        assert spec["egress"] == []
        return spec["ingress"]

    (rule,) = rules(single, "postgres")
    assert [port["port"] for port in rule["ports"]] == [5432]
    assert [peer["podSelector"]["matchLabels"] for peer in rule["from"]] == [
        {"app": "user-service"},
        {"app": "report-service"},
    ]
    assert rules(single, "redis") == []
    assert rules(everything, "redis") == []  # an exporter alone opens nothing: the monitoring's edges do


def test_probes_run_the_stores_own_client_and_carry_no_password(single: Recording) -> None:
    clients = {"postgres": "pg_isready", "redis": "redis-cli", "kafka": "kafka-configs.sh"}
    for store, client in clients.items():
        server = pod(single, store)["containers"][0]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= server.keys()
        startup = server["startupProbe"]
        assert any(client in part for part in startup["exec"]["command"])
        assert startup["periodSeconds"] * startup["failureThreshold"] >= 300
    # While the entrypoint prepares a new data folder, its temporary server answers on the socket but not over TCP.
    assert "--host=127.0.0.1" in pod(single, "postgres")["containers"][0]["readinessProbe"]["exec"]["command"]
    assert "--host=127.0.0.1" in pod(single, "postgres")["containers"][0]["startupProbe"]["exec"]["command"][-1]
    # A server that replays its log turns clients away with status 1: not ready, but alive; 2 is no answer at all.
    liveness = pod(single, "postgres")["containers"][0]["livenessProbe"]["exec"]["command"][-1]
    for status, alive in ((0, True), (1, True), (2, False)):
        answer = subprocess.run(["bash", "-c", f"pg_isready() {{ return {status}; }}; {liveness}"], timeout=10)
        assert (answer.returncode == 0) is alive
    # An error reply, such as "loading", must not count as ready; for being alive it has to do.
    redis = pod(single, "redis")["containers"][0]
    assert "-e" in redis["readinessProbe"]["exec"]["command"]
    assert "-e" not in redis["livenessProbe"]["exec"]["command"]
    # The client inherits the broker's environment: with the broker's heap it would break the memory limit.
    command = pod(single, "kafka")["containers"][0]["startupProbe"]["exec"]["command"]
    assert command[-1].startswith("KAFKA_HEAP_OPTS=-Xmx64m ")


def test_service_links_are_off_because_kafkas_scripts_read_every_variable_that_begins_with_kafka(
    single: Recording,
) -> None:
    assert all(pod(single, store)["enableServiceLinks"] is False for store in STORES)


def test_memory_settings_of_each_server_follow_from_its_limit(tmp_path: Path) -> None:
    amounts = {"cpu": "1", "memory": "4Gi"}
    big = {"resources": {"requests": amounts, "limits": amounts}}
    recording = run(tmp_path, dict.fromkeys(STORES, big))
    assert "shared_buffers=1024MB" in pod(recording, "postgres")["containers"][0]["args"]
    shm = next(v for v in pod(recording, "postgres")["volumes"] if v["name"] == "dev-shm")
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "1024Mi"}
    assert "maxmemory 2457mb" in kind(recording, "ConfigMap")["redis-config"].inputs["data"]["redis.conf"]
    assert env(pod(recording, "kafka")["containers"][0])["KAFKA_HEAP_OPTS"] == "-Xms2048m -Xmx2048m"


def test_kafka_runs_without_zookeeper_and_lets_only_authenticated_clients_in_from_outside_the_pod(
    single: Recording,
) -> None:
    config = properties(single)
    assert config["process.roles"] == "broker,controller"
    assert not any("zookeeper" in key for key in config)
    protocols = dict(entry.split(":") for entry in config["listener.security.protocol.map"].split(","))
    for listener in config["listeners"].split(","):
        name, address = listener.split("://")
        assert protocols[name] == "SASL_PLAINTEXT" or address.startswith("127.0.0.1:"), listener
    assert "CLIENT://kafka-service:9092" in config["advertised.listeners"].split(",")
    assert config["offsets.topic.replication.factor"] == "1"


def test_a_claim_of_kafka_keeps_its_identity_and_only_an_empty_one_is_formatted(single: Recording) -> None:
    (formatter,) = pod(single, "kafka")["initContainers"]
    check, formats = formatter["command"][-1].index("test -e"), formatter["command"][-1].index(" format ")
    assert check < formats
    assert f"{properties(single)['log.dirs']}/meta.properties && exit" in formatter["command"][-1]
    assert not any("valueFrom" in entry for entry in formatter["env"]), "formatting needs no secret"


def test_every_start_sets_the_passwords_of_the_secret_so_that_a_claim_cannot_lock_its_services_out(
    single: Recording,
) -> None:
    postgres = pod(single, "postgres")["containers"][0]
    assert "--file=/etc/cloudmart/application.sql" in postgres["startupProbe"]["exec"]["command"][-1]
    sql = kind(single, "ConfigMap")["postgres-config"].inputs["data"]["application.sql"]
    for variable in re.findall(r"getenv \w+ (\w+)", sql):
        assert variable in env(postgres)
    for role in ("postgres", ':"role"'):
        assert re.search(rf"ALTER ROLE {role} .*PASSWORD :'", sql)

    kafka = pod(single, "kafka")
    assert (
        "--add-config-file=/etc/cloudmart/credentials.properties"
        in (kafka["containers"][0]["startupProbe"]["exec"]["command"][-1])
    )
    (config,) = [v for v in kafka["volumes"] if v["name"] == "config"]
    key = "credentials.properties"
    assert {"secret": {"name": "kafka-credentials", "items": [{"key": key, "path": key}]}} in (
        config["projected"]["sources"]
    )


def test_what_kafkas_client_prints_stays_out_of_the_pods_events_because_it_quotes_passwords(single: Recording) -> None:
    command = pod(single, "kafka")["containers"][0]["startupProbe"]["exec"]["command"][-1]
    assert command.endswith(">/dev/null 2>&1")


def test_logs_of_kafka_leave_standard_output_to_the_answers_of_its_tools(single: Recording) -> None:
    (formatter,) = pod(single, "kafka")["initContainers"]
    assert '--cluster-id="$(' in formatter["command"][-1]
    assert "target: SYSTEM_ERR" in kind(single, "ConfigMap")["kafka-config"].inputs["data"]["log4j2.yaml"]


def test_redis_reads_its_password_from_a_mounted_secret_and_not_from_its_arguments(single: Recording) -> None:
    spec = pod(single, "redis")
    assert spec["containers"][0]["command"] == ["redis-server", "/etc/redis/redis.conf"]
    assert "requirepass" not in kind(single, "ConfigMap")["redis-config"].inputs["data"]["redis.conf"]
    (config,) = [v for v in spec["volumes"] if v["name"] == "config"]
    assert config["projected"]["sources"] == [
        {"configMap": {"name": "redis-config"}},
        {"secret": {"name": "redis-credentials", "items": [{"key": "auth.conf", "path": "auth.conf"}]}},
    ]


def test_services_do_not_get_the_superuser_of_postgres(single: Recording) -> None:
    outputs = single.outputs["postgres"]
    assert outputs["env"]["DB_USER"] == "cloudmart"
    assert outputs["secrets"] == {"DB_PASSWORD": ["postgres-credentials", "password"]}
    assert "NOSUPERUSER" in kind(single, "ConfigMap")["postgres-config"].inputs["data"]["application.sql"]
    server = env(pod(single, "postgres")["containers"][0])
    assert server["POSTGRES_PASSWORD"]["secretKeyRef"]["key"] == "superuser-password"


def test_connections_hold_the_given_names_and_are_known_from_the_settings_alone(single: Recording) -> None:
    connections = connections_of(DataSettings.model_validate(ALL))
    assert connections["postgres"].env["DB_HOST"] == "postgres-service"
    assert connections["redis"].env["REDIS_HOST"] == "redis-service"
    assert connections["kafka"].env["KAFKA_BROKERS"] == "kafka-service:9092"
    for store, connection in connections.items():
        assert connection.pod_selector == {"app": store}
        assert connection.port == PORTS[store]
        assert single.outputs[store]["env"] == dict(connection.env)
        for ref in connection.secret_env.values():
            assert ref.key in kind(single, "Secret")[ref.name].inputs["stringData"]
        # New credentials have to roll those who use them.
        template = kind(single, "StatefulSet")[store].inputs["spec"]["template"]
        assert single.outputs[store]["checksum"] == template["metadata"]["annotations"]["checksum/credentials"]


def test_a_changed_configuration_file_changes_the_pod_template(single: Recording, tmp_path: Path) -> None:
    changed = run(tmp_path, {"redis": {"eviction": "noeviction"}})

    def checksum(recording: Recording) -> str:
        template = kind(recording, "StatefulSet")["redis"].inputs["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum(changed) != checksum(single)


def test_an_external_store_is_a_name_and_credentials_and_no_workload(external: Recording) -> None:
    assert {r.kind for r in external.resources if r.kind} == {"Service", "Secret"}
    for store in STORES:
        spec = kind(external, "Service")[f"{store}-service"].inputs["spec"]
        assert (spec["type"], spec["externalName"]) == ("ExternalName", f"{store}.example.com")
    assert not [r for r in external.resources if r.type.startswith("random:")]


def test_clients_of_an_external_store_are_given_its_own_name_because_its_certificate_bears_it() -> None:
    connections = connections_of(DataSettings.model_validate(EXTERNAL))
    assert connections["postgres"].env["DB_HOST"] == "postgres.example.com"
    assert connections["postgres"].env["DB_SSLMODE"] == "require"
    assert connections["redis"].env["REDIS_TLS"] == "true"
    assert connections["kafka"].env["KAFKA_BROKERS"] == "kafka.example.com:9096"
    assert connections["kafka"].env["KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL"
    for connection in connections.values():
        assert connection.pod_selector is None
        assert connection.cidrs == ("10.20.0.0/16",)


def test_a_store_that_is_not_declared_is_not_made(tmp_path: Path) -> None:
    recording = run(tmp_path, {"redis": {}, "kafka": None})
    assert [r.object_name for r in stateful_sets(recording)] == ["redis"]


def test_exporters_are_off_until_asked_for_and_then_probed_and_exposed(
    single: Recording, everything: Recording
) -> None:
    for store in STORES:
        assert [c["name"] for c in pod(single, store)["containers"]] == [store]
        server, exporter = pod(everything, store)["containers"]
        assert (server["name"], exporter["name"]) == (store, "exporter")
        assert {"readinessProbe", "livenessProbe"} <= exporter.keys()
        headless = kind(everything, "Service")[f"{store}-headless"].inputs["spec"]["ports"]
        client = kind(everything, "Service")[f"{store}-service"].inputs["spec"]["ports"]
        assert [port["name"] for port in headless] == [store, "metrics"]
        assert [port["name"] for port in client] == [store]


def test_every_image_is_pinned_to_one_version(everything: Recording) -> None:
    images = {c["image"] for s in stateful_sets(everything) for c in containers(s.inputs["spec"]["template"]["spec"])}
    assert len(images) == 6
    for image in images:
        tag = image.rsplit(":", 1)[1]
        assert tag.lstrip("v")[0].isdigit()
        assert "." in tag


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"postgres": {"mode": "external"}}, "mode is external, but external is not given"),
        (
            {"redis": {"external": {"host": "r.example.com", "cidrs": ["10.0.0.0/8"]}}},
            "external is given, but mode is single",
        ),
        ({"kafka": {"mode": "external", "external": {"host": "k.example.com", "cidrs": []}}}, "at least 1 item"),
        ({"postgres": {"user": "postgres"}}, "the administrator's own"),
        ({"postgres": {"user": "x; DROP TABLE"}}, "should match pattern"),
        (
            {"kafka": {"resources": {k: {"cpu": "1", "memory": "512Mi"} for k in ("requests", "limits")}}},
            "limits.memory 512Mi is too little",
        ),
        ({"redis": {"mode": "cluster"}}, "'single', 'external' or 'operator'"),
        ({"redis": {"password": "hunter2"}}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_what_is_allowed(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataSettings.model_validate(settings)
