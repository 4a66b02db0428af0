"""What only the whole stack shows: guarded namespaces, and selectors that select something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pulumi_policy import Severity

from cloudmart.settings.rules import WORKLOADS

from ._kubernetes import UNKNOWN, Object, Stack, get, texts
from ._rule import About, Config, Finding, stack_rule

_GUARDS = ("quota", "deny-ingress", "deny-egress")


def _denies(policy: Object, direction: str) -> bool:
    """Whether a NetworkPolicy denies `direction` (``Ingress`` or ``Egress``) to every pod of its namespace."""
    spec = get(policy.body, "spec")
    selector = get(spec, "podSelector")
    if UNKNOWN in (spec, selector) or get(selector, "matchLabels") or get(selector, "matchExpressions"):
        return False
    types = texts(spec, "policyTypes")
    if types is None:
        types = ["Ingress", *(["Egress"] if get(spec, "egress") is not None else [])]
    return types is UNKNOWN or (direction in types and get(spec, direction.lower()) in (None, [], UNKNOWN))


def _guarded(stack: Stack, namespace: Any, guard: str) -> bool:
    if guard == "quota":
        return any(stack.within(namespace, "ResourceQuota"))
    direction = "Ingress" if guard == "deny-ingress" else "Egress"
    return any(_denies(policy, direction) for policy in stack.within(namespace, "NetworkPolicy"))


def _guards(stack: Stack, config: Config) -> Iterator[Finding]:
    namespaces: dict[Any, Object] = {}
    for found in (*stack.workloads, *stack.of("Release")):
        namespaces.setdefault(found.namespace, found)
    for namespace, first in namespaces.items():
        if namespace is UNKNOWN:
            continue
        missing = [guard for guard in config["required"] if not _guarded(stack, namespace, guard)]
        if missing:
            declared = stack.named(None, "Namespace", namespace)
            # A namespace made elsewhere is not in the stack: then the first workload in it stands for it, and an
            # exemption names the Namespace all the same.
            place = declared or Object("Namespace", first.urn, namespace, {"metadata": {"name": namespace}})
            yield Finding(f"it holds workloads and has no {', '.join(missing)}", of=place)


def _selects(stack: Stack, namespace: Any, selector: Any) -> bool:
    # A chart's pods are not in the stack, nor are those whose namespace is unknown: they cannot be ruled out. Where the
    # program has pods of its own beside them, a selector has to name the release.
    if namespace is UNKNOWN:
        return True
    if any(stack.within(namespace, "Release", "Chart")) and not any(stack.within(namespace, *_OWN)):
        return True
    return (
        any(stack.selected(namespace, selector))
        or _is_waypoint(stack, namespace, selector)
        or _is_made(stack, namespace, selector)
    )


#: What has pods that are known here.
_OWN = (*sorted(WORKLOADS), "Cluster", "Kafka")
#: Labels of pods that somebody makes of an object: what the label's value is the name of.
_MAKERS = {
    "cnpg.io/cluster": "Cluster",
    "cnpg.io/poolerName": "Pooler",
    "strimzi.io/cluster": "Kafka",
    "release": "Release",
}


def _is_made(stack: Stack, namespace: Any, selector: Any) -> bool:
    """Whether an operator or a chart makes the pods, of an object of the stack that the selector names."""
    return any(
        isinstance(name := get(selector, "matchLabels", label), str) and stack.named(namespace, kind, name) is not None
        for label, kind in _MAKERS.items()
    )


def _is_waypoint(stack: Stack, namespace: Any, selector: Any) -> bool:
    """Istio makes the pods of a waypoint, with a label that names its Gateway."""
    name = get(selector, "matchLabels", "gateway.networking.k8s.io/gateway-name")
    gateway = stack.named(namespace, "Gateway", name) if isinstance(name, str) else None
    return gateway is not None and get(gateway.body, "spec", "gatewayClassName") == "istio-waypoint"


def _orphans(stack: Stack, _config: Config) -> Iterator[Finding]:
    for found in stack.of("HorizontalPodAutoscaler"):
        reference = get(found.body, "spec", "scaleTargetRef")
        kind, name = get(reference, "kind"), get(reference, "name")
        scalable = isinstance(kind, str) and kind in WORKLOADS and isinstance(name, str)
        outside = found.namespace is UNKNOWN or any(stack.within(found.namespace, "Release", "Chart"))
        if scalable and not outside and stack.named(found.namespace, kind, name) is None:
            yield Finding(f"its target, {kind} '{name}', is not in the stack", of=found)
    for found in stack.of("Service"):
        selector = get(found.body, "spec", "selector")
        # Without a selector somebody else gives the endpoints, and an ExternalName has none.
        if not selector or selector is UNKNOWN or get(found.body, "spec", "type") == "ExternalName":
            continue
        if not _selects(stack, found.namespace, {"matchLabels": selector}):
            yield Finding("its selector matches no pod template of the stack", of=found)
    for found in stack.of("PodDisruptionBudget", "NetworkPolicy"):
        field = "podSelector" if found.kind == "NetworkPolicy" else "selector"
        selector = get(found.body, "spec", field)
        if selector is UNKNOWN or not (get(selector, "matchLabels") or get(selector, "matchExpressions")):
            continue  # empty: every pod of the namespace
        if not _selects(stack, found.namespace, selector):
            yield Finding("its selector matches no pod template of the stack", of=found)


POLICIES = [
    stack_rule(
        About(
            name="namespace-guards",
            title="Every namespace that holds workloads has a quota and denies traffic by default.",
            topic="security",
            severity=Severity.HIGH,
            why="One workload could take the whole cluster's capacity, or talk to everything in it.",
            mend="add a ResourceQuota, and a NetworkPolicy with an empty podSelector and no rules, both ways.",
            url="https://kubernetes.io/docs/concepts/policy/resource-quotas/",
        ),
        _guards,
        {
            "required": {
                "type": "array",
                "items": {"type": "string", "enum": list(_GUARDS)},
                "default": list(_GUARDS),
                "description": "What a namespace must have.",
            }
        },
    ),
    stack_rule(
        About(
            name="no-orphans",
            title="Autoscalers, disruption budgets, Services and network policies point at something in the stack.",
            topic="reliability",
            severity=Severity.MEDIUM,
            why="It does nothing, and whoever wrote it believes that it does.",
            mend="correct the selector or reference, or remove the object.",
            url="https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/",
        ),
        _orphans,
    ),
]
