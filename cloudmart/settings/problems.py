"""What a model says against a file, in one line a problem."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cloudmart.errors import close_to, meant
from cloudmart.settings.base import MisfitError
from cloudmart.settings.source import Path_, dotted, shown


@dataclass(frozen=True)
class Origin:
    """Where a value came from: a file and line, ``Pulumi config`` (given to the engine), or ``default`` (the model)."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


#: What pydantic has against the value at a key path.
_Problem: TypeAlias = tuple[Path_, ErrorDetails]


def place(path: Path_, origins: Mapping[Path_, Origin], otherwise: str) -> str:
    """``file:line: key.path``; of the nearest ancestor that was written, where the path itself was not."""
    for length in range(len(path), -1, -1):
        if origin := origins.get(path[:length]):
            return f"{origin}: {dotted(path) or 'top level'}"
    return f"{otherwise}: {dotted(path) or 'top level'}"


def _misfit(path: Path_, keys: Iterable[Path_], origins: Mapping[Path_, Origin], file: str) -> str:
    """The place of the first of a model's keys that was written. Where another file wrote one that it does not go with:
    which of them is over the other."""
    written = [key for below in keys if (key := (*path, *below)) in origins]
    if not written:
        return place(path, origins, file)
    own = origins[written[0]]
    other = next((origin for key in written if (origin := origins[key]).file != own.file), None)
    files = [own] if other is None else [other, own] if own.file == file else [own, other]
    return f"{' over '.join(map(str, files))}: {dotted(written[0])}"


def explained(
    error: ValidationError,
    model: type[BaseModel],
    tree: Mapping[str, Any],
    origins: Mapping[Path_, Origin],
    file: str,
    *,
    most: int,
) -> Iterable[str]:
    """What a model has against a tree, one line a problem: where it was written, key path, found, allowed. The first
    ones, and how many more there are: nobody reads on, and each takes a search for what was meant.

    Where `origins` does not know, it is in the `file`. Secrets must not be among what was found.
    """
    all_ = [(_path(problem, tree), problem) for problem in error.errors(include_url=False)]
    problems = _causes_first(all_, _misspelt(all_, model, tree, origins, file, most))
    for path, problem in problems[:most]:
        at, found = place(path, origins, file), problem["input"]
        kind, context = problem["type"], problem.get("ctx", {})
        if kind == "extra_forbidden":
            allowed = _fields_at(model, path[:-1])
            yield f"{at}: found an unknown key{meant(str(path[-1]), allowed)}; allowed: {', '.join(allowed)}"
        elif kind == "missing":
            yield f"{at}: found nothing; allowed: this key is required"
        elif kind == "value_error":
            wrong = context["error"]
            if isinstance(wrong, MisfitError):
                at = _misfit(path, wrong.keys, origins, file)
            yield f"{at}: found {wrong}"
        elif kind in ("model_type", "dict_type", "mapping_type"):
            yield f"{at}: found {shown(found)}; allowed: a mapping"
        elif kind == "tuple_type":
            yield f"{at}: found {shown(found)}; allowed: a list"
        elif kind == "string_pattern_mismatch":
            yield f"{at}: found {shown(found)}; allowed: text that matches {context['pattern']}"
        else:
            message = problem["msg"].removeprefix("Input should be ").replace("Input should ", "")
            # Of a few words, as pydantic lists them.
            words = re.findall(r"'([^']*)'", str(context.get("expected", "")))
            close = meant(found, words) if isinstance(found, str) else ""
            yield f"{at}: found {shown(found)}{close}; allowed: {message[:1].lower() + message[1:]}"
    if len(problems) > most:
        yield f"{file}: {len(problems) - most:,} more problems"


def _path(problem: ErrorDetails, tree: Mapping[str, Any]) -> Path_:
    path = tuple(part for part in problem["loc"] if part != "[key]")
    # Unions put the name of the tried variant into the path; only what stands in the tree is a key.
    while path and not _exists(tree, path[:-1]):
        path = path[:-1]
    return path


def _causes_first(problems: Sequence[_Problem], misspelt: Mapping[Path_, Path_]) -> Sequence[_Problem]:
    """The misspelt keys before the rest, and nothing of those that were meant: where only a stack's file has such a
    one, what that leaves to the catalog would be missing key by key."""
    meant_ = set(misspelt.values())
    causes = [one for one in problems if one[0] in misspelt]
    rest = (one for one in problems if one[0] not in misspelt)
    return [*causes, *(one for one in rest if not any(one[0][:end] in meant_ for end in range(1, len(one[0]) + 1)))]


def _misspelt(
    problems: Iterable[_Problem],
    model: type[BaseModel],
    tree: Mapping[str, Any],
    origins: Mapping[Path_, Origin],
    file: str,
    most: int,
) -> Mapping[Path_, Path_]:
    """The first unknown keys that are like one which their file lacks, each with that one."""
    unknown = [path for path, problem in problems if problem["type"] == "extra_forbidden"][:most]
    meant_ = {path: (*path[:-1], close_to(str(path[-1]), _fields_at(model, path[:-1]))) for path in unknown}
    return {path: key for path, key in meant_.items() if key[-1] and _lacks(tree, origins, file, path, key)}


def _lacks(tree: Any, origins: Mapping[Path_, Origin], file: str, path: Path_, key: Path_) -> bool:
    """Whether a key stands nowhere, or not in the `file`, which has the one at the path."""
    here, there = (origins.get(one, Origin(file)).file for one in (path, key))
    return not _exists(tree, key) or here == file != there


def _exists(tree: Any, path: Path_) -> bool:
    for part in path:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


@functools.cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True)


def _fields_at(model: type[BaseModel], path: Path_) -> list[str]:
    """The keys that the model knows at a path."""
    schema = _schema(model)
    definitions = schema.get("$defs", {})
    node: dict[str, Any] = schema

    def resolved(part: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in part:
            return resolved(definitions[part["$ref"].rsplit("/", 1)[1]])
        for variant in part.get("anyOf", ()):
            if variant.get("type") != "null":
                return resolved(variant)
        return part

    for part in path:
        node = resolved(node)
        if isinstance(part, int):
            node = node.get("items", {})
        else:
            # Keys with a grammar of their own, such as names of services, are patterns in the schema.
            values = [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]
            node = node.get("properties", {}).get(part) or next((value for value in values if value), {})
    return list(resolved(node).get("properties", {}))
