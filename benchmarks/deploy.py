"""What a deployment takes on the local cluster: `cloudmart up`, `pulumi up`, `helm install --wait` and `kubectl apply`.

All bring the same objects, Secrets included, to a cluster that is made anew for each run and has come to rest; then
each is asked for the same once more. A run counts when its command has returned; that every workload is ready then is
checked.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import secrets
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from benchmarks import engine, pipeline, programs
from benchmarks.bench import project
from benchmarks.measure import FIRST, Taken, machine, run, say, spread, write_part
from cloudmart.cluster import toolchain
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy.engine import NoCli, find_cli
from cloudmart.preview import recorder, render
from cloudmart.preview.recorder import HOME

SIZES = (5, 20, 50)
"""Services; 20 are some 200 objects, for which there is a goal of its own."""

ALONE, ENGINE, PACKED, DEFAULTS, BOTH, HELM, HELM_AVAILABLE, KUBECTL = (
    "`cloudmart up` without a Pulumi CLI",
    "`pulumi up --parallel 64`",
    "the same, with the policy pack",
    "`pulumi up`, with the provider's own waits and Pulumi's own `--parallel`",
    "`cloudmart up` with the CLI: preview, then `pulumi up`",
    "`helm install --wait`",
    "the same, then `kubectl wait` until Available",
    "`kubectl apply`, then `kubectl wait` until Available",
)
GOALS = {5: 6.0, 20: 15.0}
"""Seconds of `pulumi up` from nothing, by services, where the provider's own waits take `AGAINST`."""
AGAINST = {5: 14.0, 20: 44.0}
GOAL_AGAIN, GOAL_HELM = 3.0, 1.5
REST = 10
"""Seconds that an API server has after its start, which it goes on with long after it has answered."""


@dataclass(frozen=True, kw_only=True)
class Commands:
    """A way to deploy: the first command, that for the same again, what waits longer than they, their environment."""

    first: Sequence[str | Path]
    again: Sequence[str | Path]
    then: Sequence[str | Path] = ()
    environment: Mapping[str, str]


@dataclass
class Size:
    """What was seen at one size, by way."""

    services: int
    objects: int
    first: dict[str, list[Taken]] = field(default_factory=dict)
    again: dict[str, list[Taken]] = field(default_factory=dict)


def size(services: int, runs: int) -> Size:
    folder = HOME / ".local" / "bench" / "deploy" / str(services)
    cluster = LocalCluster(folder / "project")
    if cluster.directory.exists():
        cluster.delete()
    root = project(folder / "project", services)
    engine.without(root, "kubecost")  # its chart comes from a repository
    found = Size(services, _manifests(root, folder))
    try:
        for turn in range(runs):
            for name, way in WAYS.items():
                if name not in _compared(services):
                    continue
                cluster.reset(lambda _line: None)
                time.sleep(REST)
                commands = way(root, folder, cluster)
                if commands is None:
                    continue
                first = run(commands.first, folder=root, environment=commands.environment)
                _require_ready(cluster, services)
                if commands.then:
                    longer = run(commands.then, folder=root, environment=commands.environment)
                    found.first.setdefault(HELM_AVAILABLE, []).append(_sum(first, longer))
                again = run(commands.again, folder=root, environment=commands.environment)
                found.first.setdefault(name, []).append(first)
                found.again.setdefault(name, []).append(again)
                say(
                    f"{services} services, run {turn + 1} of {runs}: {name}: {first.wall:.2f} s, "
                    f"the same again {again.wall:.2f} s"
                )
    finally:
        cluster.delete()
    return found


def _compared(services: int) -> Collection[str]:
    """The ways that are measured at a size."""
    if services == min(SIZES):
        return WAYS
    # The preview before `pulumi up` is measured elsewhere.
    return (ENGINE, DEFAULTS) if services in GOALS else WAYS.keys() - {BOTH}


def _sum(one: Taken, other: Taken) -> Taken:
    return Taken(one.wall + other.wall, one.cpu + other.cpu)


def _manifests(root: Path, folder: Path) -> int:
    """A chart and a file with every object that the program declares, Secrets with values; how many there are."""
    recording = recorder.record("dev", root)
    values = {key: secrets.token_urlsafe(24) for key in recording.generated}
    objects = [render.substitute(each.object, values) for each in render.manifests(recording, templates=True)]
    for old in ("manifests", "chart"):
        shutil.rmtree(folder / old, ignore_errors=True)
    (folder / "manifests").mkdir(parents=True)
    for index, each in enumerate(objects):
        (folder / "manifests" / f"{index:05}.yaml").write_text(f"---\n{render.to_yaml(each)}")
    pipeline.chart(folder / "manifests", folder / "chart")
    files = sorted((folder / "manifests").iterdir())
    (folder / "all.yaml").write_text("".join(file.read_text() for file in files))
    return len(objects)


# --- the ways --------------------------------------------------------------------------------------------------------


def _alone(root: Path, _folder: Path, _cluster: LocalCluster) -> Commands | None:
    path = os.environ["PATH"]
    os.environ["PATH"] = os.pathsep.join(
        place for place in path.split(os.pathsep) if shutil.which("pulumi", path=place) is None
    )
    try:
        if not isinstance(find_cli(root), NoCli):
            return None  # it downloads one
        environment = dict(os.environ)
    finally:
        os.environ["PATH"] = path
    _program(root)
    return Commands(first=_up(root), again=_up(root), environment=environment)


def _engine(root: Path, _folder: Path, cluster: LocalCluster, *, pack: bool = False) -> Commands | None:
    if engine.cli() is None:
        return None
    its = engine.project(root, cluster.kubeconfig)
    _program(root)
    up = its.command("up", "--yes", "--skip-preview", "--parallel=64", pack=pack)
    return Commands(first=up, again=up, environment=its.environment)


#: Set before the program makes anything, in the words of the SDK: our own annotation is taken off again.
_AWAITED = """
import pulumi


def _awaited(args: pulumi.ResourceTransformationArgs) -> None:
    annotations = getattr(args.props.get("metadata"), "annotations", None)
    if annotations:
        annotations.pop("pulumi.com/skipAwait", None)


pulumi.runtime.register_stack_transformation(_awaited)
"""


def _defaults(root: Path, _folder: Path, cluster: LocalCluster) -> Commands | None:
    if engine.cli() is None:
        return None
    its = engine.project(root, cluster.kubeconfig)
    _program(root, _AWAITED)
    up = its.command("up", "--yes", "--skip-preview", pack=False)
    return Commands(first=up, again=up, environment=its.environment)


def _both(root: Path, _folder: Path, cluster: LocalCluster) -> Commands | None:
    if engine.cli() is None:
        return None
    its = engine.project(root, cluster.kubeconfig)
    _program(root)
    return Commands(first=_up(root), again=_up(root), environment=its.environment)


def _program(root: Path, before: str = "") -> None:
    """Writes the program, whatever another way made of it."""
    (root / "__main__.py").write_text(f"{before}{(HOME / '__main__.py').read_text()}")


def _up(root: Path) -> Sequence[str | Path]:
    return [sys.executable, "-m", "cloudmart.cli", "up", "--stack", "dev", "--root", root]


def _helm(_root: Path, folder: Path, cluster: LocalCluster) -> Commands:
    def helm(verb: str) -> Sequence[str | Path]:
        return [programs.program("helm"), verb, "shop", folder / "chart", "--wait", "--timeout=10m"]

    return Commands(
        first=helm("install"),
        again=helm("upgrade"),
        then=["bash", "-c", _AVAILABLE, "-", toolchain.kubectl()],
        environment=_with(cluster.kubeconfig),
    )


def _kubectl(_root: Path, folder: Path, cluster: LocalCluster) -> Commands:
    script = f'set -e; "$1" apply --server-side -f "$2"; {_AVAILABLE}'
    apply: Sequence[str | Path] = ["bash", "-c", script, "-", toolchain.kubectl(), folder / "all.yaml"]
    return Commands(first=apply, again=apply, environment=_with(cluster.kubeconfig))


#: The first argument is kubectl.
_AVAILABLE = (
    'set -e; "$1" -n cloudmart wait --all --timeout=10m --for=condition=Available deployment; '
    '"$1" -n cloudmart wait --all --timeout=10m --for=jsonpath={.status.readyReplicas}=1 statefulset'
)


def _with(kubeconfig: Path) -> Mapping[str, str]:
    return dict(os.environ) | {"KUBECONFIG": str(kubeconfig)}


WAYS: Mapping[str, Callable[[Path, Path, LocalCluster], Commands | None]] = {
    ALONE: _alone,
    ENGINE: _engine,
    PACKED: functools.partial(_engine, pack=True),
    DEFAULTS: _defaults,
    BOTH: _both,
    HELM: _helm,
    KUBECTL: _kubectl,
}


def _require_ready(cluster: LocalCluster, services: int) -> None:
    """Every workload that was asked for has all of its pods ready; else the run was no deployment."""
    listed = json.loads(cluster.kubectl("-n", "cloudmart", "get", "deployments,statefulsets", "-o", "json"))["items"]
    short = [
        each["metadata"]["name"] for each in listed if each["status"].get("readyReplicas", 0) < each["spec"]["replicas"]
    ]
    if short or len(listed) < services:
        raise RuntimeError(f"{len(listed)} workloads, not ready: {', '.join(short) or 'none'}")


# --- the page --------------------------------------------------------------------------------------------------------


def page(sizes: Sequence[Size], seen: str, runs: int) -> str:
    lines = [
        "## A deployment",
        "",
        "Stack dev without Kubecost, with 5, 20 and 50 services, on the local cluster, which runs already and is made",
        "anew for each run; then the same once more, with nothing to do. All bring the same objects, Secrets with",
        "values included. Pods are simulated: none pulls an image, so what is measured is the tools and the control",
        "plane. That every workload has its pods ready at the end is checked; `helm install --wait` asks for no",
        "more than that, the others wait until each Deployment is Available. None of these judges the objects by",
        "policies but the one that says so, and `cloudmart up` with the CLI.",
        "",
        seen + " Others are also the cluster itself.",
        f"pulumi {version('pulumi')}, helm {programs.version('helm')}, Kubernetes "
        f"{toolchain.version('k8s.io/kubernetes').removeprefix('v')}. "
        + ("One run. " if runs == 1 else f"Median (smallest-largest) of {runs} runs. ")
        + ("`make bench ONLY=deploy`" if runs == 3 else f"`python -m benchmarks.deploy --runs {runs}`"),
        "",
        "| services | objects | way | from nothing, s | CPU, s | the same again, s | CPU, s |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for each in sizes:
        for name in (name for name in (*WAYS, HELM_AVAILABLE) if name in each.first):
            cells = [
                spread([getattr(one, what) for one in taken[name]]) if name in taken else ""
                for taken in (each.first, each.again)
                for what in ("wall", "cpu")
            ]
            lines.append(f"| {each.services} | {each.objects} | {name} | {' | '.join(cells)} |")
    if ENGINE not in sizes[0].first:
        lines += ["", "There was no Pulumi CLI on PATH."]
    return "\n".join([*lines, "", *_goals(sizes), "", *FOUND]) + "\n"


FOUND = (
    "### What was found",
    "",
    "- Of 64 s at 450 objects, Pulumi spent some 40 writing its state, before and after each object, all of",
    "  it each time (3.7 MB at the end): with `PULUMI_EXPERIMENTAL=1 PULUMI_SKIP_CHECKPOINTS=true` the same took",
    "  26 s (one run). That is not used here: a run that is killed would not know what it has made. Without the",
    "  backups beside the state (`PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS=true`) it took as long as with",
    "  them.",
    "- With nothing to do, `PULUMI_PARALLEL_DIFF=true` changed nothing, nor did switching Pulumi's own log off. At 90",
    "  objects half of that time is starting the CLI and the program; the rest is some 13 ms an object, one at a",
    "  time, and nearly as much again for the policy pack. That the program looks for no garbage is worth half a",
    "  second there (3.2 to 2.7 s).",
    "- Half of the time was waiting: the provider's for each Service, which the wait for its Deployment makes",
    "  superfluous (`pulumi.com/skipAwait`), and the five seconds that dev's pods had to stay ready for.",
    "- Only what makes pods waits for quota, limits and admission policies. While everything else waited too, 210",
    "  objects took 17.1 s from nothing and 450 took 63 s (one run, without going before the machine's other work,",
    "  which is worth a few percent: the provider's own waits took 38.2 and 102.5 s in it).",
)


def _goals(sizes: Sequence[Size]) -> list[str]:
    way = ENGINE if ENGINE in sizes[0].first else ALONE
    lines = ["| goal | seen | met |", "| --- | --- | --- |"]

    def goal(text: str, seen: float, most: float, unit: str = " s") -> None:
        shown = f"{seen:.1f}" if unit == " s" else f"{seen:.2f}"
        lines.append(f"| {text} | {shown}{unit} | {'yes' if seen <= most else '**no**'} |")

    for each in sizes:
        wall = {name: statistics.median(one.wall for one in taken) for name, taken in each.first.items()}
        if way not in wall:
            continue
        if each.services in GOALS:
            most = GOALS[each.services]
            goal(f"{way}, {each.objects} objects from nothing within {most:.0f} s", wall[way], most)
            if DEFAULTS in wall:
                share = most / AGAINST[each.services]
                times = wall[way] / wall[DEFAULTS]
                goal(f"at most {share:.2f} times {DEFAULTS}, {each.objects} objects", times, share, " times")
        for text, other in ((HELM, HELM), ("that, and until Helm's workloads are Available", HELM_AVAILABLE)):
            if other in wall:
                times = wall[way] / wall[other]
                goal(f"at most {GOAL_HELM} times {text}, {each.objects} objects", times, GOAL_HELM, " times")
        again = statistics.median(one.wall for one in each.again[way])
        goal(f"{way} of {each.objects} objects, no change, under {GOAL_AGAIN:.0f} s", again, GOAL_AGAIN)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="of each size")
    runs = parser.parse_args().runs
    if FIRST:  # the cluster as well: what is started from here inherits it
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    with machine() as seen:
        sizes = [size(services, runs) for services in SIZES]
    write_part("deploy", page(sizes, str(seen), runs))


if __name__ == "__main__":
    main()
