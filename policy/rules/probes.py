"""Probes: how Kubernetes knows that a container works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pulumi_policy import Severity

from ._kubernetes import UNKNOWN, WORKLOADS, Object
from ._rule import About, Config, Finding, resource_rule

_HANDLERS = ("httpGet", "exec", "tcpSocket", "grpc")


def _asks_something(probe: Any) -> bool:
    return probe is UNKNOWN or (isinstance(probe, dict) and any(probe.get(name) is not None for name in _HANDLERS))


def _probes(found: Object, config: Config) -> Iterator[Finding]:
    if not found.long_running:
        return
    for container in found.containers:
        missing = [name for name in config["required"] if not _asks_something(container.body.get(f"{name}Probe"))]
        if missing and not container.init:
            yield Finding(f"no {' and '.join(missing)} probe", container.where)


POLICIES = [
    resource_rule(
        About(
            name="probes",
            title="Every container of a long-running workload has a liveness and a readiness probe.",
            topic="reliability",
            severity=Severity.MEDIUM,
            why="Without them a hung container stays up, and a starting one gets traffic.",
            mend="add livenessProbe and readinessProbe with httpGet, exec, tcpSocket or grpc.",
            url="https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/",
        ),
        WORKLOADS,
        _probes,
        {
            "required": {
                "type": "array",
                "items": {"type": "string", "enum": ["liveness", "readiness", "startup"]},
                "default": ["liveness", "readiness"],
                "description": "The probes that must be there.",
            }
        },
    )
]
