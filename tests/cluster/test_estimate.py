"""The estimate against what the cluster really holds: pods and claims read back from the API, priced by a few lines.

``CLOUDMART_ESTIMATE_STACKS`` says how many generated stacks are compared (25).
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cloudmart.cluster.local import LocalCluster
from cloudmart.finops import prices
from cloudmart.finops.estimate import estimate
from cloudmart.preview.recorder import HOME, Recorded, record
from cloudmart.preview.render import manifests, substitute

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(7200)]

STACKS = int(os.environ.get("CLOUDMART_ESTIMATE_STACKS", "25"))
BATCH = 25
SEED = 20261123
#: Room for everybody: pods of a high priority would push out those of a low one.
LARGE_NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "node-large", "labels": {"kubernetes.io/hostname": "node-large", "kubernetes.io/os": "linux"}},
    "spec": {"podCIDR": "10.128.0.0/12", "podCIDRs": ["10.128.0.0/12"]},
    "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": "node-large"}],
        "capacity": {"cpu": "100000", "memory": "400Ti", "ephemeral-storage": "400Ti", "pods": "100000"},
        "allocatable": {"cpu": "100000", "memory": "400Ti", "ephemeral-storage": "400Ti", "pods": "100000"},
    },
}
#: What pods and claims come from, and what they cannot be without.
KINDS = {
    "Namespace",
    "PriorityClass",
    "ServiceAccount",
    "Deployment",
    "StatefulSet",
    "HorizontalPodAutoscaler",
    "DaemonSet",
    "Pod",
    "PersistentVolumeClaim",
}

Json = dict[str, Any]


# --- the independent calculation: nothing of it comes from the project ------------------------------------------------

_SCALE = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def number(quantity: str | None) -> Decimal:
    if quantity is None:
        return Decimal(0)
    digits, unit = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", quantity).groups()  # type: ignore[union-attr]
    return Decimal(digits) / 1000 if unit == "m" else Decimal(digits) * _SCALE[unit]


def reserved(pod: Json, item: str) -> Decimal:
    """What the scheduler sets aside for a pod, by Kubernetes' page on sidecar containers."""
    always = need = Decimal(0)
    for container in pod["spec"].get("initContainers", []):
        request = number(container.get("resources", {}).get("requests", {}).get(item))
        if container.get("restartPolicy") == "Always":
            always += request
            need = max(need, always)
        else:
            need = max(need, always + request)
    containers = pod["spec"]["containers"]
    running = sum(number(c.get("resources", {}).get("requests", {}).get(item)) for c in containers)
    return max(need, always + running)


def bill(pods: list[Json], claims: list[Json]) -> Decimal:
    zero, gibibyte = Decimal(0), Decimal(2**30)
    cores = sum((reserved(pod, "cpu") for pod in pods), zero)
    gib = sum((reserved(pod, "memory") for pod in pods), zero) / gibibyte
    disk = sum((number(claim["spec"]["resources"]["requests"]["storage"]) for claim in claims), zero) / gibibyte
    an_hour = cores * Decimal("0.031611") + gib * Decimal("0.004237") + disk * Decimal("0.00005479452")
    return round(an_hour * 730, 2)


# --- generated stacks -------------------------------------------------------------------------------------------------


def amounts(dice: random.Random) -> Json:
    cpu, memory = dice.randint(1, 3000), dice.randint(1, 6000)
    return {
        "requests": {"cpu": f"{cpu}m", "memory": f"{memory}Mi"},
        "limits": {"cpu": f"{cpu + dice.randint(0, 500)}m", "memory": f"{memory + dice.randint(0, 500)}Mi"},
    }


def catalog(dice: random.Random, namespace: str) -> Json:
    services: Json = {}
    for index in range(dice.randint(1, 4)):
        low, high = dice.randint(1, 3), dice.randint(3, 6)
        service: Json = {
            "description": "generated",
            "criticality": dice.choice(["critical", "high", "standard", "low"]),
            "traffic": "steady",
            "replicas": dice.randint(low, high),
            "resources": amounts(dice),
            "needs": [f"service-{other}" for other in range(index) if dice.random() < 0.3],
        }
        if dice.random() < 0.6:
            service["autoscaling"] = {"min": low, "max": high, "cpu": dice.randint(50, 85)}
        services[f"service-{index}"] = service
    data: Json = {}
    for store, least in (("postgres", 256), ("redis", 64), ("kafka", 768)):
        if dice.random() < 0.5:
            memory = dice.randint(least, 4000)
            sizes = {"cpu": f"{dice.randint(50, 2000)}m", "memory": f"{memory}Mi"}
            data[store] = {
                "resources": {"requests": sizes, "limits": {"cpu": "4", "memory": f"{memory}Mi"}},
                "storage": {"size": f"{dice.randint(1, 200)}Gi"},
                "exporter": {"enabled": dice.random() < 0.5},
            }
    return {
        "project": "generated",
        "cluster": {"kubernetesVersion": "1.36"},
        "namespace": {"name": namespace, "team": "t", "costCenter": "CC-1"},
        "costCenters": {"CC-1": {"name": "n", "owner": "o"}},
        "placeholderImage": {"repository": "docker.io/nginxinc/nginx-unprivileged", "tag": "1.30"},
        "services": services,
        "data": data,
        "kubecost": {"enabled": False},
    }


def container(dice: random.Random, name: str, **more: Any) -> Json:
    resources = amounts(dice)
    if dice.random() < 0.3:
        del resources["requests"]  # the API server takes the limits
    elif dice.random() < 0.3:
        del resources["limits"]
    return {"name": name, "image": "docker.io/library/busybox:1.37", "resources": resources, **more}


def pod_spec(dice: random.Random) -> Json:
    spec: Json = {"containers": [container(dice, f"c{index}") for index in range(dice.randint(1, 3))]}
    if first := [
        container(dice, f"i{index}", **({"restartPolicy": "Always"} if dice.random() < 0.4 else {}))
        for index in range(dice.randint(0, 3))
    ]:
        spec["initContainers"] = first
    return spec


def claim(dice: random.Random, name: str) -> Json:
    size = {"requests": {"storage": f"{dice.randint(100, 90000)}Mi"}}
    return {"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": size}}


def others(dice: random.Random, namespace: str) -> Iterator[Json]:
    """What CloudMart's own program does not make: the corners of the scheduler's arithmetic."""
    for kind in ("Deployment", "StatefulSet", "DaemonSet", "Pod", "PersistentVolumeClaim"):
        if dice.random() < 0.5:
            continue
        name = f"other-{kind.lower()}"
        template = {"metadata": {"labels": {"app": name}}, "spec": pod_spec(dice)}
        spec: Json = {"selector": {"matchLabels": {"app": name}}, "template": template}
        if kind == "DaemonSet":
            made = {"apiVersion": "apps/v1", "spec": spec}
        elif kind == "Pod":
            made = {"apiVersion": "v1", "spec": pod_spec(dice)}
        elif kind == "PersistentVolumeClaim":
            made = {"apiVersion": "v1", **claim(dice, name)}
        else:
            spec["replicas"] = dice.randint(0, 4)
            if kind == "StatefulSet":
                spec |= {"serviceName": name, "podManagementPolicy": "Parallel"}
                spec["volumeClaimTemplates"] = [claim(dice, f"v{index}") for index in range(dice.randint(0, 2))]
            made = {"apiVersion": "apps/v1", "spec": spec}
        yield made | {"kind": kind, "metadata": {"name": name, "namespace": namespace}}


def recorded(made: Json) -> Recorded:
    kind, name = made["kind"], made["metadata"]["name"]
    group = made["apiVersion"] if "/" in made["apiVersion"] else f"core/{made['apiVersion']}"
    return Recorded(f"urn:{kind}:{name}", f"kubernetes:{group}:{kind}", name, made, parent="", custom=True)


class Stack:
    """One generated stack: its registrations and its objects."""

    def __init__(self, root: Path, seed: int) -> None:
        dice = random.Random(seed)  # noqa: S311 (a test's dice)
        self.seed, self.namespace = seed, f"estimate-{seed}"
        (root / "catalog.yaml").write_text(json.dumps(catalog(dice, self.namespace)))
        (root / "Pulumi.any.yaml").write_text("config: {}\n")
        recording = record("any", root)
        extra = list(others(dice, self.namespace))
        self.resources = [*recording.resources, *map(recorded, extra)]
        values = dict.fromkeys(recording.generated, "not-a-real-password")
        rendered = [substitute(manifest.object, values) for manifest in manifests(recording, templates=True)]
        self.objects = [item for item in (*rendered, *extra) if item["kind"] in KINDS]
        replicas = {r.object_name: r.inputs["spec"]["replicas"] for r in recording.resources if r.kind == "Deployment"}
        for item in self.objects:
            if item["kind"] == "Deployment" and item["metadata"]["name"] in replicas:
                # Manifests leave them to the autoscaler; the engine makes the object with them.
                item["spec"]["replicas"] = replicas[item["metadata"]["name"]]
            if item["kind"] == "Namespace":  # the corners need no security context
                item["metadata"]["labels"] = {}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("generated")
    for name in ("__main__.py", "Pulumi.yaml", "components"):
        (root / name).symlink_to(HOME / name)
    return root


@pytest.fixture(scope="module")
def nodes(cluster: LocalCluster) -> Iterator[int]:
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(LARGE_NODE))
    yield len(json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"])
    cluster.kubectl("delete", "node", "node-large", timeout=120)


def listed(cluster: LocalCluster, kinds: str) -> dict[str, list[Json]]:
    """Everything of these kinds, by namespace."""
    found: dict[str, list[Json]] = {}
    for item in json.loads(cluster.kubectl("get", kinds, "-A", "-o", "json", timeout=300))["items"]:
        found.setdefault(item["metadata"]["namespace"], []).append(item)
    return found


def settled(item: Json, nodes: int) -> bool:
    """Whether the controller has made all pods that it was told to."""
    status = item.get("status", {})
    if item["kind"] == "DaemonSet":
        return bool(status.get("currentNumberScheduled") == nodes)
    if status.get("observedGeneration", 0) < item["metadata"]["generation"]:
        return False
    return bool(status.get("replicas", 0) == item["spec"]["replicas"])


def wait_until_settled(cluster: LocalCluster, stacks: list[Stack], nodes: int) -> dict[str, list[Json]]:
    kinds = {"Deployment", "StatefulSet", "DaemonSet"}
    wanted = {stack.namespace: sum(item["kind"] in kinds for item in stack.objects) for stack in stacks}
    end = time.monotonic() + 240
    while True:
        found = listed(cluster, "deployments,statefulsets,daemonsets")
        open_ = [
            name
            for name, count in wanted.items()
            if len(own := found.get(name, [])) < count or not all(settled(item, nodes) for item in own)
        ]
        if not open_:
            return found
        assert time.monotonic() < end, f"not settled: {open_}"
        time.sleep(1)


def create(cluster: LocalCluster, stacks: list[Stack]) -> None:
    unique = {
        (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]): item
        for stack in stacks
        for item in stack.objects
    }
    order = ["PriorityClass", "Namespace", "ServiceAccount"]
    items = sorted(unique.values(), key=lambda item: order.index(item["kind"]) if item["kind"] in order else len(order))
    classes = [item for item in items if item["kind"] == "PriorityClass"]
    rest = [item for item in items if item["kind"] != "PriorityClass"]
    for some, verb in ((classes, "apply"), (rest, "create")):
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": some})
        cluster.kubectl(verb, "-f", "-", stdin=text, timeout=600)


@pytest.mark.nightly
def test_the_estimate_is_what_the_pods_and_claims_in_the_cluster_cost_to_the_cent(
    cluster: LocalCluster, project: Path, nodes: int
) -> None:
    compared, cents = 0, Decimal(0)
    for first in range(0, STACKS, BATCH):
        stacks = [Stack(project, SEED + index) for index in range(first, min(first + BATCH, STACKS))]
        create(cluster, stacks)
        try:
            workloads = wait_until_settled(cluster, stacks, nodes)
            held = listed(cluster, "pods,persistentvolumeclaims")
            for stack in stacks:
                pods = [item for item in held[stack.namespace] if item["kind"] == "Pod"]
                claims = [item for item in held.get(stack.namespace, []) if item["kind"] == "PersistentVolumeClaim"]
                # At the number of replicas that the autoscalers have chosen.
                load = {
                    item["metadata"]["name"]: Decimal(item["spec"]["replicas"])
                    for item in workloads.get(stack.namespace, [])
                    if item["kind"] == "Deployment"
                }
                found = estimate(stack.resources, prices.load(), nodes=nodes, load=load)
                assert round(found.monthly.expected, 2) == bill(pods, claims), f"seed {stack.seed}"
                compared += 1
                cents += bill(pods, claims)
        finally:
            names = [stack.namespace for stack in stacks]
            cluster.kubectl("delete", "namespaces", *names, "--wait=false", timeout=120)
        print(f"{compared} stacks, {cents} USD a month, equal", file=sys.stderr, flush=True)  # noqa: T201
    assert compared == STACKS
