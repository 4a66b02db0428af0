"""The thresholds of a rule as both engines read them: plain values, and patterns as RE2 regular expressions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cloudmart.settings import Settings
from cloudmart.settings.rules import HARMLESS, PROBE_HANDLERS, SECRET_SHAPES, Level, Ruling

#: Matches nothing: a place cannot be an end of a word and none.
NEVER = r"\b\B"


def parameters(ruling: Ruling) -> dict[str, Any]:
    """What the rule's check is to know, `exempt` apart: by key of its configuration, and what is fixed in the table."""
    config = {key: value for key, value in ruling.config.items() if key != "exempt"}
    match ruling.rule.name:
        case "cost-labels":
            config.pop("namespaces")  # for the pack, which adds labels; admission changes nothing
        case "image-pinned":
            config["digestRequired"] = globs(config["digestRequired"])
        case "image-registries":
            config["allowed"] = [f"{place.rstrip('/')}/" for place in config["allowed"]]
        case "service-exposure":
            config["allowed"] = globs(config["allowed"])
        case "probes":
            config["handlers"] = list(PROBE_HANDLERS)
        case "no-literal-secrets":
            names = "|".join(f"(?:{name})" for name in config["names"])
            config["names"] = f"(?i){names}" if names else NEVER
            config["harmless"] = f"^(?:{HARMLESS})$"
            config["shapes"] = [{"what": what, "pattern": pattern} for what, pattern in SECRET_SHAPES.items()]
        case _:
            pass
    return config


def globs(patterns: Iterable[str]) -> str:
    """One RE2 expression for whole texts that any of these file name patterns (`*`, `?`, `[...]`) fits, as Python's
    ``fnmatchcase`` has it."""
    return "|".join(f"^(?:{_glob(pattern)})$" for pattern in patterns) or NEVER


def _glob(pattern: str) -> str:
    found, at = [], 0
    while at < len(pattern):
        char, at = pattern[at], at + 1
        # A bracket right after the opening one, or after its `!`, is one of the set.
        end = pattern.find("]", at + (2 if pattern[at : at + 1] == "!" else 1)) if char == "[" else -1
        if char == "*":
            found.append("(?s:.*)")
        elif char == "?":
            found.append("(?s:.)")
        elif end > 0:
            inner = re.sub(r"([\\\[\]^])", r"\\\1", pattern[at:end].removeprefix("!"))
            found.append(f"[{'^' if pattern[at] == '!' else ''}{inner}]")
            at = end + 1
        else:
            found.append(re.escape(char))
    return "".join(found)


def enforced(settings: Settings) -> Mapping[str, Ruling]:
    """The rules that are not switched off."""
    return {name: ruling for name, ruling in settings.rules.items() if ruling.level is not Level.DISABLED}


def left_out(settings: Settings) -> list[str]:
    """Namespaces that keep to no rule: the layers', whose objects their charts make unseen by the pack."""
    return sorted({"kube-system", *(layer.namespace for layer in settings.layers.values())})


def controllers(settings: Settings) -> list[str]:
    """Groups of those who make workloads for an object that somebody else declared, and that was judged itself.

    The cluster's own controllers, and those of the layers whose custom objects become workloads in the shop's
    namespace. Everybody else is held to the rules, Argo CD too: it brings what people wrote.
    """
    makers = {
        layer.namespace for key, layer in settings.layers.items() if key == "mesh" or key.startswith("operators.")
    }
    return [f"system:serviceaccounts:{namespace}" for namespace in ["kube-system", *sorted(makers)]]


#: Where the API server finds each kind: group, version and name of the resource.
RESOURCES: Mapping[str, tuple[str, str, str]] = {
    "Deployment": ("apps", "v1", "deployments"),
    "StatefulSet": ("apps", "v1", "statefulsets"),
    "DaemonSet": ("apps", "v1", "daemonsets"),
    "ReplicaSet": ("apps", "v1", "replicasets"),
    "ReplicationController": ("", "v1", "replicationcontrollers"),
    "Job": ("batch", "v1", "jobs"),
    "CronJob": ("batch", "v1", "cronjobs"),
    "Pod": ("", "v1", "pods"),
    "Namespace": ("", "v1", "namespaces"),
    "PersistentVolumeClaim": ("", "v1", "persistentvolumeclaims"),
    "ConfigMap": ("", "v1", "configmaps"),
    "Service": ("", "v1", "services"),
    "HorizontalPodAutoscaler": ("autoscaling", "v2", "horizontalpodautoscalers"),
}
#: The user that a cluster's controllers share where they have no accounts of their own.
CONTROLLER_MANAGER = "system:kube-controller-manager"
