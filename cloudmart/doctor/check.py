"""What the doctor says: one line a question, with what was seen and how to mend it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cloudmart.verify.check import Status, plain


class Topic(StrEnum):
    """What checks are about, in the order in which to mend."""

    VERSIONS = "versions"
    CLI = "Pulumi CLI"
    FILES = "files"
    CONFIGURATION = "configuration"
    LOCAL = "local cluster"
    CLUSTER = "the stack's cluster"
    CHARTS = "charts"


@dataclass(frozen=True)
class Check:
    """One question and its answer; `mend` is empty where there is nothing to do."""

    topic: Topic
    name: str
    status: Status
    seen: str
    mend: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole examination for one stack. `cluster` is the context that `up` would go to, or says that it is local."""

    stack: str
    cluster: str
    #: Seconds that it took.
    seconds: float
    checks: Sequence[Check]

    @property
    def counts(self) -> Mapping[Status, int]:
        """How many checks ended how."""
        return {status: sum(check.status is status for check in self.checks) for status in reversed(Status)}

    @property
    def exit_code(self) -> int:
        """1 where something fails; warnings are for people."""
        return int(self.counts[Status.FAIL] > 0)


def passed(topic: Topic, name: str, seen: str) -> Check:
    return Check(topic, name, Status.PASS, plain(seen))


def skipped(topic: Topic, name: str, why: str) -> Check:
    return Check(topic, name, Status.SKIPPED, plain(why))


def warned(topic: Topic, name: str, seen: str, mend: str) -> Check:
    """What works, or will be made to work, and is worth knowing."""
    return Check(topic, name, Status.WARN, plain(seen), plain(mend))


def failed(topic: Topic, name: str, seen: str, mend: str) -> Check:
    """What keeps `up` from working."""
    return Check(topic, name, Status.FAIL, plain(seen), plain(mend))
