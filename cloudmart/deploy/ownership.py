"""Whose a namespace is that a run is about to write into, or to delete.

The provider takes over what is there (``docs/decisions/0002``), which is meant for what `destroy` has kept and for what
a killed run has left, and not for what somebody else, or another stack, runs in a namespace of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from cloudmart.cluster.kubectl import Kubectl
from cloudmart.errors import UserError
from cloudmart.preview.recorder import Recording
from cloudmart.settings.service import STACK_OF

PREPARED = "cloudmart/prepared-for"
"""On a namespace that an administrator made for a stack whose deployer may make none: the stack."""

_PROJECT = "project"


def declared(recording: Recording, kind: str) -> list[str]:
    """Names of the objects of a kind that a stack declares."""
    found = (one for one in recording.resources if one.is_kubernetes_object and one.kind == kind)
    return [str(one.object_name) for one in found]


def of_another_stack(live: Mapping[str, Any], stack: str) -> str | None:
    """The stack that a live object belongs to, where that is another one."""
    found: str | None = _annotations(live).get(STACK_OF)
    return None if found == stack else found


def is_prepared(namespace: Mapping[str, Any], stack: str) -> bool:
    """Whether an administrator made a live namespace for the stack."""
    return bool(_annotations(namespace).get(PREPARED) == stack)


def refused(name: str, stack: str, other: str | None = None) -> UserError:
    """The error for a namespace of another stack."""
    return UserError(
        f"namespace {name}: found one of {f'stack {other}' if other else 'another stack'}; allowed: none, or one of "
        f"stack {stack}. {_cure(stack, other, '`project` and a `namespace.name`')}"
    )


def _cure(stack: str, other: str | None, names: str) -> str:
    away = f": `cloudmart down --stack {other} --delete-data`" if other else ""
    return f"Give {stack} a {names} of its own in Pulumi.{stack}.yaml, or take the other away with its data first{away}"


def refuse_foreign(
    kubectl: Kubectl, names: Iterable[str], *, project: str, stack: str, known: Callable[[], Collection[str]] = tuple
) -> None:
    """Raises ``UserError`` for a namespace that is there and is not the stack's: neither labelled with the project, nor
    prepared by an administrator, nor among the `known` ones, which are asked for only where it matters.
    """
    live = kubectl.json("get", "namespaces", *names, "--ignore-not-found") or {"items": []}
    problems = {}
    for found in live.get("items", [live]):
        name = found["metadata"]["name"]
        if other := of_another_stack(found, stack):
            problems[name] = str(refused(name, stack, other))
        elif (found["metadata"].get("labels") or {}).get(_PROJECT) != project and not is_prepared(found, stack):
            problems[name] = (
                f"namespace {name}: found one that something else made; allowed: none, or one of this shop's. Choose "
                f"another name; where it is meant for the shop, `kubectl label namespace {name} {_PROJECT}={project}`"
            )
    if problems:
        ours = known()
        if lines := [line for name, line in problems.items() if name not in ours]:
            raise UserError("\n".join(lines))


def refuse_shared(kubectl: Kubectl, recording: Recording) -> None:
    """Raises ``UserError`` for priority classes, which belong to the cluster, of another stack of the project."""
    stack, names = recording.stack, declared(recording, "PriorityClass")
    live = (kubectl.json("get", "priorityclasses", *names, "--ignore-not-found") if names else None) or {"items": []}
    for found in live.get("items", [live]):
        if other := of_another_stack(found, stack):
            raise UserError(
                f"PriorityClass {found['metadata']['name']}: found one of stack {other}, which has the same project; "
                f"allowed: none, or one of stack {stack}. {_cure(stack, other, '`project`')}"
            )


def _annotations(live: Mapping[str, Any]) -> Mapping[str, Any]:
    return live["metadata"].get("annotations") or {}
