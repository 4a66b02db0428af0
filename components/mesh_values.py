"""Values of Istio's charts, and annotations of pods in the mesh.

The keys are those of charts 1.30. What is not set keeps the chart's default; docs/layers/mesh.md says what was checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cloudmart.settings import Resources
from cloudmart.settings.mesh import ISTIOD_PODS, MeshPlatform, MeshSettings
from components.labels import cost_labels
from components.layer import resources

#: Names of the releases: the chart of istiod puts its own into selectors of other charts.
BASE, ISTIOD, CNI, ZTUNNEL = "istio-base", "istiod", "istio-cni", "ztunnel"

#: Where istiod answers the API server's webhooks, and Prometheus.
WEBHOOK_PORT, ISTIOD_METRICS_PORT = 15017, 15014
#: istiod's priority class.
CRITICAL = "system-cluster-critical"
#: Name of the Gateway in front of the shop's services in ambient mode, and of its service account.
WAYPOINT = "waypoint"

#: Label selectors of pods that get no proxy although their namespace is in the mesh and they cannot say so themselves.
NEVER_INJECTED = ({"matchExpressions": [{"key": "cnpg.io/jobRole", "operator": "Exists"}]},)

_SECCOMP = {"type": "RuntimeDefault"}


def base_values(mesh: MeshSettings) -> dict[str, Any]:
    """Chart ``base``: the kinds. The account for reading other clusters is left out: there is one cluster."""
    return {"global": {"istioNamespace": mesh.namespace, "enableReaderRBAC": False}, "defaultRevision": "default"}


def istiod_values(mesh: MeshSettings, labels: Mapping[str, str]) -> dict[str, Any]:
    """Chart ``istiod``: the control plane, and what it gives to every proxy. `labels` are the layer's."""
    payer = cost_labels(labels)
    found: dict[str, Any] = {
        # A fixed number: the shop's few dozen proxies never fill one, and two outlast a node.
        "autoscaleEnabled": False,
        "replicaCount": mesh.control_plane.replicas,
        "resources": resources(mesh.control_plane),
        "seccompProfile": _SECCOMP,
        "podLabels": payer,
        "deploymentLabels": payer,
        "pdb": {"minAvailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(ISTIOD_PODS)},
            }
        ],
        # Without it every pod would start with an init container that needs NET_ADMIN, which Pod Security `restricted`
        # refuses: istio-cni redirects a pod's traffic from the node instead.
        "cni": {"enabled": True},
        # The proxy as a native sidecar: it is ready before the pod's other containers start, and outlives them. What
        # "auto" would choose depends on the age of the oldest kubelet.
        "env": {"ENABLE_NATIVE_SIDECARS": "true"},
        # CloudNativePG gives its instances the Cluster's labels, but not the pods of the jobs that prepare them: in the
        # mesh those would reach neither the API server nor the primary, and no instance would ever come up.
        "sidecarInjectorWebhook": {"neverInjectSelector": [dict(selector) for selector in NEVER_INJECTED]},
        "global": {
            "istioNamespace": mesh.namespace,
            # Without istiod no pod of the mesh starts.
            "priorityClassName": CRITICAL,
            "proxy": {"resources": resources(mesh.proxy), "seccompProfile": _SECCOMP},
        },
        "meshConfig": {
            "trustDomain": mesh.trust_domain,
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
            # Policies must judge the path that the service will see: `/a//b` and `/a/%62` are `/a/b`.
            "pathNormalization": {"normalization": "DECODE_AND_MERGE_SLASHES"},
        },
    }
    if mesh.platform:
        found["global"]["platform"] = mesh.platform.value
    if mesh.is_ambient:
        found["profile"] = "ambient"
        # Resources of what istiod makes for a waypoint Gateway; how many, and that one may be missing.
        found["global"]["waypoint"] = {"resources": resources(mesh.waypoint)}
        found["gateways"] = {"seccompProfile": _SECCOMP}
        # Else the profile of OpenShift would look for it in kube-system.
        found["trustedZtunnelNamespace"] = mesh.namespace
        found["gatewayClasses"] = {
            "istio-waypoint": {
                "deployment": {"spec": {"replicas": mesh.waypoint.replicas}},
                "podDisruptionBudget": {"spec": {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"}},
            }
        }
    return found


def cni_values(mesh: MeshSettings, labels: Mapping[str, str]) -> dict[str, Any]:
    """Chart ``cni``: the agent on every node."""
    found = _on_every_node(mesh, mesh.node_agent, labels, "daemonSetLabels")
    if mesh.platform:
        found["global"] = {"platform": mesh.platform.value}
    if mesh.platform is MeshPlatform.GKE:
        # The chart looks for `-gke` in the server's version, which not every Helm tells it. Only below `cni` does this
        # outlive the empty value of the chart's own profile.
        found["cni"] = {"cniBinDir": "/home/kubernetes/bin"}
    return found


def ztunnel_values(mesh: MeshSettings, labels: Mapping[str, str]) -> dict[str, Any]:
    """Chart ``ztunnel``: ambient mode's proxy on every node."""
    # At the top: one of its templates does not read `global.platform`.
    platform = {"platform": mesh.platform.value} if mesh.platform else {}
    return _on_every_node(mesh, mesh.node_proxy, labels, "labels") | {"istioNamespace": mesh.namespace} | platform


def _on_every_node(mesh: MeshSettings, of: Resources, labels: Mapping[str, str], on_set: str) -> dict[str, Any]:
    payer = cost_labels(labels)
    found: dict[str, Any] = {"resources": resources(of), "podLabels": payer, on_set: payer}
    return found | ({"profile": "ambient"} if mesh.is_ambient else {})


def unmeshed_ports(ports: Iterable[int]) -> dict[str, str]:
    """Annotation of a pod in sidecar mode whose own TLS is spoken at these ports by callers outside the mesh: an
    operator, say. The proxy lets them pass unseen; NetworkPolicies alone say who may come."""
    return {"traffic.sidecar.istio.io/excludeInboundPorts": ",".join(str(port) for port in sorted(ports))}


def unmeshed_api_server(ports: Iterable[int]) -> dict[str, str]:
    """Annotation of a pod in sidecar mode that talks to the API server: an operator's instance manager, say."""
    return {"traffic.sidecar.istio.io/excludeOutboundPorts": ",".join(str(port) for port in sorted(ports))}
