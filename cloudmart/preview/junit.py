"""Findings as JUnit XML, for the test reports of GitHub, GitLab and Jenkins: a case a rule, red where it stops."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from cloudmart.errors import printable
from cloudmart.preview import schema
from cloudmart.preview.findings import SCHEMA, SETTINGS, Finding, Level, rules
from cloudmart.preview.schema import SchemaResult

_SUITES = {SETTINGS: "settings", SCHEMA: "objects"}


def as_junit(stack: str, found: Sequence[Finding], checked: SchemaResult | None) -> str:
    """One suite each for the settings, the objects and the policies.

    A rule with mandatory findings has failed, with all of them in its text; advisory ones are its output. Where the
    files did not load (``checked`` is ``None``), nothing else was tried: the rules are skipped. So is a case of its own
    for the objects that have no schema, where there are any: the rule itself holds for the others.
    """
    root = ElementTree.Element("testsuites", name=f"cloudmart preview, stack {stack}")
    suites: dict[str, list[ElementTree.Element]] = {}
    for name, rule in rules().items():
        own = [finding for finding in found if finding.rule == name]
        case = ElementTree.Element("testcase", classname=f"{stack}.{rule.topic}", name=name)
        place = next((finding.place for finding in own if finding.place), None)
        if place is not None:
            case.set("file", place.file)
            if place.line is not None:
                case.set("line", str(place.line))
        stopping = [finding for finding in own if finding.level is Level.ERROR]
        if stopping:
            first = f"{len(stopping)} x {rule.title}" if len(stopping) > 1 else rule.title
            failure = ElementTree.SubElement(case, "failure", type=name, message=printable(first))
            failure.text = _lines(stopping)
        elif checked is None and name != SETTINGS:
            ElementTree.SubElement(case, "skipped", message="the files do not load")
        if advice := [finding for finding in own if finding.level is Level.WARNING]:
            ElementTree.SubElement(case, "system-out").text = _lines(advice)
        suites.setdefault(_SUITES.get(name, "policy"), []).append(case)
        if name == SCHEMA and checked is not None and (gap := schema.gap(checked)):
            suites[_SUITES[name]].append(_unchecked(case, gap, schema.summary(checked)))
    for suite_name, cases in suites.items():
        suite = ElementTree.SubElement(root, "testsuite", {"name": f"{stack}: {suite_name}", **_counts(cases)})
        suite.extend(cases)
    for key, value in _counts(list(root.iter("testcase"))).items():
        root.set(key, value)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _unchecked(rule: ElementTree.Element, gap: str, lines: Sequence[str]) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=rule.get("classname", ""), name=f"{SCHEMA}-unchecked")
    ElementTree.SubElement(case, "skipped", message=gap)
    ElementTree.SubElement(case, "system-out").text = printable("\n".join(lines))
    return case


def _counts(cases: Sequence[ElementTree.Element]) -> dict[str, str]:
    return {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
    }


def _lines(found: Sequence[Finding]) -> str:
    return printable("\n".join(f"{one.place}: {one.what}" if one.place else one.message for one in found))
