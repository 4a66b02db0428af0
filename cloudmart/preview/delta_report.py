"""A delta in the three reports: the summary first, then each change with its cost and what it touches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from cloudmart.finops.budget import Standing, State
from cloudmart.finops.delta import Change, Delta, Op
from cloudmart.finops.estimate import Range
from cloudmart.finops.estimate_report import json_range

#: Properties of one change that are listed; the rest is counted.
_PROPERTIES = 4
#: Rows of the Markdown table: a comment on a pull request may have 65,536 characters.
_ROWS = 100
_PAST = {Op.CREATE: "created", Op.UPDATE: "updated", Op.REPLACE: "replaced", Op.DELETE: "deleted"}
#: What a replacement or deletion of these kinds means besides the new object: that is told before anything else.
_CAUTIONS = {
    "Cluster": "the operator deletes its instances and their claims, unless it is retained",
    "Kafka": "the operator deletes its brokers, unless it is retained",
    "KafkaNodePool": "the operator deletes its brokers, unless it is retained",
    "KafkaTopic": "its messages go with it, unless it is retained",
    "Namespace": "everything in it goes with it, unless it is retained",
    "PersistentVolumeClaim": "its data goes with it",
    "RandomPassword": "what holds the old value has to learn the new one",
    "Service": "nothing answers under its name meanwhile",
    "StatefulSet": "its pods stop; its claims stay, for one of the same name and claim templates",
}
_MARKS = {State.WITHIN: "within", State.WARNING: "WARNING", State.OVER: "OVER"}


def summary(delta: Delta, budgets: Sequence[Standing]) -> list[str]:
    """What a reviewer wants first: what changes, what it costs a month, which budget it hits."""
    counts = [f"{count} {_PAST[op]}" for op, count in delta.counts.items() if count]
    repriced = sum(change.op is Op.SAME for change in delta.changes)
    if repriced:
        counts.append(f"{repriced} only repriced")
    lines = [
        f"Against {delta.base}: {', '.join(counts) or 'no change'}",
        cost_sentence(delta),
        *(f"budget {one.name} {_MARKS[one.state]}: {one.sentence()}" for one in budgets),
    ]
    return lines + cautions(delta) + [f"note: {note}" for note in delta.notes]


def cautions(delta: Delta) -> list[str]:
    """A line for each replacement or deletion that takes data or a service away, if only for a while."""
    return [
        f"caution: {change.title} is {_PAST[change.op]}"
        + (f", forced by {', '.join(change.forced_by)}" if change.forced_by else "")
        + f": {_CAUTIONS[change.kind]}"
        for change in delta.changes
        # A service that is deleted was not meant to answer any more.
        if change.kind in _CAUTIONS
        and (change.op is Op.REPLACE or (change.op is Op.DELETE and change.kind not in ("Service", "RandomPassword")))
    ]


def cost_sentence(delta: Delta) -> str:
    """The difference in a month, in percent, and both sums."""
    change, was, now = delta.monthly, delta.before.monthly, delta.after.monthly
    percent = f" ({change.expected / was.expected * 100:+.1f} %)" if was.expected else ""
    return (
        f"{change.expected:+,.2f} {delta.after.prices.currency} a month expected{percent}: {was.expected:,.2f} to "
        f"{now.expected:,.2f}; at least {change.min:+,.2f}, at most {change.max:+,.2f}"
    )


def rows(delta: Delta) -> Iterator[tuple[Change, str, str]]:
    """Each change, its cost, and what it touches."""
    for change in delta.changes:
        yield change, money(change.monthly), touched(change)


def money(monthly: Range) -> str:
    """Expected, with the bounds where they differ; empty for what costs nothing before and after."""
    if monthly == Range():
        return "-"
    text = f"{monthly.expected:+,.2f}"
    return text if monthly.min == monthly.max else f"{text} ({monthly.min:+,.2f} to {monthly.max:+,.2f})"


def touched(change: Change) -> str:
    """What forces a replacement, and the first properties with their values."""
    if change.op is Op.SAME:
        return "not changed itself: prices, load, or what scales or pays for it"
    parts = [f"forced by {', '.join(change.forced_by)}"] if change.forced_by else []
    for one in change.properties[:_PROPERTIES]:
        if one.before is None:
            parts.append(f"+{one.path}: {one.after}")
        elif one.after is None:
            parts.append(f"-{one.path}")
        else:
            parts.append(f"{one.path}: {one.before} -> {one.after}")
    if (left := len(change.properties) - _PROPERTIES) > 0:
        parts.append(f"and {left} more")
    return "; ".join(parts)


def as_data(delta: Delta, budgets: Sequence[Standing]) -> dict[str, Any]:
    """The delta as plain values: ``base``, ``summary``, ``counts``, sums, ``budgets``, ``changes``, ``notes``."""
    return {
        "base": delta.base,
        "summary": summary(delta, budgets),
        "counts": {op.value: count for op, count in delta.counts.items()},
        "currency": delta.after.prices.currency,
        "before": json_range(delta.before.monthly),
        "after": json_range(delta.after.monthly),
        "monthly": json_range(delta.monthly),
        "changes": [_json_change(change) for change in delta.changes],
        "notes": list(delta.notes),
    }


def budgets_data(budgets: Sequence[Standing]) -> list[dict[str, Any]]:
    """Every budget and how it stands; amounts in the price book's currency."""
    return [
        {
            "name": one.name,
            "monthly": _float(one.budget.monthly),
            "warnAt": one.budget.warn_at,
            "basis": one.budget.basis.value,
            "amount": _float(one.amount),
            "percent": _float(one.percent),
            "state": one.state.value,
            "before": None if one.before is None else _float(one.before),
            "causes": [{"name": name, "amount": _float(amount)} for name, amount in one.causes],
            "sentence": one.sentence(),
        }
        for one in budgets
    ]


def shown(delta: Delta) -> tuple[Sequence[Change], int]:
    """The changes that a Markdown table has room for, and how many it leaves out."""
    return delta.changes[:_ROWS], max(0, len(delta.changes) - _ROWS)


def _json_change(change: Change) -> dict[str, Any]:
    return {
        "op": change.op.value,
        "urn": change.urn,
        "type": change.type,
        "kind": change.kind,
        "namespace": change.namespace or None,
        "name": change.name,
        "before": json_range(change.before),
        "after": json_range(change.after),
        "monthly": json_range(change.monthly),
        "byCostCenter": {name: json_range(part) for name, part in change.by_cost_center.items()},
        "forcedBy": list(change.forced_by),
        "properties": [{"path": p.path, "before": p.before, "after": p.after} for p in change.properties],
    }


def _float(value: Decimal) -> float:
    return float(round(value, 4))
