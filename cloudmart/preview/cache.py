"""Answers that ``cloudmart preview`` gave before, found again by everything that they depend on.

What is in doubt is an input: the content of every file of the project, not only of those that the program reads. What
no hash can see, such as a program that asks the network or the clock, is what ``--no-cache`` is for.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Entries that are kept. One of prod with all formats has 0.1 MB.
MOST = 64
#: Part of every key: made anew when what an entry holds changes.
_LAYOUT = "1"
#: Folders that are made from the rest, or that belong to tools.
_MADE = frozenset({"__pycache__", "build", "node_modules"})
#: What Pulumi, Helm, Rich and this package read of the environment.
_VARIABLES = ("CLOUDMART_", "COLUMNS", "FORCE_COLOR", "HELM_", "NO_COLOR", "PULUMI_", "PYTHON", "TERM", "TTY_")
_CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Answer:
    """What a preview printed or wrote: a text for each format that it was asked for, and its exit status."""

    exit_code: int
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A place for one answer, there or not yet."""

    file: Path

    def get(self) -> Answer | None:
        """The answer; ``None`` where there is none, or one that is damaged."""
        try:
            found = json.loads(gzip.decompress(self.file.read_bytes()))
            answer = Answer(int(found["exit_code"]), tuple(str(text) for text in found["texts"]))
            os.utime(self.file)
        except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error):
            return None
        return answer

    def put(self, answer: Answer) -> None:
        """Keep an answer. A folder that cannot be written, or is full, keeps nothing: that is no error of a preview."""
        folder = self.file.parent
        data = gzip.compress(json.dumps({"exit_code": answer.exit_code, "texts": answer.texts}).encode(), 1)
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Whole or not at all, and for this user alone.
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as out:
                written = Path(out.name)
                try:
                    out.write(data)
                    out.flush()
                    written.replace(self.file)
                finally:
                    written.unlink(missing_ok=True)
            kept = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
            for old in kept[MOST:]:
                old.unlink(missing_ok=True)


def entry(
    stack: str,
    root: Path,
    *,
    formats: Sequence[str],
    room: int,
    policy_config: Path | None,
    base: str | None,
    definitions: Path,
    folder: Path,
) -> Entry | None:
    """Where the answer to a preview with these options is, in `folder`; ``None`` where it cannot be known.

    `definitions` is the folder with the custom resource definitions. A `base` counts as the commit that it is now.
    """
    if os.environ.get("PYTHONPATH"):
        return None  # code from anywhere
    commit = None
    if base is not None and (commit := _commit(base, root)) is None:
        return None
    try:
        facts = {
            "layout": _LAYOUT,
            "options": [stack, str(root), *formats, str(room), base, commit],
            "policy config": policy_config and [str(policy_config), _digest([policy_config])],
            "python": [sys.version, *sorted(path.name for path in Path(sysconfig.get_path("purelib")).iterdir())],
            "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith(_VARIABLES)},
            "helm": _helm(),
            "definitions": _digest(_files(definitions)),
            "program": [_digest(_files(part)) for part in _programs(root)],
        }
    except OSError:
        return None
    return Entry(folder / hashlib.sha256(json.dumps(facts).encode()).hexdigest())


def _programs(root: Path) -> list[Path]:
    """The project, and the code of this package where it is not part of it."""
    if root == _CHECKOUT:
        return [root]
    if (_CHECKOUT / "pyproject.toml").is_file():
        return [root, _CHECKOUT]
    return [root, *(_CHECKOUT / name for name in ("cloudmart", "components"))]


def _files(folder: Path) -> Iterable[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _MADE)
        if linked := [name for name in folders if Path(where, name).is_symlink()]:
            raise OSError(f"{Path(where, linked[0])} leads elsewhere")
        yield from (Path(where, name) for name in sorted(files))


def _digest(files: Iterable[Path]) -> str:
    """Of names and contents, each with its length, so that nothing can pass from one to the other."""
    found = hashlib.sha256()
    for file in files:
        data = file.read_bytes() if file.is_file() else b""
        found.update(f"{file}\0{len(data)}\0".encode(errors="surrogateescape"))
        found.update(data)
    return found.hexdigest()


def _helm() -> list[object]:
    """The charts that prices are made of: Helm, and what it has downloaded."""
    program = shutil.which("helm")
    if program is None:
        return []
    home = os.environ.get("HELM_CACHE_HOME")
    cache = Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "helm"
    return [_stamp(Path(program)), *(_stamp(file) for file in sorted(cache.glob("repository/*.tgz")))]


def _stamp(file: Path) -> list[object]:
    stat = file.stat()
    return [str(file), stat.st_size, stat.st_mtime_ns]


def _commit(ref: str, root: Path) -> str | None:
    command = ["git", "-C", str(root), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
