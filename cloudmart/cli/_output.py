"""Where commands print and write."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import sys
import traceback as traceback_
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cloudmart.errors import UserError, printable

if TYPE_CHECKING:
    from cloudmart.finops.tables import Document


def say(line: str) -> None:
    """What goes on, beside the command's output."""
    click.echo(printable(line), err=True)


@contextlib.contextmanager
def traceback(wanted: bool) -> Iterator[None]:
    """Where a user error was caused by the program's own, print that one's traceback too."""
    try:
        yield
    except UserError as error:
        if wanted and error.__cause__ is not None:
            traceback_.print_exception(error.__cause__)
        raise


@contextlib.contextmanager
def interruptible(then: str) -> Iterator[None]:
    """What to do after an interruption that leaves something half done, told with it."""
    try:
        yield
    except KeyboardInterrupt as interrupted:
        interrupted.add_note(then)
        raise


def require_place(file: Path, option: str = "--out ") -> None:
    """Raises ``UserError`` where no file can be, and for what the project itself is read from, before the work that is
    to be written into it. `option` is how it was given, up to its name."""
    if os.path.isdir(file):  # noqa: PTH112 - that of `Path` raises for a name that is too long
        raise UserError(f"{option}{file}: found a folder; allowed: a file")
    if not os.path.isdir(file.parent):  # noqa: PTH112 - as above
        raise UserError(f"{option}{file}: found no folder {file.parent}; allowed: a file in a folder that exists")
    refuse_inputs(file, option)


def refuse_inputs(file: Path, option: str = "--out ") -> None:
    """Raises ``UserError`` for what is a project's own: its catalog, what Pulumi keeps of it, the policies'
    configuration."""
    place = Path(os.path.realpath(file))  # and no error for links in a circle
    configures = place.parent.parts[-2:] == ("policy", "config")
    root = place.parents[2] if configures else place.parent
    own = configures or place.name == "catalog.yaml" or fnmatch.fnmatchcase(place.name, "Pulumi*.yaml")
    if own and is_project(root):
        raise UserError(f"{option}{file}: found a file that the project itself is read from; allowed: any other")


def is_project(folder: Path) -> bool:
    """Whether a project of ours is read from the folder."""
    return all((folder / name).is_file() for name in ("catalog.yaml", "Pulumi.yaml"))


def write(file: Path, text: str, option: str = "--out ") -> None:
    try:
        with open(file, "w", encoding="utf-8", newline="\n", opener=_opened) as out:
            out.write(printable(text))
    except OSError as error:
        raise UserError(f"{option}{file}: cannot be written: {error.strerror}") from None


def _opened(file: str, flags: int) -> int:
    # A pipe that nobody reads from is an error, and not waited for.
    handle = os.open(file, flags | os.O_NONBLOCK, 0o666)
    os.set_blocking(handle, True)
    return handle


def print_or_write(text: str, out: Path | None, option: str = "--out ") -> None:
    if out is None:
        sys.stdout.write(printable(text))
    else:
        write(out, text, option)


def print_json(data: object) -> None:
    sys.stdout.write(json.dumps(data, indent=2) + "\n")


def print_tables(document: Document, others: Mapping[str, Callable[[], str]], format_: str, out: Path | None) -> None:
    """Tables as text, Markdown or HTML; `others` are the formats that are no tables."""
    from cloudmart.finops import tables

    if format_ == "text" and out is None:
        tables.print_text(document, sys.stdout)
        return
    makers = {"text": tables.as_text, "markdown": tables.as_markdown, "html": tables.as_html}
    print_or_write(others[format_]() if format_ in others else makers[format_](document), out)


def confirm(command: str, what: str, yes: str = "--yes") -> None:
    """Asks at the terminal, and ends the command where the answer is no. Raises ``UserError`` where there is none."""
    if not sys.stdin.isatty():
        raise UserError(f"{command}: found no terminal to ask at; allowed: {yes}, which says that you mean it")
    click.confirm(f"{what}?", abort=True, err=True)
