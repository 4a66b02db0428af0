"""A verification as text, JSON, JUnit and Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from xml.etree import ElementTree

from cloudmart.finops.markdown import quiet
from cloudmart.verify.check import Check, Finding, Judged, Judgement, Report, Status, count

SIGNS = {Status.PASS: "ok  ", Status.WARN: "warn", Status.FAIL: "FAIL", Status.SKIPPED: "skip"}
STYLES = {Status.PASS: "green", Status.WARN: "yellow", Status.FAIL: "bold red", Status.SKIPPED: "dim"}
#: What XML 1.0 cannot hold at all, escaped or not.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def lines(report: Report) -> Iterator[tuple[str, str]]:
    """Text line by line, each with its style (of rich)."""
    yield f"stack {report.stack} on {report.cluster}", "bold"
    for stage, checks in groupby(report.checks, key=lambda check: check.stage):
        yield "", ""
        yield str(stage), "bold"
        for check in checks:
            yield f"  {SIGNS[check.status]}  {check.name}: {check.seen}", STYLES[check.status]
            for found in check.findings:
                yield f"        {found.subject}: {found.seen}", STYLES[found.status]
                yield f"          mend: {found.mend}", ""
    yield "", ""
    yield summary(report), STYLES[report.status]


def tally(report: Judgement[Judged]) -> str:
    """How many checks ended how, and in what time."""
    counts = report.counts
    words = {Status.FAIL: "failed", Status.WARN: "warned", Status.PASS: "passed", Status.SKIPPED: "skipped"}
    told = ", ".join(f"{counts[status]} {word}" for status, word in words.items())
    return f"{count(len(report.checks), 'check')}: {told} ({report.seconds:.1f} s)"


def summary(report: Report) -> str:
    """The same, and where to begin."""
    first = "; mend from the top: what comes first may be the cause of what follows" if report.exit_code else ""
    return tally(report) + first


def as_text(report: Report) -> str:
    """Without colours."""
    return "".join(f"{line}\n" for line, _ in lines(report))


def as_json(report: Report) -> str:
    """For programs; the checks stand in the order in which to mend them."""
    return json.dumps(
        {
            "stack": report.stack,
            "cluster": report.cluster,
            "status": report.status,
            "exitCode": report.exit_code,
            "seconds": round(report.seconds, 3),
            "counts": report.counts,
            "checks": [
                {
                    "stage": check.stage,
                    "name": check.name,
                    "status": check.status,
                    "seen": check.seen,
                    "findings": [
                        {"subject": one.subject, "status": one.status, "seen": one.seen, "mend": one.mend}
                        for one in check.findings
                    ],
                }
                for check in report.checks
            ],
        },
        indent=2,
        ensure_ascii=False,
    )


def as_junit(report: Report) -> str:
    """One suite a stage, one case a check. A warning passes, with what it says in ``system-out``."""
    root = ElementTree.Element("testsuites", name=f"cloudmart verify {report.stack}")
    _count(root, report.checks)
    root.set("time", f"{report.seconds:.3f}")
    for stage, grouped in groupby(report.checks, key=lambda check: check.stage):
        checks = list(grouped)
        suite = ElementTree.SubElement(root, "testsuite", name=str(stage))
        _count(suite, checks)
        suite.set("time", "0")
        for check in checks:
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"cloudmart.{report.stack}.{stage}", name=check.name, time="0"
            )
            told = _xml("\n".join(_told(found) for found in check.findings))
            if check.status is Status.SKIPPED:
                ElementTree.SubElement(case, "skipped", message=_xml(check.seen))
            elif check.status is Status.FAIL:
                failed = [found for found in check.findings if found.status is Status.FAIL]
                message = f"{failed[0].subject}: {failed[0].seen}" if len(failed) == 1 else f"{len(failed)} failures"
                ElementTree.SubElement(case, "failure", message=_xml(message), type=str(stage)).text = told
            else:
                ElementTree.SubElement(case, "system-out").text = _xml(check.seen) + (f"\n{told}" if told else "")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="UTF-8"?>\n', "\n")
    )


def as_markdown(report: Report) -> str:
    """GitHub's Markdown: what is not in order as a table, the rest folded away."""
    order = [status for status in (Status.FAIL, Status.WARN) if report.counts[status]]
    parts = [f"## Verification of {quiet(report.stack)} on {quiet(report.cluster)}", "", quiet(summary(report)), ""]
    if order:
        parts += ["| | check | what | seen | mend |", "| --- | --- | --- | --- | --- |"]
        parts += [
            f"| {found.status} | {quiet(f'{check.stage}: {check.name}')} | {quiet(found.subject)} "
            f"| {quiet(found.seen)} | {quiet(found.mend)} |"
            for check in report.checks
            for found in check.findings
        ]
        parts.append("")
    parts += ["<details><summary>Every check</summary>", "", "| | check | seen |", "| --- | --- | --- |"]
    parts += [
        f"| {check.status} | {quiet(f'{check.stage}: {check.name}')} | {quiet(check.seen)} |" for check in report.checks
    ]
    return "\n".join([*parts, "", "</details>"]) + "\n"


def _count(element: ElementTree.Element, checks: Sequence[Check]) -> None:
    element.set("tests", str(len(checks)))
    element.set("failures", str(sum(check.status is Status.FAIL for check in checks)))
    element.set("errors", "0")
    element.set("skipped", str(sum(check.status is Status.SKIPPED for check in checks)))


def _told(found: Finding) -> str:
    return f"{found.status}: {found.subject}: {found.seen}\n  mend: {found.mend}"


def _xml(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
