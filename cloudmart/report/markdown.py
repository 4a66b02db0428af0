"""The report as Markdown for a pull request: the summary first, as much of the rest as a comment has room for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from cloudmart.errors import printable
from cloudmart.finops.markdown import literal
from cloudmart.finops.tables import Table
from cloudmart.report.sections import Content, Section

LIMIT = 65_536
"""GitHub's for a comment, in characters. Held here in bytes, of which there are never fewer."""

#: Rows of a table, and fewer where so many do not fit; the page has all of them.
ROWS = (40, 10, 3)
_CUT = "\n> This summary was cut to fit into a comment. Left out: {}. The page (`--format html`) has all of it.\n"
_ROOM = 1024
_MARKS = {"good": "🟢 ", "warn": "🟡 ", "bad": "🔴 "}
_LONGEST_DIFF = 12_000


def summary(content: Content, limit: int = LIMIT) -> str:
    """Everything of the content but its charts and long texts, in at most ``limit`` characters, if that is 4,096 or
    more."""
    text = "\n".join(_head(content))
    left_out: list[str] = []
    for section in content.sections:
        blocks = ("\n".join(_section(section, rows)) for rows in ROWS)
        room = limit - _ROOM - _size(text)
        block = next((block for block in blocks if not left_out and _size(block) <= room), None)
        if block is None:
            left_out.append(section.title.lower())
        else:
            text += block
    if left_out:
        text += _CUT.format(", ".join(left_out))
    return printable(text)


def _head(content: Content) -> Iterator[str]:
    yield f"## {literal(content.title)}"
    yield ""
    yield "| | | |"
    yield "| --- | ---: | --- |"
    for fact in content.facts:
        value = f"{_MARKS.get(fact.tone, '')}**{literal(fact.value)}**"
        yield f"| {literal(fact.label)} | {value} | {literal(fact.detail)} |"
    yield ""
    for line in content.lead:
        yield literal(line)
    yield ""


def _section(section: Section, rows: int) -> Iterator[str]:
    if not (section.tables or section.diagram or section.diff) and len(section.lead) == 1:
        yield f"\n**{literal(section.title)}:** {literal(section.lead[0])}\n"
        return
    folded = not section.is_open
    yield (
        f"\n<details><summary>{literal(section.title)}</summary>\n" if folded else f"\n### {literal(section.title)}\n"
    )
    yield from (f"- {literal(line)}" for line in section.lead)
    if section.diagram:
        yield f"\n```mermaid\n{section.diagram}\n```"
    for table in section.tables:
        yield ""
        yield from _table(table, rows, titled=len(section.tables) > 1)
    yield ""
    yield from (f"- {literal(line)}" for line in section.notes)
    if section.diff:
        yield from _diff(section.diff)
    yield "\n</details>\n" if folded else ""


def _table(table: Table, rows: int, *, titled: bool) -> Iterator[str]:
    if titled:
        yield f"**{literal(table.title)}**\n"
    yield _row([column.name for column in table.columns])
    yield _row(["---:" if column.number else "---" for column in table.columns], raw=True)
    for row in table.rows[:rows]:
        yield _row(row)
    if (more := len(table.rows) - rows) > 0:
        yield _row([f"and {more} more", *[""] * (len(table.columns) - 1)])
    if table.total:
        yield _row([f"**{literal(cell)}**" if cell else "" for cell in table.total], raw=True)


def _row(cells: Sequence[str], *, raw: bool = False) -> str:
    return "| " + " | ".join(cells if raw else map(literal, cells)) + " |"


def _diff(diff: str) -> Iterator[str]:
    """The diff between fences that nothing in it can close."""
    lines = diff.splitlines()
    kept: list[str] = []
    for line in lines:
        if _size("\n".join(kept)) + _size(line) > _LONGEST_DIFF:
            break
        kept.append(line)
    longest = max(map(len, re.findall("`+", "\n".join(kept))), default=0)
    fence = "`" * max(3, longest + 1)
    yield f"\n{fence}diff"
    yield from kept
    yield fence
    if more := len(lines) - len(kept):
        yield f"and {more} more lines"


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
