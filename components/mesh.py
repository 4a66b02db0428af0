"""The mesh: Istio's charts, in a namespace of their own, and what holds for all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.core.v1 import (
    ResourceQuota,
    ResourceQuotaSpecArgs,
    ScopedResourceSelectorRequirementArgs,
    ScopeSelectorArgs,
)
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import (
    NetworkPolicyIngressRuleArgs,
    NetworkPolicyPeerArgs,
    NetworkPolicySpecArgs,
)

from cloudmart.settings.mesh import CONTROL_PLANE_PORT, ISTIOD_PODS, MeshPlatform, MeshSettings
from cloudmart.settings.model import PROXY_METRICS_PORT
from components import network
from components.authorization import strict
from components.custom import CustomObject
from components.layer import API_SERVER_PORTS, ChartLayer, LayerArgs, from_anywhere, layer_labels, to_ports, within
from components.mesh_values import (
    BASE,
    CNI,
    CRITICAL,
    ISTIOD,
    ISTIOD_METRICS_PORT,
    WEBHOOK_PORT,
    ZTUNNEL,
    base_values,
    cni_values,
    istiod_values,
    ztunnel_values,
)
from components.specs import istio


@dataclass(frozen=True, kw_only=True)
class MeshArgs(LayerArgs[MeshSettings]):
    """Besides: the namespaces whose pods are in the mesh, the one that scrapes, and the port of the keys' address."""

    members: Sequence[str]
    scraper: str | None = None
    jwks_port: int | None = None


class Mesh(ChartLayer):
    """``cloudmart:mesh:Mesh``

    GuardedNamespace; NetworkPolicies ``allow-within``, ``allow-api-server``, ``allow-webhooks``, ``allow-proxies`` and,
    where somebody scrapes, ``allow-metrics``; on GKE ResourceQuota ``istiod-critical``; Helm Releases ``istio-base``,
    ``istiod``, ``istio-cni`` and, in ambient mode, ``ztunnel``, one after the other; PeerAuthentication ``default`` for
    the whole mesh: STRICT.
    """

    def __init__(self, name: str, args: MeshArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:mesh:Mesh", name, None, opts)
        mesh = args.settings
        version = mesh.chart_of("istiod").version
        labels = layer_labels(args.labels, mesh, app="istio", component="mesh", version=version)
        self._guard(
            name,
            mesh,
            labels,
            args.cluster,
            _network_policies(args),
            # The agents of the nodes mount the node's CNI folders, run as root and enter other pods' networks. They are
            # why no pod of the shop has to.
            pod_security="privileged",
        )
        if mesh.platform is MeshPlatform.GKE:
            # GKE admits pods of the system's priority classes only beside a quota that names their class. The charts of
            # the nodes' agents bring theirs, istiod's does not.
            quota = ResourceQuota(
                f"{name}-critical",
                metadata=ObjectMetaArgs(name="istiod-critical", namespace=self.namespace, labels=labels.metadata),
                spec=ResourceQuotaSpecArgs(
                    hard={"pods": str(2 * mesh.control_plane.replicas)},
                    scope_selector=ScopeSelectorArgs(
                        match_expressions=[
                            ScopedResourceSelectorRequirementArgs(
                                scope_name="PriorityClass", operator="In", values=[CRITICAL]
                            )
                        ]
                    ),
                ),
                opts=pulumi.ResourceOptions(parent=self),
            )
            self._guards = [*self._guards, quota]
        base = self._release(BASE, mesh, mesh.chart_of("base"), base_values(mesh))
        istiod = self._release(
            ISTIOD, mesh, mesh.chart_of("istiod"), istiod_values(mesh, labels.metadata), after=[base]
        )
        cni = self._release(CNI, mesh, mesh.chart_of("cni"), cni_values(mesh, labels.metadata), after=[istiod])
        if mesh.is_ambient:
            self._release(ZTUNNEL, mesh, mesh.chart_of("ztunnel"), ztunnel_values(mesh, labels.metadata), after=[cni])
        CustomObject(
            f"{name}-strict",
            istio.PEER_AUTHENTICATION,
            metadata=ObjectMetaArgs(name="default", namespace=self.namespace, labels=labels.metadata),
            spec=istio.PeerAuthenticationSpec(mtls=strict()),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[istiod]),
        )
        self.register_outputs({"namespace": self.namespace})


def _network_policies(args: MeshArgs) -> dict[str, NetworkPolicySpecArgs]:
    istiod = LabelSelectorArgs(match_labels=dict(ISTIOD_PODS))
    # istiod gets the keys of tokens for all proxies, wherever they are.
    outside = {*API_SERVER_PORTS, *([args.jwks_port] if args.jwks_port else [])}
    found = {
        "allow-within": within(),
        "allow-api-server": to_ports(sorted(outside)),
        "allow-webhooks": from_anywhere([WEBHOOK_PORT], istiod),
        "allow-proxies": _from_namespaces(args.members, [CONTROL_PLANE_PORT], istiod),
    }
    if args.scraper:
        ports = [ISTIOD_METRICS_PORT, *([PROXY_METRICS_PORT] if args.settings.is_ambient else [])]
        found["allow-metrics"] = _from_namespaces([args.scraper], ports, LabelSelectorArgs())
    return found


def _from_namespaces(
    namespaces: Sequence[str], ports: Sequence[int], selector: LabelSelectorArgs
) -> NetworkPolicySpecArgs:
    peers = [
        NetworkPolicyPeerArgs(namespace_selector=LabelSelectorArgs(match_labels={"kubernetes.io/metadata.name": one}))
        for one in namespaces
    ]
    return NetworkPolicySpecArgs(
        pod_selector=selector,
        policy_types=["Ingress"],
        ingress=[
            NetworkPolicyIngressRuleArgs(from_=peers, ports=[port for number in ports for port in network.tcp(number)])
        ],
    )
