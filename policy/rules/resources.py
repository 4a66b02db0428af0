"""Requests and limits: what a pod reserves, may use, and is billed for."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any

from pulumi_policy import EnforcementLevel, Severity

from cloudmart.settings.quantities import Bytes, Cpu

from ._kubernetes import UNKNOWN, WORKLOADS, Object, get, number
from ._rule import About, Config, Finding, resource_rule

_URL = "https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/"


def _requests(found: Object, _config: Config) -> Iterator[Finding]:
    for container in found.containers:
        missing = [name for name in ("cpu", "memory") if get(container.body, "resources", "requests", name) is None]
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
                continue
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
    resource_rule(
        About(
            name="cpu-memory-requests",
            title="Every container, init containers included, requests CPU and memory.",
            topic="resources",
            severity=Severity.HIGH,
            why="Without requests the scheduler, the autoscaler and the cost estimate have nothing to go by.",
            mend="set resources.requests.cpu and resources.requests.memory.",
            url=_URL,
        ),
        WORKLOADS,
        _requests,
    ),
    resource_rule(
        About(
            name="memory-limits",
            title="Every container, init containers included, has a memory limit.",
            topic="resources",
            severity=Severity.HIGH,
            why="A leak in a container without one takes memory from every pod of the node.",
            mend="set resources.limits.memory.",
            url=_URL,
        ),
        WORKLOADS,
        _memory_limits,
    ),
    resource_rule(
        About(
            name="limit-request-ratio",
            title="A container's limits stay within a configured multiple of its requests.",
            topic="resources",
            severity=Severity.MEDIUM,
            level=EnforcementLevel.ADVISORY,
            why="What lies between is promised to several pods at once: under load some are throttled or killed.",
            mend="raise the request or lower the limit.",
            url=_URL,
        ),
        WORKLOADS,
        _ratio,
        {
            "maxCpuRatio": {
                "type": "number",
                "minimum": 1,
                "default": 5,
                "description": "CPU limit divided by CPU request, at most.",
            },
            "maxMemoryRatio": {
                "type": "number",
                "minimum": 1,
                "default": 2,
                "description": "Memory limit divided by memory request, at most.",
            },
        },
    ),
]
