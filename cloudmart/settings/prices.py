"""What a stack pays: its price book, the terms of its nodes, its load, and the budgets that it must keep to."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, Strict, model_validator

from cloudmart.settings.base import FrozenMapping, LabelValue, MisfitError, Model, Percent, ServiceName, Text


def _no_flag(value: Any) -> Any:
    if isinstance(value, bool):  # a number to Python, a slip in YAML
        raise ValueError(f"{str(value).lower()}; allowed: a number")
    return value


_Number = BeforeValidator(_no_flag)
#: Money, or a price, in the book's currency. Written as a number or, where every digit counts, as text.
Amount = Annotated[Decimal, _Number, Field(ge=0, le=10**12)]
#: A share of a whole, in percent.
Share = Annotated[Decimal, _Number, Field(ge=0, le=100)]
Factor = Annotated[Decimal, _Number, Field(gt=0, le=100)]
# Below the project: no way up, and nothing that a file system reads as something else.
_FileName = Annotated[
    str,
    Strict(),
    Field(pattern=r"^(\.?[A-Za-z0-9_-][A-Za-z0-9_. -]*/)*\.?[A-Za-z0-9_-][A-Za-z0-9_. -]*\.ya?ml$", max_length=255),
]
_Selector = FrozenMapping[Annotated[str, Strict(), Field(min_length=1, max_length=317)], LabelValue]

#: Key in `budgets` for everything that the stack costs.
WHOLE_STACK = "stack"


class Terms(Model):
    """On what terms nodes are had. What is left out is as the stack, or the book, says."""

    #: Percent of the hours that run on spot nodes, at the book's spot prices.
    spot_share: Share | None = None
    #: The region's prices relative to the book's.
    region_multiplier: Factor | None = None
    #: Percent off the on-demand price of CPU and memory, for a commitment to use them.
    committed_use_discount: Share | None = None


class Pool(Terms):
    """A node pool: pods whose `nodeSelector` holds all of `selector` run on it. Its prices win over the book's."""

    #: Labels of its nodes.
    selector: _Selector = Field(min_length=1)
    #: An hour of a core.
    cpu: Amount | None = None
    #: An hour of a GiB of memory.
    memory: Amount | None = None


class HourlyOverrides(Model):
    """Prices of an hour that win over the book's."""

    #: A core.
    cpu: Amount | None = None
    #: A GiB of memory.
    memory: Amount | None = None
    #: A GiB of a volume.
    storage: Amount | None = None
    #: A load balancer.
    load_balancer: Amount | None = None
    #: A core on a spot node.
    spot_cpu: Amount | None = None
    #: A GiB of memory on a spot node.
    spot_memory: Amount | None = None


class LoadStep(Model):
    """So many replicas for so many hours of a day."""

    #: Replicas.
    replicas: Annotated[Decimal, _Number, Field(ge=0, le=10_000)]
    #: Hours of the day.
    hours: Annotated[Decimal, _Number, Field(gt=0, le=24)]


class LoadProfile(Model):
    """How many replicas the autoscaler is expected to keep: measured, as one `average`, or declared, as a `day`."""

    #: As measured.
    average: Annotated[Decimal, _Number, Field(ge=0, le=10_000)] | None = None
    #: As declared.
    day: tuple[LoadStep, ...] = ()
    #: Where it comes from, such as the days that it was measured on.
    source: Text | None = None

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if (self.average is None) == (not self.day):
            raise MisfitError("neither or both of average and day; allowed: one of the two", ("average",), ("day",))
        hours = sum(step.hours for step in self.day)
        if self.day and hours != 24:
            raise MisfitError(f"a day of {hours} hours; allowed: steps that make 24 together", ("day",))
        return self

    @property
    def replicas(self) -> Decimal:
        """The average over a day."""
        if self.average is not None:
            return self.average
        return sum((step.replicas * step.hours for step in self.day), Decimal(0)) / 24


class Sharing(StrEnum):
    """How the cost of the platform is shared among the services."""

    PROPORTIONAL = "proportional"
    EVEN = "even"


class PriceSettings(Terms):
    """The price book of a stack and what it needs to know beside it."""

    #: A price book of yours, relative to the project; OpenCost's default prices where it is left out.
    book: _FileName | None = None
    #: Prices that win over the book's.
    hourly: HourlyOverrides = HourlyOverrides()
    #: An hour of a GiB by storage class.
    storage_classes: FrozenMapping[LabelValue, Amount] = Field(default={}, validate_default=True)
    #: A GiB that leaves the cloud.
    egress: Amount | None = None
    #: Node pools, by name.
    pools: FrozenMapping[LabelValue, Pool] = Field(default={}, validate_default=True)
    #: Nodes that a DaemonSet runs on.
    nodes: Annotated[int, Strict(), Field(ge=1, le=10_000)] | None = None
    #: By service, the load that its autoscaler is expected to see; the declared replicas where it is left out.
    load: FrozenMapping[ServiceName, LoadProfile] = Field(default={}, validate_default=True)
    #: By service, GiB that leave the cloud in a month.
    egress_gib: FrozenMapping[ServiceName, Annotated[Decimal, _Number, Field(ge=0)]] = Field(
        default={}, validate_default=True
    )
    #: In proportion to what each service costs by itself, or in even parts.
    sharing: Sharing = Sharing.PROPORTIONAL


class BudgetBasis(StrEnum):
    """Which figure of the estimate a budget is held against."""

    EXPECTED = "expected"
    MAX = "max"


class Budget(Model):
    """What may be spent in a month, in the currency of the price book."""

    #: The amount.
    monthly: Annotated[Decimal, _Number, Field(gt=0, le=10**12)]
    #: Percent of it from which on there is a warning.
    warn_at: Percent = 80
    #: Which figure it is held against.
    basis: BudgetBasis = BudgetBasis.EXPECTED
