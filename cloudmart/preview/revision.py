"""Another revision of the project, recorded beside this one: a work tree of git in ``.local/``, a process of its own.

The revision's own program runs, with its own ``components``, ``cloudmart`` and settings. The process keeps its modules
apart from this one's and runs while this one records.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from cloudmart.errors import UserError, meant
from cloudmart.preview.recorder import Recording, record
from cloudmart.settings import stack_file, stacks

_SECONDS = 120


@dataclass(frozen=True)
class Revision:
    """A revision that is checked out."""

    #: As it was asked for, and its commit, shortened.
    ref: str
    commit: str
    #: The project's folder in it.
    root: Path

    @property
    def title(self) -> str:
        return self.ref if self.commit.startswith(self.ref) else f"{self.ref} ({self.commit})"


@contextlib.contextmanager
def checked_out(ref: str, root: Path) -> Iterator[Revision]:
    """The project in `root` as of `ref`, for as long as the context lasts.

    Raises :class:`UserError` where there is no git, no repository, no such revision, or no project in it.
    """
    top = Path(_git(root, "rev-parse", "--show-toplevel", failing=f"--base {ref}: the project is in no git repository"))
    commit = _git(
        top,
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        f"{ref}^{{commit}}",
        failing=f"--base: found {ref!r}, which git does not know; allowed: a branch, tag or commit of this repository",
    )
    local = root / ".local"
    local.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="base-", dir=local) as folder:
        tree = Path(folder) / "tree"
        # No hooks: whatever this repository runs after a checkout is not meant for a look at the past.
        _git(
            top,
            "-c",
            f"core.hooksPath={os.devnull}",
            "worktree",
            "add",
            "--detach",
            "--force",
            str(tree),
            commit,
            failing=f"--base {ref}: git cannot check it out",
        )
        try:
            yield Revision(ref, commit[:12], tree / root.relative_to(top))
        finally:
            shutil.rmtree(tree, ignore_errors=True)
            _git(top, "worktree", "prune", failing=f"--base {ref}: git cannot forget its work tree")


@contextlib.contextmanager
def recording(ref: str, stack: str, root: Path) -> Iterator[Callable[[], tuple[Revision, Recording]]]:
    """Start to record `stack` as of `ref`; the function that is given waits for it.

    It raises :class:`UserError` where that revision has no such stack, or its program fails.
    """
    with checked_out(ref, root) as revision:
        if not (revision.root / stack_file(stack)).is_file():
            known = stacks(revision.root)
            raise UserError(
                f"--base {ref}: found no stack {stack!r}{meant(stack, known)} in {revision.title}; allowed: a revision "
                f"that has it. Stacks there: {', '.join(known) or 'none'}"
            )
        # Spawned, not forked: the SDK's threads do not survive a fork. Started by hand, not by a pool, whose threads
        # would look up our modules while recording this project has put others in their place.
        context = multiprocessing.get_context("spawn")
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=_send, args=(sending, stack, revision.root), daemon=True)
        process.start()
        sending.close()

        def wait() -> tuple[Revision, Recording]:
            try:
                found = receiving.recv()
            except EOFError:
                found = UserError("the process that records it ended without an answer")
            if isinstance(found, UserError):
                raise UserError(f"--base {ref}: {revision.title} does not load: {found}") from found
            return revision, found

        try:
            yield wait
        finally:
            receiving.close()
            process.terminate()
            process.join()


def _send(sending: Connection, stack: str, root: Path) -> None:
    """Record, and send the recording or why there is none. Anything else ends the process with a traceback."""
    try:
        found: Recording | UserError = record(stack, root)
    except UserError as error:
        found = error
    sending.send(found)


def _git(where: Path, *arguments: str, failing: str) -> str:
    # Without these, git would look at the repository of whoever calls us from a hook.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(where), *arguments],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            env=environment,
            check=False,
        )
    except FileNotFoundError:
        raise UserError(f"{failing}: git is not on PATH") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{failing}: it took more than {_SECONDS} s") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise UserError(failing + (f" ({said[-1].removeprefix('fatal: ')})" if said else ""))
    return done.stdout.strip()
