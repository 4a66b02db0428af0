"""What is installed on this machine: versions, the Pulumi CLI, room for files, the local cluster."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloudmart.cluster import toolchain
from cloudmart.cluster.local import DATA_BYTES, LocalCluster
from cloudmart.deploy.engine import OLDEST_CLI, NoCli, present_cli, require_pack_environment
from cloudmart.doctor.check import Check, Topic, failed, passed, skipped, warned
from cloudmart.errors import UserError
from cloudmart.verify.check import count

_SDKS = ("pulumi", "pulumi-kubernetes", "pulumi-random", "pulumi-policy")
_SECONDS = 3


def versions(root: Path) -> Iterator[Check]:
    """Python, this package, the SDKs, and the programs that are called."""
    yield passed(Topic.VERSIONS, "Python", f"{platform.python_version()} ({sys.executable})")
    yield passed(Topic.VERSIONS, "CloudMart", importlib.metadata.version("cloudmart"))
    yield _sdks(root)
    yield _kubectl()
    helm = shutil.which("helm")
    if helm is None:
        why = "not on PATH; without it, what charts make has no price and no permissions in `cloudmart access role`"
        yield skipped(Topic.VERSIONS, "helm", why)
    else:
        yield passed(Topic.VERSIONS, "helm", f"{_printed([helm, 'version', '--short'])} ({helm})")
    yield _go()


def cli(root: Path) -> Iterator[Check]:
    """The Pulumi CLI that `up` would use."""
    found = present_cli(root)
    if isinstance(found, NoCli):
        yield warned(
            Topic.CLI,
            "pulumi",
            f"{found.reason}; `up` downloads one into .local/, and where that cannot be had goes without the engine: "
            "no state, no history, no charts",
            f"install the Pulumi CLI, {OLDEST_CLI} or newer",
        )
        return
    place = found.command if os.sep in found.command else shutil.which(found.command)
    version = found.version or "its version is not checked (PULUMI_AUTOMATION_API_SKIP_VERSION_CHECK)"
    yield passed(Topic.CLI, "pulumi", f"{version} ({place})")
    try:
        require_pack_environment(root)
    except UserError as error:
        yield failed(
            Topic.CLI, "policy pack", str(error).partition(";")[0], "make setup, or a virtual environment there"
        )
    else:
        yield passed(Topic.CLI, "policy pack", "its environment is there")


def files(root: Path) -> Iterator[Check]:
    """Folders that runs write to: allowed, and room in them."""
    cache = toolchain.cache_directory()
    yield _folder("cache", cache, 0 if toolchain.are_built() else toolchain.BUILD_BYTES, "XDG_CACHE_HOME")
    yield _folder("the project's own", root / ".local", DATA_BYTES, "another checkout")


def local(root: Path) -> Iterator[Check]:
    """The local cluster of this checkout."""
    name = "processes"
    if toolchain.present_kubectl() is None:
        yield skipped(Topic.LOCAL, name, "no kubectl to ask with yet; `cloudmart local start` makes one")
        return
    try:
        status = LocalCluster(root).status()
    except UserError as error:
        yield failed(Topic.LOCAL, name, str(error), "cloudmart local reset")
        return
    down = [component.name for component in status.components if component.pid is None]
    if status.running and status.info is not None:
        seen = f"{status.info.version} at {status.info.server}, {count(len(status.nodes), 'node')}"
        yield passed(Topic.LOCAL, name, seen)
    elif status.runtime is None:
        yield skipped(Topic.LOCAL, name, "there is none yet; `cloudmart local start` makes it, as `up` does")
    elif len(down) == len(status.components):
        yield skipped(Topic.LOCAL, name, "stopped; `cloudmart local start` starts it again, as `up` does")
    else:
        seen = f"down: {', '.join(down)}" if down else "the API server does not answer that it is ready"
        yield failed(Topic.LOCAL, name, seen, "cloudmart local start")


def _sdks(root: Path) -> Check:
    found, locked = {}, _locked(root)
    for name in _SDKS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return failed(Topic.VERSIONS, "Pulumi SDKs", f"{name} is not installed", "make setup")
    seen = ", ".join(f"{name} {version}" for name, version in found.items())
    other = [f"{name} is locked at {locked[name]}" for name in found if found[name] != locked.get(name, found[name])]
    if other:
        return warned(Topic.VERSIONS, "Pulumi SDKs", f"{seen}; {', '.join(other)}", "make setup")
    return passed(Topic.VERSIONS, "Pulumi SDKs", seen)


def _locked(root: Path) -> dict[str, str]:
    try:
        text = (root / "requirements.txt").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;\\]+)", text, re.MULTILINE))


def _kubectl() -> Check:
    found = toolchain.present_kubectl()
    if found is not None:
        version = re.search(r"v\d[\w.+-]*", _printed([str(found), "version", "--client"]))
        return passed(Topic.VERSIONS, "kubectl", f"{version[0] if version else 'of unknown version'} ({found})")
    wanted = toolchain.version("k8s.io/kubernetes")
    on_path = shutil.which("kubectl")
    seen = f"{on_path} is more than one minor version from {wanted}" if on_path else "not on PATH"
    return warned(
        Topic.VERSIONS, "kubectl", f"{seen}, and none is built yet", f"cloudmart local start, or install {wanted}"
    )


def _go() -> Check:
    try:
        program = toolchain.find_go()
    except UserError as error:
        if toolchain.are_built():
            return skipped(Topic.VERSIONS, "Go", "not needed: the local cluster's programs are there")
        return warned(Topic.VERSIONS, "Go", str(error).partition(". ")[0], "make setup")
    return passed(Topic.VERSIONS, "Go", f"{_printed([str(program), 'env', 'GOVERSION'])} ({program})")


def _printed(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env=toolchain.go_environment(),
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return "does not answer"
    return done.stdout.strip() or "does not answer"


def _folder(name: str, folder: Path, room: int, instead: str) -> Check:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return failed(Topic.FILES, name, f"{folder}: cannot be written", f"make {there} writable, or use {instead}")
    free = shutil.disk_usage(there).free
    seen = f"{folder}: writable, {free / 2**30:.1f} GiB free"
    if free < room:
        mend = f"make room: {room / 2**30:.0f} GiB are needed at first, or use {instead}"
        return warned(Topic.FILES, name, seen, mend)
    return passed(Topic.FILES, name, seen)
