"""`cloudmart up`, `cloudmart down` and plain Pulumi on the real engine and a real API server.

One story, told in order: what one test leaves is what the next finds.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cloudmart.errors import UserError
from tests.pulumi.shop import OWN, SPACE, Ended, Shop

STORES = ("kafka", "postgres", "redis")
CLAIMS = {f"PersistentVolumeClaim data-{store}-0" for store in STORES}

#: Lets everything through in a dry run, so that a preview is content, and refuses autoscalers in earnest.
REFUSAL = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-autoscalers}
spec:
  matchConstraints:
    resourceRules:
      - {apiGroups: [autoscaling], apiVersions: ["*"], operations: [CREATE], resources: [horizontalpodautoscalers]}
  validations: [{expression: "has(request.dryRun) && request.dryRun", message: refused by this test}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-autoscalers}
spec: {policyName: no-autoscalers, validationActions: [Deny]}
"""


def _within(seconds: float, what: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def _forms(value: str) -> list[str]:
    """A value as it is, and what any base64 text that holds it has in common."""
    return [value, *(base64.b64encode(b"x" * shift + value.encode()).decode()[4:-4] for shift in range(3))]


@pytest.fixture
def without_autoscalers(shop: Shop) -> Iterator[None]:
    shop.cluster.kubectl("create", "namespace", "probe")
    shop.cluster.kubectl("apply", "-f", "-", stdin=REFUSAL)
    probe = json.dumps(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"generateName": "probe-", "namespace": "probe"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}, "maxReplicas": 2},
        }
    )

    def refused() -> bool:
        try:
            shop.cluster.kubectl("create", "-f", "-", stdin=probe)
        except UserError:
            return True
        return False

    try:
        assert _within(30, refused)
        yield
    finally:
        shop.cluster.kubectl("delete", "-f", "-", stdin=REFUSAL)
        shop.cluster.kubectl("delete", "namespace", "probe")


def test_a_policy_violation_stops_up_before_anything_is_made_with_our_message_alone(shop: Shop) -> None:
    file = shop.project.root / "policy" / "config" / "dev.json"
    before = file.read_text()
    tight = {"enforcementLevel": "mandatory", "allowed": ["registry.example.com"]}
    file.write_text(json.dumps({**json.loads(before), "image-registries": tight}))
    try:
        ended = shop.cloudmart("up", "--stack", "dev")
    finally:
        file.write_text(before)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert "KeyboardInterrupt" not in ended.stdout + ended.stderr
    message = ended.stderr[ended.stderr.index("error: ") :]
    assert "mandatory: image-registries: " in message
    assert "user-service" in message
    assert not {SPACE, "kubecost"} & shop.names("namespaces")
    assert not [name for name in shop.names("priorityclasses") if name.startswith(SPACE)]


def test_bad_settings_stop_up_with_one_message(shop: Shop) -> None:
    before = (shop.project.root / "catalog.yaml").read_text()
    shop.project.catalog(lambda catalog: catalog["services"]["user-service"].update(costCenter="CC-9"))
    try:
        ended = shop.cloudmart("up", "--stack", "dev")
    finally:
        (shop.project.root / "catalog.yaml").write_text(before)
    assert ended.returncode == 2
    (message,) = [line for line in ended.stderr.splitlines() if line]
    assert message.startswith("error: catalog.yaml:")
    assert "services.user-service.costCenter: found 'CC-9'" in message


def test_an_up_that_fails_half_way_says_why_and_the_next_one_finishes_it(shop: Shop, without_autoscalers: None) -> None:
    with pytest.raises(UserError) as caught:
        shop.up("dev")
    assert "refused by this test" in str(caught.value)
    assert "HorizontalPodAutoscaler" in str(caught.value)
    assert "Traceback" not in str(caught.value)
    made = shop.held()
    assert set(made) > OWN, "half way: the engine begins Deployments and autoscalers at once, in any order"
    assert not [name for name in made if name.startswith("HorizontalPodAutoscaler")]


def test_up_brings_dev_up_whole(shop: Shop) -> None:
    deployed, lines = shop.up("dev")
    assert any(line.startswith("created HorizontalPodAutoscaler user-service-hpa") for line in lines)
    held = shop.held()
    declared = {f"{r.kind} {r.object_name}" for r in deployed.recording.resources if r.namespace == SPACE}
    assert declared <= set(held)
    for item in shop.get("deployments", "-n", SPACE) + shop.get("deployments", "-n", "kubecost"):
        conditions = {condition["type"]: condition["status"] for condition in item["status"]["conditions"]}
        assert conditions["Available"] == "True", item["metadata"]["name"]
    assert "Service kubecost-frontend" in shop.held("kubecost")
    outputs = json.loads(shop.pulumi("stack", "output", "--json", "-s", "dev").stdout)
    assert outputs == json.loads(json.dumps(deployed.recording.outputs))


def test_a_preview_by_plain_pulumi_then_finds_no_change(shop: Shop) -> None:
    ended = shop.pulumi("preview", "-s", "dev", "--expect-no-changes", "--diff")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_replica_count_is_left_to_the_autoscaler(shop: Shop) -> None:
    shop.cluster.kubectl("scale", "deployment/user-service", "-n", SPACE, "--replicas=3")
    shop.cluster.kubectl("rollout", "status", "deployment/user-service", "-n", SPACE, "--timeout=60s")
    ended = shop.pulumi("preview", "-s", "dev", "--refresh", "--expect-no-changes", "--diff")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_changed_configuration_changes_its_config_map_in_place_and_rolls_that_service_alone(shop: Shop) -> None:
    before = shop.held()
    shop.project.catalog(lambda catalog: catalog["services"]["order-service"]["env"].update(FEATURE_X="on"))
    _, lines = shop.up("dev")
    done = {line for line in lines if line.startswith(("created ", "updated ", "replaced ", "deleted "))}
    assert done == {"updated ConfigMap order-service-config", "updated Deployment order-service"}
    after = shop.held()
    assert after["ConfigMap order-service-config"] == before["ConfigMap order-service-config"]
    restarted = {name for name in before if name.startswith("Pod ") and name not in after}
    assert all(name.startswith("Pod order-service-") for name in restarted)


def test_an_autoscaler_that_leaves_the_catalog_gives_its_replicas_back_at_the_next_up(shop: Shop) -> None:
    held: dict[str, Any] = {}

    def fixed(catalog: Any) -> None:
        held.update(catalog["services"]["payment-service"])
        del catalog["services"]["payment-service"]["autoscaling"]
        catalog["services"]["payment-service"]["replicas"] = 2

    patch = json.dumps({"spec": {"minReplicas": 4}})
    shop.cluster.kubectl("patch", "hpa/payment-service-hpa", "-n", SPACE, "--type=merge", f"--patch={patch}")
    scaled = ("deployment/payment-service", "-n", SPACE, "--for=jsonpath={.spec.replicas}=4", "--timeout=60s")
    shop.cluster.kubectl("wait", *scaled)
    shop.project.catalog(fixed)
    _, lines = shop.up("dev")
    done = [line for line in lines if line.startswith(("created ", "updated ", "replaced ", "deleted "))]
    assert {"deleted HorizontalPodAutoscaler payment-service-hpa", "updated Deployment payment-service"} <= set(done)
    # Gone before anything else: it would put its minimum back until the engine deletes it, at the end.
    (found,) = [one for one in shop.get("deployments", "-n", SPACE) if one["metadata"]["name"] == "payment-service"]
    assert found["spec"]["replicas"] == 2
    shop.cluster.kubectl("scale", "deployment/payment-service", "-n", SPACE, "--replicas=3")
    shop.project.catalog(lambda catalog: catalog["services"]["payment-service"].update(replicas=1))
    before = shop.held()
    with pytest.raises(UserError, match=r"field conflict.* `cloudmart up --refresh` takes these fields back"):
        shop.up("dev")
    assert shop.held() == before, "what somebody has set by hand is taken from nobody without a word"
    shop.up("dev", refresh=True)
    (found,) = [one for one in shop.get("deployments", "-n", SPACE) if one["metadata"]["name"] == "payment-service"]
    assert found["spec"]["replicas"] == 1
    shop.project.catalog(lambda catalog: catalog["services"].update({"payment-service": held}))


@contextlib.contextmanager
def _half_done_up(shop: Shop, value: str) -> Iterator[subprocess.Popen[str]]:
    """An `up` that sets a variable of order-service, as soon as its ConfigMap is written; killed in the end."""
    shop.project.catalog(lambda catalog: catalog["services"]["order-service"]["env"].update(FEATURE_X=value))
    # Or its Deployment is through before anybody has looked.
    shop.project.config("dev", lambda config: config["cloudmart:services"]["order-service"].update(minReadySeconds=5))

    def half_done() -> bool:
        assert process.poll() is None, "ended before it was half done"
        (found,) = [
            item for item in shop.get("configmaps", "-n", SPACE) if item["metadata"]["name"] == "order-service-config"
        ]
        return bool(found["data"].get("FEATURE_X") == value)

    # Whatever started the tests in the background has Ctrl-C ignored.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);from cloudmart.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "up", "--stack", "dev", "--root", str(shop.project.root)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert _within(60, half_done)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_an_up_that_is_killed_leaves_a_lock_that_the_next_one_releases(shop: Shop) -> None:
    with _half_done_up(shop, "off"):
        pass
    _, lines = shop.up("dev")
    assert "the last run was killed: its lock on stack dev is released" in lines
    ended = shop.pulumi("preview", "-s", "dev", "--expect-no-changes")
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("sent", "send"),
    [
        pytest.param(signal.SIGTERM, os.kill, id="SIGTERM to the command, as a CI system does"),
        pytest.param(signal.SIGTERM, os.killpg, id="SIGTERM to all, as timeout does"),
        pytest.param(signal.SIGINT, os.killpg, id="SIGINT to all, as a terminal does"),
    ],
)
def test_an_up_that_is_told_to_end_lets_the_engine_end_and_unlock_its_state(
    shop: Shop, sent: signal.Signals, send: Callable[[int, int], None]
) -> None:
    with _half_done_up(shop, f"until {sent.name} by {send.__name__}") as process:
        send(process.pid, sent)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + sent, said
    assert "Traceback" not in said, said
    assert "the engine ends what it has begun" in said
    assert not list((shop.project.root / ".local" / "state" / ".pulumi" / "locks").rglob("*.json"))
    shop.up("dev")
    ended = shop.pulumi("preview", "-s", "dev", "--expect-no-changes")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_state_logs_and_output_hold_no_secret(shop: Shop) -> None:
    passwords = shop.passwords()
    assert len(passwords) >= 4
    # From level 9 on Pulumi itself logs what goes over the wire, and warns of it.
    ended = shop.pulumi("preview", "-s", "dev", "--logtostderr", "--logflow", "-v=3", "--diff")
    assert ended.returncode == 0
    assert len(ended.stderr) > 10_000  # it did log
    assert shop.pulumi("stack", "export", "-s", "dev").returncode == 0
    assert shop.pulumi("stack", "output", "-s", "dev", "--show-secrets").returncode == 0
    local = shop.project.root / ".local"
    files = [path for folder in ("state", "pulumi") for path in (local / folder).rglob("*") if path.is_file()]
    assert any("postgres-credentials" in path.read_text() for path in files if path.suffix == ".json")
    texts = {str(path.relative_to(local)): path.read_text(errors="replace") for path in files}
    texts |= {f"output {number}": text for number, text in enumerate(shop.said)}
    held = {name for name, text in texts.items() for value in passwords for form in _forms(value) if form in text}
    assert held == set()
    assert (local / "passphrase").stat().st_mode & 0o777 == 0o600


def test_destroy_leaves_what_is_retained_and_nothing_else(shop: Shop) -> None:
    left = shop.down("dev")
    assert sorted(left) == sorted([f"namespace {SPACE}", *(f"claim data-{store}-0" for store in STORES)])
    assert _within(60, lambda: set(shop.held()) == CLAIMS | OWN), shop.held()
    assert "kubecost" not in shop.names("namespaces")
    assert not [name for name in shop.names("priorityclasses") if name.startswith(SPACE)]


def test_prod_takes_over_the_namespace_and_the_data_that_dev_left_once_that_is_said(
    shop: Shop,
) -> None:
    # Stores that operators run have other claims (docs/layers/data.md); here the same stores grow.
    def single(config: Any) -> None:
        for store in STORES:
            config["cloudmart:data"][store]["mode"] = "single"

    shop.project.config("prod", single)
    kept = {name: uid for name, uid in shop.held().items() if name in CLAIMS}
    with pytest.raises(UserError, match=f"^namespace {SPACE}: found one of stack dev; allowed: none") as refused:
        shop.up("prod")
    commands = re.findall(r"`kubectl (.+?)`", str(refused.value))
    assert commands
    for command in commands:
        shop.cluster.kubectl(*shlex.split(command))
    deployed, _ = shop.up("prod")
    held = shop.held()
    assert {name: held[name] for name in CLAIMS} == kept
    listed = {name.partition(" ")[0] for name in held}  # and no custom kinds
    ours = [r for r in deployed.recording.resources if r.namespace == SPACE and r.kind in listed]
    assert {f"{r.kind} {r.object_name}" for r in ours} <= set(held)
    assert {"Deployment", "StatefulSet", "Service", "NetworkPolicy", "HorizontalPodAutoscaler"} <= listed
    ended = shop.pulumi("preview", "-s", "prod", "--expect-no-changes", "--diff")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_destroy_of_protected_data_refuses_and_leaves_everything(shop: Shop) -> None:
    before = {space: shop.held(space) for space in (SPACE, "kubecost")}
    ended = shop.cloudmart("down", "--stack", "prod", "--yes", "--delete-data")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    (message,) = [line for line in ended.stderr.splitlines() if line]
    assert message.startswith("error: stack prod: found protected resources (")
    assert all(f"StatefulSet {store}" in message for store in STORES)
    assert {space: shop.held(space) for space in (SPACE, "kubecost")} == before


def test_destroy_takes_prod_away_once_its_data_is_no_longer_protected(shop: Shop) -> None:
    assert shop.pulumi("state", "unprotect", "--all", "--yes", "-s", "prod").returncode == 0
    left = shop.down("prod")
    assert sorted(left) == sorted([f"namespace {SPACE}", *(f"claim data-{store}-0" for store in STORES)])
    assert _within(60, lambda: set(shop.held()) == CLAIMS | OWN), shop.held()
    assert shop.down("prod", delete_data=True) == []


def test_plain_pulumi_from_the_projects_root_shows_bad_settings_as_one_message(shop: Shop) -> None:
    root = shop.project.root
    # Plain Pulumi writes the stack's salt into its file.
    files = {path: path.read_text() for path in (root / "catalog.yaml", root / "Pulumi.dev.yaml")}
    backend = root / ".local" / "plain-state"
    shutil.rmtree(backend, ignore_errors=True)
    backend.mkdir()
    environment = {
        "KUBECONFIG": str(shop.cluster.kubeconfig),
        "PULUMI_BACKEND_URL": backend.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "for this test alone",
    }

    def plain(*arguments: str) -> Ended:
        return shop.run(["pulumi", *arguments, "--non-interactive"], environment)

    try:
        assert plain("stack", "init", "dev").returncode == 0
        good = plain("preview", "-s", "dev", "--policy-pack", "policy")
        assert good.returncode == 0, good.stdout + good.stderr
        shop.project.catalog(lambda catalog: catalog["services"]["user-service"].update(replicas="many"))
        bad = plain("preview", "-s", "dev")
    finally:
        for path, text in files.items():
            path.write_text(text)
    assert bad.returncode != 0
    text = bad.stdout + bad.stderr
    assert "services.user-service.replicas: found 'many'" in text
    assert "Traceback" not in text
    assert text.split("Diagnostics:")[1].count("services.user-service.replicas") == 1
