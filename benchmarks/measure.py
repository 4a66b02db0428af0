"""How commands are measured, and how parts of docs/performance.md are written.

Wall time is the caller's clock; CPU is user and system time of the process and of all that it waited for; memory is
the largest sum of what the process and its descendants hold at a time, looked at 25 times a second in a run of its own.
Each part says which share of the machine others used while a command ran: what was at work but for the command itself.

On a machine that is not one's own ``CLOUDMART_BENCH_FIRST=1`` (Linux, root) has each command go before everybody else's
work, and waits some seconds after it.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from cloudmart.preview.recorder import HOME

PAGE = HOME / "docs" / "performance.md"
#: Parts of the page, in order.
PARTS = ("preview", "checks", "policy", "deploy", "cold")
_HEAD = """# Performance

Written by `make bench`, or a part of it by `make bench ONLY=part`; do not edit. Each table names its machine, versions,
runs and command; figures are medians, with the smallest and the largest run behind them.
"""


@dataclass(frozen=True)
class Taken:
    """What one run took: seconds of wall time and CPU; largest resident bytes, 0 where it was not looked at."""

    wall: float
    cpu: float
    memory: int = 0


FIRST = bool(os.environ.get("CLOUDMART_BENCH_FIRST"))


@dataclass
class Machine:
    """What the machine did while commands ran: seconds on the clock, and of CPU that others used."""

    load: float = 0.0
    wall: float = 0.0
    used: float = 0.0
    first: bool = False

    def __str__(self) -> str:
        others = self.used / (self.wall * (os.cpu_count() or 1)) if self.wall else 0.0
        return (
            f"Seen with {os.cpu_count()} cores ({_model()}), {psutil.virtual_memory().total / 2**30:.0f} GiB, "
            f"{platform.system()}, Python {platform.python_version()}; load average {self.load:.1f} at the start, and "
            f"{others:.0%} of the machine's time went to others meanwhile."
            + (" Each command went before all other work (real-time scheduling)." if self.first else "")
        )


def run(
    command: Sequence[str | Path],
    *,
    folder: Path = HOME,
    environment: Mapping[str, str] | None = None,
    allowed: Sequence[int] = (0,),
    memory: bool = False,
) -> Taken:
    """Run a command once, its output dropped; what it says in the end stands in the error where it fails."""
    # Whoever looks at the memory must get a turn too; and some have seen to it for themselves.
    mine = FIRST and os.sched_getscheduler(0) == os.SCHED_OTHER
    if mine:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    with tempfile.TemporaryFile("w+") as said, _watched_machine():
        start = time.perf_counter()
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=said) as process:
            most = _held(process.pid) if memory else 0
            _, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        last = said.read()[-800:]
    if mine:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        time.sleep(min(wall, 5))
    if process.returncode not in allowed:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {process.returncode}: {last}")
    return Taken(wall, used.ru_utime + used.ru_stime, most)


def _held(pid: int) -> int:
    most, process = 0, psutil.Process(pid)
    while True:
        held = 0
        with suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE:
                return most
            for each in [process, *process.children(recursive=True)]:
                with suppress(psutil.Error):
                    held += each.memory_info().rss
        most = max(most, held)
        time.sleep(0.04)


_SEEN = Machine()


@contextmanager
def machine(*, whole: bool = False) -> Iterator[Machine]:
    """What the machine does while :func:`run` runs commands in the block; with `whole`, all the time."""
    global _SEEN
    _SEEN = Machine(load=os.getloadavg()[0], first=FIRST and not whole)
    if whole:
        with _watched_machine():
            yield _SEEN
    else:
        yield _SEEN


@contextmanager
def _watched_machine() -> Iterator[None]:
    before, own, start = psutil.cpu_times(), _own(), time.perf_counter()
    yield
    after = psutil.cpu_times()
    # Linux counts a guest's time among the user's as well; waiting is not working.
    idle = sum(getattr(after, kind, 0.0) - getattr(before, kind, 0.0) for kind in ("idle", "iowait", "guest"))
    _SEEN.wall += time.perf_counter() - start
    _SEEN.used += max(0.0, sum(after) - sum(before) - idle - (_own() - own))


def _own() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, smallest and largest: ``1.20 (1.10-1.40)``."""
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def megabytes(value: float) -> str:
    """Bytes as MB."""
    return f"{value / 1e6:.0f} MB"


def write_part(name: str, text: str, page: Path = PAGE) -> None:
    """Put a part of the page in its place; the others stay as they are."""
    found = parts(page.read_text(encoding="utf-8")) if page.is_file() else {}
    found[name] = text.strip()
    bodies = [f"<!-- part: {each} -->\n{found[each]}\n" for each in PARTS if each in found]
    page.write_text("\n".join([_HEAD, *bodies]), encoding="utf-8")


def parts(text: str) -> dict[str, str]:
    """The parts of a page, by name."""
    cut = re.split(r"^<!-- part: (\w+) -->\n", text, flags=re.MULTILINE)
    return {name: body.strip() for name, body in zip(cut[1::2], cut[2::2], strict=True)}


def say(line: str) -> None:
    """Progress, for people."""
    sys.stderr.write(line + "\n")


def _model() -> str:
    with suppress(OSError):
        if found := re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return f"{found[1]}, {platform.machine()}"
    return platform.machine()
