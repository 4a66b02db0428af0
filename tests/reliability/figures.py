"""Writes what the runs showed into ``docs/reliability.md``, each part into a section of its own.

The figures stand in a JSON file beside the page, by kind and seed; the page is written anew from it. They add up: a run
replaces what the same seed of the same kind showed before, and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HEAD = """# Reliability: what was tried, and how often

Written by `make reliability`; do not edit. Runs add up: a run of a seed replaces what that seed showed before,
failures included, and nothing stands here that was not run. [reliability.json](reliability.json) has every run. One is
repeated by its seed, `make reliability RUNS=1 SEED=... ONLY=<the test's name>`, but for what the seed before it left
in the cluster.

A seed decides the catalog that is there before, what is edited in it, which fault comes, and after how many seconds. It
does not decide what depends on the machine's speed: how far `up` has come by then, and in which order requests that are
under way at once reach the API server, or the proxy, which spoils them by their order. Passwords are random in every
run. Cycles of endurance and rotations of passwords go on from the one before: of those the seed decides the catalog or
the password alone.
"""
_COLUMNS = ("what", "way", "runs", "seeds", "as required", "what was said", "seen")
_LONGEST = 200


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is tried by seed. `what` and `way` name it within its part; `test` is the name of its test."""

    part: str
    what: str
    way: str
    test: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """What runs that have no seeds of their own showed; replaced as a whole by the next."""

    what: str
    way: str
    #: How many runs there were, and how many of them ended as they have to.
    runs: int
    passed: int
    seed: int
    #: For example what the failed run's error names.
    said: str = ""


def machine() -> str:
    """This machine, as far as it matters; no name of it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.system()} {platform.machine()}, {cores} cores"


def add(page: Path, kind: Kind, seed: int, *, said: str | None, failed: str | None, note: str = "") -> None:
    """Enters the run of a seed: what is worth a word, and how it failed if it did. `note` is about all runs so far."""

    def enter(entry: dict[str, Any]) -> None:
        if whole := entry.pop("whole", None):
            # Of a time when they did not add up and no seed repeated a run: told, but not counted.
            entry["earlier"] = f"{whole['passed']} of {whole['runs']} as required ({whole['said']}; {whole['seen']})"
        run = {"said": said, "failed": None if failed is None else _short(failed), "seen": _seen()}
        entry |= {"test": kind.test, "note": note, "seeds": entry.get("seeds", {}) | {str(seed): run}}

    _change(page, kind.part, kind.what, kind.way, enter)


def write(page: Path, part: str, row: Row, command: str) -> None:
    """Puts a row into the table of its part in place of the last of its name; `command` is what was typed."""

    def enter(entry: dict[str, Any]) -> None:
        whole = {"runs": row.runs, "passed": row.passed, "seeds": str(row.seed), "said": row.said}
        entry.clear()
        entry["whole"] = whole | {"seen": f"{_seen()}, `{command}`"}

    _change(page, part, row.what, row.way, enter)


def _change(page: Path, part: str, what: str, way: str, enter: Callable[[dict[str, Any]], None]) -> None:
    with _alone(page.parent):  # several parts may run at once
        book = page.with_suffix(".json")
        parts: dict[str, list[dict[str, Any]]] = json.loads(book.read_text()) if book.is_file() else {}
        kinds = parts.setdefault(part, [])
        entry = next((one for one in kinds if (one["what"], one["way"]) == (what, way)), None)
        if entry is None:
            kinds.append(entry := {})
        enter(entry)
        entry |= {"what": what, "way": way}
        _replace(book, json.dumps(parts, indent=1, sort_keys=False) + "\n")
        _replace(page, text(parts))


def text(parts: dict[str, list[dict[str, Any]]]) -> str:
    """The page."""
    head = "| " + " | ".join(_COLUMNS) + " |\n| --- | --- | ---: | ---: | ---: | --- | --- |\n"
    sections = [f"\n## {part}\n\n{head}{''.join(map(_line, kinds))}" for part, kinds in parts.items()]
    return HEAD + "".join(sections)


def _line(entry: dict[str, Any]) -> str:
    if whole := entry.get("whole"):
        runs, passed, seeds, said, seen = (whole[key] for key in ("runs", "passed", "seeds", "said", "seen"))
    else:
        by_seed = {int(seed): run for seed, run in sorted(entry["seeds"].items(), key=lambda item: int(item[0]))}
        failed = {seed: run["failed"] for seed, run in by_seed.items() if run["failed"] is not None}
        words = Counter(run["said"] for run in by_seed.values() if run["said"])
        runs, passed, seeds = len(by_seed), len(by_seed) - len(failed), ranges(by_seed)
        said = "; ".join(
            [
                *(f"{count} x {word}" for word, count in words.most_common()),
                *([entry["note"]] if entry["note"] else []),
                *(f"seed {seed} failed: {why}" for seed, why in failed.items()),
                *([f"earlier, not counted: {entry['earlier']}"] if "earlier" in entry else []),
            ]
        )
        seen = f"{max(run['seen'] for run in by_seed.values())}, `ONLY={entry['test']}`"
    met = f"{passed}" if passed == runs else f"**{passed}**"
    cells = [entry["what"], entry["way"], str(runs), seeds, met, said, seen]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n"


def ranges(numbers: Iterable[int]) -> str:
    """``1 to 3, 7`` for 1, 2, 3 and 7."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in found)


def _seen() -> str:
    return f"{datetime.now(UTC).date().isoformat()}, {machine()}"


def _short(failed: str) -> str:
    # No path of this machine: a page is for everybody.
    line = re.sub(r"(?<![\w:/.])/(?:[\w.+-]+/)+", "", " ".join(failed.split()))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."


def _replace(path: Path, content: str) -> None:
    partial = path.with_name(f"{path.name}.new")
    partial.write_text(content)
    partial.replace(path)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
