"""The mesh: Istio, with mutual TLS everywhere and authorization by the declared edges."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar

from cloudmart.settings.base import HostName, OwnNamespace, Positive, Resources
from cloudmart.settings.charts import ISTIO_BASE, ISTIO_CNI, ISTIOD, ZTUNNEL, Chart, ChartSource
from cloudmart.settings.layer import Layer, Workload, amounts, workload

#: Where proxies get their certificates and their configuration from istiod.
CONTROL_PLANE_PORT = 15012
#: Where ambient mode's proxies talk to each other: every connection of a pod, whatever its own port is.
HBONE_PORT = 15008
#: Labels of istiod's pods, set by its chart.
ISTIOD_PODS: Mapping[str, str] = MappingProxyType({"app": "istiod"})


class MeshMode(StrEnum):
    """How traffic gets into the mesh."""

    #: A proxy in every pod.
    SIDECAR = "sidecar"
    #: A proxy on every node, and one in front of a namespace's services where a rule needs to read HTTP.
    AMBIENT = "ambient"


class MeshPlatform(StrEnum):
    """Kubernetes distributions that differ from others in what Istio's charts need to know: their ``global.platform``.

    Others, such as EKS, AKS and kind, have CNI's folders where the charts look for them.
    """

    GKE = "gke"
    K3D = "k3d"
    K3S = "k3s"
    MICROK8S = "microk8s"
    MINIKUBE = "minikube"
    OPENSHIFT = "openshift"


class MeshSettings(Layer):
    """Istio in sidecar or ambient mode."""

    namespace: OwnNamespace = "istio-system"
    #: Where the proxies are.
    mode: MeshMode = MeshMode.SIDECAR
    #: What the cluster is made of, where that is one of these.
    platform: MeshPlatform | None = None
    #: The first part of every identity: ``<trustDomain>/ns/<namespace>/sa/<account>``.
    trust_domain: HostName = "cluster.local"
    base: ChartSource = ChartSource()
    istiod: ChartSource = ChartSource()
    cni: ChartSource = ChartSource()
    ztunnel: ChartSource = ChartSource()
    control_plane: Workload = workload(requests=("200m", "512Mi"), limits=("800m", "1Gi"), replicas=2)
    #: The proxy in every pod, in sidecar mode. Envoy and its agent take some 70 MiB before the first request; Istio's
    #: own measurements have 0.2 cores for a thousand requests a second.
    proxy: Resources = Resources(requests=amounts("50m", "96Mi"), limits=amounts("250m", "192Mi"))
    #: istio-cni, on every node.
    node_agent: Resources = Resources(requests=amounts("25m", "64Mi"), limits=amounts("100m", "128Mi"))
    #: ztunnel, on every node in ambient mode: it carries the traffic of all the node's pods.
    node_proxy: Resources = Resources(requests=amounts("100m", "128Mi"), limits=amounts("500m", "256Mi"))
    #: The proxy in front of the shop's services, in ambient mode.
    waypoint: Workload = workload(requests=("100m", "128Mi"), limits=("400m", "256Mi"), replicas=2)
    #: Nodes that the quota leaves room for: what runs on every node must never be what a new node waits for.
    max_nodes: Positive = 25

    CHARTS: ClassVar[Mapping[str, Chart]] = {"base": ISTIO_BASE, "istiod": ISTIOD, "cni": ISTIO_CNI, "ztunnel": ZTUNNEL}

    @property
    def is_ambient(self) -> bool:
        """Whether proxies run on the nodes and not in the pods."""
        return self.mode is MeshMode.AMBIENT

    @property
    def member_labels(self) -> Mapping[str, str]:
        """Labels of a namespace whose pods are in the mesh."""
        return {"istio.io/dataplane-mode": "ambient"} if self.is_ambient else {"istio-injection": "enabled"}

    @property
    def charts(self) -> Mapping[str, Chart]:
        """Without ztunnel's where there are proxies in the pods."""
        return {key: chart for key, chart in super().charts.items() if key != "ztunnel" or self.is_ambient}

    @property
    def workloads(self) -> Mapping[str, Workload]:
        def on_nodes(amounts: Resources) -> Workload:
            return Workload(requests=amounts.requests, limits=amounts.limits, replicas=self.max_nodes)

        found = {"istiod": self.control_plane, "istio-cni": on_nodes(self.node_agent)}
        return found | ({"ztunnel": on_nodes(self.node_proxy)} if self.is_ambient else {})
