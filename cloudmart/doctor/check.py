"""What the doctor says: one line a question, with what was seen and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from cloudmart.verify.check import Judgement, Status, harmless, plain


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


#: A whole examination for one stack; its cluster is the one that `up` would go to.
Report: TypeAlias = Judgement[Check]


def passed(topic: Topic, name: str, seen: str) -> Check:
    return Check(topic, name, Status.PASS, plain(seen))


def skipped(topic: Topic, name: str, why: str) -> Check:
    return Check(topic, name, Status.SKIPPED, plain(why))


def warned(topic: Topic, name: str, seen: str, mend: str) -> Check:
    """What works, or will be made to work, and is worth knowing."""
    return Check(topic, name, Status.WARN, plain(seen), harmless(mend))


def failed(topic: Topic, name: str, seen: str, mend: str) -> Check:
    """What keeps `up` from working."""
    return Check(topic, name, Status.FAIL, plain(seen), harmless(mend))
