"""What stands beside the declared objects: pods and claims, which Kubernetes makes of them, and rights that are given
cluster-wide. Pure: nothing is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from cloudmart.cluster.live import Reference
from cloudmart.drift import fields
from cloudmart.drift.fields import Path, Writer
from cloudmart.finops.paths import Item

#: Whose pods have the template that stands in them; those of a DaemonSet do not say of which revision they are.
_MAKERS = ("ReplicaSet", "StatefulSet", "Job")
#: How long after its creation a pod's fields are still those that admission has chosen.
_ADMITTED = timedelta(seconds=2)


def template_of(pod: Mapping[str, Any], found: Mapping[Reference, Mapping[str, Any]]) -> Mapping[str, Any]:
    """What its maker has made the pod of; empty where that is not known, as amid a rollout of a StatefulSet."""
    metadata = pod["metadata"]
    for one in metadata.get("ownerReferences") or ():
        maker = found.get(Reference(one["apiVersion"], one["kind"], metadata["namespace"], one["name"]))
        if maker is None or one["kind"] not in _MAKERS or not one.get("controller"):
            continue
        if one["kind"] == "StatefulSet" and not _is_current(pod, maker):
            continue
        template: Mapping[str, Any] = maker["spec"]["template"]
        return template
    return {}


def _is_current(pod: Mapping[str, Any], maker: Mapping[str, Any]) -> bool:
    status = maker.get("status") or {}
    revision = (pod["metadata"].get("labels") or {}).get("controller-revision-hash")
    seen = status.get("observedGeneration") == maker["metadata"].get("generation")
    return bool(seen and revision == status.get("updateRevision"))


def other_images(pod: Mapping[str, Any], template: Mapping[str, Any]) -> Iterator[tuple[Path, Any, Any]]:
    """Path, declared and live image of each container that the template has and the pod has otherwise.

    Containers that only the pod has are a mesh's: none can be added to a pod that is there but an ephemeral one.
    """
    for kind in ("initContainers", "containers"):
        for container in template.get("spec", {}).get(kind) or ():
            place = ("spec", kind, Item((("name", container["name"]),)), "image")
            live = fields.value_at(pod, place)
            if live != container["image"]:
                yield place, container["image"], live


def is_by_admission(pod: Mapping[str, Any], writer: Writer) -> bool:
    """Whether a field of a pod was written as the pod was made: a webhook may take images from a mirror."""
    if not writer.time:  # who writes managed fields himself may leave it out
        return False
    made, written = (datetime.fromisoformat(text) for text in (pod["metadata"]["creationTimestamp"], writer.time))
    return written - made <= _ADMITTED


def ephemeral(pod: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Path and content of what somebody has added to a pod that runs."""
    for container in pod["spec"].get("ephemeralContainers") or ():
        yield ("spec", "ephemeralContainers", Item((("name", container["name"]),))), container


def labels_of_claims(stateful_set: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """What the names of the claims of a StatefulSet begin with, before a number, and their labels."""
    for template in stateful_set["spec"].get("volumeClaimTemplates") or ():
        metadata = template["metadata"]
        yield f"{metadata['name']}-{stateful_set['metadata']['name']}-", metadata.get("labels") or {}


def lets_in(binding: Mapping[str, Any], namespace: str) -> bool:
    """Whether a binding gives rights to service accounts of the namespace."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    for subject in binding.get("subjects") or ():
        kind, name = subject["kind"], subject["name"]
        if (
            (kind == "ServiceAccount" and subject.get("namespace") == namespace)
            or (kind == "Group" and name in groups)
            or (kind == "User" and name.startswith(f"system:serviceaccount:{namespace}:"))
        ):
            return True
    return False
