"""The operators that run stores in mode `operator`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from cloudmart.settings.base import DnsLabel, Model
from cloudmart.settings.charts import CLOUDNATIVE_PG, STRIMZI, Chart, ChartSource
from cloudmart.settings.layer import Layer, Workload, workload


class CloudNativePgSettings(Layer):
    """CloudNativePG: on where PostgreSQL is in mode `operator`."""

    namespace: DnsLabel = "cnpg-system"
    chart: ChartSource = ChartSource()
    operator: Workload = workload(requests=("100m", "128Mi"), limits=("400m", "256Mi"))

    CHARTS: ClassVar[Mapping[str, Chart]] = {"chart": CLOUDNATIVE_PG}

    @property
    def workloads(self) -> Mapping[str, Workload]:
        return {"operator": self.operator}


class StrimziSettings(Layer):
    """Strimzi: on where Kafka is in mode `operator`."""

    namespace: DnsLabel = "strimzi-system"
    chart: ChartSource = ChartSource()
    operator: Workload = workload(requests=("200m", "384Mi"), limits=("800m", "512Mi"))

    CHARTS: ClassVar[Mapping[str, Chart]] = {"chart": STRIMZI}

    @property
    def workloads(self) -> Mapping[str, Workload]:
        return {"operator": self.operator}


class OperatorSettings(Model):
    """The operators; each is installed where a store wants it."""

    cloudnative_pg: CloudNativePgSettings = CloudNativePgSettings()
    strimzi: StrimziSettings = StrimziSettings()
