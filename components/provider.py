"""The provider through which a program talks to its cluster."""

from __future__ import annotations

import os

import pulumi_kubernetes as kubernetes


def cluster_provider(context: str | None) -> kubernetes.Provider:
    """Talks to `context` of the kubeconfig; None is its current one."""
    return kubernetes.Provider(
        "cluster",
        context=context,
        # Without it the provider takes another address, authority or context for another cluster: it makes every object
        # again, which are the same ones, and then deletes "the old". A stack has one cluster, whatever leads there; not
        # the stack's name, which can be changed.
        cluster_identifier="of-the-stack",
        # A changed ConfigMap keeps its name; the checksum in the pod template rolls the pods that read it.
        enable_config_map_mutable=True,
        enable_secret_mutable=True,
        # A run that was killed has made objects that the state does not know, and `destroy` leaves the namespace: the
        # next `up` takes them over instead of failing. Fields that somebody else manages still stop it. But the preview
        # of a replacement, whose object is still there, fails then: by the provider's own variable it can be switched
        # off for one (docs/safe-change.md).
        upsert_existing_objects=os.environ.get("PULUMI_K8S_UPSERT_EXISTING_OBJECTS", "true") != "false",
    )
