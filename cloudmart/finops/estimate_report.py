"""What ``cloudmart cost estimate`` and ``cloudmart prices show`` print: tables, JSON, and a sum factor by factor."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from cloudmart.errors import UserError, meant
from cloudmart.finops.estimate import DIMENSIONS, Estimate, Line, Range
from cloudmart.finops.overhead import RULES, Share
from cloudmart.finops.prices import HOURS_PER_MONTH, PriceBook, as_data
from cloudmart.finops.tables import Column, Document, Table
from cloudmart.settings.prices import Sharing

_AMOUNTS = (Column("min"), Column("expected"), Column("max"))


def amount(value: Decimal) -> str:
    """Money to the cent."""
    return f"{value:,.2f}"


def json_range(value: Range) -> dict[str, float]:
    """To a hundredth of a cent: what is left of rounding does not show in sums."""
    return {key: float(round(getattr(value, key), 4)) for key in ("min", "expected", "max")}


def document(
    estimate: Estimate, stack: str, by: str, shares: Mapping[str, Share] | None = None, sharing: Sharing | None = None
) -> Document:
    """The estimate by one dimension; with ``shares``, also with the platform's cost shared out."""
    tables = [
        Table(
            f"By {by}",
            (Column(by, number=False), *_AMOUNTS),
            [(name, *_cells(cost)) for name, cost in estimate.by(by).items()],
            ("total", *_cells(estimate.monthly)),
        )
    ]
    if shares and sharing:
        columns = (Column("service", number=False), Column("own"), Column("platform"), Column("together"))
        rows = [(n, *(amount(r.expected) for r in (s.own, s.platform, s.total))) for n, s in shares.items()]
        total = sum((share.total for share in shares.values()), Range())
        title = f"With the platform, expected; shared {RULES[sharing]}"
        tables.append(Table(title, columns, rows, ("total", "", "", amount(total.expected))))
    lead = [f"{estimate.prices.currency} a month of {HOURS_PER_MONTH} hours, at {estimate.prices.name}"]
    return Document(f"Estimate of stack {stack}", lead, tables, estimate.notes)


def as_json(estimate: Estimate, stack: str, shares: Mapping[str, Share], sharing: Sharing) -> str:
    """One object: sums by every dimension, with the platform shared out, each line with its factors."""
    data = {
        "stack": stack,
        "currency": estimate.prices.currency,
        "monthly": json_range(estimate.monthly),
        "by": {name: {key: json_range(cost) for key, cost in estimate.by(name).items()} for name in DIMENSIONS},
        "withPlatform": {
            "rule": sharing.value,
            "services": {
                name: {"own": json_range(share.own), "platform": json_range(share.platform)}
                for name, share in shares.items()
            },
        },
        "lines": [_json_line(line) for line in estimate.lines],
        "notes": list(estimate.notes),
    }
    return json.dumps(data, indent=2) + "\n"


def explain(estimate: Estimate, name: str) -> tuple[str, list[Line]]:
    """What `name` is (a service, an object, a component, a namespace, a team or a cost center), and its lines.

    Raises :class:`UserError` for a name that is none of these.
    """
    kinds: dict[str, Callable[[Line], str]] = {"service": DIMENSIONS["service"], "object": _name} | DIMENSIONS
    for kind, key in kinds.items():
        if lines := [line for line in estimate.lines if key(line) == name]:
            return kind, lines
    known = sorted({key(line) for line in estimate.lines for key in kinds.values()})
    allowed = ", ".join(known) or "nothing, it costs nothing"
    raise UserError(f"--explain: found {name!r}{meant(name, known)}; allowed: {allowed}")


def explanation(estimate: Estimate, name: str) -> str:
    """The sum of a name, factor by factor."""
    kind, lines = explain(estimate, name)
    total = sum((line.monthly for line in lines), Range())
    text = [f"{kind} {name}: {_with_range(total)} {estimate.prices.currency} a month"]
    last = ""
    for line in lines:
        what = f"{line.kind} {line.namespace}/{line.name}"
        if what != last:
            text.append(f"  {what}")
            last = what
        hours = f" x {line.hours} h" if line.hours != 1 else ""
        per = "/h" if line.hours != 1 else ""
        text.append(
            f"    {line.item}: {_number(line.quantity)} {line.unit} x {_pieces(line)} x {_number(line.price)}{per}"
            f"{hours} = {_with_range(line.monthly)}"
        )
        if len(line.parts) > 1 or (line.parts and line.parts[0][0].startswith("init container")):
            text.append("      " + " + ".join(f"{_number(size)} {part}" for part, size in line.parts))
        if line.how and not line.how.startswith(f"{line.price} "):
            text.append(f"      price: {line.how} = {_number(line.price)}")
        if line.scaler:
            text.append(f"      count: bounds of HorizontalPodAutoscaler {line.scaler.rpartition('::')[2]}")
    return "\n".join(text) + "\n"


def explanation_json(estimate: Estimate, name: str) -> str:
    """The same as one object."""
    kind, lines = explain(estimate, name)
    total = sum((line.monthly for line in lines), Range())
    data = {
        "name": name,
        "kind": kind,
        "currency": estimate.prices.currency,
        "monthly": json_range(total),
        "lines": [_json_line(line) for line in lines],
    }
    return json.dumps(data, indent=2) + "\n"


def book_document(book: PriceBook) -> Document:
    """A price book as people read it: prices of an hour and of a month, terms worked out."""
    hourly = book.hourly
    rows = [_price("core", book.compute("cpu", None)), _price("GiB of memory", book.compute("memory", None))]
    for pool in book.pools:
        rows += [_price(f"core, pool {pool}", book.compute("cpu", pool))]
        rows += [_price(f"GiB of memory, pool {pool}", book.compute("memory", pool))]
    rows.append(_price("GiB of storage", book.storage(None)))
    rows += [_price(f"GiB of storage, class {name}", book.storage(name)) for name in book.storage_classes]
    rows.append(_price("load balancer", book.balancer()))
    columns = (Column("what", number=False), Column("an hour"), Column("a month"), Column("how", number=False, rank=1))
    transfer = book.transfer()
    once = Table(
        "By the piece",
        (Column("what", number=False), Column("price"), Column("how", number=False, rank=1)),
        [("GiB that leaves the cloud", _number(transfer.amount), transfer.how)],
    )
    lead = [f"{book.currency}; source: {book.source}"]
    if book.description:
        lead.append(book.description)
    notes = []
    if hourly.spot_cpu is not None and not book.spot_share:
        notes.append("spot prices are in the book, and no share of the hours is declared to run on spot nodes")
    return Document(book.name, lead, [Table("By the hour", columns, rows), once], notes)


def book_json(book: PriceBook) -> str:
    """The book, with the rates that its terms make."""
    rates = {"cpu": book.compute("cpu", None), "memory": book.compute("memory", None), "storage": book.storage(None)}
    pools = {name: {item: book.compute(item, name) for item in ("cpu", "memory")} for name in book.pools}
    data = as_data(book) | {
        "rates": {name: str(rate.amount) for name, rate in rates.items()},
        "poolRates": {name: {item: str(rate.amount) for item, rate in found.items()} for name, found in pools.items()},
    }
    return json.dumps(data, indent=2) + "\n"


def _name(line: Line) -> str:
    return line.name


def _price(what: str, rate: Any) -> tuple[str, ...]:
    return what, _number(rate.amount), f"{rate.amount * HOURS_PER_MONTH:,.4f}", rate.how


def _cells(cost: Range) -> tuple[str, ...]:
    return amount(cost.min), amount(cost.expected), amount(cost.max)


def _with_range(cost: Range) -> str:
    if cost.min == cost.max:
        return amount(cost.expected)
    return f"{amount(cost.expected)} ({amount(cost.min)} to {amount(cost.max)})"


def _pieces(line: Line) -> str:
    count = line.count
    span = "" if count.min == count.max else f" ({_number(count.min)} to {_number(count.max)})"
    piece = {"cpu": "pod", "memory": "pod", "storage": "volume"}.get(line.item, "piece")
    return f"{_number(count.expected)} {piece}{'' if count.expected == 1 else 's'}{span}"


def _number(value: Decimal) -> str:
    """All digits, none of them idle."""
    text = f"{round(value, 12):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _json_line(line: Line) -> dict[str, Any]:
    return {
        "urn": line.urn,
        "kind": line.kind,
        "namespace": line.namespace,
        "name": line.name,
        "service": line.service,
        "component": line.component,
        "team": line.team,
        "costCenter": line.cost_center,
        "item": line.item,
        "quantity": float(line.quantity),
        "unit": line.unit,
        "parts": [{"name": part, "quantity": float(size)} for part, size in line.parts],
        "count": json_range(line.count),
        "price": str(line.price),
        "how": line.how,
        "hours": float(line.hours),
        "monthly": json_range(line.monthly),
    }
