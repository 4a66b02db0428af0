"""Pod Security Standards, level restricted, and no way to the host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pulumi_policy import Severity

from cloudmart.settings.rules import WORKLOADS

from ._kubernetes import UNKNOWN, Container, Object, get, items, texts
from ._rule import About, Config, Finding, resource_rule

_URL = "https://kubernetes.io/docs/concepts/security/pod-security-standards/"

# As the newest version of the standard has them (k8s.io/pod-security-admission/policy).
#: Fields of a security context that may be left out or have one of these values.
_CONTEXT = {
    "procMount": ("Default",),
    "appArmorProfile.type": ("RuntimeDefault", "Localhost"),
    "seLinuxOptions.type": ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"),
    "seLinuxOptions.user": ("",),
    "seLinuxOptions.role": ("",),
}
_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_APP_ARMOR_ALLOWED = re.compile(r"|runtime/default|localhost/.*")
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
#: Keys of a volume: its name and the types that it may have. A hostPath is for the rule `host-access`.
_VOLUMES = frozenset(
    {
        "name",
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "hostPath",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
_HOST_PROCESS = ("securityContext", "windowsOptions", "hostProcess")
#: What of a container makes the kubelet ask an address: with a host of its own, whatever the node can reach.
_ASKERS = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop")


def _inherited(found: Object, container: Container, *path: str) -> Any:
    """A field of the container's security context, else of the pod's."""
    own = get(container.body, "securityContext", *path)
    return own if own is not None else get(found.template, "spec", "securityContext", *path)


def _restricted(found: Object, config: Config) -> Iterator[Finding]:
    wrong = list(_pod_not_restricted(found, config))
    if wrong:
        yield Finding("; ".join(wrong))
    for container in found.containers:
        wrong = list(_not_restricted(found, container, config))
        if wrong:
            yield Finding("; ".join(wrong), container.where)


def _pod_not_restricted(found: Object, config: Config) -> Iterator[str]:
    context = get(found.template, "spec", "securityContext")
    # Pod Security admission refuses these on the pod even where every container says otherwise.
    if get(context, "runAsNonRoot") is False:
        yield "runAsNonRoot is false"
    profile = get(context, "seccompProfile", "type")
    if profile not in (None, UNKNOWN, *config["seccompProfiles"]):
        yield f"seccompProfile.type is {profile}"
    yield from _forbidden(context)
    for name in (get(sysctl, "name") for sysctl in items(context, "sysctls")):
        if name is not UNKNOWN and name not in _SYSCTLS:
            yield f"sysctls has {name}"
    for volume in items(found.template, "spec", "volumes"):
        for kind, source in volume.items() if isinstance(volume, dict) else ():
            if kind not in _VOLUMES and source not in (None, UNKNOWN):
                yield f"volume '{get(volume, 'name')}' is of type {kind}"
    annotations = get(found.template, "metadata", "annotations")
    for key, value in annotations.items() if isinstance(annotations, dict) else ():
        if key.startswith(_APP_ARMOR) and not (value is UNKNOWN or _APP_ARMOR_ALLOWED.fullmatch(str(value))):
            yield f"annotation {key} is {value}"


def _forbidden(context: Any) -> Iterator[str]:
    """What no security context may say, a pod's or a container's."""
    if get(context, "runAsUser") == 0:
        yield "runAsUser is 0"
    for field, allowed in _CONTEXT.items():
        value = get(context, *field.split("."))
        if value not in (None, UNKNOWN, *allowed):
            yield f"{field} is {value}"


def _not_restricted(found: Object, container: Container, config: Config) -> Iterator[str]:
    if _inherited(found, container, "runAsNonRoot") not in (True, UNKNOWN):
        yield "runAsNonRoot is not true"
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
    yield from _forbidden(get(container.body, "securityContext"))


def _host(found: Object, _config: Config) -> Iterator[Finding]:
    spec = get(found.template, "spec")
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if get(spec, field) is True:
            yield Finding(f"{field} is true")
    if get(spec, *_HOST_PROCESS) is True:
        yield Finding("windowsOptions.hostProcess is true")
    for volume in items(spec, "volumes"):
        if get(volume, "hostPath") not in (None, UNKNOWN):
            yield Finding(f"volume '{get(volume, 'name')}' is a hostPath")
    for container in found.containers:
        if get(container.body, "securityContext", "privileged") is True:
            yield Finding("privileged is true", container.where)
        if get(container.body, *_HOST_PROCESS) is True:
            yield Finding("windowsOptions.hostProcess is true", container.where)
        if any(get(port, "hostPort") not in (None, 0, UNKNOWN) for port in items(container.body, "ports")):
            yield Finding("a port has a hostPort", container.where)
        for place in (f"{asker}.{handler}.host" for asker in _ASKERS for handler in ("httpGet", "tcpSocket")):
            if get(container.body, *place.split(".")) not in (None, "", UNKNOWN):
                yield Finding(f"{place} is set", container.where)


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
            "seccompProfile.type RuntimeDefault; remove other fields that the message names.",
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
            title="No pod reaches the host: namespaces, paths, ports, probes, privileges.",
            topic="security",
            severity=Severity.CRITICAL,
            why="It could read other pods' data and take over the node.",
            mend="remove the field; use a Service for ports and a volume claim for storage.",
            url=_URL,
        ),
        WORKLOADS,
        _host,
        patches=True,
    ),
]
