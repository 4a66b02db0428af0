"""The mesh's objects before the real API server with Istio's own definitions, and the layer on the real engine."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi import automation

from cloudmart.cluster.local import LocalCluster
from cloudmart.errors import UserError
from cloudmart.settings import load
from components.authorization import planned
from tests.conftest import ROOT, Project

Json = Any

pytestmark = pytest.mark.cluster

PROGRAM = """
from pathlib import Path

import yaml

from cloudmart.settings.mesh import MeshSettings
from cloudmart.settings.service import Cluster
from components.labels import Labels
from components.mesh import Mesh, MeshArgs

labels = Labels(app="shop", component="shop", tier="backend", version="v1", project="cloudmart", team="platform",
                cost_center="CC-2001")
settings = yaml.safe_load(Path("settings.yaml").read_text())
if settings:
    Mesh("mesh", MeshArgs(settings=MeshSettings.model_validate(settings), cluster=Cluster(kubernetes_version="1.36"),
                          labels=labels, members=["cloudmart"], scraper="monitoring", jwks_port=443))
"""


def unusual(project: Project) -> None:
    """What the stacks of the repository do not have: nested routes, plain HTTP outside, a managed store."""

    def change(catalog: Any) -> None:
        catalog["externals"]["plain"] = {"description": "x", "host": "plain.example.com", "port": 80, "scheme": "http"}
        catalog["services"]["user-service"]["needs"].append("plain")
        catalog["services"]["user-service"]["resilience"] = {"retries": {"attempts": 0}}
        catalog["services"]["user-service"]["routes"] = [
            {"path": "/", "auth": "anonymous"},
            {"path": "/admin", "methods": ["POST"], "auth": "jwt"},
        ]
        catalog["data"]["redis"] = {
            "mode": "external",
            "external": {"host": "cache.example.com", "cidrs": ["203.0.113.0/24"]},
        }

    project.catalog(change)


@pytest.mark.parametrize("mode", ["sidecar", "ambient"])
def test_the_real_definitions_take_what_unusual_catalogs_make_and_no_misspelt_field(
    cluster: LocalCluster, crds: frozenset[str], namespace: str, project: Project, mode: str
) -> None:
    if "istio" not in crds:
        pytest.skip("Istio's definitions cannot be had here; see `cloudmart local start`")
    unusual(project)

    def switch_on(config: Any) -> None:
        config["cloudmart:data"].pop("redis", None)
        config["cloudmart:mesh"] = {"enabled": True, "mode": mode}
        config["cloudmart:gateway"] = {"enabled": True}

    project.config("dev", switch_on)
    objects = [
        {
            "apiVersion": one.kind.api_version,
            "kind": one.kind.kind,
            "metadata": {"name": one.name, "namespace": namespace},
            "spec": one.spec.wire(),
        }
        for one in planned(load("dev", project.root))
    ]
    assert len({item["kind"] for item in objects}) >= 6

    def create(items: list[Json]) -> list[str]:
        text = "\n---\n".join(json.dumps(item) for item in items)
        return cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text).splitlines()

    assert len(create(objects)) == len(objects)
    misspelt = json.loads(json.dumps(objects[0]))
    misspelt["spec"]["mtls"] = {"mode": "SOMETIMES"}
    with pytest.raises(UserError, match="SOMETIMES"):
        create([misspelt])


class Stack:
    """A scratch stack with nothing in it but the mesh, of stand-in charts."""

    def __init__(self, home: Path, cluster: LocalCluster) -> None:
        self.home = home
        (home / "state").mkdir()
        (home / "__main__.py").write_text(textwrap.dedent(PROGRAM))
        project = {"name": "mesh-test", "runtime": {"name": "python", "options": {"virtualenv": sys.prefix}}}
        (home / "Pulumi.yaml").write_text(yaml.safe_dump(project))
        shutil.copytree(ROOT / "tests" / "charts", home / "charts")
        variables = {
            "KUBECONFIG": str(cluster.kubeconfig),
            "PULUMI_BACKEND_URL": f"file://{home / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "test",
            "PYTHONPATH": str(ROOT),
        }
        options = automation.LocalWorkspaceOptions(env_vars=variables | {"PATH": os.environ["PATH"]})
        self.stack = automation.create_stack("test", work_dir=str(home), opts=options)

    def up(self, settings: Json) -> None:
        if settings:
            charts = {key: {"path": f"charts/{key}"} for key in ("base", "istiod", "cni", "ztunnel")}
            settings = {"enabled": True, "timeoutSeconds": 60, **charts, **settings}
        (self.home / "settings.yaml").write_text(yaml.safe_dump(settings))
        self.stack.up()

    def changes(self) -> dict[str, int]:
        """What a preview would change, by kind of change."""
        return {str(kind): n for kind, n in self.stack.preview().change_summary.items() if kind != "same"}


@pytest.fixture
def stack(tmp_path: Path, cluster: LocalCluster) -> Iterator[Stack]:
    made = Stack(tmp_path, cluster)
    yield made
    made.stack.destroy()


@pytest.mark.pulumi
@pytest.mark.skipif(shutil.which("pulumi") is None, reason="no pulumi command on PATH")
def test_the_mesh_comes_up_in_one_go_changes_its_mode_and_goes_without_a_trace(
    stack: Stack, cluster: LocalCluster, crds: frozenset[str]
) -> None:
    if "istio" not in crds:
        pytest.skip("Istio's definitions cannot be had here; see `cloudmart local start`")

    def running() -> set[str]:
        pods = json.loads(cluster.kubectl("get", "pods", "-n", "istio-system", "-o", "json"))["items"]
        for pod in pods:
            assert pod["metadata"]["labels"]["cost-center"] == "CC-2001"
            # Its mark on pods whose containers lack requests or limits.
            assert "kubernetes.io/limit-ranger" not in pod["metadata"].get("annotations", {})
        return {pod["metadata"]["ownerReferences"][0]["name"].split("-")[0] for pod in pods}

    stack.up({"mode": "sidecar"})
    assert running() == {"istiod", "istio"}
    assert stack.changes() == {}
    stack.up({"mode": "ambient"})
    assert running() == {"istiod", "istio", "ztunnel"}
    assert stack.changes() == {}
    stack.up(None)
    listed = cluster.kubectl("get", "namespaces,peerauthentications", "-A", "-o", "name")
    assert "istio-system" not in listed
    assert "peerauthentication" not in listed
