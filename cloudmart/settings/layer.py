"""What the layers of the platform have in common: a namespace of their own, pinned charts, and who pays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field, Strict

from cloudmart.settings.base import Amounts, Flag, LabelValue, Model, OwnNamespace, Positive, Resources
from cloudmart.settings.charts import Chart, ChartSource
from cloudmart.settings.quantities import Bytes, Cpu


def amounts(cpu: str, memory: str) -> Amounts:
    """CPU and memory as Kubernetes quantities."""
    return Amounts(cpu=Cpu(cpu), memory=Bytes(memory))


class Workload(Resources):
    """One workload that a chart makes: what each of its pods asks for, and how many there are."""

    #: How many.
    replicas: Positive = 1


def workload(*, requests: tuple[str, str], limits: tuple[str, str], replicas: int = 1) -> Workload:
    """A workload's default, each amount as CPU and memory."""
    return Workload(requests=amounts(*requests), limits=amounts(*limits), replicas=replicas)


class Layer(Model):
    """A layer that one or more Helm charts make. Off, it leaves no trace."""

    #: Whether the layer is there.
    enabled: Flag = False
    #: The layer's own namespace.
    namespace: OwnNamespace
    #: Who pays for the layer; the shop's cost center where it is left out.
    cost_center: LabelValue | None = None
    #: Who runs the layer; the shop's team where it is left out.
    team: LabelValue | None = None
    #: Whether `pulumi destroy` must refuse to take the layer.
    protect: Flag = False
    #: Whether the releases take over objects that are there already, such as definitions of custom kinds that somebody
    #: else has installed. Otherwise Helm refuses them.
    take_ownership: Flag = False
    #: How long each release may take to become ready, images included.
    timeout_seconds: Annotated[int, Strict(), Field(ge=30, le=3600)] = 600

    #: The table's chart for each field of `ChartSource` that the layer has.
    CHARTS: ClassVar[Mapping[str, Chart]] = {}

    @property
    def charts(self) -> Mapping[str, Chart]:
        """The charts that are installed, each at its version and place, by the key under which it is configured."""
        return {type(self).model_fields[field].alias or field: self.chart_of(field) for field in self.CHARTS}

    def chart_of(self, field: str) -> Chart:
        """One chart, at its version and from its place."""
        source = getattr(self, field)
        assert isinstance(source, ChartSource)  # noqa: S101 - a slip in CHARTS
        return source.of(self.CHARTS[field])

    @property
    def manifests(self) -> Mapping[str, str]:
        """Manifests that are installed besides the charts: URL or path, by the key under which it is configured."""
        return {}

    @property
    def workloads(self) -> Mapping[str, Workload]:
        """What runs in the layer's namespace, by name: the quota is made from it."""
        raise NotImplementedError
