"""Deployments that get a fixed number of replicas, and had an autoscaler before.

What an autoscaler has ever set stays its field after it is gone. The engine takes no field from anybody else: its
preview would stop with a field conflict, now and at every further run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from cloudmart.cluster.kubectl import Kubectl
from cloudmart.preview.recorder import Recording

#: Whoever runs the autoscalers, and through what: a number that somebody has set by hand is not taken from them.
_SCALER = {"manager": "kube-controller-manager", "subresource": "scale"}
_FIELD = "spec.replicas"


def release(
    kubectl: Kubectl, recording: Recording, *, held: Callable[[], Collection[tuple[str, str]]] = frozenset
) -> None:
    """Takes the replicas of each Deployment whose number is declared from the autoscaler that had set them. Only the
    record of who holds the field changes: the number stays.

    An autoscaler that is there, aims at the Deployment and is not among the kinds and names of `held`, the stack's own,
    keeps them: it is somebody else's. `held` is asked for only where there is one.
    """
    for space, names in _fixed(recording).items():
        found = kubectl.items("get", "deployments", *names, f"--namespace={space}", "--show-managed-fields")
        scaled = {item["metadata"]["name"]: entry for item in found if (entry := _entry(item)) is not None}
        if not scaled:
            continue
        scalers = [
            (item["metadata"]["name"], item["spec"]["scaleTargetRef"])
            for item in kubectl.json("get", "hpa", f"--namespace={space}")["items"]
        ]
        ours = held() if scalers else ()
        kept = {
            target["name"]
            for name, target in scalers
            if target["kind"] == "Deployment" and ("HorizontalPodAutoscaler", name) not in ours
        }
        for name, entry in scaled.items():
            if name not in kept:
                path = f"/metadata/managedFields/{entry}"
                # Refused where the list has changed since.
                tests = [{"op": "test", "path": f"{path}/{key}", "value": value} for key, value in _SCALER.items()]
                patch = json.dumps([*tests, {"op": "remove", "path": path}])
                kubectl.run("patch", "deployment", name, f"--namespace={space}", "--type=json", f"--patch={patch}")


def _fixed(recording: Recording) -> Mapping[str, list[str]]:
    """Names of the Deployments whose number of replicas is the program's, by namespace."""
    found: dict[str, list[str]] = {}
    for one in recording.resources:
        if one.is_kubernetes_object and one.kind == "Deployment" and _FIELD not in one.ignore_changes:
            found.setdefault(str(one.namespace), []).append(str(one.object_name))
    return found


def _entry(live: Mapping[str, Any]) -> int | None:
    """Where among the managers of a Deployment's fields its autoscaler is."""
    managers = live["metadata"].get("managedFields", [])
    return next((at for at, entry in enumerate(managers) if _SCALER.items() <= entry.items()), None)
