"""The real definitions of custom kinds on a real API server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cloudmart.cluster import crds as crds_
from cloudmart.cluster.crds import PROJECTS, Project
from cloudmart.cluster.discovery import served
from cloudmart.cluster.local import LocalCluster
from cloudmart.errors import UserError
from cloudmart.preview import schema
from cloudmart.preview.recorder import Recorded

Json = Any

pytestmark = pytest.mark.cluster

#: One good object of each project, and a place in its spec that a fault is put in.
OBJECTS: dict[str, Json] = {
    "istio": {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "spec": {"rules": [{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/cart"]}}]}]},
    },
    "gateway-api": {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "spec": {"parentRefs": [{"name": "shop"}], "rules": [{"backendRefs": [{"name": "cart", "port": 80}]}]},
    },
    "argo-cd": {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        "spec": {"sourceRepos": ["https://git.example/shop"], "destinations": [{"namespace": "shop", "name": "x"}]},
    },
    "vpa": {
        "apiVersion": "autoscaling.k8s.io/v1",
        "kind": "VerticalPodAutoscaler",
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "cart"},
            "updatePolicy": {"updateMode": "Off"},
        },
    },
    "gatekeeper": {
        "apiVersion": "config.gatekeeper.sh/v1alpha1",
        "kind": "Config",
        "spec": {"match": [{"excludedNamespaces": ["kube-system"], "processes": ["*"]}]},
    },
    "prometheus-operator": {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "spec": {"groups": [{"name": "shop", "rules": [{"alert": "Down", "expr": "up == 0", "for": "5m"}]}]},
    },
    "barman-cloud": {
        "apiVersion": "barmancloud.cnpg.io/v1",
        "kind": "ObjectStore",
        "spec": {"configuration": {"destinationPath": "s3://backups/shop"}, "retentionPolicy": "30d"},
    },
    "strimzi": {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaTopic",
        "spec": {"partitions": 3, "replicas": 3, "config": {"retention.ms": 604800000}},
    },
}


def dry_run(cluster: LocalCluster, namespace: str, item: Json) -> None:
    item = item | {"metadata": {"name": "try", "namespace": namespace}}
    cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(item))


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_every_kind_of_a_project_is_served(cluster: LocalCluster, crds: frozenset[str], project: Project) -> None:
    if project.name not in crds:
        pytest.skip(f"the definitions of {project.title} cannot be had here; see `cloudmart local start`")
    listed = json.loads(cluster.kubectl("get", "crd", "-o", "json"))["items"]
    found = {(crd["spec"]["group"], crd["spec"]["names"]["kind"]): crd for crd in listed}
    for group, kinds in project.kinds.items():
        for kind in kinds:
            conditions = {c["type"]: c["status"] for c in found[group, kind]["status"]["conditions"]}
            assert conditions["Established"] == "True", kind
            assert conditions["NamesAccepted"] == "True", kind
            assert "NonStructuralSchema" not in conditions, kind


@pytest.mark.parametrize("name", OBJECTS)
def test_the_real_schema_lets_a_good_object_in_and_keeps_a_misspelt_field_out(
    cluster: LocalCluster, crds: frozenset[str], namespace: str, name: str
) -> None:
    if name not in crds:
        pytest.skip(f"the definitions of {name} cannot be had here; see `cloudmart local start`")
    good = OBJECTS[name]
    dry_run(cluster, namespace, good)
    with pytest.raises(UserError, match=r'unknown field "spec\.misspelt"'):
        dry_run(cluster, namespace, good | {"spec": good["spec"] | {"misspelt": 1}})


def _variants(spec: Json) -> Iterator[Json]:
    """The spec with each of its values gone, of another type, or with an unknown field beside it."""

    def places(value: Json, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, below in items:
            yield (*path, key)
            yield from places(below, (*path, key))

    for path in places(spec):
        for change in ("gone", {"misspelt": 1}, 1.5):
            variant = json.loads(json.dumps(spec))
            here = variant
            for part in path[:-1]:
                here = here[part]
            if change == "gone":
                del here[path[-1]]
            elif isinstance(change, dict) and isinstance(here[path[-1]], dict):
                here[path[-1]] |= change
            else:
                here[path[-1]] = change
            yield variant


@pytest.mark.parametrize("name", OBJECTS)
def test_the_offline_check_agrees_with_the_api_server(
    cluster: LocalCluster, crds: frozenset[str], namespace: str, name: str
) -> None:
    if name not in crds:
        pytest.skip(f"the definitions of {name} cannot be had here; see `cloudmart local start`")
    good = OBJECTS[name]

    def verdicts(spec: Json) -> tuple[bool, str]:
        item = good | {"metadata": {"name": "try", "namespace": namespace}, "spec": spec}
        kind = f"kubernetes:{item['apiVersion']}:{item['kind']}"
        object_ = Recorded(urn="urn", type=kind, name="try", inputs=item, parent="", custom=True)
        offline = schema.validate([object_], "1.36", crds_.folder())
        assert offline.checked == 1
        try:
            dry_run(cluster, namespace, item)
        except UserError as error:
            return bool(offline.errors), str(error)
        return bool(offline.errors), ""

    variants = list(_variants(good["spec"]))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(verdicts, variants))
    for variant, (refused_offline, said) in zip(variants, found, strict=True):
        if refused_offline:
            assert said, variant
        elif said:
            # What a schema cannot say: rules between fields, and in code.
            assert not re.search(r"unknown field|must be of type|Required value|Unsupported value", said), (
                variant,
                said,
            )
    assert any(refused for refused, _ in found)


def test_rules_between_fields_hold_too(cluster: LocalCluster, crds: frozenset[str], namespace: str) -> None:
    if "gateway-api" not in crds:
        pytest.skip("the definitions of gateway-api cannot be had here; see `cloudmart local start`")
    route = json.loads(json.dumps(OBJECTS["gateway-api"]))
    del route["spec"]["rules"][0]["backendRefs"][0]["port"]  # which a Service must have
    with pytest.raises(UserError, match="Must have port for Service reference"):
        dry_run(cluster, namespace, route)


def test_a_cluster_that_knows_them_is_not_asked_again(
    cluster: LocalCluster, crds: frozenset[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if crds != {project.name for project in PROJECTS}:
        pytest.skip("not all definitions can be had here; see `cloudmart local start`")

    def untouched(*arguments: str, **_: object) -> str:
        raise AssertionError(arguments)

    said: list[str] = []
    monkeypatch.setattr(cluster, "kubectl", untouched)
    assert crds_.install(cluster, said.append) == []
    assert said == []


def test_scope_comes_from_the_api_server(cluster: LocalCluster, crds: frozenset[str]) -> None:
    found = served(
        cluster.kubectl,
        ["v1", "apps/v1", "gateway.networking.k8s.io/v1", "templates.gatekeeper.sh/v1", "nobody.example.com/v1"],
    )
    assert found["v1", "Namespace"] is False
    assert found["apps/v1", "Deployment"] is True
    assert not any(api_version == "nobody.example.com/v1" for api_version, _ in found)
    if "gateway-api" in crds:
        assert found["gateway.networking.k8s.io/v1", "HTTPRoute"] is True
        assert found["gateway.networking.k8s.io/v1", "GatewayClass"] is False
    if "gatekeeper" in crds:
        assert found["templates.gatekeeper.sh/v1", "ConstraintTemplate"] is False


def test_a_definition_from_elsewhere_is_left_as_it_is(
    cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(name="fruit", title="Fruit", kinds={"fruit.example.com": ("Apple",)})
    theirs = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "apples.fruit.example.com"},
        "spec": {
            "group": "fruit.example.com",
            "names": {"kind": "Apple", "plural": "apples", "singular": "apple", "listKind": "AppleList"},
            "scope": "Namespaced",
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
            ],
        },
    }
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(theirs))
    try:
        ours = json.loads(json.dumps(theirs))
        ours["spec"]["names"]["shortNames"] = ["ap"]
        ours["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"] = {"spec": {"type": "object"}}
        (tmp_path / "fruit.yaml").write_text(json.dumps(ours))
        monkeypatch.setattr(crds_, "folder", lambda: tmp_path)
        said: list[str] = []
        crds_._apply(cluster, project, said.append)
        assert said == ["custom kinds of Fruit: there from elsewhere, left as they are"]
        found = json.loads(cluster.kubectl("get", "crd", "apples.fruit.example.com", "-o", "json"))
        assert "shortNames" not in found["spec"]["names"]
    finally:
        cluster.kubectl("delete", "crd", "apples.fruit.example.com")
