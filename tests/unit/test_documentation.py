"""What the README and docs/ say is there, is there; what they show, works."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from cloudmart.preview import run
from cloudmart.settings import load

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = sorted([CHECKOUT / "README.md", *CHECKOUT.glob("docs/**/*.md")])
MARK = "<!-- tested: this block is added to the catalog and previewed -->"


def relative(page: Path) -> str:
    return str(page.relative_to(CHECKOUT))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z0-9]+)", page.read_text(), re.MULTILINE))
    assert named <= targets


def test_the_service_that_the_readme_adds_passes_the_preview_of_every_stack(tmp_path: Path) -> None:
    readme = (CHECKOUT / "README.md").read_text()
    block = readme.split(MARK)[1].split("```yaml\n")[1].split("```")[0]
    added = yaml.safe_load(block)["services"]
    for name in ("components", "policy", "cloudmart"):
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__main__.py", "Pulumi.yaml", "Pulumi.dev.yaml", "Pulumi.prod.yaml"):
        shutil.copy(CHECKOUT / name, tmp_path / name)
    # As somebody would: appended to the services, as text.
    text = (CHECKOUT / "catalog.yaml").read_text()
    entry = block.split("services:\n", 1)[1]
    (tmp_path / "catalog.yaml").write_text(text.replace("\nexternals:\n", f"\n{entry}\nexternals:\n", 1))
    for stack in ("dev", "prod"):
        assert set(load(stack, tmp_path).services) - set(load(stack, CHECKOUT).services) == set(added)
        result = run.preview(stack, tmp_path)
        assert [violation for violation in result.violations if violation.level == "mandatory"] == []
        assert result.errors == []
        kinds = {r.kind for r in result.recording.resources if r.object_name and "review-service" in r.object_name}
        assert {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"} <= kinds
