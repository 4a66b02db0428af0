"""Stores in mode `operator` on the real engine and a real API server, from charts that stand in for the real ones."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi import automation

from cloudmart.cluster import crds as definitions
from cloudmart.cluster.local import LocalCluster
from tests.cluster.conftest import say
from tests.conftest import ROOT, copy_project

Json = Any

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.pulumi,
    pytest.mark.skipif(shutil.which("pulumi") is None, reason="no pulumi command on PATH"),
]

SPACE = "cloudmart"


def _chart(name: str) -> Json:
    return {"path": f"charts/{name}"}


def _operated(config: Json) -> None:
    """Dev's small stores, by operators; nothing else is asked of the cluster."""
    config["cloudmart:data"]["postgres"] |= {"mode": "operator"}
    config["cloudmart:data"]["kafka"] |= {"mode": "operator"}
    config["cloudmart:data"]["redis"] |= {"mode": "operator", "cluster": {"chart": _chart("redis-ha")}}
    config["cloudmart:operators"] = {
        "cloudnativePg": {"chart": _chart("cloudnative-pg")},
        "strimzi": {"chart": _chart("strimzi-kafka-operator")},
    }
    for layer in ("kubecost", "gateway", "admission"):
        config[f"cloudmart:{layer}"] = {**config.get(f"cloudmart:{layer}", {}), "enabled": False}


class Engine:
    """The project with stores by operators, in a scratch backend."""

    def __init__(self, home: Path, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.project = copy_project(home / "project")
        self.project.config("dev", _operated)
        shutil.copytree(ROOT / "tests" / "charts", self.project.root / "charts")
        kinds = self.project.root / "charts" / "strimzi-kafka-operator" / "crds"
        kinds.mkdir()
        shutil.copy(definitions.ensure(say) / "strimzi.yaml", kinds)
        (home / "state").mkdir()
        variables = {
            "KUBECONFIG": str(cluster.kubeconfig),
            "PULUMI_BACKEND_URL": f"file://{home / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "test",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        options = automation.LocalWorkspaceOptions(env_vars=variables)
        self.stack = automation.create_or_select_stack("dev", work_dir=str(self.project.root), opts=options)

    def kept(self) -> dict[str, str]:
        """What holds data, with its identity: kind and name to uid."""
        kinds = "clusters.postgresql.cnpg.io,kafkas,kafkanodepools,kafkatopics,persistentvolumeclaims"
        listed = json.loads(self.cluster.kubectl("get", kinds, "-n", SPACE, "-o", "json"))
        return {f"{item['kind']} {item['metadata']['name']}": item["metadata"]["uid"] for item in listed["items"]}


@pytest.fixture
def engine(tmp_path: Path, cluster: LocalCluster, crds: frozenset[str]) -> Iterator[Engine]:
    if "strimzi" not in crds:
        pytest.skip("no definitions of Strimzi's kinds on this machine (docs/crds.md)")
    made = Engine(tmp_path, cluster)
    yield made
    made.stack.destroy()
    cluster.kubectl("delete", "namespace", SPACE, "--ignore-not-found", timeout=120)


def test_operated_stores_come_up_in_one_go_and_what_holds_their_data_outlives_the_stack(engine: Engine) -> None:
    engine.stack.up()
    before = engine.kept()
    assert {"Cluster postgres", "Kafka kafka", "KafkaNodePool broker", "KafkaTopic orders"} <= before.keys()
    # The charts' pods pass the namespaces' quota and Pod Security, or the releases would not have become ready.
    replicas = engine.cluster.kubectl("get", "statefulset", "redis-server", "-n", SPACE, "-o", "yaml")
    assert yaml.safe_load(replicas)["status"]["readyReplicas"] == 3
    changes = engine.stack.preview().change_summary
    assert {str(kind) for kind, count in changes.items() if count} == {"same"}
    engine.stack.destroy()
    assert engine.kept() == before
    # Whoever comes back finds all of it.
    engine.stack.up()
    assert engine.kept() == before
