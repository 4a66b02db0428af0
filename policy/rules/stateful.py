"""Data: what holds it is neither replaced nor deleted unless somebody has said so first."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from pulumi_policy import PolicyResourceOptions, Severity

from ._kubernetes import UNKNOWN, Object, get
from ._rule import About, Config, Finding, options_rule
from .helm import chart_name

_KINDS = frozenset({"Cluster", "Kafka", "KafkaNodePool", "PersistentVolumeClaim", "Release", "StatefulSet"})


def _holds_data(found: Object, config: Config) -> bool:
    """Whether data would go with the object, or be out of reach, for all that is known."""
    if found.kind == "StatefulSet":
        claims = get(found.body, "spec", "volumeClaimTemplates")
        return bool(claims) and claims is not UNKNOWN
    if found.kind == "Release":
        chart = found.body.get("chart")
        return isinstance(chart, str) and chart_name(chart) in config["charts"]
    return True


def _protected(found: Object, options: PolicyResourceOptions, config: Config) -> Iterator[Finding]:
    # A namespace that preview cannot know may be one that no pattern means.
    asked = isinstance(found.namespace, str) and any(
        fnmatchcase(found.namespace, pattern) for pattern in config["namespaces"]
    )
    if asked and not options.protect and _holds_data(found, config):
        yield Finding("holds data and is not protected")


POLICIES = [
    options_rule(
        About(
            name="data-protected",
            title="What holds data is protected: no run replaces or deletes it by the way.",
            topic="reliability",
            severity=Severity.CRITICAL,
            why="A change of a field that cannot be changed in place replaces it, and a removed line deletes it.",
            mend="set protect: true where its store is configured. For a replacement that is meant, take it away in a "
            "change of its own and exempt the object here, until it is done; then put both back.",
            url="https://www.pulumi.com/docs/iac/concepts/options/protect/",
        ),
        _KINDS,
        _protected,
        {
            "namespaces": {
                "type": "array",
                "items": {"type": "string"},
                "default": [],
                "description": "Patterns for the namespaces whose data must be protected.",
            },
            "charts": {
                "type": "array",
                "items": {"type": "string"},
                "default": ["redis-ha"],
                "description": "Charts whose releases hold data.",
            },
        },
    )
]
