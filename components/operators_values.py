"""Values of the operators' charts: one pure function each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudmart.settings.operators import CloudNativePgSettings, StrimziSettings
from components.labels import cost_labels
from components.layer import resources


def cloudnative_pg_values(settings: CloudNativePgSettings, home: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Values of chart ``cloudnative-pg``.

    The operator watches the namespace `home` alone. Its role is cluster-wide all the same: the chart's other choice is
    a Role in the operator's own namespace, which would put the operator beside the shop's pods.
    """
    return {
        "replicaCount": settings.operator.replicas,
        # Of the environment, not of the chart's ConfigMap: the operator decides what to watch before it reads that.
        "additionalEnv": [{"name": "WATCH_NAMESPACE", "value": home}],
        "resources": resources(settings.operator),
        "podLabels": cost_labels(labels),
    }


def barman_cloud_values(settings: CloudNativePgSettings, labels: Mapping[str, str]) -> dict[str, Any]:
    """Values of chart ``plugin-barman-cloud``. Its certificates come from cert-manager, which must be there."""
    return {
        "replicaCount": settings.plugin.replicas,
        "resources": resources(settings.plugin),
        "podLabels": cost_labels(labels),
    }


def strimzi_values(settings: StrimziSettings, home: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Values of chart ``strimzi-kafka-operator``. Its roles for what it manages are bound in the namespace `home`."""
    return {
        "replicas": settings.operator.replicas,
        "watchNamespaces": [home],
        "resources": resources(settings.operator),
        "labels": cost_labels(labels),
        "enableServiceLinks": False,
        # The chart gives its container what Pod Security `restricted` asks for; this is the same for what it makes.
        "extraEnvs": [{"name": "STRIMZI_POD_SECURITY_PROVIDER_CLASS", "value": "restricted"}],
        # Its own would let every pod of the namespace come to a listener that names no peers. Ours say who may.
        "generateNetworkPolicy": False,
    }
