"""Tables for people: as text in a terminal's width, as Markdown, as a page of HTML. Every cell is foreign text."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from cloudmart.finops import terminal
from cloudmart.finops.markdown import quiet

_PLAIN_WIDTH = 200
_GAP = 2
_NARROWEST_NAME = 20


@dataclass(frozen=True)
class Column:
    """A heading. Numbers stand on the right. A narrow terminal loses the columns of the highest ``rank`` first."""

    name: str
    number: bool = True
    rank: int = 0


@dataclass(frozen=True)
class Table:
    """Rows of text under a title; ``total`` is a last row that stands out."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    total: Sequence[str] | None = None


@dataclass(frozen=True)
class Document:
    """A title, what is true of all of it, tables, and notes."""

    title: str
    lead: Sequence[str]
    tables: Sequence[Table]
    notes: Sequence[str] = ()


def print_text(document: Document, out: TextIO, width: int | None = None) -> None:
    """Print with colour and in the terminal's width where `out` is one, else plain and in `width` (200) columns."""
    console = terminal.console(out, width or _PLAIN_WIDTH)
    if width is not None:
        console.width = width
    console.print(Text(document.title, style="bold"), soft_wrap=True)
    for line in document.lead:
        console.print(Text(line, style="dim"), soft_wrap=True)
    for table in document.tables:
        console.print()
        console.print(Text(table.title, style="bold"), soft_wrap=True)
        console.print(_rich(table, console.width))
    if document.notes:
        console.print()
    for note in document.notes:
        console.print(Text(f"note: {note}", style="yellow"), soft_wrap=not console.is_terminal)


def print_table(table: Table, out: TextIO) -> None:
    """Print a table alone, ruled, with colour and in the terminal's width where `out` is one."""
    console = terminal.console(out, _PLAIN_WIDTH)
    console.print(_rich(table, console.width, ruled=True))


def as_text(document: Document) -> str:
    """The text without colours, for files and pipes."""
    buffer = io.StringIO()
    print_text(document, buffer)
    return buffer.getvalue()


def as_markdown(document: Document) -> str:
    """GitHub's Markdown."""
    lines = [f"## {quiet(document.title)}", "", *(f"{quiet(line)}  " for line in document.lead), ""]
    for table in document.tables:
        lines += [f"### {quiet(table.title)}", ""]
        lines.append("| " + " | ".join(quiet(column.name) for column in table.columns) + " |")
        lines.append("| " + " | ".join("---:" if column.number else "---" for column in table.columns) + " |")
        rows = [*table.rows, *([table.total] if table.total else [])]
        lines += ["| " + " | ".join(map(quiet, row)) + " |" for row in rows]
        lines.append("")
    lines += [f"- {quiet(note)}" for note in document.notes]
    return "\n".join(lines).rstrip() + "\n"


def as_html(document: Document) -> str:
    """One page without scripts and without anything from elsewhere."""
    parts = [_HEAD.replace("TITLE", html.escape(document.title)), f"<h1>{html.escape(document.title)}</h1>"]
    parts += [f"<p>{html.escape(line)}</p>" for line in document.lead]
    for table in document.tables:
        parts.append(f"<h2>{html.escape(table.title)}</h2><div><table><thead>")
        parts.append(_html_row("th", [column.name for column in table.columns], table.columns))
        parts.append("</thead><tbody>")
        parts += [_html_row("td", row, table.columns) for row in table.rows]
        parts.append("</tbody>")
        if table.total:
            parts.append(f"<tfoot>{_html_row('td', table.total, table.columns)}</tfoot>")
        parts.append("</table></div>")
    parts += [f"<p>Note: {html.escape(note)}</p>" for note in document.notes]
    return "\n".join([*parts, "</body></html>"]) + "\n"


def as_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Comma-separated values; a text that a spreadsheet would take for a formula is quoted for it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def money(amount: float | None) -> str:
    """Cents, and more digits below one unit of the currency."""
    if amount is None:
        return ""
    digits = 2 if abs(amount) >= 1 or amount == 0 else 4 if abs(amount) >= 0.01 else 5
    text = f"{amount:,.{digits}f}"
    return text.removeprefix("-") if not float(text.replace(",", "")) else text


def percent(ratio: float | None, *, sign: bool = False) -> str:
    """A ratio as a percentage; with its sign where it is a change."""
    if ratio is None:
        return ""
    if abs(ratio) >= 100:
        return f"{'+' if sign and ratio > 0 else ''}{ratio:,.0f}x"
    text = f"{ratio:+.0%}" if sign else f"{ratio:.0%}"
    return "0%" if text in ("+0%", "-0%") else text


def _rich(table: Table, width: int, *, ruled: bool = False) -> RichTable:
    # Rules come with a space on each side of a cell, and one between the columns.
    gap = _GAP + ruled
    rows = [*table.rows, *([table.total] if table.total else [])]
    keep = list(range(len(table.columns)))
    widths = [max([len(column.name), *(len(row[i]) for row in rows)]) for i, column in enumerate(table.columns)]
    # The first column can be cut short; the others must show whole or not at all.
    width -= 2 * ruled

    def left_for_names() -> int:
        return width - sum(widths[i] + gap for i in keep[1:])

    while len(keep) > 2 and left_for_names() < min(widths[0], _NARROWEST_NAME):
        keep.remove(max(keep[1:], key=lambda i: (table.columns[i].rank, i)))
    # Where there is no text to fold, all columns would give way, digits as well.
    most = max(left_for_names(), _NARROWEST_NAME) if all(table.columns[i].number for i in keep[1:]) else None
    result = RichTable(
        box=box.SIMPLE_HEAD if ruled else None,
        pad_edge=False,
        padding=(0, 1) if ruled else (0, _GAP, 0, 0),
        header_style="dim",
        show_footer=bool(table.total),
    )
    for i in keep:
        column = table.columns[i]
        result.add_column(
            Text(column.name),
            Text(table.total[i] if table.total else "", style="bold"),
            justify="right" if column.number else "left",
            no_wrap=i == 0 or column.number,
            overflow="ellipsis" if i == 0 or column.number else "fold",
            max_width=most if i == 0 else None,
        )
    for row in table.rows:
        result.add_row(*(Text(row[i]) for i in keep))
    return result


def _html_row(tag: str, cells: Sequence[str], columns: Sequence[Column]) -> str:
    return (
        "<tr>"
        + "".join(
            f"<{tag}{' class=n' if column.number else ''}>{html.escape(cell)}</{tag}>"
            for cell, column in zip(cells, columns, strict=True)
        )
        + "</tr>"
    )


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>TITLE</title>
<style>
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem auto;max-width:100rem;padding:0 1rem}
h1{font-size:1.4rem} h2{font-size:1.1rem;margin-top:2rem}
div{overflow-x:auto} table{border-collapse:collapse}
th,td{padding:.25rem .7rem;text-align:left;white-space:nowrap;border-bottom:1px solid #8884}
.n{text-align:right;font-variant-numeric:tabular-nums} tfoot td{font-weight:600}
</style></head><body>"""
