"""Reads the YAML files so that every value knows the line it came from."""

from __future__ import annotations

import functools
import json
import math
import os
import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cloudmart.errors import UserError

Path_ = tuple[str | int, ...]

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 40
# What machines wrote may be larger and deeper: a state of 5,000 resources. Python needs up to 150 bytes a value.
_MAX_JSON_BYTES = 32 << 20
_MAX_JSON_DEPTH = 100
_MAX_JSON_VALUES = 1_500_000
#: Half of a surrogate pair, as JSON can spell it.
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_:./-]{1,253}")
#: Booleans in YAML 1.1, text to this parser: whoever else reads the file may disagree.
_Y_AND_N = {"y", "Y", "n", "N"}
_TAG = "tag:yaml.org,2002:"
# Nothing but a key can tell to merge (`<<`) or be a default (`=`).
_TEXTS = frozenset(f"{_TAG}{name}" for name in ("str", "merge", "value"))
#: As YAML 1.2's core schema reads words and decimal numbers. This parser is of YAML 1.1, Pulumi's has some of both:
#: what they do not agree on is an error, or the preview would not show what the engine makes.
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(
    r"[-+]?((\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(inf|Inf|INF))|\.(nan|NaN|NAN)"
)
#: Text to this parser, numbers to others.
_NUMBER_ELSEWHERE = re.compile(rf"[-+]?0([0-9_]+|[bB][01]+|[oO][0-7]+|[xX][0-9a-fA-F]+)|{_FLOAT.pattern}")
#: What is found and what is allowed, by what YAML 1.1 takes a plain value for.
_DISPUTED = {
    f"{_TAG}bool": ("a word that some readers of YAML take for a boolean", "true, false, or text in quotes"),
    f"{_TAG}timestamp": ("a date, which some readers of YAML take for a time", "text in quotes"),
}
_NUMBER = (
    "a number that readers of YAML take for different ones",
    "decimal digits without a leading 0, _ or :, or text in quotes",
)


@dataclass(frozen=True, eq=False)
class Document:
    """A YAML file: its plain data, and the line (from 1) of every key path in it. Equal to itself alone."""

    name: str
    data: dict[str, Any]
    lines: Mapping[Path_, int]


def dotted(path: Path_) -> str:
    """``("services", "user-service", "needs", 0)`` as ``services.user-service.needs[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:  # a line break in a key would break the message's line
            text += f"[{shown(part)}]"
    return text


def read(path: Path, name: str) -> Document:
    """Reads a file whose top is a mapping with string keys.

    Raises ``UserError`` naming file, line and key path for anything that is not plain, unambiguous YAML: syntax errors,
    keys given twice, keys that YAML reads as something else than text, anchors and aliases.
    """
    return parse(contents(path, name), name)


def contents(path: Path, name: str, most: int = _MAX_BYTES) -> bytes:
    """The bytes of a file of up to `most`. Raises ``UserError`` naming it.

    A pipe that nobody has open for writing is empty, and is not waited for; a device is read up to `most`.
    """

    def opened(file: str, flags: int) -> int:
        handle = os.open(file, flags | os.O_NONBLOCK)
        os.set_blocking(handle, True)
        return handle

    try:
        with open(path, "rb", opener=opened) as file:
            found = file.read(most + 1)
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # a NUL in its name
        raise UserError(f"{name}: cannot be read ({error})") from None
    if len(found) > most:
        size = f"{most >> 20} MiB"
        raise UserError(f"{name}: is larger than {size}; allowed: up to {size}")
    return found


# The program reads the files that the preview has read: the same bytes are the same document.
@functools.lru_cache(maxsize=8)
def parse(content: bytes, name: str, *, texts: bool = False) -> Document:
    """The document of a file's bytes, not to be changed; with `texts` every value as it is written, for the files of
    others, which need not be unambiguous. Raises ``UserError`` as :func:`read` does."""
    text = _text(content, name)
    try:
        _check_events(text, name)
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise UserError(f"{name}{line}: not valid YAML: {problem}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from None
    except (ValueError, OverflowError):  # an escape for a character that there is not
        raise UserError(f"{name}: not valid YAML: found an escape of no character") from None
    lines: dict[Path_, int] = {}
    data = _plain(node, (), name, lines, _written if texts else _scalar) if node is not None else {}
    if not isinstance(data, dict):
        raise UserError(f"{name}:1: found {shown(data)}; allowed: a mapping of keys to values")
    return Document(name, data, lines)


def read_json(path: Path, name: str) -> dict[str, Any]:
    """Reads a JSON file whose top is an object; an empty one where there is no such file.

    Raises ``UserError`` naming the file, and the line where it is no JSON.
    """
    if not path.exists() and not path.is_symlink():
        return {}
    data = parse_json(contents(path, name, _MAX_JSON_BYTES), name)
    if not isinstance(data, dict):
        raise UserError(f"{name}: found {shown(data)}; allowed: an object")
    return data


def parse_json(content: bytes, name: str) -> Any:
    """What JSON says, where it is plain: no key twice, no NaN, numbers and nesting that others can read too.

    Raises ``UserError`` naming `name`, and the line where it is no JSON.
    """
    text = _text(content, name)
    if sum(map(text.count, ",[{")) > _MAX_JSON_VALUES:
        raise UserError(f"{name}: holds more than {_MAX_JSON_VALUES:,} values; allowed: up to as many")
    try:
        data = json.loads(text, object_pairs_hook=_once, parse_constant=_finite, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise UserError(f"{name}:{error.lineno}: not valid JSON: {error.msg}") from None
    except _FoundError as error:
        raise UserError(f"{name}: {error}") from None
    except ValueError:  # Python reads no longer ones
        raise UserError(f"{name}: found a whole number of more than 4,300 digits; allowed: shorter ones") from None
    except RecursionError:
        raise UserError(f"{name}: nested deeper than {_MAX_JSON_DEPTH} levels") from None
    level, depth = [data], 0
    while level:
        depth += 1
        if depth > _MAX_JSON_DEPTH:
            raise UserError(f"{name}: nested deeper than {_MAX_JSON_DEPTH} levels")
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list)))
        level = [value for values in inner for value in values if isinstance(value, (dict, list))]
    if _HALF.search(text):
        try:
            json.dumps(data, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise UserError(f"{name}: found half of a surrogate pair; allowed: whole characters") from None
    return data


class _FoundError(ValueError):
    """JSON or YAML, but not such as is wanted."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _FoundError(f"found the key {shown(twice)} twice; allowed: once")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _FoundError(f"found {shown(text)}; allowed: finite numbers")
    return value


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: cannot be read as UTF-8 text ({error})") from None


def _check_events(text: str, name: str) -> None:
    # Before anything recursive sees the text: a few bytes of YAML can mean gigabytes of aliases or endless nesting.
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise UserError(f"{name}:{line}: found an anchor or alias; allowed: plain values, written out")
        if getattr(event, "tag", None):
            raise UserError(f"{name}:{line}: found a tag (!); allowed: plain values, and text in quotes")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise UserError(f"{name}:{line}: nested deeper than {_MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _key_problem(node: yaml.Node, before: Container[str]) -> str | None:
    """What is wrong with a key that comes after others."""
    if not isinstance(node, yaml.ScalarNode):
        return "found a list or a mapping as a key; allowed: text"
    if node.tag != f"{_TAG}str" or not _is_text(node) or (not node.style and node.value in _Y_AND_N):
        return f"found a key that YAML does not read as text ({shown(node.value)}); allowed: in quotes"
    if node.value in before:
        return f"found the key {shown(node.value)} twice; allowed: once"
    return None


def _plain(
    node: yaml.Node, path: Path_, name: str, lines: dict[Path_, int], scalar: Callable[[yaml.ScalarNode], Any]
) -> Any:
    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*path, index), name, lines, scalar) for index, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            if problem := _key_problem(key_node, result):
                raise UserError(f"{name}:{key_line}: {dotted(path) or 'top level'}: {problem}")
            lines[(*path, key_node.value)] = key_line
            result[key_node.value] = _plain(value_node, (*path, key_node.value), name, lines, scalar)
        return result
    assert isinstance(node, yaml.ScalarNode)  # noqa: S101 - the only other kind
    try:
        return scalar(node)
    except _FoundError as error:
        raise UserError(f"{name}:{line}: {dotted(path) or 'top level'}: {error}") from None


def _is_text(node: yaml.ScalarNode) -> bool:
    return bool(node.style) or (node.tag in _TEXTS and not _NUMBER_ELSEWHERE.fullmatch(node.value))


def _written(node: yaml.ScalarNode) -> Any:
    return str(node.value)


def _scalar(node: yaml.ScalarNode) -> Any:
    text = node.value
    if _is_text(node):
        return text
    if text in _WORDS:
        return _WORDS[text]
    # Without the value: it may stand under a key for secrets.
    if _WHOLE.fullmatch(text):
        try:
            return int(text)
        except ValueError:  # Python reads no longer ones
            raise _FoundError(
                "found a whole number of more than 4,300 digits; allowed: shorter ones, or text in quotes"
            ) from None
    if _FLOAT.fullmatch(text):
        number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if not math.isinf(number) or "inf" in text.lower():
            return number
    found, allowed = _DISPUTED.get(node.tag, _NUMBER)
    raise _FoundError(f"found {found}; allowed: {allowed}")


def shown(value: object) -> str:
    """A value as an error shows it: short, on one line."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    text = "true" if value is True else "false" if value is False else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
