"""GitOps: Argo CD, and what it may deliver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from cloudmart.settings.base import DnsLabel
from cloudmart.settings.charts import ARGO_CD, Chart, ChartSource
from cloudmart.settings.layer import Layer, Workload, workload


class GitOpsSettings(Layer):
    """Argo CD, which keeps the cluster as the rendered manifests in Git say."""

    namespace: DnsLabel = "argocd"
    chart: ChartSource = ChartSource()
    controller: Workload = workload(requests=("250m", "512Mi"), limits=("1", "1Gi"))

    CHARTS: ClassVar[Mapping[str, Chart]] = {"chart": ARGO_CD}

    @property
    def workloads(self) -> Mapping[str, Workload]:
        return {"controller": self.controller}
