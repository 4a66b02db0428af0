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


def namespaces(recording: Recording) -> list[str]:
    """Those that a stack declares."""
    spaces = (one for one in recording.resources if one.is_kubernetes_object and one.kind == "Namespace")
    return [str(space.object_name) for space in spaces]


def of_another_stack(namespace: Mapping[str, Any], stack: str) -> str | None:
    """The stack that a live namespace belongs to, where that is another one."""
    found: str | None = _annotations(namespace).get(STACK_OF)
    return None if found == stack else found


def is_prepared(namespace: Mapping[str, Any], stack: str) -> bool:
    """Whether an administrator made a live namespace for the stack."""
    return bool(_annotations(namespace).get(PREPARED) == stack)


def refused(name: str, stack: str, other: str | None = None) -> UserError:
    """The error for a namespace of another stack."""
    whose = f"stack {other}" if other else "another stack"
    return UserError(
        f"namespace {name}: found one of {whose}; allowed: none, or one of stack {stack}. Give {stack} a `project` and "
        f"a `namespace.name` of its own in Pulumi.{stack}.yaml, or take the other stack away first"
    )


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


def _annotations(namespace: Mapping[str, Any]) -> Mapping[str, Any]:
    return namespace["metadata"].get("annotations") or {}
