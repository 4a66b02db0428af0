"""What the layers made of Helm charts share: a guarded namespace, network policies, pinned releases."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Generic, TypeVar

import pulumi
from pulumi_kubernetes.helm.v3 import Release, RepositoryOptsArgs
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import (
    NetworkPolicy,
    NetworkPolicyEgressRuleArgs,
    NetworkPolicyIngressRuleArgs,
    NetworkPolicyPeerArgs,
    NetworkPolicySpecArgs,
)

from cloudmart.settings import Bytes, Cpu, Resources
from cloudmart.settings.charts import Chart, Source
from cloudmart.settings.layer import Layer, Workload
from cloudmart.settings.mesh import MeshSettings
from cloudmart.settings.service import Cluster
from components import network
from components.labels import Labels
from components.namespace import GuardedNamespace, GuardedNamespaceArgs, PodSecurity

L = TypeVar("L", bound=Layer)

#: Where the API server may listen behind its Service. No selector and no address range names it in every cluster.
API_SERVER_PORTS = (443, 6443)
# For pods that say nothing, such as `helm test`'s: the quota would refuse them.
SMALL = {"default_request": {"cpu": "50m", "memory": "64Mi"}, "default": {"cpu": "100m", "memory": "128Mi"}}


@dataclass(frozen=True, kw_only=True)
class LayerArgs(Generic[L]):
    """A layer's settings, and what the rest of the program wires to it. `labels` are the shop's: they say whose the
    layer is where its settings do not."""

    settings: L
    cluster: Cluster
    labels: Labels


def resources(amounts: Resources) -> dict[str, dict[str, str]]:
    """A container's ``resources``, as charts' values have them."""
    return {
        kind: {"cpu": str(part.cpu), "memory": str(part.memory)}
        for kind, part in (("requests", amounts.requests), ("limits", amounts.limits))
    }


def layer_labels(shop: Labels, settings: Layer, *, app: str, component: str, version: str) -> Labels:
    """The labels of a layer's own objects."""
    return replace(
        shop,
        app=app,
        component=component,
        tier="platform",
        version=version,
        cost_center=settings.cost_center or shop.cost_center,
        team=settings.team or shop.team,
    )


def layer_quota(
    workloads: Mapping[str, Workload], claims: Sequence[Bytes] = (), load_balancers: int = 0
) -> dict[str, str]:
    """``hard`` of a ResourceQuota: every workload twice, so that any rolling update fits, and all claims."""
    parts = list(workloads.values())

    def cpu(kind: str) -> str:
        return str(Cpu.of(2 * sum((part.replicas * getattr(part, kind).cpu.cores for part in parts), Decimal(0))))

    def memory(kind: str) -> str:
        return str(Bytes.of(2 * sum(part.replicas * getattr(part, kind).memory.bytes for part in parts)))

    return {
        "requests.cpu": cpu("requests"),
        "requests.memory": memory("requests"),
        "limits.cpu": cpu("limits"),
        "limits.memory": memory("limits"),
        "requests.storage": str(Bytes.of(sum(claim.bytes for claim in claims))),
        "persistentvolumeclaims": str(len(claims)),
        "pods": str(2 * sum(part.replicas for part in parts)),
        "services.loadbalancers": str(load_balancers),
        "services.nodeports": "0",
    }


def with_proxies(hard: Mapping[str, str], mesh: MeshSettings | None) -> dict[str, str]:
    """The same with room for a proxy of the mesh in every pod, where it puts one there."""
    if mesh is None or not mesh.enabled or mesh.is_ambient:
        return dict(hard)
    pods, found = int(hard["pods"]), dict(hard)
    for kind in ("requests", "limits"):
        amounts = getattr(mesh.proxy, kind)
        found[f"{kind}.cpu"] = str(Cpu.of(Cpu(hard[f"{kind}.cpu"]).cores + pods * amounts.cpu.cores))
        found[f"{kind}.memory"] = str(Bytes.of(Bytes(hard[f"{kind}.memory"]).bytes + pods * amounts.memory.bytes))
    return found


def within() -> NetworkPolicySpecArgs:
    """The namespace's own pods may talk to each other."""
    everybody = LabelSelectorArgs()
    peers = [NetworkPolicyPeerArgs(pod_selector=everybody)]
    return NetworkPolicySpecArgs(
        pod_selector=everybody,
        policy_types=["Ingress", "Egress"],
        ingress=[NetworkPolicyIngressRuleArgs(from_=peers)],
        egress=[NetworkPolicyEgressRuleArgs(to=peers)],
    )


def to_ports(ports: Sequence[int], selector: LabelSelectorArgs | None = None) -> NetworkPolicySpecArgs:
    """Pods (all, or those that `selector` names) may go to these ports, wherever they are: the API server's, say."""
    return NetworkPolicySpecArgs(
        pod_selector=selector or LabelSelectorArgs(),
        policy_types=["Egress"],
        egress=[NetworkPolicyEgressRuleArgs(ports=[port for number in ports for port in network.tcp(number)])],
    )


def from_anywhere(ports: Sequence[int], selector: LabelSelectorArgs | None = None) -> NetworkPolicySpecArgs:
    """Anybody may come to these ports: webhooks, because nothing names the API server's address in every cluster."""
    return NetworkPolicySpecArgs(
        pod_selector=selector or LabelSelectorArgs(),
        policy_types=["Ingress"],
        ingress=[NetworkPolicyIngressRuleArgs(ports=[port for number in ports for port in network.tcp(number)])],
    )


class ChartLayer(pulumi.ComponentResource, abc.ABC):
    """A layer in a namespace of its own that is bounded, closed and paid for like every other.

    GuardedNamespace, NetworkPolicies, and one Helm Release a chart.
    """

    #: Name of the namespace.
    namespace: pulumi.Output[str]
    #: What every release waits for.
    _guards: Sequence[pulumi.Resource]

    def _guard(
        self,
        name: str,
        settings: Layer,
        labels: Labels,
        cluster: Cluster,
        policies: Mapping[str, NetworkPolicySpecArgs],
        *,
        quota: Mapping[str, str] | None = None,
        pod_security: PodSecurity = "restricted",
        more_labels: Mapping[str, str] | None = None,
        mesh: MeshSettings | None = None,
    ) -> None:
        """Makes the namespace and its NetworkPolicies, which are named by `policies`; its pods are in the `mesh`."""
        guarded = GuardedNamespace(
            name,
            GuardedNamespaceArgs(
                name=settings.namespace,
                labels=labels,
                cluster=cluster,
                quota=with_proxies(layer_quota(settings.workloads) if quota is None else quota, mesh),
                limit_range=SMALL,
                pod_security=pod_security,
                more_labels=more_labels or {},
                mesh=mesh,
            ),
            pulumi.ResourceOptions(parent=self, protect=settings.protect),
        )
        self.namespace = guarded.namespace
        made = [
            NetworkPolicy(
                f"{name}-{policy}",
                metadata=ObjectMetaArgs(name=policy, namespace=self.namespace, labels=labels.metadata),
                spec=spec,
                opts=pulumi.ResourceOptions(parent=self),
            )
            for policy, spec in policies.items()
        ]
        self._guards = [guarded, *made]

    def _release(
        self,
        name: str,
        settings: Layer,
        chart: Chart,
        values: Mapping[str, Any],
        *,
        after: Sequence[pulumi.Resource] = (),
        skip_crds: bool = False,
    ) -> Release:
        """One chart, installed under `name` when the namespace is guarded and `after` is there."""
        opts = pulumi.ResourceOptions(parent=self, depends_on=[*self._guards, *after], protect=settings.protect)
        return release(name, settings, chart, values, opts, skip_crds=skip_crds)


def release(
    name: str,
    settings: Layer,
    chart: Chart,
    values: Mapping[str, Any],
    opts: pulumi.ResourceOptions,
    *,
    skip_crds: bool = False,
) -> Release:
    """One chart, installed under `name`."""
    return Release(
        name,
        name=name,
        namespace=settings.namespace,
        chart=chart.reference,
        version=chart.version,
        repository_opts=RepositoryOptsArgs(repo=chart.repo) if chart.source is Source.REPOSITORY else None,
        values=dict(values),
        create_namespace=False,
        skip_crds=skip_crds,
        skip_await=False,
        take_ownership=settings.take_ownership or None,
        timeout=settings.timeout_seconds,
        # Not atomic: a release that does not become ready stays, to be looked at, and the next `up` upgrades it.
        atomic=False,
        cleanup_on_fail=True,
        max_history=5,
        opts=opts,
    )
