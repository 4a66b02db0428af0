"""Hostile input: a sample in `make e2e`, all of it in `make reliability ONLY=hostile`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.cases import ROOT, cases

#: As many as take half a minute on two cores.
SAMPLE = 150


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_hostile_files_answers_and_names_are_refused_in_a_line_or_come_out_harmless(tmp_path: Path) -> None:
    # A process of its own: its children are forked, which this one's threads would not survive.
    command = [sys.executable, "-m", "tests.hostile.run", "--count", str(SAMPLE), "--json", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    outcomes = json.loads((tmp_path / "out").read_text()) if (tmp_path / "out").exists() else []
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert len(outcomes) == SAMPLE


@pytest.mark.nightly
def test_a_seed_makes_the_same_inputs_again_and_there_are_a_thousand_of_every_kind() -> None:
    found = cases(1)
    assert [case.name for case in found] == [case.name for case in cases(1)] != [case.name for case in cases(2)]
    assert len({case.name for case in found}) == len(found) > 1000
    assert len({case.group for case in found}) >= 15
