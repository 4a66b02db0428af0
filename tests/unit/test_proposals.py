"""The pull request with smaller sizes, every night: the scripts of both forges, run on a repository of their own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests import gh
from tests.conftest import ROOT


def git(folder: Path, *args: str) -> str:
    known = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    done = subprocess.run(["git", "-C", folder, *known, *args], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


class Forge:
    """A bare repository with a stack's file and a workflow in it, and a fresh clone for each night."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bare = folder, folder / "shop.git"
        first = folder / "first"
        subprocess.run(["git", "init", "--quiet", "--initial-branch", "main", first], check=True, timeout=60)
        (first / "Pulumi.dev.yaml").write_text("config:\n  cpu: 100m\n")
        (first / "workflow.yaml").write_text("run: true\n")
        git(first, "add", "--all")
        git(first, "commit", "--quiet", "--message", "first")
        subprocess.run(["git", "clone", "--quiet", "--bare", first, self.bare], check=True, timeout=60)
        git(self.bare, "config", "receive.advertisePushOptions", "true")
        # What GitLab is told with a push.
        hook = self.bare / "hooks/post-receive"
        hook.write_text('#!/bin/sh\necho "$GIT_PUSH_OPTION_0|$GIT_PUSH_OPTION_1|$GIT_PUSH_OPTION_2" >> options\n')
        hook.chmod(0o755)
        self._nights = 0

    def night(self, size: str) -> tuple[Path, str]:
        """A clone, and a patch with a new size and with what no right-sizing writes; empty for the old size."""
        self._nights += 1
        clone = self.folder / f"night-{self._nights}"
        subprocess.run(["git", "clone", "--quiet", self.bare, clone], check=True, timeout=60)
        (clone / "Pulumi.dev.yaml").write_text(f"config:\n  cpu: {size}\n")
        if size != "100m":
            (clone / "workflow.yaml").write_text("run: rm -rf /\n")
        patch = git(clone, "diff")
        git(clone, "checkout", "--quiet", ".")
        return clone, f"{patch}\n" if patch else ""

    def proposed(self) -> str:
        """What the branch changes: the diff of its one commit."""
        assert git(self.bare, "rev-list", "--count", "main..cloudmart/rightsize-dev") == "1"
        return git(self.bare, "diff", "--unified=0", "main", "cloudmart/rightsize-dev")


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return Forge(tmp_path)


def run(script: str, clone: Path, **given: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | given
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_github_has_one_pull_request_a_stack_which_the_next_night_updates(forge: Forge, tmp_path: Path) -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/nightly.yaml").read_text())
    (step,) = (step for step in workflow["jobs"]["propose"]["steps"] if "run" in step)
    state, folder = gh.install(tmp_path / "bin"), tmp_path / "rightsize"
    folder.mkdir()
    path = f"{state.parent}:{os.environ['PATH']}"
    bodies = []
    for size in ("50m", "40m", "100m"):
        clone, patch = forge.night(size)
        (folder / "change.patch").write_text(patch)
        (folder / "body.md").write_text(f"to {size}")
        given = {"STACK": "dev", "BASE": "main", "REPOSITORY": "o/r", "FOLDER": str(folder), "GH_TOKEN": "token"}
        assert set(given) == set(step["env"])
        done = run(step["run"], clone, **given, PATH=path)
        assert done.returncode == 0, done.stderr
        assert ("nothing to change" in done.stdout) == (size == "100m")
        (pull,) = json.loads(state.read_text())["pulls"]
        bodies.append(pull.pop("body"))
        head = {"label": "o:cloudmart/rightsize-dev"}
        assert pull == {"number": 1, "head": head, "base": "main", "title": "Right-size stack dev"}
    assert bodies == ["to 50m", "to 40m", "to 40m"]
    diff = forge.proposed()
    assert "+  cpu: 40m" in diff
    assert "workflow.yaml" not in diff, "a patch may be anybody's: it changes sizes and nothing else"


def test_gitlab_opens_one_merge_request_a_stack_from_the_push_which_the_next_night_updates(forge: Forge) -> None:
    job = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())["propose"]
    for size in ("50m", "40m", "100m"):
        clone, patch = forge.night(size)
        (clone / "nightly").mkdir()
        (clone / "nightly/dev-rightsize.patch").write_text(patch)
        done = run(
            "\n".join(job["script"]),
            clone,
            STACK="dev",
            CI_DEFAULT_BRANCH="main",
            CI_SERVER_URL=str(forge.folder),
            CI_PROJECT_PATH="shop",
            CLOUDMART_PUSH_TOKEN="hunter2",
        )
        assert done.returncode == 0, done.stderr
        assert ("nothing to change" in done.stdout) == (size == "100m")
        assert "hunter2" not in done.stdout + done.stderr + (clone / ".git/config").read_text()
    told = "merge_request.create|merge_request.target=main|merge_request.title=Right-size stack dev"
    assert (forge.bare / "options").read_text().splitlines() == [told, told]
    diff = forge.proposed()
    assert "+  cpu: 40m" in diff
    assert "workflow.yaml" not in diff, "a patch may be anybody's: it changes sizes and nothing else"
