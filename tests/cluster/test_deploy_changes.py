"""Changes of a small shop's catalog without a Pulumi CLI, on a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from cloudmart.cluster.local import LocalCluster
from tests.reliability import edits
from tests.reliability.shop import SPACE, Shop

Json = Any

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def shop(cluster: LocalCluster) -> Iterator[Shop]:
    found = Shop.at(cluster)
    found.empty()
    yield found
    found.empty()


def now(shop: Shop) -> str:
    """The version that the cluster is at: each change counts it up, of whatever kind."""
    listed = json.loads(shop.kubectl.run("get", "--raw", "/api/v1/namespaces"))
    return str(listed["metadata"]["resourceVersion"])


def since(shop: Shop, version: str, group: str, resource: str) -> list[Json]:
    """What has happened to objects of a kind in the shop since a version of the cluster."""
    path = f"/apis/{group}/namespaces/{SPACE}/{resource}?watch=true&timeoutSeconds=1&resourceVersion={version}"
    return [json.loads(line) for line in shop.kubectl.run("get", "--raw", path).splitlines()]


def test_an_autoscaler_that_leaves_the_catalog_is_gone_before_the_replicas_are_those_declared(shop: Shop) -> None:
    catalog = edits.catalog(Random(1))
    service = catalog["services"].popitem()[1] | {"needs": []}
    service.pop("autoscaling", None)
    scaled = {"replicas": 2, "autoscaling": {"min": 2, "max": 4, "cpu": 70}}
    catalog["services"] = {"accounts": service | scaled}
    shop.declare(catalog)
    shop.up()
    shop.look()
    there = ("deployment/accounts", f"--namespace={SPACE}", "--for=jsonpath={.spec.replicas}=2", "--timeout=30s")
    shop.kubectl.run("wait", *there)
    catalog["services"]["accounts"] = service | {"replicas": 1}
    shop.declare(catalog)
    before = now(shop)
    ended = shop.up()
    assert "removed horizontalpodautoscaler.autoscaling/accounts-hpa" in ended.said
    shop.look()
    (gone,) = [
        int(event["object"]["metadata"]["resourceVersion"])
        for event in since(shop, before, "autoscaling/v2", "horizontalpodautoscalers")
        if event["type"] == "DELETED"
    ]
    applied = [
        int(event["object"]["metadata"]["resourceVersion"])
        for event in since(shop, before, "apps/v1", "deployments")
        if event["object"]["spec"]["replicas"] == 1
    ]
    assert gone < min(applied)
