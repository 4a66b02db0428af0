"""What the report says, as facts, tables and charts, before anybody decides how it looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from cloudmart.finops import cost_report
from cloudmart.finops.budget import State
from cloudmart.finops.delta import Delta
from cloudmart.finops.estimate import DIMENSIONS, Line, Range
from cloudmart.finops.overhead import RULES
from cloudmart.finops.prices import HOURS_PER_MONTH
from cloudmart.finops.tables import Column, Table, money, percent
from cloudmart.preview import delta_report, rightsizing
from cloudmart.report import wiring
from cloudmart.report.charts import Chart, Series
from cloudmart.report.gather import Report
from cloudmart.report.wiring import Wiring

#: Rows of a chart; the table below it has all.
TOP = 12
_LAST_RANK = 4
_RANGE = (Column("min"), Column("expected"), Column("max"))
_ITEMS = {"cpu": ("CPU", "a"), "memory": ("memory", "b"), "storage": ("storage", "c")}
_OTHER = ("other", "d")
_TONES = {State.WITHIN: "good", State.WARNING: "warn", State.OVER: "bad"}


@dataclass(frozen=True)
class Fact:
    """One figure of the summary. ``tone`` is good, warn, bad or nothing; ``value`` says the same in words."""

    label: str
    value: str
    detail: str = ""
    tone: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the report. Without data it has one line in ``lead`` that says so."""

    ident: str
    title: str
    lead: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    #: What is to be known of the tables.
    notes: Sequence[str] = ()
    #: Mermaid, which only a Markdown viewer draws.
    diagram: str = ""
    #: A unified diff.
    diff: str = ""
    #: Long texts by title, which only the page has, each folded.
    texts: Sequence[tuple[str, str]] = ()
    #: Whether a pull request shows it without being asked.
    is_open: bool = False


@dataclass(frozen=True, kw_only=True)
class Content:
    """The whole report."""

    title: str
    lead: Sequence[str]
    facts: Sequence[Fact]
    sections: Sequence[Section]


def content(report: Report) -> Content:
    """Everything that is to be shown; every section is there, whether it has data or not."""
    estimate = report.preview.estimate
    changed = wiring.compare(report.before, report.settings) if report.before else None
    return Content(
        title=f"Cost of stack {report.settings.stack}",
        lead=[f"{_money(report)} of {HOURS_PER_MONTH} hours, at {estimate.prices.name}"],
        facts=facts(report),
        sections=[
            budgets(report),
            _change(report, changed),
            by(report, "cost-center", "Cost centers"),
            by(report, "service", "Services"),
            _autoscaling(report),
            _actual(report),
            _forecast(report),
            _rightsizing(report),
            _assumptions(report),
        ],
    )


def facts(report: Report) -> list[Fact]:
    result = report.preview
    cost = result.estimate.monthly
    found = [Fact("Expected a month", _cents(cost.expected), f"from {_cents(cost.min)} to {_cents(cost.max)}")]
    if (delta := result.delta) is not None:
        more = delta.monthly.expected
        detail = delta_report.summary(delta, ())[0]
        found.append(Fact("Change a month", _signed(more), detail, "bad" if more > 0 else "good" if more < 0 else ""))
    if result.budgets:
        worst = max(result.budgets, key=lambda one: list(State).index(one.state))
        counted = [
            f"{count} {state}"
            for state in reversed(State)
            if (count := sum(one.state is state for one in result.budgets))
        ]
        highest = max(result.budgets, key=lambda one: one.percent)
        detail = f"{highest.title} stands at {highest.percent:.0f} %"
        found.append(Fact("Budgets", ", ".join(counted), detail, _TONES[worst.state]))
    if (ran := report.actual) is not None and ran.rows:
        detail = f"billed at this rate; {percent(ran.total.efficiency) or 'nothing known'} of requests used"
        found.append(Fact("Actual a month", money(ran.total.monthly), detail))
    if (proposal := report.proposal) is not None:
        changes = sum(one.proposed is not None for one in proposal.recommendations)
        known = sum(one.before is not None for one in proposal.recommendations)
        detail = f"a month, by changing {changes} of {known} services whose usage is known"
        found.append(Fact("Right-sizing saves", _cents(proposal.saving) if known else "not known", detail))
    stops = len(result.mandatory) + len(result.errors)
    detail = f"{len(result.mandatory)} mandatory violations, {len(result.errors)} errors in objects"
    found.append(Fact("Policy", "refused" if stops else "passes", detail, "bad" if stops else "good"))
    return found


def budgets(report: Report) -> Section:
    standings = report.preview.budgets
    section = Section(ident="budgets", title="Budgets", is_open=True)
    if not standings:
        return replace(section, lead=["No budget is configured for this stack (cloudmart:budgets)."])
    labels = ["whole stack" if "stack" in one.title else one.name for one in standings]
    percents = [float(one.percent) for one in standings]
    series = [
        Series(name, [value if one.state is state else None for one, value in zip(standings, percents, strict=True)], t)
        for state, name, t in (
            (State.WITHIN, "within", "good"),
            (State.WARNING, "warning", "warn"),
            (State.OVER, "over", "bad"),
        )
    ]
    columns = (
        Column("budget", number=False),
        Column("state", number=False),
        Column("estimated"),
        Column("budget"),
        Column("used"),
    )
    rows = [
        (one.title, str(one.state), _cents(one.amount), _cents(one.budget.monthly), f"{one.percent:.1f} %")
        for one in standings
    ]
    return replace(
        section,
        lead=[f"{one.title}: {one.sentence()}." for one in standings],
        charts=_charts(Chart("Part of each budget that is used", labels, series, "% of the budget"), limit=100),
        tables=[Table("Budgets", columns, rows)],
    )


def _change(report: Report, changed: Wiring | None) -> Section:
    section = Section(ident="change", title="What changes", is_open=True)
    delta = report.preview.delta
    if delta is None:
        return replace(section, lead=["No base was given to compare with (--base)."])
    lead = [*delta_report.summary(delta, ()), *report.notes]
    drawn = wired(delta, changed) if changed is not None else Section(ident="", title="")
    services, charts = moved(delta, "service", "Services that cost more or less, expected")
    return replace(
        section,
        lead=[*lead, *drawn.lead],
        charts=charts,
        tables=[*drawn.tables, *services, *resources(delta)],
        diagram=drawn.diagram,
    )


def wired(delta: Delta, changed: Wiring) -> Section:
    """What becomes of services, stores and edges, with a picture."""
    section = Section(ident="wiring", title="Services, stores and edges")
    rows = [(name, kind, str(mark)) for name, (kind, mark) in changed.changed_nodes.items()]
    rows += [(f"{a} → {b}", "edge", str(mark)) for (a, b), mark in changed.changed_edges.items()]
    if not rows:
        return replace(section, lead=["No service, store or edge is added, removed or changed."])
    heads = (Column("name", number=False), Column("what", number=False), Column("change", number=False))
    expected = {name: cost.expected for name, (_, _, cost) in _sides(delta, "service").items()}
    diagram, note = wiring.mermaid(changed, expected, delta.after.prices.currency)
    return replace(
        section,
        lead=[note] if note else [],
        tables=[Table("Services, stores and edges", heads, rows)],
        diagram=diagram,
    )


def _sides(delta: Delta, dimension: str) -> dict[str, tuple[Range, Range, Range]]:
    """What each service, or cost center, costs before and after, and the difference."""
    before, after = delta.before.by(dimension), delta.after.by(dimension)
    sides = {name: (before.get(name, Range()), after.get(name, Range())) for name in sorted({*before, *after})}
    return {name: (was, now, now - was) for name, (was, now) in sides.items()}


def moved(delta: Delta, dimension: str, title: str) -> tuple[list[Table], list[Chart]]:
    """Whose cost changes, the largest change first: nothing where nobody's does."""
    sides = {name: side for name, side in _sides(delta, dimension).items() if side[2] != Range()}
    names = sorted(sides, key=lambda name: (-abs(sides[name][2].expected), name))
    if not names:
        return [], []
    amounts = [float(sides[name][2].expected) for name in names]
    series = [
        Series("costs more", [max(amount, 0.0) for amount in amounts], "bad"),
        Series("costs less", [min(amount, 0.0) for amount in amounts], "good"),
    ]
    what = dimension.replace("-", " ")
    columns = (Column(what, number=False), Column("before"), Column("after"), Column("change"))
    rows = [
        (name, _cents(was.expected), _cents(now.expected), _signed(change.expected))
        for name in names
        for was, now, change in [sides[name]]
    ]
    chart = Chart(f"Change by {what}, expected", names, series, f"{delta.after.prices.currency} a month")
    return [Table(title, columns, rows)], _charts(chart)


def resources(delta: Delta) -> list[Table]:
    """Every resource that changes."""
    columns = (
        Column("resource", number=False),
        Column("change", number=False),
        Column("a month"),
        Column("what", number=False),
    )
    rows = [(change.title, str(change.op), cost, what) for change, cost, what in delta_report.rows(delta)]
    return [Table("Resources", columns, rows)] if rows else []


def by(report: Report, dimension: str, title: str) -> Section:
    estimate = report.preview.estimate
    section = Section(ident=dimension, title=title)
    groups = estimate.by(dimension)
    if not groups:
        return replace(section, lead=["Nothing in this stack costs anything by this price book."])
    names = _dearest(groups)
    centers = report.settings.cost_centers
    shown = {
        name: f"{name} {centers[name].name}" if dimension == "cost-center" and name in centers else name
        for name in names
    }
    tables = [
        Table(
            f"By {dimension.replace('-', ' ')}",
            (Column(dimension.replace("-", " "), number=False), *_RANGE),
            [(shown[name], *_cells(groups[name])) for name in names],
            ("total", *_cells(estimate.monthly)),
        )
    ]
    if dimension == "service" and report.shares:
        columns = (Column("service", number=False), Column("own"), Column("platform"), Column("together"))
        shares = report.shares
        rows = [
            (name, *(_cents(part.expected) for part in (shares[name].own, shares[name].platform, shares[name].total)))
            for name in _dearest({name: share.total for name, share in shares.items()})
        ]
        total = sum((share.total for share in shares.values()), Range())
        rule = RULES[report.settings.prices.sharing]
        tables.append(
            Table(
                f"With the platform, expected; shared {rule}", columns, rows, ("total", "", "", _cents(total.expected))
            )
        )
    chart = Chart(f"{title}, expected", names, _stacked(estimate.lines, DIMENSIONS[dimension], names), _money(report))
    return replace(section, charts=_charts(chart), tables=tables)


def _autoscaling(report: Report) -> Section:
    section = Section(ident="autoscaling", title="Range by autoscaling")
    costs: dict[str, Range] = {}
    pods: dict[str, dict[str, Range]] = {}
    for line in report.preview.estimate.lines:
        if line.scaler:
            costs[line.service] = costs.get(line.service, Range()) + line.monthly
            if line.item in ("cpu", "memory"):
                pods.setdefault(line.service, {})[line.urn] = line.count
    if not costs:
        return replace(section, lead=["No autoscaler decides on the cost of anything in this stack."])
    names = sorted(costs, key=lambda name: (-costs[name].max, name))
    counts = {name: sum(pods.get(name, {}).values(), Range()) for name in names}
    series = [
        Series("at the minimum", [float(costs[name].min) for name in names], "a"),
        Series("more as expected", [float(costs[name].expected - costs[name].min) for name in names], "b"),
        Series("more at the maximum", [float(costs[name].max - costs[name].expected) for name in names], "weak"),
    ]
    columns = (Column("service", number=False), Column("pods"), *_RANGE)
    rows = [(name, _count(counts[name]), *_cells(costs[name])) for name in names]
    total = sum(costs.values(), Range())
    return replace(
        section,
        lead=["Pods are minimum, expected, maximum; expected follows a known load, else the declared count."],
        charts=_charts(Chart("Cost at minimum, expected and maximum", names, series, _money(report))),
        tables=[Table("Scaled services", columns, rows, ("total", "", *_cells(total)))],
    )


def _actual(report: Report) -> Section:
    section = Section(ident="actual", title="What ran")
    ran = report.actual
    if ran is None:
        return replace(section, lead=["No source of allocations was given (--window, --context, --url, --allocation)."])
    document = cost_report.document(ran)
    lead = [*document.lead, *ran.notes]
    if not ran.rows:
        return replace(section, lead=lead)
    rows = list(ran.rows)
    efficiency = [
        Series("CPU", [_hundred(row.cpu_efficiency) for row in rows], "a"),
        Series("memory", [_hundred(row.memory_efficiency) for row in rows], "b"),
    ]
    charts = _charts(
        Chart("Used of what was requested", [r.name for r in rows], efficiency, "% of the request", stacked=False),
        limit=100,
    )
    if len(ran.total.days) > 1:
        days = list(ran.total.days)[-31:]
        cost = [Series("cost", [ran.total.days[day] for day in days], "a")]
        charts += _charts(Chart("Cost by day (UTC)", days, cost, ""), most=31)
    return replace(section, lead=lead, charts=charts, tables=[_fewer(table) for table in document.tables])


def _forecast(report: Report) -> Section:
    section = Section(ident="forecast", title="Forecast against actual")
    found = report.forecast
    if found is None:
        return replace(section, lead=["No source of allocations was given (--window, --context, --url, --allocation)."])
    document = cost_report.forecast_document(found)
    # What the estimate assumed stands in a section of its own.
    assumed = set(report.preview.estimate.notes)
    lead = [*document.lead, *(note for note in found.notes if note not in assumed)]
    rows = list(found.services)
    series = [
        Series("estimated", [row.expected for row in rows], "a"),
        Series("actual", [row.actual for row in rows], "b"),
    ]
    chart = Chart(
        "Estimated and actual", [row.name for row in rows], series, f"{found.currency} in the window", stacked=False
    )
    return replace(section, lead=lead, charts=_charts(chart), tables=document.tables)


def _rightsizing(report: Report) -> Section:
    section = Section(ident="rightsizing", title="Right-sizing")
    proposal = report.proposal
    if proposal is None:
        return replace(section, lead=["No usage was given (--usage, or a source of allocations)."])
    document = rightsizing.document(proposal)
    known = [found for found in proposal.recommendations if found.before is not None]
    series = [
        Series("now", [float(found.before.monthly) if found.before else None for found in known], "weak"),
        Series("recommended", [float(_after(found.after, found.before)) for found in known], "a"),
    ]
    names = [found.service for found in known]
    chart = Chart("Requests now and as recommended", names, series, _money(report), stacked=False)
    return replace(
        section,
        lead=document.lead,
        charts=_charts(chart),
        tables=document.tables,
        notes=document.notes,
        diff=proposal.diff,
    )


def _assumptions(report: Report) -> Section:
    notes = report.preview.estimate.notes
    return Section(ident="notes", title="Assumptions", lead=notes or ["Nothing had to be assumed."])


def _after(*outcomes: object) -> Decimal:
    return next((one.monthly for one in outcomes if one is not None), Decimal(0))  # type: ignore[attr-defined]


def _charts(chart: Chart, *, most: int = TOP, limit: float = 0) -> list[Chart]:
    """The chart, as much of it as can be looked at, or nothing where all bars are empty."""
    if not any(value for one in chart.series for value in one.values):
        return []
    title = chart.title if len(chart.labels) <= most else f"{chart.title}: the first {most} of {len(chart.labels)}"
    series = [replace(one, values=one.values[:most]) for one in chart.series]
    used = [one for one in series if any(one.values)]
    return [replace(chart, title=title, labels=chart.labels[:most], series=used, limit=limit)] if used else []


def _fewer(table: Table) -> Table:
    """Without the columns that a narrow terminal would lose first."""
    keep = [i for i, column in enumerate(table.columns) if column.rank <= _LAST_RANK]
    rows = [[row[i] for i in keep] for row in (*table.rows, *([table.total] if table.total else []))]
    return Table(
        table.title,
        [table.columns[i] for i in keep],
        rows[: len(table.rows)],
        rows[-1] if table.total else None,
    )


def _stacked(lines: Iterable[Line], key: Callable[[Line], str], names: Sequence[str]) -> list[Series]:
    sums: dict[str, dict[str, Decimal]] = {}
    for line in lines:
        item = sums.setdefault(_ITEMS.get(line.item, _OTHER)[0], {})
        item[key(line)] = item.get(key(line), Decimal(0)) + line.monthly.expected
    return [
        Series(name, [float(sums.get(name, {}).get(group, 0)) for group in names], tone)
        for name, tone in (*_ITEMS.values(), _OTHER)
    ]


def _dearest(groups: Mapping[str, Range]) -> list[str]:
    return sorted(groups, key=lambda name: (-groups[name].expected, name))


def _cells(cost: Range) -> tuple[str, ...]:
    return _cents(cost.min), _cents(cost.expected), _cents(cost.max)


def _cents(amount: Decimal) -> str:
    return f"{amount:,.2f}"


def _signed(amount: Decimal) -> str:
    return f"{amount:+,.2f}" if round(amount, 2) else "0.00"


def _count(count: Range) -> str:
    return " / ".join(f"{round(value, 1).normalize():f}" for value in (count.min, count.expected, count.max))


def _hundred(ratio: float | None) -> float | None:
    return None if ratio is None else ratio * 100


def _money(report: Report) -> str:
    return f"{report.preview.estimate.prices.currency} a month"
