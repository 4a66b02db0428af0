"""Reports of a preview: text for people, JSON for programs, Markdown for pull requests."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from cloudmart.finops import terminal
from cloudmart.finops.estimate import Range
from cloudmart.finops.markdown import contained
from cloudmart.preview import delta_report, schema
from cloudmart.preview.policy import Violation
from cloudmart.preview.recorder import Recorded, Recording
from cloudmart.preview.run import PreviewResult
from cloudmart.preview.schema import SchemaError

_PLAIN_WIDTH = 200


def as_json(result: PreviewResult) -> str:
    """One object: ``stack``, ``resources``, ``policy``, ``cost``, ``errors``, and ``delta`` where there is one.

    Money is in the price book's currency.
    """
    estimate = result.estimate
    data: dict[str, Any] = {
        "stack": result.recording.stack,
        "resources": [
            {
                "urn": recorded.urn,
                "type": recorded.type,
                "name": recorded.object_name or recorded.name,
                "apiVersion": recorded.api_version,
                "kind": recorded.kind,
                "namespace": recorded.namespace,
            }
            for recorded in result.recording.resources
        ],
        "policy": {"violations": [vars(violation) for violation in result.violations]},
        "cost": {
            "monthly": _json_money(estimate.monthly),
            "byCostCenter": {name: _json_money(amount) for name, amount in estimate.by_cost_center.items()},
            "byService": {name: _json_money(amount) for name, amount in estimate.by_service.items()},
            "currency": estimate.prices.currency,
            "budgets": delta_report.budgets_data(result.budgets),
            "notes": list(estimate.notes),
        },
        "errors": [vars(error) for error in result.errors],
    }
    if result.delta is not None:
        data["delta"] = delta_report.as_data(result.delta, result.budgets)
    return json.dumps(data, indent=2) + "\n"


def as_text(result: PreviewResult) -> str:
    """The text report without colours or lines, for files and pipes."""
    buffer = io.StringIO()
    print_text(result, buffer)
    return buffer.getvalue()


def print_text(result: PreviewResult, out: TextIO) -> None:
    """Print the text report; with colour, lines and the terminal's width only where ``out`` is a terminal."""
    console = terminal.console(out, _PLAIN_WIDTH)
    recording = result.recording
    if result.delta is not None:
        _print_delta(console, result)
    console.print(Text(_headline(result), style="bold"))
    console.print()
    if console.is_terminal:
        console.print(_tree(recording))
    else:
        for depth, label, what in _walk(recording):
            console.print(f"{'  ' * (depth + 1)}{label}  {what}".rstrip(), soft_wrap=True)
    console.print()
    _print_violations(console, result.violations)
    _print_schema(console, result)
    _print_cost(console, result)


def as_markdown(result: PreviewResult) -> str:
    """A summary for a pull request: cost, violations and errors; the resources are counted, not listed."""
    estimate = result.estimate
    money = f"{estimate.prices.currency} a month"
    verdict = "✅ no mandatory violation, no error" if result.exit_code == 0 else "❌ " + _counts(result)
    lines = [
        f"## Preview of stack `{_code(result.recording.stack)}`",
        "",
        f"{verdict}. {_headline(result)}.",
        "",
        *_markdown_delta(result),
        f"**{money}: {_money(estimate.monthly.expected)}**"
        f" (from {_money(estimate.monthly.min)} to {_money(estimate.monthly.max)}, {estimate.prices.name})",
        "",
        *_markdown_table("Cost center", estimate.by_cost_center),
        *_markdown_table("Service", estimate.by_service),
    ]
    if result.budgets and result.delta is None:
        lines += [f"- budget {contained(one.name)} {one.state}: {contained(one.sentence())}" for one in result.budgets]
        lines += [""]
    if result.violations:
        lines += ["### Policy violations", ""]
        lines += [
            f"- **{v.level}** `{_code(v.rule)}` on `{_code(_where(v.urn))}`: {contained(v.message)}"
            for v in result.violations
        ]
        lines += [""]
    if result.errors:
        lines += ["### Errors", ""]
        lines += [f"- `{_code(_where(e.urn))}` `{_code(e.path)}`: {contained(e.message)}" for e in result.errors]
        lines += [""]
    kinds = Counter(r.kind or r.type.rsplit(":", 1)[-1] for r in result.recording.resources if r.custom)
    lines += ["<details><summary>Resources and notes</summary>", ""]
    lines += [f"- {count} x {contained(kind)}" for kind, count in sorted(kinds.items())]
    lines += [f"- {contained(note)}" for note in (*schema.summary(result.schema), *estimate.notes)]
    lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def _markdown_delta(result: PreviewResult) -> list[str]:
    delta = result.delta
    if delta is None:
        return []
    first, second, *others = delta_report.summary(delta, result.budgets)
    changes, left = delta_report.shown(delta)
    lines = [
        f"### {contained(first)}",
        "",
        f"**{contained(second)}**",
        "",
        *(f"- {contained(line)}" for line in others),
        "",
    ]
    if changes:
        lines += ["| | Resource | a month | what |", "| --- | --- | ---: | --- |"]
    for change in changes:
        cost, what = delta_report.money(change.monthly), delta_report.touched(change)
        lines.append(f"| {change.op} | {contained(change.title)} | {cost} | {contained(what)} |")
    if left:
        lines.append(f"| | and {left} more | | |")
    return [*lines, ""]


def _print_delta(console: Console, result: PreviewResult) -> None:
    delta = result.delta
    if delta is None:
        return
    first, *others = delta_report.summary(delta, result.budgets)
    console.print(Text(first, style="bold"), soft_wrap=True)
    for line in others:
        console.print(f"  {line}", soft_wrap=True)
    console.print()
    if delta.changes:
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim", show_header=False)
        for justify in ("left", "left", "right", "left"):
            table.add_column(justify=justify, overflow="fold")
        for change, cost, what in delta_report.rows(delta):
            table.add_row(Text(f"  {change.op}"), Text(change.title), Text(cost), Text(what, style="dim"))
        console.print(table)
        console.print()


def _headline(result: PreviewResult) -> str:
    resources = result.recording.resources
    objects = sum(recorded.is_kubernetes_object for recorded in resources)
    return (
        f"{result.recording.project}/{result.recording.stack}: {len(resources)} resources, {objects} of them "
        f"Kubernetes objects for version {result.kubernetes_version}"
    )


def _counts(result: PreviewResult) -> str:
    return f"{len(result.mandatory)} mandatory violations, {len(result.errors)} errors"


def _walk(recording: Recording) -> Iterator[tuple[int, str, str]]:
    """Depth, name and kind of each resource, children after their parents."""
    children: dict[str, list[Recorded]] = {}
    urns = {recorded.urn for recorded in recording.resources}
    for recorded in recording.resources:
        children.setdefault(recorded.parent if recorded.parent in urns else "", []).append(recorded)

    def below(parent: str, depth: int) -> Iterator[tuple[int, str, str]]:
        for recorded in children.get(parent, ()):
            yield depth, recorded.object_name or recorded.name, recorded.kind or recorded.type
            yield from below(recorded.urn, depth + 1)

    return below("", 0)


def _tree(recording: Recording) -> Tree:
    root = Tree(Text(f"{recording.project}-{recording.stack}"))
    path = [root]
    for depth, label, what in _walk(recording):
        del path[depth + 1 :]
        path.append(path[depth].add(Text.assemble(label, "  ", (what, "dim"))))
    return root


def _print_violations(console: Console, violations: Sequence[Violation]) -> None:
    mandatory = sum(v.level == "mandatory" for v in violations)
    console.print(Text(f"Policy: {len(violations)} violations, {mandatory} of them mandatory", style="bold"))
    for violation in violations:
        style = "bold red" if violation.level == "mandatory" else "yellow"
        place = _where(violation.urn)
        console.print(Text.assemble("  ", (violation.level, style), f"  {violation.rule}  {place}"), soft_wrap=True)
        console.print(Text(f"    {_one_line(violation.message)}"), soft_wrap=not console.is_terminal)
    console.print()


def _print_schema(console: Console, result: PreviewResult) -> None:
    title = f"Objects: {result.schema.checked} checked against Kubernetes {result.kubernetes_version}"
    console.print(Text(f"{title}, {len(result.errors)} errors", style="bold"))
    for error in result.errors:
        _print_error(console, error)
    for line in schema.summary(result.schema):
        console.print(f"  {line}", soft_wrap=True)
    console.print()


def _print_error(console: Console, error: SchemaError) -> None:
    text = Text.assemble(
        "  ", ("error", "bold red"), f"  {_where(error.urn)}  {error.path}: {_one_line(error.message)}"
    )
    console.print(text, soft_wrap=True)


def _print_cost(console: Console, result: PreviewResult) -> None:
    estimate = result.estimate
    console.print(Text(f"Cost in {estimate.prices.currency} a month, {estimate.prices.name}", style="bold"))
    for heading, groups in (("service", estimate.by_service), ("cost center", estimate.by_cost_center)):
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim", show_footer=True)
        table.add_column(Text(f"  {heading}"), Text("  total"))
        for column in ("min", "expected", "max"):
            total = _money(getattr(estimate.monthly, column))
            table.add_column(column, Text(total), justify="right")
        for name, amount in groups.items():
            table.add_row(Text(f"  {name}"), *(_money(value) for value in (amount.min, amount.expected, amount.max)))
        console.print(table)
        console.print()
    for one in result.budgets if result.delta is None else ():
        console.print(f"  budget {one.name} {one.state}: {one.sentence()}", soft_wrap=True)
    for note in estimate.notes:
        console.print(Text(f"  note: {note}", style="dim"), soft_wrap=True)


def _markdown_table(heading: str, groups: Mapping[str, Range]) -> list[str]:
    return [
        f"| {heading} | min | expected | max |",
        "| --- | ---: | ---: | ---: |",
        *(f"| {contained(n)} | {_money(a.min)} | {_money(a.expected)} | {_money(a.max)} |" for n, a in groups.items()),
        "",
    ]


def _where(urn: str) -> str:
    """Type and name out of a URN: what a reader looks for."""
    parts = urn.split("::")
    return f"{parts[2].rsplit('$', 1)[-1].rsplit(':', 1)[-1]} {parts[3]}" if len(parts) == 4 else urn


def _money(amount: Decimal) -> str:
    return f"{amount:,.2f}"


def _json_money(amount: Range) -> dict[str, float]:
    """To a hundredth of a cent: what is left of rounding does not show in sums."""
    return {key: float(round(getattr(amount, key), 4)) for key in ("min", "expected", "max")}


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _code(text: str) -> str:
    return _one_line(text).replace("`", "'").replace("|", "/")
