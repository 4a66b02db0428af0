"""Deployment without a cluster: what is decided before anything is sent, and how failure is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from pulumi import automation
from pulumi.automation import events

from cloudmart.cluster.kubectl import Kubectl, KubectlError
from cloudmart.deploy import applyset, engine, generated, up
from cloudmart.deploy.engine import Engine, NoCli, PolicyViolated
from cloudmart.errors import UserError
from cloudmart.preview.recorder import Generated, record
from cloudmart.settings import load

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "policy").mkdir()
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml", "policy/PulumiPolicy.yaml"):
        (tmp_path / name).write_text((CHECKOUT / name).read_text())
    return tmp_path


def an_engine(root: Path, **overrides: Mapping[str, Any]) -> Engine:
    return Engine(
        cli=automation.PulumiCommand.__new__(automation.PulumiCommand),
        root=root,
        stack="dev",
        kubeconfig=None,
        overrides={f"cloudmart:{key}": value for key, value in overrides.items()},
    )


def test_the_users_own_passphrase_and_backend_are_left_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://somewhere")
    env = an_engine(root).environment()
    assert "PULUMI_BACKEND_URL" not in env
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in env
    monkeypatch.delenv("PULUMI_BACKEND_URL")
    monkeypatch.delenv("PULUMI_ACCESS_TOKEN", raising=False)
    monkeypatch.setenv("PULUMI_HOME", str(root / "home"))
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "mine")
    env = an_engine(root).environment()
    assert env["PULUMI_BACKEND_URL"] == (root / ".local" / "state").as_uri() + "?metadata=skip"
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in env


@pytest.mark.parametrize("said", ["", "file://{root}/.local/state?metadata=skip", "file://{root}/.local/state"])
def test_a_state_that_was_put_back_is_told_also_where_the_backend_was_set_as_up_says(
    root: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.delenv("PULUMI_ACCESS_TOKEN", raising=False)
    monkeypatch.setenv("PULUMI_HOME", str(root / "home"))
    monkeypatch.setenv("PULUMI_BACKEND_URL", said.format(root=root))
    stacks = root / ".local/state/.pulumi/stacks/cloudmart"
    stacks.mkdir(parents=True)
    (stacks / "dev.json").write_text("{")
    (stacks / "dev.json.bak").write_text("{}")
    lines: list[str] = []
    assert an_engine(root).recover(lines.append)
    assert "put back" in lines[0]


def test_who_is_logged_in_keeps_their_backend(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    monkeypatch.delenv("PULUMI_ACCESS_TOKEN", raising=False)
    home = root / "home"
    home.mkdir()
    (home / "credentials.json").write_text(json.dumps({"current": "https://api.pulumi.com"}))
    monkeypatch.setenv("PULUMI_HOME", str(home))
    assert "PULUMI_BACKEND_URL" not in an_engine(root).environment()


def test_the_engines_project_runs_this_checkout_and_leaves_its_files_alone(root: Path) -> None:
    before = (root / "Pulumi.dev.yaml").read_bytes(), (root / "Pulumi.yaml").read_bytes()
    an_engine(root, kubecost={"enabled": False}, cluster={"context": "mine"})._write_project()
    project = yaml.safe_load((root / ".local/pulumi/Pulumi.yaml").read_text())
    assert project["name"] == "cloudmart"
    assert project["main"] == str(root)
    assert project["runtime"]["options"]["virtualenv"] == str(root / ".venv")
    config = yaml.safe_load((root / ".local/pulumi/Pulumi.dev.yaml").read_text())["config"]
    given = yaml.safe_load(before[0])["config"]
    assert config["cloudmart:kubecost"] == {**given["cloudmart:kubecost"], "enabled": False}
    assert config["cloudmart:cluster"] == {"context": "mine"}
    assert config["cloudmart:data"] == given["cloudmart:data"]
    assert ((root / "Pulumi.dev.yaml").read_bytes(), (root / "Pulumi.yaml").read_bytes()) == before


def test_the_salt_of_an_earlier_run_survives_and_an_override_of_one_does_not(root: Path) -> None:
    an_engine(root, cluster={"context": "mine"})._write_project()
    copy = root / ".local/pulumi/Pulumi.dev.yaml"
    copy.write_text(copy.read_text() + "encryptionsalt: v1:abc\n")
    an_engine(root)._write_project()
    content = yaml.safe_load(copy.read_text())
    assert content["encryptionsalt"] == "v1:abc"
    assert "cloudmart:cluster" not in content["config"]


def test_a_state_whose_key_was_changed_can_still_be_read_by_the_next_run(root: Path) -> None:
    an_engine(root)._write_project()
    copy = root / ".local/pulumi/Pulumi.dev.yaml"
    # As `pulumi stack change-secrets-provider` leaves it.
    copy.write_text(copy.read_text() + "secretsprovider: awskms://alias/pulumi\nencryptedkey: AQID\n")
    an_engine(root)._write_project()
    content = yaml.safe_load(copy.read_text())
    assert (content["secretsprovider"], content["encryptedkey"]) == ("awskms://alias/pulumi", "AQID")
    # What the committed file says comes first.
    own = root / "Pulumi.dev.yaml"
    own.write_text(own.read_text() + "encryptedkey: BAUG\n")
    an_engine(root)._write_project()
    assert yaml.safe_load(copy.read_text())["encryptedkey"] == "BAUG"


def test_a_missing_environment_of_the_pack_is_told_before_the_engine_hangs_on_it(root: Path) -> None:
    with pytest.raises(
        UserError, match=r"runtime\.options\.virtualenv: found '.*', which does not exist; `make setup`"
    ):
        engine.require_pack_environment(root)


def test_without_a_cli_the_reason_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(**_: object) -> None:
        raise OSError("no network\nat all")

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(automation.PulumiCommand, "install", unreachable)
    found = engine.find_cli(tmp_path)
    assert found == NoCli("no pulumi on PATH, and the official installer cannot be reached")


def test_a_cli_that_is_too_old_is_named_as_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "pulumi"
    old.write_text("#!/bin/sh\necho v3.100.0\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv("PULUMI_AUTOMATION_API_SKIP_VERSION_CHECK", raising=False)

    def unreachable(**_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(automation.PulumiCommand, "install", unreachable)
    found = engine.find_cli(tmp_path)
    assert isinstance(found, NoCli)
    assert "does not fit" in found.reason
    assert "3.100.0" in found.reason
    assert "\n" not in found.reason


def policy_event(level: str, message: str) -> events.EngineEvent:
    event = {
        "message": f"The rule's description.\n{message}",
        "color": "never",
        "policyName": "a-rule",
        "policyPackName": "cloudmart",
        "policyPackVersion": "1.0.0",
        "policyPackVersionTag": "1.0.0",
        "enforcementLevel": level,
    }
    return events.EngineEvent.from_json({"sequence": 1, "timestamp": 1, "policyEvent": event})


def command_error() -> automation.CommandError:
    return automation.CommandError(automation.CommandResult(stdout="", stderr="error: boom", code=255))


def test_a_mandatory_violation_is_all_that_people_see_and_exits_with_one(root: Path) -> None:
    lines: list[str] = []
    with pytest.raises(PolicyViolated) as raised, an_engine(root)._events(lines.append) as on_event:  # noqa: PT012
        on_event(policy_event("advisory", "could be better"))
        on_event(policy_event("mandatory", "Deployment x: no request"))
        on_event(policy_event("mandatory", "Deployment x: no request"))
        raise command_error()
    assert str(raised.value) == "mandatory: a-rule: Deployment x: no request"
    assert raised.value.exit_code == 1
    assert lines == ["advisory: a-rule: could be better"]


def test_a_failure_tells_the_engines_error_without_its_markup(root: Path) -> None:
    diagnostic = {
        "urn": "urn:pulumi:dev::cloudmart::a:b:C$kubernetes:apps/v1:Deployment::user-service",
        "message": "<{%fg 1%}>1 error occurred:\n\t* it did not start<{%reset%}>\n\n",
        "color": "never",
        "severity": "error",
    }
    event = events.EngineEvent.from_json({"sequence": 1, "timestamp": 1, "diagnosticEvent": diagnostic})
    canceled = {**diagnostic, "message": "failed to run remediation: context canceled"}
    last = {**diagnostic, "urn": "urn:pulumi:dev::cloudmart::pulumi:pulumi:Stack::cloudmart-dev"}
    program = {**last, "message": "catalog.yaml:3: one\ncatalog.yaml:5: two\n"}
    echoes = [canceled, program, {**last, "message": "preview failed"}, {**last, "message": "update failed"}]
    with pytest.raises(UserError) as raised, an_engine(root)._events(lambda _line: None) as on_event:  # noqa: PT012
        on_event(event)
        for number, echo in enumerate(echoes, start=2):
            said = {"sequence": number, "timestamp": 1, "diagnosticEvent": echo}
            on_event(events.EngineEvent.from_json(said))
        raise command_error()
    assert str(raised.value).splitlines() == [
        "Deployment user-service: 1 error occurred: * it did not start",
        "catalog.yaml:3: one",
        "catalog.yaml:5: two",
    ]
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("failed", "again"), [(["redis"], True), (["redis", "user-service"], False), (["user-service"], False), ([], False)]
)
def test_a_preview_is_made_again_only_where_nothing_failed_but_what_is_to_be_replaced(
    root: Path, failed: list[str], again: bool
) -> None:
    def urn(name: str) -> str:
        return f"urn:pulumi:dev::cloudmart::kubernetes:apps/v1:StatefulSet::{name}"

    with pytest.raises(UserError), an_engine(root)._events(lambda _line: None) as watcher:  # noqa: PT012
        metadata = {"op": "create-replacement", "urn": urn("redis"), "type": "kubernetes:apps/v1:StatefulSet"}
        begun = {"metadata": metadata, "planning": True}
        watcher(events.EngineEvent.from_json({"sequence": 1, "timestamp": 1, "resourcePreEvent": begun}))
        for name in failed:
            said = {"urn": urn(name), "message": f"{name} is invalid", "color": "never", "severity": "error"}
            watcher(events.EngineEvent.from_json({"sequence": 2, "timestamp": 1, "diagnosticEvent": said}))
        raise command_error()
    assert watcher.only_replacements_failed is again


def test_a_stack_that_another_run_makes_at_the_same_time_is_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(*_: object) -> automation.Stack:
        result = automation.CommandResult(stdout="", stderr="error: stack 'dev' already exists", code=255)
        raise automation.StackAlreadyExistsError(result)

    made = cast(automation.Stack, object())
    monkeypatch.setattr(automation.Stack, "create_or_select", create)
    monkeypatch.setattr(automation.Stack, "select", lambda *_: made)
    monkeypatch.setattr(engine, "require_pack_environment", lambda _root: None)
    monkeypatch.setattr(Engine, "_workspace", lambda _self: None)
    assert an_engine(root)._selected() is made


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        ("error: boom", "boom"),
        ("warning: old\nerror: no key:\n\nCode: 403. Errors:\n\n* denied\n", "no key: Code: 403. Errors: * denied"),
        ("", "the Pulumi CLI failed without a word"),
    ],
)
def test_a_failure_without_a_diagnostic_tells_the_cli_s_last_error_whole(root: Path, stderr: str, told: str) -> None:
    with pytest.raises(UserError) as failed, an_engine(root)._events(lambda _line: None):
        raise automation.CommandError(automation.CommandResult(stdout="", stderr=stderr, code=255))
    assert str(failed.value) == told


@pytest.mark.parametrize(
    ("inputs", "allowed"),
    [
        ({"length": 32, "special": False}, str.isalnum),
        ({"length": 12, "special": False, "upper": False, "lower": False}, str.isdigit),
        ({"length": 20, "overrideSpecial": "#", "minSpecial": 3}, lambda value: value.count("#") >= 3),
    ],
)
def test_a_generated_value_keeps_to_its_length_and_classes(inputs: dict[str, Any], allowed: Any) -> None:
    wanted = Generated("s", "random", "n", "result", "urn", "random:index/randomPassword:RandomPassword", inputs)
    values = {generated._generate(wanted) for _ in range(50)}
    assert all(len(value) == inputs["length"] and allowed(value) for value in values)
    assert len(values) == 50


def test_what_only_the_engine_can_make_is_an_error_that_says_so() -> None:
    wanted = Generated("s", "random", "n", "bcryptHash", "urn:x", "random:index/randomPassword:RandomPassword", {})
    with pytest.raises(UserError, match="urn:x: bcryptHash can only be made by the Pulumi engine"):
        generated._generate(wanted)


def test_leaving_out_helm_takes_the_whole_layer_and_nothing_else() -> None:
    whole = record("dev")
    local = up.Target(kubectl=Kubectl(path=Path("kubectl")), local=True)
    overrides = up.left_out(load("dev", CHECKOUT), local, CHECKOUT, NoCli("none here"), lambda _line: None)
    without = record("dev", overrides=overrides)
    gone = {resource.urn for resource in whole.resources} - {resource.urn for resource in without.resources}
    assert gone
    assert all("cloudmart:kubecost:Kubecost" in urn for urn in gone)
    assert not [urn for urn in (resource.urn for resource in without.resources) if "Kubecost" in urn]


def test_kubectls_warnings_are_not_taken_for_the_reason(tmp_path: Path) -> None:
    fake = tmp_path / "kubectl"
    fake.write_text("#!/bin/sh\necho 'Warning: deprecated' >&2\necho 'error: forbidden' >&2\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(KubectlError, match=r"^kubectl get: error: forbidden$"):
        Kubectl(path=fake).run("get", "pods")


def test_a_cluster_that_does_not_answer_is_told_within_the_time_limit(tmp_path: Path) -> None:
    fake = tmp_path / "kubectl"
    fake.write_text("#!/bin/sh\nexec sleep 30\n")
    fake.chmod(0o755)
    with pytest.raises(KubectlError, match="kubectl get: no answer within 0 s"):
        Kubectl(path=fake).run("get", "pods", timeout=0.2)


def test_what_is_outside_the_basic_plane_reaches_kubectl_as_it_is() -> None:
    sent = applyset._yaml({"data": {"GREETING": "\U0001f6d2 \u0001 'x'"}})
    assert yaml.safe_load(sent) == {"data": {"GREETING": "\U0001f6d2 \u0001 'x'"}}
    assert "\\ud83d" not in sent


def test_a_release_that_a_killed_run_left_half_made_is_told_with_its_cure(root: Path) -> None:
    diagnostic = {
        "urn": "urn:pulumi:dev::cloudmart::a:b:C$kubernetes:helm.sh/v3:Release::kubecost",
        "message": "cannot re-use a name that is still in use\n",
        "color": "never",
        "severity": "error",
    }
    event = events.EngineEvent.from_json({"sequence": 1, "timestamp": 1, "diagnosticEvent": diagnostic})
    with pytest.raises(UserError) as raised, an_engine(root)._events(lambda _line: None) as on_event:  # noqa: PT012
        on_event(event)
        raise command_error()
    assert "`kubectl delete secret -A -l owner=helm,status=pending-install`" in str(raised.value)


def test_a_count_of_replicas_that_is_declared_no_more_is_handed_over_as_it_is_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def deployment(name: str, **spec: int) -> dict[str, Any]:
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": spec,
        }

    def held(name: str, manager: str) -> dict[str, Any]:
        entry = {"manager": manager, "fieldsV1": {"f:spec": {"f:replicas": {}}}}
        found = deployment(name, replicas=3)
        return found | {"metadata": found["metadata"] | {"managedFields": [entry]}}

    live = {
        f"Deployment shop/{name}": held(name, manager)
        for name, manager in (
            ("gets-one", applyset.FIELD_MANAGER),
            ("has-one", "kube-controller-manager"),
            ("has-none", applyset.FIELD_MANAGER),
        )
    }
    declared = [
        deployment("gets-one"),
        deployment("has-one"),
        deployment("has-none", replicas=2),
        deployment("is-new"),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "gets-one", "namespace": "shop"}},
    ]
    sent: list[tuple[str, ...]] = []
    monkeypatch.setattr(Kubectl, "run", lambda _self, *args, stdin: sent.append((*args, stdin)))
    applyset._keep_replicas(Kubectl(path=Path("kubectl")), live, declared)
    ((*arguments, text),) = sent
    assert json.loads(text) == deployment("gets-one", replicas=3)
    assert "--field-manager=cloudmart-replicas" in arguments
    applyset._keep_replicas(Kubectl(path=Path("kubectl")), live, declared[1:])
    assert len(sent) == 1
