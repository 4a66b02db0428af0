"""Kubecost, in a namespace of its own that is bounded, closed and paid for like every other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import pulumi
import pulumi_kubernetes as k8s
from pulumi_kubernetes.networking import v1 as net

from cloudmart.settings.charts import Source
from cloudmart.settings.kubecost import KubecostSettings
from cloudmart.settings.quantities import Bytes, Cpu
from cloudmart.settings.service import Cluster
from components.kubecost_values import RELEASE, cost_analyzer_values, kubecost_values
from components.labels import Labels

_API_PORT = 9090
_AGENT_ON_NODE_PORT = 3001
_KUBELET_PORT = 10250
# 443 is also the clouds' price lists and buckets; 6443 is where many API servers listen behind their Service.
_API_SERVER_PORTS = (443, 6443)


@dataclass(frozen=True, kw_only=True)
class KubecostArgs:
    """`labels` says whose Kubecost is where its settings do not; `default_cluster_id` names the cluster likewise."""

    settings: KubecostSettings
    cluster: Cluster
    labels: Labels
    default_cluster_id: str


class Kubecost(pulumi.ComponentResource):
    """``cloudmart:kubecost:Kubecost``

    Makes: Namespace, ResourceQuota, LimitRange, NetworkPolicies (default deny; DNS; within the namespace; out to the
    API server, kubelets, price lists and buckets; in from the declared clients), and the Helm Release.

    What the Release makes is the chart's: no claim template of chart ``kubecost``, nor the claim of the Prometheus of
    chart ``cost-analyzer``, can be given labels.
    """

    namespace: pulumi.Output[str]
    #: Base of the Allocation API, as pods see it: ``GET {api_url}/allocation``.
    api_url: pulumi.Output[str]
    release: k8s.helm.v3.Release

    def __init__(self, name: str, args: KubecostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:kubecost:Kubecost", name, None, opts)
        settings = args.settings
        labels = replace(
            args.labels,
            cost_center=settings.cost_center or args.labels.cost_center,
            team=settings.team or args.labels.team,
        )
        # The DaemonSet of networkCosts is privileged and on the host's network; all else passes `restricted`.
        level = "privileged" if settings.components.network_costs.enabled else "restricted"
        modes = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "audit", "warn")}
        namespace = k8s.core.v1.Namespace(
            f"{name}-namespace",
            metadata=k8s.meta.v1.ObjectMetaArgs(name=settings.namespace, labels=labels.metadata | modes),
            opts=pulumi.ResourceOptions(parent=self, protect=settings.protect),
        )
        inside = pulumi.ResourceOptions(parent=self, depends_on=[namespace])

        def meta(object_name: str) -> k8s.meta.v1.ObjectMetaArgs:
            return k8s.meta.v1.ObjectMetaArgs(name=object_name, namespace=settings.namespace, labels=labels.metadata)

        fences: list[pulumi.Resource] = [
            k8s.core.v1.ResourceQuota(
                f"{name}-quota",
                metadata=meta("kubecost-quota"),
                spec=k8s.core.v1.ResourceQuotaSpecArgs(hard=quota(settings)),
                opts=inside,
            ),
            k8s.core.v1.LimitRange(
                f"{name}-limits",
                metadata=meta("kubecost-limits"),
                # For pods that set nothing, such as `helm test`'s: the quota would refuse them.
                spec=k8s.core.v1.LimitRangeSpecArgs(
                    limits=[
                        k8s.core.v1.LimitRangeItemArgs(
                            type="Container",
                            default_request={"cpu": "50m", "memory": "64Mi"},
                            default={"cpu": "100m", "memory": "128Mi"},
                        )
                    ]
                ),
                opts=inside,
            ),
            *(
                net.NetworkPolicy(f"{name}-{policy}", metadata=meta(policy), spec=spec, opts=inside)
                for policy, spec in network_policies(settings, args.cluster).items()
            ),
        ]
        chart = settings.chart.resolved
        values = kubecost_values if settings.is_v3 else cost_analyzer_values
        self.release = k8s.helm.v3.Release(
            name,
            name=RELEASE,
            namespace=settings.namespace,
            chart=chart.reference,
            version=chart.version,
            repository_opts=k8s.helm.v3.RepositoryOptsArgs(repo=chart.repo)
            if chart.source is Source.REPOSITORY
            else None,
            values=values(
                settings,
                cluster_id=settings.cluster_id or args.default_cluster_id,
                labels=labels.metadata,
            ),
            create_namespace=False,
            skip_await=False,
            timeout=settings.timeout_seconds,
            # Not atomic: a release that does not become ready stays, to be looked at, and the next `up` upgrades it.
            atomic=False,
            cleanup_on_fail=True,
            max_history=5,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[namespace, *fences], protect=settings.protect),
        )
        service = f"{RELEASE}-frontend" if settings.is_v3 else f"{RELEASE}-cost-analyzer"
        self.namespace = namespace.metadata.name
        self.api_url = self.namespace.apply(lambda ns: f"http://{service}.{ns}:{_API_PORT}/model")
        self.register_outputs({"namespace": self.namespace, "api_url": self.api_url})


def quota(settings: KubecostSettings) -> dict[str, str]:
    """Twice of everything that the settings declare, so that any rolling update fits; in Kubernetes' notation."""
    copies = {"networkCosts": settings.components.network_costs.max_nodes}
    parts = [(resources, copies.get(name, 1)) for name, resources in settings.containers.items()]

    def cpu(kind: str) -> str:
        return str(Cpu.of(2 * sum((getattr(part, kind).cpu.cores * n for part, n in parts), Decimal(0))))

    def memory(kind: str) -> str:
        return str(Bytes.of(2 * sum(getattr(part, kind).memory.bytes * n for part, n in parts)))

    volumes = settings.volumes.values()
    return {
        "requests.cpu": cpu("requests"),
        "requests.memory": memory("requests"),
        "limits.cpu": cpu("limits"),
        "limits.memory": memory("limits"),
        "requests.storage": str(Bytes.of(2 * sum(size.bytes for size in volumes))),
        "persistentvolumeclaims": str(2 * len(volumes)),
        "pods": str(2 * sum(n for _, n in parts)),
    }


def network_policies(settings: KubecostSettings, cluster: Cluster) -> dict[str, net.NetworkPolicySpecArgs]:
    """Specs of the NetworkPolicies, by name."""
    everybody = k8s.meta.v1.LabelSelectorArgs()
    within = [net.NetworkPolicyPeerArgs(pod_selector=everybody)]
    out = [*_API_SERVER_PORTS, _KUBELET_PORT]
    if settings.components.network_costs.enabled:
        out.append(_AGENT_ON_NODE_PORT)
    specs = {
        "default-deny": net.NetworkPolicySpecArgs(pod_selector=everybody, policy_types=["Ingress", "Egress"]),
        "allow-dns": net.NetworkPolicySpecArgs(
            pod_selector=everybody,
            policy_types=["Egress"],
            egress=[
                net.NetworkPolicyEgressRuleArgs(
                    to=[_pods(cluster.dns_namespace, cluster.dns_labels)],
                    ports=[*_ports([53], "UDP"), *_ports([53])],
                )
            ],
        ),
        "allow-within": net.NetworkPolicySpecArgs(
            pod_selector=everybody,
            policy_types=["Ingress", "Egress"],
            ingress=[net.NetworkPolicyIngressRuleArgs(from_=within)],
            egress=[net.NetworkPolicyEgressRuleArgs(to=within)],
        ),
        # No selector and no address range names the API server or a kubelet on every cluster; ports do.
        "allow-out": net.NetworkPolicySpecArgs(
            pod_selector=k8s.meta.v1.LabelSelectorArgs(
                match_expressions=[
                    k8s.meta.v1.LabelSelectorRequirementArgs(
                        key="app.kubernetes.io/name", operator="NotIn", values=["frontend", "forecasting"]
                    )
                ]
            ),
            policy_types=["Egress"],
            egress=[net.NetworkPolicyEgressRuleArgs(ports=_ports(out))],
        ),
    }
    if settings.api_clients:
        frontend = "frontend" if settings.is_v3 else "cost-analyzer"
        specs["allow-api-clients"] = net.NetworkPolicySpecArgs(
            pod_selector=k8s.meta.v1.LabelSelectorArgs(match_labels={"app.kubernetes.io/name": frontend}),
            policy_types=["Ingress"],
            ingress=[
                net.NetworkPolicyIngressRuleArgs(
                    from_=[_pods(client) for client in settings.api_clients], ports=_ports([_API_PORT])
                )
            ],
        )
    return specs


def _ports(numbers: Sequence[int], protocol: str = "TCP") -> list[net.NetworkPolicyPortArgs]:
    return [net.NetworkPolicyPortArgs(protocol=protocol, port=number) for number in numbers]


def _pods(namespace: str, labels: Mapping[str, str] | None = None) -> net.NetworkPolicyPeerArgs:
    return net.NetworkPolicyPeerArgs(
        namespace_selector=k8s.meta.v1.LabelSelectorArgs(match_labels={"kubernetes.io/metadata.name": namespace}),
        pod_selector=k8s.meta.v1.LabelSelectorArgs(match_labels=dict(labels)) if labels else None,
    )
