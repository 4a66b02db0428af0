"""Changes values in a stack's file the way a careful person would: comments, order and everything else stay."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from cloudmart.errors import UserError
from cloudmart.settings.load import PREFIX, stack_file
from cloudmart.settings.source import dotted, read, shown

Change = tuple[tuple[str, ...], str | int]
"""A key path without Pulumi's prefix, such as ``("services", "user-service", "autoscaling", "cpu")``, and its value."""

#: Text that YAML, of one version or another, would read as something else.
_NOT_PLAIN = re.compile(r"[0-9.+-]*|[0-9]+e[0-9]+|y|n|yes|no|on|off|true|false|null|~", re.IGNORECASE)


def edited(stack: str, root: Path, changes: Iterable[Change]) -> str:
    """The text of ``Pulumi.<stack>.yaml`` under `root` with the changes in it; the file is left alone.

    Keys that are missing are added. Raises ``UserError``, naming file and key path, when the file is no such YAML or
    a key on the way holds something else than a mapping.
    """
    name = stack_file(stack)
    read(root / name, name)  # every refusal of a reader (aliases, doubled keys, size) before anything is rewritten
    text = (root / name).read_text(encoding="utf-8")
    try:
        yaml, tree = _loaded(text)
    except YAMLError as error:
        raise UserError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from None
    changed = False
    for path, value in changes:
        changed |= _set(tree, ("config", PREFIX + path[0], *path[1:]), value, name)
    return _dumped(yaml, tree) if changed else text


def write(stack: str, root: Path, changes: Iterable[Change]) -> bool:
    """Makes the changes in ``Pulumi.<stack>.yaml``, all or none; False where they were there already.

    Raises ``UserError`` as :func:`edited` does, and when the file cannot be written (it is as it was then).
    """
    path = (root / stack_file(stack)).resolve()
    text = edited(stack, root, changes)
    if text == path.read_text(encoding="utf-8"):
        return False
    try:
        _replace(path, text)
    except OSError as error:
        raise UserError(f"{path.name}: cannot be written: {error.strerror}") from None
    return True


def _replace(path: Path, text: str) -> None:
    """As one step: whoever reads the file sees the old text or the new, and a full disk leaves the old."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, path.stat().st_mode & 0o777)  # noqa: PTH101 (mkstemp's name is a string)
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        raise


def _set(tree: CommentedMap, path: tuple[str, ...], value: str | int, name: str) -> bool:
    node = tree
    for depth, key in enumerate(path[:-1], start=1):
        if node.get(key) is None:
            _opened(node)
            # The innermost mappings (`requests: {cpu: 100m, memory: 128Mi}`) stand in one line, as everywhere here.
            node[key] = _mapping(flow=depth == len(path) - 1)
        node = node[key]
        if not isinstance(node, CommentedMap):
            raise UserError(f"{name}: {dotted(path[:depth])}: found {shown(node)}; allowed: a mapping")
    key = path[-1]
    if key in node and node[key] == value and isinstance(node[key], str) == isinstance(value, str):
        return False
    node[key] = DoubleQuotedScalarString(value) if isinstance(value, str) and _NOT_PLAIN.fullmatch(value) else value
    return True


def _mapping(*, flow: bool) -> CommentedMap:
    made = CommentedMap()
    if flow:
        made.fa.set_flow_style()
    return made


def _opened(node: CommentedMap) -> None:
    """A mapping in one line that gets a mapping of its own is written in lines of their own."""
    if node.fa.flow_style():
        node.fa.set_block_style()


def _loaded(text: str) -> tuple[YAML, CommentedMap]:
    """The tree, and a writer with the file's own way of indenting lists, so that no other line changes."""
    for sequence, offset in ((2, 0), (4, 2), (2, 0)):
        yaml = YAML()
        yaml.preserve_quotes = True
        yaml.explicit_start = text.startswith("---")
        yaml.width = 1 << 16  # lines stay as long as they are
        yaml.indent(mapping=2, sequence=sequence, offset=offset)
        tree = yaml.load(text)
        if tree is None:
            return yaml, CommentedMap()
        if _dumped(yaml, tree) == text:
            break
    return yaml, tree


def _dumped(yaml: YAML, tree: Any) -> str:
    stream = io.StringIO()
    yaml.dump(tree, stream)
    return stream.getvalue()
