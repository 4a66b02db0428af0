"""Runs hostile cases, each in a child of its own: how it ended, how long it took, what it wrote and where.

``python -m tests.hostile.run --seed 1 --count 500`` prints a line for each case that is not as it should be, and JSON
of all of them with ``--json``.
"""

from __future__ import annotations

import argparse
import csv
import faulthandler
import gzip
import io
import json
import os
import re
import resource
import shutil
import signal
import stat
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import psutil

from tests.hostile.cases import OUT, PROJECT, URL, Case, Special, cases
from tests.hostile.payloads import OUTSIDE
from tests.hostile.server import serving

ROOT = Path(__file__).resolve().parents[2]
#: Seconds of computing, and on the clock, that a case may take; MiB that it may add to what is loaded anyway.
COMPUTING, CLOCK, MEMORY = 5.0, 10.0, 300.0
_KILLED = -99
#: Characters that steer a terminal, turn the direction of text or are no text at all.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass
class Outcome:
    """What a case came to; it is as it should be where there are no problems."""

    name: str
    problems: list[str] = field(default_factory=list)
    code: int = 0
    said: str = ""
    clock: float = 0
    computing: float = 0
    memory: float = 0


def run(chosen: list[Case], jobs: int = 2) -> Iterator[Outcome]:
    """Runs the cases in `jobs` processes."""
    with ExitStack() as opened:
        base = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="hostile-"))).resolve()
        hits = base / "followed"
        url = opened.enter_context(serving(hits))
        _prepare(base)
        _load()
        reading, writing = os.pipe()
        children = []
        for index in range(jobs):
            if (pid := os.fork()) == 0:
                os.close(reading)
                with os.fdopen(writing, "w") as out:
                    for case in chosen[index::jobs]:
                        outcome = _judged(case, base / str(index), url, hits)
                        out.write(json.dumps(asdict(outcome)) + "\n")
                        out.flush()
                os._exit(0)
            children.append(pid)
        os.close(writing)
        with os.fdopen(reading) as lines:
            for line in lines:
                yield Outcome(**json.loads(line))
        for pid in children:
            os.waitpid(pid, 0)


def _prepare(base: Path) -> None:
    """The project as every case finds it, and a kubectl that answers what the case says."""
    template = base / "template"
    (template / "policy").mkdir(parents=True)
    for name in ("Pulumi.yaml", "catalog.yaml", "__main__.py", "Pulumi.dev.yaml", "Pulumi.prod.yaml"):
        shutil.copy(ROOT / name, template)
    shutil.copytree(ROOT / "policy/config", template / "policy/config")
    (template / ".venv").symlink_to(ROOT / ".venv")
    for name, script in _KUBECTLS.items():
        folder = base / "kubectl" / name
        folder.mkdir(parents=True)
        (folder / "kubectl").write_text(
            f'#!/bin/sh\ncase "$*" in version*) echo "Client Version: v1.36.2"; exit 0;; '
            f"*get-contexts*) echo x; exit 0;; esac\n{script}\n"
        )
        (folder / "kubectl").chmod(0o755)
    if (real := _kubectl()) is not None:
        (base / "kubectl" / "real").mkdir()
        (base / "kubectl" / "real" / "kubectl").symlink_to(real)


def _kubectl() -> str | None:
    """The one that the local cluster is driven with, or PATH's."""
    from cloudmart.cluster import toolchain

    built = toolchain.cache_directory() / "tools" / toolchain.identity() / "bin" / "kubectl"
    return str(built) if built.is_file() else shutil.which("kubectl")


_KUBECTLS = {
    "plain": "cat answer",
    "endless": "cat /dev/zero",
    "endless-error": "cat /dev/zero >&2",
    "escape-error": "printf 'error: \\033[2J\\302\\233\\342\\200\\256 no\\n' >&2; exit 1",
    "invalid-error": "printf 'error: \\377\\376\\n' >&2; exit 1",
    "fails": "exit 77",
    "killed": "kill -9 $$",
}


def _load() -> None:
    """Everything that the commands import, once, so that a child starts with it."""
    import cloudmart.cli
    import cloudmart.cluster.charts
    import cloudmart.cluster.crds
    import cloudmart.cluster.load
    import cloudmart.finops.cost_report
    import cloudmart.finops.forecast
    import cloudmart.finops.prometheus
    import cloudmart.preview.report
    import cloudmart.preview.rightsizing
    import cloudmart.report.gather
    import cloudmart.report.graph
    import cloudmart.report.html
    import cloudmart.report.markdown  # noqa: F401
    import components.platform  # noqa: F401
    import tests.hostile.calls  # noqa: F401


# --- one case --------------------------------------------------------------------------------------------------------


def _judged(case: Case, folder: Path, url: str, hits: Path) -> Outcome:
    shutil.rmtree(folder, ignore_errors=True)
    project, outside, work, out = (folder / name for name in ("project", "outside", "work", "work/out"))
    shutil.copytree(folder.parent / "template", project, symlinks=True)
    for one in (outside / "folder", out, folder / "home"):
        one.mkdir(parents=True)
    (outside / "secret").write_text("name: a secret\n")
    (outside / "secret.yaml").write_text("name: a secret\n")
    (outside / "marker.json").write_text('{"files": []}')
    texts = {OUTSIDE: str(outside), PROJECT: str(project), OUT: str(out), URL: url}

    def filled(text: str) -> str:
        for key, value in texts.items():
            text = text.replace(key, value)
        return text

    for name, content in case.files.items():
        _place(folder if name.startswith("project/") else work, name, content, filled, outside)
    argv = [filled(word) for word in case.argv]
    before = _tree(folder, out)
    hits.unlink(missing_ok=True)
    outcome = _ended(case, argv, folder, work)
    problems = outcome.problems
    after = _tree(folder, out)
    changed = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    changed = [path for path in changed if not path.startswith(("stdout", "stderr", "project/.local"))]
    if changed:
        problems.append(f"wrote outside: {', '.join(changed)[:300]}")
    if hits.exists():
        problems.append("followed a redirect to another server")
    stdout = (folder / "stdout").read_bytes()
    stderr = (folder / "stderr").read_bytes().decode("utf-8", "surrogateescape")
    outcome.said = stderr[:400]
    if outcome.code == _KILLED:
        problems.append(f"still running after {CLOCK:.0f} s: {' '.join(stderr[-1500:].split())}")
    elif outcome.code not in (0, 1, 2):
        problems.append(f"ended with {outcome.code}: {' '.join(stderr[-300:].split())}")
    if outcome.computing > COMPUTING:
        problems.append(f"{outcome.computing:.1f} s of computing")
    if outcome.memory > MEMORY:
        problems.append(f"{outcome.memory:.0f} MiB")
    if "Traceback" in stderr:
        problems.append("a traceback")
    if case.refused is True and outcome.code in (0, 1):
        problems.append(f"accepted with {outcome.code}")
    if case.refused is False and outcome.code == 2:
        problems.append(f"refused: {stderr[:200]}")
    format_ = argv[argv.index("--format") + 1] if "--format" in argv else "text"
    if outcome.code == 2:
        problems += _error(stderr, stdout, [filled(name) for name in case.names], format_)
    elif outcome.code in (0, 1) and not case.call:
        written = [one for one in sorted(out.rglob("*")) if one.is_file() and one.suffix in (".svg", ".html", ".md")]
        for content in (stdout, *(one.read_bytes() for one in written)):
            problems += _output(content, format_)
        if unfit := _UNFIT.search(stderr):
            problems.append(f"{unfit[0]!r} on stderr")
    return outcome


def _place(folder: Path, name: str, content: bytes | Special, filled, outside: Path) -> None:  # type: ignore[no-untyped-def]
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() or path.is_symlink():
        path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content.replace(OUTSIDE.encode(), str(outside).encode()))
    elif content.kind == "bomb":
        _bomb(path)
    elif content.kind == "fifo":
        os.mkfifo(path)
    elif content.kind == "folder":
        path.mkdir()
    elif content.kind == "link":
        path.symlink_to(filled(content.target))


def _bomb(path: Path) -> None:
    member = tarfile.TarInfo("kubecost/Chart.yaml")
    member.size = 350 << 20
    blanks = b" " * (1 << 20)
    with gzip.open(path, "wb", compresslevel=1) as archive:
        archive.write(member.tobuf())
        for _ in range(350):
            archive.write(blanks)


def _tree(folder: Path, allowed: Path) -> dict[str, tuple[object, ...]]:
    """Every path but those in `allowed`, with what would change when it is written to."""
    found: dict[str, tuple[object, ...]] = {}
    for parent, folders, files in os.walk(folder):
        if Path(parent) == allowed:
            folders.clear()
            continue
        for name in (*folders, *files):
            path = Path(parent) / name
            about = path.lstat()
            size = about.st_size if stat.S_ISREG(about.st_mode) else None
            moment = about.st_mtime_ns if stat.S_ISREG(about.st_mode) else None
            found[str(path.relative_to(folder))] = (stat.S_IFMT(about.st_mode), size, moment, about.st_ino)
    return found


def _ended(case: Case, argv: list[str], folder: Path, work: Path) -> Outcome:
    started = time.monotonic()
    # So that nothing of ours is printed twice.
    sys.stdout.flush()
    loaded = psutil.Process().memory_info().rss
    pid = os.fork()
    if pid == 0:
        _child(case, argv, folder, work)
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() - started > CLOCK:
            os.killpg(pid, signal.SIGKILL)
            _, _, usage = os.wait4(pid, 0)
            return Outcome(case.name, code=_KILLED, clock=time.monotonic() - started)
        time.sleep(0.002)
    return Outcome(
        case.name,
        code=os.waitstatus_to_exitcode(status),
        clock=time.monotonic() - started,
        computing=usage.ru_utime + usage.ru_stime,
        memory=max(usage.ru_maxrss * 1024 - loaded, 0) / (1 << 20),
    )


def _child(case: Case, argv: list[str], folder: Path, work: Path) -> None:
    code = 98
    try:
        os.setsid()
        # A guard for this machine, far above what is allowed.
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
        # Where it hangs, if it does.
        faulthandler.dump_traceback_later(CLOCK - 0.5, file=sys.stderr)
        os.chdir(work)
        for name in ("HOME", "XDG_CACHE_HOME"):
            os.environ[name] = str(folder / "home")
        os.environ.pop("CLOUDMART_COST_URL", None)
        os.environ["NO_PROXY"] = "*"
        os.environ["KUBECONFIG"] = str(work / "kubeconfig")
        if kind := case.environment.get("KUBECTL"):
            os.environ["PATH"] = f"{folder.parent / 'kubectl' / kind}:{os.environ['PATH']}"
        sys.argv = ["cloudmart", *argv]
        code = _called(case, argv)
    except BaseException:  # noqa: BLE001 (whatever it is, it is a finding)
        traceback.print_exc()
        code = 99
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _called(case: Case, argv: list[str]) -> int:
    from cloudmart.cli import main
    from cloudmart.errors import UserError, message

    if case.call:
        from tests.hostile import calls

        try:
            getattr(calls, case.call)(*argv)
        except UserError as error:
            print(message(f"error: {error}"), file=sys.stderr)  # noqa: T201
            return error.exit_code
        return 0
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


# --- what was said ---------------------------------------------------------------------------------------------------


def _error(stderr: str, stdout: bytes, names: list[str], format_: str) -> Iterator[str]:
    if stdout.strip() and format_ in ("markdown", "json"):
        yield from _output(stdout, format_)  # the same, for a pull request or a program
    elif stdout.strip():
        yield f"an error, and {len(stdout)} bytes on stdout"
    lines = stderr.rstrip("\n").split("\n")
    if not any(line.startswith(("error: ", "Error: ")) for line in lines):
        yield f"no error is said: {stderr[:200]!r}"
    if names and not any(name in stderr for name in names):
        yield f"names none of {names}: {stderr[:300]!r}"
    for line in lines:
        if unfit := _UNFIT.search(line):
            yield f"{unfit[0]!r} in the error {line[:200]!r}"
        if len(line) > 2000:
            yield f"an error of {len(line)} characters: {line[:200]!r}"
    if len(lines) > 120:
        yield f"an error of {len(lines)} lines"


def _output(content: bytes, format_: str) -> Iterator[str]:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        yield f"output that is no UTF-8: {error}"
        return
    if unfit := _UNFIT.search(text):
        yield f"{unfit[0]!r} in the output: {text[max(0, unfit.start() - 60) : unfit.end() + 20]!r}"
    if not text.strip():
        return
    if text.startswith("<svg"):
        format_ = "svg"
    if format_ == "json":
        try:
            json.loads(text, parse_constant=_no_constant)
        except ValueError as error:
            yield f"JSON that is none: {error}"
    elif format_ in ("html", "svg"):
        yield from _markup(text)
        if format_ == "svg":
            try:
                ElementTree.fromstring(text)  # noqa: S314 (our own output)
            except ElementTree.ParseError as error:
                yield f"SVG that is none: {error}"
    elif format_ == "markdown":
        plain = re.sub(r"(?ms)^(`{3,})\w*\n.*?^\1$|\A<!-- [\w ]+ -->$", "", text)
        for pattern in (
            r"(?<!\\)<(?!/?(details|summary|br/?|sub|/sub)\b)[a-zA-Z!/]",
            r"(?<!\\)\]\((javascript|http://evil)",
            r"(?<!\w)@everyone",
            r"!\[\]\(",
        ):
            if found := re.search(pattern, plain):
                yield f"Markdown with {plain[max(0, found.start() - 40) : found.end() + 40]!r}"
        for block in re.findall(r"(?m)(?:^\|.*\n)+", plain):
            widths = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in block.splitlines()}
            if len(widths) > 1:
                yield f"a Markdown table of different widths: {block[:200]!r}"
    elif format_ == "mermaid" and re.search(r"<(?!br/>)|javascript:|click ", text):
        yield "Mermaid with a tag or a link"
    elif format_ == "csv":
        for row in csv.reader(io.StringIO(text)):
            for cell in row:
                if cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not re.fullmatch(r"-?[0-9.e+-]+", cell):
                    yield f"a formula in CSV: {cell[:60]!r}"


def _no_constant(name: str) -> None:
    raise ValueError(name)


class _Markup(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "img", "iframe", "object", "embed", "form", "link", "base"):
            self.found.append(tag)
        for name, value in attrs:
            if name.startswith("on") or (
                re.match(r"\s*(javascript|data|https?):", value or "") and name in ("href", "src", "xlink:href")
            ):
                self.found.append(f"{tag} {name}={value}")


def _markup(text: str) -> Iterator[str]:
    parser = _Markup()
    parser.feed(text)
    if parser.found:
        yield f"markup of somebody else: {parser.found[:3]}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int)
    parser.add_argument("--group")
    parser.add_argument("--name")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    chosen = [
        case
        for case in cases(given.seed)
        if (given.group is None or case.group in given.group.split(","))
        and (given.name is None or given.name in case.name)
    ][: given.count]
    started, outcomes = time.monotonic(), []
    for outcome in run(chosen, given.jobs):
        outcomes.append(outcome)
        for problem in outcome.problems:
            print(f"{outcome.name}: {problem}", flush=True)  # noqa: T201
    if given.json:
        given.json.write_text(json.dumps([asdict(one) for one in outcomes], indent=1))
    bad = sum(bool(one.problems) for one in outcomes)
    slowest = max(outcomes, key=lambda one: one.clock, default=Outcome("none"))
    largest = max(outcomes, key=lambda one: one.memory, default=Outcome("none"))
    print(  # noqa: T201
        f"{len(outcomes)} of {len(chosen)} cases in {time.monotonic() - started:.0f} s, {bad} not as they should be; "
        f"slowest {slowest.name} {slowest.clock:.1f} s, largest {largest.name} {largest.memory:.0f} MiB"
    )
    sys.exit(bool(bad) or len(outcomes) < len(chosen))


if __name__ == "__main__":
    main()
