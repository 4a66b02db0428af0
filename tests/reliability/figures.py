"""Writes what the runs showed into ``docs/reliability.md``, each part into a section of its own.

A row is replaced by the next run of the same thing: the page holds what was seen last, with its command and date.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

HEAD = """# Reliability: what was tried, and how often

Written by `make reliability`; do not edit. Each row is what its last run showed, failures included; nothing stands here
that was not run. A run is repeated by its seed: `make reliability RUNS=1 SEED=... ONLY=<the test's name>`.
"""
_COLUMNS = ("what", "way", "runs", "first seed", "as required", "what was said", "seen")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the runs of one kind showed. `what` and `way` name it within its part."""

    what: str
    way: str
    #: How many runs there were, and how many of them ended as they have to.
    runs: int
    passed: int
    seed: int
    #: For example what the failed run's error names.
    said: str = ""

    def cells(self, command: str, today: str) -> list[str]:
        """The row as text; `command` is what was typed."""
        met = f"{self.passed}" if self.passed == self.runs else f"**{self.passed}**"
        seen = f"{today}, {machine()}, `{command}`"
        return [self.what, self.way, str(self.runs), str(self.seed), met, self.said, seen]


def machine() -> str:
    """This machine, as far as it matters; no name of it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.system()} {platform.machine()}, {cores} cores"


def write(page: Path, part: str, row: Row, command: str) -> None:
    """Puts a row into the table of its part; another part, and a row of another name, stay as they are."""
    with _alone(page.parent):  # several parts may run at once
        text = page.read_text() if page.is_file() else HEAD
        partial = page.with_suffix(".new")
        partial.write_text(_with(text, part, row.cells(command, datetime.now(UTC).date().isoformat())))
        partial.replace(page)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _with(text: str, part: str, cells: list[str]) -> str:
    """The page with the row in it."""
    new = "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
    title = f"## {part}\n"
    if title not in text:
        head = "| " + " | ".join(_COLUMNS) + " |\n| --- | --- | ---: | ---: | ---: | --- | --- |\n"
        return f"{text.rstrip()}\n\n{title}\n{head}{new}\n"
    before, _, rest = text.partition(title)
    section, following, after = rest.partition("\n## ")
    same = re.compile(rf"^\| {re.escape(cells[0])} \| {re.escape(cells[1])} \|.*$", re.MULTILINE)
    section, known = same.subn(lambda _: new, section)
    if not known:
        section = f"{section.rstrip()}\n{new}\n"
    return before + title + section + following + after
