"""Monitors and rules before the real API server, with the operator's real definitions."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import pytest

from cloudmart.cluster.local import LocalCluster
from cloudmart.errors import UserError
from cloudmart.preview.recorder import record
from cloudmart.preview.render import manifests
from tests.conftest import ROOT

Json = Any

pytestmark = pytest.mark.cluster


@lru_cache
def monitoring() -> list[Json]:
    """What the operator would read, of prod with its layers."""
    recording = record("prod", ROOT, overrides={"cloudmart:monitoring": {"enabled": True}})
    found = [manifest.object for manifest in manifests(recording)]
    return [item for item in found if item["apiVersion"] == "monitoring.coreos.com/v1"]


def create(cluster: LocalCluster, namespace: str, *items: Json) -> list[str]:
    """Strict `create` in a namespace, as a dry run."""
    moved = [{**item, "metadata": {**item["metadata"], "namespace": namespace}} for item in items]
    text = "\n---\n".join(json.dumps(item) for item in moved)
    return cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text).splitlines()


@pytest.fixture
def taught(crds: frozenset[str]) -> None:
    if "prometheus-operator" not in crds:
        pytest.skip("the operator's definitions cannot be had here")


def test_every_monitor_and_every_rule_passes_the_operators_definitions(
    taught: None, cluster: LocalCluster, namespace: str
) -> None:
    items = monitoring()
    assert {item["kind"] for item in items} == {"PodMonitor", "PrometheusRule"}
    assert len(create(cluster, namespace, *items)) == len(items) > 10


@pytest.mark.parametrize(
    ("kind", "edit", "said"),
    [
        ("PodMonitor", lambda spec: spec["podMetricsEndpoints"][0].update(portNumber="9187"), "portNumber"),
        ("PodMonitor", lambda spec: spec["podMetricsEndpoints"][0].update(port_number=9187), "port_number"),
        ("PodMonitor", lambda spec: spec.pop("selector"), "spec.selector: Required"),
        ("PrometheusRule", lambda spec: spec["groups"][0]["rules"][0].update({"for": "an hour"}), "for"),
        ("PrometheusRule", lambda spec: spec["groups"][0]["rules"][0].pop("expr"), "expr: Required"),
    ],
)
def test_the_definitions_refuse_what_is_wrong(
    taught: None, cluster: LocalCluster, namespace: str, kind: str, edit: Any, said: str
) -> None:
    item = json.loads(json.dumps(next(item for item in monitoring() if item["kind"] == kind)))
    edit(item["spec"])
    with pytest.raises(UserError, match=said):
        create(cluster, namespace, item)
