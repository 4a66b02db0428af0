"""Services reach outside the cluster only where that was decided."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from pulumi_policy import Severity

from ._kubernetes import UNKNOWN, Object, get, items
from ._rule import About, Config, Finding, resource_rule


def _exposed(found: Object, config: Config) -> Iterator[Finding]:
    how = []
    if get(found.body, "spec", "type") in ("LoadBalancer", "NodePort"):
        how.append(f"type is {get(found.body, 'spec', 'type')}")
    if items(found.body, "spec", "externalIPs"):
        how.append("externalIPs are set")
    if not how or found.namespace is UNKNOWN:
        return
    if not any(fnmatchcase(f"{found.namespace}/{found.name}", pattern) for pattern in config["allowed"]):
        yield Finding(" and ".join(how))


POLICIES = [
    resource_rule(
        About(
            name="service-exposure",
            title="Services reach outside the cluster only where the configuration says so.",
            topic="security",
            severity=Severity.HIGH,
            why="An exposed Service is open to its network, past the gateway, and load balancers cost by the hour.",
            mend="use type ClusterIP behind the gateway, or add namespace/name to `allowed` of this rule.",
            url="https://kubernetes.io/docs/concepts/services-networking/service/",
        ),
        frozenset({"Service"}),
        _exposed,
        {
            "allowed": {
                "type": "array",
                "items": {"type": "string"},
                "default": [],
                "description": "Patterns for namespace/name of Services that may be exposed.",
            }
        },
    )
]
