"""The programs that others use today, for measuring beside them: built once from pinned sources, into the user's cache.

Each program in Go has a module of its own in ``go/``, so that it is built of the versions that its release names;
checkov has an environment of its own, because it pins a hundred packages.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cloudmart.cluster import toolchain
from cloudmart.errors import UserError

HERE = Path(__file__).parent
#: The module of each program, whose version its ``go.mod`` pins.
GO = {
    "conftest": "github.com/open-policy-agent/conftest",
    "helm": "helm.sh/helm/v3",
    "kube-score": "github.com/zegl/kube-score",
    "kubeconform": "github.com/yannh/kubeconform",
    "trivy": "github.com/aquasecurity/trivy",
}
#: What each build needs in its environment besides.
_ENVIRONMENT = {"trivy": {"GOEXPERIMENT": "jsonv2"}}
CHECKOV = HERE / "checkov.txt"


def version(name: str) -> str:
    """The pinned version of a program."""
    if name == "checkov":
        found = re.search(r"^checkov==(\S+)", CHECKOV.read_text(), re.MULTILINE)
        return found[1] if found else ""
    return toolchain.version(GO[name], HERE / "go" / name).removeprefix("v")


def program(name: str) -> Path:
    """A program that is ready to run. The first time it is built, which takes minutes; :class:`UserError` where it
    cannot be."""
    target = _target(name)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        sys.stderr.write(f"making {name} {version(name)}, once ...\n")
        if name == "checkov":
            _environment(target)
        else:
            _build(name, target)
    return target / "bin" / "checkov" if name == "checkov" else target


def is_made(name: str) -> bool:
    """Whether a program is there already."""
    return _target(name).exists()


def _target(name: str) -> Path:
    files = [CHECKOV] if name == "checkov" else [HERE / "go" / name / file for file in ("go.mod", "go.sum")]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    return toolchain.cache_directory() / "compared" / f"{name}-{digest}"


def _build(name: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch) / name
        build: list[str | Path] = [
            "build",
            "-trimpath",
            "-mod=readonly",
            "-buildvcs=false",
            "-ldflags=-s -w",
            "-o",
            made,
            "tool",
        ]
        _run(name, [toolchain.find_go(), *build], HERE / "go" / name)
        made.rename(target)  # whole or not at all, also with two builds at a time


def _environment(target: Path) -> None:
    # Its programs name their own place, so it is made where it stays, and taken away where it is half of one.
    uv = Path(sys.executable).parent / "uv"
    try:
        _run("checkov", [uv, "venv", "--quiet", "--python", sys.executable, target], HERE)
        python = target / "bin" / "python"
        _run("checkov", [uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", CHECKOV], HERE)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _run(name: str, command: list[str | Path], folder: Path) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env=toolchain.go_environment() | _ENVIRONMENT.get(name, {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    if done.returncode != 0:
        raise UserError(f"{name} cannot be made: {done.stderr.strip()[-500:]}")
