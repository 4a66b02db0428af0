"""What a verification says: checks in the order in which to mend them, each with what was seen and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeAlias, TypeVar

_LONGEST = 400


class Status(StrEnum):
    """How a check ended; the later, the worse."""

    SKIPPED = "skipped"
    PASS = "pass"  # noqa: S105 (no password)
    WARN = "warn"
    FAIL = "fail"


class Stage(StrEnum):
    """What checks are about. Each needs those before it, so this is the order in which to mend."""

    API = "API server"
    NAMESPACES = "namespaces"
    OBJECTS = "objects"
    QUOTA = "quota"
    NODES = "nodes"
    CLAIMS = "claims"
    STORES = "stores"
    WORKLOADS = "workloads"
    AUTOSCALING = "autoscaling"
    DISRUPTION = "disruption budgets"
    MESH = "mesh"
    ENTRANCE = "entrance"
    LAYERS = "layers"
    DELIVERY = "delivery"
    COST = "cost"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be: what it is about, what was seen, how to mend it."""

    subject: str
    status: Status
    seen: str
    mend: str


@dataclass(frozen=True)
class Check:
    """One question and its answer. `seen` is a sum of what was looked at, or why nothing was."""

    stage: Stage
    name: str
    status: Status
    seen: str
    findings: tuple[Finding, ...] = ()


class Judged(Protocol):
    """What ended in some way."""

    @property
    def status(self) -> Status:
        """How."""
        ...


_Judged = TypeVar("_Judged", bound=Judged, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Judgement(Generic[_Judged]):
    """Checks of one stack. `cluster` is the context, or says that it is the local one."""

    stack: str
    cluster: str
    #: Seconds that it took.
    seconds: float
    checks: Sequence[_Judged]

    @property
    def status(self) -> Status:
        """Of the worst check; a stack of which nothing could be looked at has not passed."""
        return max((check.status for check in self.checks), key=list(Status).index, default=Status.SKIPPED)

    @property
    def counts(self) -> Mapping[Status, int]:
        """How many checks ended how."""
        return {status: sum(check.status is status for check in self.checks) for status in reversed(Status)}

    @property
    def exit_code(self) -> int:
        """1 where something fails; warnings are for people."""
        return int(self.status is Status.FAIL)


#: A whole verification.
Report: TypeAlias = Judgement[Check]


def finding(subject: str, seen: str, mend: str, status: Status = Status.FAIL) -> Finding:
    """A finding, with what comes from the cluster made harmless."""
    return Finding(plain(subject), status, plain(seen), harmless(mend))


def judged(stage: Stage, name: str, seen: str, findings: Iterable[Finding]) -> Check:
    """A check that is as bad as its worst finding, and passes without one; the worst first."""
    order = list(Status)
    found = sorted(findings, key=lambda one: -order.index(one.status))
    return Check(stage, name, found[0].status if found else Status.PASS, plain(seen), tuple(found))


def skipped(stage: Stage, name: str, why: str) -> Check:
    """A check that could not be made."""
    return Check(stage, name, Status.SKIPPED, plain(why))


def harmless(text: str) -> str:
    """On one line, and without what could steer a terminal: messages come from the cluster's users."""
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
    return line


def plain(text: str) -> str:
    """The same and not too long: for what is read. What is to be typed has to be whole."""
    line = harmless(text)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def count(number: int, noun: str) -> str:
    """``1 pod``, ``2 pods``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
