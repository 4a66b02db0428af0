"""The table that `up` ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudmart.deploy.rollout import workloads
from cloudmart.deploy.up import Deployed
from cloudmart.finops import prices
from cloudmart.finops.estimate import Range, of_stack
from cloudmart.finops.estimate_report import json_range
from cloudmart.finops.tables import Column, Table


@dataclass(frozen=True, kw_only=True)
class Row:
    """One workload: what runs, between what bounds, what a pod asks for, what a month of it costs by the estimate."""

    name: str
    ready: int
    desired: int
    #: Bounds of its HPA; None where its size is fixed.
    scales: tuple[int, int] | None
    cpu: str
    memory: str
    monthly: Range


def rows(deployed: Deployed) -> Sequence[Row]:
    """One row a workload, in the order of the program; replicas as the cluster has them now.

    What somebody has taken away since has none.
    """
    recording = deployed.recording
    costs = of_stack(recording.resources, deployed.settings, recording.root).by_service
    declared = list(workloads(deployed.recording))
    live: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for namespace in {namespace for _, namespace, _ in declared}:
        listed = deployed.target.kubectl.json("get", "deployments,statefulsets,hpa", f"--namespace={namespace}")
        live |= {(item["kind"], namespace, item["metadata"]["name"]): item for item in listed["items"]}
    found = []
    for kind, namespace, name in declared:
        if (kind, namespace, name) not in live:
            continue
        scaler = live.get(("HorizontalPodAutoscaler", namespace, f"{name}-hpa"))
        bounds = (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) if scaler else None
        found.append(_row(name, live[(kind, namespace, name)], bounds, costs.get(name, Range())))
    return found


def _row(name: str, live: Mapping[str, Any], scales: tuple[int, int] | None, monthly: Range) -> Row:
    requests = live["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    return Row(
        name=name,
        ready=live.get("status", {}).get("readyReplicas", 0),
        desired=live["spec"].get("replicas", 1),
        scales=scales,
        cpu=requests["cpu"],
        memory=requests["memory"],
        monthly=monthly,
    )


def table(found: Sequence[Row], currency: str) -> Table:
    """The rows with their sum, for people."""
    return Table(
        "",
        (
            Column("service", number=False),
            Column("ready"),
            Column("HPA", rank=1),
            Column("requests a pod", rank=2),
            Column(f"{currency} a month (min-max)"),
        ),
        [
            (
                row.name,
                f"{row.ready}/{row.desired}",
                f"{row.scales[0]}-{row.scales[1]}" if row.scales else "-",
                f"{row.cpu} {row.memory}",
                _cost(row.monthly),
            )
            for row in found
        ],
        ("all of these", "", "", "", _cost(sum((row.monthly for row in found), Range()))),
    )


def data(deployed: Deployed) -> Mapping[str, Any]:
    """The same for ``--format json``, with what the commands to go on with need."""
    found, kubectl = rows(deployed), deployed.target.kubectl
    return {
        "stack": deployed.settings.stack,
        "namespace": deployed.settings.namespace.name,
        "cluster": {
            "local": deployed.target.local,
            "context": kubectl.context,
            "kubeconfig": str(kubectl.kubeconfig) if kubectl.kubeconfig else None,
        },
        "engine": "pulumi" if deployed.environment else None,
        "environment": dict(deployed.environment),
        "currency": currency(deployed),
        "services": [
            {
                "name": row.name,
                "ready": row.ready,
                "desired": row.desired,
                "autoscaling": {"min": row.scales[0], "max": row.scales[1]} if row.scales else None,
                "requests": {"cpu": row.cpu, "memory": row.memory},
                "monthly": json_range(row.monthly),
            }
            for row in found
        ],
        "monthly": json_range(sum((row.monthly for row in found), Range())),
    }


def currency(deployed: Deployed) -> str:
    """Of the stack's prices."""
    return prices.of_stack(deployed.settings.prices, deployed.recording.root).currency


def _cost(cost: Range) -> str:
    if cost.min == cost.max:
        return f"{cost.expected:.2f}"
    return f"{cost.expected:.2f} ({cost.min:.2f}-{cost.max:.2f})"
