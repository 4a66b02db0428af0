"""Pieces of NetworkPolicies that more than one component needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pulumi_kubernetes.meta.v1 import LabelSelectorArgs
from pulumi_kubernetes.networking.v1 import (
    IPBlockArgs,
    NetworkPolicyEgressRuleArgs,
    NetworkPolicyIngressRuleArgs,
    NetworkPolicyPeerArgs,
    NetworkPolicyPortArgs,
)

from cloudmart.settings import Party
from components.connection import Connection

#: The internet, without what is private (RFC 1918, RFC 6598), loopback or link-local; cloud metadata services are among
#: the last. NetworkPolicies know no host names, so this is as narrow as it gets without an egress gateway.
_PRIVATE_V4 = ["10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"]
_PRIVATE_V6 = ["::1/128", "fc00::/7", "fe80::/10"]


def tcp(port: int) -> list[NetworkPolicyPortArgs]:
    """One TCP port. It is the pod's port: policies act after a Service's address was translated."""
    return [NetworkPolicyPortArgs(protocol="TCP", port=port)]


def pods(selector: Mapping[str, str]) -> NetworkPolicyPeerArgs:
    """Pods of the policy's own namespace."""
    return NetworkPolicyPeerArgs(pod_selector=LabelSelectorArgs(match_labels=dict(selector)))


def egress_to(connection: Connection) -> NetworkPolicyEgressRuleArgs:
    """What lets a caller reach the other end of one edge, and nothing else."""
    if connection.pod_selector is not None:
        return NetworkPolicyEgressRuleArgs(to=[pods(connection.pod_selector)], ports=tcp(connection.port))
    if connection.cidrs:
        peers = [NetworkPolicyPeerArgs(ip_block=IPBlockArgs(cidr=cidr)) for cidr in connection.cidrs]
    else:
        peers = [
            NetworkPolicyPeerArgs(ip_block=IPBlockArgs(cidr="0.0.0.0/0", except_=_PRIVATE_V4)),
            NetworkPolicyPeerArgs(ip_block=IPBlockArgs(cidr="::/0", except_=_PRIVATE_V6)),
        ]
    return NetworkPolicyEgressRuleArgs(to=peers, ports=tcp(connection.port))


def party(of: Party, own_namespace: str) -> NetworkPolicyPeerArgs:
    """The pods of one end of an edge, as a policy in `own_namespace` names them."""
    elsewhere = None
    if of.namespace != own_namespace:
        elsewhere = LabelSelectorArgs(match_labels={"kubernetes.io/metadata.name": of.namespace})
    return NetworkPolicyPeerArgs(
        namespace_selector=elsewhere, pod_selector=LabelSelectorArgs(match_labels=dict(of.pod_labels))
    )


def ingress_from(
    callers: Iterable[Party], ports: Sequence[int], own_namespace: str
) -> list[NetworkPolicyIngressRuleArgs]:
    """What lets the declared callers in; no rule at all, which means nobody, where there is none."""
    peers = [party(caller, own_namespace) for caller in callers]
    if not peers:
        return []
    return [NetworkPolicyIngressRuleArgs(from_=peers, ports=[port for number in ports for port in tcp(number)])]


def ingress_of_scrapers(
    scrapers: Iterable[tuple[Party, int]], own_namespace: str
) -> list[NetworkPolicyIngressRuleArgs]:
    """What lets in those that collect metrics, each at its port."""
    return [rule for scraper, port in scrapers for rule in ingress_from([scraper], [port], own_namespace)]
