"""Kubecost's release on the real engine and a real API server, from charts of our own with the same values."""

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

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.pulumi,
    pytest.mark.skipif(shutil.which("pulumi") is None, reason="no pulumi command on PATH"),
]

PROGRAM = """
from pathlib import Path

import pulumi
import yaml

from cloudmart.settings.kubecost import KubecostSettings
from cloudmart.settings.service import Cluster
from components.kubecost import Kubecost, KubecostArgs
from components.labels import Labels

settings = KubecostSettings.model_validate(yaml.safe_load(Path("settings.yaml").read_text()))
labels = Labels(app="shop", component="shop", tier="backend", version="v1", project="cloudmart", team="platform",
                cost_center="CC-2001")
kubecost = Kubecost("kubecost", KubecostArgs(settings=settings, cluster=Cluster(kubernetes_version="1.36"),
                                             labels=labels, default_cluster_id="cloudmart-test"))
pulumi.export("apiUrl", kubecost.api_url)
"""


class Stack:
    """A scratch stack with nothing in it but Kubecost."""

    def __init__(self, home: Path, cluster: LocalCluster) -> None:
        self.home = home
        (home / "state").mkdir()
        (home / "__main__.py").write_text(textwrap.dedent(PROGRAM))
        project = {"name": "kubecost-test", "runtime": {"name": "python", "options": {"virtualenv": sys.prefix}}}
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

    def up(self, **settings: Any) -> str:
        (self.home / "settings.yaml").write_text(yaml.safe_dump(settings))
        return str(self.stack.up().outputs["apiUrl"].value)

    def changes(self) -> dict[str, int]:
        """What a preview would change, by kind of change."""
        return {str(kind): n for kind, n in self.stack.preview().change_summary.items() if kind != "same"}


@pytest.fixture
def stack(tmp_path: Path, cluster: LocalCluster) -> Iterator[Stack]:
    made = Stack(tmp_path, cluster)
    yield made
    made.stack.destroy()


def objects(cluster: LocalCluster, kind: str) -> list[dict[str, Any]]:
    found = json.loads(cluster.kubectl("get", kind, "--namespace", "kubecost", "--output", "json"))
    items: list[dict[str, Any]] = found["items"]
    return items


def test_both_charts_come_up_fenced_and_labelled_and_one_can_follow_the_other(
    stack: Stack, cluster: LocalCluster
) -> None:
    for chart, service in (("kubecost", "kubecost-frontend"), ("cost-analyzer", "kubecost-cost-analyzer")):
        url = stack.up(chart={"name": chart, "path": f"charts/{chart}"}, timeoutSeconds=90)
        assert stack.changes() == {}
        assert url == f"http://{service}.kubecost:9090/model"
        (frontend,) = [found for found in objects(cluster, "services") if found["metadata"]["name"] == service]
        assert 9090 in [port["port"] for port in frontend["spec"]["ports"]]
        # The pods of the chart before may still be on their way out.
        pods = [pod for pod in objects(cluster, "pods") if "deletionTimestamp" not in pod["metadata"]]
        assert pods
        for pod in pods:
            assert pod["metadata"]["labels"]["cost-center"] == "CC-2001"
            # Its mark on pods whose containers lack requests or limits.
            assert "kubernetes.io/limit-ranger" not in pod["metadata"].get("annotations", {})
        assert all(claim["status"]["phase"] == "Bound" for claim in objects(cluster, "persistentvolumeclaims"))


def test_a_release_that_did_not_become_ready_is_mended_by_the_next_up(stack: Stack) -> None:
    config = {"chart": {"path": "charts/kubecost"}, "timeoutSeconds": 30}
    template = stack.home / "charts" / "kubecost" / "templates" / "all.yaml"
    sound = template.read_text()
    # A claim that no pod mounts is never bound.
    assert ' "claim" .claim' in sound
    template.write_text(sound.replace(' "claim" .claim', ""))
    with pytest.raises(automation.CommandError):
        stack.up(**config)
    template.write_text(sound)
    stack.up(**config)
    assert stack.changes() == {}
