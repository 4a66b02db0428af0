"""The simulated load on a real API server: real autoscalers follow it, and the timeline says what they did."""

from __future__ import annotations

import json

import pytest

from cloudmart.cluster import toolchain
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.cluster.load import DAY, USAGE_CPU, Driver, Load, Profile, summaries
from cloudmart.cluster.local import LocalCluster
from cloudmart.preview.recorder import HOME
from cloudmart.settings import load

pytestmark = [pytest.mark.cluster, pytest.mark.nightly]

NAME = "order-service"


def objects(namespace: str) -> list[dict[str, object]]:
    labels = {"app": NAME}
    resources = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}}
    container = {"name": NAME, "image": "registry.example.com/shop:1", "resources": resources}
    # As fast as an autoscaler goes, so that the day can be a minute.
    quick = {"policies": [{"type": "Percent", "value": 300, "periodSeconds": 5}], "stabilizationWindowSeconds": 0}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": NAME, "namespace": namespace},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        },
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": NAME, "namespace": namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
                "minReplicas": 1,
                "maxReplicas": 6,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
                    }
                ],
                "behavior": {"scaleUp": quick, "scaleDown": quick},
            },
        },
    ]


def test_a_real_autoscaler_follows_the_load_and_the_load_spreads_over_the_new_pods(
    cluster: LocalCluster, namespace: str
) -> None:
    items = objects(namespace)
    cluster.kubectl(
        "apply", "--server-side", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    )
    cluster.kubectl("rollout", "status", f"deployment/{NAME}", f"--namespace={namespace}", "--timeout=60s")
    settings = load("dev", HOME)
    settings = settings.model_copy(update={"namespace": settings.namespace.model_copy(update={"name": namespace})})
    # 180m for one pod with a target of 50m: the autoscaler's formula says four.
    steady = Load.model_validate(
        {
            "shape": "steady",
            "cpu": {"low": "180m", "high": "180m"},
            "memory": {"low": "20Mi", "high": "20Mi"},
            "noisePercent": 0,
        }
    )
    driver = Driver(
        kubectl=Kubectl(path=toolchain.kubectl(), kubeconfig=cluster.kubeconfig),
        settings=settings,
        profile=Profile(services={NAME: steady}),
        price=lambda cores, _: cores,
        currency="USD",
    )
    said: list[str] = []
    timeline = driver.run(speed=DAY, seed=1, minutes=DAY * 1.5, progress=said.append)
    (found,) = summaries(timeline)
    assert (found.least, found.peak) == (1, 4)
    last = timeline.points[-1]
    assert last.ready == 4
    assert last.cpu == pytest.approx(0.18)
    assert last.requested_cpu == pytest.approx(0.4)
    assert said
    assert "order-service 180m on 1" in said[0]
    pods = json.loads(cluster.kubectl("get", "pods", f"--namespace={namespace}", "--output=json"))["items"]
    assert all(USAGE_CPU not in pod["metadata"].get("annotations", {}) for pod in pods)
