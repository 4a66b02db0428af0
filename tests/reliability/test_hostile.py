"""Every input of tests/hostile: bounded in time and memory, refused clearly or harmless, nothing written outside."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.hostile.run import COMPUTING, MEMORY
from tests.reliability import figures

_PART = "Hostile input"
_WHAT = {
    "allocation": "answers of an Allocation API: huge, dripping, packed, redirecting, made-up figures and names",
    "catalog": "`catalog.yaml`: bombs, tags, encodings, hostile texts and numbers at places of the real one",
    "chart": "charts: paths and versions in the settings, `Chart.yaml` and archives on disk",
    "cluster": "what kubectl prints, contexts and names of Services",
    "kubeconfig": "kubeconfigs, read by kubectl itself",
    "name": "names of stacks and of revisions",
    "out": "`--out`: links, pipes, devices, folders that a render left and somebody changed",
    "policy": "configurations of the policy pack",
    "prices": "price books and their paths",
    "profile": "load profiles",
    "program": "what the recording of the program reads: `Pulumi.yaml` and the stack's file",
    "prometheus": "answers of a Prometheus",
    "saved": "saved answers, through `report --allocation`",
    "stack": "`Pulumi.<stack>.yaml`",
    "state--against": "states, through `preview --against`",
    "state--plan": "plans, through `preview --plan`",
    "timeline": "timelines of loads, through `rightsize --usage`",
    "url": "addresses of Allocation APIs and Prometheuses",
    "vpa": "bounds of vertical autoscalers, through `rightsize --vpa`",
}


def test_hostile_input_is_refused_clearly_or_comes_out_harmless(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    seed, page = request.config.getoption("--seed"), request.config.getoption("--figures")
    found = tmp_path / "outcomes.json"
    command = [sys.executable, "-m", "tests.hostile.run", "--seed", str(seed), "--json", str(found)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.is_file(), done.stderr[-5000:]
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for outcome in json.loads(found.read_text()):
        groups[outcome["name"].partition("/")[0]].append(outcome)
    for name, outcomes in sorted(groups.items()):
        bad = [outcome["name"] for outcome in outcomes if outcome["problems"]]
        refused = sum(outcome["code"] == 2 for outcome in outcomes)
        said = f"{refused} x refused; {len(outcomes) - refused - len(bad)} x harmless"
        row = figures.Row(
            what=_WHAT.get(name, name),
            way=f"under {COMPUTING:.0f} s of computing and {MEMORY:.0f} MiB",
            runs=len(outcomes),
            passed=len(outcomes) - len(bad),
            seed=seed,
            said="; ".join([said, *([f"failed: {', '.join(bad)}"] if bad else [])]),
        )
        if page is not None:
            figures.write(page, _PART, row, "make reliability ONLY=hostile" + (f" SEED={seed}" if seed != 1 else ""))
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
