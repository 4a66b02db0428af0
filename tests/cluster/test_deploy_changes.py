"""A small shop without a Pulumi CLI, on a real API server: what order is kept, and that one run goes on at a time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from cloudmart.cluster.local import LocalCluster
from tests.reliability import edits
from tests.reliability.shop import SPACE, STACK, Deploying, Shop

Json = Any

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def shop(cluster: LocalCluster) -> Shop:
    return Shop.at(cluster)


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


def test_services_that_ask_for_much_less_are_rolled_out_before_the_quota_shrinks(shop: Shop) -> None:
    catalog = edits.catalog(Random(1))
    service = catalog["services"].popitem()[1] | {"needs": [], "replicas": 3}
    service.pop("autoscaling", None)
    limits = {"cpu": "600m", "memory": "512Mi"}
    service["resources"] = {"requests": {"cpu": "600m", "memory": "512Mi"}, "limits": limits}
    catalog["services"] = {"accounts": service}
    shop.declare(catalog)
    shop.up()
    # Old pods take 1800m; the quota would allow some 300m for four of the new ones.
    small = {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": limits}
    catalog["services"]["accounts"] = service | {"resources": small}
    shop.declare(catalog)
    ended = shop.up()
    assert "the quota gets smaller" in ended.said
    shop.look()
    ended = shop.up()
    assert "the quota gets smaller" not in ended.said
    assert "0 created, 0 changed, 0 removed" in ended.said


def test_a_service_that_gets_an_autoscaler_keeps_its_pods(shop: Shop) -> None:
    service = shop.catalog["services"]["accounts"]
    service["replicas"] = 3
    shop.declare(shop.catalog)
    shop.up()
    service["autoscaling"] = {"min": 2, "max": 4, "cpu": 70}
    shop.declare(shop.catalog)
    before = now(shop)
    shop.up()
    shop.look()
    counts = [event["object"]["spec"]["replicas"] for event in since(shop, before, "apps/v1", "deployments")]
    assert set(counts) == {3}
    assert "f:replicas" not in json.dumps(fields_of(shop, "cloudmart"))
    # And the other way round, the count is the catalog's again.
    del service["autoscaling"]
    service["replicas"] = 1
    shop.declare(shop.catalog)
    shop.up()
    shop.look()


def fields_of(shop: Shop, manager: str) -> list[Json]:
    """What one manager holds of the Deployment."""
    found = shop.kubectl.json("get", "deployment/accounts", f"--namespace={SPACE}", "--show-managed-fields")
    return [entry["fieldsV1"] for entry in found["metadata"]["managedFields"] if entry["manager"] == manager]


def holder(shop: Shop) -> str:
    """Who holds the stack's Lease; empty where nobody does."""
    lease = shop.kubectl.json("get", "lease", f"cloudmart-{STACK}", f"--namespace={SPACE}", "--ignore-not-found")
    return str((lease or {"spec": {}})["spec"].get("holderIdentity", ""))


@contextlib.contextmanager
def holding(shop: Shop) -> Iterator[Deploying]:
    """An `up` that makes a service anew, stopped while it holds the Lease: what is tried meanwhile may take long."""
    shop.catalog["services"]["accounts"]["env"] = {"FEATURE_X": f"{time.time()}"}
    shop.declare(shop.catalog)
    run = shop.start()
    try:
        deadline = time.monotonic() + 60
        while not _is_stopped_with_the_lease(shop, run):
            assert run.is_alive, run.wait().said
            assert time.monotonic() < deadline
        yield run
    finally:
        if not run.output.closed:
            run.kill(group=True)
            run.wait()


def _is_stopped_with_the_lease(shop: Shop, run: Deploying) -> bool:
    if f", process {run.pid}:" not in holder(shop):
        return False
    os.kill(run.pid, signal.SIGSTOP)
    if f", process {run.pid}:" in holder(shop):
        return True
    os.kill(run.pid, signal.SIGCONT)  # it was about to end
    return False


def test_while_an_up_goes_on_nobody_else_may_change_the_stack(shop: Shop) -> None:
    other = shop.with_catalog(shop.catalog)
    with holding(shop) as first:
        elsewhere = {"KUBECONFIG": str(shop.cluster.kubeconfig)}
        second = shop.start("--context", f"kwok-{shop.cluster.name}", environment=elsewhere, root=other).wait()
        down = shop.start(command=("down", "--yes")).wait()
        for ended in (second, down):
            assert ended.code == 2
            (error,) = ended.error.splitlines()
            assert error.startswith("stack dev: found another up under way (")
            assert f", process {first.pid}, since " in error
            assert "allowed: one at a time. If that one was killed, its lease expires by itself in " in error
        os.kill(first.pid, signal.SIGCONT)
        assert first.wait().code == 0
    assert holder(shop) == ""
    shop.look()


def test_an_up_that_is_killed_is_followed_by_the_next_at_once(shop: Shop) -> None:
    with holding(shop) as run:
        run.kill(group=True)
        run.wait()
    assert f", process {run.pid}:" in holder(shop)
    ended = shop.up()
    assert "the last up did not end by itself (" in ended.said
    assert f", process {run.pid}, since " in ended.said
    assert holder(shop) == ""
    shop.look()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_up_that_is_interrupted_gives_the_lease_back(shop: Shop, sent: signal.Signals) -> None:
    with holding(shop) as run:
        os.kill(run.pid, sent)
        os.kill(run.pid, signal.SIGCONT)
        ended = run.wait()
        assert ended.code == 128 + sent
        assert "Traceback" not in ended.said
    assert holder(shop) == ""
    shop.up()
    shop.look()
