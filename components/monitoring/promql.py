"""Pieces of rules that more than one set of them needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from components.specs.prometheus import Rule


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A service, store or layer: whom alerts on its pods concern."""

    name: str
    #: Selects its pods in metrics of kube-state-metrics and the kubelets.
    pods: str
    team: str
    cost_center: str
    #: Severities of what stops it and of what slows it.
    urgent: str
    later: str

    @property
    def labels(self) -> Mapping[str, str]:
        return {"service": self.name, "team": self.team, "cost_center": self.cost_center}


def number(value: Decimal | int) -> str:
    """As PromQL reads it: all digits, no exponent."""
    text = f"{Decimal(value):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def record(name: str, expr: str, **labels: str) -> Rule:
    """A recording rule."""
    return Rule(record=name, expr=expr, labels=labels or None)


def alert(
    name: str,
    expr: str,
    *,
    wait: str,
    severity: str,
    labels: Mapping[str, str],
    summary: str,
    description: str,
    runbooks: str,
) -> Rule:
    """An alert that fires when `expr` holds for `wait`. Its runbook is the section of its name."""
    return Rule(
        alert=name,
        expr=expr,
        for_=wait,
        labels={"severity": severity, **labels},
        annotations={
            "summary": summary,
            "description": description,
            "runbook_url": f"{runbooks}#{name.lower()}",
        },
    )
