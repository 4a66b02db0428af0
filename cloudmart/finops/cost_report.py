"""What ``cloudmart cost`` prints: the reports of ``actual`` and ``forecast`` as tables, JSON and CSV."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cloudmart.finops.actual import OVER_PROVISIONED_BELOW, Report, Row
from cloudmart.finops.allocation.windows import Window, stamp
from cloudmart.finops.forecast import Compared, Forecast
from cloudmart.finops.tables import Column, Document, Table, as_csv, money, percent

_SHARES = Column("idle + shared", rank=3)
_COLUMNS = (
    Column("cost"),
    Column("a month"),
    Column("trend", rank=1),
    Column("pods", rank=4),
    Column("CPU requested", rank=6),
    Column("used", rank=6),
    Column("CPU eff.", rank=2),
    Column("GiB requested", rank=6),
    Column("used", rank=6),
    Column("memory eff.", rank=2),
    Column("efficiency", rank=1),
    Column("storage", rank=5),
    Column("network", rank=7),
    Column("unused a month", rank=3),
)
_CSV = (
    "name",
    "cost",
    "monthly",
    "cpu_cost",
    "memory_cost",
    "storage_cost",
    "network_cost",
    "load_balancer_cost",
    "other_cost",
    "idle_cost",
    "shared_cost",
    "pods",
    "cpu_request",
    "cpu_usage",
    "cpu_efficiency",
    "memory_request",
    "memory_usage",
    "memory_efficiency",
    "efficiency",
    "unused_monthly",
    "change",
)


def document(report: Report) -> Document:
    """The cost report as tables."""
    lead = [
        _covered(report.window, report.covered_minutes),
        f"{report.source}; in the currency that it is configured for; a month is 730 hours at this rate",
    ]
    if report.idle_cost is not None and report.idle_cost > 0:
        whole = report.total.cost + report.idle_cost
        lead.append(f"idle capacity: {money(report.idle_cost)}, {percent(report.idle_cost / whole)} of the whole")
    tables = [_table(f"By {report.by}", report.by, report.rows, report.total)]
    if len(report.total.days) > 1:
        days = [(day, money(cost)) for day, cost in report.total.days.items()]
        tables.append(Table("By day (UTC)", (Column("day", number=False), Column("cost")), days))
    if report.by != "namespace" and report.namespaces:
        tables.append(_table("Namespaces side by side", "namespace", report.namespaces))
    if report.by != "pod" and report.pods:
        tables.append(_table("The most expensive pods", "pod", report.pods))
    if report.over_provisioned:
        limit = percent(OVER_PROVISIONED_BELOW)
        title = f"Over-provisioned: uses less than {limit} of what it requests of CPU or memory"
        tables.append(_table(title, "workload", report.over_provisioned))
    return Document(f"Cost by {report.by}", lead, [table for table in tables if table.rows], report.notes)


def as_json(report: Report) -> str:
    """The cost report as JSON; ``docs/costs.md`` has its keys."""
    data = {
        "window": _json_window(report.window, report.covered_minutes),
        "source": report.source,
        "by": report.by,
        "rows": [_json_row(row) for row in report.rows],
        "total": _json_row(report.total),
        "idleCost": _number(report.idle_cost),
        "namespaces": [_json_row(row) for row in report.namespaces],
        "pods": [_json_row(row) for row in report.pods],
        "overProvisioned": [_json_row(row) for row in report.over_provisioned],
        "notes": list(report.notes),
    }
    return json.dumps(data, indent=2) + "\n"


def csv_text(report: Report) -> str:
    """The rows of the cost report, one a line."""
    return as_csv(_CSV, ([row.name, *(_number(getattr(row, name)) for name in _CSV[1:])] for row in report.rows))


def forecast_document(forecast: Forecast) -> Document:
    """The forecast against actual as tables."""
    columns = (
        Column("estimated"),
        Column("from", rank=3),
        Column("to", rank=3),
        Column("actual"),
        Column("error"),
        Column("idle", rank=4),
        Column("why", number=False, rank=1),
    )

    def table(heading: str, rows: Sequence[Compared], total: Compared | None = None) -> Table:
        return Table(
            f"By {heading}",
            (Column(heading, number=False), *columns),
            [_compared(row) for row in rows],
            _compared(replace(total, causes=())) if total else None,
        )

    lead = [
        _covered(forecast.window, forecast.covered_minutes),
        f"{forecast.source}; the estimate, in {forecast.currency}, is for the same time",
        "error = (actual - estimated) / estimated",
        f"idle capacity of the cluster: {money(forecast.cluster_idle)}"
        + (", shared out below" if forecast.idle == "share" else ", not in the figures below")
        + f"; what ran in other namespaces: {money(forecast.elsewhere)}",
    ]
    tables = [
        table("cost center", forecast.cost_centers, forecast.total),
        table("service", forecast.services, forecast.total),
    ]
    details = [
        (row.name, cause.name, money(cause.amount), cause.detail) for row in forecast.services for cause in row.causes
    ]
    if details:
        heads = (Column("service", number=False), Column("cause", number=False), Column("adds"))
        tables.append(Table("Why", (*heads, Column("because", number=False)), details))
    return Document("Forecast against actual", lead, tables, forecast.notes)


def forecast_json(forecast: Forecast) -> str:
    """The forecast against actual as JSON; ``docs/costs.md`` has its keys."""
    data = {
        "window": _json_window(forecast.window, forecast.covered_minutes),
        "source": forecast.source,
        "currency": forecast.currency,
        "idle": forecast.idle,
        "clusterIdle": _number(forecast.cluster_idle),
        "elsewhere": _number(forecast.elsewhere),
        "total": _json_compared(forecast.total),
        "costCenters": [_json_compared(row) for row in forecast.cost_centers],
        "services": [_json_compared(row) for row in forecast.services],
        "notes": list(forecast.notes),
    }
    return json.dumps(data, indent=2) + "\n"


def forecast_csv(forecast: Forecast) -> str:
    """The services of the forecast, one a line."""
    header = ("service", "min", "expected", "max", "actual", "idle", "difference", "error")
    return as_csv(
        header,
        ([row.name, *(_number(getattr(row, name)) for name in header[1:])] for row in forecast.services),
    )


def _table(title: str, heading: str, rows: Sequence[Row], total: Row | None = None) -> Table:
    shares = any(row.idle_cost or row.shared_cost for row in rows)
    columns = [Column(heading, number=False), *_COLUMNS, *([_SHARES] if shares else [])]
    cells = [_cells(row, shares) for row in rows]
    last = _cells(total, shares) if total is not None and rows else None
    # Not every table has a trend.
    keep = [i for i in range(len(columns)) if any(row[i] for row in [*cells, *([last] if last else [])])]
    return Table(
        title,
        [columns[i] for i in keep],
        [[row[i] for i in keep] for row in cells],
        [last[i] for i in keep] if last else None,
    )


def _cells(row: Row, shares: bool) -> list[str]:
    cells = [
        row.name,
        money(row.cost),
        money(row.monthly),
        percent(row.change, sign=True),
        f"{row.pods:.1f}",
        f"{row.cpu_request:.3f}",
        "" if row.cpu_usage is None else f"{row.cpu_usage:.3f}",
        percent(row.cpu_efficiency),
        f"{row.memory_request:.3f}",
        f"{row.memory_usage:.3f}",
        percent(row.memory_efficiency),
        percent(row.efficiency),
        money(row.storage_cost),
        money(row.network_cost),
        money(row.unused_monthly),
    ]
    return [*cells, money(row.idle_cost + row.shared_cost)] if shares else cells


def _compared(row: Compared) -> list[str]:
    why = ", ".join(f"{cause.name} {'+' if cause.amount > 0 else ''}{money(cause.amount)}" for cause in row.causes[:3])
    return [
        row.name,
        money(row.expected),
        money(row.min),
        money(row.max),
        money(row.actual),
        percent(row.error, sign=True),
        money(row.idle),
        why,
    ]


def _covered(window: Window, minutes: float) -> str:
    unit, length = ("hours", 60) if window.hours >= 10 else ("minutes", 1)
    return (
        f"{window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC, "
        f"{minutes / length:,.0f} of {window.minutes / length:,.0f} {unit} with data"
    )


def _json_window(window: Window, covered: float) -> dict[str, Any]:
    return {
        "start": stamp(window.start),
        "end": stamp(window.end),
        "minutes": window.minutes,
        "coveredMinutes": _number(covered),
    }


def _json_row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "cost": _number(row.cost),
        "monthly": _number(row.monthly),
        "change": _number(row.change),
        "pods": _number(row.pods),
        "efficiency": _number(row.efficiency),
        "unusedMonthly": _number(row.unused_monthly),
        "cpu": {
            "cost": _number(row.cpu_cost),
            "request": _number(row.cpu_request),
            "usage": _number(row.cpu_usage),
            "efficiency": _number(row.cpu_efficiency),
        },
        "memory": {
            "cost": _number(row.memory_cost),
            "request": _number(row.memory_request),
            "usage": _number(row.memory_usage),
            "efficiency": _number(row.memory_efficiency),
        },
        "storageCost": _number(row.storage_cost),
        "networkCost": _number(row.network_cost),
        "loadBalancerCost": _number(row.load_balancer_cost),
        "otherCost": _number(row.other_cost),
        "idleCost": _number(row.idle_cost),
        "sharedCost": _number(row.shared_cost),
        "days": {day: _number(cost) for day, cost in row.days.items()},
    }


def _json_compared(row: Compared) -> dict[str, Any]:
    return {
        "name": row.name,
        "estimated": {"min": _number(row.min), "expected": _number(row.expected), "max": _number(row.max)},
        "actual": _number(row.actual),
        "idle": _number(row.idle),
        "difference": _number(row.difference),
        "error": _number(row.error),
        "withinRange": row.within,
        "causes": [{"name": c.name, "amount": _number(c.amount), "detail": c.detail} for c in row.causes],
    }


def _number(value: float | None) -> float | None:
    """The answers have five decimals; more would be noise."""
    return None if value is None else round(value, 6)
