"""Custom kinds on the way without a Pulumi CLI: scope and pruning, on a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cloudmart.cluster import toolchain
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy import applyset, kinds
from cloudmart.deploy.lease import Lease
from cloudmart.preview.recorder import Recorded, Recording

Json = Any

pytestmark = pytest.mark.cluster

GROUP = "fruit.example.com"


def _definition(kind: str, plural: str, scope: str) -> Json:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {"kind": kind, "plural": plural},
            "scope": scope,
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


class Garden:
    """What a program declares, and the cluster that it goes to; its namespaces are this test's alone."""

    def __init__(self, cluster: LocalCluster, home: str, elsewhere: str) -> None:
        self.kubectl = Kubectl(path=toolchain.kubectl(), kubeconfig=cluster.kubeconfig)
        self.home, self.elsewhere = home, elsewhere
        self.said: list[str] = []
        self.declared: dict[str, Json] = {}
        self.declare("Namespace", home, api_version="v1")

    def declare(self, kind: str, name: str, *, api_version: str = f"{GROUP}/v1", **metadata: str) -> None:
        item = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **metadata}}
        self.declared[f"{kind} {name}"] = item if kind == "Namespace" else item | {"spec": {"size": 1}}

    def recording(self) -> Recording:
        resources = [
            Recorded(
                urn=f"urn:{label}",
                type=f"kubernetes:{item['apiVersion']}:{item['kind']}",
                name=label,
                inputs=item,
                parent="",
                custom=True,
            )
            for label, item in self.declared.items()
        ]
        return Recording(project="garden", stack=self.home, root=Path(), resources=resources, outputs={}, generated={})

    def up(self) -> applyset.Applied:
        kept, scopes = kinds.served_part(self.recording(), self.kubectl, local=True, progress=self.said.append)
        with self.lease() as lease:
            return applyset.apply(kept, self.kubectl, self.home, scopes, lease)

    def down(self) -> applyset.Applied:
        with self.lease() as lease:
            return applyset.remove(self.recording(), self.kubectl, self.home, lease, delete_data=False)

    def lease(self) -> Lease:
        return applyset.lease(self.kubectl, self.home, self.home, "up", self.said.append)

    def held(self) -> set[str]:
        listed = self.kubectl.json("get", f"apples.{GROUP},orchards.{GROUP}", "--all-namespaces")["items"]
        return {"/".join((i["kind"], i["metadata"].get("namespace", ""), i["metadata"]["name"])) for i in listed}


@pytest.fixture
def garden(cluster: LocalCluster) -> Iterator[Garden]:
    definitions = [_definition("Apple", "apples", "Namespaced"), _definition("Orchard", "orchards", "Cluster")]
    text = "\n---\n".join(map(json.dumps, definitions))
    cluster.kubectl("apply", "-f", "-", stdin=text)
    cluster.kubectl("wait", "--for=condition=Established", "-f", "-", stdin=text)
    home, elsewhere = (f"garden-{uuid4().hex[:8]}" for _ in range(2))
    cluster.kubectl("create", "namespace", elsewhere)
    yield Garden(cluster, home, elsewhere)
    cluster.kubectl("delete", "namespace", home, elsewhere, "--ignore-not-found", "--wait=false")
    cluster.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=text)


def test_custom_objects_come_with_the_program_and_go_with_it(garden: Garden) -> None:
    garden.declare("Apple", "red", namespace=garden.home)
    garden.declare("Apple", "green")  # in the shop's namespace, without saying so
    garden.declare("Apple", "far", namespace=garden.elsewhere)
    garden.declare("Orchard", "hill")
    garden.declare("Orchard", "misplaced", namespace=garden.elsewhere)  # cluster-wide, whatever it says
    made = garden.up()
    everything = {
        f"Apple/{garden.home}/red",
        f"Apple/{garden.home}/green",
        f"Apple/{garden.elsewhere}/far",
        "Orchard//hill",
        "Orchard//misplaced",
    }
    assert garden.held() == everything
    assert len(made.created) == 6
    again = garden.up()
    assert (again.created, again.changed, again.removed, again.unchanged) == ((), (), (), 6)

    # One kind less in a namespace, one object less of the cluster's, and a namespace that has nothing any more.
    for label in ("Apple red", "Apple green", "Orchard hill", "Apple far"):
        del garden.declared[label]
    less = garden.up()
    assert garden.held() == {"Orchard//misplaced"}
    assert len(less.removed) == 4
    assert garden.up().removed == ()
    assert garden.said == []


def test_down_takes_custom_objects_in_every_namespace_along(garden: Garden) -> None:
    garden.declare("Apple", "far", namespace=garden.elsewhere)
    garden.declare("Orchard", "hill")
    garden.up()
    assert len(garden.held()) == 2
    garden.down()
    assert garden.held() == set()


def test_a_definition_that_somebody_took_away_blocks_neither_up_nor_down(garden: Garden) -> None:
    garden.declare("Apple", "near")
    garden.declare("Apple", "far", namespace=garden.elsewhere)
    garden.declare("Orchard", "hill")
    garden.up()
    garden.kubectl.run("delete", "crd", f"apples.{GROUP}")
    del garden.declared["Apple near"], garden.declared["Apple far"]
    again = garden.up()
    assert (again.removed, again.unchanged) == ((), 2)
    garden.down()
    assert garden.kubectl.json("get", f"orchards.{GROUP}")["items"] == []


def test_an_object_whose_kind_nobody_defines_is_left_out_and_the_rest_arrives(garden: Garden) -> None:
    garden.declare("Apple", "red")
    garden.declare("Pear", "yellow")
    garden.declare("Ghost", "g", api_version="ghost.example.com/v1")
    assert len(garden.up().created) == 2
    assert garden.held() == {f"Apple/{garden.home}/red"}
    assert [line.partition(";")[0] for line in garden.said] == [
        f"left out: the local cluster does not serve {GROUP}: 1 x Pear v1",
        "left out: the local cluster does not serve ghost.example.com: 1 x Ghost v1",
    ]
