"""What ran and what it cost, by service, namespace, pod, cost center or label: the report behind ``cloudmart cost``.

One pass over the answer, a page at a time: memory holds one page and one tally for each group. Costs are in the
currency that the Allocation API is configured for. "A month" is 730 hours at the rate of the time with data.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from cloudmart.errors import UserError, meant
from cloudmart.finops.allocation.answer import UNALLOCATED, UNMOUNTED, Allocation
from cloudmart.finops.allocation.client import Client, Query, sanitized
from cloudmart.finops.allocation.windows import Window
from cloudmart.finops.estimate import NONE
from cloudmart.finops.prices import HOURS_PER_MONTH

#: Asked for every report, so that each grouping below comes out of one pass.
AGGREGATE = (
    "namespace",
    "controller",
    "pod",
    "label:app",
    "label:app_kubernetes_io_name",
    "label:app_kubernetes_io_instance",
    "label:cost_center",
)
DIMENSIONS = ("service", "namespace", "pod", "controller", "cost-center")

#: A workload that uses less than this part of its request of CPU or memory is over-provisioned.
OVER_PROVISIONED_BELOW = 0.5
TOP = 10

Idle = Literal["separate", "share", "hide"]
#: Cost centers by namespace and service.
Payers = Mapping[tuple[str, str], str]
_MONTH = float(HOURS_PER_MONTH)


@dataclass(slots=True)
class Tally:
    """Sums over allocations."""

    count: int = 0
    cpu_cost: float = 0.0
    memory_cost: float = 0.0
    storage_cost: float = 0.0
    network_cost: float = 0.0
    load_balancer_cost: float = 0.0
    #: GPUs, and what the API itself shares out or takes from elsewhere.
    other_cost: float = 0.0
    minutes: float = 0.0
    cpu_core_hours: float = 0.0
    cpu_request: float = 0.0
    #: Of allocations whose CPU usage can be trusted (see ``Allocation.whole``): usage, request, minutes.
    cpu_usage_seen: float = 0.0
    cpu_request_seen: float = 0.0
    minutes_seen: float = 0.0
    memory_gib_hours: float = 0.0
    memory_request: float = 0.0
    memory_usage: float = 0.0
    storage_gib_hours: float = 0.0
    days: dict[str, float] = field(default_factory=dict)

    def add(self, one: Allocation) -> None:
        self.count += 1
        self.cpu_cost += one.cpu_cost
        self.memory_cost += one.memory_cost
        self.storage_cost += one.storage_cost
        self.network_cost += one.network_cost
        self.load_balancer_cost += one.load_balancer_cost
        self.other_cost += one.gpu_cost + one.shared_cost + one.external_cost
        self.cpu_core_hours += one.cpu_core_hours
        self.cpu_request += one.cpu_request_core_hours
        self.memory_gib_hours += one.memory_gib_hours
        self.memory_request += one.memory_request_gib_hours
        self.memory_usage += one.memory_usage_gib_hours or 0.0
        self.storage_gib_hours += one.storage_gib_hours
        if not one.is_unmounted:
            self.minutes += one.minutes
            if one.whole and one.cpu_usage_core_hours is not None:
                self.cpu_usage_seen += one.cpu_usage_core_hours
                self.cpu_request_seen += one.cpu_request_core_hours
                self.minutes_seen += one.minutes

    @property
    def cost(self) -> float:
        return (
            self.cpu_cost
            + self.memory_cost
            + self.storage_cost
            + self.network_cost
            + self.load_balancer_cost
            + self.other_cost
        )

    @property
    def cpu_usage(self) -> float | None:
        """Core-hours; of what cannot be trusted, as much for each minute as of the rest."""
        return self.cpu_usage_seen * self.minutes / self.minutes_seen if self.minutes_seen else None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One group. Costs are of the window; cores and GiB are averages over the time that there is data for."""

    name: str
    cost: float
    monthly: float
    cpu_cost: float
    memory_cost: float
    storage_cost: float
    network_cost: float
    load_balancer_cost: float
    other_cost: float
    #: Its part of idle capacity and of shared namespaces, where these are shared out. In ``cost``.
    idle_cost: float = 0.0
    shared_cost: float = 0.0
    #: Pods that ran, on average.
    pods: float
    cpu_request: float
    cpu_usage: float | None
    cpu_efficiency: float | None
    memory_request: float
    memory_usage: float
    memory_efficiency: float | None
    #: Of CPU and memory together, weighted by their costs.
    efficiency: float | None
    #: Requested and not used, a month.
    unused_monthly: float
    #: Against the window before, both by hour; None where that has no data.
    change: float | None = None
    #: Cost by day (UTC) of the window.
    days: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that ``cloudmart cost`` shows."""

    window: Window
    covered_minutes: float
    source: str
    by: str
    rows: Sequence[Row]
    total: Row
    #: Idle capacity of the nodes, as far as it is not shared out; None where it was not asked for.
    idle_cost: float | None
    namespaces: Sequence[Row]
    pods: Sequence[Row]
    over_provisioned: Sequence[Row]
    notes: Sequence[str]


def report(
    client: Client,
    window: Window,
    by: str,
    *,
    filters: Mapping[str, Sequence[str]] | None = None,
    idle: Idle = "separate",
    share: Sequence[str] = (),
    trend: bool = True,
    top: int = TOP,
    payers: Payers | None = None,
) -> Report:
    """Ask for a window and the one before (`trend`), and sum up.

    `idle` says what becomes of idle capacity, `share` names namespaces whose cost the others bear in proportion to
    theirs, `payers` who pays for what is declared. Raises :class:`UserError`.
    """
    key = grouping(by, payers)
    filters = filters or {}
    aggregate = (*AGGREGATE, by) if by.startswith("label:") else AGGREGATE
    if filters and idle == "share":
        raise UserError("idle: found share together with a filter; allowed: one of them, as idle is all groups'")
    if filters and share:
        raise UserError("share: found namespaces together with a filter; allowed: one of them, as all groups bear it")
    query = Query(window=window, aggregate=aggregate, filters=filters, idle=idle != "hide")
    idle_tally, shared = Tally(), Tally()
    groups: dict[str, Tally] = {}
    namespaces: dict[str, Tally] = {}
    pods: dict[str, Tally] = {}
    controllers: dict[str, Tally] = {}
    covered = 0.0
    fields = query.fields
    for page in client.pages(query):
        covered += page.covered
        day = page.window.start.date().isoformat()
        for one in page.allocations:
            if one.is_idle:
                idle_tally.add(one)
                continue
            values = dict(zip(fields, one.key, strict=True))
            namespace = values["namespace"]
            namespaces.setdefault(namespace, Tally()).add(one)
            if not one.is_unmounted:
                pods.setdefault(f"{namespace}/{values['pod']}", Tally()).add(one)
                controllers.setdefault(f"{namespace}/{values['controller']}", Tally()).add(one)
            if namespace in share:
                shared.add(one)
                continue
            group = groups.setdefault(key(values), Tally())
            group.add(one)
            group.days[day] = group.days.get(day, 0.0) + one.cost
    before, hours_before = _before(client, query, key, share) if trend and groups else ({}, 0.0)
    hours = covered / 60
    rows = [
        _changed(_row(name, tally, hours), tally.cost, hours, before.get(name), hours_before)
        for name, tally in groups.items()
    ]
    rows = _shared(rows, idle_tally if idle == "share" else Tally(), shared, hours)
    total = _total([*groups.values()], hours)
    total = _changed(total, total.cost, hours, sum(before.values()) if before else None, hours_before)
    total = replace(total, unused_monthly=sum(row.unused_monthly for row in rows))
    total = _with_shares(total, sum(row.idle_cost for row in rows), sum(row.shared_cost for row in rows), hours)
    over = [_row(name, tally, hours) for name, tally in controllers.items()]
    return Report(
        window=window,
        covered_minutes=covered,
        source=f"{client.kind} at {client.transport.where}",
        by=by,
        rows=_dearest(rows),
        total=total,
        idle_cost=None if filters or idle == "hide" else 0.0 if idle == "share" else idle_tally.cost,
        namespaces=_dearest(_row(name, tally, hours) for name, tally in namespaces.items()),
        pods=[_row(name, pods[name], hours) for name in heapq.nlargest(top, pods, key=lambda n: pods[n].cost)],
        over_provisioned=heapq.nlargest(top, filter(is_over_provisioned, over), key=lambda row: row.unused_monthly),
        notes=_notes(window, covered, groups, namespaces),
    )


def grouping(by: str, payers: Payers | None = None) -> Callable[[Mapping[str, str]], str]:
    """Names the group that an allocation belongs to, from the values of ``AGGREGATE``. Raises :class:`UserError`."""
    if by == "service":
        return service_of
    if by == "namespace":
        return lambda values: values["namespace"]
    if by in ("pod", "controller"):
        return lambda values: f"{values['namespace']}/{values[by]}"
    if by == "cost-center":
        return lambda values: cost_center_of(values, payers)
    if by.startswith("label:") and len(by) > len("label:"):
        return lambda values: _labelled(values[sanitized(by)], values)
    raise UserError(f"by: found {by!r}{meant(by, DIMENSIONS)}; allowed: {', '.join(DIMENSIONS)}, label:<name>")


def service_of(values: Mapping[str, str]) -> str:
    """The label ``app``, else ``app.kubernetes.io/name``, else the workload's name, else the pod's: as estimated."""
    if UNMOUNTED in values.values():
        return UNMOUNTED
    names = (values["label:app"], values["label:app_kubernetes_io_name"], values["controller"].rpartition(":")[2])
    return next((name for name in names if name and name != UNALLOCATED), values["pod"])


def cost_center_of(values: Mapping[str, str], payers: Payers | None = None) -> str:
    """What is declared, else the label ``cost-center`` of the pod or of its namespace.

    A declaration comes first because OpenCost (seen in late 2024) gives pods now their own and now their namespace's
    value of a label whose name it has to change, such as this one.
    """
    declared = (payers or {}).get((values["namespace"], service_of(values)))
    return declared or _labelled(values["label:cost_center"], values)


def is_over_provisioned(row: Row) -> bool:
    """Whether it uses less than half of what it requests, of CPU or of memory, and that costs something."""
    low = (part is not None and part < OVER_PROVISIONED_BELOW for part in (row.cpu_efficiency, row.memory_efficiency))
    return row.unused_monthly > 0 and any(low)


def _labelled(value: str, values: Mapping[str, str]) -> str:
    if UNMOUNTED in values.values():
        return UNMOUNTED
    return NONE if value in ("", UNALLOCATED) else value


def _before(
    client: Client, query: Query, key: Callable[[Mapping[str, str]], str], share: Sequence[str]
) -> tuple[dict[str, float], float]:
    """Costs by group in the window before, and its hours with data."""
    costs: dict[str, float] = {}
    covered = 0.0
    query = replace(query, window=query.window.before, idle=False)
    fields = query.fields
    for page in client.pages(query):
        covered += page.covered
        for one in page.allocations:
            values = dict(zip(fields, one.key, strict=True))
            if values["namespace"] not in share:
                costs[key(values)] = costs.get(key(values), 0.0) + one.cost
    return costs, covered / 60


def _row(name: str, tally: Tally, hours: float) -> Row:
    usage = tally.cpu_usage
    cpu = _ratio(tally.cpu_usage_seen, tally.cpu_request_seen)
    memory = _ratio(tally.memory_usage, tally.memory_request)
    unused_cpu = 0.0 if usage is None else max(tally.cpu_request - usage, 0.0)
    unused_memory = max(tally.memory_request - tally.memory_usage, 0.0)
    unused = unused_cpu * (_ratio(tally.cpu_cost, tally.cpu_core_hours) or 0.0)
    unused += unused_memory * (_ratio(tally.memory_cost, tally.memory_gib_hours) or 0.0)
    return Row(
        name=name,
        cost=tally.cost,
        monthly=_monthly(tally.cost, hours),
        cpu_cost=tally.cpu_cost,
        memory_cost=tally.memory_cost,
        storage_cost=tally.storage_cost,
        network_cost=tally.network_cost,
        load_balancer_cost=tally.load_balancer_cost,
        other_cost=tally.other_cost,
        pods=_ratio(tally.minutes / 60, hours) or 0.0,
        cpu_request=_ratio(tally.cpu_request, hours) or 0.0,
        cpu_usage=None if usage is None else _ratio(usage, hours),
        cpu_efficiency=cpu,
        memory_request=_ratio(tally.memory_request, hours) or 0.0,
        memory_usage=_ratio(tally.memory_usage, hours) or 0.0,
        memory_efficiency=memory,
        efficiency=_weighted(((cpu, tally.cpu_cost), (memory, tally.memory_cost))),
        unused_monthly=_monthly(unused, hours),
        days=dict(sorted(tally.days.items())),
    )


def _total(tallies: Sequence[Tally], hours: float) -> Row:
    total = Tally()
    for tally in tallies:
        for name in Tally.__slots__:
            if name == "days":
                for day, cost in tally.days.items():
                    total.days[day] = total.days.get(day, 0.0) + cost
            else:
                setattr(total, name, getattr(total, name) + getattr(tally, name))
    return _row("total", total, hours)


def _changed(row: Row, cost: float, hours: float, before: float | None, hours_before: float) -> Row:
    if not before or before < 0 or not hours or not hours_before:
        return row
    return replace(row, change=(cost / hours) / (before / hours_before) - 1)


def _shared(rows: Sequence[Row], idle: Tally, shared: Tally, hours: float) -> list[Row]:
    """Idle CPU by the cost of CPU, other idle capacity by that of memory, shared namespaces by all of the cost."""
    cpu, memory, cost = (sum(getattr(row, name) for row in rows) for name in ("cpu_cost", "memory_cost", "cost"))
    result = []
    for row in rows:
        by_cost = _ratio(row.cost, cost) or 0.0
        bears_idle = idle.cpu_cost * (row.cpu_cost / cpu if cpu > 0 else by_cost)
        bears_idle += (idle.cost - idle.cpu_cost) * (row.memory_cost / memory if memory > 0 else by_cost)
        result.append(_with_shares(row, bears_idle, shared.cost * by_cost, hours))
    return result


def _with_shares(row: Row, idle: float, shared: float, hours: float) -> Row:
    cost = row.cost + idle + shared
    return replace(row, cost=cost, monthly=_monthly(cost, hours), idle_cost=idle, shared_cost=shared)


def _notes(
    window: Window, covered: float, groups: Mapping[str, Tally], namespaces: Mapping[str, Tally]
) -> Sequence[str]:
    notes = []
    if not groups:
        notes.append(
            f"no allocations from {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC; after an "
            "installation the first data takes about 25 minutes"
        )
    elif covered < 0.95 * window.minutes:
        notes.append(
            f"data for {covered:,.0f} of {window.minutes:,.0f} minutes only; averages and months are of that time"
        )
    elif covered > 1.05 * window.minutes:
        notes.append(
            f"the answers are for {covered:,.0f} minutes, not for {window.minutes:,.0f}; averages are of those"
        )
    minutes = sum(tally.minutes for tally in groups.values())
    unseen = minutes - sum(tally.minutes_seen for tally in groups.values())
    if minutes and unseen > 0.01 * minutes:
        notes.append(
            f"CPU usage is not known for {unseen / minutes:.0%} of the pods' time, as these pods ran in part of a step "
            "only; it is taken to be as in the rest of the group"
        )
    if UNMOUNTED in namespaces:
        notes.append(f"{UNMOUNTED}: volumes and load balancers that no pod uses, or whose pod is not known yet")
    return notes


def _dearest(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (-row.cost, row.name))


def _monthly(cost: float, hours: float) -> float:
    return cost / hours * _MONTH if hours else 0.0


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _weighted(parts: Iterable[tuple[float | None, float]]) -> float | None:
    known = [(value, weight) for value, weight in parts if value is not None and weight > 0]
    whole = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / whole if whole > 0 else None
