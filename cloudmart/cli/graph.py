"""``cloudmart graph``: who may call whom."""

from __future__ import annotations

from pathlib import Path

import click

from cloudmart.cli._options import OUT, ROOT, STACK, examples, formats
from cloudmart.cli._output import print_or_write


@click.command(epilog=examples("graph", "graph --stack prod --format svg --out edges.svg"))
@STACK
@ROOT
@formats("mermaid", "svg", "json")
@OUT
def graph(stack: str, root: Path, format_: str, out: Path | None) -> None:
    """Draw the table of edges of a stack: who may call whom, at which port."""
    from cloudmart.report import graph as drawn
    from cloudmart.settings import load

    make = {"mermaid": drawn.as_mermaid, "svg": drawn.as_svg, "json": drawn.as_json}[format_]
    print_or_write(make(load(stack, root)), out)
