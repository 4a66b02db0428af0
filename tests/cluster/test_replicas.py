"""Who may set a Deployment's replicas after its autoscaler, on a real API server whose autoscalers have scaled."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from cloudmart.cluster import toolchain
from cloudmart.cluster.kubectl import Kubectl, KubectlError
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy import replicas
from cloudmart.preview.recorder import Recorded, Recording

Json = Any

pytestmark = pytest.mark.cluster

#: Deployments that an autoscaler has scaled, by what became of it; `by-hand` was scaled by somebody.
SCALED = ("leaving", "deleted", "declared", "of-somebody-else")
NAMES = (*SCALED, "by-hand")


def deployment(name: str, count: int) -> Json:
    labels = {"app": name}
    container = {"name": "web", "image": "registry.example.com/web:1", "resources": {"requests": {"cpu": "1m"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def autoscaler(name: str) -> Json:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 3},
    }


@pytest.fixture
def kubectl(cluster: LocalCluster) -> Kubectl:
    return Kubectl(path=toolchain.kubectl(), kubeconfig=cluster.kubeconfig)


def apply(kubectl: Kubectl, namespace: str, items: list[Json]) -> None:
    """As the engine's provider does it: what somebody else holds is refused."""
    text = "\n---\n".join(map(json.dumps, items))
    options = ("--server-side", "--field-manager=engine", f"--namespace={namespace}")
    kubectl.run("apply", *options, "-f", "-", stdin=text)


def test_only_an_autoscaler_of_the_stacks_own_that_is_not_declared_any_more_gives_the_replicas_back(
    kubectl: Kubectl, namespace: str
) -> None:
    apply(kubectl, namespace, [deployment(name, 1) for name in NAMES] + [autoscaler(name) for name in SCALED])
    kubectl.run("scale", "deployment/by-hand", f"--namespace={namespace}", "--replicas=2")
    of_all = [f"deployment/{name}" for name in NAMES]
    kubectl.run("wait", *of_all, f"--namespace={namespace}", "--for=jsonpath={.spec.replicas}=2", "--timeout=60s")
    kubectl.run("delete", "hpa", "deleted", f"--namespace={namespace}")

    def taken() -> set[str]:
        done = set()
        for name in NAMES:
            with contextlib.suppress(KubectlError):
                apply(kubectl, namespace, [deployment(name, 1)])
                done.add(name)
        return done

    assert taken() == set()
    declared = [
        Recorded(
            urn=name,
            type="kubernetes:apps/v1:Deployment",
            name=name,
            inputs=deployment(name, 1) | {"metadata": {"name": name, "namespace": namespace}},
            parent="",
            custom=True,
            ignore_changes=("spec.replicas",) if name == "declared" else (),
        )
        for name in NAMES
    ]
    recording = Recording(stack="dev", project="shop", root=Path(), resources=declared, outputs={}, generated={})
    held = {("HorizontalPodAutoscaler", name) for name in ("leaving", "declared")}
    replicas.release(kubectl, recording, held=lambda: held)
    found = kubectl.json("get", "deployments", f"--namespace={namespace}")["items"]
    assert {item["spec"]["replicas"] for item in found} == {2}, "only the record of who holds it changes"
    kubectl.run("delete", "hpa", "leaving", f"--namespace={namespace}")
    assert taken() == {"leaving", "deleted"}
