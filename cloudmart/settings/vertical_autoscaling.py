"""The VerticalPodAutoscaler: recommendations for every workload, applied by nobody but people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from cloudmart.settings.base import Amounts, OwnNamespace
from cloudmart.settings.charts import VERTICAL_POD_AUTOSCALER, Chart, ChartSource
from cloudmart.settings.layer import Layer, Workload, amounts, workload


class VerticalAutoscalingSettings(Layer):
    """The recommender, and a VPA in recommend mode for each workload."""

    namespace: OwnNamespace = "vertical-pod-autoscaler"
    chart: ChartSource = ChartSource()
    #: One is enough: while it is away, the last recommendations stand, and its memory is in checkpoints.
    recommender: Workload = workload(requests=("50m", "256Mi"), limits=("200m", "512Mi"))
    #: The least that is recommended for a pod. The recommender's own 250 MiB is more than a small service has.
    smallest: Amounts = amounts("10m", "32Mi")

    CHARTS: ClassVar[Mapping[str, Chart]] = {"chart": VERTICAL_POD_AUTOSCALER}

    @property
    def workloads(self) -> Mapping[str, Workload]:
        return {"recommender": self.recommender}
