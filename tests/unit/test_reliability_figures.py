"""The page of figures: each part writes its own section alone."""

from __future__ import annotations

from pathlib import Path

from tests.reliability.figures import HEAD, Row, write


def a_row(what: str, runs: int, passed: int, said: str = "") -> Row:
    return Row(what=what, way="without the CLI", runs=runs, passed=passed, seed=1, said=said)


def test_a_later_run_replaces_its_own_row_and_leaves_every_other(tmp_path: Path) -> None:
    page = tmp_path / "reliability.md"
    write(page, "Faults", a_row("killed", 3, 3, "a|b\nc"), "make reliability RUNS=3")
    write(page, "Drift", a_row("killed", 40, 40), "make reliability RUNS=40")
    write(page, "Faults", a_row("killed again", 5, 5), "make reliability RUNS=5")
    before = page.read_text()
    assert before.startswith(HEAD)
    write(page, "Faults", a_row("killed", 200, 199), "make reliability RUNS=200")
    old, new = before.splitlines(), page.read_text().splitlines()
    (changed,) = [number for number, (was, is_) in enumerate(zip(old, new, strict=True)) if was != is_]
    assert "| 3 | 1 | 3 | a\\|b c |" in old[changed]
    assert "| 200 | 1 | **199** |" in new[changed]
    assert [line for line in new if line.startswith("## ")] == ["## Faults", "## Drift"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["reliability.md"]
