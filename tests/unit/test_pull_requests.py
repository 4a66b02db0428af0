"""What a forge runs on a pull request: the workflows are safe, their commands exist, the comment is one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from cloudmart.cli import cli
from cloudmart.cluster import toolchain

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))
MARKER = "<!-- cloudmart preview -->"


def test_zizmor_finds_nothing_unsafe_in_the_workflows() -> None:
    zizmor = Path(sys.executable).parent / "zizmor"
    done = subprocess.run(
        [zizmor, "--offline", "--no-progress", ROOT / ".github/workflows"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_actionlint_finds_nothing_wrong_in_the_workflows_and_something_in_a_broken_one(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(WORKFLOWS[0].read_text().replace("runs-on: ", "runs-on: ${{ matrix.nothing }}-"))

    def lint(*files: Path) -> subprocess.CompletedProcess[str]:
        # Without the programs that it would find on some machines and not on others. Go keeps what it has built.
        command: list[str | Path] = [
            toolchain.find_go(),
            "tool",
            "actionlint",
            "-no-color",
            "-shellcheck=",
            "-pyflakes=",
            *files,
        ]
        environment, module = toolchain.go_environment(), ROOT / "tests/actionlint"
        return subprocess.run(command, cwd=module, env=environment, capture_output=True, text=True, timeout=600)

    assert len(WORKFLOWS) > 4
    done = lint(*WORKFLOWS)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    found = lint(broken)
    assert found.returncode == 1
    assert 'property "nothing" is not defined' in found.stdout


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_every_action_is_pinned_by_a_full_digest_and_names_its_version(file: Path) -> None:
    used = re.findall(r"uses: (.*)", file.read_text())
    assert used
    assert [use for use in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)] == []


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_has_no_permission_that_a_job_does_not_ask_for(file: Path) -> None:
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {}
    assert all(job["permissions"] for job in workflow["jobs"].values())


def test_the_job_that_may_comment_checks_nothing_out() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/comment.yaml").read_text())
    steps = workflow["jobs"]["comment"]["steps"]
    assert [step["uses"].split("@")[0] for step in steps if "uses" in step] == ["actions/download-artifact"]


def test_a_preview_never_waits_in_the_group_of_the_deploys() -> None:
    groups = [
        yaml.safe_load((ROOT / f".github/workflows/{name}.yaml").read_text())["jobs"][job]["concurrency"]["group"]
        for name, job in (("pull-request", "engine"), ("deploy", "deploy"))
    ]
    assert groups[0].split("$")[0] != groups[1].split("$")[0]


@pytest.mark.parametrize(
    "file",
    [*WORKFLOWS, ROOT / ".gitlab-ci.yml", ROOT / ".ci/preview", ROOT / ".ci/deliver"],
    ids=lambda file: file.name,
)
def test_every_command_and_option_of_a_workflow_exists(file: Path) -> None:
    text = re.sub(r"^ *#.*$", "", file.read_text(), flags=re.MULTILINE)
    unknown = []
    for found in re.finditer(r"\.venv/bin/cloudmart ([a-z]+)((?:[^\n|>]|\n +--|\\\n)*)", text):
        command = cli.commands.get(found[1])
        if isinstance(command, click.Group):
            command = command.commands.get(found[2].split()[0], command)
        if command is None:
            unknown.append(found[1])
            continue
        known = {option for parameter in command.params for option in parameter.opts}
        unknown += [option for option in re.findall(r"(?<![\w-])--[a-z-]+", found[2]) if option not in known]
    assert unknown == []


class GitLab(HTTPServer):
    """Notes of one merge request, kept as GitLab's API does."""

    notes: list[dict[str, Any]]
    calls: list[str]


class Answer(BaseHTTPRequestHandler):
    server: GitLab

    def _say(self, value: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def _body(self) -> str:
        assert self.headers["PRIVATE-TOKEN"] == "token"
        return str(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"])

    def do_GET(self) -> None:
        first = self.path.endswith("page=1")
        self._say({"id": 7} if self.path == "/user" else self.server.notes if first else [])

    def do_POST(self) -> None:
        self.server.calls.append("POST")
        self.server.notes.append({"id": 20, "author": {"id": 7}, "body": self._body()})
        self._say({})

    def do_PUT(self) -> None:
        self.server.calls.append("PUT")
        note = next(note for note in self.server.notes if self.path.endswith(f"/{note['id']}"))
        note["body"] = self._body()
        self._say({})

    def log_message(self, format: str, *args: object) -> None:
        """Not into the tests' output."""


@pytest.fixture
def gitlab() -> Iterator[GitLab]:
    server = GitLab(("127.0.0.1", 0), Answer)
    server.notes, server.calls = [{"id": 10, "author": {"id": 8}, "body": f"{MARKER}\nof somebody else"}], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_note_is_posted_once_then_updated_and_those_of_others_are_left_alone(gitlab: GitLab, tmp_path: Path) -> None:
    given = os.environ | {
        "CI_API_V4_URL": f"http://127.0.0.1:{gitlab.server_port}",
        "CI_PROJECT_ID": "1",
        "CI_MERGE_REQUEST_IID": "2",
        "CLOUDMART_COMMENT_TOKEN": "token",
        "no_proxy": "127.0.0.1",
    }
    for text in ("first", "second"):
        (tmp_path / "comment.md").write_text(f"{MARKER}\n{text}")
        command = [sys.executable, str(ROOT / ".ci/gitlab-comment"), str(tmp_path / "comment.md")]
        subprocess.run(command, env=given, check=True, timeout=60)
    assert gitlab.calls == ["POST", "PUT"]
    assert [note["body"] for note in gitlab.notes] == [f"{MARKER}\nof somebody else", f"{MARKER}\nsecond"]


@pytest.mark.slow
def test_the_preview_of_a_forge_compares_every_stack_with_the_base_also_a_new_one(tmp_path: Path) -> None:
    clone, out = tmp_path / "clone", tmp_path / "out"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True, timeout=60)
    (clone / ".venv").symlink_to(ROOT / ".venv")
    shutil.copy(ROOT / ".ci/preview", clone / ".ci/preview")
    shutil.copy(clone / "Pulumi.dev.yaml", clone / "Pulumi.fresh.yaml")
    done = subprocess.run([clone / ".ci/preview", "HEAD", out], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    for stack in ("dev", "fresh", "prod"):
        assert json.loads((out / f"{stack}.sarif").read_text())["version"] == "2.1.0"
        assert "<testsuite" in (out / f"{stack}.xml").read_text()
    comment = (out / "comment.md").read_text()
    assert comment.startswith(MARKER)
    assert len(comment.encode()) <= 65_536


def git(folder: Path, *args: str) -> str:
    known = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    done = subprocess.run(["git", "-C", folder, *known, *args], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


@pytest.mark.slow
def test_what_is_merged_is_delivered_once_and_nothing_older_after_it(tmp_path: Path) -> None:
    clone, bare = tmp_path / "clone", tmp_path / "delivery.git"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True, timeout=60)
    subprocess.run(["git", "init", "--quiet", "--bare", bare], check=True, timeout=60)
    (clone / ".venv").symlink_to(ROOT / ".venv")
    shutil.copy(ROOT / ".ci/deliver", clone / ".ci/deliver")
    given = os.environ | {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{bare}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://git.example.com/cloudmart/delivery.git",
        "CLOUDMART_DELIVERY_TOKEN": "hunter2",
    }

    def deliver() -> subprocess.CompletedProcess[str]:
        return subprocess.run([clone / ".ci/deliver"], capture_output=True, text=True, timeout=240, env=given)

    first = deliver()
    assert (first.returncode, first.stderr.splitlines()[-1]) == (0, "stack prod: delivered"), first.stderr
    # Only the stack with GitOps on, in the folder that its Application reads.
    assert {name.rsplit("/")[1] for name in git(bare, "ls-tree", "-r", "--name-only", "main").splitlines()} == {"prod"}
    assert "stacks/prod/_cluster/namespace-cloudmart.yaml" in git(bare, "ls-tree", "-r", "--name-only", "main")
    assert deliver().stderr.splitlines()[-1] == "stack prod: nothing to deliver"
    assert git(bare, "rev-list", "--count", "main") == "1"

    old = git(clone, "rev-parse", "HEAD")
    catalog = (clone / "catalog.yaml").read_text()
    assert "1.30.4-alpine-slim" in catalog
    (clone / "catalog.yaml").write_text(catalog.replace("1.30.4-alpine-slim", "1.30.5-alpine-slim"))
    git(clone, "commit", "--quiet", "--all", "--message", "newer")
    new = git(clone, "rev-parse", "HEAD")
    assert deliver().stderr.splitlines()[-1] == "stack prod: delivered"
    assert git(bare, "log", "-1", "--format=%(trailers:key=Source,valueonly)", "main") == new
    git(clone, "checkout", "--quiet", old)
    assert deliver().stderr.splitlines()[-1] == "stack prod: a newer commit was delivered already"
    assert git(bare, "rev-list", "--count", "main") == "2"
    assert "hunter2" not in git(bare, "log", "--patch", "main")

    git(clone, "push", "--quiet", "--force", str(bare), f"{new}:main")
    refused = deliver()
    assert refused.returncode == 2
    assert "branch main holds the program" in refused.stderr
