"""One examination: everything is looked at at the same time, and what takes too long is said to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cloudmart.access.permissions import Needed, needed
from cloudmart.deploy.engine import NoCli, present_cli
from cloudmart.deploy.expected import Way
from cloudmart.doctor import machine
from cloudmart.doctor.check import Check, Report, Topic, failed, passed, skipped, warned
from cloudmart.doctor.cluster import Cluster
from cloudmart.errors import UserError
from cloudmart.preview.recorder import record
from cloudmart.settings import Settings, load, stack_file, stacks
from cloudmart.verify.check import count

#: Nobody waits longer for a doctor (seconds).
LIMIT = 4.5


@dataclass
class _Look:
    """Checks of one topic, made in a thread of their own, which nobody waits for at the end of the program."""

    topic: Topic
    checks: Callable[[], Iterator[Check]]
    found: list[Check] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for check in self.checks():
            self.found.append(check)

    def until(self, deadline: float) -> list[Check]:
        """What was found by then."""
        self._thread.join(max(deadline - time.monotonic(), 0))
        found = list(self.found)
        if self._thread.is_alive():
            seen = f"no answer within {LIMIT:.0f} s"
            found.append(warned(self.topic, "the rest", seen, "look whether something there is slow, and try again"))
        return found


def examine(stack: str, context: str | None, root: Path) -> Report:
    """Looks at the machine, at every stack's settings, and at one stack's cluster and charts.

    Downloads and changes nothing, and takes at most some 5 s. Raises ``UserError`` where there is no such stack.
    """
    started = time.monotonic()
    if stack not in stacks(root):
        load(stack, root)  # says which there are
    looks = [
        _Look(Topic.VERSIONS, lambda: machine.versions(root)),
        _Look(Topic.CLI, lambda: machine.cli(root)),
        _Look(Topic.FILES, lambda: machine.files(root)),
        _Look(Topic.LOCAL, lambda: machine.local(root)),
    ]
    settings, checks = _configuration(stack, root)
    if settings is None:
        name = "its cluster"
        why = f"{stack_file(stack)} does not load"
        checks += [skipped(topic, stack, why) for topic in (Topic.CLUSTER, Topic.CHARTS)]
    else:
        cluster = Cluster(settings=settings, context=context, root=root)
        name = cluster.name
        looks += [_Look(Topic.CLUSTER, cluster.answers), _Look(Topic.CHARTS, cluster.charts)]
        way = Way.APPLY_SET if isinstance(present_cli(root), NoCli) else Way.PULUMI
        # Here, and not in a thread: Pulumi's SDK has an event loop of its own.
        wanted, program = _program(settings, root, way)
        checks.append(program)
        if wanted is not None:
            looks.append(_Look(Topic.CLUSTER, lambda: cluster.permissions(wanted.permissions, way)))
    checks += [check for look in looks for check in look.until(started + LIMIT)]
    order = list(Topic)
    checks.sort(key=lambda check: order.index(check.topic))
    return Report(stack=stack, cluster=name, seconds=time.monotonic() - started, checks=checks)


def _configuration(stack: str, root: Path) -> tuple[Settings | None, list[Check]]:
    """The settings of a stack, where they load, and whether those of each do."""
    found, wanted = [], None
    for one in stacks(root):
        name = f"stack {one}"
        try:
            settings = load(one, root)
        except UserError as error:
            first, *more = str(error).splitlines()
            seen = f"{first} (and {count(len(more), 'problem')} more)" if more else first
            found.append(failed(Topic.CONFIGURATION, name, seen, f"mend it, then `cloudmart preview --stack {one}`"))
            continue
        wanted = settings if one == stack else wanted
        parts = [count(len(settings.services), "service"), count(len(settings.stores), "store")]
        seen = f"{', '.join(parts)}; layers: {', '.join(settings.layers) or 'none'}"
        found.append(passed(Topic.CONFIGURATION, name, seen))
    return wanted, found


def _program(settings: Settings, root: Path, way: Way) -> tuple[Needed | None, Check]:
    """What deploying the stack needs to be allowed, and whether its program runs."""
    name = f"program, stack {settings.stack}"
    try:
        recording = record(settings.stack, root)
    except UserError as error:
        mend = f"cloudmart preview --stack {settings.stack} --debug says where"
        return None, failed(Topic.CONFIGURATION, name, str(error), mend)
    seen = f"declares {count(len(recording.resources), 'resource')}"
    return needed(recording, settings, way), passed(Topic.CONFIGURATION, name, seen)
