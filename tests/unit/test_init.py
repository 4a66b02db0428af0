"""Adding a service from the command line: the entry that was asked for, or nothing at all."""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
import yaml
from click.testing import CliRunner

from cloudmart.cli.init import init
from cloudmart.errors import UserError
from cloudmart.preview import run
from cloudmart.preview.recorder import HOME
from cloudmart.settings import Criticality, load
from cloudmart.settings.edit import with_service
from cloudmart.settings.service import Traffic
from tests.unit.settings_files import CATALOG, write

FLAGS = ["--description", "Product reviews: stars", "--need", "postgres"]


def called(root: Path, *args: str, answers: str | None = None) -> None:
    result = CliRunner().invoke(init, [*args, "--root", str(root)], input=answers, standalone_mode=False)
    if result.exception:
        raise result.exception


def test_a_service_from_flags_is_added_after_the_others_and_no_other_line_changes(tmp_path: Path) -> None:
    old = CATALOG.replace("externals:\n", "\n# Whom we call.\nexternals:\n")
    called(write(tmp_path, old), "--service", "reviews", *FLAGS)
    new = (tmp_path / "catalog.yaml").read_text()
    changes = [line for line in difflib.ndiff(old.splitlines(), new.splitlines()) if line[0] in "-+"]
    assert not [line for line in changes if line[0] == "-"]
    assert "    needs: [mail]\n\n  reviews:\n    description: 'Product reviews: stars'\n" in new
    assert "    needs: [postgres]\n\n# Whom we call.\nexternals:\n" in new
    assert load("dev", tmp_path).services["reviews"].needs == ("postgres",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Pulumi.dev.yaml", "catalog.yaml"]


def test_a_name_that_yaml_would_read_as_something_else_is_quoted(tmp_path: Path) -> None:
    called(write(tmp_path), "--service", "y", *FLAGS)
    assert '\n  "y":\n' in (tmp_path / "catalog.yaml").read_text()
    assert list(load("dev", tmp_path).services) == ["web", "api", "y"]


def test_where_services_are_the_last_key_the_new_one_ends_the_file(tmp_path: Path) -> None:
    data = yaml.safe_load(CATALOG)
    services = data.pop("services")
    text = yaml.safe_dump({**data, "services": services}, sort_keys=False)
    called(write(tmp_path, text), "--service", "reviews", *FLAGS)
    assert (tmp_path / "catalog.yaml").read_text().startswith(text)
    assert list(load("dev", tmp_path).services) == ["web", "api", "reviews"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--service", "Reviews", *FLAGS], "--service: found 'Reviews'"),
        (["--service", "web", *FLAGS], "catalog.yaml:12: services.web: found a service of this name"),
        (["--service", "reviews", "--description", "x", "--need", "postgress"], "did you mean 'postgres'"),
        (["--service", "postgres", *FLAGS], "found a name that is taken"),
        (["--service", "reviews"], "--description: found none"),
    ],
)
def test_what_cannot_be_added_is_said_and_the_catalog_stays(tmp_path: Path, args: list[str], said: str) -> None:
    write(tmp_path)
    with pytest.raises(UserError) as error:
        called(tmp_path, *args)
    assert said in str(error.value)
    assert (tmp_path / "catalog.yaml").read_text() == CATALOG


def test_a_catalog_with_its_services_in_one_line_is_refused_and_not_rewritten(tmp_path: Path) -> None:
    data = yaml.safe_load(CATALOG)
    write(tmp_path, yaml.safe_dump(data, default_flow_style=True))
    with pytest.raises(UserError, match="in one line"):
        with_service(tmp_path, "reviews", data["services"]["api"])


def test_a_terminal_is_asked_for_what_no_option_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    # The runner replaces stdin by its own class, which is no terminal.
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("cloudmart.cli.init.sys", terminal)
    called(tmp_path, "--service", "reviews", "--traffic", "bursts", answers="Reviews\nlow\n3\npostgres, mail\n")
    made = load("dev", tmp_path).services["reviews"]
    assert (made.description, made.criticality, made.traffic) == ("Reviews", Criticality.LOW, Traffic.BURSTS)
    assert (made.replicas, made.needs) == (3, ("postgres", "mail"))


def test_the_choices_are_those_of_the_settings() -> None:
    choices = {p.name: list(p.type.choices) for p in init.params if isinstance(p.type, click.Choice)}
    del choices["format_"]
    assert choices == {"criticality": list(Criticality), "traffic": list(Traffic)}


@pytest.mark.slow
def test_the_service_passes_the_preview_of_every_stack_at_once(tmp_path: Path) -> None:
    for name in ("components", "policy", "cloudmart"):
        shutil.copytree(HOME / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__main__.py", "Pulumi.yaml", "Pulumi.dev.yaml", "Pulumi.prod.yaml", "catalog.yaml"):
        shutil.copy(HOME / name, tmp_path / name)
    called(tmp_path, "--service", "reviews", *FLAGS, "--need", "kafka", "--consumes", "orders")
    for stack in ("dev", "prod"):
        result = run.preview(stack, tmp_path)
        assert [violation for violation in result.violations if violation.level == "mandatory"] == []
        assert result.errors == []
        assert {r.kind for r in result.recording.resources if r.object_name == "reviews"} >= {"Deployment", "Service"}
