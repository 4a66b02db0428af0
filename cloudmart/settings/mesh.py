"""The mesh: Istio, with mutual TLS everywhere and authorization by the declared edges."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar

from cloudmart.settings.base import DnsLabel, HostName
from cloudmart.settings.charts import ISTIO_BASE, ISTIO_CNI, ISTIOD, ZTUNNEL, Chart, ChartSource
from cloudmart.settings.layer import Layer, Workload, workload


class MeshMode(StrEnum):
    """How traffic gets into the mesh."""

    #: A proxy in every pod.
    SIDECAR = "sidecar"
    #: A proxy on every node, and one a namespace where a rule needs to read HTTP.
    AMBIENT = "ambient"


class MeshSettings(Layer):
    """Istio in sidecar or ambient mode."""

    namespace: DnsLabel = "istio-system"
    mode: MeshMode = MeshMode.SIDECAR
    #: The first part of every identity: ``<trustDomain>/ns/<namespace>/sa/<account>``.
    trust_domain: HostName = "cluster.local"
    base: ChartSource = ChartSource()
    istiod: ChartSource = ChartSource()
    cni: ChartSource = ChartSource()
    ztunnel: ChartSource = ChartSource()
    control_plane: Workload = workload(requests=("200m", "512Mi"), limits=("800m", "1Gi"), replicas=2)

    CHARTS: ClassVar[Mapping[str, Chart]] = {"base": ISTIO_BASE, "istiod": ISTIOD, "cni": ISTIO_CNI, "ztunnel": ZTUNNEL}

    @property
    def workloads(self) -> Mapping[str, Workload]:
        return {"istiod": self.control_plane}
