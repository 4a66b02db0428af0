"""A console that nothing but our own styles can steer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from cloudmart.errors import printable


def console(out: TextIO, plain_width: int) -> Console:
    """With colour and in the terminal's width where `out` is one, else plain and in `plain_width` columns."""
    found = _Console(file=out, highlight=False, markup=False, emoji=False)
    if found.is_terminal:
        return found
    return _Console(file=out, highlight=False, markup=False, emoji=False, width=plain_width, no_color=True)


class _Console(Console):
    # Rich lets escape sequences in a text pass.
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))
