"""Fixtures that more than one folder of tests needs."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]

#: What makes a folder a project of ours; the package `cloudmart` comes from the environment.
_FILES = ("Pulumi.yaml", "catalog.yaml", "__main__.py")
_FOLDERS = ("components", "policy", "schemas")


# A test sees what the code does now, not what it did for an earlier run.
os.environ["CLOUDMART_NO_CACHE"] = "1"

# What is imported and collected stays to the end; nothing in it is garbage to look for.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_sessionfinish() -> None:
    # Nor in what tests leave in caches: pytest's last look took so long that its own processes were interrupted in it.
    gc.freeze()


@dataclass(frozen=True)
class Project:
    """A copy of the project that a test may change."""

    root: Path

    def change(self, name: str, edit: Callable[[dict[str, Any]], object]) -> None:
        """Reads a YAML file, lets `edit` change what is in it, writes it back."""
        path = self.root / name
        content = yaml.safe_load(path.read_text())
        edit(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def catalog(self, edit: Callable[[dict[str, Any]], object]) -> None:
        """Changes the catalog."""
        self.change("catalog.yaml", edit)

    def config(self, stack: str, edit: Callable[[dict[str, Any]], object]) -> None:
        """Changes a stack's configuration."""
        self.change(f"Pulumi.{stack}.yaml", lambda content: edit(content.setdefault("config", {})))


def copy_project(target: Path, *, program: bool = True) -> Project:
    """Copies the project, over an earlier copy if need be, with this environment as its own.

    Without its `program`, what is written in files is the copy's and the components are this checkout's: a recording
    of it need not load them again, which takes longer than to run them.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in [*(ROOT / name for name in _FILES), *ROOT.glob("Pulumi.*.yaml")]:
        shutil.copy(path, target)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in _FOLDERS if program else ("policy/config", "schemas"):
        shutil.copytree(ROOT / name, target / name, ignore=ignored, dirs_exist_ok=True)
    environment = target / ".venv"
    environment.unlink(missing_ok=True)
    environment.symlink_to(ROOT / ".venv", target_is_directory=True)
    return Project(target)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh copy of the project's files; the components are this checkout's."""
    return copy_project(tmp_path / "project", program=False)


@pytest.fixture
def whole_project(tmp_path: Path) -> Project:
    """A fresh copy of the project with a program of its own, for tests that change that."""
    return copy_project(tmp_path / "project")
