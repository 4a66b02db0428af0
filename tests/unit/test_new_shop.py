"""``cloudmart init NAME``: a shop that is right from its first minute, or no folder at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner, Result

from cloudmart.cli import cli
from cloudmart.errors import UserError
from cloudmart.preview import run
from cloudmart.settings import Criticality, load, stacks
from cloudmart.shop import new
from tests.conftest import ROOT
from tests.policy.test_pack import _served

FLAGS = ("--team", "books", "--cost-center", "BK-1", "--service", "shelf-service", "--description", "Which books: all")


def called(*args: str, answers: str | None = None) -> Result:
    result = CliRunner().invoke(cli, ["init", *args], input=answers, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result


def test_the_files_say_what_was_asked_for_and_every_stack_loads(tmp_path: Path) -> None:
    out = tmp_path / "shops" / "bookshop"
    called("bookshop", "--out", str(out), *FLAGS, "--need", "kafka", "--produces", "sales")
    assert stacks(out) == ["dev", "prod"]
    for stack in stacks(out):
        settings = load(stack, out)
        assert (settings.project, settings.namespace.team, list(settings.cost_centers)) == (
            "bookshop",
            "books",
            ["BK-1"],
        )
        assert settings.services["shelf-service"].description == "Which books: all"
        assert list(settings.stores) == ["kafka"]
        assert list(settings.layers) == []
    assert load("prod", out).data.kafka.protect  # type: ignore[union-attr]
    assert [path.name for path in out.parent.iterdir()] == ["bookshop"]


def test_without_options_but_a_description_the_rest_has_its_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    called("bookshop", "--description", "Everything")
    settings = load("dev", tmp_path / "bookshop")
    assert (list(settings.services), settings.namespace.cost_center) == (["web"], "CC-1")
    assert dict(settings.stores) == {}


def test_a_terminal_is_asked_for_what_no_option_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudmart.cli.init.sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    out = tmp_path / "bookshop"
    answers = "books\nBK-1\nshelf-service\nWhich books\nhigh\n\n3\npostgres, redis\n"
    result = called("bookshop", "--out", str(out), answers=answers)
    assert result.stdout == ""
    made = load("dev", out).services["shelf-service"]
    assert (made.criticality, made.replicas, made.needs) == (Criticality.HIGH, 3, ("postgres", "redis"))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("Bookshop", *FLAGS), "NAME: found 'Bookshop'; allowed: a-z"),
        (("bookshop", *FLAGS, "--need", "postgress"), "did you mean 'postgres'"),
        (("bookshop", "--service", "Shelf", "--description", "x"), "--service: found 'Shelf'"),
        (("bookshop", *FLAGS, "--cost-center", "a, b"), "found 'a, b'"),
        (("bookshop",), "--description: found none"),
        ((), "init: found neither NAME nor --service"),
        (("--service", "x", "--description", "x", "--team", "y"), "init: found --team without NAME"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        called(*args)
    assert said in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="found files in it; allowed: a new folder"):
        called("bookshop", "--out", str(tmp_path), *FLAGS)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_names_that_yaml_would_read_as_something_else_stay_names(tmp_path: Path) -> None:
    out = tmp_path / "no"
    called("no", "--out", str(out), "--team", "08", "--cost-center", "1e3", "--service", "y", "--description", "'#'")
    settings = load("dev", out)
    assert (settings.project, settings.namespace.team, list(settings.cost_centers)) == ("no", "08", ["1e3"])
    assert yaml.safe_load((out / "Pulumi.yaml").read_text())["name"] == "no"


@pytest.mark.slow
def test_what_stands_in_the_repository_too_is_the_same() -> None:
    catalog = yaml.safe_load((ROOT / "catalog.yaml").read_text())
    assert catalog["placeholderImage"] == new.PLACEHOLDER
    assert catalog["cluster"]["kubernetesVersion"] == new.KUBERNETES
    template = (ROOT / "cloudmart/shop/files/__main__.py.jinja").read_text()
    assert template.split("\n", 1)[1] == (ROOT / "__main__.py").read_text().split("\n", 1)[1]
    for document in ("catalog", "stack"):
        name = f"schemas/{document}.schema.json"
        shop = new.Shop(name="a", team="b", cost_center="C", service_name="d", service={"description": "e"})
        assert new.texts(shop)[name] == (ROOT / name).read_text()


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        (None, "cloudmart==0.1.0"),
        ({"url": "file:///srv/cloudmart", "dir_info": {}}, "cloudmart @ file:///srv/cloudmart"),
        (
            {"url": "https://git.example.com/cloudmart", "vcs_info": {"vcs": "git", "commit_id": "0a1b2c"}},
            "cloudmart @ git+https://git.example.com/cloudmart@0a1b2c",
        ),
    ],
)
def test_the_shop_installs_what_it_was_started_with(monkeypatch: pytest.MonkeyPatch, origin: object, line: str) -> None:
    text = None if origin is None else json.dumps(origin)
    found = SimpleNamespace(version="0.1.0", read_text=lambda _: text)
    monkeypatch.setattr("importlib.metadata.distribution", lambda _: found)
    assert new.requirement() == line


def test_commands_in_the_shops_folder_are_about_the_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "bookshop"
    called("bookshop", "--out", str(out), *FLAGS)
    monkeypatch.chdir(out / "policy")
    result = CliRunner().invoke(cli, ["config", "show", "--format", "json"])
    assert {"path": "project", "value": "bookshop", "origin": "catalog.yaml:5"} in json.loads(result.stdout)
    called("--service", "desk-service", "--description", "Sells them", "--need", "shelf-service")
    assert list(load("prod", out).services) == ["shelf-service", "desk-service"]


@pytest.mark.slow
def test_the_shops_pack_knows_its_cost_centers_under_the_engine(tmp_path: Path) -> None:
    called("bookshop", "--out", str(tmp_path / "bookshop"), *FLAGS)
    pack = tmp_path / "bookshop/policy"
    with _served("-m", "pulumi.policy", "127.0.0.1:1", str(pack), cwd=pack) as analyzer:
        from google.protobuf import empty_pb2

        info = analyzer.GetAnalyzerInfo(empty_pb2.Empty())
    labels = next(rule for rule in info.policies if rule.name == "cost-labels")
    assert (info.name, list(labels.configSchema.properties["costCenters"]["default"])) == ("bookshop", ["BK-1"])


@pytest.mark.slow
@pytest.mark.parametrize("needs", [(), ("postgres",), ("postgres", "redis", "kafka")], ids=len)
def test_the_preview_of_every_stack_is_clean(tmp_path: Path, needs: tuple[str, ...]) -> None:
    out = tmp_path / "bookshop"
    called("bookshop", "--out", str(out), *FLAGS, *(f"--need={need}" for need in needs))
    for stack in ("dev", "prod"):
        result = run.preview(stack, out)
        assert (result.violations, result.errors) == ([], [])
        assert {r.object_name for r in result.recording.resources} >= {"bookshop", "shelf-service", *needs}
    done = subprocess.run(
        [sys.executable, "-m", "cloudmart.cli", "preview"], cwd=out, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split(":")[0]) == (0, "bookshop/dev"), done.stderr
