"""Printing for people, the one way: colour where it is wanted, the terminal's width, and nothing but our own styles.

Colour is for terminals; ``FORCE_COLOR`` brings it to a pipe, such as a build's log, and ``NO_COLOR`` takes it away
everywhere. A terminal is as wide as it says, or as ``COLUMNS`` does. Files get neither colour nor that width.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Literal, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from cloudmart.errors import printable


def console(out: TextIO, plain_width: int) -> Console:
    """For `out`; where that is no terminal, in `plain_width` columns."""
    on_terminal = out.isatty()
    colours: Literal["auto", "standard"] | None = "auto" if on_terminal else None
    if os.environ.get("NO_COLOR"):
        colours = None
    elif os.environ.get("FORCE_COLOR") and out is sys.stdout:
        colours = "standard"
    return _Console(
        file=out,
        force_terminal=on_terminal,
        color_system=colours,
        width=None if on_terminal else plain_width,
        highlight=False,
        markup=False,
        emoji=False,
    )


def print_lines(lines: Iterable[tuple[str, str]], out: TextIO) -> None:
    """Lines of text, each with its style (of rich), as long as they are."""
    console_ = console(out, 80)
    for line, style in lines:
        console_.print(Text(line, style=style), soft_wrap=True)


class _Console(Console):
    # Rich lets escape sequences in a text pass.
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))
