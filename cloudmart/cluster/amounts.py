"""Amounts as a cluster writes them, which is more than people may: ``274997766n`` of a core is one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}
_QUANTITY = re.compile(r"([+-]?[0-9]+(?:\.[0-9]*)?|[+-]?\.[0-9]+)(?:([eE][+-]?[0-9]{1,3})|([numkMGTPE]|[KMGTPE]i)?)")


def amount(text: object) -> Decimal:
    """Cores, bytes or pieces. Zero for what is no quantity: the API server lets none through."""
    found = _QUANTITY.fullmatch(str(text))
    if found is None:
        return Decimal(0)
    number, exponent, suffix = found.groups()
    return Decimal(number + (exponent or "")) * _SUFFIXES[suffix or ""]


def amounts(texts: Mapping[str, object] | None) -> dict[str, Decimal]:
    """Each of a quota's amounts; empty for None."""
    return {item: amount(text) for item, text in (texts or {}).items()}


def shown(item: str, value: Decimal) -> str:
    """An amount of a resource for people: cores as ``1.35``, bytes in MiB or GiB."""
    if "memory" in item or "storage" in item:
        return f"{value / 2**30:.1f} GiB" if abs(value) >= 2**30 else f"{value / 2**20:.0f} MiB"
    if "cpu" in item:
        return f"{value:.2f} cores" if abs(value) >= 1 else f"{value * 1000:.0f}m"
    return f"{value.normalize():f}"


def of_pod(spec: Mapping[str, Any]) -> dict[str, Decimal]:
    """What a pod takes of a quota: ``requests.cpu``, ``limits.memory`` and so on, ``pods``, and their other names.

    As Kubernetes counts it: the containers and the sidecars together, or the largest init container with the sidecars
    before it, whichever is more; and the overhead of the pod's runtime.
    """
    found = {"pods": Decimal(1)}
    for kind in ("requests", "limits"):
        for item in ("cpu", "memory"):
            running = sum(_each(spec.get("containers"), kind, item), Decimal(0))
            sidecars = peak = Decimal(0)
            for container in spec.get("initContainers") or ():
                [needed] = _each([container], kind, item)
                if container.get("restartPolicy") == "Always":
                    sidecars += needed
                    peak = max(peak, sidecars)
                else:
                    peak = max(peak, sidecars + needed)
            overhead = amount((spec.get("overhead") or {}).get(item, 0))
            found[f"{kind}.{item}"] = max(running + sidecars, peak) + overhead
    return found | {"count/pods": found["pods"], "cpu": found["requests.cpu"], "memory": found["requests.memory"]}


def _each(containers: Iterable[Mapping[str, Any]] | None, kind: str, item: str) -> list[Decimal]:
    return [amount(((one.get("resources") or {}).get(kind) or {}).get(item, 0)) for one in containers or ()]
