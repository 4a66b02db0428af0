"""A namespace with its guard rails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import pulumi
from pulumi_kubernetes.core.v1 import (
    LimitRange,
    LimitRangeItemArgs,
    LimitRangeSpecArgs,
    Namespace,
    ResourceQuota,
    ResourceQuotaSpecArgs,
)
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import (
    IPBlockArgs,
    NetworkPolicy,
    NetworkPolicyEgressRuleArgs,
    NetworkPolicyPeerArgs,
    NetworkPolicyPortArgs,
    NetworkPolicySpecArgs,
)

from cloudmart.settings.mesh import MeshSettings
from cloudmart.settings.service import STACK_OF, Cluster
from components import network
from components.labels import Labels

PodSecurity: TypeAlias = Literal["restricted", "baseline", "privileged"]


@dataclass(frozen=True, kw_only=True)
class GuardedNamespaceArgs:
    """`quota` and `limit_range` as Kubernetes quantities; see `components.quota`."""

    name: str
    labels: Labels
    cluster: Cluster
    quota: Mapping[str, str]
    limit_range: Mapping[str, Mapping[str, str]]
    #: Leaves the namespace in the cluster when the stack is destroyed: deleting it would delete every claim in it.
    retain: bool = False
    #: The Pod Security Standard that is enforced. Anything but ``restricted`` needs a reason where it is asked for.
    pod_security: PodSecurity = "restricted"
    #: Labels besides those that every object carries, such as the mesh's.
    more_labels: Mapping[str, str] = field(default_factory=dict)
    #: The mesh that the pods are in; None, or one that is off, for none.
    mesh: MeshSettings | None = None


class GuardedNamespace(pulumi.ComponentResource):
    """``cloudmart:namespace:GuardedNamespace``

    Namespace that enforces a Pod Security Standard (``restricted`` unless told otherwise), ResourceQuota
    ``<name>-quota``, LimitRange ``<name>-limits``, NetworkPolicies ``default-deny`` (both ways) and ``allow-dns``
    (egress to the cluster's DNS); in the mesh ``allow-mesh``.
    """

    #: Name of the namespace; resources that use it wait for it.
    namespace: pulumi.Output[str]

    def __init__(self, name: str, args: GuardedNamespaceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:namespace:GuardedNamespace", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        version = f"v{args.cluster.kubernetes_version}"
        pod_security = {
            f"pod-security.kubernetes.io/{mode}{suffix}": value
            for mode in ("enforce", "warn", "audit")
            # Pinned, so that an upgrade of the cluster does not tighten the rules under running workloads.
            for suffix, value in (("", args.pod_security), ("-version", version))
        }
        mesh = args.mesh if args.mesh is not None and args.mesh.enabled else None
        more_labels = dict(args.more_labels) | dict(mesh.member_labels if mesh else {})
        namespace = Namespace(
            name,
            metadata=ObjectMetaArgs(
                name=args.name,
                labels=args.labels.metadata | pod_security | more_labels,
                annotations={STACK_OF: pulumi.get_stack()},
            ),
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=args.retain),
        )
        self.namespace = namespace.metadata.apply(lambda metadata: str(metadata.name))

        def metadata(object_name: str) -> ObjectMetaArgs:
            return ObjectMetaArgs(name=object_name, namespace=self.namespace, labels=args.labels.metadata)

        ResourceQuota(
            f"{name}-quota",
            metadata=metadata(f"{args.name}-quota"),
            spec=ResourceQuotaSpecArgs(hard=dict(args.quota)),
            opts=child,
        )
        if args.limit_range:
            LimitRange(
                f"{name}-limits",
                metadata=metadata(f"{args.name}-limits"),
                spec=LimitRangeSpecArgs(
                    limits=[
                        LimitRangeItemArgs(
                            type="Container", **{key: dict(value) for key, value in args.limit_range.items()}
                        )
                    ]
                ),
                opts=child,
            )
        NetworkPolicy(
            f"{name}-default-deny",
            metadata=metadata("default-deny"),
            spec=NetworkPolicySpecArgs(pod_selector=LabelSelectorArgs(), policy_types=["Ingress", "Egress"]),
            opts=child,
        )
        NetworkPolicy(
            f"{name}-allow-dns",
            metadata=metadata("allow-dns"),
            spec=NetworkPolicySpecArgs(
                pod_selector=LabelSelectorArgs(),
                policy_types=["Egress"],
                egress=[
                    NetworkPolicyEgressRuleArgs(
                        to=[
                            NetworkPolicyPeerArgs(
                                namespace_selector=LabelSelectorArgs(
                                    match_labels={"kubernetes.io/metadata.name": args.cluster.dns_namespace}
                                ),
                                pod_selector=LabelSelectorArgs(match_labels=dict(args.cluster.dns_labels)),
                            ),
                            *(
                                NetworkPolicyPeerArgs(ip_block=IPBlockArgs(cidr=address))
                                for address in args.cluster.dns_addresses
                            ),
                        ],
                        # TCP for answers that do not fit a datagram.
                        ports=[NetworkPolicyPortArgs(protocol=protocol, port=53) for protocol in ("UDP", "TCP")],
                    )
                ],
            ),
            opts=child,
        )
        if mesh:
            NetworkPolicy(
                f"{name}-allow-mesh", metadata=metadata("allow-mesh"), spec=network.membership(mesh), opts=child
            )
        self.register_outputs({"namespace": self.namespace})
