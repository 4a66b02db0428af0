"""The components as a package: another shop needs no copy of this repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cloudmart.preview.recorder import record
from cloudmart.preview.run import preview
from tests.conftest import ROOT

SHOP = ROOT / "examples" / "bookshop"
PACKAGES = ("cloudmart", "components", "policy")


def test_the_bookshop_is_clean_within_its_budget_and_costs_what_its_page_says() -> None:
    result = preview("dev", SHOP)
    assert (result.mandatory, result.errors) == ([], [])
    text = (SHOP / "README.md").read_text()
    assert f"{result.estimate.monthly.expected:.2f} USD a month" in text
    objects = [resource for resource in result.recording.resources if resource.is_kubernetes_object]
    assert f"counts {len(objects)} objects" in text
    assert [standing.state for standing in result.budgets] == ["within"]


def test_the_page_builds_one_component_alone_in_python(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", (SHOP / "README.md").read_text(), re.DOTALL)
    assert code is not None
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml", "catalog.yaml"):
        shutil.copy(SHOP / name, tmp_path)
    (tmp_path / "__main__.py").write_text(code[1])
    kinds = Counter(resource.kind for resource in record("dev", tmp_path).resources if resource.is_kubernetes_object)
    assert {"Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount"} <= set(kinds)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with the package installed, from which this checkout is not seen."""
    tmp_path = tmp_path_factory.mktemp("installed")
    source, site = tmp_path / "source", tmp_path / "site"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
        str(source),
    ]
    subprocess.run([sys.executable, *install], check=True, timeout=300, cwd=tmp_path)
    # Without `site`, this environment's link to the checkout is not followed; its other packages are there.
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), sysconfig.get_path("purelib")])}


def called(installed: dict[str, str], folder: Path, *args: str, code: int = 0) -> Any:
    """What the installed command prints as JSON, called in a folder."""
    command = [sys.executable, "-S", "-m", "cloudmart.cli", *args, "--format", "json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, cwd=folder, env=installed)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_shop_that_the_installed_package_started_passes_its_preview_at_once(
    installed: dict[str, str], tmp_path: Path
) -> None:
    flags = ("--service", "shelf-service", "--description", "Which books there are", "--need", "postgres")
    made = called(installed, tmp_path, "init", "bookshop", "--team", "books", "--cost-center", "BK-1", *flags)
    assert made["out"] == "bookshop"
    assert {"catalog.yaml", ".gitignore", "policy/config/prod.json", "schemas/stack.schema.json"} <= set(made["files"])
    found = called(installed, tmp_path / "bookshop", "preview", "--stack", "dev")
    names = {(item["kind"], item["name"]) for item in found["resources"]}
    assert {("Deployment", "shelf-service"), ("StatefulSet", "postgres"), ("Namespace", "bookshop")} <= names
    assert called(installed, tmp_path / "bookshop", "local", "status", code=1)["running"] is False


@pytest.mark.slow
def test_the_installed_package_builds_the_bookshop_without_this_checkout(
    installed: dict[str, str], tmp_path: Path
) -> None:
    shop = tmp_path / "bookshop"
    shutil.copytree(SHOP, shop, ignore=shutil.ignore_patterns("__pycache__"))
    found = called(installed, tmp_path, "preview", "--root", str(shop), "--stack", "dev")
    names = {(item["kind"], item["name"]) for item in found["resources"]}
    assert {("Deployment", "desk-service"), ("StatefulSet", "postgres"), ("Namespace", "bookshop")} <= names
    assert not any("cloudmart" in str(item["name"]) for item in found["resources"])
    own = preview("dev", SHOP).estimate.monthly.expected
    assert found["cost"]["monthly"]["expected"] == pytest.approx(float(own), abs=0.01)
