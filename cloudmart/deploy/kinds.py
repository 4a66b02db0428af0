"""Kinds that the target cluster does not serve, because nothing has taught it their definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from cloudmart.cluster.discovery import served
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.errors import UserError
from cloudmart.preview.recorder import Recorded, Recording

Progress = Callable[[str], None]
#: ``(apiVersion, kind)`` to whether objects of the kind stand in a namespace.
Scopes = Mapping[tuple[str, str], bool]


def scopes(recording: Recording, kubectl: Kubectl) -> Scopes:
    """The scope of every kind that the cluster serves in the API versions of what was recorded."""
    return served(kubectl.run, {str(item.api_version) for item in recording.resources if item.is_kubernetes_object})


def served_part(
    recording: Recording,
    kubectl: Kubectl,
    *,
    local: bool,
    progress: Progress,
    teach: Callable[[], object] | None = None,
) -> tuple[Recording, Scopes]:
    """The recording without objects of kinds that the cluster does not serve, and the scope of the kinds that are left.

    Where there are such, ``teach`` is called first: it may teach the cluster their definitions.

    One line an API group says what is left out of the local cluster. Raises ``UserError`` with the same lines for any
    other cluster: an environment without some of its objects is not what was asked for.
    """
    objects = [resource for resource in recording.resources if resource.is_kubernetes_object]
    known = scopes(recording, kubectl)
    if teach is not None and any(_key(resource) not in known for resource in objects):
        teach()
        known = scopes(recording, kubectl)
    unknown = [resource for resource in objects if _key(resource) not in known]
    if not unknown:
        return recording, known
    where = "the local cluster" if local else f"context {kubectl.context}"
    cure = (
        "`cloudmart local start` teaches it those that registries have (docs/crds.md)"
        if local
        else "install what brings them first, switch their layer off, or put the Pulumi CLI on PATH, which installs it"
    )
    lines = [f"{where} does not serve {text}; {cure}" for text in _by_group(unknown)]
    if not local:
        raise UserError("\n".join(lines))
    for line in lines:
        progress(f"left out: {line}")
    left_out = {resource.urn for resource in unknown}
    kept = [resource for resource in recording.resources if resource.urn not in left_out]
    return replace(recording, resources=kept), known


def _key(resource: Recorded) -> tuple[str, str]:
    return str(resource.api_version), str(resource.kind)


def _by_group(unknown: list[Recorded]) -> list[str]:
    groups: dict[str, dict[str, int]] = {}
    for resource in unknown:
        api_version, kind = _key(resource)
        group, _, version = api_version.rpartition("/")
        kinds = groups.setdefault(group or "core", {})
        name = f"{kind} {version}"
        kinds[name] = kinds.get(name, 0) + 1
    return [
        f"{group}: {', '.join(f'{count} x {kind}' for kind, count in sorted(kinds.items()))}"
        for group, kinds in sorted(groups.items())
    ]
