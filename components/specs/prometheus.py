"""``monitoring.coreos.com/v1``: what Prometheus' operator turns into scrape targets and rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from components.custom import CustomKind, Spec

_API = "monitoring.coreos.com/v1"
POD_MONITOR = CustomKind(_API, "PodMonitor")
PROMETHEUS_RULE = CustomKind(_API, "PrometheusRule")


@dataclass(frozen=True, kw_only=True)
class Selector(Spec):
    """Labels that an object must have, all of them."""

    match_labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Namespaces(Spec):
    """Where objects are looked for."""

    match_names: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Relabeling(Spec):
    """One step from what is discovered of a target to its labels; see `relabel_config` in Prometheus' manual."""

    action: str = "replace"
    source_labels: Sequence[str] | None = None
    regex: str | None = None
    target_label: str | None = None
    replacement: str | None = None


@dataclass(frozen=True, kw_only=True)
class PodEndpoint(Spec):
    """Where a pod answers with metrics. Without a port every declared port of the pod is a target."""

    port_number: int | None = None
    path: str
    relabelings: Sequence[Relabeling]


@dataclass(frozen=True, kw_only=True)
class PodMonitorSpec(Spec):
    """Pods to scrape."""

    selector: Selector
    namespace_selector: Namespaces
    pod_metrics_endpoints: Sequence[PodEndpoint]


@dataclass(frozen=True, kw_only=True)
class Rule(Spec):
    """A recording rule (`record`) or an alert (`alert`)."""

    record: str | None = None
    alert: str | None = None
    expr: str
    #: How long the expression must hold before the alert fires.
    for_: str | None = None
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class RuleGroup(Spec):
    """Rules that are evaluated one after another, so that later ones see what earlier ones record."""

    name: str
    rules: Sequence[Rule]


@dataclass(frozen=True, kw_only=True)
class PrometheusRuleSpec(Spec):
    """A file of rules."""

    groups: Sequence[RuleGroup] = field(default_factory=tuple)
