"""``--format json``: nothing but JSON on standard output, in the shape that docs/json-output.md shows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cloudmart.cli import cli
from cloudmart.cluster import crds, local, toolchain
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.cluster.load import Driver, Point, Timeline
from cloudmart.cluster.local import ClusterInfo, Component, LocalCluster, Status
from cloudmart.deploy import up
from cloudmart.deploy.up import Deployed, Target
from cloudmart.preview.recorder import record
from cloudmart.secrets import age
from cloudmart.settings import load
from cloudmart.shop import new
from tests.conftest import ROOT, Project
from tests.unit.settings_files import write

PAGE = (ROOT / "docs/json-output.md").read_text()
SHOWN: Mapping[str, Any] = {
    command: json.loads(block)
    for command, block in re.findall(r"^## `cloudmart ([^`]*)`\n.*?```json\n(.*?)```", PAGE, re.M | re.S)
}
#: Whose keys are names, not words of the shape.
_BY_NAME = {"environment", "stale", "missing", "superfluous", "service"}


def called(*args: str, code: int = 0) -> tuple[Any, str]:
    """What is printed as JSON, and what is said beside it."""
    result: Result = CliRunner().invoke(cli, [*args, "--format", "json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return json.loads(result.stdout), result.stderr


def same_shape(shown: Any, found: Any, path: str = "") -> None:
    """Both have the same keys and kinds of values; null fits anything."""
    if shown is None or found is None:
        return
    if isinstance(shown, dict):
        assert isinstance(found, dict), path
        if path.rpartition(".")[2] not in _BY_NAME:
            assert set(found) == set(shown), path
            for key, value in shown.items():
                same_shape(value, found[key], f"{path}.{key}")
    elif isinstance(shown, list):
        assert isinstance(found, list), path
        for value in found if shown else ():
            same_shape(shown[0], value, f"{path}[]")
    else:
        number = (int, float)
        assert isinstance(found, number if isinstance(shown, float) else type(shown)), (path, found)


def test_every_shape_on_the_page_is_held_against_its_command() -> None:
    tested = set(re.findall(r'SHOWN\["([^"]+)"\]', Path(__file__).read_text()))
    assert tested == set(SHOWN)


class Cluster(Kubectl):
    """Answers for `up`'s table: every workload that dev declares, ready."""

    def json(self, *args: str, stdin: str | None = None, timeout: float = 120) -> Any:
        items: list[dict[str, Any]] = []
        for one in record("dev", ROOT, overrides={"cloudmart:kubecost": {"enabled": False}}).resources:
            if one.kind in ("Deployment", "StatefulSet", "HorizontalPodAutoscaler"):
                manifest = json.loads(json.dumps(one.inputs, default=str))
                items.append({**manifest, "status": {"readyReplicas": 2}})
        return {"items": items}


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    def deployed(stack: str, context: str | None, root: Path, progress: Any, *, refresh: bool) -> Deployed:
        progress("waiting")
        return Deployed(
            settings=load(stack, root),
            target=Target(kubectl=Cluster(path=Path("kubectl"), kubeconfig=Path("/k")), local=True),
            recording=record(stack, root, overrides={"cloudmart:kubecost": {"enabled": False}}),
            environment={"PULUMI_BACKEND_URL": "file:///state"},
        )

    monkeypatch.setattr(up, "up", deployed)


@pytest.mark.usefixtures("deployed")
def test_for_people_up_ends_with_the_command_that_takes_it_away_from_here(project: Project) -> None:
    for root, last in ((ROOT, "make down STACK=dev CONTEXT=mine"), (project.root, "cloudmart down -s dev -c mine")):
        result = CliRunner().invoke(cli, ["up", "--root", str(root), "--context", "mine"])
        assert result.exit_code == 0
        assert result.stdout.splitlines()[-1].strip() == last


@pytest.mark.usefixtures("deployed")
def test_up_prints_what_runs_and_what_to_go_on_with() -> None:
    data, said = called("up")
    same_shape(SHOWN["up"], data)
    assert said == "waiting\n"
    assert [one["name"] for one in data["services"]][:3] == ["postgres", "redis", "kafka"]
    assert data["services"][3]["autoscaling"] == {"min": 2, "max": 8}
    assert data["engine"] == "pulumi"
    total = sum(one["monthly"]["expected"] for one in data["services"])
    assert data["monthly"]["expected"] == pytest.approx(total, abs=0.01)


def test_down_prints_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "down", lambda *_, **__: ["namespace cloudmart", "claim data-postgres-0"])
    data, _ = called("down", "--yes")
    assert data == SHOWN["down"]


@pytest.fixture
def local_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    info = ClusterInfo(name="cloudmart-0", kubeconfig=Path("/k"), server="https://127.0.0.1:1", version="v1.36.3")
    status = Status(
        running=True, runtime="binary", info=info, components=(Component(name="etcd", pid=1, ports=(2,)),), nodes=("a",)
    )
    for verb, answer in {"start": info, "reset": info, "stop": None, "status": status, "is_running": True}.items():
        monkeypatch.setattr(LocalCluster, verb, lambda *_, answer=answer: answer)
    monkeypatch.setattr(crds, "install", lambda *_, **__: None)
    monkeypatch.setattr(local, "SIMULATED", "not to be printed")


@pytest.mark.usefixtures("local_cluster")
@pytest.mark.parametrize("verb", ["status", "start", "stop", "reset"])
def test_what_there_is_of_the_local_cluster_is_printed_by_whatever_changes_it(verb: str) -> None:
    data, _ = called("local", verb, *(["--yes"] if verb == "reset" else []))
    same_shape(SHOWN["local status"], data)
    assert data["components"] == [{"name": "etcd", "up": True, "ports": [2]}]


@pytest.mark.parametrize("format_", ["text", "json"])
def test_a_script_learns_from_the_exit_status_that_the_local_cluster_does_not_run(tmp_path: Path, format_: str) -> None:
    result = CliRunner().invoke(cli, ["local", "status", "--root", str(tmp_path), "--format", format_])
    assert result.exit_code == 1
    assert "running" in result.stdout


@pytest.mark.usefixtures("local_cluster")
def test_a_day_of_load_prints_its_summaries_and_where_it_was_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    point = {"service": "shop", "cpu": 0.2, "memory": 1.0, "ready": 2, "pending": 0, "least": 1, "most": 4}
    more = {"requestedCpu": 0.5, "requestedMemory": 1.0, "cpuLimit": 0.1, "memoryLimit": 2.0, "monthly": 10.0}
    points = tuple(Point.model_validate({**point, **more, "minute": minute}) for minute in (0, 1))
    made = Timeline(stack="dev", seed=1, speed=60, kubernetes="v1.36.3", currency="USD", tick=1, points=points)
    monkeypatch.setattr(Driver, "run", lambda *_, **__: made)
    monkeypatch.setattr(toolchain, "kubectl", lambda: Path("kubectl"))
    data, _ = called("local", "load", "--out", str(tmp_path / "run.json"))
    same_shape(SHOWN["local load"], data)
    assert data["services"][0]["pods"] == {"least": 2, "mean": 2.0, "peak": 2}
    assert Path(data["timeline"]).is_file()
    assert Path(data["picture"]).is_file()


def test_settings_are_printed_with_their_origins() -> None:
    data, _ = called("config", "show")
    same_shape(SHOWN["config show"][0], {**data[0], "value": 2})
    assert len(data) > 100


def test_secrets_are_listed_with_their_age_and_rotations_with_what_they_do(
    monkeypatch: pytest.MonkeyPatch, whole_project: Project
) -> None:
    monkeypatch.setattr("cloudmart.cli.secrets._cluster", lambda *_: Kubectl(path=Path("kubectl")))
    made = {"postgres-password": datetime(2026, 11, 2, tzinfo=UTC)}
    monkeypatch.setattr(age, "made", lambda *_: made)
    data, _ = called("secrets", "list")
    same_shape(SHOWN["secrets list"], data)
    assert data["secrets"][0]["made"] == "2026-11-02T00:00:00+00:00"
    args = ("secrets", "rotate", "redis-password", "--write-only", "--yes", "--root", str(whole_project.root))
    data, said = called(*args)
    same_shape(SHOWN["secrets rotate"], data)
    assert data["rotation"] == 1
    assert "rotation 1 of redis-password is written" in said


def test_rendered_files_are_listed_and_a_check_says_what_differs(tmp_path: Path) -> None:
    out = str(tmp_path / "dev")
    data, _ = called("render", "--out", out)
    same_shape(SHOWN["render"], data)
    assert "_cluster/namespace-cloudmart.yaml" in data["files"]
    Path(out, "_cluster/namespace-cloudmart.yaml").unlink()
    data, said = called("render", "--out", out, "--check", code=1)
    same_shape(SHOWN["render --check"], data)
    assert data["missing"] == {"_cluster/namespace-cloudmart.yaml": "Namespace cloudmart"}
    assert (data["same"], said) == (False, "")


def test_an_added_service_is_printed_as_it_stands_in_the_catalog(tmp_path: Path) -> None:
    args = ("--service", "reviews", "--description", "Reviews", "--need", "postgres", "--root", str(write(tmp_path)))
    data, said = called("init", *args)
    same_shape(SHOWN["init --service NAME"], data)
    assert data["service"]["needs"] == ["postgres"]
    assert load("dev", tmp_path).services["reviews"].description == data["service"]["description"]
    assert "catalog.yaml has reviews now" in said


def test_the_files_of_a_new_shop_are_listed(tmp_path: Path) -> None:
    data, said = called("init", "bookshop", "--out", str(tmp_path / "shop"), "--description", "Books")
    same_shape(SHOWN["init NAME"], data)
    assert {
        path.relative_to(tmp_path / "shop").as_posix() for path in (tmp_path / "shop").rglob("*") if path.is_file()
    } == {*data["files"]}
    assert said.startswith(f"{len(data['files'])} files in ")
    assert ("takes CloudMart from a folder of this machine" in said) == (" @ file:" in new.requirement())


def test_the_folder_of_definitions_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(crds, "ensure", lambda _say: tmp_path)
    data, said = called("local", "definitions")
    same_shape(SHOWN["local definitions"], data)
    assert (data["folder"], said) == (str(tmp_path), "")


def test_commands_that_print_more_than_a_script_have_json_among_their_formats() -> None:
    from tests.unit.test_cli import COMMANDS

    without: Sequence[str] = [
        " ".join(path)
        for path, command in COMMANDS.items()
        if not hasattr(command, "commands")
        and not any(p.name == "format_" and "json" in getattr(p.type, "choices", ()) for p in command.params)
    ]
    # The first is JSON anyway, the second a script, the third a page.
    assert sorted(without) == ["completion", "config schema", "report"]
