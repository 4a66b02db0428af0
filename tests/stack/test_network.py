"""Who can talk to whom, worked out from the manifests as a network plugin would, against what the catalog declares."""

from __future__ import annotations

from collections.abc import Iterator

from cloudmart.settings import PROMETHEUS, Purpose, TargetKind
from tests.evaluators.network import Network, Pod, matches
from tests.stack.objects import Stack

Flow = tuple[str, str, str, int]

_WEB = (("http", "TCP", 80), ("https", "TCP", 443), ("alternative", "TCP", 8080))
_DNS = (("dns", "UDP", 53), ("dns-tcp", "TCP", 53))


def _network(stack: Stack) -> Network:
    return Network(found.inputs for found in stack.objects)


def _scrapers(stack: Stack) -> list[Pod]:
    """The monitoring's Prometheus where there is one; else one that somebody else runs, whom nobody lets in."""
    party = stack.settings.parties.get(PROMETHEUS)
    labels = party.pod_labels if party else {"app.kubernetes.io/name": "prometheus"}
    return [Pod("prometheus", party.namespace if party else "monitoring", labels, _WEB)]


def _flows(stack: Stack) -> Iterator[Flow]:
    """(from, to, protocol, port) of everything that both sides let through.

    Among the shop's pods, the cluster's DNS, and strangers: of the monitoring, and of nobody in particular.
    """
    network = _network(stack)
    everybody = [
        *network.pods,
        Pod("dns", "kube-system", {"k8s-app": "kube-dns"}, (*_DNS, ("metrics", "TCP", 9153))),
        Pod("system", "kube-system", {"k8s-app": "other"}, (*_DNS, *_WEB)),
        *_scrapers(stack),
        Pod("stranger", "elsewhere", {"app": "user-service"}, _WEB),
        Pod("intruder", stack.settings.namespace.name, {"app": "debug"}, _WEB),
    ]
    for caller in everybody:
        for target in everybody:
            for _, protocol, port in target.ports if caller != target else ():
                if network.allows(caller, target, port, protocol):
                    yield caller.name, target.name, protocol, port


def _declared(stack: Stack) -> set[Flow]:
    """Every edge between two pods of the shop."""
    return {
        (edge.caller, edge.target, "TCP", edge.port)
        for edge in stack.settings.edges
        if edge.kind is not TargetKind.EXTERNAL
        and edge.purpose is Purpose.CALL
        and edge.caller in stack.settings.services
    }


def test_the_declared_edges_are_those_of_the_shop(stack: Stack) -> None:
    assert {(caller, target) for caller, target, _, _ in _declared(stack)} == {
        ("user-service", "postgres"),
        ("product-service", "redis"),
        ("order-service", "kafka"),
        ("order-service", "payment-service"),
        ("notification-service", "kafka"),
    }


def test_beyond_the_edges_there_is_dns_and_the_scraping_of_exporters_alone(stack: Stack) -> None:
    shop = {pod.name for pod in _network(stack).pods}
    both = set(_flows(stack))
    rest = {flow for flow in both if flow[0] in shop or flow[1] in shop} - _declared(stack)
    dns = {(app, "dns", protocol, 53) for app in shop for protocol in ("UDP", "TCP")}
    scraped = {
        (edge.caller, edge.target, "TCP", edge.port)
        for edge in stack.settings.edges
        if edge.purpose is Purpose.SCRAPE and edge.kind is not TargetKind.LAYER
    }
    assert rest == dns | scraped


def test_a_pod_that_nobody_declared_reaches_dns_and_nothing_else(stack: Stack) -> None:
    both = set(_flows(stack))
    assert {flow for flow in both if flow[0] == "intruder"} == {
        ("intruder", "dns", "UDP", 53),
        ("intruder", "dns", "TCP", 53),
    }
    assert not {flow for flow in both if flow[1] == "intruder"}


_INTERNET = ("203.0.113.7", "2001:db8::7")
_PRIVATE = ("10.0.0.1", "172.20.0.1", "192.168.1.1", "169.254.169.254", "127.0.0.1", "fd00::1", "::1")


def test_only_declared_callers_reach_outside_and_never_a_private_address(stack: Stack) -> None:
    settings = stack.settings
    expected = {
        (edge.caller, settings.externals[edge.target].port)
        for edge in settings.edges
        if edge.kind is TargetKind.EXTERNAL
    }
    assert expected == {("payment-service", 443)}
    network = _network(stack)
    tried = (80, 443, 5432, 8080)
    for address in _INTERNET:
        assert {
            (pod.name, port) for pod in network.pods for port in tried if network.allows(pod, address, port)
        } == expected
    for address in _PRIVATE:
        assert not [pod.name for pod in network.pods for port in tried if network.allows(pod, address, port)], address


def test_nobody_comes_in_from_outside(stack: Stack) -> None:
    network = _network(stack)
    for address in (*_INTERNET, *_PRIVATE):
        for pod in network.pods:
            assert not [port for _, _, port in pod.ports if network.allows(address, pod, port)], (address, pod.name)


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
