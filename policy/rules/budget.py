"""Budgets: what the stack is estimated to cost in a month, held against what its configuration allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pulumi_policy import EnforcementLevel, Severity

from cloudmart.finops import budget as budgets
from cloudmart.finops import estimate as estimates
from cloudmart.finops.budget import State
from cloudmart.settings import load, stack_file
from cloudmart.settings.rules import WORKLOADS
from cloudmart.settings.source import read as read_yaml

from ._kubernetes import Object, Stack
from ._project import ROOT
from ._rule import About, Config, Finding, Schema, stack_rule

_URL = "https://www.finops.org/framework/capabilities/budgeting/"
#: What can cost something, or say who pays for what does.
_KINDS = sorted(
    WORKLOADS
    | {"Namespace", "Service", "PersistentVolumeClaim", "HorizontalPodAutoscaler", "Release"}
    | {"Cluster", "Pooler", "ObjectStore", "Kafka", "KafkaNodePool"}
)

_ESTIMATED: Schema = {
    "known": {
        "type": "boolean",
        "default": False,
        "description": "Whether `estimated` is complete. The offline preview sets both; else the rule works it out.",
    },
    "estimated": {
        "type": "object",
        "additionalProperties": {"type": "object", "additionalProperties": {"type": "string"}},
        "default": {},
        "description": "How each budget stands: `state` (within, warning, over) and `sentence`, by its name.",
    },
}


class _Budget(Object):
    """What a finding is about; `exempt` knows it as ``Budget/CC-2001``."""

    @property
    def namespace(self) -> Any:
        """None: it lies in no namespace."""
        return None


@dataclass(frozen=True)
class _Priced:
    """An object, as the estimate reads it."""

    urn: str
    type: str
    name: str
    inputs: Mapping[str, Any]
    is_kubernetes_object: bool

    @classmethod
    def of(cls, found: Object) -> _Priced:
        release = found.kind == "Release"
        kind = "kubernetes:helm.sh/v3:Release" if release else f"kubernetes::{found.kind}"
        inputs = found.body if release else {**found.body, "kind": found.kind}
        return cls(found.urn, kind, found.resource_name, inputs, not release)


# Two rules ask about the same stack.
_last: tuple[Stack, dict[str, dict[str, str]]] | None = None


def _standings(stack: Stack, config: Config) -> Mapping[str, Mapping[str, str]]:
    global _last
    if config["known"]:
        known: Mapping[str, Mapping[str, str]] = config["estimated"]
        return known
    if _last is None or _last[0] is not stack:
        _last = (stack, _worked_out(stack))
    return _last[1]


def _worked_out(stack: Stack) -> dict[str, dict[str, str]]:
    resources = [_Priced.of(found) for found in stack.of(*_KINDS)]
    if not resources:
        return {}
    name, project = resources[0].urn.removeprefix("urn:pulumi:").split("::")[:2]
    # The pack may look at another program too; only this project's stacks have their budgets here.
    if project != read_yaml(ROOT / "Pulumi.yaml", "Pulumi.yaml").data.get("name"):
        return {}
    if not (ROOT / stack_file(name)).is_file():
        return {}
    settings = load(name, ROOT)
    if not settings.budgets:
        return {}
    estimate = estimates.of_stack(resources, settings, ROOT)
    return budgets.as_facts(budgets.standings(estimate, settings.budgets))


def _findings(state: State, stack: Stack, config: Config) -> Iterator[Finding]:
    for name, standing in _standings(stack, config).items():
        if standing["state"] == state:
            about = _Budget(kind="Budget", urn="", resource_name=name, body={})
            yield Finding(standing["sentence"], of=about)


def _over(stack: Stack, config: Config) -> Iterator[Finding]:
    return _findings(State.OVER, stack, config)


def _near(stack: Stack, config: Config) -> Iterator[Finding]:
    return _findings(State.WARNING, stack, config)


POLICIES = [
    stack_rule(
        About(
            name="budget",
            title="What a stack is estimated to cost stays within its budgets.",
            topic="cost",
            severity=Severity.HIGH,
            why="Whoever owns the budget has agreed to no more.",
            mend="request less, run fewer replicas, or have the budget raised: `budgets` in the stack's configuration.",
            url=_URL,
        ),
        _over,
        _ESTIMATED,
    ),
    stack_rule(
        About(
            name="budget-threshold",
            title="What a stack is estimated to cost stays below the threshold at which its budgets warn.",
            topic="cost",
            severity=Severity.LOW,
            why="The next change may not fit.",
            mend="plan for it: request less, or talk to the budget's owner (`budgets` in the stack's configuration).",
            url=_URL,
            level=EnforcementLevel.ADVISORY,
        ),
        _near,
        _ESTIMATED,
    ),
]
