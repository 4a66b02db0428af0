"""Kubecost, in a namespace of its own that is bounded, closed and paid for like every other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import pulumi
from pulumi_kubernetes.helm.v3 import Release, RepositoryOptsArgs
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, LabelSelectorRequirementArgs, ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import (
    NetworkPolicy,
    NetworkPolicyEgressRuleArgs,
    NetworkPolicyIngressRuleArgs,
    NetworkPolicyPeerArgs,
    NetworkPolicyPortArgs,
    NetworkPolicySpecArgs,
)

from cloudmart.settings.charts import Source
from cloudmart.settings.kubecost import KubecostSettings
from cloudmart.settings.quantities import Bytes, Cpu
from cloudmart.settings.service import Cluster
from components.kubecost_values import RELEASE, cost_analyzer_values, kubecost_values
from components.labels import Labels
from components.namespace import GuardedNamespace, GuardedNamespaceArgs

_API_PORT = 9090
# Where the API server may listen behind its Service (443, 6443), kubelets (10250), and price lists and buckets (443).
_OUTSIDE_PORTS = (443, 6443, 10250)
# For pods that say nothing, such as `helm test`'s: the quota would refuse them.
_SMALL = {"default_request": {"cpu": "50m", "memory": "64Mi"}, "default": {"cpu": "100m", "memory": "128Mi"}}


@dataclass(frozen=True, kw_only=True)
class KubecostArgs:
    """`labels` says whose Kubecost is where its settings do not (what it is, the component knows); `default_cluster_id`
    names the cluster likewise."""

    settings: KubecostSettings
    cluster: Cluster
    labels: Labels
    default_cluster_id: str


class Kubecost(pulumi.ComponentResource):
    """``cloudmart:kubecost:Kubecost``

    GuardedNamespace; NetworkPolicies ``allow-within``, ``allow-outside`` (API server, kubelets, price lists, buckets)
    and, where clients are declared, ``allow-api-clients``; Helm Release ``kubecost``.

    The objects of the Release are the chart's. They carry the cost labels, but for what no value of the charts can
    label: the claims of 3.x's aggregator and of 2.x's Prometheus.
    """

    #: Name of the namespace.
    namespace: pulumi.Output[str]
    #: Base URL of the API, as pods of the cluster see it: allocations are at ``{api_url}/allocation``.
    api_url: pulumi.Output[str]

    def __init__(self, name: str, args: KubecostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:kubecost:Kubecost", name, None, opts)
        settings = args.settings
        chart = settings.chart.resolved
        labels = replace(
            args.labels,
            app="kubecost",
            component="cost-monitoring",
            tier="platform",
            version=chart.version,
            cost_center=settings.cost_center or args.labels.cost_center,
            team=settings.team or args.labels.team,
        )
        guarded = GuardedNamespace(
            name,
            GuardedNamespaceArgs(
                name=settings.namespace, labels=labels, cluster=args.cluster, quota=quota(settings), limit_range=_SMALL
            ),
            pulumi.ResourceOptions(parent=self, protect=settings.protect),
        )
        self.namespace = guarded.namespace
        policies = [
            NetworkPolicy(
                f"{name}-{policy}",
                metadata=ObjectMetaArgs(name=policy, namespace=self.namespace, labels=labels.metadata),
                spec=spec,
                opts=pulumi.ResourceOptions(parent=self),
            )
            for policy, spec in _network_policies(settings).items()
        ]
        values = kubecost_values if settings.is_v3 else cost_analyzer_values
        Release(
            name,
            name=RELEASE,
            namespace=settings.namespace,
            chart=chart.reference,
            version=chart.version,
            repository_opts=RepositoryOptsArgs(repo=chart.repo) if chart.source is Source.REPOSITORY else None,
            values=values(settings, cluster_id=settings.cluster_id or args.default_cluster_id, labels=labels.metadata),
            create_namespace=False,
            # Only its controller uses the chart's resource definition, which would outlive the release.
            skip_crds=not settings.components.cluster_controller.enabled,
            skip_await=False,
            timeout=settings.timeout_seconds,
            # Not atomic: a release that does not become ready stays, to be looked at, and the next `up` upgrades it.
            atomic=False,
            cleanup_on_fail=True,
            max_history=5,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[guarded, *policies],
                protect=settings.protect,
            ),
        )
        service = f"{RELEASE}-frontend" if settings.is_v3 else f"{RELEASE}-cost-analyzer"
        self.api_url = pulumi.Output.format("http://{0}.{1}:{2}/model", service, self.namespace, _API_PORT)
        self.register_outputs({"namespace": self.namespace, "api_url": self.api_url})


def quota(settings: KubecostSettings) -> dict[str, str]:
    """``hard`` of the ResourceQuota: the containers twice, so that any rolling update fits, and all claims.

    The claims are those of both charts, because a change of charts leaves the old ones.
    """
    parts = list(settings.containers.values())
    storage = settings.storage
    claims = [storage.database, *[storage.configs] * 3, *[storage.store] * 2, storage.prometheus]

    def cpu(kind: str) -> str:
        return str(Cpu.of(2 * sum((getattr(part, kind).cpu.cores for part in parts), Decimal(0))))

    def memory(kind: str) -> str:
        return str(Bytes.of(2 * sum(getattr(part, kind).memory.bytes for part in parts)))

    return {
        "requests.cpu": cpu("requests"),
        "requests.memory": memory("requests"),
        "limits.cpu": cpu("limits"),
        "limits.memory": memory("limits"),
        "requests.storage": str(Bytes.of(sum(claim.bytes for claim in claims))),
        "persistentvolumeclaims": str(len(claims)),
        "pods": str(2 * len(parts)),
        "services.loadbalancers": "0",
        "services.nodeports": "0",
    }


def _network_policies(settings: KubecostSettings) -> dict[str, NetworkPolicySpecArgs]:
    everybody = LabelSelectorArgs()
    within = [NetworkPolicyPeerArgs(pod_selector=everybody)]
    specs = {
        "allow-within": NetworkPolicySpecArgs(
            pod_selector=everybody,
            policy_types=["Ingress", "Egress"],
            ingress=[NetworkPolicyIngressRuleArgs(from_=within)],
            egress=[NetworkPolicyEgressRuleArgs(to=within)],
        ),
        # No selector and no address range names the API server and the kubelets of every cluster; ports do.
        "allow-outside": NetworkPolicySpecArgs(
            pod_selector=LabelSelectorArgs(
                match_expressions=[
                    LabelSelectorRequirementArgs(
                        key="app.kubernetes.io/name", operator="NotIn", values=["frontend", "forecasting"]
                    )
                ]
            ),
            policy_types=["Egress"],
            egress=[NetworkPolicyEgressRuleArgs(ports=_tcp(_OUTSIDE_PORTS))],
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
            ingress=[NetworkPolicyIngressRuleArgs(from_=clients, ports=_tcp([_API_PORT]))],
        )
    return specs


def _tcp(ports: Sequence[int]) -> list[NetworkPolicyPortArgs]:
    return [NetworkPolicyPortArgs(protocol="TCP", port=port) for port in ports]
