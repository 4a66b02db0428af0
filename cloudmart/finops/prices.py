"""Price books: what an hour of a core, of a GiB of memory and of a GiB of storage costs, on whose terms.

A book is a YAML file. A stack names its own and overrides parts of it in its configuration (``cloudmart:prices``); a
node pool may have terms of its own. What comes out of all that for one thing is a :class:`Rate`: an amount, and how it
came about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from cloudmart.errors import UserError
from cloudmart.settings.base import FrozenMapping, LabelValue, Model
from cloudmart.settings.prices import Amount, Pool, PriceSettings, Terms
from cloudmart.settings.source import dotted, read, shown

HOURS_PER_MONTH = Decimal(730)
"""365 x 24 / 12: the month that OpenCost, Kubecost and the clouds' price lists use."""

DEFAULT = Path(__file__).with_name("opencost-default-prices.yaml")

_HUNDRED = Decimal(100)
_MOST_PROBLEMS = 50


class Hourly(Model):
    """Prices of one hour, in the book's currency."""

    cpu: Amount = Field(description="a core")
    memory: Amount = Field(description="a GiB of memory")
    storage: Amount = Field(description="a GiB of a persistent volume")
    load_balancer: Amount = Field(description="a Service of type LoadBalancer")
    spot_cpu: Amount | None = Field(default=None, description="a core of a spot node")
    spot_memory: Amount | None = Field(default=None, description="a GiB of memory of a spot node")


@dataclass(frozen=True)
class Rate:
    """A price, and the factors that made it."""

    amount: Decimal
    how: str


class PriceBook(Terms):
    """Prices and where they come from. The terms hold for everything that is on no pool."""

    name: str
    source: str
    description: str = ""
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code")
    hourly: Hourly
    storage_classes: FrozenMapping[LabelValue, Amount] = Field(
        default={}, validate_default=True, description="an hour of a GiB, by storage class"
    )
    egress: Amount = Field(default=Decimal(0), description="a GiB that leaves the cloud")
    pools: FrozenMapping[LabelValue, Pool] = Field(default={}, validate_default=True)

    def pool_of(self, node_selector: Mapping[str, Any]) -> str | None:
        """The first pool whose labels a pod selects, all of them; ``None`` where it is on no known pool."""
        for name, pool in self.pools.items():
            if all(node_selector.get(label) == value for label, value in pool.selector.items()):
                return name
        return None

    def compute(self, item: Literal["cpu", "memory"], pool: str | None) -> Rate:
        """An hour of a core or of a GiB of memory, on demand, discounted and on spot nodes, by their shares."""
        terms = self._terms(pool)
        own = getattr(self.pools[pool], item) if pool else None
        on_demand: Decimal = own if own is not None else getattr(self.hourly, item)
        amount, how = on_demand, f"{on_demand} on demand"
        if terms.committed_use_discount:
            amount *= 1 - terms.committed_use_discount / _HUNDRED
            how += f" less {terms.committed_use_discount} % for the commitment"
        if terms.spot_share:
            spot: Decimal = getattr(self.hourly, f"spot_{item}")
            share = terms.spot_share / _HUNDRED
            amount = amount * (1 - share) + spot * share
            how = f"{_HUNDRED - terms.spot_share} % of {how} + {terms.spot_share} % of {spot} spot"
        rate = self._in_region(amount, how, terms)
        return Rate(rate.amount, f"{rate.how}, node pool {pool}") if pool else rate

    @property
    def effective(self) -> Hourly:
        """The hourly prices, CPU and memory as they are paid outside any pool: by spot share, commitment, region."""
        return self.hourly.model_copy(
            update={"cpu": self.compute("cpu", None).amount, "memory": self.compute("memory", None).amount}
        )

    def storage(self, storage_class: str | None) -> Rate:
        """An hour of a GiB of a volume."""
        own = self.storage_classes.get(storage_class) if storage_class else None
        how = f"{own} in class {storage_class}" if own is not None else f"{self.hourly.storage} a GiB"
        return self._in_region(self.hourly.storage if own is None else own, how, self)

    def balancer(self) -> Rate:
        """An hour of a load balancer."""
        return self._in_region(self.hourly.load_balancer, f"{self.hourly.load_balancer} each", self)

    def transfer(self) -> Rate:
        """A GiB that leaves the cloud: the one price that is not for an hour."""
        return self._in_region(self.egress, f"{self.egress} a GiB", self)

    def _terms(self, pool: str | None) -> Terms:
        own: Terms = self.pools[pool] if pool else self
        given = {name: getattr(own, name) for name in Terms.model_fields}
        return Terms(**{name: getattr(self, name) if value is None else value for name, value in given.items()})

    @staticmethod
    def _in_region(amount: Decimal, how: str, terms: Terms) -> Rate:
        factor = terms.region_multiplier
        if factor is None or factor == 1:
            return Rate(amount, how)
        return Rate(amount * factor, f"({how}) x {factor} in this region")


def load(file: Path = DEFAULT) -> PriceBook:
    """Read a price book. Raises :class:`UserError` naming the file, the key and what was found."""
    name = file.name
    document = read(file, name)
    try:
        return _complete(PriceBook.model_validate(document.data, by_alias=True, by_name=False), name)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        lines = [
            f"{name}: {dotted(fault['loc']) or 'top'}: {fault['msg']}, found {shown(fault['input'])}"
            for fault in faults[:_MOST_PROBLEMS]
        ]
        if len(faults) > _MOST_PROBLEMS:
            lines.append(f"{name}: {len(faults) - _MOST_PROBLEMS:,} more problems")
        raise UserError("\n".join(lines)) from None


def of_stack(settings: PriceSettings, root: Path) -> PriceBook:
    """The book of a stack: the file that it names under `root`, or OpenCost's, with what the stack overrides.

    Raises :class:`UserError` as :func:`load` does, and where the terms need a price that the book lacks.
    """
    book = load(root / settings.book) if settings.book else load()
    given = {name: value for name in Terms.model_fields if (value := getattr(settings, name)) is not None}
    hourly = {name: value for name, value in settings.hourly if value is not None}
    if settings.egress is not None:
        given["egress"] = settings.egress
    changed = book.model_copy(
        update={
            **given,
            "hourly": book.hourly.model_copy(update=hourly),
            "storage_classes": {**book.storage_classes, **settings.storage_classes},
            "pools": {**book.pools, **settings.pools},
        }
    )
    return _complete(changed, "cloudmart:prices")


def _complete(book: PriceBook, source: str) -> PriceBook:
    """The book itself, if it has every price that its terms need."""
    for where, terms in (("", book), *((f"pools.{name}.", pool) for name, pool in book.pools.items())):
        if terms.spot_share and (book.hourly.spot_cpu is None or book.hourly.spot_memory is None):
            raise UserError(
                f"{source}: {where}spotShare: found {terms.spot_share} and no spot prices; allowed: hourly.spotCpu and "
                "hourly.spotMemory beside it"
            )
    return book


def as_data(book: PriceBook) -> dict[str, Any]:
    """The book as plain values, prices as text with all their digits; as a book's file has it."""
    return book.model_dump(mode="json", by_alias=True, exclude_none=True)
