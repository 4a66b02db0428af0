"""No secret stands in plain where anyone who may read a Deployment or ConfigMap can read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from pulumi_policy import Severity

from ._kubernetes import WORKLOADS, Object, get, items
from ._rule import About, Config, Finding, resource_rule

# Names end in one of these words: DB_PASSWORD and PGPASSWORD do, DB_PASSWORD_FILE and MONKEY do not.
_NAMES = [
    r"(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?)$",
    r"(^|[_.-])(KEY|PWD|PW|PIN)$",
    r"(API|ACCESS|SECRET|PRIVATE|SIGNING|ENCRYPTION|MASTER)[_.-]?KEY$",
]
_SHAPES = {
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
}
_SHAPE = re.compile("|".join(f"(?P<s{index}>{shape})" for index, shape in enumerate(_SHAPES.values())))
# `$(NAME)` is another variable, and these words switch something on or off.
_HARMLESS = re.compile(r"\s*|\$\([A-Za-z_][A-Za-z0-9_.-]*\)|(?i:true|false|yes|no|on|off)")


@lru_cache(maxsize=64)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns) or r"(?!)", re.IGNORECASE)


def _shape_of(value: str) -> str | None:
    found = _SHAPE.search(value)
    if found is None:
        return None
    return next(text for index, text in enumerate(_SHAPES) if found[f"s{index}"] is not None)


def _literal(name: Any, value: Any, config: Config) -> str | None:
    """Why the value of `name` looks like a secret. The value itself goes nowhere."""
    if not isinstance(name, str) or not isinstance(value, str) or _HARMLESS.fullmatch(value):
        return None
    if name in config["allowedNames"]:
        return None
    shape = _shape_of(value)
    if shape:
        return f"the value of '{name}' looks like {shape}"
    if _compiled(tuple(config["names"])).search(name):
        return f"'{name}' is a secret by its name and has a literal value"
    return None


def _secrets(found: Object, config: Config) -> Iterator[Finding]:
    for container in found.containers:
        for variable in items(container.body, "env"):
            problem = _literal(get(variable, "name"), get(variable, "value"), config)
            if problem:
                yield Finding(problem, f"{container.where}, env")
    data = get(found.body, "data") if found.kind == "ConfigMap" else None
    for key, value in data.items() if isinstance(data, dict) else ():
        problem = _literal(key, value, config)
        if problem:
            yield Finding(problem, "data")


POLICIES = [
    resource_rule(
        About(
            name="no-literal-secrets",
            title="No environment variable or ConfigMap holds a secret in plain.",
            topic="security",
            severity=Severity.CRITICAL,
            why="Whoever may read the object, its history or the repository has the secret.",
            mend="put it into a Secret, refer to it by valueFrom.secretKeyRef, and replace it: it is known now.",
            url="https://kubernetes.io/docs/concepts/configuration/secret/",
        ),
        WORKLOADS | {"ConfigMap"},
        _secrets,
        {
            "names": {
                "type": "array",
                "items": {"type": "string", "format": "regex"},
                "default": _NAMES,
                "description": "Regular expressions for names of secrets, searched without regard to case.",
            },
            "allowedNames": {
                "type": "array",
                "items": {"type": "string"},
                "default": [],
                "description": "Names whose values are no secrets although they look like one.",
            },
        },
    )
]
