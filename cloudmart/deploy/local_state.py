"""Pulumi's state in this checkout's own files: its passphrase, the lock of a dead run, room on the disk, copies."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cloudmart.deploy.processes import is_over
from cloudmart.errors import UserError

#: Room that a run keeps, in bytes: at least this, and so many times the state. It is saved at each step, with a copy
#: beside it and another while it is replaced, and twice more at the end.
_LEAST_ROOM = 16 * 2**20
_STATES = 8
_SECONDS_BETWEEN_LOOKS = 0.1
#: Longer than it takes another run to write its lock, which until then can be read as little.
_SECONDS_TO_WRITE_A_LOCK = 2.0


@dataclass(frozen=True)
class LocalState:
    """What Pulumi's backend for files keeps of one stack under ``.local/state``."""

    root: Path
    stack: str

    @property
    def folder(self) -> Path:
        """The backend's."""
        return self.root / ".local" / "state"

    def backend(self) -> str:
        """What the CLI is given as ``PULUMI_BACKEND_URL``; the folder is made where it is not there."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        # Beside each file of the state the backend keeps another with its media type, and writes it in place: a run
        # that is killed just then leaves an empty one, and the state cannot be read any more ("EOF").
        return f"{self.folder.as_uri()}?metadata=skip"

    def release_dead(self, progress: Callable[[str], None]) -> None:
        """Releases a lock whose holder, on this machine, is no more: a run that was killed. And what is left of one
        that a full disk refused, which nobody holds."""
        for path in self._locks():
            try:
                since = path.stat().st_mtime
                if not _is_whole(path):
                    wait = since + _SECONDS_TO_WRITE_A_LOCK - time.time()
                    time.sleep(min(max(0.0, wait), _SECONDS_TO_WRITE_A_LOCK))
                    if not _is_whole(path):
                        path.unlink(missing_ok=True)
                    continue
                held = json.loads(path.read_text())
                dead = held["hostname"] == socket.gethostname() and is_over(int(held["pid"]), since)
            except (OSError, ValueError, TypeError, LookupError):
                continue  # Pulumi says what it makes of it
            if dead:
                progress(f"the last run was killed: its lock on stack {self.stack} is released")
                path.unlink(missing_ok=True)

    def put_back(self, progress: Callable[[str], None]) -> bool:
        """Where the state cannot be read, puts the newest copy that can in its place; what was there stays beside it.
        Whether the state is one of before the last run, until :meth:`is_of_now`.

        A disk that is full leaves it so: the backend then puts half a file in the place of the whole one, and may make
        its copy from that. Raises ``UserError`` where no copy is whole either.
        """
        if self._locks():
            return False  # whoever holds it is saving, and tries again
        with writing(self.folder):
            for entry in (self.folder / ".pulumi" / "history").glob(f"*/{self.stack}/*.history.json"):
                # The engine reads the youngest when it has done its work, and would fail then.
                if not _is_whole(entry):
                    entry.replace(_aside(entry))
            for file in self._states():
                if not _is_whole(file):
                    self._put_back(file, progress)
        return any(_aside(file).is_file() for file in self._states())

    def is_of_now(self) -> None:
        """Notes that a refresh has gone through: the state knows again what is live."""
        for file in self._states():
            with writing(file), contextlib.suppress(FileNotFoundError):
                _aside(file).replace(_once_aside(file))

    def _put_back(self, file: Path, progress: Callable[[str], None]) -> None:
        backups = (self.folder / ".pulumi" / "backups").glob(f"{file.parent.name}/{self.stack}/*.json")
        copies = [copy for copy in (file.with_name(f"{file.name}.bak"), *backups) if copy.is_file()]
        whole = [copy for copy in copies if _is_whole(copy)]
        if copies and not whole:
            raise UserError(
                f"{file}: found a state that is cut off, as a full disk leaves it, and no copy that is whole; "
                "allowed: JSON as Pulumi writes it. Put a copy of your own there; without any, move it away: the next "
                "up then takes over what is live, with new passwords, as a rotation does"
            )
        # A link first, then one step: whatever stops this, there is a state, and another run may do the same.
        kept = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
        os.link(file, kept)
        if _is_whole(kept):
            kept.unlink()
            return  # put back by another run meanwhile
        # Without a copy it was to be the first state, before anything was made: nothing is missing then.
        kept.replace(_aside(file) if copies else _once_aside(file))
        # Where another run has linked the same file, the rename did nothing: both names were of one file.
        kept.unlink(missing_ok=True)
        if not copies:
            file.unlink(missing_ok=True)
            return
        newest = max(whole, key=lambda copy: copy.stat().st_mtime)
        shutil.copyfile(newest, kept)
        kept.replace(file)
        when = datetime.fromtimestamp(newest.stat().st_mtime, UTC)
        progress(
            f"the state of stack {self.stack} is cut off, as a full disk leaves it: put back as of "
            f"{when:%Y-%m-%d %H:%M:%S} UTC, from {newest.relative_to(self.root)}"
        )

    @contextlib.contextmanager
    def room(self) -> Iterator[None]:
        """Keeps room for the state while the engine runs, and gives it to the engine when the disk fills up otherwise.

        Raises ``UserError`` where there is none.
        """
        folder = self.folder
        size = max((file.stat().st_size for file in self._states()), default=0)
        size = max(_LEAST_ROOM, _STATES * size)
        over = threading.Event()
        # What no file system can make smaller.
        part = os.urandom(2**20)
        with contextlib.ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                # Without a name: it goes with this process, whatever ends that.
                reserve = stack.enter_context(tempfile.TemporaryFile(dir=folder, buffering=0))
                while (missing := size - reserve.tell()) > 0:
                    reserve.write(part[:missing])
            except OSError as error:
                raise UserError(self._no_room(size, str(error.strerror))) from None
            if _free(folder) < size // 2:
                raise UserError(self._no_room(size, os.strerror(errno.ENOSPC)))

            def give_up_when_full() -> None:
                while not over.wait(_SECONDS_BETWEEN_LOOKS):
                    if _free(folder) < size // 4:
                        reserve.truncate(0)
                        return

            # One that ends with the process, should that be stopped on its way to the end of this.
            watcher = threading.Thread(target=give_up_when_full, daemon=True)
            try:
                watcher.start()
                yield
            finally:
                over.set()
                watcher.join()

    def _no_room(self, size: int, why: str) -> str:
        return (
            f"{self.folder}: found no room for {size * 3 / 2 / 2**20:.0f} MiB ({why}); allowed: that much, or a full "
            "disk could leave a state that nobody can read. The engine was not started"
        )

    def _states(self) -> list[Path]:
        return list((self.folder / ".pulumi" / "stacks").glob(f"*/{self.stack}.json"))

    def _locks(self) -> list[Path]:
        # Also one that was never finished (`.tmp`): the engine reads whatever is there.
        return list((self.folder / ".pulumi" / "locks").glob(f"*/*/{self.stack}/*"))


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Makes an ``OSError`` inside, of a disk that is full or a folder of somebody else, one that people see."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); what Pulumi needs goes there") from None


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _aside(file: Path) -> Path:
    return file.with_name(f"{file.name}.cut-off")


def _once_aside(file: Path) -> Path:
    return file.with_name(f"{file.name}.once-cut-off")


def _is_whole(file: Path) -> bool:
    try:
        json.loads(file.read_bytes())
    except FileNotFoundError:
        return True  # taken away meanwhile, so nobody reads it any more
    except ValueError:
        return False
    return True


def passphrase_file(root: Path) -> Path:
    """The file with the passphrase that encrypts local state: made once, for its owner alone, never printed."""
    path = root / ".local" / "passphrase"
    with writing(path), contextlib.suppress(FileExistsError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A killed run must not leave half a passphrase: written aside, then linked into place whole.
        partial = path.with_name(f".passphrase.{os.getpid()}")
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32))
            os.link(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    return path
