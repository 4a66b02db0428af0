"""How much of a preview's time the estimate and the delta take. ``python -m benchmarks.costs`` prints it.

The stack has 500 services; its base differs in every tenth. CPU seconds of one process, medians of several runs:
*preview* is everything but prices (program, settings, schemas, policies); *estimate* prices this side and holds it
against the budgets; *delta* prices the base, compares both sides and makes the summary. Recording the base is no part
of it: that runs in a process of its own while this side is recorded. The last two figures are wall seconds of the
whole command, without and with ``--base``.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import yaml

from benchmarks.bench import project
from cloudmart.finops import budget
from cloudmart.finops import delta as deltas
from cloudmart.finops.estimate import of_stack
from cloudmart.preview import delta_report, policy, recorder, schema
from cloudmart.preview.recorder import HOME
from cloudmart.preview.run import read_policy_config
from cloudmart.settings import load

GOAL = 0.10


def changed(root: Path) -> None:
    """Ask for more in every tenth service."""
    file = root / "catalog.yaml"
    catalog = yaml.safe_load(file.read_text())
    for index, service in enumerate(catalog["services"].values()):
        if index % 10 == 0:
            service["resources"]["requests"]["cpu"] = "120m"
    file.write_text(yaml.safe_dump(catalog, sort_keys=False))


def measure(root: Path, base: recorder.Recording) -> tuple[float, float, float]:
    gc.collect()
    with recorder.uncollected():  # as cloudmart.preview.run.preview does
        start = time.process_time()
        recording = recorder.record("dev", root)
        settings = load("dev", root)
        schema.validate(recording.resources, settings.cluster.kubernetes_version)
        recorded = time.process_time()
        now = of_stack(recording.resources, settings, root)
        standings = budget.standings(now, settings.budgets)
        priced = time.process_time()
        before = of_stack(base.resources, settings, root)
        delta = deltas.compare("base", base.resources, recording.resources, (before, now))
        standings = budget.standings(now, settings.budgets, before, delta.causes())
        delta_report.summary(delta, standings)
        compared = time.process_time()
        facts = budget.as_facts(standings)
        config = read_policy_config("dev", HOME)
        policy.evaluate(recording.resources, config, cost_centers=settings.cost_centers, budgets=facts)
        judged = time.process_time()
    if delta.counts[deltas.Op.UPDATE] < 50:
        raise RuntimeError(f"the base should differ in 50 services, and does in {delta.counts}")
    return (recorded - start) + (judged - compared), priced - recorded, compared - priced


def wall(root: Path, *arguments: str) -> float:
    command = [sys.executable, "-m", "cloudmart.cli", "preview", "--stack", "dev", "--root", str(root), *arguments]
    command.append("--no-cache")
    start = time.perf_counter()
    subprocess.run([*command, "--format", "json"], check=False, cwd=HOME, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def repository(root: Path) -> None:
    for name in ("components", "cloudmart"):
        (root / name).symlink_to(HOME / name)
    who = ["-c", "user.name=bench", "-c", "user.email=bench@example.com", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "-A"], [*who, "commit", "-q", "-m", "base"]):
        subprocess.run(["git", "-C", str(root), *arguments], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    root = project(HOME / ".local" / "bench" / "costs", given.services)
    repository(root)
    base = recorder.record("dev", root)
    changed(root)
    taken = [measure(root, base) for _ in range(given.runs)]
    preview, estimate, delta = (statistics.median(column) for column in zip(*taken, strict=True))
    share = (estimate + delta) / preview
    verdict = "met" if share < GOAL else "NOT met"
    print(  # noqa: T201
        f"{given.services} services, {len(base.resources)} resources: preview {preview:.2f} s, "
        f"estimate {estimate:.3f} s, delta {delta:.3f} s: {share:.1%} more (goal: under {GOAL:.0%}, {verdict}); "
        f"whole command {wall(root):.1f} s, with --base {wall(root, '--base', 'HEAD'):.1f} s "
        f"on {os.cpu_count()} cores at load {os.getloadavg()[0]:.0f}"
    )


if __name__ == "__main__":
    main()
