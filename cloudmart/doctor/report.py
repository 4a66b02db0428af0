"""An examination as text and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby

from cloudmart.doctor.check import Report
from cloudmart.verify.report import SIGNS, STYLES, tally


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
    yield "", ""
    yield tally(report), STYLES[report.status]


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
