"""A shop on a cluster of its own: `up` as processes that can be killed, and a look at what is there afterwards."""

from __future__ import annotations

import base64
import contextlib
import copy
import ctypes
import hashlib
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import psutil
import yaml

from cloudmart.cluster import toolchain
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.cluster.live import Reference
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy import applyset
from cloudmart.preview.recorder import record
from cloudmart.preview.render import Manifest, manifests
from tests.conftest import Project, copy_project
from tests.reliability import edits

Json = Any

SPACE = "cloudmart"
STACK = "dev"
#: What a run may leave behind: all kinds that our program makes, whether this catalog has one or not; and claims.
_SCOPES = {
    **{
        ("v1", kind): True
        for kind in ("ServiceAccount", "ConfigMap", "Secret", "Service", "ResourceQuota", "LimitRange")
    },
    ("v1", "PersistentVolumeClaim"): True,
    ("apps/v1", "Deployment"): True,
    ("apps/v1", "StatefulSet"): True,
    ("apps/v1", "ReplicaSet"): True,
    ("autoscaling/v2", "HorizontalPodAutoscaler"): True,
    ("policy/v1", "PodDisruptionBudget"): True,
    ("networking.k8s.io/v1", "NetworkPolicy"): True,
    ("scheduling.k8s.io/v1", "PriorityClass"): False,
    ("v1", "Namespace"): False,
}
#: What every namespace has of itself, and the bookkeeping of the way without the CLI.
_OWN = {"ServiceAccount default", "ConfigMap kube-root-ca.crt"}
_BOOKKEEPING = {f"Secret {SPACE}-{STACK}", f"Secret {SPACE}-{STACK}-generated"}

# A process that has everything imported, which each run is a fork of: a run takes no second to begin.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["cloudmart.cli", "cloudmart.deploy.up", "cloudmart.deploy.table", "components.platform", "tests.reliability.shop"]
)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended; `code` is negative after a signal."""

    code: int
    said: str
    seconds: float

    @property
    def error(self) -> str:
        """What it ended with, where it failed: all that follows ``error: ``."""
        if self.code <= 0:
            return ""
        _, found, error = f"\n{self.said}".partition("\nerror: ")
        assert found, f"failed with {self.code} and no error; it said: {self.said[-1000:]}"
        return error.strip()


@dataclass(frozen=True, kw_only=True)
class Deploying:
    """A run of the command that is under way, in a process group of its own."""

    process: BaseProcess
    output: Connection
    #: Within how many seconds it has to end.
    patience: float = 240
    started: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        return self.process.is_alive()

    def kill(self, *, group: bool) -> None:
        """SIGKILL, to the process alone or to what it started as well; nothing where it is over already."""
        if self.process.is_alive():
            # Pulumi's plugins are in groups of their own.
            started = psutil.Process(self.pid).children(recursive=True) if group else []
            os.kill(self.pid, signal.SIGKILL)
            for process in started:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    def wait(self, seconds: float | None = None) -> Ended:
        """Until it is over. It may not take longer than `seconds`, or than its patience."""
        parts: list[bytes] = []
        most = seconds or self.patience
        deadline = time.monotonic() + most
        while self.process.is_alive() or self.output.poll():
            if self.output.poll(0.05):
                if not (part := os.read(self.output.fileno(), 65536)):
                    break
                parts.append(part)
            elif time.monotonic() > deadline:
                os.killpg(self.pid, signal.SIGKILL)
                raise AssertionError(f"no end after {most:.0f} s; it said: {b''.join(parts).decode()[-2000:]}")
        self.process.join()
        self.output.close()
        code = self.process.exitcode
        assert code is not None
        return Ended(code=code, said=b"".join(parts).decode(errors="replace"), seconds=time.monotonic() - self.started)

    def settle(self) -> bool:
        """Until what it started is over as well: a kubectl outlives the one that started it. Whether any had to."""
        deadline, waited = time.monotonic() + 120, False
        while any(_in_group(process, self.pid) for process in psutil.process_iter()):
            assert time.monotonic() < deadline, "something that a killed run started does not end"
            waited = True
            time.sleep(0.05)
        return waited


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How little room a run has. `file_bytes`: no file may grow beyond that.

    `folder` is then a file system of its own with `free` bytes beside what was in it, as far as this process and what
    it starts see; what it holds in the end is put back. That needs namespaces for users, which Linux mostly has.
    `full_after` so many seconds something else fills it; where it is `kept_full`, again and again.
    """

    file_bytes: int | None = None
    folder: Path | None = None
    free: int = 0
    full_after: float | None = None
    kept_full: bool = False

    @contextlib.contextmanager
    def small_disk(self) -> Iterator[None]:
        """For this process alone, which must have one thread."""
        if self.folder is None:
            yield
            return
        saved = self.folder.with_name(f"{self.folder.name}-saved")
        shutil.rmtree(saved, ignore_errors=True)
        shutil.copytree(self.folder, saved)
        used = sum(-(-path.stat().st_size // 4096) * 4096 for path in saved.rglob("*"))
        libc = ctypes.CDLL(None, use_errno=True)
        user, group = os.getuid(), os.getgid()
        _checked(libc.unshare(0x10000000 | 0x00020000))  # CLONE_NEWUSER, CLONE_NEWNS
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        options = f"size={used + self.free}".encode()
        _checked(libc.mount(b"tmpfs", bytes(self.folder), b"tmpfs", 0, options))
        shutil.copytree(saved, self.folder, dirs_exist_ok=True)
        other = os.fork() if self.full_after is not None else None
        if other == 0:
            self._fill(self.folder / "of-another")
        try:
            yield
        finally:
            if other is not None:
                os.kill(other, signal.SIGKILL)
                os.waitpid(other, 0)
                (self.folder / "of-another").unlink(missing_ok=True)
            shutil.rmtree(saved)
            shutil.copytree(self.folder, saved)

    def _fill(self, path: Path) -> NoReturn:
        """In a process of its own, which somebody kills."""
        time.sleep(self.full_after or 0)
        with path.open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(bytes(2**16))
                except OSError:
                    time.sleep(0.01 if self.kept_full else 3600)

    def put_back(self) -> None:
        """What the file system of the run held in the end; for the process that started it."""
        if self.folder is not None:
            saved = self.folder.with_name(f"{self.folder.name}-saved")
            shutil.rmtree(self.folder)
            saved.rename(self.folder)


def _checked(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _in_group(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ProcessLookupError):
        return False


def _deploy(
    arguments: Sequence[str], environment: Mapping[str, str], output: Connection, with_cli: bool, limits: Limits | None
) -> None:
    """The command in a forked process; whatever it prints goes into `output`."""
    os.setsid()
    # Whatever started the tests in the background has it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    from cloudmart import cli
    from cloudmart.cluster import crds
    from cloudmart.deploy import engine, up

    # Nothing here is of a custom kind, and their first start takes long.
    setattr(crds, "install", lambda *_: [])  # noqa: B010
    if not with_cli:
        setattr(up, "find_cli", lambda *_: engine.NoCli("no Pulumi CLI in this test"))  # noqa: B010
    if limits is not None and limits.file_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python has it anyway; a write fails instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    sys.argv = ["cloudmart", *arguments]
    with limits.small_disk() if limits is not None else contextlib.nullcontext():
        cli.main()


@dataclass
class Shop:
    """A copy of the project, its cluster, and what must never change in it."""

    cluster: LocalCluster
    project: Project
    with_cli: bool = False
    #: A kubeconfig whose context is given to every run; None for the local cluster's own way.
    context: Path | None = None
    catalog: Json = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)
    #: Whether the last run ended as it has to; after another kind of end the next begins from nothing.
    sound: bool = False

    @classmethod
    def at(cls, cluster: LocalCluster, *, with_cli: bool = False) -> Shop:
        """In the cluster's folder; the engine runs the program that stands there."""
        return cls(cluster, copy_project(cluster.root, program=with_cli), with_cli=with_cli)

    @property
    def span(self) -> float:
        """Within how many seconds after its start a run is disturbed: about as long as one takes.

        The same everywhere and not what was measured, so that a seed has the same pauses whatever ran before it.
        """
        return 12.0 if self.with_cli else 5.0

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(path=toolchain.kubectl(), kubeconfig=self.cluster.kubeconfig)

    def declare(self, catalog: Json) -> None:
        """Writes the catalog, and a stack that adds nothing to it."""
        self.catalog = catalog
        _write(self.project.root, catalog)

    def with_catalog(self, catalog: Json) -> Path:
        """Another checkout beside this one, of another state of the catalog, for the same cluster."""
        other = copy_project(self.project.root.with_name(f"{self.project.root.name}-other"), program=False).root
        shutil.rmtree(other / ".local", ignore_errors=True)
        _write(other, catalog)
        return other

    def start(
        self,
        *more: str,
        environment: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        root: Path | None = None,
        command: Sequence[str] = ("up",),
    ) -> Deploying:
        """Begins an `up`, or what else is said. `limits` are those of the disk, for it and for what it starts."""
        ours, theirs = _FORKS.Pipe(duplex=False)
        arguments = [*command, "--stack", STACK, "--root", str(root or self.project.root), *more]
        given = dict(os.environ)
        if self.context is not None:
            arguments += ["--context", yaml.safe_load(self.context.read_text())["current-context"]]
            given["KUBECONFIG"] = str(self.context)
        process = _FORKS.Process(
            target=_deploy, args=(arguments, given | dict(environment or {}), theirs, self.with_cli, limits)
        )
        process.start()
        theirs.close()
        # The provider waits ten minutes for a Deployment, also where the API server does not answer any more.
        return Deploying(process=process, output=ours, patience=900 if self.with_cli else 240)

    def up(self, *more: str, environment: Mapping[str, str] | None = None) -> Ended:
        """An undisturbed `up`, which must go through."""
        ended = self.start(*more, environment=environment).wait()
        assert ended.code == 0, f"an undisturbed up failed: {ended.said[-3000:]}"
        return ended

    def begin(self, random: Random) -> None:
        """What a run starts from, by its seed alone: mostly a shop that is brought up first and whose catalog is edited
        then, now and then nothing at all."""
        from_nothing = random.random() < 0.1
        first = edits.catalog(random)
        if not self.cluster.is_running():
            self.cluster.start(lambda _: None)
        if not self.sound or from_nothing:
            self.empty()
        self.sound = False
        self.declare(first)
        if not from_nothing:
            # From whatever the last run has left, which costs less than to take that away.
            self.up()
            self.look()
            self.sound = False
            self.declare(edits.edited(first, random))

    def empty(self) -> None:
        """Takes everything away, data and passwords too."""
        self.kubectl.run("delete", "namespace", SPACE, "--ignore-not-found", "--wait=true", timeout=120)
        self.kubectl.run("delete", "priorityclasses", "-l", f"project={SPACE}", timeout=60)
        for state in ("state", "pulumi"):
            shutil.rmtree(self.project.root / ".local" / state, ignore_errors=True)
        self.secrets, self.claims = {}, {}

    # --- looking ------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Fails unless the cluster holds what is declared, nothing else, and the secrets and claims of before."""
        problems: list[str] = []
        declared = self._declared()
        live = self._live()
        for reference, wanted in declared.items():
            if (found := live.get(reference)) is None:
                problems.append(f"lost: {reference.label}")
            else:
                problems += [f"{reference.label}: {what}" for what in differences(wanted, found)]
        for reference, item in live.items():
            owned = item["metadata"].get("ownerReferences")
            # Claims are looked at below.
            known = reference in declared or f"{reference.kind} {reference.name}" in _OWN | _BOOKKEEPING
            if not known and not owned and reference.kind != "PersistentVolumeClaim":
                problems.append(f"orphan: {reference.label}")
        problems += self._duplicates(live) + self._kept(live)
        assert not problems, "\n".join(problems)
        self.sound = True

    def _declared(self) -> dict[Reference, Json]:
        recording = record(STACK, self.project.root)
        digests = {hashlib.sha256(sentinel.encode()).hexdigest() for sentinel in recording.generated}
        found = [_without_secrets(manifest, digests) for manifest in manifests(recording)]
        items = [applyset.placed(item, SPACE, _SCOPES) for item in found]
        return {Reference.to(item): item for item in items}

    def _live(self) -> dict[Reference, Json]:
        found: list[Json] = []
        for where in ((True, f"--namespace={SPACE}"), (False, f"--selector=project={SPACE}")):
            kinds = ",".join(_argument(*kind) for kind, namespaced in _SCOPES.items() if namespaced is where[0])
            found += self.kubectl.json("get", kinds, where[1], timeout=60)["items"]
        return {Reference.to(item): item for item in found}

    @staticmethod
    def _duplicates(live: Mapping[Reference, Json]) -> list[str]:
        """Deployments that run two generations of their pods, and those that are not available."""
        problems = []
        for reference, item in live.items():
            if reference.kind not in ("Deployment", "StatefulSet"):
                continue
            status = item.get("status", {})
            if status.get("observedGeneration") != item["metadata"]["generation"]:
                problems.append(f"{reference.label}: its last change is not rolled out")
            if reference.kind == "Deployment":
                sets = [
                    other["metadata"]["name"]
                    for one, other in live.items()
                    if one.kind == "ReplicaSet"
                    and other["metadata"]["ownerReferences"][0]["uid"] == item["metadata"]["uid"]
                    and other["spec"]["replicas"] > 0
                ]
                if len(sets) != 1:
                    problems.append(f"{reference.label}: runs pods of {len(sets)} generations ({', '.join(sets)})")
        return problems

    def _kept(self, live: Mapping[Reference, Json]) -> list[str]:
        """Secrets and claims against those of the run before; hashes alone are kept."""
        problems = []
        secrets = {
            f"{reference.name}/{key}": hashlib.sha256(base64.b64decode(value)).hexdigest()
            for reference, item in live.items()
            if reference.kind == "Secret" and reference.name != f"{SPACE}-{STACK}"
            for key, value in (item.get("data") or {}).items()
        }
        claims = {
            reference.name: item["metadata"]["uid"]
            for reference, item in live.items()
            if reference.kind == "PersistentVolumeClaim"
        }
        for what, before, after in (("secret", self.secrets, secrets), ("claim", self.claims, claims)):
            problems += [f"{what} {name}: lost" for name in before if name not in after]
            problems += [f"{what} {name}: changed" for name in before if after.get(name, before[name]) != before[name]]
        unbound = [
            reference.name
            for reference, item in live.items()
            if reference.kind == "PersistentVolumeClaim" and item.get("status", {}).get("phase") != "Bound"
        ]
        problems += [f"claim {name}: not bound" for name in unbound]
        if set(claims) != {f"data-{store}-0" for store in edits.STORES}:
            problems.append(f"claims: found {sorted(claims)}")
        self.secrets, self.claims = secrets, claims
        return problems


def _write(root: Path, catalog: Json) -> None:
    (root / "catalog.yaml").write_text(yaml.safe_dump(catalog, sort_keys=False))
    (root / f"Pulumi.{STACK}.yaml").write_text("config: {}\n")


def _without_secrets(manifest: Manifest, digests: Set[str]) -> Json:
    """The object less what is secret in it, or a digest of that: compared by hash, against the run before."""
    item = copy.deepcopy(manifest.object)
    for path in manifest.recorded.secrets:
        here: Any = item
        for step in path[:-1]:
            here = here[step]
        del here[path[-1]]
    annotations = item.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
    for key in [key for key, value in annotations.items() if value in digests]:
        del annotations[key]
    return item


def _argument(api_version: str, kind: str) -> str:
    group, _, version = api_version.rpartition("/")
    return f"{kind}.{version}.{group}"


def differences(wanted: Json, found: Json, path: str = "") -> Iterator[str]:
    """Where an object is not as declared: what is declared must be there, what else is there is others' business.

    Values are not told: they may be secret.
    """
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            yield f"{path}: not a mapping"
            return
        for key, value in wanted.items():
            here = f"{path}.{key}".lstrip(".")
            if key not in found:
                if value:  # the API server leaves out what is empty
                    yield f"{here}: missing"
            else:
                yield from differences(value, found[key], here)
    elif isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            yield f"{path}: another number of items"
            return
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from differences(one, other, f"{path}[{number}]")
    elif wanted != found and str(wanted) != str(found):
        yield f"{path}: differs"


def cause(error: str, words: Sequence[str]) -> str:
    """Fails unless an error has no traceback, and one of these words in each line; the first that its first line has.

    A line is a problem of its own: three workloads that do not get ready are three lines.
    """
    assert "Traceback" not in error, error
    assert error, "failed without a word"
    first = []
    for line in error.splitlines():
        found = [word for word in words if word.lower() in line.lower()]
        assert found, f"no cause in: {line} (none of {words})"
        first.append(found[0])
    return first[0]


# --- the control plane -----------------------------------------------------------------------------------------------


def component(cluster: LocalCluster, name: str) -> psutil.Process | None:
    """The running process of a component."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"]
        if command and command[0].startswith(str(cluster.directory)) and command[0].endswith(f"/bin/{name}"):
            return process
    return None


def kill(cluster: LocalCluster, name: str) -> Callable[[], None]:
    """SIGKILL for a component; what starts it again as it was."""
    process = component(cluster, name)
    assert process is not None, f"{name} does not run"
    command, folder = process.cmdline(), process.cwd()
    process.kill()
    process.wait(10)

    def again() -> None:
        log = cluster.directory / f"{name}-again.log"
        with log.open("ab") as output:
            psutil.Popen(command, cwd=folder, stdin=-3, stdout=output, stderr=output, start_new_session=True)

    return again
