"""What services used, for the right-sizing: from an Allocation API, by the hour or, where it knows none, the day."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from cloudmart.finops.actual import AGGREGATE, service_of
from cloudmart.finops.allocation.client import Client, Page, Query
from cloudmart.finops.allocation.windows import DAY, HOUR, Window
from cloudmart.finops.rightsize import GIB, Sample, Usage

#: Of a page's time that must have data: usage is averaged over all of it, with or without.
_COVERED = 0.9


def from_allocations(
    client: Client, window: Window, now: datetime, namespace: str, services: Collection[str]
) -> list[Usage]:
    """Average use of each service of a namespace, in the steps that the API knows. Raises ``UserError`` as it does.

    Averages hide what is shorter than a step: peaks are only as good as the API's own, which not every version has.
    """
    series: dict[str, list[Sample]] = {name: [] for name in services}
    for query in _queries(client, window, now, namespace):
        for page in client.pages(query):
            if page.covered < _COVERED * page.window.minutes:
                continue
            for name, tally in _tallies(page, query.fields).items():
                if name in series and tally.cpu_minutes:
                    series[name].append(tally.sample(page.window.minutes))
    source = f"{client.kind} averages"
    return [Usage(service=name, samples=tuple(samples), source=source) for name, samples in series.items()]


def _tallies(page: Page, fields: Sequence[str]) -> dict[str, _Tally]:
    found: dict[str, _Tally] = {}
    for one in page.allocations:
        if one.is_idle or one.is_unmounted or not one.minutes:
            continue
        tally = found.setdefault(service_of(dict(zip(fields, one.key, strict=True))), _Tally())
        memory = one.memory_usage_gib_hours or 0
        tally.minutes += one.minutes
        tally.memory += memory
        tally.peak_memory = max(tally.peak_memory, memory / (one.minutes / 60), one.memory_peak_gib or 0)
        tally.peak_cpu = max(tally.peak_cpu, one.cpu_peak_cores or 0)
        if one.whole and one.cpu_usage_core_hours is not None:
            tally.cpu += one.cpu_usage_core_hours
            tally.cpu_minutes += one.minutes
    return found


@dataclass
class _Tally:
    """Sums over the pods of a service in one step: minutes, core-hours, GiB-hours."""

    minutes: float = 0
    memory: float = 0
    #: Of pods that ran the whole step: of others the API's CPU usage is too low.
    cpu: float = 0
    cpu_minutes: float = 0
    peak_cpu: float = 0
    peak_memory: float = 0

    def sample(self, minutes: float) -> Sample:
        replicas = self.minutes / minutes
        return Sample(
            minutes=minutes,
            replicas=replicas,
            cpu=self.cpu / (self.cpu_minutes / 60) * replicas,
            memory=self.memory / (minutes / 60) * GIB,
            peak_cpu=self.peak_cpu,
            peak_memory=self.peak_memory * GIB,
        )


def _queries(client: Client, window: Window, now: datetime, namespace: str) -> Iterator[Query]:
    """By the hour; what is too old for hours by the day."""
    spans = [(window, HOUR)]
    if client.kind.grain(window.end - window.start) > HOUR:
        recent = Window.parse("48h", now, HOUR)
        # Whole days only; what lies between the last of them and the first hour is left out.
        border = recent.start - (recent.start - window.start) % DAY
        spans = [(Window(window.start, border), DAY)] if border > window.start else []
        spans.append((recent, HOUR))
    for span, step in spans:
        yield Query(window=span, aggregate=AGGREGATE, filters={"namespace": (namespace,)}, step=step)
