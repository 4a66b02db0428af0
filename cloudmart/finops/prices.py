"""Price books: what an hour of a core, of a GiB of memory and of a GiB of storage costs."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from cloudmart.errors import UserError

HOURS_PER_MONTH = Decimal(730)
"""365 x 24 / 12: the month that OpenCost, Kubecost and the clouds' price lists use."""

DEFAULT = Path(__file__).with_name("opencost-default-prices.yaml")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


class Hourly(_Model):
    """Prices of one hour, in the book's currency."""

    cpu: Decimal = Field(ge=0, description="a core")
    memory: Decimal = Field(ge=0, description="a GiB of memory")
    storage: Decimal = Field(ge=0, description="a GiB of a persistent volume")
    load_balancer: Decimal = Field(ge=0, description="a Service of type LoadBalancer")


class PriceBook(_Model):
    """Prices and where they come from."""

    name: str
    source: str
    description: str = ""
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code")
    hourly: Hourly


def load(file: Path = DEFAULT) -> PriceBook:
    """Read a price book. Raises :class:`UserError` naming the file, the key and what was found."""
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        return PriceBook.model_validate(data)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file.name}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{file.name}: not valid YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        lines = [
            f"{file.name}: {'.'.join(map(str, fault['loc'])) or 'top'}: {fault['msg']}, found {fault['input']!r}"
            for fault in error.errors()
        ]
        raise UserError("\n".join(lines)) from None
