"""The operators that run stores in mode `operator`. Each is installed where a store wants it: by no switch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import model_validator

from cloudmart.settings.base import Cidr, MisfitError, Model, OwnNamespace
from cloudmart.settings.charts import CLOUDNATIVE_PG, STRIMZI, Chart, ChartSource
from cloudmart.settings.layer import Layer, Workload, workload


class _Operator(Layer):
    @model_validator(mode="after")
    def _follows_the_store(self) -> Self:
        if "enabled" in self.model_fields_set:
            raise MisfitError(
                "enabled, which follows from the store; allowed: `mode: operator` at the store itself", ("enabled",)
            )
        return self


class CloudNativePgSettings(_Operator):
    """CloudNativePG: on where PostgreSQL is in mode `operator`."""

    namespace: OwnNamespace = "cnpg-system"
    chart: ChartSource = ChartSource()
    #: Two, of which one leads: without it nothing fails over.
    operator: Workload = workload(requests=("100m", "128Mi"), limits=("400m", "256Mi"), replicas=2)
    #: The plugin that makes the backups, where there are any.
    plugin: Workload = workload(requests=("50m", "64Mi"), limits=("200m", "128Mi"))

    CHARTS: ClassVar[Mapping[str, Chart]] = {"chart": CLOUDNATIVE_PG}

    @property
    def workloads(self) -> Mapping[str, Workload]:
        return {"operator": self.operator, "plugin": self.plugin}


class StrimziSettings(_Operator):
    """Strimzi: on where Kafka is in mode `operator`."""

    namespace: OwnNamespace = "strimzi-system"
    chart: ChartSource = ChartSource()
    operator: Workload = workload(requests=("200m", "384Mi"), limits=("800m", "512Mi"))

    CHARTS: ClassVar[Mapping[str, Chart]] = {"chart": STRIMZI}

    @property
    def workloads(self) -> Mapping[str, Workload]:
        return {"operator": self.operator}


class OperatorSettings(Model):
    """The operators."""

    cloudnative_pg: CloudNativePgSettings = CloudNativePgSettings()
    strimzi: StrimziSettings = StrimziSettings()
    #: Where the API server's addresses lie, as pods see them behind its Service: those that operators make act on what
    #: they read there. All private ranges (RFC 1918, RFC 6598, RFC 4193) unless a stack knows better, and not the
    #: internet, so that no store can reach it.
    api_server_cidrs: tuple[Cidr, ...] = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
