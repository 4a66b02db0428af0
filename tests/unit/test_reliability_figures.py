"""The page of figures: runs add up by seed, and each kind changes its own row alone."""

from __future__ import annotations

from pathlib import Path

from tests.reliability.figures import HEAD, Kind, Row, add, ranges, write

KILLED = Kind(part="Faults", what="killed", way="without the CLI", test="test_killed")


def a_row(what: str, runs: int, passed: int, said: str = "") -> Row:
    return Row(what=what, way="without the CLI", runs=runs, passed=passed, seed=1, said=said)


def lines(page: Path) -> list[str]:
    return [line for line in page.read_text().splitlines() if line.startswith("| killed")]


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
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["reliability.json", "reliability.md"]


def test_runs_add_up_and_a_seed_that_is_run_again_replaces_its_own_outcome_alone(tmp_path: Path) -> None:
    page = tmp_path / "reliability.md"
    for seed, failed in ((1, None), (2, "lost:\n  /home/somebody/x.yaml"), (3, None), (7, "lost: a Secret")):
        add(page, KILLED, seed, said=None if failed else "refused", failed=failed)
    (line,) = lines(page)
    assert "| 4 | 1 to 3, 7 | **2** | 2 x refused; seed 2 failed: lost: x.yaml; seed 7 failed: lost: a Secret |" in line
    add(page, KILLED, 2, said="refused", failed=None)
    (line,) = lines(page)
    assert "| 4 | 1 to 3, 7 | **3** | 3 x refused; seed 7 failed: lost: a Secret |" in line
    add(page, KILLED, 7, said=None, failed=None, note="40 values")
    (line,) = lines(page)
    assert "| 4 | 1 to 3, 7 | 4 | 3 x refused; 40 values |" in line


def test_seeds_are_told_as_ranges() -> None:
    assert ranges([9, 1, 2, 3, 7]) == "1 to 3, 7, 9"
    assert ranges([]) == ""


def test_what_was_seen_before_seeds_repeated_a_run_is_told_but_not_counted(tmp_path: Path) -> None:
    page = tmp_path / "reliability.md"
    write(page, "Faults", a_row("killed", 16, 14, "failed: seeds 7, 14"), "make reliability RUNS=16")
    add(page, KILLED, 1, said="refused", failed=None)
    add(page, KILLED, 2, said="refused", failed=None)
    (line,) = lines(page)
    assert "| 2 | 1 to 2 | 2 | 2 x refused; earlier, not counted: 14 of 16 as required (failed: seeds 7, 14; " in line
