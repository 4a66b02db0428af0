"""Custom resources, by what their controllers say of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cloudmart.cluster.live import Reference
from cloudmart.verify.check import Check, Finding, Stage, Status, count, finding, judged, skipped
from cloudmart.verify.state import Object, State, reason

#: The conditions of the kinds that the stack uses. A controller may have more, which are for information.
_GOOD = ("Ready", "Accepted", "Programmed", "ResolvedRefs", "Reconciled", "Available", "Healthy", "ContinuousArchiving")
_BAD = ("NotReady", "Degraded", "Stalled", "ConfigUnsupported", "NoPodsMatched", "ConfigDeprecated")
_WARNINGS = ("Warning", "ConfigDeprecated", "NoPodsMatched")
#: Kinds whose controller always says something: silence means that it does not run, or may not look here.
_SPEAKING = {
    ("postgresql.cnpg.io", "Cluster"),
    ("kafka.strimzi.io", "Kafka"),
    ("kafka.strimzi.io", "KafkaTopic"),
    ("kafka.strimzi.io", "KafkaUser"),
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "HTTPRoute"),
    ("cert-manager.io", "Certificate"),
}


def judge_all(state: State, stage: Stage, name: str, references: Iterable[Reference]) -> Check:
    """A check of these resources, by the conditions in their status."""
    asked = [reference for reference in references if reference in state.live]
    if not asked:
        return skipped(stage, name, "none of them is there")
    if state.simulated and not any(state.live[reference].get("status") for reference in asked):
        return skipped(stage, name, "pods are simulated here: no controller looks at these resources")
    findings = [found for reference in asked for found in judge(state, reference, state.live[reference])]
    bad = {found.subject for found in findings if found.status is Status.FAIL}
    return judged(stage, name, f"{len(asked) - len(bad)} of {count(len(asked), 'resource')}", findings)


def judge(state: State, reference: Reference, live: Object) -> Iterator[Finding]:
    """What is wrong with one, in its controller's words."""
    argument = reference.argument
    describe = state.kubectl("describe", argument, namespace=reference.namespace)
    status = live.get("status") or {}
    said = False
    for where, condition in _conditions(status):
        said = True
        kind, value = condition.get("type"), condition.get("status")
        wrong = (kind in _GOOD and value == "False") or (kind in (*_BAD, *_WARNINGS) and value == "True")
        if wrong:
            yield finding(
                reference.label,
                f"{kind} is {value}{where}: {reason(condition)}",
                f"{describe}; when the cause is mended, its controller tries again by itself",
                Status.WARN if kind in _WARNINGS else Status.FAIL,
            )
        elif kind == "Ready" and value != "True":
            yield finding(reference.label, f"Ready is {value}{where}: {reason(condition)}", describe)
    if status.get("applied") is False:  # CloudNativePG's roles and databases
        yield finding(reference.label, f"is not applied: {status.get('message', 'no reason given')}", describe)
        said = True
    errors = [error for pod in status.get("byPod") or () for error in pod.get("errors") or ()]  # Gatekeeper
    if errors:
        yield finding(reference.label, f"is not enforced: {errors[0].get('message', errors[0])}", describe)
    if not said and (reference.group, reference.kind) in _SPEAKING:
        yield finding(
            reference.label,
            "its controller has said nothing about it",
            "see whether the controller runs: "
            + state.kubectl("get", "pods", "--all-namespaces")
            + f"; then {describe}",
        )


def _conditions(status: Object) -> Iterator[tuple[str, dict[str, Any]]]:
    """The conditions of the resource itself, of its listeners, and of each parent of a route."""
    for one in status.get("conditions") or ():
        yield "", one
    for listener in status.get("listeners") or ():
        for one in listener.get("conditions") or ():
            yield f" for listener {listener.get('name')}", one
    for parent in status.get("parents") or ():
        for one in parent.get("conditions") or ():
            yield f" at {(parent.get('parentRef') or {}).get('name')}", one
