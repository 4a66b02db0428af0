"""What the GitOps layer asks of the cluster: Argo CD's real definitions, and that two may apply the same manifests."""

from __future__ import annotations

import copy
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

#: Configurations of the layer, by name: what is asked of the definitions.
CONFIGS: dict[str, Json] = {
    "shown": {"sync": {"mode": "manual"}},
    "delivered": {
        "sync": {"mode": "automated", "prune": True, "selfHeal": True},
        "notifications": {"enabled": True},
        "repository": {"url": "git@git.example.com:shop/delivery.git", "revision": "release/1.x"},
    },
}


@lru_cache
def rendered(config: str) -> list[Json]:
    recording = record("prod", ROOT, overrides={"cloudmart:gitops": {"enabled": True} | CONFIGS[config]})
    return [manifest.object for manifest in manifests(recording)]


def argo_objects(config: str, namespace: str) -> dict[str, Json]:
    found = {
        item["kind"]: copy.deepcopy(item) for item in rendered(config) if item["apiVersion"].startswith("argoproj.io/")
    }
    for item in found.values():
        item["metadata"]["namespace"] = namespace
    return found


def create(cluster: LocalCluster, item: Json) -> str:
    """Strict `create`, as a dry run."""
    return cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(item))


def apply(cluster: LocalCluster, items: list[Json], manager: str, *options: str) -> None:
    """Server-side apply in earnest, by one manager of fields."""
    text = "\n---\n".join(json.dumps(item) for item in items)
    cluster.kubectl("apply", "--server-side", f"--field-manager={manager}", *options, "-f", "-", stdin=text)


@pytest.fixture
def taught(crds: frozenset[str]) -> None:
    if "argo-cd" not in crds:
        pytest.skip("Argo CD's definitions cannot be had here")


@pytest.mark.parametrize("config", CONFIGS)
def test_the_project_and_the_application_pass_argo_cds_definitions(
    taught: None, cluster: LocalCluster, namespace: str, config: str
) -> None:
    objects = argo_objects(config, namespace)
    assert set(objects) == {"AppProject", "Application"}
    for item in objects.values():
        assert create(cluster, item).strip().endswith(" created (server dry run)")


@pytest.mark.parametrize(
    ("kind", "edit", "said"),
    [
        ("Application", lambda spec: spec["source"].update(repoUrl="https://git.example.com/x"), "repoUrl"),
        ("Application", lambda spec: spec["syncPolicy"]["automated"].update(self_heal=True), "self_heal"),
        ("Application", lambda spec: spec.pop("project"), "spec.project: Required value"),
        ("Application", lambda spec: spec["syncPolicy"]["retry"]["backoff"].update(factor="2"), "factor"),
        ("AppProject", lambda spec: spec["orphanedResources"].update(warn="yes"), "warn"),
        ("AppProject", lambda spec: spec["namespaceResourceWhitelist"].append({"kind": "Pod"}), "group: Required"),
        ("AppProject", lambda spec: spec.update(clusterResourceWhiteList=[]), "clusterResourceWhiteList"),
    ],
)
def test_the_definitions_refuse_what_is_wrong(
    taught: None, cluster: LocalCluster, namespace: str, kind: str, edit: Any, said: str
) -> None:
    item = argo_objects("delivered", namespace)[kind]
    edit(item["spec"])
    with pytest.raises(UserError, match=said):
        create(cluster, item)


def test_who_applies_the_same_manifest_is_no_rival_and_who_applies_another_is_told(
    cluster: LocalCluster, namespace: str
) -> None:
    items = [
        copy.deepcopy(item)
        for item in rendered("delivered")
        if item["metadata"].get("namespace") == "cloudmart" and item["kind"] in ("Deployment", "Service", "ConfigMap")
    ]
    assert len(items) > 10
    for item in items:
        item["metadata"]["namespace"] = namespace
    apply(cluster, items, "pulumi")
    # Argo CD always forces its will.
    apply(cluster, items, "argocd-controller", "--force-conflicts")
    # No conflict, although both own every field.
    apply(cluster, items, "pulumi")
    deployment = next(item for item in items if item["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "example.com/other:1.0"
    with pytest.raises(UserError, match='conflict with "argocd-controller"'):
        apply(cluster, [deployment], "pulumi")
    # In this order there is none: Git first, then the engine.
    apply(cluster, [deployment], "argocd-controller", "--force-conflicts")
    apply(cluster, [deployment], "pulumi")
