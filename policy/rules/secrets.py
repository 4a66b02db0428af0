"""No secret stands in plain where anyone who may read a Deployment or ConfigMap can read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from cloudmart.settings.rules import HARMLESS, SECRET_SHAPES

from ._kubernetes import Object, get, items
from ._rule import Config, Finding, object_rule

_SHAPE = re.compile("|".join(f"(?P<s{index}>{shape})" for index, shape in enumerate(SECRET_SHAPES.values())))
_HARMLESS = re.compile(HARMLESS)


@lru_cache(maxsize=64)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns) or r"(?!)", re.IGNORECASE)


def _shape_of(value: str) -> str | None:
    found = _SHAPE.search(value)
    if found is None:
        return None
    return next(text for index, text in enumerate(SECRET_SHAPES) if found[f"s{index}"] is not None)


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


POLICIES = [object_rule("no-literal-secrets", _secrets, patches=True)]
