"""Foreign text in Markdown: what each strength keeps it from doing."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmart.finops.markdown import contained, literal, quiet

STRENGTHS: dict[Callable[[str], str], str] = {contained: r"|<>[]*_`", quiet: r"|<>[]*_`#~!", literal: r"|<>[]*_`#~!$"}


@pytest.mark.parametrize("escape", STRENGTHS)
@given(st.text(st.sampled_from("|<>[]*_`#~!$\\ \n\tax&@:.") | st.characters(), max_size=30))
def test_no_special_character_stands_unescaped_and_no_line_ends(escape: Callable[[str], str], text: str) -> None:
    shown = escape(text)
    assert len(shown.splitlines()) <= 1
    assert not re.search(r"(?<!\\)(?:\\\\)*[" + re.escape(STRENGTHS[escape]) + "]", shown)


@pytest.mark.parametrize("escape", STRENGTHS)
@given(st.text(max_size=30))
def test_a_reader_sees_the_words_that_stood_there(escape: Callable[[str], str], text: str) -> None:
    # A backslash hides itself and an entity is shown as its character; `contained` leaves entities as they are.
    shown = re.sub(r"\\(.)", r"\1", escape(text))
    shown = shown if escape is contained else html.unescape(shown)
    assert shown.replace("\N{ZERO WIDTH SPACE}", "") == " ".join(text.split()).replace("\N{ZERO WIDTH SPACE}", "")


def test_a_mention_or_an_entity_survives_only_the_weakest() -> None:
    assert contained("@team &lt;") == "@team &lt;"
    assert quiet("@team &lt;") == "@\N{ZERO WIDTH SPACE}team &amp;lt;"


def test_an_address_survives_all_but_the_strongest() -> None:
    assert quiet("https://example.com www.example.com") == "https://example.com www.example.com"
    assert "https:/" not in literal("https://example.com")
    assert "www." not in literal("www.example.com")
