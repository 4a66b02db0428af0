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
    NetworkPolicySpecArgs,
)

from cloudmart.settings import Party
from cloudmart.settings.mesh import CONTROL_PLANE_PORT, HBONE_PORT, ISTIOD_PODS, MeshSettings
from components.connection import Connection

#: The internet, without what is private (RFC 1918, RFC 6598), loopback or link-local; cloud metadata services are among
#: the last. NetworkPolicies know no host names, so this is as narrow as it gets without an egress gateway.
_PRIVATE_V4 = ["10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"]
_AMBIENT_PROBES = ["169.254.7.127/32", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128"]
_PRIVATE_V6 = ["::1/128", "fc00::/7", "fe80::/10"]


def tcp(port: int) -> list[NetworkPolicyPortArgs]:
    """One TCP port. It is the pod's port: policies act after a Service's address was translated."""
    return [NetworkPolicyPortArgs(protocol="TCP", port=port)]


def pods(selector: Mapping[str, str]) -> NetworkPolicyPeerArgs:
    """Pods of the policy's own namespace."""
    return NetworkPolicyPeerArgs(pod_selector=LabelSelectorArgs(match_labels=dict(selector)))


def mesh_ports(mesh: MeshSettings) -> tuple[int, ...]:
    """Ports between two pods of the mesh besides the target's own. In ambient mode the nodes' proxies carry every
    connection to one port, and which port of the pod it is for is left to the AuthorizationPolicies."""
    return (HBONE_PORT,) if mesh.enabled and mesh.is_ambient else ()


def egress_to(connection: Connection, more_ports: Sequence[int] = ()) -> NetworkPolicyEgressRuleArgs:
    """What lets a caller reach the other end of one edge, and nothing else; `more_ports` of pods, see `mesh_ports`."""
    if connection.pod_selector is not None:
        ports = [port for number in (connection.port, *more_ports) for port in tcp(number)]
        return NetworkPolicyEgressRuleArgs(to=[pods(connection.pod_selector)], ports=ports)
    return egress_outside(connection.cidrs, connection.port)


def egress_outside(cidrs: Sequence[str], port: int) -> NetworkPolicyEgressRuleArgs:
    """What lets pods reach a port outside the cluster, in these ranges; on the internet where there are none."""
    if cidrs:
        peers = [NetworkPolicyPeerArgs(ip_block=IPBlockArgs(cidr=cidr)) for cidr in cidrs]
    else:
        peers = [
            NetworkPolicyPeerArgs(ip_block=IPBlockArgs(cidr="0.0.0.0/0", except_=_PRIVATE_V4)),
            NetworkPolicyPeerArgs(ip_block=IPBlockArgs(cidr="::/0", except_=_PRIVATE_V6)),
        ]
    return NetworkPolicyEgressRuleArgs(to=peers, ports=tcp(port))


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


def membership(mesh: MeshSettings) -> NetworkPolicySpecArgs:
    """What every pod of the mesh needs besides its edges.

    In sidecar mode its proxy goes to istiod. In ambient mode the kubelet's probes come from two addresses of their own,
    which istio-cni gives them to tell them from other traffic of the node; HOST_PROBE_SNAT_IP in its documentation.
    """
    if mesh.is_ambient:
        peers = [NetworkPolicyPeerArgs(ip_block=IPBlockArgs(cidr=cidr)) for cidr in _AMBIENT_PROBES]
        return NetworkPolicySpecArgs(
            pod_selector=LabelSelectorArgs(),
            policy_types=["Ingress"],
            ingress=[NetworkPolicyIngressRuleArgs(from_=peers)],
        )
    return to_control_plane(mesh, LabelSelectorArgs())


def to_control_plane(mesh: MeshSettings, selector: LabelSelectorArgs) -> NetworkPolicySpecArgs:
    """Proxies get their certificates and their configuration from istiod."""
    istiod = NetworkPolicyPeerArgs(
        namespace_selector=LabelSelectorArgs(match_labels={"kubernetes.io/metadata.name": mesh.namespace}),
        pod_selector=LabelSelectorArgs(match_labels=dict(ISTIOD_PODS)),
    )
    return NetworkPolicySpecArgs(
        pod_selector=selector,
        policy_types=["Egress"],
        egress=[NetworkPolicyEgressRuleArgs(to=[istiod], ports=tcp(CONTROL_PLANE_PORT))],
    )
