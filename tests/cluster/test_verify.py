"""`cloudmart verify` on a real API server: silent on a healthy stack, and each damage is found and mended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from cloudmart.cli import cli
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy import expected, up
from cloudmart.deploy.engine import NoCli
from cloudmart.verify import run
from tests.conftest import Project, copy_project

pytestmark = pytest.mark.cluster
SPACE = "cloudmart"


def verify(project: Project, *more: str) -> Result:
    return CliRunner().invoke(cli, ["verify", "--stack", "dev", "--root", str(project.root), "--format=json", *more])


def found(result: Result) -> dict[str, list[tuple[str, str]]]:
    """Subject to what was seen and how to mend it, check by check."""
    told: dict[str, list[tuple[str, str]]] = {}
    for check in json.loads(result.stdout)["checks"]:
        for one in check["findings"]:
            told.setdefault(one["subject"], []).append((one["seen"], one["mend"]))
    return told


@pytest.fixture(scope="module")
def shop(cluster: LocalCluster) -> Iterator[Project]:
    with pytest.MonkeyPatch.context() as patch:
        for module, function in ((up, "find_cli"), (expected, "present_cli")):
            patch.setattr(module, function, lambda *_: NoCli("no pulumi in this test"))
        project = copy_project(cluster.root)
        up.up("dev", None, project.root, lambda line: None)
        yield project


def test_a_healthy_stack_passes_and_says_no_word_of_warning(shop: Project) -> None:
    # The first metrics come about half a minute after the pods.
    ended = verify(shop, "--wait", "2m")
    assert ended.exit_code == 0, ended.output
    assert found(ended) == {}


def test_damages_of_many_kinds_are_found_at_once_and_each_has_its_mend(shop: Project, cluster: LocalCluster) -> None:
    def patch(target: str, change: Any, *more: str) -> None:
        cluster.kubectl("patch", target, "-n", SPACE, "--type=merge", f"--patch={json.dumps(change)}", *more)

    cluster.kubectl("delete", "networkpolicy/redis", "secret/redis-credentials", "-n", SPACE)
    cluster.kubectl("scale", "deployment/user-service", "-n", SPACE, "--replicas=0")
    cluster.kubectl("label", "service/order-service", "-n", SPACE, "team-", "--overwrite")
    cluster.kubectl("label", "namespace", SPACE, "pod-security.kubernetes.io/enforce=privileged", "--overwrite")
    cluster.kubectl("cordon", "node-a")
    patch("hpa/product-service-hpa", {"spec": {"scaleTargetRef": {"name": "nobody"}}})
    patch("service/payment-service", {"spec": {"selector": {"app": "nobody"}}})
    cluster.kubectl("label", "pod", "-n", SPACE, "-l", "app=notification-service", "team=other", "--overwrite")
    patch("quota/cloudmart-quota", {"spec": {"hard": {"pods": "3"}}})
    time.sleep(3)  # the controllers count
    try:
        ended = verify(shop)
        assert ended.exit_code == 1, ended.output
        told = found(ended)
        for subject, seen, mend in (
            (f"NetworkPolicy {SPACE}/redis", "is not there", "cloudmart up --stack dev"),
            (f"Secret {SPACE}/redis-credentials", "is not there", "cloudmart up --stack dev"),
            (f"Deployment {SPACE}/user-service", "scaled to 0", "--replicas="),
            (f"Service {SPACE}/order-service", "lost the label team", "cloudmart up --stack dev"),
            (f"Namespace {SPACE}", "enforce is privileged", "cloudmart up --stack dev"),
            ("Node node-a", "cordoned", "uncordon node-a"),
            (f"HorizontalPodAutoscaler {SPACE}/product-service-hpa", "nobody is not there", "cloudmart up --stack dev"),
            (f"Service {SPACE}/payment-service", "no ready pod", "cloudmart up --stack dev"),
            (f"ResourceQuota {SPACE}/cloudmart-quota", "no room for one more pod", "puts the declared quota back"),
        ):
            assert any(seen in one[0] and mend in one[1] for one in told[subject]), (subject, told[subject])
        everything = [one for several in told.values() for one in several]
        assert any("label team is other" in seen and "delete" in mend for seen, mend in everything)
    finally:
        cluster.kubectl("uncordon", "node-a")
        up.up("dev", None, shop.root, lambda line: None)
        cluster.kubectl("scale", "deployment/user-service", "-n", SPACE, "--replicas=2")
        cluster.kubectl("delete", "pod", "-n", SPACE, "-l", "app=notification-service")


@pytest.mark.nightly
def test_waiting_ends_when_what_failed_is_repaired(shop: Project, cluster: LocalCluster) -> None:
    policy = json.loads(cluster.kubectl("get", "networkpolicy/redis", "-n", SPACE, "-o", "json"))
    policy["metadata"] = {key: policy["metadata"][key] for key in ("name", "namespace", "labels")}
    apply = ("apply", "--server-side", "--field-manager=cloudmart", "-f", "-")
    ended = verify(shop, "--wait", "2m")
    assert ended.exit_code == 0, ended.output
    cluster.kubectl("delete", "networkpolicy/redis", "-n", SPACE)
    said: list[str] = []
    repaired: list[float] = []

    def repair() -> None:
        cluster.kubectl(*apply, stdin=json.dumps(policy))
        repaired.append(time.monotonic())

    def progress(line: str) -> None:
        if not said:
            threading.Timer(1, repair).start()
        said.append(line)

    report = run.verify("dev", None, shop.root, progress, wait=120)
    assert f"NetworkPolicy {SPACE}/redis: is not there" in said[0]
    assert report.exit_code == 0, said
    # Sooner than what cannot be watched is looked at again.
    assert time.monotonic() - repaired[0] < 14


def test_a_cluster_that_does_not_answer_is_one_error_and_exit_code_2(
    shop: Project, cluster: LocalCluster, tmp_path: Path
) -> None:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    context = config["contexts"][0]["name"]
    command = [sys.executable, "-m", "cloudmart.cli", "verify", "--stack=dev", "--context", context, "--wait=1m"]
    ended = subprocess.run(
        command,
        cwd=shop.root,
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "127.0.0.1:1 was refused" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
