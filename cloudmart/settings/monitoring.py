"""Monitoring: Prometheus, Alertmanager, Grafana and the metrics API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from cloudmart.settings.base import DnsLabel
from cloudmart.settings.charts import KUBE_PROMETHEUS_STACK, METRICS_SERVER, Chart, ChartSource
from cloudmart.settings.layer import Layer, Workload, workload


class MonitoringSettings(Layer):
    """kube-prometheus-stack and metrics-server."""

    namespace: DnsLabel = "monitoring"
    stack: ChartSource = ChartSource()
    metrics_server: ChartSource = ChartSource()
    prometheus: Workload = workload(requests=("250m", "1Gi"), limits=("1", "2Gi"))

    CHARTS: ClassVar[Mapping[str, Chart]] = {"stack": KUBE_PROMETHEUS_STACK, "metrics_server": METRICS_SERVER}

    @property
    def workloads(self) -> Mapping[str, Workload]:
        return {"prometheus": self.prometheus}

    @property
    def pod_labels(self) -> Mapping[str, str]:
        """Labels of Prometheus' pods: they are the ones that scrape."""
        return {"app.kubernetes.io/name": "prometheus"}

    @property
    def service_account(self) -> str:
        """Prometheus' service account."""
        return "monitoring-prometheus"
