"""The local cluster: a real Kubernetes control plane on loopback, with pods that kwok simulates.

``kwokctl`` makes and starts it: certificates, processes, kubeconfig. This module decides when, gives it free ports and
the programs, and turns what can go wrong into one clear message. Everything lives in ``.local/cluster/``.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import random
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import yaml

from cloudmart.cluster import toolchain
from cloudmart.errors import UserError

Progress = Callable[[str], None]
Runtime = Literal["binary", "kind"]

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).parent / "config"
SIMULATED = (
    "pods are simulated by kwok: the API, admission, scheduling, autoscaling and quota are real; containers, probes, "
    "traffic and network policies are not"
)
# etcd preallocates 64 MiB logs and keeps two; the rest is room to work.
DATA_BYTES = 2**30
PORTS = (
    "etcdPort",
    "etcdPeerPort",
    "kubeApiserverPort",
    "kubeControllerManagerPort",
    "kubeSchedulerPort",
    "kwokControllerPort",
    "metricsServerPort",
)
# Below the ports that systems hand out to clients (32768 on Linux, 49152 on macOS).
PORT_RANGE = range(20000, 30000)
START_SECONDS = 90
KIND_SECONDS = 600
# Without these kwokctl waits in vain.
VITAL = {"etcd", "kube-apiserver"}
PKI = ("ca.crt", "ca.key", "admin.crt", "admin.key")


@dataclass(frozen=True, kw_only=True)
class ClusterInfo:
    """How to reach a running cluster: ``server`` is its URL, ``version`` what it answers (``v1.36.3``)."""

    name: str
    kubeconfig: Path
    server: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Component:
    """One process of the control plane; ``pid`` is None while it is down."""

    name: str
    pid: int | None
    ports: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Status:
    """What there is now. ``running`` means that every component is up and the API answers that it is ready."""

    running: bool
    runtime: Runtime | None
    info: ClusterInfo | None
    components: tuple[Component, ...]
    nodes: tuple[str, ...]

    @property
    def trouble(self) -> str:
        """What a cluster is that is not `running`; `local start` helps in either case."""
        up = bool(self.components) and all(component.pid is not None for component in self.components)
        return "running, but does not answer that it is ready" if up else "not running"

    def as_json(self) -> dict[str, object]:
        """The shape that ``cloudmart local status --format json`` prints."""
        info = self.info
        return {
            "running": self.running,
            "runtime": self.runtime,
            "name": info and info.name,
            "server": info and info.server,
            "version": info and info.version,
            "kubeconfig": str(info.kubeconfig) if info else None,
            "nodes": list(self.nodes),
            "components": [{"name": c.name, "up": c.pid is not None, "ports": list(c.ports)} for c in self.components],
        }


class LocalCluster:
    """The cluster of one checkout.

    :param root: a directory, by default this checkout. The cluster's files go to ``.local/cluster/`` in it, and the
        cluster's name comes from its path.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or CHECKOUT).resolve()
        self.directory = self.root / ".local" / "cluster"
        self.name = f"cloudmart-{hashlib.sha256(str(self.root).encode()).hexdigest()[:8]}"
        self.kubeconfig = self.directory / "kubeconfig"
        self._workdir = self.directory / "clusters" / self.name
        self._record = self.directory / "cluster.json"

    def start(self, progress: Progress, runtime: Runtime = "binary") -> ClusterInfo:
        """Make the cluster, or start it again with what it held, or do nothing where it runs.

        :param progress: gets one line of text for every step that takes more than a second.
        :raises UserError: it cannot be started; the message says why and what helps.
        """
        with self._locked(progress):
            return self._start(progress, runtime)

    def stop(self) -> None:
        """Stop every process of the cluster; what it holds stays. Nothing to do where none runs."""
        with self._locked(lambda _: None):
            if self._recorded_or_nothing().get("runtime") == "kind":
                self._kwokctl_of_kind("stop", "cluster", "--name", self.name)
            else:
                self._stop_processes()

    def reset(self, progress: Progress, runtime: Runtime = "binary") -> ClusterInfo:
        """Delete the cluster with everything it holds and make it anew."""
        if runtime == "kind":
            _container_runtime()  # where there is none, nothing is deleted
        with self._locked(progress):
            self._delete()
            return self._start(progress, runtime)

    def delete(self) -> None:
        """Delete the cluster with everything it holds; only files below ``.local/cluster/`` go."""
        with self._locked(lambda _: None):
            self._delete()

    def is_running(self) -> bool:
        """Whether every component is up and the API answers that it is ready."""
        return self._info() is not None

    def status(self) -> Status:
        """What there is now; changes nothing. Raises ``UserError`` where the cluster's record is damaged."""
        info = self._info()
        nodes: tuple[str, ...] = ()
        if info is not None:
            nodes = tuple(self.kubectl("get", "nodes", "--output=jsonpath={.items[*].metadata.name}").split())
        return Status(
            running=info is not None,
            runtime=self._recorded().get("runtime"),
            info=info,
            components=self._components(),
            nodes=nodes,
        )

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Run kubectl against this cluster and return what it printed.

        :param timeout: seconds.
        :raises UserError: kubectl fails or takes too long; the message holds what it said.
        """
        shown = " ".join(arguments)
        try:
            done = self._kubectl(*arguments, stdin=stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise UserError(f"kubectl {shown}: no answer from the local cluster within {timeout:.0f} s") from None
        if done.returncode != 0:
            raise UserError(f"kubectl {shown}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    # --- starting -----------------------------------------------------------------------------------------------------

    def _start(self, progress: Progress, runtime: Runtime) -> ClusterInfo:
        recorded = self._recorded()
        if recorded and recorded.get("runtime") != runtime:
            raise UserError(
                f"{self.directory} holds a cluster of runtime {recorded.get('runtime')}, asked for is {runtime}: "
                f"`cloudmart local reset --runtime {runtime}` replaces it with everything it holds"
            )
        fingerprint = _fingerprint(runtime)
        if recorded.get("fingerprint") == fingerprint and (info := self._info()) is not None:
            if runtime == "binary":
                self._put_back(progress)
            return info
        self._require_room()
        if runtime == "kind":
            return self._start_kind(progress, fingerprint)

        tools = toolchain.ensure(progress)
        self._stop_processes()
        if not recorded:
            if any(self.directory.iterdir()):
                progress("removing what an interrupted start left")
                self._remove_files()
        else:
            self._require_whole()
        remake = recorded.get("fingerprint") != fingerprint or not self._components() or self._taken_ports()
        if remake:
            # kwokctl keeps certificates and data that it finds and writes the rest anew: new programs, or new ports.
            (self._workdir / "kwok.yaml").unlink(missing_ok=True)
            progress("making the local cluster" if not recorded else "making the local cluster anew around its data")
            self._write_config(tools)
            arguments = ["create", "cluster", "--config", str(self.directory / "config.yaml")]
            arguments += ["--kubeconfig", str(self.kubeconfig)]
        else:
            progress("starting the local cluster")
            arguments = ["start", "cluster"]
        self._run_kwokctl(tools.kwokctl, [*arguments, "--name", self.name, "--wait", "60s"])
        for _ in range(3):
            if not (down := self._down()):
                break
            # kwokctl starts all at once, and metrics-server gives up when the API server is slower than itself.
            progress(f"starting {', '.join(sorted(down))} again")
            self._forget(down)
            self._run_kwokctl(tools.kwokctl, ["start", "cluster", "--name", self.name, "--wait", "60s"])

        shutil.copyfile(self._workdir / "kubeconfig.yaml", self.kubeconfig)
        self.kubeconfig.chmod(0o600)
        self._apply_objects()
        return self._finish(runtime, fingerprint)

    def _finish(self, runtime: Runtime, fingerprint: str) -> ClusterInfo:
        answered = json.loads(self.kubectl("get", "--raw", "/version"))["gitVersion"]
        record = {"runtime": runtime, "fingerprint": fingerprint, "version": answered}
        if record != self._recorded():
            written = self._record.with_suffix(".tmp")
            _own(written).write_text(json.dumps(record))
            written.replace(self._record)
        info = self._info()
        if info is None:
            down = self._down()
            why = f"stopped right after the start: {', '.join(sorted(down))}" if down else "the API server is not ready"
            raise self._failure(why, down)
        return info

    def _require_room(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            free = shutil.disk_usage(self.directory).free
        except OSError as error:
            raise UserError(f"{self.directory}: {error.strerror}; the local cluster keeps its files there") from error
        if free < DATA_BYTES:
            raise UserError(
                f"{self.directory}: {free / 2**20:.0f} MiB free on this file system, the local cluster needs "
                f"{DATA_BYTES / 2**20:.0f} MiB"
            )

    def _require_whole(self) -> None:
        """What cannot be made again without losing what the cluster holds."""
        needed = [self._workdir / "pki" / name for name in PKI] + [self._workdir / "etcd" / "member" / "snap" / "db"]
        for path in needed:
            if not path.is_file() or path.stat().st_size == 0:
                raise UserError(
                    f"{path}: missing or empty; the cluster's data is damaged. `cloudmart local reset` makes the "
                    "cluster anew, empty"
                )

    def _write_config(self, tools: toolchain.Tools) -> None:
        """kwokctl's configuration: the static part, this machine's programs and ports, and kwok's behaviour."""
        config, *_ = _documents(CONFIG / "kwokctl.yaml")
        config["options"] |= tools.options() | dict(zip(PORTS, self._free_ports(len(PORTS)), strict=True))
        documents = [config]
        for name in toolchain.KWOK_FILES:
            documents += _documents(tools.base / "kwok" / Path(name).name)
        for metric in documents[-1]["spec"]["metrics"]:
            # metrics-server leaves out a node that uses nothing; a real one spends this much on itself.
            if metric["name"] == "node_cpu_usage_seconds_total":
                metric["value"] += " + node.SinceSecond() * 0.1"
            elif metric["name"] == "node_memory_working_set_bytes":
                metric["value"] += f" + {500 * 2**20}.0"
        documents += [*_documents(CONFIG / "usage.yaml"), *_documents(CONFIG / "volumes.yaml")]
        _own(self.directory / "config.yaml").write_text(yaml.safe_dump_all(documents, sort_keys=False))

    def _objects(self) -> str:
        """Nodes, the storage class, and metrics-server's objects, which kwokctl makes."""
        manifests = [
            text for component in self._kwok_yaml()["components"] for text in component.get("manifestContents", ())
        ]
        return "\n---\n".join([*manifests, *((CONFIG / name).read_text() for name in ("nodes.yaml", "storage.yaml"))])

    def _put_back(self, progress: Progress) -> None:
        """What somebody has deleted of it from a running cluster."""
        objects = self._objects()
        there = self.kubectl("get", "--filename=-", "--ignore-not-found", "--output=name", stdin=objects)
        if len(there.split()) < sum(1 for document in yaml.safe_load_all(objects) if document):
            progress("putting back what is missing of nodes, storage class and metrics-server")
            self._apply_objects()

    def _apply_objects(self) -> None:
        # kwokctl leaves objects with yesterday's port as they are.
        self.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=self._objects())
        port = self._options()["kwokControllerPort"]
        for node in _documents(CONFIG / "nodes.yaml"):
            # kwok writes its port only to nodes that are new to it; it changes when the cluster is made anew.
            patch = json.dumps({"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}})
            name = node["metadata"]["name"]
            self.kubectl("patch", "node", name, "--subresource=status", "--type=merge", f"--patch={patch}")
        self.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=30s")

    # --- kwokctl ------------------------------------------------------------------------------------------------------

    def _run_kwokctl(
        self, program: Path, arguments: Sequence[str], *, seconds: float = START_SECONDS, path: str = ""
    ) -> None:
        """Run kwokctl, and give up as soon as a component that it started has died."""
        log = self.directory / "kwokctl.log"
        with _own(log).open("w") as output:
            # PATH: kwokctl would take any kubectl that it finds there for the one of the cluster's version.
            # umask: kwokctl writes its keys readable by everyone.
            process = subprocess.Popen(
                [str(program), *arguments],
                env=self._environment() | {"PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                umask=0o077,
            )
        deadline = time.monotonic() + seconds
        dead_since: float | None = None
        failed, died = "", set[str]()
        try:
            while process.poll() is None and not failed:
                time.sleep(0.05)
                died = {path.stem for path in self._workdir.glob("pids/*.pid")} & VITAL - set(self._processes())
                dead_since = (dead_since or time.monotonic()) if died else None
                if dead_since is not None and time.monotonic() - dead_since > 3:
                    failed = f"stopped right after the start: {', '.join(sorted(died))}"
                elif time.monotonic() > deadline:
                    failed = f"not ready after {seconds:.0f} s"
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if failed:
            raise self._failure(failed, died)
        if process.returncode != 0:
            raise self._failure(f"kwokctl {' '.join(arguments[:2])} failed: {_last_error(log)}")

    def _environment(self) -> dict[str, str]:
        # The user's own kwokctl settings are not for this cluster.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("KWOK_")}
        return environment | {"KWOK_WORKDIR": str(self.directory), "KUBECONFIG": str(self.kubeconfig)}

    def _failure(self, what: str, components: Iterable[str] = ()) -> UserError:
        lines = [f"the local cluster in {self.directory} does not start: {what}"]
        for name in sorted(components):
            log = (self._workdir / "logs" / f"{name}.log").read_text(errors="replace").splitlines()
            complaints = [line for line in log if re.search(r"panic|fatal|error|failed", line, re.IGNORECASE)]
            lines += [f"  {name}: {line[:300]}" for line in (complaints or log)[-3:]]
        lines.append(f"  logs: {self._workdir / 'logs'}; `cloudmart local reset` makes the cluster anew, empty")
        self._stop_processes()
        return UserError("\n".join(lines))

    # --- what there is ------------------------------------------------------------------------------------------------

    def _recorded(self) -> dict[str, Any]:
        """What was written when the cluster was last ready; empty where none ever was."""
        try:
            return dict(json.loads(self._record.read_text()))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self._record}: cannot be read ({error}). `cloudmart local reset` makes the cluster anew, empty"
            ) from None

    def _recorded_or_nothing(self) -> dict[str, Any]:
        """The same for who ends the cluster, which a damaged record must not keep from it."""
        with contextlib.suppress(UserError):
            return self._recorded()
        return {}

    def _options(self) -> dict[str, Any]:
        return dict(self._kwok_yaml().get("options", {}))

    def _kwok_yaml(self) -> dict[str, Any]:
        try:
            first, *_ = _documents(self._workdir / "kwok.yaml")
        except (OSError, ValueError, yaml.YAMLError):
            return {}
        return first if isinstance(first, dict) else {}

    def _components(self) -> tuple[Component, ...]:
        processes = self._processes()
        return tuple(
            Component(
                name=component["name"],
                pid=processes[component["name"]].pid if component["name"] in processes else None,
                ports=tuple(port["port"] for port in component.get("ports", ())),
            )
            for component in self._kwok_yaml().get("components", ())
        )

    def _down(self) -> set[str]:
        return {component.name for component in self._components() if component.pid is None}

    def _processes(self) -> dict[str, psutil.Process]:
        """This cluster's processes by component; recorded process ids alone may have passed to somebody else's."""
        prefix = f"{self._workdir / 'bin'}{os.sep}"
        found = {}
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"]
            if command and command[0].startswith(prefix) and command[1:2] != ["--version"]:
                found[command[0].removeprefix(prefix)] = process
        return found

    def _taken_ports(self) -> list[int]:
        return [port for component in self._components() for port in component.ports if not _is_free(port)]

    def _free_ports(self, count: int) -> list[int]:
        # Each checkout tries its own sequence first, so that two that start at once do not pick the same ports.
        order = random.Random(self.name).sample(PORT_RANGE, len(PORT_RANGE))  # noqa: S311
        ports = []
        for port in order:
            if _is_free(port):
                ports.append(port)
                if len(ports) == count:
                    return ports
        raise UserError(f"fewer than {count} free ports between {PORT_RANGE.start} and {PORT_RANGE.stop}")

    def _info(self) -> ClusterInfo | None:
        recorded = self._recorded()
        if not recorded or not self.kubeconfig.is_file():
            return None
        if recorded["runtime"] == "binary":
            components = self._components()
            if not components or any(component.pid is None for component in components):
                return None
        try:
            if self._kubectl("get", "--raw", "/readyz", timeout=10).stdout != "ok":
                return None
        except subprocess.TimeoutExpired:
            return None
        server = yaml.safe_load(self.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        return ClusterInfo(name=self.name, kubeconfig=self.kubeconfig, server=server, version=recorded["version"])

    def _kubectl(
        self, *arguments: str, stdin: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        own = self._workdir / "bin" / "kubectl"
        program = own if own.is_file() else toolchain.kubectl()
        return subprocess.run(
            [str(program), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    # --- stopping -----------------------------------------------------------------------------------------------------

    def _stop_processes(self) -> None:
        # Not `kwokctl stop`: it kills whatever process has a recorded id, which after a reboot is somebody else's.
        processes = self._processes()
        for name, process in processes.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                # Only etcd has something to put in order; kube-apiserver would wait for every watch to end.
                process.terminate() if name == "etcd" else process.kill()
        deadline = time.monotonic() + 10
        while left := self._processes():
            time.sleep(0.05)
            if time.monotonic() > deadline:
                for process in left.values():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
        self._forget(path.stem for path in self._workdir.glob("pids/*.pid"))

    def _forget(self, components: Iterable[str]) -> None:
        """Remove recorded process ids, so that kwokctl does not take another process for the component."""
        for name in components:
            (self._workdir / "pids" / f"{name}.pid").unlink(missing_ok=True)

    def _delete(self) -> None:
        if self._recorded_or_nothing().get("runtime") == "kind":
            self._kwokctl_of_kind("delete", "cluster", "--name", self.name, "--kubeconfig", str(self.kubeconfig))
        self._stop_processes()
        self._remove_files()

    def _remove_files(self) -> None:
        if self.directory.is_symlink():
            raise UserError(f"{self.directory}: a symbolic link; nothing is deleted through it")
        if self.directory.exists():
            shutil.rmtree(self.directory)
        self.directory.mkdir(parents=True, mode=0o700)

    @contextlib.contextmanager
    def _locked(self, progress: Progress) -> Iterator[None]:
        """One command at a time on one cluster; the lock is outside of what reset deletes."""
        path = self.directory.parent / "cluster.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = path.open("w")
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; the local cluster keeps its files there") from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress("another command is at work on the local cluster: waiting for it")
                fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                yield
            except OSError as error:  # no room left, no permission: the person's to mend
                raise UserError(f"{error.filename or self.directory}: {error.strerror}") from error

    # --- real pods, where there is Docker or Podman -------------------------------------------------------------------

    def _start_kind(self, progress: Progress, fingerprint: str) -> ClusterInfo:
        runtime = _container_runtime()
        tools = toolchain.ensure(progress, only_kwokctl=True)
        progress(f"making a kind cluster through kwokctl ({runtime}); this pulls images")
        arguments = ["create", "cluster", "--name", self.name, "--runtime", runtime]
        arguments += ["--kubeconfig", str(self.kubeconfig), "--wait", "5m"]
        self._run_kwokctl(tools.kwokctl, arguments, seconds=KIND_SECONDS, path=os.environ["PATH"])
        self.kubeconfig.chmod(0o600)
        return self._finish("kind", fingerprint)

    def _kwokctl_of_kind(self, *arguments: str) -> None:
        tools = toolchain.ensure(lambda _: None, only_kwokctl=True)
        self._run_kwokctl(tools.kwokctl, arguments, seconds=KIND_SECONDS, path=os.environ["PATH"])


def _container_runtime() -> str:
    """kwokctl's name for kind on the first container engine that answers."""
    for engine, runtime in (("docker", "kind"), ("podman", "kind-podman")):
        if shutil.which(engine) is None:
            continue
        answer = subprocess.run([engine, "info"], capture_output=True, check=False)
        if answer.returncode == 0:
            return runtime
    raise UserError("--runtime kind needs Docker or Podman, and neither `docker info` nor `podman info` answers")


def _fingerprint(runtime: Runtime) -> str:
    """Changes with the programs and with the configuration that the cluster is made from."""
    digest = hashlib.sha256(f"{runtime} {toolchain.identity()}".encode())
    for path in sorted(CONFIG.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _own(path: Path) -> Path:
    """The file, made where it is not there: for its owner alone, as what kwokctl writes."""
    path.touch(0o600)
    return path


def _documents(path: Path) -> list[Any]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _last_error(log: Path) -> str:
    """The last thing that kwokctl complained of; it writes one JSON object a line, then plain text."""
    lines = log.read_text(errors="replace").strip().splitlines()
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            return line[:500]
        if entry.get("level") in ("ERROR", "WARN"):
            return f"{entry.get('msg')} {entry.get('err', '')}".strip()[:500]
    return "(no message)"
