"""Horizontal pod autoscalers that can work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pulumi_policy import Severity

from cloudmart.settings.rules import RULES

from ._kubernetes import UNKNOWN, Object, Stack, amount, get, items, number
from ._rule import About, Config, Finding, object_rule, stack_rule


class Metric(NamedTuple):
    """A metric measured against requests: the resource, one container or None for all, and the target in percent."""

    resource: str
    container: str | None
    utilization: Any


def metrics(found: Object) -> Iterator[Metric]:
    """The utilization metrics of an autoscaler, of every API version."""
    direct = amount(found.body, "spec", "targetCPUUtilizationPercentage")  # autoscaling/v1
    if direct is not None:
        yield Metric("cpu", None, direct)
    for metric in items(found.body, "spec", "metrics"):
        for field in ("resource", "containerResource"):
            source = get(metric, field)
            if source in (None, UNKNOWN):
                continue
            target = amount(source, "target", "averageUtilization")
            target = target if target is not None else amount(source, "targetAverageUtilization")  # v2beta1
            name, container = get(source, "name"), get(source, "container")
            if target is not None and UNKNOWN not in (name, container):
                yield Metric(str(name), container, target)


def target_of(stack: Stack, found: Object) -> Object | None:
    """The workload that an autoscaler or similar scales, if the stack has it."""
    reference = get(found.body, "spec", "scaleTargetRef")
    kind, name = get(reference, "kind"), get(reference, "name")
    if not isinstance(kind, str) or not isinstance(name, str):
        return None
    return stack.named(found.namespace, kind, name)


def _sane(found: Object, config: Config) -> Iterator[Finding]:
    spec = get(found.body, "spec")
    lowest, highest = amount(spec, "minReplicas"), amount(spec, "maxReplicas")
    lowest = 1 if lowest is None else lowest
    if lowest is not UNKNOWN and lowest < config["minReplicas"]:
        yield Finding(f"minReplicas {number(lowest)} is below {number(config['minReplicas'])}")
    if highest is None:
        yield Finding("no maxReplicas")
    elif UNKNOWN not in (lowest, highest) and lowest > highest:
        yield Finding(f"minReplicas {number(lowest)} is above maxReplicas {number(highest)}")
    if get(spec, "scaleTargetRef", "name") is None:
        yield Finding("no scaleTargetRef.name")
    low, high = config["minUtilization"], config["maxUtilization"]
    for metric in metrics(found):
        if metric.utilization is not UNKNOWN and not low <= metric.utilization <= high:
            yield Finding(
                f"target {metric.resource} utilization {number(metric.utilization)} % is outside "
                f"{number(low)} to {number(high)} %"
            )


def _target(stack: Stack, _config: Config) -> Iterator[Finding]:
    taken: dict[str, Object] = {}
    for found in stack.of("HorizontalPodAutoscaler"):
        workload = target_of(stack, found)
        if workload is None or found.namespace is UNKNOWN:
            continue
        other = taken.setdefault(workload.id, found)
        if other is not found:
            yield Finding(f"{workload.where} is already scaled by {other.where}", of=found)
        for metric in metrics(found):
            containers = [c for c in workload.containers if not c.init and metric.container in (None, c.name)]
            if not containers and metric.container is not None:
                yield Finding(f"{workload.where} has no container '{metric.container}'", of=found)
            for container in containers:
                if get(container.body, "resources", "requests", metric.resource) is None:
                    yield Finding(
                        f"{workload.where}, {container.where} has no {metric.resource} request to measure against",
                        of=found,
                    )


POLICIES = [
    object_rule("autoscaler-bounds", _sane),
    stack_rule(
        About(
            name="autoscaler-target",
            title="An autoscaler is alone on its workload, whose containers request what it measures.",
            topic="autoscaling",
            severity=Severity.HIGH,
            why="It would report <unknown> or fight another autoscaler, and not scale.",
            mend="set the requests of every container of the workload, and keep one autoscaler for it.",
            url=RULES["autoscaler-bounds"].url,
        ),
        _target,
    ),
]
