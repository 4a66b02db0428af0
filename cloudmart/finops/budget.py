"""Budgets: what a stack is estimated to cost, held against what may be spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from cloudmart.finops.estimate import Estimate, Range
from cloudmart.settings.prices import WHOLE_STACK, Budget

_HUNDRED = Decimal(100)
_NAMED = 3


class State(StrEnum):
    """How a budget stands."""

    WITHIN = "within"
    WARNING = "warning"
    OVER = "over"


@dataclass(frozen=True)
class Standing:
    """One budget and what is estimated of it, in a month."""

    name: str
    budget: Budget
    currency: str
    amount: Decimal
    #: What costs most, or what changed most where a change is known: name and amount.
    causes: Sequence[tuple[str, Decimal]] = ()
    #: The amount before the change, where one is known.
    before: Decimal | None = None

    @property
    def percent(self) -> Decimal:
        """The amount in percent of the budget."""
        return self.amount / self.budget.monthly * _HUNDRED

    @property
    def state(self) -> State:
        if self.amount > self.budget.monthly:
            return State.OVER
        return State.WARNING if self.percent >= self.budget.warn_at else State.WITHIN

    @property
    def title(self) -> str:
        return "the whole stack" if self.name == WHOLE_STACK else f"cost center {self.name}"

    def sentence(self) -> str:
        """By how much, on which figure, and what did it."""
        basis = (
            f"{self.amount:,.2f} {self.currency} a month {'expected' if self.budget.basis == 'expected' else 'at most'}"
        )
        over = self.amount - self.budget.monthly
        if over > 0:
            text = (
                f"{basis}, which is {over:,.2f} ({over / self.budget.monthly * _HUNDRED:.1f} %) over the budget of "
                f"{self.budget.monthly:,.2f}"
            )
        else:
            warned = f", warned of from {self.budget.warn_at} %" if self.state is State.WARNING else ""
            text = f"{basis}, {self.percent:.1f} % of the budget of {self.budget.monthly:,.2f}{warned}"
        if self.before is not None:
            changed = self.amount - self.before
            text += f"; {changed:+,.2f} by this change" if changed else "; this change leaves it as it is"
            if self.causes and changed:
                text += ": " + ", ".join(f"{name} {amount:+,.2f}" for name, amount in self.causes)
        elif self.causes:
            text += "; most of it: " + ", ".join(f"{name} {amount:,.2f}" for name, amount in self.causes)
        return text


def standings(
    estimate: Estimate,
    budgets: Mapping[str, Budget],
    before: Estimate | None = None,
    changes: Mapping[str, Sequence[tuple[str, Range]]] | None = None,
) -> list[Standing]:
    """How every budget stands, in the order of the configuration.

    ``before`` and ``changes`` (by name of a budget: what changed, and by how much) say what a change did.
    """
    found = []
    for name, budget in budgets.items():
        if before is None:
            costs = _most(_costs(estimate, name), budget)
            past = None
        else:
            costs = _most((changes or {}).get(name, ()), budget)
            past = _on(_total(before, name), budget)
        amount = _on(_total(estimate, name), budget)
        found.append(Standing(name, budget, estimate.prices.currency, amount, costs, past))
    return found


def _total(estimate: Estimate, name: str) -> Range:
    return estimate.monthly if name == WHOLE_STACK else estimate.by_cost_center.get(name, Range())


def _costs(estimate: Estimate, name: str) -> Sequence[tuple[str, Range]]:
    costs: dict[str, Range] = {}
    for line in estimate.lines:
        if name in (WHOLE_STACK, line.cost_center):
            costs[line.service] = costs.get(line.service, Range()) + line.monthly
    return list(costs.items())


def _on(amount: Range, budget: Budget) -> Decimal:
    value: Decimal = getattr(amount, budget.basis.value)
    return value


def _most(costs: Sequence[tuple[str, Range]], budget: Budget) -> Sequence[tuple[str, Decimal]]:
    amounts = [(name, amount) for name, cost in costs if (amount := _on(cost, budget))]
    # What saves is no cause of an excess, but it belongs to the explanation where nothing adds.
    return sorted(amounts, key=lambda item: (-item[1], item[0]))[:_NAMED]


def as_facts(found: Sequence[Standing]) -> dict[str, dict[str, str]]:
    """What the policy pack needs to know of each budget, as its configuration can carry it."""
    return {one.name: {"state": one.state.value, "sentence": one.sentence()} for one in found}
