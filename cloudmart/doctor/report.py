"""An examination as text and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby

from cloudmart.doctor.check import Report
from cloudmart.verify.check import Status, count
from cloudmart.verify.report import SIGNS, STYLES


def lines(report: Report) -> Iterator[tuple[str, str]]:
    """Text line by line, each with its style (of rich)."""
    yield f"stack {report.stack} on {report.cluster}", "bold"
    for topic, checks in groupby(report.checks, key=lambda check: check.topic):
        yield "", ""
        yield str(topic), "bold"
        for check in checks:
            yield f"  {SIGNS[check.status]}  {check.name}: {check.seen}", STYLES[check.status]
            if check.mend:
                yield f"        mend: {check.mend}", ""
    counts = report.counts
    words = {Status.FAIL: "failed", Status.WARN: "warned", Status.PASS: "passed", Status.SKIPPED: "skipped"}
    told = ", ".join(f"{counts[status]} {word}" for status, word in words.items())
    yield "", ""
    yield f"{count(len(report.checks), 'check')}: {told} ({report.seconds:.1f} s)", STYLES[_worst(report)]


def as_text(report: Report) -> str:
    """Without colours."""
    return "".join(f"{line}\n" for line, _ in lines(report))


def as_json(report: Report) -> str:
    """For programs; the checks stand in the order in which to mend them."""
    data = {
        "stack": report.stack,
        "cluster": report.cluster,
        "exitCode": report.exit_code,
        "seconds": round(report.seconds, 3),
        "counts": report.counts,
        "checks": [
            {"topic": one.topic, "name": one.name, "status": one.status, "seen": one.seen, "mend": one.mend}
            for one in report.checks
        ],
    }
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _worst(report: Report) -> Status:
    return max((check.status for check in report.checks), key=list(Status).index, default=Status.SKIPPED)
