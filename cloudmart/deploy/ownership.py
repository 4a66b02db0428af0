"""Whose a namespace is that the engine is about to write into, or a command to delete.

The provider takes over what is there (``docs/decisions/0002``), which is meant for what `destroy` has kept and for what
a killed run has left, and not for what somebody else runs in a namespace that happens to have the name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from cloudmart.cluster.kubectl import Kubectl
from cloudmart.deploy.applyset import PREPARED
from cloudmart.errors import UserError
from cloudmart.preview.recorder import Recording

_PROJECT = "project"


def namespaces(recording: Recording) -> list[str]:
    """Those that a stack declares."""
    spaces = (one for one in recording.resources if one.is_kubernetes_object and one.kind == "Namespace")
    return [str(space.object_name) for space in spaces]


def refuse_foreign(
    kubectl: Kubectl, names: Iterable[str], *, project: str, stack: str, known: Callable[[], Collection[str]] = tuple
) -> None:
    """Raises ``UserError`` for a namespace that is there and is not ours: neither labelled with the project, nor
    prepared for the stack by an administrator, nor among the `known` ones, which are asked for only where it matters.
    """
    live = kubectl.json("get", "namespaces", *names, "--ignore-not-found") or {"items": []}
    foreign = []
    for found in live.get("items", [live]):
        metadata = found["metadata"]
        ours = (metadata.get("labels") or {}).get(_PROJECT) == project
        if not ours and (metadata.get("annotations") or {}).get(PREPARED) != stack:
            foreign.append(metadata["name"])
    if foreign:
        foreign = [name for name in foreign if name not in known()]
    if foreign:
        label = f"{_PROJECT}={project}"
        raise UserError(
            "\n".join(
                f"namespace {name}: found one that something else made; allowed: none, or one of this shop's. Choose "
                f"another name; where it is meant for the shop, `kubectl label namespace {name} {label}`"
                for name in foreign
            )
        )
