"""Values of the monitoring's charts: one pure function each.

Keys are those of kube-prometheus-stack 88 with its subcharts grafana 12 and kube-state-metrics 8, and of
metrics-server 3.13.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from cloudmart.settings.base import Resources
from cloudmart.settings.monitoring import GRAFANA_ADMIN, MonitoringSettings
from cloudmart.settings.quantities import Bytes
from components.labels import COST_LABELS, cost_labels
from components.layer import resources

#: Name of the releases; the charts build names of Services and accounts from it, and so does the settings' party.
RELEASE, METRICS_SERVER = "monitoring", "metrics-server"
#: The Secret with Grafana's administrator.
ADMIN, ADMIN_USER, ADMIN_PASSWORD = GRAFANA_ADMIN, "admin-user", "admin-password"
#: Marks ConfigMaps that hold dashboards for Grafana's sidecar.
DASHBOARD_LABEL = {"grafana_dashboard": "1"}
#: The data source that dashboards name.
DATASOURCE = "prometheus"
PROMETHEUS_PORT, ALERTMANAGER_PORT, WEBHOOK_PORT = 9090, 9093, 10250

#: The chart's own alerts that stay: on the monitoring itself, on kubelets and their certificates. What its others
#: watch is watched by our rules, which know teams and cost centers, or is not scraped.
_OWN_RULES = (
    "alertmanager",
    "configReloaders",
    "general",
    "kubeStateMetrics",
    "kubernetesSystem",
    "prometheus",
    "prometheusOperator",
)
_OTHER_RULES = (
    "etcd",
    "k8sContainerCpuUsageSecondsTotal",
    "k8sContainerMemoryCache",
    "k8sContainerMemoryRss",
    "k8sContainerMemorySwap",
    "k8sContainerMemoryWorkingSetBytes",
    "k8sContainerResource",
    "k8sPodOwner",
    "kubeApiserverAvailability",
    "kubeApiserverBurnrate",
    "kubeApiserverHistogram",
    "kubeApiserverSlos",
    "kubeControllerManager",
    "kubelet",
    "kubePrometheusGeneral",
    "kubePrometheusNodeRecording",
    "kubeProxy",
    "kubeSchedulerAlerting",
    "kubeSchedulerRecording",
    "kubernetesApps",
    "kubernetesResources",
    "kubernetesStorage",
    "network",
    "node",
    "nodeExporterAlerting",
    "nodeExporterRecording",
    "windows",
)
#: Parts of the control plane: clouds let nobody scrape theirs, and an API server's own metrics would be more than all
#: the rest together.
_NOT_SCRAPED = ("kubeApiServer", "kubeControllerManager", "coreDns", "kubeEtcd", "kubeScheduler", "kubeProxy")
#: Share of a volume that Prometheus fills; the rest is for the log of what is not in a block yet.
_FILL_PERCENT = 80
_MIB = 2**20


def stack_values(
    settings: MonitoringSettings, *, cluster_id: str, labels: Mapping[str, str], admin_checksum: pulumi.Input[str]
) -> dict[str, Any]:
    """Values of chart ``kube-prometheus-stack``. `labels` are the layer's; `cluster_id` goes on alerts."""
    parts, payer = settings.components, cost_labels(labels)
    ours = {"matchLabels": {"project": payer["project"]}}
    return {
        "fullnameOverride": RELEASE,
        "commonLabels": payer,
        "crds": {"enabled": True},
        "defaultRules": {
            "create": True,
            "rules": dict.fromkeys(_OWN_RULES, True) | dict.fromkeys(_OTHER_RULES, False),
            # It would fire for ever: nobody scrapes the API server.
            "disabled": {"KubeAPIDown": True},
        },
        **{part: {"enabled": False} for part in _NOT_SCRAPED},
        "nodeExporter": {"enabled": False},
        "prometheus": {
            "serviceAccount": {"name": settings.service_account},
            "podDisruptionBudget": {"enabled": parts.prometheus.replicas > 1},
            "prometheusSpec": {
                "replicas": parts.prometheus.replicas,
                "resources": resources(parts.prometheus),
                "podMetadata": {"labels": payer},
                "retention": f"{settings.retention_days}d",
                "retentionSize": f"{parts.prometheus.storage.bytes * _FILL_PERCENT // 100 // _MIB}MiB",
                "scrapeInterval": f"{settings.interval_seconds}s",
                "evaluationInterval": f"{settings.interval_seconds}s",
                "externalLabels": {"cluster": cluster_id},
                # The project's own, wherever they are: ours, and those of the other layers' charts.
                "serviceMonitorSelector": ours,
                "podMonitorSelector": ours,
                "ruleSelector": ours,
                "probeSelector": ours,
                "scrapeConfigSelector": ours,
                "storageSpec": _claim(parts.prometheus.storage, settings.storage_class, payer),
                **_reloaders(parts.reloader),
            },
        },
        "alertmanager": {
            "podDisruptionBudget": {"enabled": parts.alertmanager.replicas > 1},
            "alertmanagerSpec": {
                "replicas": parts.alertmanager.replicas,
                "resources": resources(parts.alertmanager),
                "podMetadata": {"labels": payer},
                "storage": _claim(parts.alertmanager.storage, settings.storage_class, payer),
                **_reloaders(parts.reloader),
            }
            | (
                {"useExistingSecret": True, "configSecret": settings.receivers_secret}
                if settings.receivers_secret
                else {}
            ),
        },
        "prometheusOperator": {
            "resources": resources(parts.operator),
            "podLabels": payer,
            "admissionWebhooks": {"patch": {"resources": resources(parts.hooks)}},
        },
        "kube-state-metrics": {
            "resources": resources(parts.kube_state_metrics),
            "replicas": parts.kube_state_metrics.replicas,
            "customLabels": payer,
            # By these labels costs and alerts find who pays and who runs it.
            "metricLabelsAllowlist": [
                f"{kind}=[{','.join(('app', *COST_LABELS))}]"
                for kind in ("namespaces", "persistentvolumeclaims", "pods", "services")
            ],
        },
        "grafana": _grafana(settings, payer, admin_checksum),
    }


def _claim(size: Bytes, storage_class: str | None, labels: Mapping[str, str]) -> dict[str, Any]:
    spec: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": str(size)}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    return {"volumeClaimTemplate": {"metadata": {"labels": dict(labels)}, "spec": spec}}


def _reloaders(amounts: Resources) -> dict[str, Any]:
    """Requests and limits of what the operator puts beside its servers; it merges containers by their names."""
    return {
        "containers": [{"name": "config-reloader", "resources": resources(amounts)}],
        "initContainers": [{"name": "init-config-reloader", "resources": resources(amounts)}],
    }


def _grafana(
    settings: MonitoringSettings, payer: Mapping[str, str], admin_checksum: pulumi.Input[str]
) -> dict[str, Any]:
    parts = settings.components
    return {
        "resources": resources(parts.grafana),
        "extraLabels": dict(payer),
        "podLabels": dict(payer),
        # It takes its password from its environment, at each start: nothing of it outlives the pod.
        "podAnnotations": {"checksum/credentials": admin_checksum},
        "admin": {"existingSecret": ADMIN, "userKey": ADMIN_USER, "passwordKey": ADMIN_PASSWORD},
        # It reads ConfigMaps of its own namespace alone.
        "rbac": {"namespaced": True},
        "defaultDashboardsEnabled": False,
        "testFramework": {"enabled": False},
        "sidecar": {
            "resources": resources(parts.reloader),
            "dashboards": {
                "enabled": True,
                "label": next(iter(DASHBOARD_LABEL)),
                "labelValue": next(iter(DASHBOARD_LABEL.values())),
                "searchNamespace": settings.namespace,
                "resource": "configmap",
            },
            # The data sources never change: they stand in a file, and nobody has to watch for them.
            "datasources": {"enabled": False},
        },
        "datasources": {
            "datasources.yaml": {
                "apiVersion": 1,
                "datasources": [
                    {
                        "name": "Prometheus",
                        "uid": DATASOURCE,
                        "type": "prometheus",
                        "url": f"http://{RELEASE}-prometheus:{PROMETHEUS_PORT}",
                        "isDefault": True,
                        "jsonData": {"httpMethod": "POST", "timeInterval": f"{settings.interval_seconds}s"},
                    },
                    {
                        "name": "Alertmanager",
                        "uid": "alertmanager",
                        "type": "alertmanager",
                        "url": f"http://{RELEASE}-alertmanager:{ALERTMANAGER_PORT}",
                        "jsonData": {"implementation": "prometheus"},
                    },
                ],
            }
        },
        # It may call nobody outside, so it must not try: updates, plugins, news, usage statistics.
        "grafana.ini": {
            "analytics": {"check_for_updates": False, "check_for_plugin_updates": False, "reporting_enabled": False},
            "news": {"news_feed_enabled": False},
            "plugins": {"preinstall_disabled": True},
            "users": {"allow_sign_up": False},
        },
    }


def metrics_server_values(settings: MonitoringSettings, *, labels: Mapping[str, str]) -> dict[str, Any]:
    """Values of chart ``metrics-server``."""
    payer, server = cost_labels(labels), settings.metrics_server.server
    return {
        "replicas": server.replicas,
        "resources": resources(server),
        "commonLabels": payer,
        "podLabels": payer,
        "podDisruptionBudget": {"enabled": server.replicas > 1, "maxUnavailable": 1},
    }
