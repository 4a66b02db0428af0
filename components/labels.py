"""The one place where labels are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

#: The labels that costs are grouped by. Charts may set these on their pods; others, such as ``app``, are part of their
#: selectors.
COST_LABELS = ("project", "team", "cost-center")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Everything that an object says about itself: what it is, whose it is, who pays.

    `metadata` goes on objects, pod templates and claim templates; `selector` into selectors, and never changes once a
    workload exists, because Kubernetes forbids it.
    """

    app: str
    component: str
    tier: str
    version: str
    project: str
    team: str
    cost_center: str

    @property
    def metadata(self) -> dict[str, str]:
        """All labels: the recommended ones of Kubernetes, the catalog's own, and those that costs are grouped by."""
        return {
            "app.kubernetes.io/name": self.app,
            "app.kubernetes.io/instance": f"{self.app}-{self.project}",
            "app.kubernetes.io/component": self.component,
            "app.kubernetes.io/part-of": self.project,
            "app.kubernetes.io/version": self.version,
            "app.kubernetes.io/managed-by": "pulumi",
            "app": self.app,
            "tier": self.tier,
            "version": self.version,
            "project": self.project,
            "team": self.team,
            "cost-center": self.cost_center,
        }

    @property
    def selector(self) -> dict[str, str]:
        """The labels that select the pods: one, and it outlives every release."""
        return {"app": self.app}

    def with_component(self, component: str) -> Self:
        """The same, for another part of the same application."""
        return replace(self, component=component)


def cost_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Those of `labels` that say who pays."""
    return {key: labels[key] for key in COST_LABELS}
