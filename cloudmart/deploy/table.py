"""The table that `up` ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from cloudmart.deploy.rollout import workloads
from cloudmart.deploy.up import Deployed
from cloudmart.finops import prices
from cloudmart.finops.estimate import Range, of_stack


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
    """One row a workload, in the order of the program; replicas as the cluster has them now."""
    recording = deployed.recording
    costs = of_stack(recording.resources, deployed.settings, recording.root).by_service
    declared = list(workloads(deployed.recording))
    live: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for namespace in {namespace for _, namespace, _ in declared}:
        listed = deployed.target.kubectl.json("get", "deployments,statefulsets,hpa", f"--namespace={namespace}")
        live |= {(item["kind"], namespace, item["metadata"]["name"]): item for item in listed["items"]}
    found = []
    for kind, namespace, name in declared:
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


def print_table(deployed: Deployed, console: Console) -> None:
    """Prints the rows with their sum, at the stack's prices."""
    currency = prices.of_stack(deployed.settings.prices, deployed.recording.root).currency
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("service", no_wrap=True)
    table.add_column("ready", justify="right")
    table.add_column("HPA", justify="right")
    table.add_column("requests a pod", justify="right")
    table.add_column(f"{currency} a month (min-max)", justify="right")
    total = Range()
    for row in rows(deployed):
        total += row.monthly
        table.add_row(
            row.name,
            f"{row.ready}/{row.desired}",
            f"{row.scales[0]}-{row.scales[1]}" if row.scales else "-",
            f"{row.cpu} {row.memory}",
            _cost(row.monthly),
        )
    table.add_section()
    table.add_row("all of these", "", "", "", _cost(total))
    console.print(table)


def _cost(cost: Range) -> str:
    if cost.min == cost.max:
        return f"{cost.expected:.2f}"
    return f"{cost.expected:.2f} ({cost.min:.2f}-{cost.max:.2f})"
