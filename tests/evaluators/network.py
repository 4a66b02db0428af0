"""Decides, as a network plugin would, which connections the NetworkPolicies in a set of manifests let through.

Rules: https://kubernetes.io/docs/concepts/services-networking/network-policies/. Where that page leaves the behaviour
to the plugin, the common way is taken: pods of the host's network are no pods to a policy but addresses of their node,
and an ``ipBlock`` sees the address of a pod only where the test gives the pod one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, Literal, TypeAlias

Json = Any


@dataclass(frozen=True)
class Pod:
    """A pod of a workload: what a policy can know of it."""

    name: str
    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    #: (name, protocol, number) of each port of its containers.
    ports: tuple[tuple[str, str, int], ...] = ()
    host_network: bool = False
    address: str | None = None
    #: Who it is to a mesh; no NetworkPolicy asks for it.
    service_account: str = "default"


Address: TypeAlias = str
"""An IP address outside the cluster."""

Peer: TypeAlias = Pod | Address
Direction: TypeAlias = Literal["Ingress", "Egress"]


def matches(selector: Mapping[str, Json], labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector selects these labels; an empty one selects all. Raises KeyError for other operators."""
    for wanted in selector.get("matchExpressions", []):
        found, values = labels.get(wanted["key"]), wanted.get("values", [])
        holds = {
            "In": found in values,
            "NotIn": found not in values,
            "Exists": found is not None,
            "DoesNotExist": found is None,
        }[wanted["operator"]]
        if not holds:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def in_block(address: str, block: Mapping[str, Json]) -> bool:
    """Whether an ipBlock holds an address: in its ``cidr`` and in none of ``except``."""
    ip = ip_address(address)
    return ip in ip_network(block["cidr"]) and not any(ip in ip_network(hole) for hole in block.get("except", []))


class Network:
    """The NetworkPolicies, Namespaces and pods of a set of manifests; everything else in it is ignored.

    A namespace without a manifest has the one label that Kubernetes gives to all.
    """

    def __init__(self, manifests: Iterable[Mapping[str, Json]]) -> None:
        found = list(manifests)
        self.policies: dict[str, list[Mapping[str, Json]]] = {}
        for policy in found:
            if policy["kind"] == "NetworkPolicy":
                self.policies.setdefault(policy["metadata"].get("namespace", "default"), []).append(policy)
        self._isolating: dict[tuple[Pod, Direction], list[Mapping[str, Json]]] = {}
        self.pods = [pod for m in found if (pod := _pod(m)) is not None]
        self._namespaces = {
            m["metadata"]["name"]: m["metadata"].get("labels", {}) for m in found if m["kind"] == "Namespace"
        }

    def pod(self, workload: str, namespace: str = "default") -> Pod:
        """The pod of a workload by its name."""
        (found,) = [pod for pod in self.pods if (pod.name, pod.namespace) == (workload, namespace)]
        return found

    def allows(self, source: Peer, destination: Peer, port: int, protocol: str = "TCP") -> bool:
        """Both the egress of the source and the ingress of the destination must let a connection through.

        `port` is the destination pod's: a policy acts behind a Service.
        """
        if source == destination:
            return True  # "a pod cannot block access to itself"
        return self.lets_out(source, destination, port, protocol) and self.lets_in(source, destination, port, protocol)

    def lets_out(self, source: Peer, destination: Peer, port: int, protocol: str = "TCP") -> bool:
        """The source's half."""
        return self._allowed("Egress", source, destination, destination, port, protocol)

    def lets_in(self, source: Peer, destination: Peer, port: int, protocol: str = "TCP") -> bool:
        """The destination's half."""
        return self._allowed("Ingress", destination, source, destination, port, protocol)

    def isolating(self, pod: Peer, direction: Direction) -> list[Mapping[str, Json]]:
        """The policies that apply to a pod in one direction: those that select it and name the direction."""
        if not isinstance(pod, Pod) or pod.host_network:
            return []
        key = (pod, direction)
        if key not in self._isolating:
            self._isolating[key] = [
                policy
                for policy in self.policies.get(pod.namespace, [])
                if direction in _directions(policy["spec"]) and matches(policy["spec"]["podSelector"], pod.labels)
            ]
        return self._isolating[key]

    def _allowed(
        self, direction: Direction, own: Peer, other: Peer, destination: Peer, port: int, protocol: str
    ) -> bool:
        policies = self.isolating(own, direction)
        side = {"Ingress": "from", "Egress": "to"}[direction]
        return not policies or any(
            _any_port(rule.get("ports") or [], destination, port, protocol)
            and self._any_peer(rule.get(side) or [], policy["metadata"].get("namespace", "default"), other)
            for policy in policies
            for rule in policy["spec"].get(direction.lower()) or []
        )

    def _any_peer(self, peers: Sequence[Mapping[str, Json]], namespace: str, other: Peer) -> bool:
        """No peers means everybody."""
        return not peers or any(self._peer(peer, namespace, other) for peer in peers)

    def _peer(self, peer: Mapping[str, Json], namespace: str, other: Peer) -> bool:
        if not peer or ("ipBlock" in peer and len(peer) > 1):
            raise ValueError(f"not a NetworkPolicyPeer that an API server takes: {dict(peer)}")
        if "ipBlock" in peer:
            address = other.address if isinstance(other, Pod) else other
            return address is not None and in_block(address, peer["ipBlock"])
        if not isinstance(other, Pod) or other.host_network:
            return False
        if "namespaceSelector" in peer:
            labels = {"kubernetes.io/metadata.name": other.namespace, **self._namespaces.get(other.namespace, {})}
            here = matches(peer["namespaceSelector"], labels)
        else:
            here = other.namespace == namespace
        return here and matches(peer.get("podSelector", {}), other.labels)


def _directions(spec: Mapping[str, Json]) -> set[str]:
    """Without ``policyTypes`` a policy is for ingress, and for egress if it has rules for it."""
    return set(spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])])


def _any_port(ports: Sequence[Mapping[str, Json]], destination: Peer, port: int, protocol: str) -> bool:
    """No ports means all; a name is that of the destination's port."""
    for wanted in ports:
        if wanted.get("protocol", "TCP") != protocol:
            continue
        match wanted.get("port"):
            case None:
                return True
            case str(name):
                if isinstance(destination, Pod) and (name, protocol, port) in destination.ports:
                    return True
            case first:
                if first <= port <= wanted.get("endPort", first):
                    return True
    return not ports


def _pod(manifest: Mapping[str, Json]) -> Pod | None:
    """The pod that a manifest is, or that its template makes."""
    meta, spec = manifest["metadata"], manifest.get("spec") or {}
    if manifest["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    if manifest["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"):
        labels, spec = spec["template"]["metadata"].get("labels", {}), spec["template"]["spec"]
    elif manifest["kind"] == "Pod":
        labels = meta.get("labels", {})
    else:
        return None
    ports = tuple(
        (port.get("name", ""), port.get("protocol", "TCP"), port["containerPort"])
        for container in spec.get("containers", [])
        for port in container.get("ports", [])
    )
    return Pod(
        meta["name"],
        meta.get("namespace", "default"),
        labels,
        ports,
        host_network=bool(spec.get("hostNetwork")),
        service_account=spec.get("serviceAccountName", "default"),
    )
