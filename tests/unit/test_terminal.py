"""Colour, and the width of tables: on a terminal, in a pipe, in a file."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloudmart.finops import terminal
from cloudmart.finops.tables import Column, Document, Table, as_text, print_table, print_text
from tests.conftest import ROOT

ESCAPE = "\x1b["
WIDE = Table(
    "Costs",
    [Column("service", number=False), *(Column(f"column {number}", rank=number) for number in range(8))],
    [["a-service-with-a-long-name", *["12,345.67"] * 8]],
    ["all of these", *["98,765.43"] * 8],
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def environment(patch: pytest.MonkeyPatch, **variables: str) -> Iterator[None]:
    with patch.context() as changed:
        for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
            changed.delenv(name, raising=False)
        changed.setenv("TERM", "xterm-256color")
        for name, value in variables.items():
            changed.setenv(name, value)
        yield


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_a_terminal_has_colour_unless_it_or_the_user_does_without(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool
) -> None:
    with environment(monkeypatch, **variables):
        print_table(WIDE, out := Terminal())
        assert (ESCAPE in out.getvalue()) is coloured


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_a_pipe_has_none_unless_it_is_forced(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool
) -> None:
    with environment(monkeypatch, **variables):
        monkeypatch.setattr(sys, "stdout", out := io.StringIO())
        print_table(WIDE, out)
        terminal.print_lines([("bad", "bold red")], out)
        assert (ESCAPE in out.getvalue()) is coloured
        # What goes to a file has none at all.
        assert ESCAPE not in as_text(Document("t", ["lead"], [WIDE], ["note"]))


@pytest.mark.parametrize("columns", [40, 60, 100])
def test_tables_fit_the_terminal_and_lose_whole_columns_rather_than_digits(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    with environment(monkeypatch, COLUMNS=str(columns), NO_COLOR="1"):
        print_table(WIDE, ruled := Terminal())
        print_text(Document("t", [], [WIDE]), plain := Terminal())
    for out in (ruled, plain):
        lines = out.getvalue().splitlines()
        assert max(map(len, lines)) <= columns
        shown = re.findall(r"column (\d)", out.getvalue())
        assert shown == [str(number) for number in range(len(shown))]
        assert out.getvalue().count("12,345.67") == out.getvalue().count("98,765.43") == len(shown)
    assert "column 7" in as_text(Document("t", [], [WIDE]))


def test_nothing_prints_in_another_way() -> None:
    consoles = {file.name for file in (ROOT / "cloudmart").rglob("*.py") if "Console(" in file.read_text()}
    assert consoles == {"terminal.py"}


def printed(*args: str, on_terminal: bool, **variables: str) -> str:
    """What the command prints, in a pipe or on a pseudo-terminal."""
    command = [sys.executable, "-m", "cloudmart.cli", *args]
    env = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    env |= {"TERM": "xterm-256color", **variables}
    if not on_terminal:
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=env, stdout=theirs, stdin=theirs) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # how Linux says that the other end is closed
                break
            if not piece:
                break
            text += piece
        assert process.wait() == 0
    os.close(ours)
    return text.decode()


@pytest.mark.slow
def test_the_command_itself_knows_a_terminal_from_a_pipe(tmp_path: Path) -> None:
    shown = printed("prices", "show", on_terminal=True, COLUMNS="50")
    assert ESCAPE in shown
    table = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines() if "  " in line.strip()]
    assert table
    assert max(map(len, table)) <= 50
    assert ESCAPE not in printed("prices", "show", on_terminal=True, NO_COLOR="1")
    assert ESCAPE not in printed("prices", "show", on_terminal=False)
    assert ESCAPE in printed("prices", "show", on_terminal=False, FORCE_COLOR="1")
    out = tmp_path / "estimate.txt"
    assert printed("cost", "estimate", "--out", str(out), on_terminal=False, FORCE_COLOR="1") == ""
    assert ESCAPE not in out.read_text()
