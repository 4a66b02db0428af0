"""The gateway: Kong, as controller and data plane of the Gateway API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from cloudmart.settings.base import DnsLabel
from cloudmart.settings.charts import KONG, Chart, ChartSource
from cloudmart.settings.layer import Layer, Workload, workload


class GatewaySettings(Layer):
    """Lets the declared routes in from outside the cluster, and nothing else."""

    namespace: DnsLabel = "gateway"
    chart: ChartSource = ChartSource()
    controller: Workload = workload(requests=("100m", "128Mi"), limits=("400m", "256Mi"))
    proxy: Workload = workload(requests=("200m", "512Mi"), limits=("800m", "1Gi"), replicas=2)

    CHARTS: ClassVar[Mapping[str, Chart]] = {"chart": KONG}

    @property
    def workloads(self) -> Mapping[str, Workload]:
        return {"controller": self.controller, "proxy": self.proxy}

    @property
    def pod_labels(self) -> Mapping[str, str]:
        """Labels of the data plane's pods: they are the ones that call services."""
        return {"app.kubernetes.io/name": "gateway", "app.kubernetes.io/instance": "kong"}

    @property
    def service_account(self) -> str:
        """The data plane's service account."""
        return "kong-gateway"
