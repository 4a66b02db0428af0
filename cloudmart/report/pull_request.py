"""A preview for a pull request: one comment, and the page behind it. Made of the cost report's own sections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from cloudmart.finops.delta import Op
from cloudmart.finops.tables import Column, Table
from cloudmart.preview import delta_report, findings, schema
from cloudmart.preview.findings import SCHEMA, SETTINGS, Finding, Level
from cloudmart.preview.render import to_yaml
from cloudmart.preview.run import PreviewResult
from cloudmart.report import sections, wiring
from cloudmart.report.gather import Report
from cloudmart.report.markdown import LIMIT, summary
from cloudmart.report.sections import Content, Fact, Section

MARKER = "<!-- cloudmart preview -->"
"""The first line of a comment: whoever posts a new one finds the old one by it, and replaces it."""

_LONGEST = 400
_LEVELS = {Level.ERROR: "❌ error", Level.WARNING: "⚠️ warning"}


def comment(content: Content, limit: int = LIMIT) -> str:
    """The content as Markdown of at most ``limit`` characters, under a hidden marker."""
    return f"{MARKER}\n{summary(content, limit - len(MARKER) - 1)}"


def content(result: PreviewResult, *, with_manifests: bool = False) -> Content:
    """What a reviewer asks, in that order: does it pass, what does it cost, what changes."""
    found = findings.of(result)
    if result.loaded is None:
        raise TypeError("only a preview of a project's files has content")
    report = Report(settings=result.loaded.settings, preview=result, shares={}, before=result.before)
    stack = result.recording.stack
    return Content(
        title=f"Preview of stack {stack}",
        lead=[delta_report.cost_sentence(result.delta) if result.delta else "No base was given to compare with."],
        facts=[_verdict(found), *(fact for fact in sections.facts(report) if fact.label != "Policy")],
        sections=[
            _found("problems", "Problems", found, schema.gap(result.schema)),
            *_costs(report),
            *_changes(report),
            _objects(result, with_manifests=with_manifests),
            Section(
                ident="notes",
                title="Notes",
                lead=[
                    *schema.summary(result.schema),
                    *(result.delta.notes if result.delta else ()),
                    *result.estimate.notes,
                ],
            ),
        ],
    )


def failed(stack: str, found: Sequence[Finding]) -> Content:
    """Why there is no preview."""
    return Content(
        title=f"Preview of stack {stack}",
        lead=["The files do not load, so nothing else could be looked at."],
        facts=[_verdict(found)],
        sections=[_found("problems", "Problems", found)],
    )


def _verdict(found: Sequence[Finding]) -> Fact:
    count = Counter(one.level for one in found)
    named = Counter(
        one.rule if one.rule in (SCHEMA, SETTINGS) else "policy" for one in found if one.level is Level.ERROR
    )
    what = {SETTINGS: "in the settings", SCHEMA: "in objects", "policy": "of the policy"}
    details = [f"{number} {what[rule]}" for rule, number in named.items()]
    if warnings := count[Level.WARNING]:
        details.append(f"{warnings} warning{'s' if warnings > 1 else ''}")
    stops = bool(count[Level.ERROR])
    return Fact("Result", "refused" if stops else "passes", ", ".join(details), "bad" if stops else "good")


def _found(ident: str, title: str, found: Sequence[Finding], gap: str = "") -> Section:
    """The findings. What could not be checked is said beside them: who reads no more takes it for checked."""
    unchecked = [f"{gap}."] if gap else []
    section = Section(ident=ident, title=title, lead=unchecked, is_open=True)
    if not found:
        fits = "every checked object fits its schema" if gap else "every object fits its schema"
        return replace(section, lead=[" ".join([f"None: no rule of the policy is broken, {fits}.", *unchecked])])
    columns = tuple(Column(name, number=False) for name in ("level", "rule", "where", "what"))
    rows = [(_LEVELS[one.level], one.rule, str(one.place or one.subject), _short(one.what)) for one in found]
    return replace(section, tables=[Table(title, columns, rows)])


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _costs(report: Report) -> list[Section]:
    delta = report.preview.delta
    if delta is None:
        return [sections.budgets(report), sections.by(report, "cost-center", "Cost centers")]
    tables, charts = sections.moved(delta, "cost-center", "Cost a month by cost center, expected")
    lead = [] if tables else ["No cost center pays more or less."]
    by_center = Section(
        ident="cost-center", title="Cost by cost center", lead=lead, tables=tables, charts=charts, is_open=True
    )
    tables, charts = sections.moved(delta, "service", "Cost a month by service, expected")
    lead = [] if tables else ["No service costs more or less."]
    by_service = Section(ident="service", title="Cost by service", lead=lead, tables=tables, charts=charts)
    return [by_center, sections.budgets(report), by_service]


def _changes(report: Report) -> list[Section]:
    delta = report.preview.delta
    if delta is None:
        return []
    found = []
    if report.before is not None:
        drawn = sections.wired(delta, wiring.compare(report.before, report.settings))
        found.append(replace(drawn, is_open=bool(drawn.diagram)))
    head = delta_report.summary(delta, ())[0]
    count = sum(change.op is not Op.SAME for change in delta.changes)
    title = f"Changed objects: {count}"
    return [*found, Section(ident="objects", title=title, lead=[head], tables=sections.resources(delta))]


def _objects(result: PreviewResult, *, with_manifests: bool) -> Section:
    """What the stack is made of; with manifests, those that change first. Secrets have none, as in ``render``."""
    kinds = Counter(r.kind or r.type.rsplit(":", 1)[-1] for r in result.recording.resources if r.custom)
    columns = (Column("kind", number=False), Column("number"))
    texts = []
    if with_manifests:
        changed = {change.urn for change in result.delta.changes} if result.delta else set()
        shown = [r for r in result.recording.resources if r.is_kubernetes_object and r.kind != "Secret"]
        for one in sorted(shown, key=lambda one: one.urn not in changed):
            name = f"{one.kind} {one.namespace + '/' if one.namespace else ''}{one.object_name or one.name}"
            texts.append((f"{name} (changed)" if one.urn in changed else name, to_yaml(one.inputs)))
    return Section(
        ident="manifests",
        title="Objects of the stack",
        tables=[Table("Objects by kind", columns, [(kind, str(number)) for kind, number in sorted(kinds.items())])],
        texts=texts,
    )
