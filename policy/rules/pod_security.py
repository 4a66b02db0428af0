"""Pod Security Standards, level restricted, and no way to the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pulumi_policy import Severity

from cloudmart.settings.rules import WORKLOADS

from ._kubernetes import UNKNOWN, Container, Object, get, items, texts
from ._rule import About, Config, Finding, resource_rule

_URL = "https://kubernetes.io/docs/concepts/security/pod-security-standards/"


def _inherited(found: Object, container: Container, *path: str) -> Any:
    """A field of the container's security context, else of the pod's."""
    own = get(container.body, "securityContext", *path)
    return own if own is not None else get(found.template, "spec", "securityContext", *path)


def _restricted(found: Object, config: Config) -> Iterator[Finding]:
    for container in found.containers:
        wrong = list(_not_restricted(found, container, config))
        if wrong:
            yield Finding("; ".join(wrong), container.where)


def _not_restricted(found: Object, container: Container, config: Config) -> Iterator[str]:
    if _inherited(found, container, "runAsNonRoot") not in (True, UNKNOWN):
        yield "runAsNonRoot is not true"
    if _inherited(found, container, "runAsUser") == 0:
        yield "runAsUser is 0"
    if get(container.body, "securityContext", "allowPrivilegeEscalation") not in (False, UNKNOWN):
        yield "allowPrivilegeEscalation is not false"
    capabilities = get(container.body, "securityContext", "capabilities")
    dropped = texts(capabilities, "drop")
    if dropped is not UNKNOWN and "ALL" not in (dropped or ()):
        yield "capabilities.drop does not have ALL"
    added = [name for name in items(capabilities, "add") if name not in config["allowedCapabilities"]]
    if added:
        yield f"capabilities.add has {', '.join(map(str, added))}"
    profile = _inherited(found, container, "seccompProfile", "type")
    if profile is not UNKNOWN and profile not in config["seccompProfiles"]:
        yield f"seccompProfile.type is not {' or '.join(config['seccompProfiles'])}"


def _host(found: Object, _config: Config) -> Iterator[Finding]:
    spec = get(found.template, "spec")
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if get(spec, field) is True:
            yield Finding(f"{field} is true")
    for volume in items(spec, "volumes"):
        if get(volume, "hostPath") not in (None, UNKNOWN):
            yield Finding(f"volume '{get(volume, 'name')}' is a hostPath")
    for container in found.containers:
        if get(container.body, "securityContext", "privileged") is True:
            yield Finding("privileged is true", container.where)
        if any(get(port, "hostPort") not in (None, 0, UNKNOWN) for port in items(container.body, "ports")):
            yield Finding("a port has a hostPort", container.where)


POLICIES = [
    resource_rule(
        About(
            name="pod-security",
            title="Every container meets the restricted Pod Security Standard.",
            topic="security",
            severity=Severity.HIGH,
            why="A broken-into container could otherwise become root, and the API server turns such pods away "
            "where the namespace enforces the standard.",
            mend="set runAsNonRoot true, allowPrivilegeEscalation false, capabilities.drop [ALL] and "
            "seccompProfile.type RuntimeDefault.",
            url=_URL,
        ),
        WORKLOADS,
        _restricted,
        {
            "allowedCapabilities": {
                "type": "array",
                "items": {"type": "string"},
                "default": ["NET_BIND_SERVICE"],
                "description": "Capabilities that a container may add.",
            },
            "seccompProfiles": {
                "type": "array",
                "items": {"type": "string"},
                "default": ["RuntimeDefault", "Localhost"],
                "description": "Types of seccomp profile that a container may use.",
            },
        },
    ),
    resource_rule(
        About(
            name="host-access",
            title="No pod reaches the host: namespaces, paths, ports, privileges.",
            topic="security",
            severity=Severity.CRITICAL,
            why="It could read other pods' data and take over the node.",
            mend="remove the field; use a Service for ports and a volume claim for storage.",
            url=_URL,
        ),
        WORKLOADS,
        _host,
    ),
]
