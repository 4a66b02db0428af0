"""Probes: how Kubernetes knows that a container works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloudmart.settings.rules import PROBE_HANDLERS

from ._kubernetes import UNKNOWN, Object
from ._rule import Config, Finding, object_rule


def _asks_something(probe: Any) -> bool:
    return probe is UNKNOWN or (isinstance(probe, dict) and any(probe.get(name) is not None for name in PROBE_HANDLERS))


def _probes(found: Object, config: Config) -> Iterator[Finding]:
    if not found.long_running:
        return
    for container in found.containers:
        missing = [name for name in config["required"] if not _asks_something(container.body.get(f"{name}Probe"))]
        if missing and not container.init:
            yield Finding(f"no {' and '.join(missing)} probe", container.where)


POLICIES = [object_rule("probes", _probes)]
