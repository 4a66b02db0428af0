"""Windows: what people type becomes an explicit span of whole units that ends in the past."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmart.errors import UserError
from cloudmart.finops.allocation.windows import DAY, HOUR, MINUTE, Window

NOW = datetime(2026, 11, 23, 22, 45, 31, 500, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1h", "2026-11-23T21:44:00Z,2026-11-23T22:44:00Z"),
        ("7d", "2026-11-16T22:44:00Z,2026-11-23T22:44:00Z"),
        ("2w", "2026-11-09T22:44:00Z,2026-11-23T22:44:00Z"),
        ("today", "2026-11-23T00:00:00Z,2026-11-23T22:44:00Z"),
        ("yesterday", "2026-11-22T00:00:00Z,2026-11-23T00:00:00Z"),
        ("month", "2026-11-01T00:00:00Z,2026-11-23T22:44:00Z"),
        ("lastmonth", "2026-10-01T00:00:00Z,2026-11-01T00:00:00Z"),
        ("2026-11-01,2026-11-08", "2026-11-01T00:00:00Z,2026-11-08T00:00:00Z"),
        ("2026-11-01T10:00:59Z,2026-11-01T12:30:00+01:00", "2026-11-01T10:00:00Z,2026-11-01T11:30:00Z"),
        ("2026-11-20T00:00:00Z,2026-12-01T00:00:00Z", "2026-11-20T00:00:00Z,2026-11-23T22:44:00Z"),
    ],
)
def test_a_window_is_explicit_and_ends_in_the_past(text: str, expected: str) -> None:
    assert str(Window.parse(text, NOW)) == expected


def test_an_hour_is_sixty_minutes_and_not_the_current_clock_hour() -> None:
    window = Window.parse("1h", NOW)
    assert window.minutes == 60
    assert window.end < NOW - MINUTE


def test_an_api_that_knows_days_is_asked_for_whole_days_that_are_over() -> None:
    assert str(Window.parse("7d", NOW, DAY)) == "2026-11-16T00:00:00Z,2026-11-23T00:00:00Z"
    assert str(Window.parse("24h", NOW, HOUR)) == "2026-11-22T22:00:00Z,2026-11-23T22:00:00Z"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bogus", "found 'bogus'; allowed: a duration"),
        ("", "found ''"),
        ("0d", "found '0d'"),
        ("7days", "found '7days'"),
        ("2026-11-08,2026-11-01", "its start is not before its end"),
        ("2027-11-08,2027-11-09", "it lies in the future"),
        ("2026-11-01T00:00:00,2026-11-02T00:00:00Z", "has no time zone"),
        ("2026-13-01,2026-11-02", "'2026-13-01' is no time"),
        ("2026-11-23T10:00:01Z,2026-11-23T10:00:02Z", "too short here"),
        ("900d", "900 days; allowed: at most 400"),
        ("x" * 5000, "…"),
    ],
)
def test_a_bad_window_is_one_short_message(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Window.parse(text, NOW)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500


def test_pages_are_cut_at_midnights_and_cover_the_window_once() -> None:
    window = Window.parse("7d", NOW)
    pages = list(window.pages())
    assert len(pages) == 8
    assert pages[0].start == window.start
    assert pages[-1].end == window.end
    assert all(a.end == b.start and a.end.hour == a.end.minute == 0 for a, b in itertools.pairwise(pages))
    assert list(Window.parse("24h", NOW).pages()) == [Window.parse("24h", NOW)]


def test_the_window_before_is_as_long_and_ends_where_this_one_starts() -> None:
    window = Window.parse("2d", NOW)
    assert window.before.end == window.start
    assert window.before.minutes == window.minutes


@given(st.text(max_size=60))
def test_no_text_makes_a_traceback(text: str) -> None:
    try:
        window = Window.parse(text, NOW)
    except UserError:
        return
    assert window.start < window.end <= NOW


@given(
    st.datetimes(min_value=datetime(2026, 1, 1), max_value=datetime(2026, 11, 23), timezones=st.just(UTC)),
    st.integers(1, 30 * 24 * 60),
    st.sampled_from([MINUTE, HOUR, DAY]),
)
def test_any_pair_of_times_becomes_whole_units_and_pages_without_gaps(
    start: datetime, minutes: int, grain: timedelta
) -> None:
    text = f"{start.isoformat()},{(start + timedelta(minutes=minutes)).isoformat()}"
    try:
        window = Window.parse(text, NOW, grain)
    except UserError as error:
        assert "too short" in str(error)  # noqa: PT017 - nothing else may be wrong with it
        return
    pages = list(window.pages())
    assert sum(page.minutes for page in pages) == pytest.approx(window.minutes)
    assert all(page.end - page.start <= DAY for page in pages)
    assert (window.start - datetime(1970, 1, 1, tzinfo=UTC)) % grain == timedelta(0)
