"""What the check of a pull request takes: `cloudmart preview` beside what teams use today, on the same objects.

Each size is this repository's program with that many services. The programs take turns; what they read is made before.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from benchmarks import engine, pipeline, programs
from benchmarks.bench import project
from benchmarks.measure import Taken, machine, megabytes, run, say, spread, write_part
from cloudmart.preview.recorder import HOME

SIZES = {5: 5, 50: 3, 500: 2}
"""Services, and how many runs are taken of that size."""
PATIENCE = 30.0
"""Seconds: what takes longer is run once, cold and with its memory looked at."""

OURS, AGAIN, GO, CHECKOV, ENGINE = (
    "`cloudmart preview`",
    "the same again",
    "helm, kubeconform, kube-score, conftest",
    "checkov",
    "`pulumi preview --policy-pack`",
)
GOAL_ENGINE, GOAL_GO, GOAL_GROWTH, GOAL_AGAIN = 4.0, 4.0, 1.1, 0.5


@dataclass
class Size:
    """What was seen at one size, by program."""

    services: int
    objects: int
    taken: dict[str, list[Taken]] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)

    def wall(self, name: str) -> float:
        return statistics.median(each.wall for each in self.taken[name])


def size(services: int, runs: int) -> Size:
    folder = HOME / ".local" / "bench" / "checks" / str(services)
    root = project(folder / "project", services)
    engine.without(root, "kubecost")  # its chart is no manifest, and comes from a repository
    found = Size(services, pipeline.prepare("dev", root, folder / "pipeline"))
    contenders = _contenders(root, folder / "pipeline")
    wanted = {}
    for name, once in contenders.items():
        # It also leaves what is kept between runs: bytecode, page cache, the answer of the cache.
        first = once(True)
        found.memory[name] = first.memory
        found.taken[name], wanted[name] = ([first], 0) if first.wall > PATIENCE else ([], runs)
        say(f"{services} services: {name} {first.wall:.2f} s")
    for turn in range(runs):
        for name, once in contenders.items():
            if turn < wanted[name]:
                found.taken[name].append(once(False))
                say(f"{services} services, run {turn + 1} of {wanted[name]}: {name} {found.taken[name][-1].wall:.2f} s")
    return found


def _contenders(root: Path, made: Path) -> dict[str, Callable[[bool], Taken]]:
    command = [sys.executable, "-m", "cloudmart.cli", "preview", "--stack", "dev", "--format", "json"]
    preview: list[str | Path] = [*command, "--root", root]
    scan: list[str | Path] = [
        programs.program("checkov"),
        "--framework=kubernetes",
        "--skip-download",
        "--quiet",
        "--compact",
    ]
    found: dict[str, Callable[[bool], Taken]] = {
        OURS: lambda memory: run([*preview, "--no-cache"], memory=memory),
        AGAIN: lambda memory: run(preview, memory=memory),
        GO: lambda memory: run(["bash", "check.sh"], folder=made, memory=memory),
        # From there: it leaves out what is below a folder whose name begins with a dot. It always finds something.
        CHECKOV: lambda memory: run([*scan, "--directory", "manifests"], folder=made, allowed=(1,), memory=memory),
    }
    if engine.cli() is not None:
        its = engine.project(root)
        found[ENGINE] = lambda memory: run(
            its.command("preview", pack=True), folder=root, environment=its.environment, memory=memory
        )
    return found


def page(sizes: Sequence[Size], seen: str) -> str:
    lines = [
        "## A pull request's check",
        "",
        "The same objects: this repository's program with 5, 50 and 500 services (stack dev without Kubecost), and the",
        "manifests that `cloudmart render` writes of it. `cloudmart preview` runs the program, checks schemas and",
        "policies, budgets too, and prices every object. The pipeline starts from finished manifests in a chart: it",
        "runs no program, knows no Pulumi and prices nothing; schemas, rules and thresholds are those of the preview,",
        "less the rules that need the whole stack. *The same again*: nothing has changed, the cache answers.",
        *(
            ["`pulumi preview` runs the same program with the same pack, and no cluster either."]
            if ENGINE in sizes[0].taken
            else ["There was no Pulumi CLI on PATH."]
        ),
        "",
        seen,
        f"cloudmart with pulumi {version('pulumi')}; "
        + ", ".join(f"{name} {programs.version(name)}" for name in ("helm", "kubeconform", "kube-score", "conftest"))
        + f"; checkov {programs.version('checkov')}. Median (smallest-largest). `make bench ONLY=checks`",
        "",
        "| services | objects | program | runs | wall, s | CPU, s | memory | wall / `cloudmart preview` |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for each in sizes:
        for name, taken in each.taken.items():
            lines.append(
                f"| {each.services} | {each.objects} | {name} | {len(taken)} "
                f"| {spread([one.wall for one in taken])} | {spread([one.cpu for one in taken])} "
                f"| {megabytes(each.memory[name])} "
                f"| {each.wall(name) / each.wall(OURS):.2f} |"
            )
    return "\n".join([*lines, "", *_goals(sizes)]) + "\n"


def _goals(sizes: Sequence[Size]) -> list[str]:
    middle, largest = sizes[-2], sizes[-1]
    large = [each for each in sizes if each.services >= 50]
    go = max(each.wall(OURS) / each.wall(GO) for each in large)
    again = max(each.wall(AGAIN) for each in sizes)
    growth = {
        name: (largest.wall(name) / middle.wall(name)) / (largest.objects / middle.objects) for name in largest.taken
    }
    rows = [
        (f"within {GOAL_GO:.0f} times of the Go pipeline at 50 services and more", f"{go:.1f} at worst", go <= GOAL_GO),
        (
            "grows linearly, 500 against 50 services: wall time against objects",
            f"{growth[OURS]:.2f} times as fast as the objects",
            growth[OURS] <= GOAL_GROWTH,
        ),
        (
            f"an unchanged pull request under {GOAL_AGAIN} s, whole process",
            f"{again:.2f} s at worst",
            again < GOAL_AGAIN,
        ),
    ]
    if ENGINE in sizes[0].taken:
        least = min(each.wall(ENGINE) / each.wall(OURS) for each in sizes)
        rows.insert(
            0, (f"at least {GOAL_ENGINE:.0f} times faster than the Pulumi preview", f"{least:.1f} at worst", least >= 4)
        )
    others = ", ".join(f"{name} {value:.2f}" for name, value in growth.items() if name not in (OURS, AGAIN))
    return [
        "| goal | seen | met |",
        "| --- | --- | --- |",
        *(f"| {goal} | {said} | {'yes' if met else '**no**'} |" for goal, said, met in rows),
        "",
        f"The others' growth by the same measure: {others}.",
    ]


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with machine() as seen:
        sizes = [size(services, runs) for services, runs in SIZES.items()]
    write_part("checks", page(sizes, str(seen)))


if __name__ == "__main__":
    main()
