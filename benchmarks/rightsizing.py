"""The promise, measured: what right-sizing saves on a simulated day. ``make bench`` writes the page and its picture.

Each case has a local cluster of its own, with real autoscalers, scheduler and quota: deploy, let a day of load pass,
size from what was used, write the stack's file, deploy, let the same day pass again. The cases run side by side, and
the load of a case is the same before and after: it depends on the seed and on what the catalog declares, not on what is
requested.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

from cloudmart.cluster import load as simulated
from cloudmart.cluster import toolchain
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.cluster.load import DAY, Driver, Point, Profile, Timeline
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy import applyset, kinds
from cloudmart.deploy.rollout import wait_until_available
from cloudmart.finops import prices
from cloudmart.finops.estimate import estimate
from cloudmart.finops.rightsize import Sample, Usage, from_run, monthly, recommend, simulate
from cloudmart.preview.recorder import HOME, Recording, record
from cloudmart.preview.rightsizing import Proposal, propose
from cloudmart.preview.run import preview
from cloudmart.settings import Bytes, Cpu, Settings, load
from cloudmart.settings.edit import Change, write

STACK = "dev"
WITHOUT_KUBECOST = {"cloudmart:kubecost": {"enabled": False}}
FACTOR = 4
WARM_UP = 30
"""Seconds: two scrapes of metrics-server and a sync of the autoscalers."""
REACTION_MINUTES = 0.5
"""Of the local cluster: metrics every 10 s, a rate of two of them, a sync every 5 s."""
WINDOW = 20
"""Seconds that the autoscalers wait before they scale down: the local cluster's own default. The stacks say 300, longer
than the whole day lasts."""

_FILES = ("Pulumi.yaml", "catalog.yaml", "__main__.py")
_FOLDERS = ("components", "policy", "schemas")
BOOK = prices.load()


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


@dataclass
class Case:
    """One starting point and what came of it."""

    name: str
    root: Path
    profile: Profile
    runs: list[Timeline] = field(default_factory=list)
    proposal: Proposal | None = None
    #: Asked again after the file was written, on the same usage; and on what was used after it was deployed.
    second: Proposal | None = None
    third: Proposal | None = None
    violations: dict[str, int] = field(default_factory=dict)

    @property
    def cluster(self) -> LocalCluster:
        return LocalCluster(self.root)

    @property
    def saving(self) -> float:
        before, after = self.runs
        return 1 - after.monthly() / before.monthly()


def project(folder: Path, factor: int) -> Path:
    """A copy of the project, with `factor` times the services' requests and limits and windows that fit the day."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in [*(HOME / name for name in _FILES), *HOME.glob("Pulumi.*.yaml")]:
        shutil.copy(path, folder)
    for name in _FOLDERS:
        shutil.copytree(HOME / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    changes: list[Change] = []
    for name, service in load(STACK, folder).services.items():
        if factor != 1:
            for kind in ("requests", "limits"):
                amounts = getattr(service.resources, kind)
                changes += [
                    (("services", name, "resources", kind, "cpu"), str(Cpu.of(amounts.cpu.cores * factor))),
                    (("services", name, "resources", kind, "memory"), str(Bytes.of(amounts.memory.bytes * factor))),
                ]
        if service.autoscaling:
            down, up = (("services", name, "autoscaling", way) for way in ("scaleDown", "scaleUp"))
            changes += [
                ((*down, "windowSeconds"), WINDOW),
                ((*down, "periodSeconds"), 15),
                ((*up, "periodSeconds"), 15),
            ]
    write(STACK, folder, changes)
    return folder


def scaled(profile: Profile, factor: Decimal) -> Profile:
    """The same day with another amount of CPU."""
    services = {
        name: one.model_copy(
            update={
                "cpu": simulated.CpuRange(
                    low=Cpu.of(one.cpu.low.cores * factor), high=Cpu.of(one.cpu.high.cores * factor)
                )
            }
        )
        for name, one in profile.services.items()
    }
    return profile.model_copy(update={"services": services})


def deploy(cases: list[Case]) -> None:
    """As `cloudmart up` does without a Pulumi CLI; Kubecost is no part of the question."""
    # Recording a program changes the process, so it is not done beside anything.
    recordings = [record(STACK, case.root, overrides=WITHOUT_KUBECOST) for case in cases]
    namespaces = [load(STACK, case.root).namespace.name for case in cases]

    def one(case: Case, recording: Recording, namespace: str) -> None:
        kubectl = Kubectl(path=toolchain.kubectl(), kubeconfig=case.cluster.kubeconfig)
        with applyset.lease(kubectl, namespace, STACK, "up", lambda _: None) as lease:
            applyset.apply(recording, kubectl, namespace, kinds.scopes(recording, kubectl), lease)
        wait_until_available(recording, kubectl, lambda _: None)

    with ThreadPoolExecutor(len(cases)) as pool:
        list(pool.map(one, cases, recordings, namespaces))


def day(case: Case, settings: Settings, speed: float, seed: int) -> Timeline:
    driver = Driver(
        kubectl=Kubectl(path=toolchain.kubectl(), kubeconfig=case.cluster.kubeconfig),
        settings=settings,
        profile=case.profile,
        price=lambda cores, size: monthly(BOOK.hourly, cores, size),
        currency=BOOK.currency,
    )
    return driver.run(speed=speed, seed=seed, warm_up=WARM_UP, progress=lambda line: say(f"[{case.name}] {line}"))


def all_days(cases: list[Case], speed: float, seed: int) -> None:
    settings = [load(STACK, case.root) for case in cases]
    with ThreadPoolExecutor(len(cases)) as pool:
        runs = pool.map(lambda each: day(each[0], each[1], speed, seed), zip(cases, settings, strict=True))
        for case, run in zip(cases, runs, strict=True):
            case.runs.append(run)


def size(case: Case) -> None:
    """Right-sizes from the first run, writes the file, and asks again."""
    case.proposal = proposed(case, case.runs[0])
    if case.proposal.refused:
        raise SystemExit(f"{case.name}: not to be written: {case.proposal.refused}")
    write(STACK, case.root, case.proposal.changes)
    case.second = proposed(case, case.runs[0])
    for name in ("dev", "prod"):
        config = case.root / "policy" / "config" / f"{name}.json"
        case.violations[name] = len(preview(STACK, case.root, policy_config=config).mandatory)


def proposed(case: Case, run: Timeline) -> Proposal:
    usage = from_run(run)
    return propose(STACK, case.root, usage, least_minutes=DAY * 0.99, reaction_minutes=REACTION_MINUTES)


# --- the page --------------------------------------------------------------------------------------------------------


def page(cases: list[Case], minutes: float, seed: int, seconds: float) -> str:
    speed = DAY / minutes
    stores = stores_cost(cases[0].root)
    lines = [
        "# Right-sizing, measured",
        "",
        f"Written by `make bench` (`benchmarks/rightsizing.py --minutes {minutes:g} --seed {seed}`). How it is done, "
        "and what it means: [right-sizing](rightsizing.md).",
        "",
        f"Machine: {os.cpu_count()} cores, {platform.system()} {platform.machine()}, shared with other work. "
        f"Kubernetes {cases[0].runs[0].kubernetes}, Python {platform.python_version()}, "
        f"pulumi-kubernetes {version('pulumi-kubernetes')}. {seconds / 60:.1f} minutes for all of it.",
        "",
        f"A day of 24 h passes in {minutes:g} minutes ({speed:.0f} times as fast), seed {seed}. The autoscalers keep "
        f"the clock's time: metrics are 10 to 20 s old, and they wait {WINDOW} s before they scale down, each "
        f"{20 * speed / 3600:.1f} h of that day. So replicas come late and leave late, before and after alike.",
        "",
        "## Requested cost",
        "",
        f"Of the five services, {BOOK.currency} a month, averaged over the day; from the requests of the pods that "
        "held a place, read from the API at every sample.",
        "",
        "| start | load: CPU, memory of the requests | before | after | saved | with the stores |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for case in cases:
        before, after = (run.monthly() for run in case.runs)
        used = [share(case.runs[0], name) for name in ("cpu", "memory")]
        lines.append(
            f"| {case.name} | {used[0]:.0%}, {used[1]:.0%} | {before:.2f} | {after:.2f} | **{case.saving:.0%}** "
            f"| {1 - (after + stores) / (before + stores):.0%} |"
        )
    lines += [
        "",
        f"The stores ({stores:.2f} a month in stack {STACK}) are not right-sized: nothing simulates their use.",
        "",
        *targets(cases),
        "",
        "![Requested cost over the day](rightsizing-measured.svg)",
        "",
        "## What must not break",
        "",
        "| start | samples with usage over a limit, before / after | time at the autoscaler's maximum, before / after "
        "| pending pods at a time, before / after | mandatory violations after, dev / prod configuration "
        "| values that a second run changes, on the same usage / on the day after |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case in cases:
        both = [simulated.summaries(run) for run in case.runs]
        over = [f"{sum(r.over_limit for r in rows)} of {sum(r.samples for r in rows)}" for rows in both]
        pinned = [f"{max(r.pinned for r in rows):.0%}" for rows in both]
        pending = [str(max(r.pending for r in rows)) for rows in both]
        again = [str(len(found.changes)) for found in (case.second, case.third) if found]
        lines.append(
            f"| {case.name} | {over[0]} / {over[1]} | {pinned[0]} / {pinned[1]} | {pending[0]} / {pending[1]} "
            f"| {case.violations['dev']} / {case.violations['prod']} | {' / '.join(again)} |"
        )
    lines += [
        "",
        "## Autoscaling alone",
        "",
        *autoscaling(cases),
        "",
        "## At the clock's speed",
        "",
        *uncompressed(seed),
    ]
    lines += ["", "## By service", ""]
    for case in cases:
        lines += [f"### {case.name}", "", *services(case), ""]
    return "\n".join(lines).rstrip() + "\n"


def stores_cost(root: Path) -> float:
    services = load(STACK, root).services
    costs = estimate(record(STACK, root, overrides=WITHOUT_KUBECOST).resources, BOOK).by_service
    return float(sum(cost.expected for name, cost in costs.items() if name not in services))


def share(run: Timeline, name: str) -> float:
    used = sum(run.mean(service, lambda point: getattr(point, name)) for service in run.services)
    return used / sum(run.mean(service, lambda point: getattr(point, f"requested_{name}")) for service in run.services)


def targets(cases: list[Case]) -> list[str]:
    said = []
    for case, goal in zip(cases, (0.5, 0.3, 0.3), strict=True):
        word = "reached" if case.saving >= goal else "missed"
        said.append(f"- {case.name}: the goal of {goal:.0%} is {word}, with {case.saving:.1%}.")
    return said


def autoscaling(cases: list[Case]) -> list[str]:
    lines = [
        "The same day before right-sizing, with each service fixed at the replicas of its own peak instead:",
        "",
        "| start | fixed at the peak | autoscaled | saved by autoscaling alone | autoscaled and right-sized |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for case in cases:
        peak = sum(row.at_peak for row in simulated.summaries(case.runs[0]))
        before, after = (run.monthly() for run in case.runs)
        lines.append(
            f"| {case.name} | {peak:.2f} | {before:.2f} | {max(0, 1 - before / peak):.0%} | {1 - after / peak:.0%} |"
        )
    return lines


def uncompressed(seed: int) -> list[str]:
    """Without a cluster: the autoscalers as the stacks declare them, simulated over the day as it is."""
    settings = load(STACK, HOME)
    profile = simulated.from_settings(settings)
    lines = [
        "Calculated, not measured: the seed's own requests, the same day in 24 hours, in steps of five minutes, with "
        "the autoscalers' declared windows. It shows how much the saving depends on the load.",
        "",
        "| share of the load | CPU of the requests | before | after | saved |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for share_ in ("1", "0.75", "0.5", "0.25"):
        usage = [
            calculated(settings, scaled(profile, Decimal(share_)), name, seed)
            for name, service in settings.services.items()
            if service.autoscaling
        ]
        found = recommend(settings.services, usage, BOOK.hourly)
        before = float(sum(one.before.monthly for one in found if one.before))
        after = before - float(sum(one.saving for one in found))
        used = sum(sample.cpu for one in usage for sample in one.samples) / len(usage[0].samples)
        requested = sum(
            sample.replicas * float(settings.services[one.service].resources.requests.cpu.cores)
            for one in usage
            for sample in one.samples
        ) / len(usage[0].samples)
        lines.append(
            f"| {float(share_):.0%} | {used / requested:.0%} | {before:.2f} | {after:.2f} | {1 - after / before:.0%} |"
        )
    return lines


def calculated(settings: Settings, profile: Profile, name: str, seed: int) -> Usage:
    service = settings.services[name]
    scaling, requests = service.autoscaling, service.resources.requests
    assert scaling is not None  # noqa: S101 - the caller has asked
    wanted = [simulated.demand(profile, name, minute, seed) for minute in range(0, DAY, 5)]
    one_pod = Usage(
        service=name,
        samples=tuple(Sample(minutes=5, replicas=1, cpu=cpu, memory=size) for cpu, size in wanted),
        source="calculated",
    )
    counts = simulate(one_pod, scaling, float(requests.cpu.cores), scaling.cpu, requests.memory.bytes)
    samples = (
        Sample(minutes=5, replicas=count, cpu=cpu, memory=size * count, peak_cpu=cpu / count, peak_memory=size)
        for count, (cpu, size) in zip(counts, wanted, strict=True)
    )
    return Usage(service=name, samples=tuple(samples), source="calculated")


def services(case: Case) -> list[str]:
    lines = [
        "| service | requests | limits | HPA target | pods least/mean/peak before | after | a month before | after |",
        "| --- | --- | --- | --- | --- | --- | ---: | ---: |",
    ]
    before, after = (simulated.summaries(run) for run in case.runs)
    assert case.proposal is not None  # noqa: S101 - sized before it is written about
    for found, old, new in zip(case.proposal.recommendations, before, after, strict=True):
        plans = (found.current, found.proposed or found.current)
        requests, limits = (
            arrow(*(f"{amounts.cpu} {amounts.memory}" for amounts in (getattr(p.resources, kind) for p in plans)))
            for kind in ("requests", "limits")
        )
        target = arrow(*(f"{plan.cpu_target} %" for plan in plans))
        pods = [f"{row.least}/{row.mean:.1f}/{row.peak}" for row in (old, new)]
        lines.append(
            f"| {found.service} | {requests} | {limits} | {target} | {pods[0]} | {pods[1]} "
            f"| {old.requested:.2f} | {new.requested:.2f} |"
        )
    return lines


def arrow(old: str, new: str) -> str:
    return old if old == new else f"{old} → {new}"


def picture(cases: list[Case]) -> str:
    series: dict[str, list[tuple[float, float]]] = {}
    for case in cases[:2]:
        for run, word in zip(case.runs, ("as it was", "right-sized"), strict=True):
            series[f"{case.name}, {word}"] = total(run, lambda point: point.monthly)
    series["what is used, at the same prices"] = total(
        cases[1].runs[1], lambda point: monthly(BOOK.hourly, point.cpu, point.memory)
    )
    return simulated.chart(series, title="Requested cost on the same day", y_title=f"{BOOK.currency} a month")


def total(run: Timeline, value: Callable[[Point], float]) -> list[tuple[float, float]]:
    sums: dict[float, float] = {}
    for point in run.points:
        sums[point.minute] = sums.get(point.minute, 0) + value(point)
    return list(sums.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.5, help="how long the day lasts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HOME / "docs", help="folder of the page and the picture")
    options = parser.parse_args()
    started = time.monotonic()
    base = HOME / ".local" / "bench" / "rightsizing"
    profile = simulated.from_settings(load(STACK, HOME))
    cases = [
        Case(f"{FACTOR} times the seed's requests", base / "over", profile),
        Case("the seed's own requests", base / "seed", profile),
        Case("the seed's own requests, half the load", base / "half", scaled(profile, Decimal("0.5"))),
    ]
    for case in cases:
        if case.cluster.directory.exists():
            case.cluster.delete()
        project(case.root, FACTOR if case.name.startswith(str(FACTOR)) else 1)
    try:
        for case in cases:
            case.cluster.start(say)
        deploy(cases)
        all_days(cases, DAY / options.minutes, options.seed)
        for case in cases:
            size(case)
        deploy(cases)
        all_days(cases, DAY / options.minutes, options.seed)
        for case in cases:
            case.third = proposed(case, case.runs[1])
    finally:
        for case in cases:
            case.cluster.stop()
    for case in cases:
        for number, run in enumerate(case.runs):
            simulated.save(run, base / f"{case.root.name}-{('before', 'after')[number]}.json")
    text = page(cases, options.minutes, options.seed, time.monotonic() - started)
    (options.out / "rightsizing-measured.md").write_text(text, encoding="utf-8")
    (options.out / "rightsizing-measured.svg").write_text(picture(cases) + "\n", encoding="utf-8")
    say(text)


if __name__ == "__main__":
    main()
