"""From a fresh clone to the first preview, the first cluster and green tests, and what each second is spent on.

The clone stands in ``.local/bench/cold``, with caches of its own for pip, Go and this project, all empty: a machine
that has Python, git, make and nothing of ours. Phases are told by the lines that the commands print. One run: a second
one would be a warm one.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measure import FIRST, machine, say, write_part
from cloudmart.cluster.local import LocalCluster
from cloudmart.preview.recorder import HOME

FOLDER = HOME / ".local" / "bench" / "cold"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command; ``phases`` are titles by the pattern of the line that begins each, the first one begins with it."""

    title: str
    command: Sequence[str]
    phases: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A step's phases in order, each with its seconds."""

    step: Step
    phases: Sequence[tuple[str, float]]

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self.phases)


_UP = {
    "": "make and Python start, the program's settings",
    "making the local cluster": "the cluster starts",
    r"building kwokctl": "kwokctl is fetched and built",
    r"building etcd|no official releases": "Kubernetes, etcd and kwok are fetched and built",
    r"building metrics-server": "metrics-server is built",
    r"built metrics-server": "the cluster starts",
    r"left out": "the program runs, and objects are put in order",
    r"kinds of|definitions": "definitions of custom kinds are fetched and installed",
    r"^created": "objects are applied",
    r"\d+ created, ": "every workload becomes Available",
    r"^ service ": "the table is shown",
}
_FIRST_UP = "`make up`, nothing of the cluster on the machine"
_NEXT_UP = "`make up`, the cluster's programs there, from another clone"
STEPS = (
    Step(
        title="clone",
        command=["git", "clone", "--quiet", "--no-hardlinks", str(HOME), str(FOLDER / "clone")],
        phases={},
    ),
    Step(
        title="`make setup`",
        command=["make", "setup"],
        phases={
            "": "`python -m venv`",
            "^Collecting|Downloading": "packages are downloaded and their hashes checked",
            "^Installing collected": "packages are unpacked into `.venv/`",
            "^Successfully installed": "the project itself is installed",
        },
    ),
    Step(title="`make preview STACK=dev`, the first", command=["make", "preview", "STACK=dev"], phases={}),
    Step(title="`make preview STACK=dev`, the second", command=["make", "preview", "STACK=dev"], phases={}),
    Step(title=_FIRST_UP, command=["make", "up"], phases=_UP),
    Step(title=_NEXT_UP, command=["make", "up"], phases=_UP),
    Step(
        title="`make test`",
        command=["make", "test"],
        phases={"": "collecting, on every core", r"\[ *\d+%\]": "tests"},
    ),
)


def measured(built: bool) -> list[Seen]:
    cluster = LocalCluster(FOLDER / "clone")
    if cluster.directory.exists():
        cluster.delete()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    caches = {"PIP_CACHE_DIR": "pip", "HYPOTHESIS_STORAGE_DIRECTORY": "hypothesis"}
    if not built:
        caches |= {"XDG_CACHE_HOME": "user", "GOCACHE": "go-build", "GOMODCACHE": "go-mod"}
    environment = dict(os.environ) | {name: str(FOLDER / folder) for name, folder in caches.items()}
    found = []
    try:
        for step in STEPS:
            if step.title == _FIRST_UP and built:
                continue
            if step.title == _NEXT_UP:
                cluster.delete()
            found.append(_step(step, environment))
            say(f"{step.title}: {found[-1].seconds:.1f} s")
    finally:
        cluster.delete()
        subprocess.run(["chmod", "-R", "u+w", str(FOLDER)], check=False)  # Go's modules are read-only
        shutil.rmtree(FOLDER, ignore_errors=True)
    return found


def _step(step: Step, environment: Mapping[str, str]) -> Seen:
    folder = FOLDER if step.title == "clone" else FOLDER / "clone"
    now, title = time.perf_counter(), step.phases.get("", "all of it")
    phases: list[tuple[str, float]] = []
    last: list[str] = []
    with subprocess.Popen(
        [*(["chrt", "--rr", "1"] if FIRST else []), *step.command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    ) as process:
        for line in process.stdout or ():
            last = [*last[-20:], line]
            for pattern, begins in step.phases.items():
                if pattern and begins != title and re.search(pattern, line):
                    phases.append((title, time.perf_counter() - now))
                    now, title = time.perf_counter(), begins
                    break
    phases.append((title, time.perf_counter() - now))
    if FIRST:
        time.sleep(sum(seconds for _, seconds in phases))
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(step.command)} ended with {process.returncode}:\n{''.join(last)}")
    return Seen(step=step, phases=phases)


def page(found: Sequence[Seen], seen: str, built: bool) -> str:
    at = {one.step.title: one.seconds for one in found}
    prepared = at["clone"] + at["`make setup`"]
    first = "`make preview STACK=dev`, the first"
    lines = [
        "## Cold start",
        "",
        "A fresh clone on a machine that has Python, git and make; caches are empty"
        + (", but that the cluster's programs are there: building" if built else "."),
        *(["them takes minutes, once a machine ([local cluster](local-cluster.md))."] if built else []),
        "",
        seen,
        f"One run. `python -m benchmarks.cold{' --built' if built else ''}`",
        "",
        "| from the clone to | s |",
        "| --- | ---: |",
        f"| the first preview (clone, setup, preview) | {prepared + at[first]:.0f} |",
        f"| the shop on a cluster (clone, setup, up) | {prepared + at[_NEXT_UP if built else _FIRST_UP]:.0f} |",
        f"| green tests (clone, setup, test) | {prepared + at['`make test`']:.0f} |",
        "",
        "| step | what it is spent on | s |",
        "| --- | --- | ---: |",
    ]
    for one in found:
        lines.append(f"| **{one.step.title}** | | **{one.seconds:.1f}** |")
        if len(one.phases) > 1:
            lines += [f"| | {title} | {seconds:.1f} |" for title, seconds in one.phases]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--built", action="store_true", help="the cluster's programs are there; leaves out their build")
    built = parser.parse_args().built
    with machine(whole=True) as seen:
        found = measured(built)
    write_part("cold", page(found, str(seen), built))


if __name__ == "__main__":
    main()
