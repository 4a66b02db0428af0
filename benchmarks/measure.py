"""How commands are measured, and how parts of docs/performance.md are written.

Wall time is the caller's clock; CPU is user and system time of the process and of all that it waited for; memory is
the largest sum of what the process and its descendants hold at a time, looked at 25 times a second in a run of its own.
Each part says which share of the machine others used meanwhile: what was at work but for the commands themselves.
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
from dataclasses import dataclass, field
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


@dataclass
class Machine:
    """What the machine did while a part was measured."""

    load: float = 0.0
    others: float = 0.0
    _own: float = field(default=0.0, repr=False)

    def __str__(self) -> str:
        return (
            f"Seen with {os.cpu_count()} cores ({_model()}), {psutil.virtual_memory().total / 2**30:.0f} GiB, "
            f"{platform.system()}, Python {platform.python_version()}; load average {self.load:.1f} at the start, and "
            f"{self.others:.0%} of the machine's time went to others meanwhile."
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
    with tempfile.TemporaryFile("w+") as said:
        start = time.perf_counter()
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=said) as process:
            most = _watched(process.pid) if memory else 0
            _, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        last = said.read()[-800:]
    if process.returncode not in allowed:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {process.returncode}: {last}")
    return Taken(wall, used.ru_utime + used.ru_stime, most)


def _watched(pid: int) -> int:
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


@contextmanager
def machine() -> Iterator[Machine]:
    """What the machine does in the block; what the block's own commands and process use is not others'."""
    found = Machine(load=os.getloadavg()[0])
    before, own, start = psutil.cpu_times(), _own(), time.perf_counter()
    yield found
    after = psutil.cpu_times()
    busy = sum(after) - sum(before) - (after.idle - before.idle)
    busy -= getattr(after, "iowait", 0.0) - getattr(before, "iowait", 0.0)
    # Linux counts what guests use twice, and psutil shows both.
    found.others = max(0.0, busy - (_own() - own)) / ((time.perf_counter() - start) * (os.cpu_count() or 1))


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
