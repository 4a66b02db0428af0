"""What the network policies of the repository's own stacks let through beside the edges; those are in test_edges.py."""

from __future__ import annotations

import pytest

from cloudmart.settings import Purpose, TargetKind
from tests.evaluators.network import Pod, matches
from tests.stack.objects import Stack
from tests.stack.pairs import Shop

_INTERNET = ("203.0.113.7", "2001:db8::7")
_PRIVATE = ("10.0.0.1", "172.20.0.1", "192.168.1.1", "169.254.169.254", "127.0.0.1", "fd00::1", "::1")


@pytest.fixture(scope="session")
def shop(stack: Stack) -> Shop:
    """A stack's declaration and its objects."""
    return Shop(stack.settings, tuple(found.inputs for found in stack.objects))


def test_the_declared_edges_are_those_of_the_shop(stack: Stack) -> None:
    services = stack.settings.services
    calls = [edge for edge in stack.settings.edges if edge.purpose is Purpose.CALL and edge.caller in services]
    assert {(edge.caller, edge.target) for edge in calls} == {
        ("user-service", "postgres"),
        ("product-service", "redis"),
        ("order-service", "kafka"),
        ("order-service", "payment-service"),
        ("payment-service", "payment-api"),
        ("notification-service", "kafka"),
    }


def _flows(shop: Shop) -> set[tuple[str, str, str, int]]:
    """(from, to, protocol, port) of all that goes between the shop's own pods and others of the cluster."""
    own = {name: pod for name, pod in shop.pods.items() if pod.namespace == shop.settings.namespace.name}
    others = {
        "dns": Pod("dns", "kube-system", {"k8s-app": "kube-dns"}),
        "system": Pod("system", "kube-system", {"k8s-app": "other"}),
        # Somebody else's, whom nobody lets in: the labels are right and the namespace is not, or the other way round.
        "monitoring": Pod("prometheus", "elsewhere", {"app.kubernetes.io/name": "prometheus"}),
        "stranger": Pod("stranger", "elsewhere", {"app": "user-service"}),
        "intruder": Pod("intruder", shop.settings.namespace.name, {"app": "debug"}),
    }
    ports = {("TCP", port) for _, _, port in shop.tried} | {("UDP", 53), ("TCP", 53), ("TCP", 9153)}
    ways = [(a, b) for a in own for b in others] + [(b, a) for a in own for b in others] + [("intruder", "dns")]
    ends = own | others
    return {
        (caller, target, protocol, port)
        for caller, target in ways
        for protocol, port in ports
        if shop.network.allows(ends[caller], ends[target], port, protocol)
    }


def test_beyond_the_edges_there_are_names_and_nothing_else(shop: Shop) -> None:
    everybody = {name for name, pod in shop.pods.items() if pod.namespace == shop.settings.namespace.name}
    assert _flows(shop) == {(app, "dns", way, 53) for app in {*everybody, "intruder"} for way in ("UDP", "TCP")}


def test_only_declared_callers_reach_outside_and_never_a_private_address(shop: Shop) -> None:
    settings = shop.settings
    expected = {
        (edge.caller, settings.externals[edge.target].port)
        for edge in settings.edges
        if edge.kind is TargetKind.EXTERNAL
    }
    assert expected == {("payment-service", 443)}
    tried = {port for _, _, port in shop.tried}
    pods = [shop.pods[name] for name in settings.services]
    for address in _INTERNET:
        found = {(pod.name, port) for pod in pods for port in tried if shop.network.allows(pod, address, port)}
        assert found == expected
    for address in _PRIVATE:
        assert not [pod.name for pod in pods for port in tried if shop.network.allows(pod, address, port)], address


def test_nobody_comes_to_the_shop_from_outside(shop: Shop) -> None:
    ports = {port for _, _, port in shop.tried}
    for address in (*_INTERNET, *_PRIVATE):
        for pod in shop.pods.values():
            if pod.namespace == shop.settings.namespace.name:
                assert not [port for port in ports if shop.network.allows(address, pod, port)], (address, pod.name)


def test_the_policies_of_services_name_one_kind_of_pod_each(shop: Shop) -> None:
    checked = 0
    for policy in shop.of("NetworkPolicy"):
        if policy["metadata"]["name"] in shop.settings.services:
            rules = [*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])]
            for peer in [peer for rule in rules for peer in [*rule.get("from", []), *rule.get("to", [])]]:
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    selected = [name for name, pod in shop.pods.items() if matches(peer["podSelector"], pod.labels)]
                    assert len(selected) == 1, policy["metadata"]["name"]
                    checked += 1
    assert checked >= len([edge for edge in shop.settings.edges if edge.caller in shop.settings.services])


def test_both_namespaces_deny_by_default(stack: Stack) -> None:
    for namespace in [str(o.object_name) for o in stack.objects if o.kind == "Namespace"]:
        spec = stack.of("NetworkPolicy", namespace)["default-deny"]["spec"]
        assert spec["podSelector"] == {}
        assert sorted(spec["policyTypes"]) == ["Egress", "Ingress"]
        assert not spec.get("ingress")
        assert not spec.get("egress")
