"""Reads the body of an answer of the Allocation API. Whatever the body is, the result is allocations or one UserError.

The shape is ``{code, data: [{key: {...}}]}``, one object in ``data`` for each step. Errors have a code and a message,
come with any HTTP status, and sometimes with text before the JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, Field, Strict, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from cloudmart.errors import UserError
from cloudmart.finops.allocation.windows import Window

IDLE = "__idle__"
"""Capacity of nodes that nobody requested or used."""
UNALLOCATED = "__unallocated__"
"""What lacks the label or controller that is asked for."""
UNMOUNTED = "__unmounted__"
"""Volumes and balancers that no pod uses; early answers have it for volumes whose pod is not known yet."""

_GIB = 2.0**30
# More than any cluster has of anything; sums of as many as fit into an answer stay finite.
_LARGEST = 1e21
# A day of 10,000 pods has some 700,000. Each takes up to 150 bytes of memory, however short it is written.
_MOST_VALUES = 1_500_000
_LONGEST_NAME = 512
_LONGEST_MESSAGE = 300

# A missing value, null (which is how NaN and infinity arrive) and a number; a string that holds one is none.
_Number = Annotated[float, Strict()] | None


class _Model(BaseModel):
    model_config = {"alias_generator": to_camel}


class _Window(_Model):
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None


class _Peaks(_Model):
    cpu_core_usage_max: _Number = None
    ram_byte_usage_max: _Number = None


class _Raw(_Model):
    window: _Window | None = None
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None
    minutes: _Number = None
    cpu_core_hours: _Number = None
    cpu_core_request_average: _Number = None
    cpu_core_usage_average: _Number = None
    cpu_cost: _Number = None
    cpu_cost_adjustment: _Number = None
    ram_byte_hours: _Number = None
    ram_byte_request_average: _Number = None
    ram_byte_usage_average: _Number = None
    ram_cost: _Number = None
    ram_cost_adjustment: _Number = None
    gpu_cost: _Number = None
    gpu_cost_adjustment: _Number = None
    pv_byte_hours: _Number = None
    pv_cost: _Number = None
    pv_cost_adjustment: _Number = None
    network_cost: _Number = None
    network_cost_adjustment: _Number = None
    load_balancer_cost: _Number = None
    load_balancer_cost_adjustment: _Number = None
    shared_cost: _Number = None
    external_cost: _Number = None
    raw_allocation_only: _Peaks | None = None


class _Envelope(_Model):
    code: int | None = None
    message: Annotated[str, Strict()] | None = None
    data: list[dict[str, _Raw | None] | None] | None = None


class _Fault(_Model):
    message: Annotated[str, Strict()] | None = Field(default=None)


_ENVELOPE = TypeAdapter(_Envelope)
_FAULT = TypeAdapter(_Fault)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What one pod (or whatever was aggregated by) held and cost in one step.

    Costs are in the currency that the API is configured for. Hours of cores and of GiB are averages times the time that
    it ran. ``None`` is what the API does not know.
    """

    #: Values of the aggregation's fields, in its order; (IDLE,) for idle capacity.
    key: tuple[str, ...]
    #: When it ran, within the step.
    start: datetime | None
    end: datetime | None
    minutes: float
    #: Whether it ran (nearly) all of the step. The API averages CPU usage over the whole step, even of what ran in a
    #: part of it only, where usage is too low therefore. Memory is not affected.
    whole: bool
    cpu_cost: float
    memory_cost: float
    gpu_cost: float
    storage_cost: float
    network_cost: float
    load_balancer_cost: float
    shared_cost: float
    external_cost: float
    #: Billed: the greater of request and usage, minute by minute.
    cpu_core_hours: float
    cpu_request_core_hours: float
    cpu_usage_core_hours: float | None
    memory_gib_hours: float
    memory_request_gib_hours: float
    memory_usage_gib_hours: float | None
    storage_gib_hours: float
    #: Peaks, where the API gives them: of single containers, not of sums.
    cpu_peak_cores: float | None
    memory_peak_gib: float | None

    @property
    def cost(self) -> float:
        """All of it."""
        return (
            self.cpu_cost
            + self.memory_cost
            + self.gpu_cost
            + self.storage_cost
            + self.network_cost
            + self.load_balancer_cost
            + self.shared_cost
            + self.external_cost
        )

    @property
    def is_idle(self) -> bool:
        return self.key == (IDLE,)

    @property
    def is_unmounted(self) -> bool:
        return UNMOUNTED in self.key


def read(body: str | bytes, aggregate: Sequence[str], page: Window) -> Iterator[Allocation]:
    """The allocations of an answer to a query for `page`, aggregated by `aggregate`.

    Raises :class:`UserError` before the first one when the body is an error or no answer of this API.
    """
    plain = body.encode("utf-8", "replace") if isinstance(body, str) else body
    if sum(map(plain.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise UserError(f"the Allocation API answers with more than {_MOST_VALUES:,} values; ask for fewer pods")
    try:
        envelope = _ENVELOPE.validate_json(body)
    except ValidationError as error:
        raise UserError(_what_is_wrong(body, error)) from None
    if envelope.code not in (None, 200):
        raise UserError(f"the Allocation API answers with an error: {message(body)}")
    if envelope.data is None:
        raise UserError("the Allocation API answers without data; allowed: a list of steps under `data`")
    found = [item for step in envelope.data for item in (step or {}).items()]
    for key, raw in found:
        if raw is not None:
            _check(key, aggregate)
    # Older versions answer `label:x` with `x=value`.
    prefixes = [f"{field.removeprefix('label:')}=" for field in aggregate]
    return (_allocation(key, raw, page, prefixes) for key, raw in found if raw is not None)


def message(body: str | bytes) -> str:
    """What a body that is no answer says, in one short line: the text before the JSON, or the JSON's message."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    before, brace, after = text.partition("{")
    if before.strip() and not before.lstrip().startswith(("<", "[")):
        return _short(before)
    if brace:
        try:
            fault = _FAULT.validate_json("{" + after)
            if fault.message:
                return _short(fault.message)
        except ValidationError:
            pass
    if text.lstrip()[:1] == "<":
        return "a web page"
    return _short(text) or "nothing"


def clean(text: str) -> str:
    """Names come from the cluster's users: nothing in them may steer a terminal or fill it."""
    if not text.isprintable():
        text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "…"


def _check(key: str, aggregate: Sequence[str]) -> None:
    """An aggregation that the API does not know is left out of the key, with status 200."""
    if not key or (not _is_idle(key) and key.count("/") != len(aggregate) - 1):
        raise UserError(
            f"the Allocation API does not aggregate by {','.join(aggregate)}: it answers with the key {clean(key)!r}"
        )


def _allocation(key: str, raw: _Raw, page: Window, prefixes: Sequence[str]) -> Allocation:
    parts: tuple[str, ...] = (IDLE,)
    if not _is_idle(key):
        values = zip(key.split("/"), prefixes, strict=True)
        parts = tuple(clean(value.removeprefix(prefix)) for value, prefix in values)
    minutes = _amount(raw.minutes)
    if not minutes and raw.start is not None and raw.end is not None:
        minutes = max((raw.end - raw.start).total_seconds() / 60, 0.0)
    step = page.minutes
    if raw.window is not None and raw.window.start is not None and raw.window.end is not None:
        step = (raw.window.end - raw.window.start).total_seconds() / 60
    hours = minutes / 60
    peaks = raw.raw_allocation_only or _Peaks()
    cpu_usage, memory_usage = _known(raw.cpu_core_usage_average), _known(raw.ram_byte_usage_average)
    return Allocation(
        key=parts,
        start=raw.start,
        end=raw.end,
        minutes=minutes,
        whole=minutes >= 0.95 * step,
        cpu_cost=_money(raw.cpu_cost) + _money(raw.cpu_cost_adjustment),
        memory_cost=_money(raw.ram_cost) + _money(raw.ram_cost_adjustment),
        gpu_cost=_money(raw.gpu_cost) + _money(raw.gpu_cost_adjustment),
        storage_cost=_money(raw.pv_cost) + _money(raw.pv_cost_adjustment),
        network_cost=_money(raw.network_cost) + _money(raw.network_cost_adjustment),
        load_balancer_cost=_money(raw.load_balancer_cost) + _money(raw.load_balancer_cost_adjustment),
        shared_cost=_money(raw.shared_cost),
        external_cost=_money(raw.external_cost),
        cpu_core_hours=_amount(raw.cpu_core_hours),
        cpu_request_core_hours=_amount(raw.cpu_core_request_average) * hours,
        cpu_usage_core_hours=None if cpu_usage is None else cpu_usage * hours,
        memory_gib_hours=_amount(raw.ram_byte_hours) / _GIB,
        memory_request_gib_hours=_amount(raw.ram_byte_request_average) / _GIB * hours,
        memory_usage_gib_hours=None if memory_usage is None else memory_usage / _GIB * hours,
        storage_gib_hours=_amount(raw.pv_byte_hours) / _GIB,
        cpu_peak_cores=_known(peaks.cpu_core_usage_max),
        memory_peak_gib=None if (peak := _known(peaks.ram_byte_usage_max)) is None else peak / _GIB,
    )


def _is_idle(key: str) -> bool:
    """By cluster or node it is ``cluster/__idle__``. A label may have these letters within its value."""
    return IDLE in key.split("/")


def _known(value: float | None) -> float | None:
    """A physical quantity; what cannot be one is not known."""
    return value if value is not None and 0 <= value <= _LARGEST else None


def _amount(value: float | None) -> float:
    return _known(value) or 0.0


def _money(value: float | None) -> float:
    """A sum of money; adjustments may be negative."""
    return value if value is not None and math.isfinite(value) and abs(value) <= _LARGEST else 0.0


def _what_is_wrong(body: str | bytes, error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    if not fault["loc"]:
        return f"the Allocation API does not answer with JSON of its own: {message(body)}"
    where = ".".join(clean(str(part))[:80] for part in fault["loc"])
    found = clean(repr(fault.get("input")))[:80]
    return f"the Allocation API's answer cannot be read: {where[:200]}: {fault['msg']}, found {found}"


def _short(text: str) -> str:
    line = clean(" ".join(text[: 10 * _LONGEST_MESSAGE].split()))
    return line if len(line) <= _LONGEST_MESSAGE else line[:_LONGEST_MESSAGE] + "…"
