"""Kubecost, in a namespace of its own that is bounded, closed and paid for like every other."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, LabelSelectorRequirementArgs
from pulumi_kubernetes.networking.v1 import (
    NetworkPolicyIngressRuleArgs,
    NetworkPolicyPeerArgs,
    NetworkPolicySpecArgs,
)

from cloudmart.settings.kubecost import KubecostSettings
from components import network
from components.kubecost_values import RELEASE, cost_analyzer_values, kubecost_values
from components.layer import API_SERVER_PORTS, ChartLayer, LayerArgs, layer_labels, layer_quota, to_ports, within

_API_PORT = 9090
# Besides the API server: kubelets; and price lists and buckets, at 443.
_OUTSIDE_PORTS = (*API_SERVER_PORTS, 10250)


@dataclass(frozen=True, kw_only=True)
class KubecostArgs(LayerArgs[KubecostSettings]):
    """`default_cluster_id` names the cluster where the settings do not."""

    default_cluster_id: str


class Kubecost(ChartLayer):
    """``cloudmart:kubecost:Kubecost``

    GuardedNamespace; NetworkPolicies ``allow-within``, ``allow-outside`` (API server, kubelets, price lists, buckets)
    and, where clients are declared, ``allow-api-clients``; Helm Release ``kubecost``.

    The objects of the Release are the chart's. They carry the cost labels, but for what no value of the charts can
    label: the claims of 3.x's aggregator and of 2.x's Prometheus.
    """

    #: Base URL of the API, as pods of the cluster see it: allocations are at ``{api_url}/allocation``.
    api_url: pulumi.Output[str]

    def __init__(self, name: str, args: KubecostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:kubecost:Kubecost", name, None, opts)
        settings = args.settings
        chart = settings.chart.resolved
        labels = layer_labels(args.labels, settings, app="kubecost", component="cost-monitoring", version=chart.version)
        self._guard(name, settings, labels, args.cluster, _network_policies(settings), quota=quota(settings))
        values = kubecost_values if settings.is_v3 else cost_analyzer_values
        self._release(
            RELEASE,
            settings,
            chart,
            values(settings, cluster_id=settings.cluster_id or args.default_cluster_id, labels=labels.metadata),
            # Only its controller uses the chart's resource definition, which would outlive the release.
            skip_crds=not settings.components.cluster_controller.enabled,
        )
        service = f"{RELEASE}-frontend" if settings.is_v3 else f"{RELEASE}-cost-analyzer"
        self.api_url = pulumi.Output.format("http://{0}.{1}:{2}/model", service, self.namespace, _API_PORT)
        self.register_outputs({"namespace": self.namespace, "api_url": self.api_url})


def quota(settings: KubecostSettings) -> dict[str, str]:
    """``hard`` of the ResourceQuota. The claims are those of both charts, because a change of charts leaves the old."""
    storage = settings.storage
    claims = [storage.database, *[storage.configs] * 3, *[storage.store] * 2, storage.prometheus]
    return layer_quota(settings.workloads, claims)


def _network_policies(settings: KubecostSettings) -> dict[str, NetworkPolicySpecArgs]:
    specs = {
        "allow-within": within(),
        "allow-outside": to_ports(
            _OUTSIDE_PORTS,
            LabelSelectorArgs(
                match_expressions=[
                    LabelSelectorRequirementArgs(
                        key="app.kubernetes.io/name", operator="NotIn", values=["frontend", "forecasting"]
                    )
                ]
            ),
        ),
    }
    if settings.api_clients:
        frontend = "frontend" if settings.is_v3 else "cost-analyzer"
        clients = [
            NetworkPolicyPeerArgs(
                namespace_selector=LabelSelectorArgs(match_labels={"kubernetes.io/metadata.name": client})
            )
            for client in settings.api_clients
        ]
        specs["allow-api-clients"] = NetworkPolicySpecArgs(
            pod_selector=LabelSelectorArgs(match_labels={"app.kubernetes.io/name": frontend}),
            policy_types=["Ingress"],
            ingress=[NetworkPolicyIngressRuleArgs(from_=clients, ports=network.tcp(_API_PORT))],
        )
    return specs
