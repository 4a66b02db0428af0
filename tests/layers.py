"""Combinations of layers: each alone, all together, and a set that has every pair of choices in it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml
from allpairspy import AllPairs

from cloudmart.preview.recorder import Recording, overridden, record
from tests.conftest import ROOT

_ON, _OFF = {"enabled": True}, {"enabled": False}
_STORES = ("postgres", "redis", "kafka")

#: What can be chosen, by configuration key; the first choice of each is "off", or the lightest that there is.
CHOICES: dict[str, dict[str, Mapping[str, Any]]] = {
    "gateway": {"off": _OFF, "on": _ON},
    "mesh": {"off": _OFF, "sidecar": {**_ON, "mode": "sidecar"}, "ambient": {**_ON, "mode": "ambient"}},
    "admission": {"off": _OFF, "native": {**_ON, "engine": "native"}, "gatekeeper": {**_ON, "engine": "gatekeeper"}},
    "gitops": {"off": _OFF, "on": _ON},
    "monitoring": {"off": _OFF, "on": _ON},
    "verticalAutoscaling": {"off": _OFF, "on": _ON},
    "kubecost": {"off": _OFF, "on": _ON},
    "data": {mode: {store: {"mode": mode} for store in _STORES} for mode in ("single", "operator")},
}

#: One choice a key.
Combination = tuple[tuple[str, str], ...]

#: The core and nothing else.
CORE: Combination = tuple((key, next(iter(choices))) for key, choices in CHOICES.items())


def alone() -> list[Combination]:
    """Each choice of each layer on top of the core."""
    return [
        tuple((of, choice if of == key else off) for of, off in CORE)
        for key, choices in CHOICES.items()
        for choice in list(choices)[1:]
    ]


def everything() -> list[Combination]:
    """All layers at once, in each mode of the mesh."""
    most = {key: list(choices)[-1] for key, choices in CHOICES.items()}
    return [tuple((most | {"mesh": mode}).items()) for mode in list(CHOICES["mesh"])[1:]]


def pairs() -> list[Combination]:
    """Few combinations in which every two choices of two layers meet at least once."""
    rows = AllPairs([list(choices) for choices in CHOICES.values()])
    return [tuple(zip(CHOICES, row, strict=True)) for row in rows]


def named(combination: Combination) -> str:
    """What differs from the core."""
    return "+".join(f"{key}={choice}" for key, choice in combination if (key, choice) not in CORE) or "core"


@cache
def _configured() -> dict[str, Any]:
    """What prod says of the layers: addresses and sizes that a layer cannot be without."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "Pulumi.prod.yaml").read_text())["config"]
    return config


def overrides(combination: Combination) -> dict[str, Any]:
    """The configuration of a combination."""
    found: dict[str, Any] = {}
    for key, choice in combination:
        full = f"cloudmart:{key}"
        # Sizes of stores are the stack's own.
        base = {} if key == "data" else _configured().get(full, {})
        found[full] = overridden(base, CHOICES[key][choice])
    return found


@cache
def recorded(stack: str, combination: Combination) -> Recording:
    """The stack's program with these layers."""
    return record(stack, ROOT, overrides=overrides(combination))
