"""The policy pack on 10,000 resources: all of it, each rule alone, and conftest with the same rules beside.

The pack runs in this process, as `cloudmart preview` runs it; conftest as a program, on the manifests of the same
resources. Both are given what breaks rules as well: every tenth workload has a moving tag and no requests.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks import engine, pipeline, programs
from benchmarks.bench import project
from benchmarks.measure import Taken, machine, megabytes, run, say, spread, write_part
from cloudmart.finops import budget, prices
from cloudmart.finops.estimate import estimate
from cloudmart.preview import policy, recorder, render
from cloudmart.preview.recorder import HOME, Recorded
from cloudmart.settings import Settings, load
from components.admission.parameters import enforced

SERVICES = 1_115
"""Enough for 10,000 resources."""
RUNS = 5
GOAL = 10_000


@dataclass(frozen=True)
class Seen:
    """Seconds of each run: the whole pack, the rules that conftest has too, no rule, and each rule alone."""

    resources: int
    violations: int
    whole: Sequence[float]
    shared: Sequence[float]
    none: Sequence[float]
    alone: Mapping[str, Sequence[float]]
    conftest: Sequence[Taken]
    parsing: Sequence[Taken]
    memory: int
    shared_rules: Sequence[str]
    found: tuple[int, int]


def broken(resources: Sequence[Recorded]) -> list[Recorded]:
    """The same, with a moving tag and no requests in every tenth Deployment."""
    found, count = [], 0
    for resource in resources:
        if resource.kind == "Deployment":
            count += 1
            if count % 10 == 0:
                inputs = copy.deepcopy(resource.inputs)
                container = inputs["spec"]["template"]["spec"]["containers"][0]
                container["image"] = container["image"].split(":")[0] + ":latest"
                del container["resources"]["requests"]
                resource = replace(resource, inputs=inputs)
        found.append(resource)
    return found


def measured() -> Seen:
    folder = HOME / ".local" / "bench" / "rules"
    root = project(folder / "project", SERVICES)
    engine.without(root, "kubecost")
    recording, settings = recorder.record("dev", root), load("dev", root)
    resources = broken(recording.resources)
    if len(resources) < GOAL:
        raise RuntimeError(f"{len(resources)} resources, {GOAL} are wanted")
    facts = budget.as_facts(budget.standings(estimate(resources, prices.load()), settings.budgets))
    names = [rule.name for rule in policy.policies()]
    shared = [name for name in enforced(settings) if name in names]

    def judge(*rules: str) -> tuple[float, list[policy.Violation]]:
        config: dict[str, Any] = {"all": "disabled"} | dict.fromkeys(rules, "mandatory")
        gc.collect()
        with recorder.uncollected():
            start = time.process_time()
            said = policy.evaluate(resources, config, cost_centers=settings.cost_centers, budgets=facts)
            return time.process_time() - start, said

    whole, none, of_shared, alone = [], [], [], {name: list[float]() for name in names}
    for turn in range(RUNS):
        whole.append(judge(*names)[0])
        of_shared.append(judge(*shared)[0])
        none.append(judge()[0])
        for name in names:
            alone[name].append(judge(name)[0])
        say(f"run {turn + 1} of {RUNS}: {whole[-1]:.2f} s, no rule {none[-1]:.3f} s")
    said = judge(*shared)[1]

    _prepare(replace(recording, resources=resources), settings, folder / "conftest")
    conftest, parsing = [], []
    test: list[str | Path] = [programs.program("conftest"), "test", "--no-color", "--data", "data", "all.yaml"]
    for turn in range(RUNS):
        conftest.append(run([*test, "--policy=rego"], folder=folder / "conftest", allowed=(1,)))
        parsing.append(run([*test, "--policy=none"], folder=folder / "conftest"))
        say(f"run {turn + 1} of {RUNS}: conftest {conftest[-1].wall:.2f} s, parsing {parsing[-1].wall:.2f} s")
    memory = run([*test, "--policy=rego"], folder=folder / "conftest", allowed=(1,), memory=True).memory
    return Seen(
        len(resources),
        len(judge(*names)[1]),
        whole,
        of_shared,
        none,
        alone,
        conftest,
        parsing,
        memory,
        shared,
        (len(said), _failures(folder / "conftest")),
    )


def _prepare(recording: recorder.Recording, settings: Settings, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.rules(settings, folder)
    (folder / "none").mkdir()
    (folder / "none" / "main.rego").write_text('package main\n\ndeny contains "never" if false\n')
    objects = [each.object for each in render.manifests(recording) if not each.holds_secrets]
    with (folder / "all.yaml").open("w", encoding="utf-8") as out:
        yaml.dump_all(objects, out, Dumper=yaml.CSafeDumper, sort_keys=False)


def _failures(folder: Path) -> int:
    """What conftest finds, advice included."""
    command: list[str | Path] = [
        programs.program("conftest"),
        "test",
        "--policy=rego",
        "--data=data",
        "--output=json",
        "all.yaml",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    return sum(len(entry.get(kind, [])) for entry in json.loads(done.stdout) for kind in ("failures", "warnings"))


def page(seen: Seen, of_machine: str) -> str:
    none = statistics.median(seen.none)
    lines = [
        "## The policy pack",
        "",
        f"{seen.resources} resources: this repository's program with {SERVICES} services; every tenth Deployment",
        f"breaks rules, {seen.violations} violations in all. The pack runs in the preview's process, conftest on the",
        "manifests of the same resources, with the Rego of the admission layer and the same thresholds.",
        "",
        of_machine,
        f"conftest {programs.version('conftest')}. Median (smallest-largest) of {RUNS} runs. `make bench ONLY=policy`",
        "",
        "| what | wall, s | CPU, s | memory |",
        "| --- | ---: | ---: | ---: |",
        f"| the pack, {len(seen.alone)} rules | | {spread(seen.whole)} | |",
        f"| the pack, the {len(seen.shared_rules)} rules that are Rego too | | {spread(seen.shared)} | |",
        f"| conftest, the same {len(seen.shared_rules)} rules | {spread([each.wall for each in seen.conftest])} "
        f"| {spread([each.cpu for each in seen.conftest])} | {megabytes(seen.memory)} |",
        f"| conftest, no rule: reading the YAML | {spread([each.wall for each in seen.parsing])} "
        f"| {spread([each.cpu for each in seen.parsing])} | |",
        "",
        f"The pack runs in one thread: its wall time is its CPU time. On these {len(seen.shared_rules)} rules the pack",
        f"finds {seen.found[0]} violations and conftest {seen.found[1]}.",
        "",
        "### Each rule alone",
        "",
        f"CPU time, less the {none:.3f} s that the pack takes without any rule. What rules share, such as reading a",
        "pod template, each pays here by itself; together they pay it once.",
        "",
        "| rule | ms | microseconds a resource |",
        "| --- | ---: | ---: |",
    ]
    for name, taken in sorted(seen.alone.items(), key=lambda item: -statistics.median(item[1])):
        own = [max(0.0, each - none) for each in taken]
        each = statistics.median(own) / seen.resources * 1e6
        lines.append(f"| `{name}` | {spread([one * 1000 for one in own], 0)} | {each:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with machine() as of_machine:
        seen = measured()
    write_part("policy", page(seen, str(of_machine)))


if __name__ == "__main__":
    main()
