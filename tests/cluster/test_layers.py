"""Every object of every combination of layers before the real API server, with the projects' real definitions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cloudmart.cluster import crds as definitions
from cloudmart.cluster.local import LocalCluster
from cloudmart.preview.render import manifests, substitute
from tests import layers

Json = Any

pytestmark = pytest.mark.cluster

#: API groups whose definitions no registry has (docs/crds.md), or that Gatekeeper makes out of its templates.
UNKNOWN = {
    "configuration.konghq.com",
    "constraints.gatekeeper.sh",
    "postgresql.cnpg.io",
    "redis.redis.opstreelabs.in",
    "barmancloud.cnpg.io",
    "cert-manager.io",
}
COMBINATIONS = [
    *(("prod", combination) for combination in (layers.CORE, *layers.alone(), *layers.everything(), *layers.pairs())),
    *(("dev", combination) for combination in layers.everything()),
]


def _objects() -> dict[str, Json]:
    """Every different object that some combination makes, by its own text."""
    found: dict[str, Json] = {}
    for stack, combination in COMBINATIONS:
        recording = layers.recorded(stack, combination)
        values = dict.fromkeys(recording.generated, "not-a-real-password")
        for manifest in manifests(recording, templates=True):
            item = substitute(manifest.object, values)
            found[json.dumps(item, sort_keys=True)] = item
    return found


def _group(item: Json) -> str:
    group, _, version = item["apiVersion"].partition("/")
    return group if version else ""


@pytest.fixture(scope="module")
def objects() -> list[Json]:
    return list(_objects().values())


@pytest.fixture(scope="module")
def spaces(cluster: LocalCluster, objects: list[Json]) -> Iterator[None]:
    """The namespaces of all layers, so that what goes into them can be tried."""
    names = sorted({name for item in objects if (name := item["metadata"].get("namespace"))})
    there = set(cluster.kubectl("get", "namespaces", "-o", "name").split())
    made = [name for name in names if f"namespace/{name}" not in there]
    for name in made:
        cluster.kubectl("create", "namespace", name)
    yield
    if made:
        # One that is still on its way out would meet the next file's shop.
        cluster.kubectl("delete", "namespace", *made, timeout=120)


def test_every_object_of_every_combination_is_created_under_strict_validation(
    cluster: LocalCluster, crds: frozenset[str], objects: list[Json], spaces: None
) -> None:
    absent = {
        group for project in definitions.PROJECTS if project.name not in crds for group in project.kinds
    }  # what could not be had on this machine; docs/crds.md
    tried = [item for item in objects if _group(item) not in UNKNOWN | absent]
    existing = {"Namespace"}  # made for the rest; its own creation is tried with the stacks' manifests
    tried = [item for item in tried if item["kind"] not in existing]
    text = "\n---\n".join(json.dumps(item) for item in tried)
    create = ("create", "--dry-run=server", "--validate=strict", "-f", "-")
    answered = cluster.kubectl(*create, stdin=text, timeout=300).splitlines()
    assert len(answered) == len(tried)
    assert all(line.endswith(" created (server dry run)") for line in answered)


def test_what_cannot_be_checked_is_what_the_documentation_says(objects: list[Json]) -> None:
    known = {group for project in definitions.PROJECTS for group in project.kinds}
    groups = {_group(item) for item in objects}
    custom = {group for group in groups if "." in group and not group.endswith(".k8s.io")}
    assert custom - known <= UNKNOWN


def test_a_misspelt_field_of_a_custom_kind_does_not_pass(
    cluster: LocalCluster, crds: frozenset[str], objects: list[Json], spaces: None
) -> None:
    for item in objects:
        if item["kind"] == "VerticalPodAutoscaler":
            wrong = json.dumps({**item, "spec": {**item["spec"], "targetReference": {}}})
            with pytest.raises(Exception, match="targetReference"):
                cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=wrong)
            return
    pytest.fail("no combination has a VerticalPodAutoscaler")
