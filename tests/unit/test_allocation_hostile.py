"""Whatever an Allocation API answers, reading it ends in allocations that can be added up, or in one UserError."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudmart.errors import UserError
from cloudmart.finops.allocation import answer
from cloudmart.finops.allocation.windows import Window
from tests.unit.allocation_api import entry, recorded

SPAN = "2026-11-22T00:00:00Z,2026-11-23T00:00:00Z"
PAGE = Window(datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC))
FIELDS = sorted(entry(SPAN))

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
entries = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=10), anything, max_size=6)
numbers = st.floats() | st.integers(-(10**30), 10**30) | st.none()


def read(body: str | bytes) -> list[answer.Allocation] | None:
    """The allocations, or None where it is refused as it should be."""
    try:
        found: list[answer.Allocation] = list(answer.read(body, ("namespace",), PAGE))
    except UserError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert len(said) < 900
        assert said.isprintable()
        return None
    for one in found:
        for name in answer.Allocation.__slots__:
            value = getattr(one, name)
            assert not isinstance(value, float) or math.isfinite(value), name
        assert math.isfinite(one.cost)
        assert one.minutes >= 0
        assert all(part.isprintable() and len(part) <= 520 for part in one.key)
    return found


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_no_body_makes_a_traceback(body: bytes | str) -> None:
    read(body)
    assert answer.message(body)


@given(anything)
def test_no_json_makes_a_traceback(data: Any) -> None:
    read(json.dumps(data))


@pytest.mark.slow
@settings(max_examples=300)
@given(st.lists(st.dictionaries(st.text(max_size=12), entries | st.none(), max_size=3), max_size=3), anything)
def test_no_allocation_makes_a_traceback(steps: list[dict[str, Any]], code: Any) -> None:
    read(json.dumps({"code": code, "data": steps}))
    read(json.dumps({"code": 200, "data": steps}))


@given(st.dictionaries(st.sampled_from(FIELDS).filter(lambda name: name not in ("window", "start", "end")), numbers))
def test_figures_of_any_size_stay_finite(figures: dict[str, Any]) -> None:
    # json.dumps writes NaN and Infinity as such, which Go never does and some proxies do.
    assert read(json.dumps({"code": 200, "data": [{"shop": entry(SPAN) | figures}]})) is not None


@given(st.text(min_size=1, max_size=700).filter(lambda name: "/" not in name))
def test_names_of_any_kind_are_kept_short_and_printable(name: str) -> None:
    read(json.dumps({"code": 200, "data": [{name: entry(SPAN)}]}))


@given(st.sampled_from(["controller", "idle", "error-prom-down", "default-1h"]), st.data())
def test_a_recorded_answer_that_is_cut_or_damaged_is_refused(name: str, data: st.DataObject) -> None:
    body = recorded(name)
    cut = data.draw(st.integers(0, len(body) - 1))
    assert read(body[:cut]) is None
    at = data.draw(st.integers(0, len(body) - 1))
    read(body[:at] + data.draw(st.binary(min_size=1, max_size=4)) + body[at + 1 :])


@pytest.mark.parametrize(
    "body", ["[" * 100_000, '{"data":' * 50_000, '{"code":200,"data":[{"a":' + "[" * 9999, "{" * 9]
)
def test_deep_nesting_is_refused(body: str) -> None:
    assert read(body) is None


def test_a_message_of_megabytes_is_cut() -> None:
    assert len(answer.message(b"x" * 10_000_000)) < 400
    assert len(answer.message(json.dumps({"message": "y" * 10_000_000}))) < 400


def test_escape_sequences_in_names_reach_no_terminal() -> None:
    found = read(json.dumps({"code": 200, "data": [{"\x1b[2Jshop\u202e": entry(SPAN)}]}))
    assert found is not None
    assert found[0].key == ("\ufffd[2Jshop\ufffd",)
