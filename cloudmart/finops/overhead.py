"""The platform's cost as a part of what each service costs: a second view of the same sum.

The rule: what a service needs is shared among the services that need it; everything else that is no service (Kubecost,
a store that nobody needs) is shared among all of them. The parts are in proportion to what each service costs by
itself, or even. Nothing is lost or added: the last part is what the others leave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from cloudmart.finops.estimate import Estimate, Range
from cloudmart.settings.model import Settings
from cloudmart.settings.prices import Sharing

RULES = {
    Sharing.PROPORTIONAL: "in proportion to what each service is expected to cost by itself",
    Sharing.EVEN: "in even parts",
}


@dataclass(frozen=True)
class Share:
    """What a service costs by itself, and its part of the platform."""

    own: Range
    platform: Range

    @property
    def total(self) -> Range:
        return self.own + self.platform


def shared(estimate: Estimate, settings: Settings) -> dict[str, Share]:
    """Every service of the stack with its part of the platform; the sum of all is the estimate's.

    Where nothing that the estimate knows is a service of the stack, the platform bears itself under its own names.
    """
    costs = estimate.by_service
    services = [name for name in settings.services if name in costs]
    if not services:
        return {name: Share(cost, Range()) for name, cost in costs.items()}
    parts = dict.fromkeys(services, Range())
    for name, cost in costs.items():
        if name not in parts:
            bearers = [caller for caller in settings.callers_of(name) if caller in parts] or services
            for bearer, part in _split(cost, bearers, costs, settings.prices.sharing).items():
                parts[bearer] += part
    return {name: Share(costs[name], parts[name]) for name in services}


def _split(cost: Range, bearers: Sequence[str], costs: Mapping[str, Range], sharing: Sharing) -> dict[str, Range]:
    weights = {name: costs[name].expected if sharing is Sharing.PROPORTIONAL else Decimal(1) for name in bearers}
    if not (whole := sum(weights.values(), Decimal(0))):
        weights, whole = dict.fromkeys(bearers, Decimal(1)), Decimal(len(bearers))
    *others, last = bearers
    parts = {name: cost.times(weights[name] / whole) for name in others}
    return parts | {last: cost - sum(parts.values(), Range())}
