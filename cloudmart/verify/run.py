"""One verification: what is declared and what is there are read at the same time, then judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cloudmart.cluster.api import Api, connected
from cloudmart.cluster.kubectl import KubectlError
from cloudmart.deploy.expected import Expected, expected, target_of
from cloudmart.finops.allocation.client import Client
from cloudmart.settings import load
from cloudmart.verify import (
    autoscaling,
    capacity,
    costs,
    layers,
    mesh,
    namespaces,
    objects,
    state,
    storage,
    watch,
    workloads,
)
from cloudmart.verify.check import Check, Report, Stage, Status
from cloudmart.verify.state import State

Progress = Callable[[str], None]
#: What cannot be watched, such as metrics and costs, is looked at again this often (seconds) while waiting.
_AGAIN = 15.0
#: Changes come in bursts; one look after each (seconds).
_SETTLE = 0.5
#: Questions that are under way at once.
_PARALLEL = 16


@dataclass(frozen=True)
class _Asked:
    stack: str
    context: str | None
    #: Whom to ask for costs, where the user says so.
    costs: Client | None


def verify(
    stack: str,
    context: str | None,
    root: Path,
    progress: Progress,
    *,
    url: str | None = None,
    wait: float = 0,
) -> Report:
    """Verifies a stack in its cluster: `context`, else the stack's own, else the local cluster.

    Looks again after each change for up to `wait` seconds, until nothing fails. Raises ``UserError`` for bad settings,
    for a `url` that is no address and for a cluster that cannot be reached.
    """
    started = time.monotonic()
    asked = _Asked(stack, context, None if url is None else costs.at(url))
    left_out: list[str] = []
    settings = load(stack, root)
    kubectl = target_of(settings, context, root).kubectl
    with connected(kubectl) as api:
        with ThreadPoolExecutor(_PARALLEL) as pool:
            reading = state.begin(api, pool)
            cost = pool.submit(costs.ask, kubectl, settings.namespace.name, asked.costs)
            found = expected(stack, context, root, left_out.append)
            seen = state.finish(reading, found, left_out, context)
            told = cost.result()
        report = _report(asked, seen, told, started)
        return _wait(asked, api, report, seen, progress, started, wait) if wait and report.exit_code else report


def _again(asked: _Asked, api: Api, before: State) -> tuple[State, costs.Told]:
    found: Expected = before.expected
    with ThreadPoolExecutor(_PARALLEL) as pool:
        reading = state.begin(api, pool)
        cost = pool.submit(costs.ask, found.target.kubectl, found.settings.namespace.name, asked.costs)
        return state.finish(reading, found, before.left_out, asked.context), cost.result()


def _wait(
    asked: _Asked, api: Api, report: Report, seen: State, progress: Progress, started: float, seconds: float
) -> Report:
    deadline = started + seconds
    told = ""
    away: KubectlError | None = None
    with watch.Watch(api, state.places(seen.expected.objects.keys())) as changes:
        changes.known(seen.live)
        while report.exit_code and time.monotonic() < deadline:
            failing = "; ".join(
                f"{found.subject}: {found.seen}"
                for check in report.checks
                for found in check.findings
                if found.status is Status.FAIL
            )
            if failing != told:
                progress(f"waiting, {report.counts[Status.FAIL]} checks fail: {failing}")
                told = failing
            changes.wait(min(_AGAIN, max(deadline - time.monotonic(), 0)), settle=_SETTLE)
            try:
                seen, cost = _again(asked, api, seen)
            except KubectlError as error:
                # An API server that is being replaced comes back.
                progress(f"waiting: {error}")
                away = error
                continue
            away = None
            changes.known(seen.live)
            report = _report(asked, seen, cost, started)
    if away is not None:
        raise away
    return report


def _report(asked: _Asked, seen: State, told: costs.Told, started: float) -> Report:
    kubectl = seen.expected.target.kubectl
    cluster = "the local cluster" if seen.expected.target.local else f"context {kubectl.context}"
    order = list(Stage)
    found = sorted(checks(seen, told), key=lambda check: order.index(check.stage))
    return Report(stack=asked.stack, cluster=cluster, seconds=time.monotonic() - started, checks=found)


def checks(seen: State, told: costs.Told) -> Iterator[Check]:
    """Every check; :class:`Stage` is their order."""
    for group in (
        namespaces.checks,
        objects.checks,
        capacity.checks,
        storage.checks,
        workloads.checks,
        autoscaling.checks,
        mesh.checks,
        layers.entrance,
        layers.layers,
    ):
        yield from group(seen)
    yield from costs.checks(seen, told)
