"""Foreign text in the report."""

from __future__ import annotations

import re

# Control characters, halves of surrogate pairs, and what turns the direction of the text around it.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """The text without what no file may hold or what would make it read as something else."""
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)


def markdown(text: str) -> str:
    """Text that GitHub shows as it is: it ends no cell, opens no tag, makes no link, mention, formula or picture."""
    escaped = " ".join(text.split()).replace("\\", "\\\\").replace("&", "&amp;").replace("@", "@\N{ZERO WIDTH SPACE}")
    for character in "|<>[]*_`#~!$":
        escaped = escaped.replace(character, f"\\{character}")
    # Bare addresses become links by themselves.
    return re.sub(r"(?i)(https?|ftp):|(www)\.", lambda m: m[0][:-1] + "\N{ZERO WIDTH SPACE}" + m[0][-1], escaped)
