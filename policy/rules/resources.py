"""Requests and limits: what a pod reserves, may use, and is billed for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any

from cloudmart.settings.quantities import Bytes, Cpu

from ._kubernetes import UNKNOWN, Object, get, number
from ._rule import Config, Finding, object_rule

#: Zero in the grammar of quantities: it reserves nothing, makes no ratio, and is free in the estimate.
_ZERO = re.compile(r"[+-]?(0+\.?0*|\.0+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?")


def unrequested(request: Any) -> bool:
    """Whether a request is missing, or of zero."""
    return request is None or (request is not UNKNOWN and _ZERO.fullmatch(number(request)) is not None)


def _requests(found: Object, _config: Config) -> Iterator[Finding]:
    for container in found.containers:
        missing = [
            name for name in ("cpu", "memory") if unrequested(get(container.body, "resources", "requests", name))
        ]
        if missing:
            yield Finding(f"no {' and '.join(missing)} request", container.where)


def _memory_limits(found: Object, _config: Config) -> Iterator[Finding]:
    for container in found.containers:
        if get(container.body, "resources", "limits", "memory") is None:
            yield Finding("no memory limit", container.where)


@lru_cache(maxsize=4096)
def _amount(resource: str, text: str) -> Decimal | None:
    try:
        return (Cpu(text) if resource == "cpu" else Bytes(text)).value
    except ValueError:
        return None  # the schema check reports it, with the grammar


def _ratio(found: Object, config: Config) -> Iterator[Finding]:
    for container in found.containers:
        for resource, allowed in (("cpu", config["maxCpuRatio"]), ("memory", config["maxMemoryRatio"])):
            written: list[Any] = [get(container.body, "resources", side, resource) for side in ("requests", "limits")]
            if None in written or UNKNOWN in written:
                continue
            asked, most = map(number, written)
            request, limit = _amount(resource, asked), _amount(resource, most)
            if request is None or limit is None or request == 0:
                continue  # `cpu-memory-requests` reports a request of zero
            ratio = limit / request
            if ratio < 1:
                yield Finding(f"{resource} limit {most} is below the request {asked}", container.where)
            elif ratio > Decimal(str(allowed)):
                yield Finding(
                    f"{resource} limit {most} is {ratio:.3g} times the request {asked} "
                    f"(at most {number(allowed)} times)",
                    container.where,
                )


POLICIES = [
    object_rule("cpu-memory-requests", _requests),
    object_rule("memory-limits", _memory_limits),
    object_rule("limit-request-ratio", _ratio, patches=True),
]
