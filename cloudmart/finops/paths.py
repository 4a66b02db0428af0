"""Paths to fields of an object: parts that say more than a key or an index, and how reports write all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Item:
    """The item of a list with these keys, such as ``name: app``."""

    keys: tuple[tuple[str, Any], ...]

    def fits(self, item: Any) -> bool:
        return isinstance(item, Mapping) and all(item.get(key) == value for key, value in self.keys)

    def __str__(self) -> str:
        return ",".join(f"{key}={_plain(value)}" for key, value in self.keys)


def _plain(value: Any) -> str:
    """Quoted where it could be taken for more of the path, or for the next line of a report."""
    text = str(value)
    return text if re.fullmatch(r"[\w./:@-]+", text) else json.dumps(value)


def path_text(path: Iterable[object]) -> str:
    """``("spec", "containers", Item((("name", "app"),)), "args", 0)`` as ``spec.containers[name=app].args[0]``."""
    text = ""
    for part in path:
        if not isinstance(part, str):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z0-9_/-]+", part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part)}]"
    return text
