"""The estimate beside what was billed for the same time, and why they differ.

The estimate of a month is scaled to the time that there is data for. Each difference is taken apart into causes that
add up to it, computed from the allocations and from the estimate's own factors, for each service of each namespace:

- replicas: (pods that ran, on average / pods expected - 1) x estimated CPU and memory
- requests: (hours requested - hours that so many pods would request as declared) x the estimate's price
- usage above request: (hours billed - hours requested) x the estimate's price
- prices: what was billed for CPU and memory - hours billed x the estimate's price
- storage, load balancers, network, other: billed - estimated
- not in the estimate, did not run: services that only one side knows
- idle: a service's part of idle capacity, only where it is shared out
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cloudmart.finops.actual import AGGREGATE, Tally, cost_center_of, service_of
from cloudmart.finops.allocation.client import Client, Query
from cloudmart.finops.allocation.windows import Window
from cloudmart.finops.estimate import Estimate, Line
from cloudmart.finops.prices import HOURS_PER_MONTH

Idle = Literal["separate", "share"]


@dataclass(frozen=True)
class Cause:
    """One reason for a difference: how much it adds to what was estimated, and the figures behind it."""

    name: str
    amount: float
    detail: str


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A service or cost center: estimate and bill of the window, in the same currency."""

    name: str
    min: float
    expected: float
    max: float
    actual: float
    #: Its part of idle capacity. In ``actual`` only where it is shared out.
    idle: float
    #: Largest first; but for what rounding explains they add up to ``actual - expected``.
    causes: Sequence[Cause]

    @property
    def difference(self) -> float:
        return self.actual - self.expected

    @property
    def error(self) -> float | None:
        """(actual - expected) / expected; None where nothing was expected."""
        return self.difference / self.expected if self.expected > 0 else None

    @property
    def within(self) -> bool:
        """Whether the bill lies in the estimate's range."""
        return self.min <= self.actual <= self.max


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Everything that ``cloudmart cost forecast`` shows."""

    window: Window
    covered_minutes: float
    source: str
    currency: str
    idle: Idle
    services: Sequence[Compared]
    cost_centers: Sequence[Compared]
    total: Compared
    #: Idle capacity of the cluster, and what ran in namespaces that the estimate does not know.
    cluster_idle: float
    elsewhere: float
    notes: Sequence[str]


@dataclass(frozen=True)
class _Cell:
    """The finest thing that both sides know."""

    cost_center: str
    namespace: str
    service: str


@dataclass
class _Side:
    """What the estimate says of a cell."""

    lines: list[Line] = field(default_factory=list)

    def cost(self, *items: str) -> float:
        return float(sum(line.monthly.expected for line in self.lines if line.item in items))

    def rest(self, *items: str) -> float:
        return float(sum(line.monthly.expected for line in self.lines if line.item not in items))

    def amount(self, item: str) -> float:
        """Cores, or GiB, of all expected pods."""
        return float(sum(line.quantity * line.count.expected for line in self.lines if line.item == item))

    @property
    def pods(self) -> float:
        """Expected pods: of each workload as many as its largest count, whatever is counted of it."""
        counts: dict[str, float] = {}
        for item in ("cpu", "memory"):
            found: dict[str, float] = {}
            for line in self.lines:
                if line.item == item:
                    found[line.urn] = found.get(line.urn, 0.0) + float(line.count.expected)
            counts |= {urn: max(count, counts.get(urn, 0.0)) for urn, count in found.items()}
        return sum(counts.values())


def compare(client: Client, window: Window, estimate: Estimate, *, idle: Idle = "separate") -> Forecast:
    """Ask for a window and set it beside the estimate. Raises :class:`UserError`."""
    sides: dict[_Cell, _Side] = {}
    releases: dict[tuple[str, str], str] = {}
    for line in estimate.lines:
        sides.setdefault(_Cell(line.cost_center, line.namespace, line.service), _Side()).lines.append(line)
        if line.kind == "Release":
            releases[line.namespace, line.name] = line.service
    namespaces = {cell.namespace for cell in sides}
    # Who pays for a declared service is declared: see `cost_center_of`.
    payers: dict[tuple[str, str], set[str]] = {}
    for cell in sides:
        payers.setdefault((cell.namespace, cell.service), set()).add(cell.cost_center)
    query = Query(window=window, aggregate=AGGREGATE, idle=True)
    tallies: dict[_Cell, Tally] = {}
    idle_tally, elsewhere = Tally(), Tally()
    covered = 0.0
    fields = query.fields
    for page in client.pages(query):
        covered += page.covered
        for one in page.allocations:
            if one.is_idle:
                idle_tally.add(one)
                continue
            values = dict(zip(fields, one.key, strict=True))
            if values["namespace"] not in namespaces:
                elsewhere.add(one)
                continue
            # The estimate knows a chart's pods by their release only.
            release = releases.get((values["namespace"], values["label:app_kubernetes_io_instance"]))
            service = release or service_of(values)
            declared = payers.get((values["namespace"], service), set())
            payer = next(iter(declared)) if len(declared) == 1 else cost_center_of(values)
            tallies.setdefault(_Cell(payer, values["namespace"], service), Tally()).add(one)
    hours = covered / 60
    idle_share = _idle_shares(tallies, elsewhere, idle_tally)
    cells = sorted({*sides, *tallies}, key=lambda cell: (cell.service, cell.namespace, cell.cost_center))

    def compared(name: str, chosen: Iterable[_Cell], by_service: bool) -> Compared:
        return _compared(name, list(chosen), sides, tallies, idle_share if covered else {}, hours, idle, by_service)

    services, centers = _groups(cells, "service"), _groups(cells, "cost_center")
    return Forecast(
        window=window,
        covered_minutes=covered,
        source=f"{client.kind} at {client.transport.where}",
        currency=estimate.prices.currency,
        idle=idle,
        services=_largest(compared(name, chosen, True) for name, chosen in services.items()),
        cost_centers=_largest(compared(name, chosen, False) for name, chosen in centers.items()),
        total=compared("total", cells, False),
        cluster_idle=idle_tally.cost,
        elsewhere=elsewhere.cost,
        notes=[*_notes(window, covered), *estimate.notes],
    )


def _groups(cells: Iterable[_Cell], field_name: str) -> dict[str, list[_Cell]]:
    groups: dict[str, list[_Cell]] = {}
    for cell in cells:
        groups.setdefault(getattr(cell, field_name), []).append(cell)
    return groups


def _compared(
    name: str,
    cells: Sequence[_Cell],
    sides: Mapping[_Cell, _Side],
    tallies: Mapping[_Cell, Tally],
    idle_share: Mapping[_Cell, float],
    hours: float,
    idle: Idle,
    by_service: bool,
) -> Compared:
    scale = hours / float(HOURS_PER_MONTH)
    lines = [line for cell in cells if cell in sides for line in sides[cell].lines]
    low, expected, high = (
        float(sum(getattr(line.monthly, bound) for line in lines)) * scale for bound in ("min", "expected", "max")
    )
    share = sum(idle_share.get(cell, 0.0) for cell in cells)
    actual = sum(tallies[cell].cost for cell in cells if cell in tallies)
    found: dict[str, list[Cause]] = {}
    for cell in cells:
        for cause in _causes(sides.get(cell), tallies.get(cell), hours):
            found.setdefault(cause.name, []).append(cause if by_service else _of(cell.service, cause))
    if idle == "share":
        actual += share
        found["idle"] = [Cause("idle", share, "its part of the capacity that nobody requested or used")]
    causes = [Cause(kind, sum(cause.amount for cause in group), _joined(group)) for kind, group in found.items()]
    # Each figure of an answer is rounded to five decimals; what is below that is no cause.
    floor = 1e-5 * max(expected, actual, sum(tallies[cell].count for cell in cells if cell in tallies))
    causes = sorted((cause for cause in causes if abs(cause.amount) > floor), key=lambda cause: -abs(cause.amount))
    return Compared(name=name, min=low, expected=expected, max=high, actual=actual, idle=share, causes=causes)


def _causes(side: _Side | None, tally: Tally | None, hours: float) -> Iterator[Cause]:
    scale = hours / float(HOURS_PER_MONTH)
    if side is None:
        cost = tally.cost if tally else 0.0
        yield Cause("not in the estimate", cost, "ran, but is not declared")
        return
    if tally is None or not hours:
        yield Cause("did not run", -scale * side.rest(), "declared, but no allocation has its labels")
        return
    pods, ran = side.pods, tally.minutes / 60 / hours
    if pods:
        amount = (ran / pods - 1) * scale * side.cost("cpu", "memory")
        yield Cause("replicas", amount, f"{ran:.2f} pods ran, {pods:g} expected")
    items = (
        ("cpu", "cores", tally.cpu_request, tally.cpu_core_hours, tally.cpu_cost),
        ("memory", "GiB", tally.memory_request, tally.memory_gib_hours, tally.memory_cost),
    )
    for item, unit, requested, billed, cost in items:
        declared = side.amount(item) * hours
        price = side.cost(item) * scale / declared if declared else 0.0
        if not declared:
            yield Cause("not in the estimate", cost, f"{item}: nothing is declared, {requested / hours:.3g} {unit} ran")
            continue
        as_declared = declared * ran / pods
        yield Cause(
            "requests",
            price * (requested - as_declared),
            f"{item}: {requested / hours:.3g} {unit} requested, {as_declared / hours:.3g} declared for as many pods",
        )
        yield Cause(
            "usage above request",
            price * (billed - requested),
            f"{item}: {billed / hours:.3g} {unit} billed, {requested / hours:.3g} requested",
        )
        yield Cause(
            "prices",
            cost - price * billed,
            f"{item}: {cost / billed if billed else 0:.4g} an hour billed, {price:.4g} estimated",
        )
    rest = (
        ("storage", tally.storage_cost, ("storage",)),
        ("load balancers", tally.load_balancer_cost, ("load balancer",)),
        ("network", tally.network_cost, ("network", "egress")),
    )
    for name, cost, known in rest:
        expected = side.cost(*known) * scale
        yield Cause(name, cost - expected, f"{cost:,.4f} billed, {expected:,.4f} estimated")
    expected = scale * side.rest("cpu", "memory", "storage", "load balancer", "network", "egress")
    yield Cause("other", tally.other_cost - expected, f"{tally.other_cost:,.4f} billed, {expected:,.4f} estimated")


def _idle_shares(tallies: Mapping[_Cell, Tally], elsewhere: Tally, idle: Tally) -> dict[_Cell, float]:
    """Idle CPU by the cost of CPU, other idle capacity by that of memory, over everything that ran in the cluster."""
    cpu = sum(tally.cpu_cost for tally in tallies.values()) + elsewhere.cpu_cost
    memory = sum(tally.memory_cost for tally in tallies.values()) + elsewhere.memory_cost
    return {
        cell: (idle.cpu_cost * tally.cpu_cost / cpu if cpu > 0 else 0.0)
        + ((idle.cost - idle.cpu_cost) * tally.memory_cost / memory if memory > 0 else 0.0)
        for cell, tally in tallies.items()
    }


def _notes(window: Window, covered: float) -> Sequence[str]:
    if not covered:
        return ["no allocations in this window; after an installation the first data takes about 25 minutes"]
    if covered < 0.95 * window.minutes:
        return [f"data for {covered:,.0f} of {window.minutes:,.0f} minutes; the estimate is scaled to those"]
    return []


def _of(service: str, cause: Cause) -> Cause:
    return Cause(cause.name, cause.amount, service)


def _joined(causes: Sequence[Cause]) -> str:
    """The details of the largest three; over several services these are their names."""
    largest = sorted(causes, key=lambda cause: -abs(cause.amount))
    details = list(dict.fromkeys(cause.detail for cause in largest if cause.amount))
    return "; ".join(details[:3]) + ("; …" if len(details) > 3 else "")


def _largest(rows: Iterable[Compared]) -> list[Compared]:
    return sorted(rows, key=lambda row: (-max(row.actual, row.expected), row.name))
