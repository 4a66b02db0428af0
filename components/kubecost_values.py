"""Values of Kubecost's charts: one pure function each. The charts share hardly a key, and 3.x aborts on those of 2.x.

Both make the cost center an allocation concept of its own: ``aggregate=department`` is the label ``cost-center``,
``team`` the label ``team``, ``product`` the label ``project``. (``aggregate=label:cost_center`` works besides.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudmart.settings.kubecost import KubecostSettings
from components.labels import cost_labels
from components.layer import resources

#: Name of the release; the charts build their Services' names from it.
RELEASE = "kubecost"

# Kubecost stores label names with underscores, and looks them up so.
_CONCEPTS = {"department_label": "cost_center", "team_label": "team", "product_label": "project"}

# Keeps the cost history when the release goes; the namespace must stay for that.
_KEEP = {"helm.sh/resource-policy": "keep"}


def kubecost_values(settings: KubecostSettings, *, cluster_id: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Values of chart ``kubecost`` (3.x)."""
    parts, storage, retention = settings.components, settings.storage, settings.retention
    payer, running = cost_labels(labels), settings.containers
    class_name = storage.storage_class or ""
    secret = settings.federated_storage_secret
    return {
        "global": {
            "clusterId": cluster_id,
            "additionalLabels": payer,
            "defaultStorageClass": class_name,
            "imagePullSecrets": list(settings.image_pull_secrets),
        }
        | ({"imageRegistry": settings.image_registry} if settings.image_registry else {})
        | ({"federatedStorage": {"existingSecret": secret}} if secret else {}),
        "aggregator": {
            "resources": resources(parts.aggregator),
            "retention1d": retention.days,
            "retention1h": retention.hours,
            "aggregatorDbStorage": {"storageRequest": str(storage.database), "annotations": _KEEP},
            "persistentConfigsStorage": {"storageRequest": str(storage.configs), "annotations": _KEEP},
        },
        "finopsagent": _agent(settings, payer),
        "frontend": {"resources": resources(parts.frontend), "service": {"labels": payer}},
        "localStore": {
            "enabled": "localStore" in running,
            "resources": resources(parts.local_store),
            # It only bridges the time until the aggregator has read it: more than a few days would be kept twice.
            "retention1d": min(retention.days, 15),
            "retention1h": retention.hours,
            "persistentVolume": {"enabled": True, "size": str(storage.store), "labels": payer, "annotations": _KEEP},
        },
        "cloudCost": {
            "enabled": "cloudCost" in running,
            "resources": resources(parts.cloud_cost),
            "retention1d": retention.days,
            "persistentConfigsStorage": {"enabled": True, "size": str(storage.configs), "annotations": _KEEP},
        }
        | ({"cloudIntegrationSecret": settings.cloud_integration_secret} if settings.cloud_integration_secret else {}),
        "forecasting": {"enabled": parts.forecasting.enabled, "resources": resources(parts.forecasting)},
        "clusterController": {
            "enabled": parts.cluster_controller.enabled,
            "resources": resources(parts.cluster_controller),
        },
        "networkCosts": {"enabled": False},
        "kubecostProductConfigs": {"labelMappingConfigs": _CONCEPTS},
        "telemetry": {"enabled": settings.telemetry},
        # Lets the pages collect the logs of Kubecost's pods for bug reports: a right that costs do not need.
        "reporting": {"logCollection": False},
    }


def cost_analyzer_values(settings: KubecostSettings, *, cluster_id: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Values of chart ``cost-analyzer`` (2.x). Its Grafana, which has a password of its own in plain, stays out."""
    parts, storage, retention = settings.components, settings.storage, settings.retention
    payer, secret = cost_labels(labels), settings.federated_storage_secret
    class_name = storage.storage_class
    volume: dict[str, Any] = {"storageClass": class_name} if class_name else {}
    durations: dict[str, Any] = {
        "etlDailyStoreDurationDays": retention.days,
        "etlHourlyStoreDurationHours": retention.hours,
    }
    pull_secrets: dict[str, Any] = {"imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets]}
    product: dict[str, Any] = {"clusterName": cluster_id, "labelMappingConfigs": {"enabled": True} | _CONCEPTS}
    cloud = {"cloudIntegrationSecret": settings.cloud_integration_secret} if settings.cloud_integration_secret else {}
    return {
        "fullnameOverride": f"{RELEASE}-cost-analyzer",
        **pull_secrets,
        "global": {
            "additionalLabels": payer,
            "grafana": {"enabled": False, "proxy": False},
            "prometheus": {"enabled": True},
        }
        | (
            {
                "clusterId": cluster_id,
                "federatedStorage": {"existingSecret": secret},
                "imagePullSecrets": list(settings.image_pull_secrets),
            }
            if secret
            else {}
        ),
        "kubecostModel": {"resources": resources(parts.cost_model), **durations},
        "kubecostFrontend": {"resources": resources(parts.frontend)},
        "kubecostAggregator": {
            "deployMethod": "singlepod",
            "resources": resources(parts.aggregator),
            **durations,
            "cloudCost": {"resources": resources(parts.cloud_cost)},
        },
        "persistentVolume": {
            "enabled": True,
            "size": str(storage.store),
            "labels": payer,
            "annotations": _KEEP,
            **volume,
        },
        "service": {"labels": payer},
        "prometheus": {
            **pull_secrets,
            "server": {
                "resources": resources(parts.prometheus),
                # The chart refuses less than 50 hours, and what is not more than the hourly store.
                "retention": f"{max(97, 2 * retention.hours)}h",
                "global": {"external_labels": {"cluster_id": cluster_id}},
                "persistentVolume": {"enabled": True, "size": str(storage.prometheus), "annotations": _KEEP, **volume},
            },
        },
        "forecasting": {"enabled": parts.forecasting.enabled, "resources": resources(parts.forecasting)},
        "clusterController": {
            "enabled": parts.cluster_controller.enabled,
            "resources": resources(parts.cluster_controller),
        },
        "networkCosts": {"enabled": False},
        "kubecostProductConfigs": product | cloud,
        "reporting": {
            "logCollection": False,
            "productAnalytics": settings.telemetry,
            "errorReporting": settings.telemetry,
            "valuesReporting": settings.telemetry,
        },
    } | (
        {
            # The agent's subchart makes a ConfigMap of the default name.
            "pricingConfigmapName": f"{RELEASE}-pricing-configs",
            "finopsagent": _agent(settings, payer)
            | {"persistence": {"enabled": True, "size": str(storage.configs), "annotations": _KEEP, **volume}},
        }
        if settings.has_agent
        else {}
    )


def _agent(settings: KubecostSettings, payer: dict[str, str]) -> dict[str, Any]:
    return {
        "enabled": True,
        "resources": resources(settings.components.agent),
        "commonLabels": payer,
        "podLabels": {"app": "finops-agent"},
    }
