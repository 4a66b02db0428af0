"""Cost labels: whose money an object spends. Kubecost allocates by the labels of the pod, then of the namespace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pulumi_policy import Severity

from cloudmart.settings.rules import COST_CENTER, RULES, WORKLOADS
from cloudmart.settings.source import read as read_yaml

from ._kubernetes import TEMPLATE_PATHS, UNKNOWN, Object, Stack, get, items
from ._project import ROOT
from ._rule import About, Config, Finding, Schema, object_rule, stack_rule


def _registry() -> list[str]:
    """The cost centers that the catalog beside the pack declares, sorted; none where the pack is installed alone."""
    catalog = ROOT / "catalog.yaml"
    if not catalog.exists():
        return []
    return sorted(read_yaml(catalog, catalog.name).data.get("costCenters") or {})


_REGISTRY: Schema = {"costCenters": {**RULES["cost-labels"].schema["costCenters"], "default": _registry()}}


def _places(found: Object) -> Iterator[tuple[str, Any]]:
    """Where labels must stand: a name for messages, and the holder of ``metadata``."""
    yield "", found.body
    if found.kind in WORKLOADS and found.kind != "Pod":
        yield "pod template", found.template or {}
    if found.kind == "StatefulSet":
        for claim in items(found.body, "spec", "volumeClaimTemplates"):
            yield f"claim template '{get(claim, 'metadata', 'name')}'", claim
    for volume in items(found.template, "spec", "volumes"):
        claim = get(volume, "ephemeral", "volumeClaimTemplate")
        if claim is not None:
            yield f"ephemeral volume '{get(volume, 'name')}'", claim


def _labels(found: Object, config: Config) -> Iterator[Finding]:
    for at, holder in _places(found):
        labels = get(holder, "metadata", "labels")
        missing = [label for label in config["required"] if get(labels, label) in (None, "")]
        if missing:
            yield Finding(f"no label {', '.join(missing)}", at)
        value = get(labels, COST_CENTER)
        if value not in (None, "", UNKNOWN) and value not in config["costCenters"]:
            yield Finding(
                f"{COST_CENTER} '{value}' is not in the registry",
                at,
                mend=f"use one of {', '.join(config['costCenters']) or 'none: the registry is empty'}, "
                "or add it to costCenters in the catalog.",
            )


def _add_labels(found: Object, props: Any, config: Config) -> bool:
    wanted = config["namespaces"].get(found.name if found.kind == "Namespace" else found.namespace)
    if not wanted:
        return False
    changed = [_complete(holder, wanted) for holder in _holders(found.kind, props)]
    return any(changed)


def _holders(kind: str, props: Any) -> Iterator[Any]:
    yield props
    if kind in WORKLOADS - {"Pod"}:
        template = props
        for step in TEMPLATE_PATHS.get(kind, ("spec", "template")):
            template = template.get(step) if isinstance(template, Mapping) else None
        yield template
    if kind == "StatefulSet":
        claims = props["spec"].get("volumeClaimTemplates") if isinstance(props.get("spec"), Mapping) else None
        yield from () if claims is None or isinstance(claims, str) else claims


def _complete(holder: Any, wanted: Mapping[str, str]) -> bool:
    """Adds the labels that are missing. An unknown value is text here, and is left alone."""
    for step in ("metadata", "labels"):
        if not isinstance(holder, Mapping):
            return False
        if holder.get(step) is None:
            holder[step] = {}  # type: ignore[index]
        holder = holder[step]
    missing = {label: value for label, value in wanted.items() if isinstance(holder, Mapping) and not holder.get(label)}
    for label, value in missing.items():
        holder[label] = value
    return bool(missing)


def _effective(stack: Stack, found: Object) -> Any:
    if found.kind in WORKLOADS:
        own = get(found.pod_labels, COST_CENTER)
        if own not in (None, ""):
            return own
    if found.namespace is UNKNOWN:
        return UNKNOWN
    namespace = stack.named(None, "Namespace", found.namespace)
    return get(namespace.body, "metadata", "labels", COST_CENTER) if namespace else None


def _cost_center(stack: Stack, config: Config) -> Iterator[Finding]:
    for found in (*stack.workloads, *stack.of("Release")):
        value = _effective(stack, found)
        if value in (None, ""):
            yield Finding("neither it nor its namespace has a cost center", of=found)
        elif value is not UNKNOWN and value not in config["costCenters"]:
            yield Finding(f"its cost center '{value}' is not in the registry", of=found)


POLICIES = [
    object_rule("cost-labels", _labels, schema=_REGISTRY, remediate=_add_labels),
    stack_rule(
        About(
            name="workload-cost-center",
            title="Every workload and Helm release has a cost center, of its own or of its namespace.",
            topic="cost",
            severity=Severity.HIGH,
            why="Its cost would stand under 'unallocated'.",
            mend=f"label the pod template, or the Namespace, with a {COST_CENTER} from costCenters in the catalog.",
            url=RULES["cost-labels"].url,
        ),
        _cost_center,
        _REGISTRY,
    ),
]
