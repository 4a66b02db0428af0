"""Every layer on the real engine and a real API server, from charts that stand in for the real ones.

One story, told in order: what one test leaves is what the next finds. Containers are simulated, so operators make no
pods of the custom resources; what is shown is that the program comes up in one go, in an order that the API server
accepts, and that a layer goes as a whole.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloudmart.settings import Settings, load
from tests.pulumi.shop import SPACE, Shop

Json = Any

STACK = "prod"
#: What controllers make and change by themselves; nobody asks after their identity.
_TRANSIENT = {"events", "endpoints", "endpointslices", "pods", "replicasets", "controllerrevisions", "leases", "jobs"}


def _kinds(shop: Shop) -> list[str]:
    """Every kind that can be listed."""
    return sorted(
        name
        for name in shop.cluster.kubectl("api-resources", "--verbs=list", "-o", "name").split()
        if name.partition(".")[0] not in _TRANSIENT and not name.endswith("metrics.k8s.io")
    )


def _everything(shop: Shop) -> dict[str, str]:
    """Everything in the cluster: kind, namespace and name to uid."""
    # Helm's records of its releases come and go: a release that is told of a layer is another one without it.
    # As one request: kubectl asks for the kinds one after another, of a thousand objects at a time.
    listed = json.loads(shop.cluster.kubectl("get", ",".join(_kinds(shop)), "-A", "-o", "json", timeout=120))
    return {
        f"{item['kind']} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}": uid
        for item in listed["items"]
        if (uid := item["metadata"].get("uid"))  # what is no object, such as a component's status, has none
        and not item["metadata"]["name"].startswith("sh.helm.release.v1.")
    }


def _settings(shop: Shop) -> Settings:
    return load(STACK, shop.project.root)


def _unprotect(config: Json) -> None:
    """So that the story can end with a destroy."""
    for store in ("postgres", "redis", "kafka"):
        config["cloudmart:data"][store]["protect"] = False
    for key, part in config.items():
        if isinstance(part, dict) and "protect" in part:
            config[key]["protect"] = False


def _allow_unprotected(shop: Shop) -> None:
    """The pack of this stack refuses unprotected data, before anything is made."""
    file = shop.project.root / "policy" / "config" / f"{STACK}.json"
    rules = json.loads(file.read_text())
    rules["data-protected"]["namespaces"] = []
    file.write_text(json.dumps(rules))


def test_everything_comes_up_in_one_go_from_nothing(shop: Shop) -> None:
    shop.project.config(STACK, _unprotect)
    _allow_unprotected(shop)
    settings = _settings(shop)
    assert {"kubecost", "mesh", "gateway", "admission", "gitops", "monitoring", "verticalAutoscaling"} <= set(
        settings.layers
    )
    _, lines = shop.up(STACK)
    assert not [line for line in lines if "left out" in line]
    spaces = {settings.namespace.name, *(layer.namespace for layer in settings.layers.values())}
    assert spaces <= shop.names("namespaces")
    for space in spaces:
        for item in shop.get("deployments", "-n", space):
            conditions = {each["type"]: each["status"] for each in item["status"].get("conditions", ())}
            assert conditions.get("Available") == "True", f"{space}/{item['metadata']['name']}"


def test_a_second_run_has_nothing_to_do(shop: Shop) -> None:
    ended = shop.pulumi("preview", "--stack", STACK, "--expect-no-changes", "--json")
    if ended.returncode:
        steps = [step for step in json.loads(ended.stdout)["steps"] if step["op"] != "same"]
        pytest.fail("\n".join(f"{step['op']} {step['urn']} {step.get('diffReasons')}" for step in steps))


def _without(shop: Shop, key: str) -> tuple[dict[str, str], dict[str, str]]:
    """Everything in the cluster with a layer and, after an `up` of the stack, without it."""
    before = _everything(shop)
    shop.project.config(STACK, lambda config: config[f"cloudmart:{key}"].update(enabled=False))
    shop.up(STACK)
    return before, _everything(shop)


@pytest.mark.parametrize("key", ["monitoring", "gitops", "verticalAutoscaling", "admission", "mesh", "gateway"])
def test_switching_a_layer_off_removes_all_of_it_and_nothing_else(shop: Shop, key: str) -> None:
    space = getattr(_settings(shop), "vertical_autoscaling" if key == "verticalAutoscaling" else key).namespace
    before, after = _without(shop, key)
    gone = before.keys() - after.keys()
    assert f"Namespace /{space}" in gone
    assert not [name for name in after if f" {space}/" in name]
    # What stays is the very same object.
    replaced = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    assert replaced == set()
    core = {
        name
        for name in gone
        if f" {SPACE}/" in name
        and name.partition(" ")[0] in {"Deployment", "StatefulSet", "Service", "Secret", "PersistentVolumeClaim"}
    }
    assert core == set()
    appeared = after.keys() - before.keys()
    assert appeared == set(), "a layer that goes makes nothing"


def test_what_was_switched_off_can_be_switched_on_again(shop: Shop) -> None:
    before = _everything(shop)

    def back(config: Json) -> None:
        config["cloudmart:verticalAutoscaling"]["enabled"] = True

    shop.project.config(STACK, back)
    shop.up(STACK)
    after = _everything(shop)
    assert before.items() <= after.items()
    assert f"VerticalPodAutoscaler {SPACE}/user-service" in after


def test_destroy_takes_everything_but_the_data(shop: Shop) -> None:
    shop.down(STACK)
    left = {name for name in shop.names("namespaces") if not name.startswith(("kube-", "default"))}
    assert left == {SPACE}
    kinds = {name.partition(" ")[0] for name in shop.held()}
    assert kinds <= {"PersistentVolumeClaim", "ServiceAccount", "ConfigMap"}
