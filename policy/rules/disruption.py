"""Disruption budgets: a drained node must not take a service down."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from pulumi_policy import Severity

from ._kubernetes import UNKNOWN, Object, Stack, amount, get, number
from ._rule import About, Config, Finding, stack_rule
from .autoscaling import target_of


def _floor(found: Object, autoscalers: list[Object]) -> Any:
    """The fewest replicas that the workload runs, and why: an autoscaler's minimum, else its own number."""
    for autoscaler in autoscalers:
        lowest = amount(autoscaler.body, "spec", "minReplicas")
        return 1 if lowest is None else lowest
    replicas = amount(found.body, "spec", "replicas")
    return 1 if replicas is None else replicas


def _evictable(budget: Object, replicas: float) -> bool:
    """Whether one pod of `replicas` may be evicted, for all that is known."""
    most, least = (_count(get(budget.body, "spec", key), replicas) for key in ("maxUnavailable", "minAvailable"))
    if most is not None:
        return most >= 1
    return least is None or least < replicas


def _count(value: Any, replicas: float) -> float | None:
    """A number of pods, given as one or in percent. Kubernetes rounds percentages up."""
    percent = re.fullmatch(r"(\d+)%", value) if isinstance(value, str) else None
    if percent:
        return math.ceil(int(percent[1]) * replicas / 100)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _budget(stack: Stack, _config: Config) -> Iterator[Finding]:
    scaled: dict[str, list[Object]] = {}
    for autoscaler in stack.of("HorizontalPodAutoscaler"):
        workload = target_of(stack, autoscaler)
        if workload is not None:
            scaled.setdefault(workload.urn, []).append(autoscaler)
    budgets: dict[str, list[Object]] = {}
    for budget in stack.of("PodDisruptionBudget"):
        for workload in stack.selected(budget.namespace, get(budget.body, "spec", "selector")):
            budgets.setdefault(workload.urn, []).append(budget)
    for found in stack.of("Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"):
        floor, replicas = _floor(found, scaled.get(found.urn, [])), amount(found.body, "spec", "replicas")
        most = max((n for n in (floor, replicas) if n not in (None, UNKNOWN)), default=1)
        if most <= 1 or found.namespace is UNKNOWN:
            continue
        if found.urn not in budgets:
            yield Finding(f"{number(most)} replicas and no PodDisruptionBudget selects its pods", of=found)
        for budget in budgets.get(found.urn, ()):
            if floor is not UNKNOWN and not _evictable(budget, floor):
                yield Finding(
                    f"{budget.where} lets no pod go at {number(floor)} replicas, so no node can be drained",
                    of=found,
                    mend="use maxUnavailable 1, or raise the minimum of replicas above minAvailable.",
                )


POLICIES = [
    stack_rule(
        About(
            name="disruption-budget",
            title="A workload with more than one replica has a disruption budget that still lets nodes drain.",
            topic="reliability",
            severity=Severity.MEDIUM,
            why="A node upgrade may evict all its pods at once, or never end.",
            mend="add a PodDisruptionBudget whose selector matches the pod template, with maxUnavailable 1.",
            url="https://kubernetes.io/docs/tasks/run-application/configure-pdb/",
        ),
        _budget,
    )
]
