"""A small stack that every rule is content with, and tools to break it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cloudmart.preview.policy import evaluate

Json = Any
LABELS = {"app": "user-service", "project": "cloudmart", "team": "platform", "cost-center": "CC-2001"}
COST_CENTERS = ["CC-2001", "CC-2002"]

_GROUPS = {
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
    "ReplicaSet": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "PodDisruptionBudget": "policy/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "Release": "helm.sh/v3",
}
POD_KINDS = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob", "Pod"]


@dataclass(frozen=True)
class Resource:
    """What the policy module needs of a recorded resource."""

    type: str
    name: str
    inputs: dict[str, Any]
    unknown_paths: Sequence[tuple[str | int, ...]] = field(default=())
    protect: bool = False

    @property
    def urn(self) -> str:
        """A URN as the engine makes them."""
        return f"urn:pulumi:dev::cloudmart::{self.type}::{self.name}"

    def with_(self, path: str, value: Json) -> Resource:
        """A copy with `value` at a dotted path; numbers are list indexes. Missing mappings are made."""
        inputs = copy.deepcopy(self.inputs)
        holder, steps = inputs, _steps(path)
        for step in steps[:-1]:
            holder = holder[step] if isinstance(step, int) else holder.setdefault(step, {})  # type: ignore[index]
        holder[steps[-1]] = value  # type: ignore[index]
        return replace(self, inputs=inputs, unknown_paths=())

    def without(self, path: str) -> Resource:
        """A copy without what stands at a dotted path."""
        inputs = copy.deepcopy(self.inputs)
        holder: Json = inputs
        for step in _steps(path)[:-1]:
            holder = holder[step]
        del holder[_steps(path)[-1]]
        return replace(self, inputs=inputs, unknown_paths=())

    def unknown(self, path: str) -> Resource:
        """A copy whose value at a dotted path is known only after `up`."""
        return replace(self.with_(path, "[unknown]"), unknown_paths=(tuple(_steps(path)),))


def _steps(path: str) -> list[str | int]:
    return [int(step) if step.isdigit() else step for step in path.split(".")]


def resource(kind: str, name: str, body: dict[str, Any], namespace: str | None = "cloudmart") -> Resource:
    """A Kubernetes object as the provider gets it."""
    metadata: dict[str, Any] = {"name": name, "labels": dict(LABELS)}
    if namespace is not None:
        metadata["namespace"] = namespace
    group = _GROUPS.get(kind, "core/v1")
    return Resource(f"kubernetes:{group}:{kind}", name, {"kind": kind, "metadata": metadata, **copy.deepcopy(body)})


CONTAINER: dict[str, Any] = {
    "name": "app",
    "image": "docker.io/nginxinc/nginx-unprivileged:1.30.4-alpine-slim",
    "ports": [{"name": "http", "containerPort": 8080}],
    "env": [{"name": "SERVICE_NAME", "value": "user-service"}],
    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "300m", "memory": "256Mi"}},
    "livenessProbe": {"httpGet": {"path": "/health", "port": "http"}},
    "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
    "securityContext": {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}
_TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER]}}

#: Where a workload's pod spec stands, and how to get there with a dotted path.
POD_SPEC = {"Pod": "spec", "CronJob": "spec.jobTemplate.spec.template.spec"}


def pod_spec(kind: str) -> str:
    """The dotted path of a workload's pod spec."""
    return POD_SPEC.get(kind, "spec.template.spec")


def workload(kind: str = "Deployment", name: str = "user-service") -> Resource:
    """A workload of any kind that every rule is content with, with two replicas where it can have some."""
    if kind == "Pod":
        return resource(kind, name, {"spec": {"containers": [CONTAINER]}})
    if kind == "CronJob":
        return resource(kind, name, {"spec": {"jobTemplate": {"spec": {"template": _TEMPLATE}}}})
    spec: dict[str, Any] = {"template": _TEMPLATE}
    if kind in ("Deployment", "StatefulSet", "ReplicaSet"):
        spec |= {"replicas": 2, "selector": {"matchLabels": {"app": "user-service"}}}
    if kind == "StatefulSet":
        spec["volumeClaimTemplates"] = [{"metadata": {"name": "data", "labels": LABELS}}]
    return resource(kind, name, {"spec": spec})


def namespace(name: str = "cloudmart") -> Resource:
    """A Namespace."""
    return resource("Namespace", name, {}, None)


def autoscaler() -> Resource:
    """An HPA on the Deployment."""
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
    }
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "user-service"}
    spec = {"minReplicas": 2, "maxReplicas": 8, "scaleTargetRef": target, "metrics": [metric]}
    return resource("HorizontalPodAutoscaler", "user-service-hpa", {"spec": spec})


def budget() -> Resource:
    """A PDB for the Deployment."""
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "user-service"}}}
    return resource("PodDisruptionBudget", "user-service", {"spec": spec})


def service() -> Resource:
    """The Deployment's Service."""
    return resource("Service", "user-service", {"spec": {"selector": {"app": "user-service"}, "ports": [{"port": 80}]}})


def network_policy(selector: Mapping[str, Any] | None = None) -> Resource:
    """A NetworkPolicy that denies everything to the pods that the labels select; all pods if there are none."""
    spec = {"podSelector": {"matchLabels": dict(selector)} if selector else {}, "policyTypes": ["Ingress", "Egress"]}
    return resource("NetworkPolicy", "deny", {"spec": spec})


def quota() -> Resource:
    """A ResourceQuota."""
    return resource("ResourceQuota", "quota", {"spec": {"hard": {"requests.cpu": "10"}}})


def config_map(data: dict[str, str]) -> Resource:
    """A ConfigMap."""
    return resource("ConfigMap", "settings", {"data": data})


def release(chart: str = "kubecost") -> Resource:
    """A Helm release of Kubecost 3 with requests for every component that is on by default."""
    some = {"resources": {"requests": {"cpu": "10m", "memory": "55Mi"}}}
    names = "frontend aggregator cloudCost localStore forecasting finopsagent networkCosts clusterController"
    inputs = {
        "name": "kubecost",
        "namespace": "kubecost",
        "chart": chart,
        "version": "3.2.1",
        "repositoryOpts": {"repo": "https://charts.example.com/kubecost/"},
        "values": {name: copy.deepcopy(some) for name in names.split()},
    }
    return Resource("kubernetes:helm.sh/v3:Release", "kubecost", inputs)


def good_stack() -> list[Resource]:
    """Namespace, guards, and one service with all that belongs to it."""
    return [
        Resource("pulumi:pulumi:Stack", "cloudmart-dev", {}),
        Resource("cloudmart:microservice:Microservice", "user-service", {}),
        namespace(),
        quota(),
        network_policy(),
        network_policy({"app": "user-service"}),
        config_map({"LOG_LEVEL": "info"}),
        workload(),
        service(),
        autoscaler(),
        budget(),
    ]


def broken(rule: str, *resources: Resource, **config: Json) -> list[str]:
    """What one rule says about the resources, with the rest of the pack off."""
    settings = {"all": "disabled", rule: {"enforcementLevel": "mandatory", **config}}
    found = evaluate(resources, settings, cost_centers=COST_CENTERS)
    assert {violation.rule for violation in found} <= {rule}
    return [violation.message for violation in found]
