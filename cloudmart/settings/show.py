"""The merged tree, each value with its origin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloudmart.settings.load import Loaded
from cloudmart.settings.problems import Origin
from cloudmart.settings.source import Path_, dotted


def leaves(loaded: Loaded) -> Iterator[tuple[str, Any, Origin]]:
    """Key path, value and origin of every leaf, in the model's order. Empty mappings and lists are leaves."""
    tree = loaded.settings.model_dump(mode="json", by_alias=True)
    del tree["stack"]
    yield from _walk(tree, (), loaded)


def _walk(value: Any, path: Path_, loaded: Loaded) -> Iterator[tuple[str, Any, Origin]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _walk(item, (*path, key), loaded)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _walk(item, (*path, index), loaded)
    else:
        yield dotted(path), value, loaded.origin_of(path)
