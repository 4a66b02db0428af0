"""Fields of an object and who owns them, in the terms of server-side apply. Pure: nothing is asked.

``metadata.managedFields`` names each field that somebody has set: ``f:name`` is a field, ``k:{...}`` the item of a list
that these keys tell apart, ``v:...`` a member of a set, and nothing below a name means all of it
(sigs.k8s.io/structured-merge-diff, `fieldpath`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from cloudmart.finops.paths import Item

Fields: TypeAlias = Mapping[str, Any]
"""A `fieldsV1`, or a part of it."""


@dataclass(frozen=True)
class Member:
    """That value in a set."""

    value: Any

    def __str__(self) -> str:
        return str(self.value)


Part: TypeAlias = str | int | Item | Member
Path: TypeAlias = tuple[Part, ...]


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT: Any = _Absent()
"""The value of a field that is not there."""


@dataclass(frozen=True)
class Writer:
    """Who has written fields: an entry of `managedFields`."""

    manager: str
    operation: str
    subresource: str
    time: str
    fields: Fields


def writers(item: Mapping[str, Any]) -> list[Writer]:
    """All that the API server remembers to have written an object, the latest first."""
    found = [
        Writer(
            manager=str(entry.get("manager", "")),
            operation=str(entry.get("operation", "")),
            subresource=str(entry.get("subresource", "")),
            time=str(entry.get("time", "")),
            fields=entry.get("fieldsV1") or {},
        )
        for entry in item["metadata"].get("managedFields") or []
    ]
    return sorted(found, key=lambda writer: writer.time, reverse=True)


def owner(path: Path, among: Iterable[Writer]) -> Writer | None:
    """The first of these writers that has set this field, all that it is in, or something within it."""
    return next((writer for writer in among if _covers(writer.fields, path)), None)


def _covers(fields: Fields, path: Path) -> bool:
    here = fields
    for part in path:
        if not here:
            return True  # all that is in it
        below = next((below for named, below in here.items() if named != "." and _part(named) == part), None)
        if below is None:
            return False
        here = below
    return True


def _part(named: str) -> Part:
    kind, _, text = named.partition(":")
    if kind == "k":
        return Item(tuple(sorted(json.loads(text).items())))
    if kind == "v":
        return Member(json.loads(text))
    return int(text) if kind == "i" else text


def value_at(item: Any, path: Path) -> Any:
    """What stands there, or ``ABSENT``."""
    here = item
    for part in path:
        index = _step(here, part)
        if index is None:
            return ABSENT
        here = here[index]
    return here


def _step(here: Any, part: Part) -> str | int | None:
    """The key or index of a part within `here`, where it is there."""
    if isinstance(here, Mapping):
        return part if isinstance(part, str) and part in here else None
    if not isinstance(here, list):
        return None
    if isinstance(part, int):
        return part if part < len(here) else None
    if isinstance(part, Item):
        return next((index for index, item in enumerate(here) if part.fits(item)), None)
    if isinstance(part, Member):
        return here.index(part.value) if part.value in here else None
    return None


def pointer(item: Any, path: Path) -> tuple[str | int, ...] | None:
    """The path by keys and indexes alone, as JSON Pointer has it; None where nothing stands there."""
    here, steps = item, []
    for part in path:
        index = _step(here, part)
        if index is None:
            return None
        steps.append(index)
        here = here[index]
    return tuple(steps)


def differences(declared: Any, live: Any, owned: Fields, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """Path, declared value and live value of each field that is not as declared.

    `owned` are the fields of whoever declared: they say which lists have keys. Items of other lists are compared one by
    one where their number is the same, else by what is there and not in the other.
    """
    if isinstance(declared, Mapping) and isinstance(live, Mapping):
        for key in [*declared, *(key for key in live if key not in declared)]:
            below = owned.get(f"f:{key}") or {}
            yield from differences(declared.get(key, ABSENT), live.get(key, ABSENT), below, (*path, key))
    elif isinstance(declared, list) and isinstance(live, list) and declared != live:
        yield from _in_list(declared, live, owned, path)
    elif declared != live:
        yield path, declared, live


def _in_list(declared: list[Any], live: list[Any], owned: Fields, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    keyed = {part: below for named, below in owned.items() if isinstance(part := _part(named), Item)}
    if keyed:
        names = [key for key, _ in next(iter(keyed)).keys]
        parts = dict.fromkeys(
            Item(tuple((name, item.get(name)) for name in names))
            for item in [*declared, *live]
            if isinstance(item, Mapping)
        )
        for part in parts:
            there, here = value_at(declared, (part,)), value_at(live, (part,))
            yield from differences(there, here, keyed.get(part) or {}, (*path, part))
    elif len(declared) == len(live):
        for index, (there, here) in enumerate(zip(declared, live, strict=True)):
            yield from differences(there, here, {}, (*path, index))
    else:
        yield from (((*path, index), item, ABSENT) for index, item in enumerate(declared) if item not in live)
        yield from (((*path, index), ABSENT, item) for index, item in enumerate(live) if item not in declared)


def additions(item: Any, theirs: Fields, ours: Fields | None, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Path and value of what `theirs` has set in an object and `ours` (None: nothing here) has not.

    An item of a list comes as a whole, a mapping key by key.
    """
    for named, below in theirs.items():
        if named == ".":
            continue
        part = _part(named)
        index = _step(item, part)
        if index is None:
            continue  # in another API version, or gone since
        here = item[index]
        mine = None if ours is None else ours.get(named)
        if mine is None and not (isinstance(part, str) and isinstance(here, Mapping) and below):
            yield (*path, part), here
        elif mine is None or (mine and below):
            yield from additions(here, below, mine, (*path, part))


def names(path: Sequence[object]) -> tuple[str, ...]:
    """The names of fields on a path, without places in lists."""
    return tuple(part for part in path if isinstance(part, str))
