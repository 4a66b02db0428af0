"""Room for old and new pods together while the quota gets smaller.

The quota follows what the services ask for. Where they ask for less than before, it would be smaller before the first
of the old pods is gone: as none goes before a new one is ready, and the new one is refused, the rollout would never
end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping
from decimal import Decimal
from typing import Any

from cloudmart.cluster.amounts import amounts
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.preview.recorder import Recording
from cloudmart.settings import Settings

_ITEMS = {"cpuPercent": ("requests.cpu", "limits.cpu"), "memoryPercent": ("requests.memory", "limits.memory")}
#: The most that the setting takes.
_MOST_PERCENT = 10_000
_NONE = Decimal(0)
_REFUSED = re.compile(r"exceeded quota: ([a-z0-9.-]+)")


def declared_quotas(recording: Recording) -> frozenset[tuple[str, str]]:
    """Namespace and name of each quota of a stack."""
    return frozenset(
        (str(one.namespace), str(one.object_name))
        for one in recording.resources
        if one.is_kubernetes_object and one.kind == "ResourceQuota"
    )


def foreign_quota(message: str, namespace: str, declared: Container[tuple[str, str]]) -> str | None:
    """The quota that by an API server's message refuses pods, where the stack does not declare it: there no headroom
    of the stack's own helps."""
    found = _REFUSED.search(message)
    return found[1] if found and (namespace, found[1]) not in declared else None


def until_rolled_out(recording: Recording, settings: Settings, kubectl: Kubectl) -> dict[str, Any]:
    """Overrides of the settings that keep the shop's quota as large as it is; empty where the rollout fits anyway.

    It fits where what is used now fits in twice: a rollout has at most one new pod beside each old one.
    """
    space = settings.namespace.name
    declared = next(
        (one for one in recording.resources if one.kind == "ResourceQuota" and one.namespace == space), None
    )
    if declared is None or declared.object_name is None:
        return {}
    live = kubectl.json("get", "resourcequota", declared.object_name, f"--namespace={space}", "--ignore-not-found")
    status: Mapping[str, Any] = (live or {}).get("status", {})
    before, used, after = (
        amounts(texts) for texts in (status.get("hard"), status.get("used"), declared.inputs["spec"]["hard"])
    )
    room = settings.namespace.headroom.model_dump(by_alias=True)
    wider = {}
    for key, items in _ITEMS.items():
        tight = [item for item in items if after[item] < min(before.get(item, _NONE), 2 * used.get(item, _NONE))]
        if tight:
            share = max(before[item] / after[item] for item in tight)
            wider[key] = min(_MOST_PERCENT, math.ceil((100 + room[key]) * share) - 100)
    return {"cloudmart:namespace": {"headroom": wider}} if wider else {}
