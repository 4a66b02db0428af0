"""The one exception that people see as a message, never as a traceback, and foreign text on its way to them."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Control characters, halves of surrogate pairs, separators that some readers break lines at, and what turns the
# direction of the text around it.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")

_MOST_LINES, _LONGEST_LINE = 100, 1500


class UserError(Exception):
    """Something that the person at the keyboard can mend.

    The message is one line a problem and says what was found, where, and what is allowed. The command line prints it
    to stderr after ``error:`` and exits with ``exit_code`` (2 unless a subclass says otherwise).
    """

    exit_code = 2


def close_to(word: str, known: Iterable[str]) -> str:
    """The one of the `known` words that is most like a word; empty where none is."""
    import difflib  # only mistakes need it

    return next(iter(difflib.get_close_matches(word, list(known), n=1)), "")


def meant(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'web'?)``, to follow a word that is none of the `known` ones; empty where it is, or none is like
    it."""
    close = close_to(word, known)
    return f" (did you mean '{close}'?)" if close and close != word else ""


def printable(text: str) -> str:
    """The text without what no file may hold or what would make it read as something else."""
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)


def message(text: str) -> str:
    """A message that may quote anything: printable, and no longer than somebody reads."""
    lines = text.split("\n")
    more = len(lines) - _MOST_LINES
    shown = [line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + "…" for line in lines[:_MOST_LINES]]
    return printable("\n".join([*shown, f"and {more:,} more lines"] if more > 0 else shown))
