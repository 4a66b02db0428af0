"""Reads the YAML files so that every value knows the line it came from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cloudmart.errors import UserError

Path_ = tuple[str | int, ...]

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 40
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_:./-]{1,253}")
#: Booleans in YAML 1.1, text to this parser: whoever else reads the file may disagree.
_Y_AND_N = {"y", "Y", "n", "N"}
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_SCALARS = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null")}


@dataclass(frozen=True)
class Document:
    """A YAML file: its plain data, and the line (from 1) of every key path in it."""

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
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UserError(f"{name}: is larger than 1 MiB; allowed: up to 1 MiB")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: cannot be read as UTF-8 text ({error})") from None
    try:
        _check_events(text, name)
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise UserError(f"{name}{line}: not valid YAML: {problem}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from None
    lines: dict[Path_, int] = {}
    data = _plain(node, (), name, lines) if node is not None else {}
    if not isinstance(data, dict):
        raise UserError(f"{name}:1: found {shown(data)}; allowed: a mapping of keys to values")
    return Document(name, data, lines)


def read_json(path: Path, name: str) -> dict[str, Any]:
    """Reads a JSON file whose top is an object; an empty one where there is no such file.

    Raises ``UserError`` naming the file, and the line where it is no JSON.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name}: cannot be read as UTF-8 text ({error})") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{name}:{error.lineno}: not valid JSON: {error.msg}") from None
    if not isinstance(data, dict):
        raise UserError(f"{name}: found {shown(data)}; allowed: an object")
    return data


def _check_events(text: str, name: str) -> None:
    # Before anything recursive sees the text: a few bytes of YAML can mean gigabytes of aliases or endless nesting.
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise UserError(f"{name}:{line}: found an anchor or alias; allowed: plain values, written out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise UserError(f"{name}:{line}: nested deeper than {_MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _plain(node: yaml.Node, path: Path_, name: str, lines: dict[Path_, int]) -> Any:
    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*path, index), name, lines) for index, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            where = f"{name}:{key_line}: {dotted(path) or 'top level'}"
            if not isinstance(key_node, yaml.ScalarNode):
                raise UserError(f"{where}: found a list or a mapping as a key; allowed: text")
            ambiguous = not key_node.style and key_node.value in _Y_AND_N
            if key_node.tag != "tag:yaml.org,2002:str" or ambiguous:
                key = shown(key_node.value)
                raise UserError(f"{where}: found a key that YAML does not read as text ({key}); allowed: in quotes")
            if key_node.value in result:
                raise UserError(f"{where}: found the key {shown(key_node.value)} twice; allowed: once")
            lines[(*path, key_node.value)] = key_line
            result[key_node.value] = _plain(value_node, (*path, key_node.value), name, lines)
        return result
    # Only numbers, booleans and null are read as such. What YAML 1.1 would make a date stays the text that was written.
    if node.tag in _SCALARS:
        try:
            return _CONSTRUCTOR.yaml_constructors[node.tag](_CONSTRUCTOR, node)
        except (ValueError, KeyError, IndexError):
            # Without the value: it may stand under a key for secrets.
            kind = node.tag.rsplit(":", 1)[1]
            raise UserError(
                f"{name}:{line}: {dotted(path)}: found something that cannot be read as {kind}; allowed: "
                f"a value of that type, or text in quotes"
            ) from None
    return node.value


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
