"""Spans of time, as the Allocation API should be asked for them.

The API's own relative windows are traps: ``1h`` is the current clock hour, ``7d`` runs to the end of today. So every
window is turned into an explicit one, of whole units and in the past, before it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from cloudmart.errors import UserError

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

#: The longest window; what the largest bills are made for.
LONGEST = 400 * DAY
# The last scrape may not be there yet.
_SETTLE = MINUTE

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_ALLOWED = (
    "allowed: a duration such as 30m, 24h, 7d or 2w; today, yesterday, month, lastmonth; or two RFC 3339 times or "
    "dates with a comma between them, such as 2026-11-01,2026-11-08"
)


@dataclass(frozen=True, order=True)
class Window:
    """From ``start`` to ``end`` (exclusive), both in UTC and on whole minutes."""

    start: datetime
    end: datetime

    @classmethod
    def parse(cls, text: str, now: datetime, grain: timedelta = MINUTE) -> Self:
        """What somebody typed, as a window that ends before `now` and on a whole `grain`.

        A relative window is as long as it says, and ends at the last whole grain. Raises :class:`UserError`.
        """
        until = _floor(now - _SETTLE, grain)
        midnight = _floor(now, DAY)
        if found := re.fullmatch(r"([1-9][0-9]{0,5})([mhdw])", text):
            # A day is one of a calendar where the API only knows days.
            length = max(int(found[1]) * _UNITS[found[2]], grain)
            start, end = until - length, until
        elif text == "today":
            start, end = midnight, until
        elif text == "yesterday":
            start, end = midnight - DAY, midnight
        elif text == "month":
            start, end = midnight.replace(day=1), until
        elif text == "lastmonth":
            end = midnight.replace(day=1)
            start = (end - DAY).replace(day=1)
        elif text.count(",") == 1:
            first, second = (_time(part.strip(), text) for part in text.split(","))
            if first >= second:
                raise UserError(f"window {_shown(text)}: its start is not before its end")
            if first >= now:
                raise UserError(f"window {_shown(text)}: it lies in the future; allowed: a start before {stamp(until)}")
            start, end = _floor(first, grain), min(_floor(second, grain), until)
        else:
            raise UserError(f"window: found {_shown(text)}; {_ALLOWED}")
        if start >= end:
            # Today just after midnight, or seconds within one minute.
            raise UserError(
                f"window {_shown(text)}: too short here, where figures come by the {_name(grain)} and the last whole "
                f"one ended at {stamp(until)}"
            )
        if end - start > LONGEST:
            raise UserError(f"window {_shown(text)}: {(end - start).days} days; allowed: at most {LONGEST.days}")
        return cls(start, end)

    @property
    def minutes(self) -> float:
        """Length in minutes."""
        return (self.end - self.start) / MINUTE

    @property
    def hours(self) -> float:
        """Length in hours."""
        return (self.end - self.start) / HOUR

    @property
    def before(self) -> Self:
        """The window of the same length that ends where this one starts."""
        return type(self)(self.start - (self.end - self.start), self.start)

    def pages(self, step: timedelta = DAY) -> Iterator[Self]:
        """The window in pieces of at most `step`, cut at whole steps (UTC midnights); one piece if it is no longer."""
        if self.end - self.start <= step:
            yield self
            return
        start = self.start
        while start < self.end:
            end = min(_floor(start, step) + step, self.end)
            yield type(self)(start, end)
            start = end

    def __str__(self) -> str:
        return f"{stamp(self.start)},{stamp(self.end)}"


def stamp(time: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _floor(time: datetime, grain: timedelta) -> datetime:
    return time - (time - _EPOCH) % grain


def _time(text: str, whole: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            time = time.replace(tzinfo=UTC)
        if time.tzinfo is None:
            raise UserError(f"window {_shown(whole)}: {_shown(text)} has no time zone; allowed: one, such as Z")
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UserError(f"window {_shown(whole)}: {_shown(text)} is no time; {_ALLOWED}") from None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")


def _name(grain: timedelta) -> str:
    return {MINUTE: "minute", HOUR: "hour", DAY: "day"}.get(grain, str(grain))
