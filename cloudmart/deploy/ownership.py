"""Whose the namespaces and priority classes are that a run is about to write into, or to delete.

The provider takes over what is there (``docs/decisions/0002``), which is meant for what `destroy` has kept and for what
a killed run has left, and not for what somebody else, or another stack, has under those names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from cloudmart.cluster.kubectl import Kubectl
from cloudmart.errors import UserError
from cloudmart.preview.recorder import Recording
from cloudmart.settings.service import STACK_OF

PREPARED = "cloudmart/prepared-for"
"""On a namespace that an administrator made for a stack whose deployer may make none: the stack. Counts first."""

#: Kinds and names of objects.
Names = Collection[tuple[str, str]]

_PROJECT = "project"


def declared(recording: Recording, *kinds: str) -> list[tuple[str, str]]:
    """Kinds and names of the objects of these kinds that a stack declares."""
    return [
        (one.kind, str(one.object_name))
        for one in recording.resources
        if one.is_kubernetes_object and one.kind is not None and one.kind in kinds
    ]


def of_another_stack(live: Mapping[str, Any], stack: str) -> str | None:
    """The stack that a live object belongs to, where that is another one."""
    found: str | None = _metadata(live, "annotations").get(STACK_OF)
    return None if found == stack or is_prepared(live, stack) else found


def is_prepared(live: Mapping[str, Any], stack: str) -> bool:
    """Whether an administrator made a live object for the stack."""
    return bool(_metadata(live, "annotations").get(PREPARED) == stack)


def refuse_foreign(
    kubectl: Kubectl, names: Names, *, project: str, stack: str, held: Callable[[], Names] = frozenset
) -> None:
    """Raises ``UserError``, one line a problem, for namespaces and priority classes that are not the stack's: those of
    another stack, and a namespace that neither has the label of the `project` nor was prepared by an administrator.

    What the stack's state holds is its own whatever it says; `held` is asked for that only where it matters.
    """
    problems: dict[tuple[str, str], str] = {}
    for found in _live(kubectl, names):
        kind, name = found["kind"], found["metadata"]["name"]
        if other := of_another_stack(found, stack):
            problems[kind, name] = refusal(kubectl, kind, name, stack, other)
        elif kind == "Namespace" and not (
            is_prepared(found, stack) or _metadata(found, "labels").get(_PROJECT) == project
        ):
            problems[kind, name] = (
                f"namespace {name}: found one that something else made; allowed: none, or one of this shop's. Choose "
                f"another name; where it is meant for the shop: `{_command(kubectl)} label namespace {name} "
                f"{_PROJECT}={project}`"
            )
    if problems:
        ours = held()
        if lines := [line for key, line in problems.items() if key not in ours]:
            raise UserError("\n".join(lines))


def refusal(kubectl: Kubectl, kind: str, name: str, stack: str, other: str) -> str:
    """What to say of an object of another stack."""
    what = f"namespace {name}" if kind == "Namespace" else f"{kind} {name}"
    keys = "a `project` and a `namespace.name`" if kind == "Namespace" else "a `project`"
    return (
        f"{what}: found one of stack {other}; allowed: none, or one of stack {stack}. Give {stack} {keys} of its own "
        f"in Pulumi.{stack}.yaml; where it is {stack}'s from now on, with all that it holds: "
        f"`{_command(kubectl)} annotate {kind.lower()} {name} {STACK_OF}={stack} --overwrite`"
    )


def _live(kubectl: Kubectl, names: Names) -> Iterator[Mapping[str, Any]]:
    for kind in dict.fromkeys(kind for kind, _ in names):
        wanted: Sequence[str] = [name for one, name in names if one == kind]
        yield from kubectl.items("get", kind.lower(), *wanted)


def _metadata(live: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    return live["metadata"].get(what) or {}


def _command(kubectl: Kubectl) -> str:
    return f"kubectl --context {kubectl.context}" if kubectl.context else "kubectl"
