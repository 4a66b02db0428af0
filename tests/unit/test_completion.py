"""What a shell is offered when somebody presses Tab."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from cloudmart.cli import cli
from cloudmart.errors import UserError
from tests.unit.settings_files import write


def offered(*words: str) -> list[str]:
    """For the last word, which may be begun or empty."""
    complete = ShellComplete(cli, {}, "cloudmart", "_CLOUDMART_COMPLETE")
    return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]


def test_commands_and_options_are_offered() -> None:
    assert offered("pre") == ["preview"]
    assert offered("local", "sta") == ["start", "status"]
    assert "--stack" in offered("preview", "--st")
    assert offered("config", "show", "--format", "") == ["text", "json"]


def test_stacks_are_those_of_the_project_or_of_the_root_that_is_named(tmp_path: Path) -> None:
    assert offered("preview", "--stack", "") == ["dev", "prod"]
    assert offered("up", "-s", "p") == ["prod"]
    write(tmp_path)
    (tmp_path / "Pulumi.staging.yaml").write_text("config: {}\n")
    assert offered("preview", "--root", str(tmp_path), "--stack", "") == ["dev", "staging"]


def test_names_of_services_stores_and_passwords_are_offered_where_they_belong() -> None:
    assert offered("cost", "estimate", "--explain", "order") == ["order-service"]
    assert offered("init", "--service", "x", "--need", "p") == [
        *("product-service", "payment-service", "postgres", "payment-api"),
    ]
    assert offered("secrets", "rotate", "redis") == ["redis-password"]


def test_settings_that_do_not_load_offer_nothing_and_say_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "project: [\n")
    assert offered("cost", "estimate", "--root", str(tmp_path), "--explain", "") == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_clicks_own_for_the_shell_that_is_named_or_used(
    shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = CliRunner().invoke(cli, ["completion", shell])
    assert named.exit_code == 0
    assert f"_CLOUDMART_COMPLETE={shell}_complete" in named.stdout
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    assert CliRunner().invoke(cli, ["completion"]).stdout == named.stdout


def test_a_shell_that_is_none_of_these_is_named_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/dash")
    result = CliRunner().invoke(cli, ["completion"])
    assert isinstance(result.exception, UserError)
    assert str(result.exception).startswith("SHELL: found 'dash'; allowed: bash, zsh, fish")


@pytest.mark.parametrize(
    ("shell", "script"),
    [
        (
            "bash",
            'eval "$(cloudmart completion bash)"; COMP_WORDS=(cloudmart config show --stack pr); COMP_CWORD=4; '
            "_cloudmart_completion cloudmart; echo ${COMPREPLY[@]}",
        ),
        # It answers with the values alone; a terminal is what shows and inserts them.
        (
            "zsh",
            'compdef() { }; compadd() { print -r -- "${(@P)argv[-1]}" }; eval "$(cloudmart completion zsh)"; '
            "words=(cloudmart config show --stack pr); CURRENT=5; _cloudmart_completion",
        ),
        ("fish", 'cloudmart completion fish | source; complete --do-complete "cloudmart config show --stack pr"'),
    ],
)
def test_a_shell_completes_with_the_script(shell: str, script: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on PATH")
    program = tmp_path / "cloudmart"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cloudmart.cli "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "prod\n", done.stderr
