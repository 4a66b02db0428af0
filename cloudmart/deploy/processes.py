"""Who holds a lock, told so that a later run on the same machine finds out whether it is still there."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import signal
import socket
import uuid
from pathlib import Path

import psutil

#: When a process began is told by another clock than when something was written; they differ by less (seconds).
_CLOCK_MARGIN = 60.0


def who() -> str:
    """``user@host`` of this process, for people."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a number without a name, in a container
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def machine() -> str:
    """A digest of where numbers of processes mean the same as here: this machine since it was started, and no container
    with numbers of its own."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    if len(parts) == 1:
        parts.append(str(uuid.getnode()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def is_over(pid: int, since: float) -> bool:
    """Whether the process that had this number at that time, in seconds of the epoch, has ended.

    One that was killed stays listed until its parent asks after it, and its number may be another's by now.
    """
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE or process.create_time() > since + _CLOCK_MARGIN
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def interrupt_children() -> None:
    """Sends them SIGINT, as a terminal does to all that run in it: the engine ends what it has begun and unlocks its
    state."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            child.send_signal(signal.SIGINT)
