"""`cloudmart verify` on a real API server: silent on a healthy stack, and each damage is found and mended."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cloudmart.cli import cli
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy import expected, up
from cloudmart.deploy.engine import NoCli
from tests.conftest import Project, copy_project

pytestmark = pytest.mark.cluster
SPACE = "cloudmart"


def verify(project: Project, *more: str) -> Result:
    return CliRunner().invoke(cli, ["verify", "--stack", "dev", "--root", str(project.root), "--format=json", *more])


def found(result: Result) -> dict[str, tuple[str, str]]:
    """Subject to what was seen and how to mend it."""
    return {
        one["subject"]: (one["seen"], one["mend"])
        for check in json.loads(result.stdout)["checks"]
        for one in check["findings"]
    }


@pytest.fixture(scope="module")
def shop(cluster: LocalCluster) -> Iterator[Project]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (up, expected):
            patch.setattr(module, "find_cli", lambda root: NoCli("no pulumi in this test"))
        project = copy_project(cluster.root)
        up.up("dev", None, project.root, lambda line: None)
        yield project
        cluster.kubectl("delete", "namespace", SPACE, "kubecost", "--ignore-not-found", timeout=120)
        kinds = "priorityclasses,validatingadmissionpolicies,validatingadmissionpolicybindings"
        cluster.kubectl("delete", kinds, "-l", f"project={SPACE}", timeout=60)


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
            assert seen in told[subject][0], subject
            assert mend in told[subject][1], subject
        assert any("label team is other" in seen and "delete" in mend for seen, mend in told.values())
    finally:
        cluster.kubectl("uncordon", "node-a")
        up.up("dev", None, shop.root, lambda line: None)
        cluster.kubectl("scale", "deployment/user-service", "-n", SPACE, "--replicas=2")
        cluster.kubectl("delete", "pod", "-n", SPACE, "-l", "app=notification-service")


def test_waiting_ends_when_what_failed_is_repaired(shop: Project, cluster: LocalCluster) -> None:
    policy = cluster.kubectl("get", "networkpolicy/redis", "-n", SPACE, "-o", "json")
    ended = verify(shop, "--wait", "2m")
    assert ended.exit_code == 0, ended.output
    cluster.kubectl("delete", "networkpolicy/redis", "-n", SPACE)
    repair = threading.Timer(6, lambda: cluster.kubectl("create", "-f", "-", stdin=policy))
    repair.start()
    started = time.monotonic()
    ended = verify(shop, "--wait", "2m")
    repair.join()
    assert f"NetworkPolicy {SPACE}/redis: is not there" in ended.stderr
    assert ended.exit_code == 0, ended.output
    # Sooner than what cannot be watched is looked at again.
    assert time.monotonic() - started < 20
