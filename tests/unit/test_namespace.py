"""What every namespace lets its pods do, whatever is in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from cloudmart.preview.recorder import Recorded, record
from cloudmart.settings import load
from cloudmart.settings.service import Cluster

ROOT = Path(__file__).resolve().parents[2]


def test_where_dns_answers_is_an_address_or_a_range_of_them() -> None:
    cluster = Cluster.model_validate(
        {"kubernetesVersion": "1.36", "dnsAddresses": ["169.254.20.10", "fd00::10", "10.0.0.0/24"]}
    )
    assert cluster.dns_addresses == ("169.254.20.10/32", "fd00::10/128", "10.0.0.0/24")
    with pytest.raises(ValidationError, match="has host bits set; allowed: a range such as"):
        Cluster.model_validate({"kubernetesVersion": "1.36", "dnsAddresses": ["10.0.0.1/24"]})


@pytest.mark.slow
def test_dns_on_the_nodes_own_network_can_be_reached_from_every_namespace_and_at_port_53_alone() -> None:
    recording = record("prod", ROOT, overrides={"cloudmart:cluster": {"dnsAddresses": ["169.254.20.10"]}})
    namespaces = {r.object_name for r in recording.resources if r.kind == "Namespace"}
    cache = {"ipBlock": {"cidr": "169.254.20.10/32"}}
    reaching = {}
    for policy in (r for r in recording.resources if r.kind == "NetworkPolicy"):
        for rule in policy.inputs["spec"].get("egress", ()):
            if cache in rule.get("to", ()):
                reaching[policy.namespace] = {(port["protocol"], port["port"]) for port in rule["ports"]}
                assert policy.inputs["spec"]["podSelector"] == {}
                assert policy.object_name == "allow-dns"
    assert set(reaching) == namespaces
    assert len(namespaces) > 8
    assert all(ports == {("UDP", 53), ("TCP", 53)} for ports in reaching.values())


_MAKES_PODS = {"Deployment", "StatefulSet", "Cluster", "Pooler", "Kafka", "KafkaNodePool"}


@pytest.mark.parametrize("stack", ["dev", pytest.param("prod", marks=pytest.mark.slow)])
def test_whatever_makes_pods_of_the_shop_waits_for_quota_limits_default_deny_mesh_and_admission(stack: str) -> None:
    found = {r.urn: r for r in record(stack, ROOT).resources}
    home = load(stack, ROOT).namespace.name
    guards = {
        r.urn
        for r in found.values()
        if r.namespace == home and (r.kind in ("ResourceQuota", "LimitRange") or r.object_name == "default-deny")
    }
    assert len(guards) == 3
    more = {"prod": ("istiod", "cloudmart-probes-constraint")}.get(stack, ())
    layers = {r.urn for r in found.values() if r.name in more}
    assert len(layers) == len(more)

    def awaited(item: Recorded, seen: set[str]) -> set[str]:
        # A child is registered when its parent is, and that when what it depends on is there.
        for urn in {*item.dependencies, item.parent or ""} - seen:
            seen.add(urn)
            if urn in found:
                awaited(found[urn], seen)
        return seen

    making = [
        r
        for r in found.values()
        if (r.kind in _MAKES_PODS and r.namespace == home)
        or (r.type.endswith(":Release") and r.inputs.get("namespace") == home)
    ]
    assert len(making) >= 8
    for one in making:
        assert guards | layers <= awaited(one, set()), one.urn


def test_what_makes_no_pods_does_not_wait_for_the_quota() -> None:
    found = record("dev", ROOT).resources
    (quota,) = [r for r in found if r.kind == "ResourceQuota" and r.name == "cloudmart-quota"]
    waiting = {r.kind for r in found if quota.urn in r.dependencies}
    assert waiting == {"Deployment", "StatefulSet"}
