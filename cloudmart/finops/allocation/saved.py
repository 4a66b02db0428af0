"""An answer of an Allocation API that somebody saved to a file: for a report where no cluster can be asked."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import AwareDatetime, BaseModel, TypeAdapter, ValidationError

from cloudmart.errors import UserError
from cloudmart.finops.actual import AGGREGATE
from cloudmart.finops.allocation import answer
from cloudmart.finops.allocation.client import LARGEST_BODY, Answer, Client, Kind, Query
from cloudmart.finops.allocation.windows import DAY, HOUR, Window, stamp
from cloudmart.settings.source import contents, parse_json


class _Span(BaseModel):
    start: AwareDatetime
    end: AwareDatetime


class _Entry(BaseModel):
    window: _Span


_STEP = TypeAdapter(dict[str, _Entry])


class Saved:
    """A transport that gives, for the window that is asked for, those steps of the file that lie in it."""

    def __init__(self, file: Path) -> None:
        """Read and check the file. Raises :class:`UserError` naming it and what is wrong with it."""
        self.where = f"--allocation {file}"
        body = contents(file, self.where, LARGEST_BODY)
        try:
            fields = Query(window=Window(datetime.min, datetime.max), aggregate=AGGREGATE).fields
            # Reads all of it once, for its errors.
            list(answer.read(body, fields, Window(datetime.min, datetime.max)))
        except UserError as error:
            raise UserError(f"{self.where}: {error}; allowed: an answer aggregated by {','.join(fields)}") from None
        data = parse_json(body, self.where)
        self._steps = [self._step(index, step) for index, step in enumerate(data["data"]) if step]
        if not self._steps:
            raise UserError(f"{self.where}: found no allocations; allowed: at least one step that has some")
        self.window = Window(min(window.start for window, _ in self._steps), max(w.end for w, _ in self._steps))
        for window, _ in self._steps:
            # Long windows are worked through by the day (UTC).
            if self.window.end - self.window.start > DAY and _crosses_midnight(window):
                raise UserError(
                    f"{self.where}: found a step from {stamp(window.start)} to {stamp(window.end)}; allowed: steps "
                    "within one day (UTC), as step=1h or step=1d makes them"
                )

    def client(self) -> Client:
        """Asks the file as if it were an API."""
        hourly = all(window.end - window.start <= HOUR for window, _ in self._steps)
        # The kinds differ in how finely they know time.
        return Client(self, (Kind.OPENCOST if hourly else Kind.KUBECOST,))

    def get(self, path: str, timeout: float) -> Answer:  # noqa: ARG002 (of the protocol)
        """The steps within the window of the query, as one answer."""
        query = parse_qs(urlsplit(path).query)
        start, end = map(datetime.fromisoformat, query["window"][0].split(","))
        found = [step for window, step in self._steps if start <= window.start and window.end <= end]
        if query["aggregate"] == ["cluster"]:
            # Asked for when there is data at all, not for sums: any key without fields will do.
            found = [{key.replace("/", " "): entry for key, entry in step.items()} for step in found]
        return Answer(200, json.dumps({"code": 200, "data": found}))

    def _step(self, index: int, step: dict[str, Any]) -> tuple[Window, dict[str, Any]]:
        entries = {key: entry for key, entry in step.items() if entry is not None}
        try:
            spans = [entry.window for entry in _STEP.validate_python(entries).values()]
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            raise UserError(
                f"{self.where}: data.{index}: {fault['msg']} ({fault['loc'][-1]}); allowed: entries with the window of "
                "their step"
            ) from None
        if not spans:
            raise UserError(f"{self.where}: data.{index}: found only null; allowed: entries with a window")
        return Window(min(span.start for span in spans), max(span.end for span in spans)), step


def _crosses_midnight(window: Window) -> bool:
    last = window.end - timedelta(microseconds=1)
    return window.start.astimezone(UTC).date() != last.astimezone(UTC).date()
