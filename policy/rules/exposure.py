"""Services reach outside the cluster only where that was decided."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from ._kubernetes import UNKNOWN, Object, get, items
from ._rule import Config, Finding, object_rule


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


POLICIES = [object_rule("service-exposure", _exposed, patches=True)]
