"""Who can talk to whom, worked out from the manifests as a network plugin would, against what the catalog declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from cloudmart.settings import TargetKind
from tests.stack.objects import Stack, matches

Json = Any


@dataclass(frozen=True)
class Endpoint:
    """Something with an address in the cluster: a pod, whose namespace has labels too."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    ports: frozenset[tuple[str, int]]

    @property
    def namespace_labels(self) -> dict[str, str]:
        return {"kubernetes.io/metadata.name": self.namespace}


def _endpoints(stack: Stack) -> list[Endpoint]:
    """The shop's pods, the cluster's DNS, and strangers: of the monitoring, and of nobody in particular."""
    shop = [
        Endpoint(pod.labels["app"], pod.namespace, pod.labels, frozenset(("TCP", port) for port in pod.ports.values()))
        for pod in stack.pods()
    ]
    web = frozenset({("TCP", 80), ("TCP", 443), ("TCP", 8080)})
    dns = frozenset({("UDP", 53), ("TCP", 53)})
    return [
        *shop,
        Endpoint("dns", "kube-system", {"k8s-app": "kube-dns"}, dns | {("TCP", 9153)}),
        Endpoint("system", "kube-system", {"k8s-app": "other"}, dns | web),
        Endpoint("prometheus", "monitoring", {"app": "prometheus"}, web),
        Endpoint("stranger", "elsewhere", {"app": "user-service"}, web),
        Endpoint("intruder", stack.settings.namespace.name, {"app": "debug"}, web),
    ]


def _peers(rule: Json, side: str, policy_namespace: str, other: Endpoint) -> bool:
    if side not in rule:
        return True  # no peers means everybody
    for peer in rule[side]:
        if "ipBlock" in peer:
            continue  # addresses outside the cluster
        selector = peer.get("namespaceSelector")
        here = other.namespace == policy_namespace if selector is None else matches(selector, other.namespace_labels)
        if here and matches(peer.get("podSelector", {}), other.labels):
            return True
    return False


def _ports(rule: Json, protocol: str, port: int) -> bool:
    return "ports" not in rule or any(p["protocol"] == protocol and p["port"] == port for p in rule["ports"])


def _allowed(stack: Stack, way: str, own: Endpoint, other: Endpoint, protocol: str, port: int) -> bool:
    """Whether the policies that select `own` let this through; `way` is Ingress or Egress."""
    policies = [
        o.inputs["spec"]
        for o in stack.objects
        if o.kind == "NetworkPolicy"
        and o.namespace == own.namespace
        and way in o.inputs["spec"]["policyTypes"]
        and matches(o.inputs["spec"]["podSelector"], own.labels)
    ]
    side = {"Ingress": "from", "Egress": "to"}[way]
    return not policies or any(
        _peers(rule, side, own.namespace, other) and _ports(rule, protocol, port)
        for policy in policies
        for rule in policy.get(way.lower(), [])
    )


Flow = tuple[str, str, str, int]


def _flows(stack: Stack, ways: tuple[str, ...]) -> Iterator[Flow]:
    """(from, to, protocol, port) of everything that one or both sides let through, where the shop is on that side."""
    everybody = _endpoints(stack)
    for caller in everybody:
        for target in everybody:
            if caller is target:
                continue
            for protocol, port in target.ports:
                if all(
                    _allowed(stack, way, *((caller, target) if way == "Egress" else (target, caller)), protocol, port)
                    for way in ways
                ):
                    yield caller.name, target.name, protocol, port


def _declared(stack: Stack) -> set[Flow]:
    settings = stack.settings
    ports = {"postgres": 5432, "redis": 6379, "kafka": 9092}
    found: set[Flow] = set()
    for edge in settings.edges:
        if edge.kind is TargetKind.SERVICE:
            found.add((edge.caller, edge.target, "TCP", settings.services[edge.target].container_port))
        elif edge.kind is TargetKind.STORE:
            found.add((edge.caller, edge.target, "TCP", ports[edge.target]))
    return found


def _in_the_shop(stack: Stack, flows: Iterator[Flow]) -> set[Flow]:
    shop = {pod.labels["app"] for pod in stack.pods()}
    return {flow for flow in flows if flow[0] in shop and flow[1] in shop}


def test_callers_may_go_where_the_catalog_says_and_nowhere_else(stack: Stack) -> None:
    assert _in_the_shop(stack, _flows(stack, ("Egress",))) == _declared(stack)


def test_everybody_lets_in_whom_the_catalog_names_and_nobody_else(stack: Stack) -> None:
    assert _in_the_shop(stack, _flows(stack, ("Ingress",))) == _declared(stack)


def test_the_declared_edges_are_those_of_the_shop(stack: Stack) -> None:
    assert {(caller, target) for caller, target, _, _ in _declared(stack)} == {
        ("user-service", "postgres"),
        ("product-service", "redis"),
        ("order-service", "kafka"),
        ("order-service", "payment-service"),
        ("notification-service", "kafka"),
    }


def test_beyond_the_edges_there_is_dns_and_the_scraping_of_exporters_alone(stack: Stack) -> None:
    shop = {pod.labels["app"] for pod in stack.pods()}
    both = set(_flows(stack, ("Egress", "Ingress")))
    rest = {flow for flow in both if flow[0] in shop or flow[1] in shop} - _declared(stack)
    dns = {(app, "dns", protocol, 53) for app in shop for protocol in ("UDP", "TCP")}
    exporters = {"postgres": 9187, "redis": 9121, "kafka": 9308}
    scraped = {
        ("prometheus", store, "TCP", port)
        for store, port in exporters.items()
        if getattr(stack.settings.data, store).exporter.enabled
    }
    assert rest == dns | scraped


def test_a_pod_that_nobody_declared_reaches_dns_and_nothing_else(stack: Stack) -> None:
    both = set(_flows(stack, ("Egress", "Ingress")))
    assert {flow for flow in both if flow[0] == "intruder"} == {
        ("intruder", "dns", "UDP", 53),
        ("intruder", "dns", "TCP", 53),
    }
    assert not {flow for flow in both if flow[1] == "intruder"}


def test_only_declared_callers_reach_outside_and_never_a_private_address(stack: Stack) -> None:
    settings = stack.settings
    expected = {
        (edge.caller, settings.externals[edge.target].port)
        for edge in settings.edges
        if edge.kind is TargetKind.EXTERNAL
    }
    assert expected == {("payment-service", 443)}
    found = set()
    for o in stack.objects:
        if o.kind != "NetworkPolicy" or o.namespace != settings.namespace.name:
            continue
        for rule in o.inputs["spec"].get("egress", []):
            blocks = [peer["ipBlock"] for peer in rule.get("to", []) if "ipBlock" in peer]
            if not blocks:
                continue
            found |= {(o.inputs["spec"]["podSelector"]["matchLabels"]["app"], port["port"]) for port in rule["ports"]}
            assert _reached(blocks, "203.0.113.7")
            assert _reached(blocks, "2001:db8::7")
            for private in ("10.0.0.1", "172.20.0.1", "192.168.1.1", "169.254.169.254", "127.0.0.1", "fd00::1", "::1"):
                assert not _reached(blocks, private), private
    assert found == expected


def _reached(blocks: list[Json], address: str) -> bool:
    ip = ip_address(address)
    return any(
        ip in ip_network(block["cidr"]) and not any(ip in ip_network(hole) for hole in block.get("except", []))
        for block in blocks
    )


def test_every_peer_and_policy_selects_pods_that_exist(stack: Stack) -> None:
    pods = stack.pods()
    checked = 0
    for o in stack.objects:
        if o.kind != "NetworkPolicy" or o.namespace != stack.settings.namespace.name:
            continue
        spec = o.inputs["spec"]
        assert any(matches(spec["podSelector"], pod.labels) for pod in pods), o.object_name
        for side, way in (("from", "ingress"), ("to", "egress")):
            for rule in spec.get(way, []):
                for peer in rule.get(side, []):
                    if "podSelector" in peer and "namespaceSelector" not in peer:
                        selected = [pod.workload for pod in pods if matches(peer["podSelector"], pod.labels)]
                        assert len(selected) == 1, o.object_name
                        checked += 1
    assert checked == 2 * len(_declared(stack))


def test_both_namespaces_deny_by_default(stack: Stack) -> None:
    for namespace in [str(o.object_name) for o in stack.objects if o.kind == "Namespace"]:
        spec = stack.of("NetworkPolicy", namespace)["default-deny"]["spec"]
        assert spec["podSelector"] == {}
        assert sorted(spec["policyTypes"]) == ["Egress", "Ingress"]
        assert not spec.get("ingress")
        assert not spec.get("egress")
