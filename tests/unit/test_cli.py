"""The command line: what goes to which stream, and with which exit status."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cloudmart.cli import cli, main
from cloudmart.cli._options import OneOf
from cloudmart.preview.recorder import HOME
from cloudmart.settings.schema import json_schema
from tests.conftest import Project
from tests.unit.command_lines import parsed
from tests.unit.settings_files import write


class Run:
    """Runs the command in this process, as the installed script does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *args: str) -> tuple[int, str, str]:
        self._monkeypatch.setattr("sys.argv", ["cloudmart", *args])
        try:
            main()
            code: object = 0
        except SystemExit as exit_:
            code = exit_.code or 0
        output = self._capsys.readouterr()
        assert isinstance(code, int)
        return code, output.out, output.err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(monkeypatch, capsys)


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())


def test_the_tree_holds_the_commands_that_people_type() -> None:
    assert {
        ("up",),
        ("down",),
        ("preview",),
        ("render",),
        ("config", "show"),
        ("config", "schema"),
        *(("local", verb) for verb in ("start", "stop", "status", "reset")),
    } <= set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_says_in_a_sentence_what_the_command_does(run: Run, path: tuple[str, ...], flag: str) -> None:
    code, out, err = run(*path, flag)
    assert (code, err) == (0, "")
    # The program's own name is that of whatever runs the tests.
    assert re.match(rf"Usage: .*\b{' '.join(path)} \[OPTIONS\]", out)
    sentence = out.splitlines()[2].strip()
    assert sentence[0].isupper()
    assert len(sentence.split()) >= 4


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_ends_with_examples_of_the_command_that_click_can_read(run: Run, path: tuple[str, ...]) -> None:
    _, out, _ = run(*path, "--help")
    shown = out.split("\n  Examples:\n")[1].splitlines()
    assert shown
    for line in shown:
        words = shlex.split(line, comments=True)
        assert words[: len(path) + 1] == ["cloudmart", *path], line
        # What the shell keeps for itself.
        end = next((i for i, word in enumerate(words) if word in ("|", ">")), len(words))
        parsed(words[1:end], complete=True)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_that_is_not_the_help_is_explained_or_lists_its_values(path: tuple[str, ...]) -> None:
    for parameter in COMMANDS[path].params:
        if isinstance(parameter, click.Option):
            assert parameter.help or isinstance(parameter.type, click.Choice), parameter.name


def test_show_prints_every_value_with_its_origin_and_nothing_else(run: Run) -> None:
    code, out, err = run("config", "show", "--stack", "prod")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert all("  # " in line for line in lines)
    assert len({line.split()[0] for line in lines}) == len(lines)
    origins = {line.split()[0]: line.rpartition("  # ")[2] for line in lines}
    values = {line.split()[0]: line.split(maxsplit=1)[1].rpartition("  # ")[0] for line in lines}
    assert values["services.user-service.replicas"] == "2"
    assert origins["services.user-service.replicas"].startswith("catalog.yaml:")
    assert values["data.postgres.protect"] == "true"
    assert origins["data.postgres.protect"].startswith("Pulumi.prod.yaml:")
    assert origins["services.user-service.containerPort"] == "default"


def test_the_stack_is_dev_where_neither_the_option_nor_the_environment_says_another(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev, prod = run("config", "show", "--stack", "dev"), run("config", "show", "--stack", "prod")
    assert dev != prod
    assert run("config", "show") == dev
    monkeypatch.setenv("CLOUDMART_STACK", "prod")
    assert run("config", "show") == prod
    assert run("config", "show", "-s", "dev") == dev


def test_manifests_go_to_a_folder_of_the_projects_own_where_none_is_named(run: Run, project: Project) -> None:
    code, out, err = run("render", "--root", str(project.root))
    assert (code, out) == (0, "")
    folder = project.root / ".local/manifests/dev"
    assert f"files in {folder}, 0 old ones removed\n" in err
    assert (folder / "_cluster/namespace-cloudmart.yaml").is_file()


def test_show_as_json_is_json_and_the_same_tree(run: Run) -> None:
    _, text, _ = run("config", "show", "-s", "dev")
    code, out, err = run("config", "show", "-s", "dev", "--format", "json")
    assert (code, err) == (0, "")
    entries = json.loads(out)
    assert [entry["path"] for entry in entries] == [line.split()[0] for line in text.splitlines()]
    assert all(entry.keys() == {"path", "value", "origin"} for entry in entries)


@pytest.mark.parametrize("document", ["catalog", "stack"])
def test_schema_prints_the_schema_and_nothing_else(run: Run, document: str) -> None:
    code, out, err = run("config", "schema", document)
    assert (code, err) == (0, "")
    assert json.loads(out) == json_schema(document)  # type: ignore[arg-type]
    # Committed as it was printed, so that a redirect renews it without noise.
    assert out == (HOME / "schemas" / f"{document}.schema.json").read_text(encoding="utf-8")


def test_schema_without_an_argument_is_the_catalogs(run: Run) -> None:
    assert run("config", "schema") == run("config", "schema", "catalog")


@pytest.mark.parametrize("command", [("config", "show"), ("preview",), ("render", "--out", "unused")])
def test_a_stack_that_is_not_there_is_one_line_on_stderr_and_exit_status_2(run: Run, command: tuple[str, ...]) -> None:
    code, out, err = run(*command, "--stack", "staging")
    assert (code, out) == (2, "")
    assert err.startswith("error: Pulumi.staging.yaml: no such file")
    assert err.count("\n") == 1
    assert not Path("unused").exists()


def test_a_check_of_committed_manifests_lists_what_differs_and_ends_with_exit_status_1(
    run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "dev"
    assert run("render", "--stack", "dev", "--out", str(out))[0] == 0
    assert run("render", "--stack", "dev", "--out", str(out), "--check")[:2] == (0, "")
    (file,) = out.glob("*/namespace-cloudmart.yaml")
    file.unlink()
    code, printed, err = run("render", "--stack", "dev", "--out", str(out), "--check")
    assert (code, printed) == (1, "missing: _cluster/namespace-cloudmart.yaml (Namespace cloudmart)\n")
    again = f"run: cloudmart render --stack dev --out {out}\n"
    assert err == f"{out} is not what stack dev renders; {again}"
    assert not file.exists()
    (own := out / "own" / "role.yaml").parent.mkdir()
    own.write_text("kind: ClusterRole")
    err = run("render", "--stack", "dev", "--out", str(out), "--check")[2]
    assert err == f"{out} is not what stack dev renders; delete what no render wrote, and {again}"
    assert run("render", "--stack", "dev", "--out", str(out))[0] == 0
    code, printed, err = run("render", "--stack", "dev", "--out", str(out), "--check")
    assert (code, printed) == (1, "superfluous: own/role.yaml (no render wrote it, so none removes it)\n")
    assert err.endswith("; delete what no render wrote, or render into an empty folder\n")


@pytest.mark.parametrize("stack", ["../dev", "Dev", "a b", ""])
def test_a_name_that_no_stack_can_have_is_one_line_on_stderr_and_exit_status_2(run: Run, stack: str) -> None:
    code, out, err = run("config", "show", "--stack", stack)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: stack: found {stack!r}; allowed: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "args",
    [
        ("nonsense",),
        ("config", "show", "--stack"),
        ("config", "schema", "--nonsense"),
    ],
)
def test_a_wrong_call_says_so_on_stderr_with_exit_status_2(run: Run, args: tuple[str, ...]) -> None:
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert "Error: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("preview", "--format", "sarf"),
            "--format: found 'sarf' (did you mean 'sarif'?); allowed: text, json, ",
        ),
        (("config", "show", "-s", "dev", "--format", "xml"), "--format: found 'xml'; allowed: text, json\n"),
        (("config", "schema", "cluster"), "document: found 'cluster'; allowed: catalog, stack, preview\n"),
        (("config", "show", "--root", "/no/such/folder"), "--root: Directory '/no/such/folder' does not exist."),
        (("local", "load", "--hours", "0"), "--hours: 0.0 is not in the range 0.1<=x<=336."),
        (("verify", "--wait", "5"), "--wait: found '5'; allowed: a number with its unit"),
        (("verify", "--url", "notaurl"), "url: found 'notaurl'; allowed: http://HOST:PORT or https://"),
    ],
)
def test_a_wrong_value_is_one_line_on_stderr_and_exit_status_2(run: Run, args: tuple[str, ...], message: str) -> None:
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "what", "told"),
    [
        (("up",), "up", "interrupted; the same command again goes on from what is done\n"),
        (("down", "--yes"), "down", "interrupted; the same command again goes on from what is done\n"),
        (
            ("secrets", "rotate", "postgres-password", "--yes"),
            "up",
            "interrupted; the rotation stands in Pulumi.dev.yaml: `cloudmart up --stack dev` goes on with it\n",
        ),
    ],
)
def test_an_interruption_is_told_with_what_goes_on_from_there(
    run: Run, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], what: str, told: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"cloudmart.deploy.up.{what}", interrupted)
    monkeypatch.setattr("cloudmart.secrets.rotation.write", lambda *_: None)
    code, _, err = run(*args)
    assert code == 130
    assert err.endswith(f"\n{told}")


def test_every_choice_says_what_was_meant() -> None:
    types = [parameter.type for command in COMMANDS.values() for parameter in command.params]
    assert {type(one) for one in types if isinstance(one, click.Choice)} == {OneOf}


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (("prview",), "preview"),
        (("local", "strt"), "start"),
        (("preview", "--stak", "dev"), "--stack"),
        (("config", "show", "-s", "prood"), "prod"),
        (("cost", "estimate", "-s", "dev", "--explain", "order-servce"), "order-service"),
        (("secrets", "rotate", "redis-pasword", "-s", "dev", "--yes"), "redis-password"),
        (("cost", "--by", "servce"), "service"),
        (("preview", "-s", "dev", "--also", "jnuit=out.xml"), "junit"),
        (("preview", "--format", "sarf"), "sarif"),
        (("config", "schema", "catlog"), "catalog"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_mistyped_word_is_answered_with_the_one_that_was_meant(run: Run, args: tuple[str, ...], meant: str) -> None:
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert re.search(rf"[Dd]id you mean (one of: )?'{meant}'", err)


@pytest.mark.parametrize("command", ["show", "schema"])
def test_the_installed_command_reports_bad_input_without_a_traceback(tmp_path: Path, command: str) -> None:
    write(tmp_path, catalog="project: [\n")
    args = (
        ["config", "show", "--stack", "dev", "--root", str(tmp_path)]
        if command == "show"
        else ["config", "schema", "x"]
    )
    done = subprocess.run(
        [sys.executable, "-m", "cloudmart.cli", *args], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: catalog.yaml:2: not valid YAML" if command == "show" else "error: document: ")


def test_the_projects_folder_is_the_repository_wherever_the_command_is_run(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = run("config", "show", "-s", "dev")
    monkeypatch.chdir(tmp_path)
    assert run("config", "show", "-s", "dev") == here


@pytest.mark.parametrize(
    "file", ["catalog.yaml", "Pulumi.yaml", "Pulumi.dev.yaml", "Pulumi.new.yaml", "policy/config/dev.json", "link"]
)
@pytest.mark.parametrize("option", ["--out", "--also"])
def test_no_output_is_written_over_what_the_project_is_read_from(
    run: Run, project: Project, monkeypatch: pytest.MonkeyPatch, option: str, file: str
) -> None:
    monkeypatch.chdir(project.root)
    (project.root / "link").symlink_to("catalog.yaml")
    before = (project.root / file).read_bytes() if file != "Pulumi.new.yaml" else None
    value = file if option == "--out" else f"json={file}"
    code, _, err = run("preview", "--stack", "dev", "--format", "json", option, value, "--root", str(project.root))
    assert (code, err.count("\n")) == (2, 1)
    assert f"error: {option} {value}: found a file that the project itself is read from; allowed: any other" in err
    assert (project.root / file).read_bytes() == before if before else not (project.root / file).exists()


@pytest.mark.parametrize("file", ["catalog.json", "policy/dev.json", "out/catalog.yaml", "out/Pulumi.dev.yaml"])
def test_a_file_of_such_a_name_that_no_project_is_read_from_may_be_written(
    run: Run, project: Project, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.chdir(project.root)
    (project.root / "out").mkdir()
    assert run("graph", "--stack", "dev", "--out", file, "--root", str(project.root))[0] == 0
