"""Changes a stack's file or the catalog the way a careful person would: comments, order and everything else stay."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import tempfile
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from cloudmart.errors import UserError
from cloudmart.settings.load import CATALOG, PREFIX, load, stack_file, stacks
from cloudmart.settings.source import dotted, read, shown

Change = tuple[tuple[str, ...], str | int]
"""A key path without Pulumi's prefix, such as ``("services", "user-service", "autoscaling", "cpu")``, and its value."""

#: Text that YAML, of one version or another, would read as something else.
NOT_PLAIN = re.compile(
    r"[0-9_:.etz+ -]*|0[box][0-9a-f_]+|[+-]?\.(inf|nan)|y|n|yes|no|on|off|true|false|null|~", re.IGNORECASE
)


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
    node[key] = DoubleQuotedScalarString(value) if isinstance(value, str) and NOT_PLAIN.fullmatch(value) else value
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


def with_service(root: Path, name: str, service: Mapping[str, Any]) -> str:
    """The text of ``catalog.yaml`` under `root` with a service after the others; the file is left alone.

    Everything else stays as it is written. Raises ``UserError`` when the file is no such YAML, has the service already,
    or when any stack under `root` would not load with it.
    """
    old = read(root / CATALOG, CATALOG)
    services = old.data.get("services")
    if not isinstance(services, dict) or not services:
        raise UserError(f"{CATALOG}: services: found {shown(services)}; allowed: a mapping with a service in it")
    if name in services:
        line = old.lines[("services", name)]
        raise UserError(f"{CATALOG}:{line}: services.{name}: found a service of this name; allowed: a new name")
    text = (root / CATALOG).read_text(encoding="utf-8")
    try:
        yaml, tree = _loaded(text)
    except YAMLError as error:
        raise UserError(f"{CATALOG}: not valid YAML: {str(error).splitlines()[0]}") from None
    if tree["services"].fa.flow_style():
        raise UserError(
            f"{CATALOG}: services: found a mapping in one line; allowed: a service a line and its keys below"
        )
    entry = textwrap.indent(_dumped(yaml, {_written(name): _written(service)}), " " * tree["services"].lc.col)
    lines = text.splitlines(keepends=True)
    end = min((line for key in tree if (line := tree.lc.key(key)[0]) > tree.lc.key("services")[0]), default=len(lines))
    # What stands before the next key without indentation, empty lines and comments, is that key's.
    while not lines[end - 1].strip() or lines[end - 1].startswith("#"):
        end -= 1
    before = "".join(lines[:end])
    gap = "" if before.endswith("\n") else "\n"
    new = f"{before}{gap}\n{entry}{''.join(lines[end:])}"
    with tempfile.TemporaryDirectory() as folder:
        _check(root, Path(folder), new, {**old.data, "services": {**services, name: service}})
    return new


def service_text(name: str, service: Mapping[str, Any]) -> str:
    """A service as people write it, for a catalog that has none yet."""
    yaml, _ = _loaded("")
    return _dumped(yaml, {_written(name): _written(service)})


def add_service(root: Path, name: str, service: Mapping[str, Any]) -> None:
    """Adds a service to ``catalog.yaml``, or raises ``UserError`` as :func:`with_service` does, or when the file cannot
    be written; it is as it was then."""
    path = (root / CATALOG).resolve()
    text = with_service(root, name, service)
    try:
        _replace(path, text)
    except OSError as error:
        raise UserError(f"{CATALOG}: cannot be written: {error.strerror}") from None


def _check(root: Path, copy: Path, text: str, meant: Mapping[str, Any]) -> None:
    """That a catalog says what is meant and every stack loads with it, tried on copies of the files."""
    (copy / CATALOG).write_text(text, encoding="utf-8")
    if read(copy / CATALOG, CATALOG).data != meant:
        raise UserError(f"{CATALOG}: found a form that a service cannot be added to; allowed: to write it in by hand")
    (copy / "policy").mkdir()
    if (root / "policy" / "config").is_dir():
        shutil.copytree(root / "policy" / "config", copy / "policy" / "config")
    for stack in stacks(root):
        shutil.copy(root / stack_file(stack), copy / stack_file(stack))
    for stack in stacks(root):
        load(stack, copy)


def _written(value: Any, depth: int = 0) -> Any:
    """A service's tree as people write it here: its own keys and those of its resources in lines, all below in one."""
    if isinstance(value, Mapping):
        made = _mapping(flow=depth > 0 and not any(isinstance(item, Mapping) for item in value.values()))
        made.update({key: _written(item, depth + 1) for key, item in value.items()})
        return made
    if isinstance(value, list):
        sequence = CommentedSeq(_written(item, depth + 1) for item in value)
        sequence.fa.set_flow_style()
        return sequence
    return DoubleQuotedScalarString(value) if isinstance(value, str) and NOT_PLAIN.fullmatch(value) else value
