"""Foreign text in the report."""

from __future__ import annotations

import re

# Control characters, halves of surrogate pairs, and what turns the direction of the text around it.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """The text without what no file may hold or what would make it read as something else."""
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)
