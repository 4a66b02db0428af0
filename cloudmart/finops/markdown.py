"""Foreign text in GitHub's Markdown, in three strengths; each does what the one before it does, and more."""

from __future__ import annotations

import re

_APART = "\N{ZERO WIDTH SPACE}"


def contained(text: str) -> str:
    """On one line, the text ends no table's cell, opens no tag or link, and stresses nothing."""
    return _escaped(" ".join(text.split()).replace("\\", "\\\\"), "|<>[]*_`")


def quiet(text: str) -> str:
    """It is also no entity, heading or picture, strikes nothing out, and mentions nobody."""
    return _escaped(contained(text).replace("&", "&amp;").replace("@", f"@{_APART}"), "#~!")


def literal(text: str) -> str:
    """It also opens no formula, and no bare address becomes a link: GitHub shows the text as it is."""
    return re.sub(
        r"(?i)(https?|ftp):|(www)\.", lambda found: found[0][:-1] + _APART + found[0][-1], _escaped(quiet(text), "$")
    )


def _escaped(text: str, characters: str) -> str:
    for character in characters:
        text = text.replace(character, f"\\{character}")
    return text
