"""`cloudmart doctor`: what it sees on made-up machines and clusters, and that it changes and fetches nothing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pulumi import automation

from cloudmart.access import held
from cloudmart.access.permissions import Permission
from cloudmart.cli import cli
from cloudmart.cluster import toolchain
from cloudmart.deploy import engine
from cloudmart.deploy.expected import Way
from cloudmart.doctor import machine, run
from cloudmart.doctor.check import Check, Topic, passed
from cloudmart.doctor.cluster import Cluster
from cloudmart.errors import UserError
from cloudmart.settings import Settings, load
from cloudmart.verify.check import Status
from tests.conftest import ROOT, Project
from tests.unit.settings_files import write

#: A kubectl whose server answers as `answers` say, by what the arguments begin with.
_KUBECTL = """#!{python}
import json, sys
answers = {answers!r}
words = [word for word in sys.argv[1:] if not word.startswith("--")][sys.argv[1] == "--context" :]
if words[:1] == ["create"]:
    for item in json.load(sys.stdin)["items"]:
        attributes = item["spec"].get("resourceAttributes") if "spec" in item else None
        if item["kind"] == "SelfSubjectReview":
            print(json.dumps({{"status": {{"userInfo": {{"username": "ada"}}}}}}))
        else:
            allowed = answers["admin"] and attributes is not None
            print(json.dumps({{"status": {{"allowed": allowed, "resourceRules": [], "incomplete": False}}}}))
    sys.exit()
for begin, (code, text) in answers["said"].items():
    if " ".join(words).startswith(begin):
        print(text, file=sys.stderr if code else sys.stdout)
        sys.exit(code)
sys.exit("unexpected: " + " ".join(sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def _another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on PATH, empty caches, and nobody may install or build."""
    (tmp_path / "path").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PULUMI_AUTOMATION_API_SKIP_VERSION_CHECK", raising=False)
    monkeypatch.setattr(toolchain, "ensure", lambda *_, **__: pytest.fail("nothing is to be built"))
    monkeypatch.setattr(automation.PulumiCommand, "install", lambda **_: pytest.fail("nothing is to be installed"))


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def a_kubectl(said: dict[str, tuple[int, str]], *, admin: bool = True) -> None:
    """Where the built one would be."""
    folder = toolchain.cache_directory() / "tools" / toolchain.identity() / "bin"
    program(folder, "kubectl", _KUBECTL.format(python=sys.executable, answers={"said": said, "admin": admin}))


def server(version: str) -> tuple[int, str]:
    return 0, json.dumps({"serverVersion": {"gitVersion": version}})


def by_name(checks: Iterator[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def in_context(root: Path, context: str = "mine") -> Cluster:
    return Cluster(settings=load("dev", root), context=context, root=root)


# --- permissions -----------------------------------------------------------------------------------------------------


class Reviewer:
    """An API server that knows rules by namespace, and what is allowed beyond them."""

    def __init__(self, rules: dict[str, list[dict[str, object]]], *, incomplete: bool = False, also: str = "") -> None:
        self.rules, self.incomplete, self.also = rules, incomplete, also
        self.asked: list[str] = []

    def __call__(self, *_: str, stdin: str) -> str:
        return "\n".join(json.dumps({"status": self._status(item)}, indent=4) for item in json.loads(stdin)["items"])

    def _status(self, item: dict[str, Any]) -> dict[str, object]:
        if item["kind"] == "SelfSubjectRulesReview":
            rules = self.rules.get(str(item["spec"]["namespace"]), [])
            return {"resourceRules": rules, "incomplete": self.incomplete}
        attributes = item["spec"]["resourceAttributes"]
        self.asked.append(f"{attributes['verb']} {attributes['resource']}")
        return {"allowed": bool(self.also) and attributes["resource"] == self.also}


def rule(*resources: str, verb: str = "get", group: str = "apps", names: tuple[str, ...] = ()) -> dict[str, object]:
    found: dict[str, object] = {"verbs": [verb], "apiGroups": [group], "resources": list(resources)}
    return {**found, "resourceNames": list(names)} if names else found


NEEDED = [
    Permission("shop", "apps", "deployments", "get"),
    Permission("shop", "apps", "deployments", "patch"),
    Permission("shop", "", "secrets", "get", "mine"),
    Permission("", "", "namespaces", "get", "shop"),
]


def test_what_no_rule_allows_is_missing_and_what_is_cluster_wide_is_asked_by_itself() -> None:
    reviewer = Reviewer({"shop": [rule("deployments"), rule("secrets", group="", names=("other",))]})
    assert held.missing(reviewer, NEEDED) == sorted([NEEDED[1], NEEDED[2], NEEDED[3]])
    assert reviewer.asked == ["* *", "get namespaces"]
    reviewer = Reviewer({"shop": [rule("*", verb="*", group="*")]}, also="namespaces")
    assert held.missing(reviewer, NEEDED) == []


def test_a_list_of_rules_that_is_not_whole_is_completed_by_asking_for_each() -> None:
    reviewer = Reviewer({"shop": [rule("deployments")]}, incomplete=True, also="secrets")
    assert held.missing(reviewer, NEEDED) == sorted([NEEDED[1], NEEDED[3]])
    assert sorted(reviewer.asked[1:]) == ["get namespaces", "get secrets", "patch deployments"]


def test_who_may_do_everything_is_asked_for_nothing_else() -> None:
    reviewer = Reviewer({}, also="*")
    assert held.missing(reviewer, NEEDED) == []
    assert reviewer.asked == ["* *"]


# --- the machine -----------------------------------------------------------------------------------------------------


def test_a_cli_that_is_not_there_is_a_warning_and_nothing_is_installed(tmp_path: Path) -> None:
    (found,) = machine.cli(tmp_path)
    assert (found.status, found.seen.partition(";")[0]) == (Status.WARN, "no pulumi on PATH")
    assert found.mend == "install the Pulumi CLI, 3.260.0 or newer"


@pytest.mark.parametrize(("version", "fits"), [("v3.400.1", True), ("v3.100.0", False), ("v4.0.0", False)])
def test_the_cli_on_path_is_shown_where_it_fits_and_named_where_not(tmp_path: Path, version: str, fits: bool) -> None:
    pulumi = program(tmp_path / "path", "pulumi", f"#!/bin/sh\necho {version}\n")
    found = next(machine.cli(tmp_path))
    assert found.status is (Status.PASS if fits else Status.WARN)
    assert (found.seen == f"{version[1:]} ({pulumi})") is fits
    assert ("does not fit" in found.seen) is not fits


def test_a_cli_that_an_earlier_run_has_installed_is_the_one_that_would_be_used(tmp_path: Path) -> None:
    program(tmp_path / "path", "pulumi", "#!/bin/sh\necho v3.1.0\n")
    installed = program(tmp_path / ".local/pulumi-cli/bin", "pulumi", "#!/bin/sh\necho v3.999.0\n")
    assert machine.cli(tmp_path).__next__().seen == f"3.999.0 ({installed})"
    found = engine.find_cli(tmp_path)
    assert isinstance(found, automation.PulumiCommand)
    assert found.command == str(installed)


def test_a_pack_whose_environment_is_missing_fails_before_the_engine_waits_for_it(
    tmp_path: Path, project: Project
) -> None:
    program(tmp_path / "path", "pulumi", "#!/bin/sh\necho v3.400.1\n")
    (project.root / "policy/PulumiPolicy.yaml").write_text("runtime: {name: python, options: {virtualenv: ../.venv}}\n")
    assert by_name(machine.cli(project.root))["policy pack"].status is Status.PASS
    (project.root / ".venv").unlink()
    found = by_name(machine.cli(project.root))["policy pack"]
    assert (found.status, "'../.venv', which does not exist" in found.seen) == (Status.FAIL, True)
    (project.root / "policy/PulumiPolicy.yaml").unlink()
    assert by_name(machine.cli(project.root))["policy pack"].status is Status.FAIL


def test_versions_are_those_that_answer_and_an_sdk_beside_the_lock_is_a_warning(tmp_path: Path) -> None:
    program(tmp_path / "path", "helm", "#!/bin/sh\necho v3.19.0\n")
    a_kubectl({"version": (0, "Client Version: v1.36.9")})
    (tmp_path / "requirements.txt").write_text("pulumi==3.1.0 \\\n    --hash=sha256:0\n")
    found = by_name(machine.versions(tmp_path))
    assert found["Python"].seen.startswith(sys.version.split()[0])
    assert found["kubectl"].seen.startswith("v1.36.9 (")
    assert found["helm"].seen == f"v3.19.0 ({tmp_path}/path/helm)"
    assert found["Pulumi SDKs"].status is Status.WARN
    assert "pulumi is locked at 3.1.0" in found["Pulumi SDKs"].seen
    assert by_name(machine.versions(ROOT))["Pulumi SDKs"].status is Status.PASS


def test_without_kubectl_and_go_it_is_said_what_brings_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    found = by_name(machine.versions(tmp_path))
    assert (found["kubectl"].status, found["helm"].status, found["Go"].status) == (
        Status.WARN,
        Status.SKIPPED,
        Status.WARN,
    )
    assert found["kubectl"].mend.startswith("cloudmart local start")
    assert found["Go"].mend == "make setup"


def test_a_folder_that_cannot_be_written_fails_and_one_without_room_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    found = by_name(machine.files(tmp_path))
    assert found["cache"].status is Status.FAIL
    assert found["the project's own"].status is Status.PASS
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1 << 20}))
    assert by_name(machine.files(tmp_path))["the project's own"].status is Status.WARN


def test_a_local_cluster_that_was_never_made_is_skipped_and_a_damaged_one_fails(tmp_path: Path) -> None:
    a_kubectl({})
    (found,) = machine.local(tmp_path)
    assert (found.status, "there is none yet" in found.seen) == (Status.SKIPPED, True)
    (tmp_path / ".local/cluster").mkdir(parents=True)
    (tmp_path / ".local/cluster/cluster.json").write_text("{")
    (found,) = machine.local(tmp_path)
    assert (found.status, found.mend) == (Status.FAIL, "cloudmart local reset")


# --- the stack's cluster and charts ----------------------------------------------------------------------------------


def test_a_cluster_that_answers_shows_its_version_and_who_one_is() -> None:
    a_kubectl({"version": server("v1.36.3")})
    found = by_name(in_context(ROOT).answers())
    assert found["API server"].seen == "v1.36.3 answers to ada"
    assert found["version"].status is Status.PASS


def test_a_cluster_of_another_minor_version_is_a_warning() -> None:
    a_kubectl({"version": server("v1.34.1-gke.2")})
    found = by_name(in_context(ROOT).answers())["version"]
    assert found.status is Status.WARN
    assert found.mend == 'set cluster.kubernetesVersion: "1.34" for the stack'


def test_a_misspelt_context_is_answered_with_the_one_that_was_meant() -> None:
    a_kubectl({"version": (1, 'error: context "mien" does not exist'), "config get-contexts": (0, "mine\nother")})
    (found,) = in_context(ROOT, "mien").answers()
    assert (found.status, 'context "mien" does not exist' in found.seen) == (Status.FAIL, True)
    assert "(did you mean 'mine'?)" in found.mend


def test_missing_permissions_are_counted_and_the_command_that_prints_the_roles_is_named() -> None:
    a_kubectl({}, admin=False)
    wanted = frozenset(NEEDED)
    (found,) = in_context(ROOT).permissions(wanted, Way.PULUMI)
    assert found.status is Status.FAIL
    assert found.seen.startswith("4 of 4 are missing: get namespaces shop in the cluster, get secrets mine in shop")
    assert found.mend.startswith("have an administrator apply what `cloudmart access role --stack dev --way pulumi ")
    a_kubectl({}, admin=True)
    (found,) = in_context(ROOT).permissions(wanted, Way.PULUMI)
    assert found.status is Status.PASS


def test_a_chart_out_of_reach_fails_for_a_cluster_and_is_left_out_on_the_local_one(project: Project) -> None:
    project.config("dev", lambda config: config["cloudmart:kubecost"].update(chart={"path": "charts/none"}))
    (found,) = in_context(project.root).charts()
    assert (found.name, found.status) == ("kubecost.chart", Status.FAIL)
    assert found.mend == "set cloudmart:kubecost.chart to a copy within reach, or cloudmart:kubecost.enabled to false"
    (found,) = Cluster(settings=load("dev", project.root), context=None, root=project.root).charts()
    assert (found.status, "`up` leaves the layer out" in found.seen) == (Status.WARN, True)
    copy = {"path": str(ROOT / "tests/charts/kubecost")}
    project.config("dev", lambda config: config["cloudmart:kubecost"].update(chart=copy))
    (found,) = in_context(project.root).charts()
    assert found.status is Status.PASS


# --- the whole -------------------------------------------------------------------------------------------------------


def called(root: Path, *args: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["doctor", "--root", str(root), *args])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


@pytest.fixture
def without_charts(project: Project) -> Project:
    for stack in ("dev", "prod"):
        project.config(stack, lambda config: config.setdefault("cloudmart:kubecost", {}).update(enabled=False))
    return project


def test_everything_in_order_exits_0_and_leaves_every_file_as_it_was(without_charts: Project, tmp_path: Path) -> None:
    a_kubectl({"version": server("v1.36.3")})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if "__pycache__" not in path.parts}
    code, text = called(without_charts.root, "--stack", "dev", "--context", "mine")
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if "__pycache__" not in path.parts}
    assert code == 0, text
    assert after == before
    assert text.startswith("stack dev on context mine\n\nversions\n  ok    Python: ")
    assert "\n  skip  charts: stack dev has none\n" in text
    code, text = called(without_charts.root, "-s", "dev", "-c", "mine", "--format", "json")
    data = json.loads(text)
    assert (data["stack"], data["cluster"], data["exitCode"], code) == ("dev", "context mine", 0, 0)
    assert sum(data["counts"].values()) == len(data["checks"])
    assert all(check.keys() == {"topic", "name", "status", "seen", "mend"} for check in data["checks"])
    assert {check["topic"] for check in data["checks"]} == set(Topic)


def test_a_stack_that_does_not_load_fails_with_its_problem_and_its_cluster_is_not_asked(
    without_charts: Project,
) -> None:
    without_charts.config("prod", lambda config: config.update({"cloudmart:budgets": {"CC-1": {"monthly": 1}}}))
    code, text = called(without_charts.root, "--stack", "prod")
    assert code == 1
    assert "  ok    stack dev: 5 services" in text
    assert "  FAIL  stack prod: Pulumi.prod.yaml:" in text
    assert "  skip  prod: Pulumi.prod.yaml does not load" in text
    code, text = called(without_charts.root, "--stack", "dev")
    assert (code, "stack prod" in text) == (1, True)


def test_a_stack_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(UserError, match=r"Pulumi\.de\.yaml: no such file \(did you mean 'dev'\?\)"):
        called(tmp_path, "--stack", "de")


def test_what_does_not_answer_in_time_is_said_and_not_waited_for(
    without_charts: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_: Path) -> Iterator[Check]:
        yield passed(Topic.LOCAL, "first", "seen")
        time.sleep(60)

    monkeypatch.setattr(machine, "local", slow)
    monkeypatch.setattr(run, "LIMIT", 1.0)
    started = time.monotonic()
    found = run.examine("dev", None, without_charts.root)
    assert time.monotonic() - started < 30
    local = [(check.name, check.status) for check in found.checks if check.topic is Topic.LOCAL]
    assert local == [("first", Status.PASS), ("the rest", Status.WARN)]


@pytest.mark.parametrize("key", [*load("prod", ROOT).layers, *load("prod", ROOT).guests])
def test_what_a_layer_without_its_chart_is_told_to_set_loads_and_takes_it_off(key: str, whole_project: Project) -> None:
    path, _, value = Settings.switch(key).removeprefix("cloudmart:").partition(" to ")
    top, *below = path.split(".")

    def set_(config: dict[str, Any]) -> None:
        part = config.setdefault(f"cloudmart:{top}", {})
        for step in below[:-1]:
            part = part.setdefault(step, {})
        part[below[-1]] = json.loads(value)

    whole_project.config("prod", set_)
    settings = load("prod", whole_project.root)
    assert key not in {**settings.layers, **settings.guests}
