"""Rules on probes, pod security, host access and literal secrets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.policy.objects import CONTAINER, POD_KINDS, broken, config_map, pod_spec, workload

SPEC = "spec.template.spec"
APP = f"{SPEC}.containers.0"
CONTEXT = f"{APP}.securityContext"
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
LONG_RUNNING = [kind for kind in POD_KINDS if kind not in ("Job", "CronJob")]
RULES = ["probes", "pod-security", "host-access", "no-literal-secrets"]


@pytest.mark.parametrize("kind", POD_KINDS)
@pytest.mark.parametrize("rule", RULES)
def test_a_good_workload_of_any_kind_passes(rule: str, kind: str) -> None:
    assert broken(rule, workload(kind)) == []


@pytest.mark.parametrize(
    "path", ["spec", SPEC, f"{SPEC}.containers", APP, CONTEXT, f"{APP}.livenessProbe", f"{APP}.env", f"{APP}.env.0"]
)
@pytest.mark.parametrize("rule", RULES)
def test_what_preview_cannot_know_is_no_violation(rule: str, path: str) -> None:
    assert broken(rule, workload().unknown(path)) == []


# --- probes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LONG_RUNNING)
def test_a_long_running_container_needs_both_probes(kind: str) -> None:
    place = f"{pod_spec(kind)}.containers.0"
    [message] = broken("probes", workload(kind).without(f"{place}.livenessProbe"))
    assert "container 'app': no liveness probe" in message
    bare = workload(kind).without(f"{place}.livenessProbe").without(f"{place}.readinessProbe")
    [message] = broken("probes", bare)
    assert "no liveness and readiness probe" in message


@pytest.mark.parametrize("kind", ["Job", "CronJob"])
def test_what_is_meant_to_end_needs_no_probes(kind: str) -> None:
    assert broken("probes", workload(kind).with_(f"{pod_spec(kind)}.containers", [{"name": "once"}])) == []


def test_a_bare_pod_that_may_end_and_init_containers_need_no_probes() -> None:
    pod = workload("Pod").with_("spec.containers", [{"name": "once"}])
    assert len(broken("probes", pod)) == 1
    assert broken("probes", pod.with_("spec.restartPolicy", "Never")) == []
    assert broken("probes", workload().with_(f"{SPEC}.initContainers", [{"name": "init"}])) == []


def test_a_probe_that_asks_nothing_is_none() -> None:
    assert len(broken("probes", workload().with_(f"{APP}.livenessProbe", {"periodSeconds": 10}))) == 1


def test_the_probes_that_are_required_are_configurable() -> None:
    assert len(broken("probes", workload(), required=["startup"])) == 1
    assert broken("probes", workload().without(f"{APP}.livenessProbe"), required=["readiness"]) == []


# --- pod security ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("runAsNonRoot", False, "runAsNonRoot is not true"),
        ("runAsNonRoot", None, "runAsNonRoot is not true"),
        ("runAsUser", 0, "runAsUser is 0"),
        ("allowPrivilegeEscalation", True, "allowPrivilegeEscalation is not false"),
        ("allowPrivilegeEscalation", None, "allowPrivilegeEscalation is not false"),
        ("capabilities", None, "capabilities.drop does not have ALL"),
        ("capabilities.drop", ["NET_RAW"], "capabilities.drop does not have ALL"),
        ("capabilities.add", ["NET_BIND_SERVICE", "SYS_ADMIN"], "capabilities.add has SYS_ADMIN"),
        ("seccompProfile", None, "seccompProfile.type is not RuntimeDefault or Localhost"),
        ("seccompProfile.type", "Unconfined", "seccompProfile.type is not RuntimeDefault or Localhost"),
        ("procMount", "Unmasked", "procMount is Unmasked"),
        ("appArmorProfile.type", "Unconfined", "appArmorProfile.type is Unconfined"),
        ("seLinuxOptions.type", "spc_t", "seLinuxOptions.type is spc_t"),
        ("seLinuxOptions.user", "root", "seLinuxOptions.user is root"),
        ("seLinuxOptions.role", "admin_r", "seLinuxOptions.role is admin_r"),
    ],
)
@pytest.mark.parametrize("kind", POD_KINDS)
def test_each_field_of_the_restricted_standard_is_checked(kind: str, path: str, value: Any, problem: str) -> None:
    [message] = broken(
        "pod-security", workload(kind).with_(f"{pod_spec(kind)}.containers.0.securityContext.{path}", value)
    )
    assert f"container 'app': {problem}." in message


def test_the_pod_may_set_what_containers_inherit() -> None:
    inherited = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    bare = workload().without(f"{CONTEXT}.runAsNonRoot").without(f"{CONTEXT}.seccompProfile")
    assert len(broken("pod-security", bare)) == 1
    assert broken("pod-security", bare.with_(f"{SPEC}.securityContext", inherited)) == []
    overridden = bare.with_(f"{SPEC}.securityContext", inherited).with_(f"{CONTEXT}.runAsNonRoot", False)
    assert len(broken("pod-security", overridden)) == 1


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("spec.securityContext.runAsUser", 0, "runAsUser is 0"),
        ("spec.securityContext.runAsNonRoot", False, "runAsNonRoot is false"),
        ("spec.securityContext.seccompProfile.type", "Unconfined", "seccompProfile.type is Unconfined"),
        ("spec.securityContext.appArmorProfile.type", "Unconfined", "appArmorProfile.type is Unconfined"),
        ("spec.securityContext.seLinuxOptions.type", "spc_t", "seLinuxOptions.type is spc_t"),
        ("spec.securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}], "sysctls has kernel.msgmax"),
        ("spec.volumes", [{"name": "share", "nfs": {"server": "a", "path": "/"}}], "volume 'share' is of type nfs"),
        ("metadata.annotations", {f"{APP_ARMOR}app": "unconfined"}, f"annotation {APP_ARMOR}app is unconfined"),
    ],
)
@pytest.mark.parametrize("kind", POD_KINDS)
def test_what_the_standard_forbids_a_pod_is_found_whatever_its_containers_say(
    kind: str, path: str, value: Any, problem: str
) -> None:
    found = workload(kind).with_(f"{pod_spec(kind).removesuffix('spec')}{path}", value)
    own = found.with_(f"{pod_spec(kind)}.containers.0.securityContext.runAsUser", 1000)
    [message] = broken("pod-security", own)
    assert f"cloudmart/user-service: {problem}." in message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.securityContext.sysctls", [{"name": "net.ipv4.tcp_syncookies", "value": "1"}]),
        ("spec.securityContext.seLinuxOptions", {"type": "container_t", "level": "s0:c1,c2"}),
        ("spec.volumes", [{"name": "own", "emptyDir": {}}, {"name": "data", "persistentVolumeClaim": {}}]),
        ("metadata.annotations", {f"{APP_ARMOR}app": "localhost/mine"}),
        ("spec.containers.0.securityContext.procMount", "Default"),
        ("spec.containers.0.securityContext.appArmorProfile", {"type": "RuntimeDefault"}),
    ],
)
def test_what_the_restricted_standard_allows_passes(path: str, value: Any) -> None:
    assert broken("pod-security", workload().with_(f"spec.template.{path}", value)) == []


@pytest.mark.parametrize(
    "path",
    ["securityContext", "securityContext.sysctls.0.name", "securityContext.seLinuxOptions.type", "volumes.0.nfs"],
)
def test_what_preview_cannot_know_of_a_pod_is_no_violation(path: str) -> None:
    pod = workload().with_(f"{SPEC}.securityContext", {"sysctls": [{"name": "x"}]})
    pod = pod.with_(f"{SPEC}.volumes", [{"name": "data"}]) if path.startswith("volumes") else pod
    if "sysctls" not in path:
        pod = pod.with_(f"{SPEC}.securityContext", {})
    assert broken("pod-security", pod.unknown(f"{SPEC}.{path}")) == []


def test_init_containers_are_held_to_the_standard() -> None:
    [message] = broken("pod-security", workload().with_(f"{SPEC}.initContainers", [{"name": "init"}]))
    assert "init container 'init'" in message


@pytest.mark.parametrize(
    "field", ["runAsNonRoot", "allowPrivilegeEscalation", "capabilities", "capabilities.drop", "seccompProfile.type"]
)
def test_an_unknown_field_of_the_security_context_is_no_violation(field: str) -> None:
    assert broken("pod-security", workload().unknown(f"{CONTEXT}.{field}")) == []


def test_capabilities_and_profiles_are_configurable() -> None:
    assert broken("pod-security", workload().with_(f"{CONTEXT}.capabilities.add", ["NET_BIND_SERVICE"])) == []
    added = workload().with_(f"{CONTEXT}.capabilities.add", ["CHOWN"])
    assert broken("pod-security", added, allowedCapabilities=["CHOWN"]) == []
    assert len(broken("pod-security", workload(), seccompProfiles=["Localhost"])) == 1


# --- host access -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("hostNetwork", True, "hostNetwork is true"),
        ("hostPID", True, "hostPID is true"),
        ("hostIPC", True, "hostIPC is true"),
        ("volumes", [{"name": "root", "hostPath": {"path": "/"}}], "volume 'root' is a hostPath"),
        ("containers.0.securityContext.privileged", True, "container 'app': privileged is true"),
        ("containers.0.ports", [{"containerPort": 80, "hostPort": 80}], "container 'app': a port has a hostPort"),
        ("initContainers", [{"name": "init", "securityContext": {"privileged": True}}], "init container 'init'"),
        ("securityContext.windowsOptions", {"hostProcess": True}, "windowsOptions.hostProcess is true"),
        (
            "containers.0.securityContext.windowsOptions",
            {"hostProcess": True},
            "container 'app': windowsOptions.hostProcess is true",
        ),
        (
            "containers.0.livenessProbe.httpGet.host",
            "169.254.169.254",
            "container 'app': livenessProbe.httpGet.host is set",
        ),
        (
            "containers.0.lifecycle",
            {"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}},
            "container 'app': lifecycle.preStop.tcpSocket.host is set",
        ),
    ],
)
@pytest.mark.parametrize("kind", POD_KINDS)
def test_each_way_to_the_host_is_found(kind: str, path: str, value: Any, problem: str) -> None:
    [message] = broken("host-access", workload(kind).with_(f"{pod_spec(kind)}.{path}", value))
    assert problem in message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("hostNetwork", False),
        ("volumes", [{"name": "data", "emptyDir": {}}]),
        ("containers.0.ports", [{"containerPort": 80, "hostPort": 0}]),
        ("containers.0.livenessProbe.httpGet.host", ""),
    ],
)
def test_what_does_not_reach_the_host_passes(path: str, value: Any) -> None:
    assert broken("host-access", workload().with_(f"{SPEC}.{path}", value)) == []


# --- literal secrets -------------------------------------------------------------------------------------------------

HIDDEN = "hunter2-hunter2"
# In two parts, so that no scanner takes the test for a leak.
TOKENS = {
    "an AWS access key": "AKIA" + "ABCDEFGHIJKLMNOP",
    "a GitHub token": "ghp_" + "a" * 36,
    "a GitLab token": "glpat-" + "a" * 20,
    "a Slack token": "xoxb-" + "1" * 12,
    "a Stripe key": "sk_live_" + "a" * 24,
    "a Google API key": "AIza" + "a" * 35,
    "an npm token": "npm_" + "a" * 36,
    "a Pulumi access token": "pul-" + "0" * 40,
    "a JSON web token": "eyJ" + "a" * 12 + ".eyJ" + "b" * 12 + ".c",
    "a private key": "-----BEGIN " + "RSA PRIVATE KEY-----",
    "a URL with a password": "postgres://app:" + "hunter2@db/shop",
    "a connection string with a password": "Server=db;User Id=sa;Password=" + "hunter2;",
}


def _with_env(name: str, **rest: Any) -> Any:
    return workload().with_(f"{APP}.env", [{"name": name, **rest}])


@pytest.mark.parametrize(
    "name",
    [
        "DB_PASSWORD",
        "PGPASSWORD",
        "dbPassword",
        "API_TOKEN",
        "CLIENT_SECRET",
        "API_KEY",
        "apikey",
        "STRIPE_KEY",
        "KEY",
        "DB_PASS",
        "smtp-pass",
        "CONNECTION_STRING",
        "ConnectionString",
    ],
)
def test_a_literal_under_the_name_of_a_secret_is_found_and_not_shown(name: str) -> None:
    [message] = broken("no-literal-secrets", _with_env(name, value=HIDDEN))
    assert f"container 'app', env: '{name}' is a secret by its name" in message
    assert HIDDEN not in message


@pytest.mark.parametrize(
    "name",
    [
        "DB_PASSWORD_FILE",
        "MONKEY",
        "TOKEN_TTL",
        "KEYSPACE",
        "SECRET_NAME",
        "CACHE_KEY_PREFIX",
        "SERVICE_NAME",
        "BYPASS",
        "COMPASS",
        "PASS_THROUGH",
        "CONNECTION_STRINGS",
    ],
)
def test_a_name_that_only_mentions_a_secret_passes(name: str) -> None:
    assert broken("no-literal-secrets", _with_env(name, value="plain")) == []


@pytest.mark.parametrize("value", ["", "true", "No", "$(DB_PASSWORD)"])
def test_switches_and_references_to_other_variables_pass(value: str) -> None:
    assert broken("no-literal-secrets", _with_env("ALLOW_EMPTY_PASSWORD", value=value)) == []


def test_a_reference_to_a_secret_passes() -> None:
    reference = {"secretKeyRef": {"name": "db", "key": "password"}}
    assert broken("no-literal-secrets", _with_env("DB_PASSWORD", valueFrom=reference)) == []
    assert broken("no-literal-secrets", _with_env("DB_PASSWORD")) == []


@pytest.mark.parametrize("what", TOKENS)
def test_the_shape_of_a_token_is_found_under_any_name_and_not_shown(what: str) -> None:
    [message] = broken("no-literal-secrets", _with_env("SETTING", value=f"x {TOKENS[what]}"))
    assert f"the value of 'SETTING' looks like {what}" in message
    assert TOKENS[what] not in message


@pytest.mark.parametrize(
    "value",
    [
        "host=db user=app password=" + "hunter2",
        "server=db; pwd = " + "hunter2",
        "jdbc:postgresql://db/shop?user=app&password=" + "hunter2",
        "redis-service:6379,password=" + "hunter2,ssl=true",
        'Module required username="app" password="' + 'hunter2";',
    ],
)
def test_a_password_is_found_in_every_form_of_connection_string(value: str) -> None:
    [message] = broken("no-literal-secrets", _with_env("SETTING", value=value))
    assert "the value of 'SETTING' looks like a connection string with a password" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "value",
    [
        "Server=db;User Id=sa;Integrated Security=true",
        "Server=db;Password=$(DB_PASSWORD);",
        'PASSWORD="$(cat /run/secrets/db)"',
        "password=/run/secrets/db",
        "password={{ .password }}",
        "password=<yours>",
        "password=",
        "password_file=db nopassword=1",
        "pwd=/srv",
    ],
)
def test_what_only_names_a_password_or_says_where_it_is_passes(value: str) -> None:
    assert broken("no-literal-secrets", _with_env("SETTING", value=value)) == []


@pytest.mark.parametrize("value", ["http://kafka-service:9092", "postgres://app:$(DB_PASSWORD)@db/shop", "a@b:c"])
def test_ordinary_addresses_pass(value: str) -> None:
    assert broken("no-literal-secrets", _with_env("URL", value=value)) == []


def test_a_config_map_is_no_place_for_secrets_either() -> None:
    assert broken("no-literal-secrets", config_map({"LOG_LEVEL": "info"})) == []
    [message] = broken("no-literal-secrets", config_map({"DB_PASSWORD": HIDDEN}))
    assert "ConfigMap cloudmart/settings, data: 'DB_PASSWORD'" in message
    assert broken("no-literal-secrets", config_map({"DB_PASSWORD": HIDDEN}).unknown("data.DB_PASSWORD")) == []


@pytest.mark.parametrize("kind", POD_KINDS)
def test_init_containers_of_every_kind_are_searched(kind: str) -> None:
    init = [{**CONTAINER, "name": "init", "env": [{"name": "DB_PASSWORD", "value": HIDDEN}]}]
    [message] = broken("no-literal-secrets", workload(kind).with_(f"{pod_spec(kind)}.initContainers", init))
    assert "init container 'init'" in message


def test_names_are_configurable() -> None:
    assert broken("no-literal-secrets", _with_env("DB_PASSWORD", value="x"), allowedNames=["DB_PASSWORD"]) == []
    assert len(broken("no-literal-secrets", _with_env("PARTNER", value="x"), names=["^partner$"])) == 1
    assert broken("no-literal-secrets", _with_env("DB_PASSWORD", value="x"), names=[]) == []
