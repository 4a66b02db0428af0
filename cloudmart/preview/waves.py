"""The order in which the objects of a recording can be made, as sync waves of Argo CD.

Argo CD orders kinds, but knows nothing of custom ones, nor of PriorityClasses, and waits for nothing: a service's pods
would start, and fail, before its store does. With waves it applies the lowest first, and goes on when that is healthy.

An object's wave is ten times its stage, or one more than what it depends on in the program where that is later.
"""

from __future__ import annotations

from cloudmart.preview.recorder import Recorded, Recording

WAVE = "argocd.argoproj.io/sync-wave"
OPTIONS = "argocd.argoproj.io/sync-options"

_OF_KIND = {
    # What others are in, or are refused without.
    "Namespace": 0,
    "PriorityClass": 0,
    "StorageClass": 0,
    "CustomResourceDefinition": 0,
    # 1 is everything else: what pods are bounded by, allowed, and read.
    # What keeps data.
    "StatefulSet": 2,
    # What uses it.
    "Deployment": 3,
    "DaemonSet": 3,
    "Job": 3,
    "CronJob": 3,
    # What looks at running pods, or leads to them. Nothing waits for these: an entrance without an address, or an
    # autoscaler without metrics, must not keep the shop from coming up.
    "HorizontalPodAutoscaler": 4,
    "VerticalPodAutoscaler": 4,
    "Ingress": 4,
}
_OF_GROUP = {
    "postgresql.cnpg.io": 2,
    "barmancloud.cnpg.io": 2,
    "kafka.strimzi.io": 2,
    "gateway.networking.k8s.io": 4,
}


def waves(recording: Recording) -> dict[str, int]:
    """The wave of every registration, by URN. What is no object has none of its own: it hands on what it depends on."""
    found: dict[str, int] = {}
    rendered = {one.urn for one in recording.resources if one.is_kubernetes_object and not one.secrets}
    for one in recording.resources:  # comes after what it depends on
        before = [found[urn] + (urn in rendered) for urn in one.dependencies if urn in found]
        found[one.urn] = max([10 * _stage(one) if one.urn in rendered else 0, *before])
    return found


def marks(one: Recorded, wave: int) -> dict[str, str]:
    """What tells Argo CD of an object's wave."""
    found = {WAVE: str(wave)} if wave else {}  # 0 is where what says nothing is
    if _group(one) == "constraints.gatekeeper.sh":
        # Gatekeeper makes the kind from the template, in the wave before: until then nobody can try it out.
        found[OPTIONS] = "SkipDryRunOnMissingResource=true"
    return found


def _stage(one: Recorded) -> int:
    return _OF_GROUP.get(_group(one), _OF_KIND.get(one.kind or "", 1))


def _group(one: Recorded) -> str:
    return (one.api_version or "").rpartition("/")[0]
