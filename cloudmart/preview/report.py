"""Reports of a preview: text for people, JSON for programs. What pull requests show is in ``cloudmart.report``."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from cloudmart.finops import terminal
from cloudmart.preview import delta_report, document, findings, schema
from cloudmart.preview.findings import Finding, Level
from cloudmart.preview.recorder import Recorded, Recording
from cloudmart.preview.run import PreviewResult

_PLAIN_WIDTH = 200


def as_json(result: PreviewResult) -> str:
    """See :mod:`cloudmart.preview.document`."""
    return json.dumps(document.as_data(result), indent=2) + "\n"


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
    found = findings.of(result)
    _print_violations(console, [one for one in found if one.rule != findings.SCHEMA])
    _print_schema(console, result, [one for one in found if one.rule == findings.SCHEMA])
    _print_cost(console, result)


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


def _print_violations(console: Console, found: Sequence[Finding]) -> None:
    mandatory = sum(one.level is Level.ERROR for one in found)
    console.print(Text(f"Policy: {len(found)} violations, {mandatory} of them mandatory", style="bold"))
    for one in found:
        level, style = ("mandatory", "bold red") if one.level is Level.ERROR else ("advisory", "yellow")
        console.print(Text.assemble("  ", (level, style), f"  {one.rule}  {one.subject}"), soft_wrap=True)
        console.print(Text(f"    {_one_line(one.message)}"), soft_wrap=not console.is_terminal)
        _print_place(console, one)
    console.print()


def _print_schema(console: Console, result: PreviewResult, found: Sequence[Finding]) -> None:
    title = f"Objects: {result.schema.checked} checked against Kubernetes {result.kubernetes_version}"
    console.print(Text(f"{title}, {len(found)} errors", style="bold"))
    for one in found:
        what = f"  {one.subject}  {_one_line(one.message)}"
        console.print(Text.assemble("  ", ("error", "bold red"), what), soft_wrap=True)
        _print_place(console, one)
    for line in schema.summary(result.schema):
        console.print(f"  {line}", soft_wrap=True)
    console.print()


def _print_place(console: Console, finding: Finding) -> None:
    if finding.place is not None:
        console.print(Text(f"    at {finding.place}", style="dim"), soft_wrap=True)


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


def _money(amount: Decimal) -> str:
    return f"{amount:,.2f}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
