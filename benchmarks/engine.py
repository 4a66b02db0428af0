"""A project for the Pulumi CLI: the same program, with a backend and a home of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from cloudmart.preview.recorder import HOME


def cli() -> Path | None:
    """The Pulumi CLI on PATH."""
    found = shutil.which("pulumi")
    return Path(found) if found else None


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project that plain ``pulumi`` commands work in."""

    root: Path
    environment: Mapping[str, str]

    def command(self, verb: str, *options: str, pack: bool) -> Sequence[str]:
        """``pulumi preview`` or ``up`` of stack dev, with the policy pack or without."""
        packs = ["--policy-pack", "policy", "--policy-pack-config", "policy/config/dev.json"] if pack else []
        return ["pulumi", verb, "--stack", "dev", "--non-interactive", "--color=never", *packs, *options]


def project(root: Path, kubeconfig: Path | None = None) -> Project:
    """Make the project in ``root`` one for the CLI, with stack dev and no state."""
    for name in ("policy", "schemas"):
        shutil.copytree(HOME / name, root / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".venv").unlink(missing_ok=True)
    (root / ".venv").symlink_to(Path(sys.prefix), target_is_directory=True)
    home, state = root / ".local" / "pulumi-home", root / ".local" / "state"
    for folder in (home, state):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    plugins = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi") / "plugins"
    if plugins.is_dir():
        (home / "plugins").symlink_to(plugins, target_is_directory=True)
    given = {key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")}
    environment = given | {
        "PULUMI_HOME": str(home),
        "PULUMI_BACKEND_URL": state.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "for measuring",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        # The packages of this checkout, not of the copy: the same code for everybody who is compared.
        "PYTHONPATH": str(HOME),
        # None is none, whatever this user has.
        "KUBECONFIG": str(kubeconfig or root / ".local" / "no-kubeconfig"),
    }
    init = ["pulumi", "stack", "init", "dev", "--non-interactive"]
    subprocess.run(init, cwd=root, env=environment, check=True, capture_output=True, timeout=60)
    return Project(root=root, environment=environment)


def without(root: Path, *layers: str) -> None:
    """Switch layers of stack dev off."""
    file = root / "Pulumi.dev.yaml"
    stack = yaml.safe_load(file.read_text())
    for layer in layers:
        stack["config"].setdefault(f"cloudmart:{layer}", {})["enabled"] = False
    file.write_text(yaml.safe_dump(stack, sort_keys=False))
