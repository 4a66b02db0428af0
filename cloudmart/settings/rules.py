"""The rules about one object that hold before a deployment and at admission: their words, kinds and thresholds, once.

The policy pack checks them on what is about to be applied; the cluster checks them on whatever is applied
(`cloudmart.settings.admission`). A stack configures both in ``policy/config/<stack>.json``, in the form of
``pulumi preview --policy-pack-config``. What Pod Security admission enforces anyway is no rule of this table, nor is
what only the whole stack shows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import jsonschema_rs

from cloudmart.errors import UserError, meant
from cloudmart.settings.source import dotted, shown

JsonSchema = Mapping[str, Mapping[str, Any]]


class Level(StrEnum):
    """What follows from a violation."""

    ADVISORY = "advisory"
    MANDATORY = "mandatory"
    #: The pack mends what it can; what is left is a mandatory violation.
    REMEDIATE = "remediate"
    DISABLED = "disabled"


#: Kinds that run pods.
WORKLOADS = frozenset(
    {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob", "Pod"}
)
COST_CENTER = "cost-center"
#: Key of every rule: patterns for ``Kind/namespace/name``, or ``Namespace/name``.
EXEMPT: JsonSchema = {
    "exempt": {
        "type": "array",
        "items": {"type": "string"},
        "default": [],
        "description": "Objects that the rule leaves alone: patterns for Kind/namespace/name, or Namespace/name.",
    }
}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule about one object. `why` and `mend` end every message of it.

    `schema` is a JSON schema for each key of its configuration, with the threshold that holds where a stack says
    nothing as ``default``.
    """

    name: str
    title: str
    topic: str
    severity: str
    why: str
    mend: str
    url: str
    kinds: frozenset[str]
    level: Level = Level.MANDATORY
    schema: JsonSchema = field(default_factory=dict)


def _texts(default: Sequence[str], description: str, **items: Any) -> dict[str, Any]:
    return {
        "type": "array",
        "items": {"type": "string", **items},
        "default": list(default),
        "description": description,
    }


def _number(kind: str, minimum: int, default: int, description: str) -> dict[str, Any]:
    return {"type": kind, "minimum": minimum, "default": default, "description": description}


_RESOURCES = "https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/"
_IMAGES = "https://kubernetes.io/docs/concepts/containers/images/"

# Names end in one of these words: DB_PASSWORD and PGPASSWORD do, DB_PASSWORD_FILE and MONKEY do not.
_SECRET_NAMES = (
    r"(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?)$",
    r"(^|[_.-])(KEY|PASS|PWD|PW|PIN)$",
    r"(API|ACCESS|SECRET|PRIVATE|SIGNING|ENCRYPTION|MASTER)[_.-]?KEY$",
    r"CONNECTION[_.-]?STRING$",
)
#: What secrets look like. Here and below: what Python's and Google's RE2 regular expressions both can read.
SECRET_SHAPES: Mapping[str, str] = {
    "an AWS access key": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": r"\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})",
    "a GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "a Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "a Stripe key": r"\b[rs]k_(live|test)_[A-Za-z0-9]{16,}",
    "a Google API key": r"\bAIza[0-9A-Za-z_-]{35}",
    "an npm token": r"\bnpm_[A-Za-z0-9]{36}",
    "a Pulumi access token": r"\bpul-[0-9a-f]{40}\b",
    "a JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a URL with a password": r"\b[a-z][a-z0-9+.-]*://[^\s/:@$]*:[^\s/:@$]+@",
    # Not a path, another variable or a template's placeholder.
    "a connection string with a password": r"""(?i:(^|[\s;,?&])(password|pwd)\s*=\s*["']?[^\s;"'$/{<%(])""",
}
#: A whole value that is no secret: `$(NAME)` is another variable, and these words switch something on or off.
HARMLESS = r"\s*|\$\([A-Za-z_][A-Za-z0-9_.-]*\)|(?i:true|false|yes|no|on|off)"
#: What must stand in a probe for it to ask something.
PROBE_HANDLERS = ("httpGet", "exec", "tcpSocket", "grpc")

_ALL = (
    Rule(
        name="cpu-memory-requests",
        title="Every container, init containers included, requests CPU and memory.",
        topic="resources",
        severity="high",
        why="Without requests the scheduler, the autoscaler and the cost estimate have nothing to go by.",
        mend="set resources.requests.cpu and resources.requests.memory, above zero.",
        url=_RESOURCES,
        kinds=WORKLOADS,
    ),
    Rule(
        name="memory-limits",
        title="Every container, init containers included, has a memory limit.",
        topic="resources",
        severity="high",
        why="A leak in a container without one takes memory from every pod of the node.",
        mend="set resources.limits.memory.",
        url=_RESOURCES,
        kinds=WORKLOADS,
    ),
    Rule(
        name="limit-request-ratio",
        title="A container's limits stay within a configured multiple of its requests.",
        topic="resources",
        severity="medium",
        level=Level.ADVISORY,
        why="What lies between is promised to several pods at once: under load some are throttled or killed.",
        mend="raise the request or lower the limit.",
        url=_RESOURCES,
        kinds=WORKLOADS,
        schema={
            "maxCpuRatio": _number("number", 1, 5, "CPU limit divided by CPU request, at most."),
            "maxMemoryRatio": _number("number", 1, 2, "Memory limit divided by memory request, at most."),
        },
    ),
    Rule(
        name="cost-labels",
        title="Namespaces, workloads, pod templates and claims carry the cost labels, with a known cost center.",
        topic="cost",
        severity="high",
        why="What carries no cost label is nobody's cost.",
        mend=f"add the labels; {COST_CENTER} is a code from costCenters in the catalog (admission: of the last `up`).",
        url="https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/",
        kinds=WORKLOADS | {"Namespace", "PersistentVolumeClaim"},
        schema={
            "required": _texts(["project", "team", COST_CENTER], "Labels that must be there."),
            "costCenters": _texts(
                [], "The cost centers there are. The default is the registry `costCenters` of the catalog."
            ),
            "namespaces": {
                "type": "object",
                "additionalProperties": {"type": "object", "additionalProperties": {"type": "string"}},
                "default": {},
                "description": "Labels by namespace. At level `remediate`, objects in it that lack one get it.",
            },
        },
    ),
    Rule(
        name="image-pinned",
        title="Every image names one version: a tag that does not move, or a digest.",
        topic="images",
        severity="high",
        why="A moving tag runs different code on different nodes, and cannot be rolled back.",
        mend="name a version, best with its digest.",
        url=_IMAGES,
        kinds=WORKLOADS,
        schema={
            "forbiddenTags": _texts(["latest", "stable", "edge", "nightly", "main", "master"], "Tags that move."),
            "digestRequired": _texts(
                [], "Patterns of repositories, registry included, whose images need a digest. `*` is all."
            ),
        },
    ),
    Rule(
        name="image-registries",
        title="Every image comes from an allowed registry.",
        topic="images",
        severity="high",
        why="Anyone can publish to a public registry; these are the places that somebody answers for.",
        mend="use an image from an allowed place, or add its place to `allowed` of this rule.",
        url=_IMAGES,
        kinds=WORKLOADS,
        schema={
            "allowed": _texts(
                ["docker.io", "ghcr.io", "quay.io", "registry.k8s.io", "public.ecr.aws"],
                "Registries, or registries with a path.",
            )
        },
    ),
    Rule(
        name="probes",
        title="Every container of a long-running workload has a liveness and a readiness probe.",
        topic="reliability",
        severity="medium",
        why="Without them a hung container stays up, and a starting one gets traffic.",
        mend="add livenessProbe and readinessProbe with httpGet, exec, tcpSocket or grpc.",
        url="https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/",
        kinds=WORKLOADS - {"Job", "CronJob"},
        schema={
            "required": _texts(
                ["liveness", "readiness"], "The probes that must be there.", enum=["liveness", "readiness", "startup"]
            )
        },
    ),
    Rule(
        name="no-literal-secrets",
        title="No environment variable or ConfigMap holds a secret in plain.",
        topic="security",
        severity="critical",
        why="Whoever may read the object, its history or the repository has the secret.",
        mend="put it into a Secret, refer to it by valueFrom.secretKeyRef, and replace it: it is known now.",
        url="https://kubernetes.io/docs/concepts/configuration/secret/",
        kinds=WORKLOADS | {"ConfigMap"},
        schema={
            "names": _texts(
                _SECRET_NAMES,
                "Regular expressions for names of secrets, searched without regard to case.",
                format="regex",
            ),
            "allowedNames": _texts([], "Names whose values are no secrets although they look like one."),
        },
    ),
    Rule(
        name="service-exposure",
        title="Services reach outside the cluster only where the configuration says so.",
        topic="security",
        severity="high",
        why="An exposed Service is open to its network, past the gateway, and load balancers cost by the hour.",
        mend="use type ClusterIP behind the gateway, or add namespace/name to `allowed` of this rule.",
        url="https://kubernetes.io/docs/concepts/services-networking/service/",
        kinds=frozenset({"Service"}),
        schema={"allowed": _texts([], "Patterns for namespace/name of Services that may be exposed.")},
    ),
    Rule(
        name="autoscaler-bounds",
        title="Autoscalers have bounds and targets that make sense.",
        topic="autoscaling",
        severity="medium",
        why="Crossed bounds never scale; a target too low pays for idle replicas, one too high scales too late.",
        mend="set 1 <= minReplicas <= maxReplicas, a scaleTargetRef, and a target within the band.",
        url="https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/",
        kinds=frozenset({"HorizontalPodAutoscaler"}),
        schema={
            "minReplicas": _number("integer", 0, 1, "The least that minReplicas may be."),
            "minUtilization": _number("number", 1, 50, "Lowest target utilization in percent of the request."),
            "maxUtilization": _number("number", 1, 85, "Highest target utilization in percent of the request."),
        },
    ),
)
_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "an object",
    "string": "text",
}
#: The rules, by name.
RULES: Mapping[str, Rule] = MappingProxyType({rule.name: rule for rule in _ALL})


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """A rule as a stack has it: its level and every key of its configuration, `exempt` included."""

    rule: Rule
    level: Level
    config: Mapping[str, Any]


def rulings(config: Mapping[str, Any], cost_centers: Collection[str], source: str) -> Mapping[str, Ruling]:
    """Every rule of the table as `config` (a whole configuration of the pack) has it, by name.

    A rule's level is its own entry's, else that of ``all``, else the rule's, as with the engine. `cost_centers` is the
    registry. Raises ``UserError``, naming `source` and the key path, for entries of these rules that do not fit, and
    for a pattern that RE2 cannot read: Kubernetes has no other regular expressions.
    """
    problems = list(_level_problems("all", config.get("all"), source))
    for rule in _ALL:
        entry = config.get(rule.name)
        problems += entry_problems(rule.name, entry, {**rule.schema, **EXEMPT}, source) if entry is not None else ()
    problems = problems or list(unregistered(config, cost_centers, source))
    if problems:
        raise UserError("\n".join(problems))
    everywhere = _level(config.get("all"))
    found = {}
    for rule in _ALL:
        entry = config.get(rule.name)
        given = {k: v for k, v in entry.items() if k != "enforcementLevel"} if isinstance(entry, Mapping) else {}
        defaults = {key: part["default"] for key, part in (*rule.schema.items(), *EXEMPT.items())}
        if "costCenters" in defaults:
            defaults["costCenters"] = sorted(cost_centers)
        level = _level(entry) or everywhere or rule.level
        found[rule.name] = Ruling(rule=rule, level=level, config=MappingProxyType({**defaults, **given}))
    for index, pattern in enumerate(found["no-literal-secrets"].config["names"]):
        if re.search(r"\(\?<?[=!]|\(\?P=|\(\?\(|\\[1-9]|[*+?}]\+", pattern):
            raise UserError(
                f"{source}: no-literal-secrets.names[{index}]: found {pattern!r}; allowed: what RE2 can read, without "
                "lookaround, back-references and possessive quantifiers"
            )
    return MappingProxyType(found)


def _level(value: Any) -> Level | None:
    text = value.get("enforcementLevel") if isinstance(value, Mapping) else value
    return Level(text) if text is not None else None


def _level_problems(name: str, value: Any, source: str) -> Iterator[str]:
    levels = [level.value for level in Level]
    if isinstance(value, Mapping):
        value, name = value.get("enforcementLevel"), f"{name}.enforcementLevel"
    if value is not None and value not in levels:
        close = meant(value, levels) if isinstance(value, str) else ""
        yield f"{source}: {name}: found {shown(value)}{close}; allowed: {', '.join(levels)}"


def entry_problems(name: str, value: Any, schema: Mapping[str, Any], source: str) -> Iterator[str]:
    """What is wrong with the entry of one rule, `schema` being that of its keys: one line a problem."""
    if not isinstance(value, str | Mapping):
        yield f"{source}: {name}: found {shown(value)}; allowed: a level or an object"
        return
    yield from _level_problems(name, value, source)
    for key, entry in value.items() if isinstance(value, Mapping) else ():
        if key == "enforcementLevel":
            continue
        if key not in schema:
            known = ["enforcementLevel", *schema]
            yield f"{source}: {dotted((name, key))}: no such key{meant(key, known)}; allowed: {', '.join(known)}"
            continue
        # Its own way to show a value is neither short nor on one line.
        checks = jsonschema_rs.validator_for(schema[key], validate_formats=True, mask="which")
        for error in checks.iter_errors(entry):
            where = dotted((name, key, *error.instance_path))
            yield f"{source}: {where}: found {shown(error.instance)}{_allowed(error, schema[key])}"


def _allowed(error: jsonschema_rs.ValidationError, schema: Any) -> str:
    *_, keyword = error.schema_path
    wanted = schema
    for step in error.schema_path:
        wanted = wanted[step]
    match keyword:
        case "type":
            return f"; allowed: {_TYPES[wanted]}"
        case "enum":
            return f"; allowed: {', '.join(wanted)}"
        case "minimum":
            return f"; allowed: {wanted} or more"
        case "format":
            return "; allowed: a regular expression"  # the one format that there is
        case _:
            return f", {error.message}"


def unregistered(config: Mapping[str, Any], cost_centers: Collection[str], source: str) -> Iterator[str]:
    """Cost centers that remediation would write although no registry has them: one line each.

    `config` is a whole configuration without other problems, `cost_centers` the registry where it names no other.
    """
    entry = config.get("cost-labels")
    if not isinstance(entry, Mapping) or entry.get("enforcementLevel") == "disabled":
        return
    known = sorted(entry.get("costCenters", cost_centers))
    for namespace, labels in entry.get("namespaces", {}).items():
        code = labels.get(COST_CENTER)
        if code is not None and code not in known:
            place = f"cost-labels.namespaces.{namespace}.{COST_CENTER}"
            yield f"{source}: {place}: found '{code}'{meant(code, known)}; allowed: {', '.join(known) or 'none'}"
