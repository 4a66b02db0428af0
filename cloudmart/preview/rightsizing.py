"""Right-sizing a stack: recommendations, the file that they would make, and what the offline preview says about it.

Nothing is written here. What comes out is a change of ``Pulumi.<stack>.yaml`` that has been through the program, the
policy pack, the schemas and the quota, so that whoever writes it gets an ordinary change that can be deployed.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from cloudmart.finops import prices, tables
from cloudmart.finops.rightsize import (
    LEAST_MINUTES,
    REACTION_MINUTES,
    Outcome,
    Plan,
    Recommendation,
    Thresholds,
    Usage,
    recommend,
)
from cloudmart.finops.tables import Column, Document, Table
from cloudmart.preview import policy
from cloudmart.preview.recorder import HOME, Recording
from cloudmart.preview.run import PreviewResult, preview, read_policy_config
from cloudmart.settings import Bytes, Cpu, load, stack_file
from cloudmart.settings.edit import Change, edited

_NOT_COPIED = {".git", ".local", ".venv"}


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What would be changed. `refused` says why it must not be written; empty where it may."""

    stack: str
    recommendations: tuple[Recommendation, ...]
    changes: tuple[Change, ...]
    #: Of the stack's file, unified; empty where nothing changes.
    diff: str
    refused: tuple[str, ...]
    currency: str

    @property
    def saving(self) -> Decimal:
        """A month, of all services, in the book's currency."""
        return sum((found.saving for found in self.recommendations), Decimal(0))


def propose(
    stack: str,
    root: Path | None,
    usage: Iterable[Usage],
    *,
    book: prices.PriceBook | None = None,
    least_minutes: float = LEAST_MINUTES,
    reaction_minutes: float = REACTION_MINUTES,
) -> Proposal:
    """Recommendations for a stack's services, and the change of its file examined offline.

    Raises ``UserError`` for a stack that cannot be read or previewed as it is.
    """
    where = (root or HOME).resolve()
    settings = load(stack, where)
    book = book or prices.of_stack(settings.prices, where)
    recommendations = recommend(
        settings.services,
        usage,
        book.effective,
        thresholds(read_policy_config(stack, where)),
        least_minutes=least_minutes,
        reaction_minutes=reaction_minutes,
    )
    changes: list[Change] = [
        (("services", *path), value) for found in recommendations for path, value in found.changes()
    ]
    diff = ""
    refused: tuple[str, ...] = ()
    if changes:
        name = stack_file(stack)
        old, new = (where / name).read_text(encoding="utf-8"), edited(stack, where, changes)
        diff = "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), f"a/{name}", f"b/{name}"))
        with _with_text(where, name, new) as beside:
            refused = tuple(_refusals(preview(stack, where), preview(stack, beside), recommendations))
    return Proposal(
        stack=stack,
        recommendations=tuple(recommendations),
        changes=tuple(changes),
        diff=diff,
        refused=refused,
        currency=book.currency,
    )


def thresholds(config: Mapping[str, Any]) -> Thresholds:
    """What the policy pack allows under a configuration; its own defaults for what that leaves out."""

    def of(rule: str, key: str) -> float:
        given = config.get(rule)
        if isinstance(given, Mapping) and key in given:
            return float(given[key])
        schema = next(found.config_schema for found in policy.policies() if found.name == rule)
        return float(schema.properties[key]["default"]) if schema else math.nan

    return Thresholds(
        max_cpu_ratio=of("limit-request-ratio", "maxCpuRatio"),
        max_memory_ratio=of("limit-request-ratio", "maxMemoryRatio"),
        min_utilization=of("autoscaler-bounds", "minUtilization"),
        max_utilization=of("autoscaler-bounds", "maxUtilization"),
    )


@contextlib.contextmanager
def _with_text(root: Path, name: str, text: str) -> Iterator[Path]:
    """The project with another stack file: folders are links, files are copies, so nothing of it can be changed."""
    with tempfile.TemporaryDirectory(prefix="cloudmart-rightsize-") as folder:
        beside = Path(folder).resolve()
        for entry in root.iterdir():
            if entry.name in _NOT_COPIED:
                continue
            if entry.is_dir():
                (beside / entry.name).symlink_to(entry.resolve(), target_is_directory=True)
            else:
                shutil.copy(entry, beside / entry.name)
        (beside / name).write_text(text, encoding="utf-8")
        yield beside


def _refusals(before: PreviewResult, after: PreviewResult, found: Iterable[Recommendation]) -> Iterator[str]:
    """What would be worse than now: mandatory violations, errors in objects, a quota that the peak passes."""
    known = {(violation.rule, violation.urn) for violation in before.mandatory}
    for violation in after.mandatory:
        if (violation.rule, violation.urn) not in known:
            yield f"policy {violation.rule}: {violation.message}"
    faults = {(fault.urn, fault.message) for fault in before.errors}
    yield from (f"{fault.urn}: {fault.message}" for fault in after.errors if (fault.urn, fault.message) not in faults)
    yield from _beyond_quota(after.recording, found)


def _beyond_quota(recording: Recording, found: Iterable[Recommendation]) -> Iterator[str]:
    objects = [resource for resource in recording.resources if resource.is_kubernetes_object]
    peaks = {item.service: item.after or item.before for item in found}
    for quota in (resource for resource in objects if resource.kind == "ResourceQuota"):
        used: dict[str, Decimal] = {}
        for workload in objects:
            if workload.kind not in ("Deployment", "StatefulSet") or workload.namespace != quota.namespace:
                continue
            peak = peaks.get(str(workload.object_name))
            count = peak.peak_replicas if peak else int(workload.inputs["spec"].get("replicas", 1))
            for container in workload.inputs["spec"]["template"]["spec"]["containers"]:
                for kind, amounts in container.get("resources", {}).items():
                    for name, text in amounts.items():
                        used[f"{kind}.{name}"] = used.get(f"{kind}.{name}", Decimal(0)) + count * _amount(name, text)
        for name, text in quota.inputs["spec"].get("hard", {}).items():
            kind, _, resource = name.partition(".")
            if resource in ("cpu", "memory") and used.get(name, Decimal(0)) > _amount(resource, text):
                yield f"quota {quota.object_name}: at the observed peak {name} passes {text}"


def _amount(resource: str, text: str) -> Decimal:
    return Cpu(text).cores if resource == "cpu" else Decimal(Bytes(text).bytes)


# --- telling people --------------------------------------------------------------------------------------------------

_COLUMNS = (
    Column("service", number=False),
    Column("criticality", number=False, rank=3),
    Column("CPU request", number=False),
    Column("memory request", number=False),
    Column("CPU limit", number=False, rank=2),
    Column("memory limit", number=False, rank=2),
    Column("HPA target", number=False, rank=1),
    Column("pods mean/peak", number=False, rank=1),
    Column("a month"),
    Column("saves"),
    Column("risk", number=False),
)


def document(proposal: Proposal) -> Document:
    """The recommendations as a table, with the reasons as notes."""
    rows = [_row(found) for found in proposal.recommendations]
    before = sum((found.before.monthly for found in proposal.recommendations if found.before), Decimal(0))
    total = ["all of these", *[""] * 7, f"{before:.2f} → {before - proposal.saving:.2f}", f"{proposal.saving:.2f}", ""]
    sources = sorted({found.source for found in proposal.recommendations} - {"none"})
    lead = [f"Usage from: {', '.join(sources) or 'none'}. Requests priced in {proposal.currency} a month."]
    if not proposal.changes:
        lead.append("Nothing to change.")
    notes = [f"{found.service}: {reason}" for found in proposal.recommendations for reason in found.reasons] + [
        f"not to be written: {reason}" for reason in proposal.refused
    ]
    table = Table("Requests, limits and targets", _COLUMNS, rows, total)
    return Document(f"Right-sizing of stack {proposal.stack}", lead, [table], notes)


def _row(found: Recommendation) -> list[str]:
    plan, outcome = found.proposed or found.current, found.after or found.before
    now = found.current
    pods = monthly = "-"
    if found.before and outcome:
        pods = _arrow(*(f"{item.mean_replicas:.1f}/{item.peak_replicas}" for item in (found.before, outcome)))
        monthly = _arrow(f"{found.before.monthly:.2f}", f"{outcome.monthly:.2f}")
    return [
        found.service,
        str(found.criticality),
        *(
            _arrow(*(str(getattr(getattr(each.resources, kind), name)) for each in (now, plan)))
            for kind in ("requests", "limits")
            for name in ("cpu", "memory")
        ),
        _arrow(_percent(now), _percent(plan)),
        pods,
        monthly,
        f"{found.saving:.2f}" if found.proposed else "-",
        found.risk or "-",
    ]


def _arrow(old: str, new: str) -> str:
    return old if old == new else f"{old} → {new}"


def _percent(plan: Plan) -> str:
    return f"{plan.cpu_target} %" if plan.cpu_target is not None else "-"


def as_markdown(proposal: Proposal) -> str:
    """The table, and the change of the file, for a pull request."""
    text = tables.as_markdown(document(proposal))
    return text + (f"\n```diff\n{proposal.diff}```\n" if proposal.diff else "")


def as_json(proposal: Proposal) -> str:
    """Everything, with amounts in cores, bytes and the book's currency a month."""
    return json.dumps(
        {
            "stack": proposal.stack,
            "currency": proposal.currency,
            "monthlySaving": float(proposal.saving),
            "refused": list(proposal.refused),
            "services": [_service(found) for found in proposal.recommendations],
            "changes": [{"path": list(path), "value": value} for path, value in proposal.changes],
            "diff": proposal.diff,
        },
        indent=2,
    )


def _service(found: Recommendation) -> dict[str, Any]:
    def plan(which: Plan | None) -> dict[str, Any] | None:
        if which is None:
            return None
        return {**which.resources.model_dump(mode="json", by_alias=True), "cpuTargetPercent": which.cpu_target}

    def outcome(which: Outcome | None) -> dict[str, Any] | None:
        if which is None:
            return None
        return {
            "meanReplicas": which.mean_replicas,
            "peakReplicas": which.peak_replicas,
            "timeAtMaximum": which.pinned,
            "monthly": float(which.monthly),
            "podCpuNeed": which.cpu_need,
            "podCpuSurge": which.cpu_surge,
            "podMemoryPeak": which.memory_peak,
        }

    return {
        "service": found.service,
        "criticality": str(found.criticality),
        "source": found.source,
        "current": plan(found.current),
        "proposed": plan(found.proposed),
        "before": outcome(found.before),
        "after": outcome(found.after),
        "monthlySaving": float(found.saving),
        "risk": found.risk or None,
        "reasons": list(found.reasons),
    }
