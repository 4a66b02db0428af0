"""What every namespace lets its pods do, whatever is in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from cloudmart.preview.recorder import record
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
