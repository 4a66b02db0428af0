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
from xml.etree import ElementTree

import click
import pytest
import yaml

from cloudmart.cli import cli
from cloudmart.cluster import toolchain
from tests import gh

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))
MARKER = "<!-- cloudmart preview -->"


def test_zizmor_finds_nothing_unsafe_in_the_workflows() -> None:
    zizmor = Path(sys.executable).parent / "zizmor"
    done = subprocess.run(
        [zizmor, "--offline", "--no-progress", ROOT / ".github/workflows"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def shell_scripts() -> Iterator[tuple[str, str]]:
    """Name and text of every script that a forge runs; actionlint finds those within GitHub's workflows."""
    for file in sorted((ROOT / ".ci").iterdir()):
        if "bash" in file.read_text().splitlines()[0]:
            yield file.name, file.read_text()
    for name, job in yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text()).items():
        for key in ("before_script", "script", "after_script"):
            if isinstance(job, dict) and key in job:
                # As GitLab's runner starts them.
                yield f"{name}.{key}", "\n".join(["#!/usr/bin/env bash", "set -eo pipefail", *job[key]])


def shellcheck(text: str) -> str:
    """What shellcheck has to say of a script; nothing for a good one."""
    command: list[str | Path] = [Path(sys.executable).parent / "shellcheck", "--norc", "--format=gcc", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout


def test_shellcheck_finds_nothing_wrong_in_the_scripts_and_something_in_a_broken_one() -> None:
    found = dict(shell_scripts())
    assert {"preview", "deliver", "run", "audit", "preview.script", "nightly.script", "propose.script"} <= set(found)
    assert {name: said for name, text in found.items() if (said := shellcheck(text))} == {}
    quoted = '"$base:./Pulumi.$stack.yaml"'
    assert quoted in found["preview"]
    assert "SC2086" in shellcheck(found["preview"].replace(quoted, quoted.strip('"')))


@pytest.mark.slow
def test_actionlint_finds_nothing_wrong_in_the_workflows_and_something_in_a_broken_one(tmp_path: Path) -> None:
    text = (ROOT / ".github/workflows/nightly.yaml").read_text()
    broken = tmp_path / "broken.yaml", tmp_path / "broken-script.yaml"
    broken[0].write_text(text.replace("runs-on: ", "runs-on: ${{ matrix.nothing }}-"))
    broken[1].write_text(text.replace('mkdir "$RUNNER_TEMP/rightsize"', "mkdir $RUNNER_TEMP/rightsize"))

    def lint(*files: Path) -> subprocess.CompletedProcess[str]:
        # With the programs of the lock, not with what it would find on some machines. Go keeps what it has built.
        command: list[str | Path] = [
            toolchain.find_go(),
            "tool",
            "actionlint",
            "-no-color",
            f"-shellcheck={Path(sys.executable).parent / 'shellcheck'}",
            "-pyflakes=",
            *files,
        ]
        environment, module = toolchain.go_environment(), ROOT / "tests/actionlint"
        return subprocess.run(command, cwd=module, env=environment, capture_output=True, text=True, timeout=600)

    assert len(WORKFLOWS) > 4
    done = lint(*WORKFLOWS)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    found = lint(*broken)
    assert found.returncode == 1
    assert 'property "nothing" is not defined' in found.stdout
    assert "SC2086" in found.stdout


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
        for name, job in (("engine-preview", "engine"), ("deploy", "deploy"))
    ]
    assert groups[0].split("$")[0] != groups[1].split("$")[0]


@pytest.mark.parametrize(
    "file",
    [*WORKFLOWS, ROOT / ".gitlab-ci.yml", ROOT / ".ci/preview", ROOT / ".ci/deliver", ROOT / ".ci/deploy"],
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


class GitHub:
    """The pull request 7 of a fork, with somebody else's comment on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "artifact"
        self.folder.mkdir()
        self._file = gh.install(
            folder / "bin",
            pulls=[{"number": 7, "head": {"label": "fork:branch", "sha": "new"}}],
            comments=[{"id": 10, "user": {"login": "somebody"}, "body": f"{MARKER}\nnot ours"}],
        )
        workflow = yaml.safe_load((ROOT / ".github/workflows/comment.yaml").read_text())
        (self._step,) = (step for step in workflow["jobs"]["comment"]["steps"] if "run" in step)

    def comment(self, sha: str = "new") -> subprocess.CompletedProcess[str]:
        """The workflow's own script, with what the event says."""
        given = dict(self._step["env"]) | {
            "GH_TOKEN": "token",
            "REPOSITORY": "o/r",
            "HEAD": "fork:branch",
            "SHA": sha,
            "FOLDER": str(self.folder),
            "PATH": f"{self._file.parent}:{os.environ['PATH']}",
        }
        assert set(given) - {"PATH"} == set(self._step["env"])
        return subprocess.run(
            ["bash", "-e", "-c", self._step["run"]], capture_output=True, text=True, timeout=60, env=given
        )

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._file.read_text())
        return found


@pytest.fixture
def github(tmp_path: Path) -> GitHub:
    return GitHub(tmp_path)


def test_a_comment_is_posted_once_then_updated_and_those_of_others_are_left_alone(github: GitHub) -> None:
    for text in ("first", "second"):
        # The marker within is no second comment's beginning.
        (github.folder / "comment.md").write_text(f"{MARKER}\n{text}\n{MARKER}\nmore\n")
        done = github.comment()
        assert done.returncode == 0, done.stderr
    assert [comment["body"] for comment in github.state["comments"]] == [
        f"{MARKER}\nnot ours",
        f"{MARKER}\nsecond\nmore\n",
    ]
    assert [call for call in github.state["calls"] if not call.startswith("GET")] == [
        "POST repos/o/r/issues/7/comments",
        "PATCH repos/o/r/issues/comments/20",
    ]


def test_what_a_newer_push_has_overtaken_is_not_posted(github: GitHub) -> None:
    (github.folder / "comment.md").write_text("old")
    done = github.comment(sha="old")
    assert (done.returncode, done.stdout) == (0, "no open pull request has old as its head any more\n")
    assert github.state["calls"] == ["GET repos/o/r/pulls"]


@pytest.mark.parametrize("what", ["a link", "too long", "missing"])
def test_an_artifact_that_is_no_comment_is_not_posted(github: GitHub, what: str) -> None:
    file = github.folder / "comment.md"
    if what == "a link":
        file.symlink_to("/etc/passwd")
    elif what == "too long":
        file.write_text("x" * 65_537)
    done = github.comment()
    assert (done.returncode, done.stdout) == (1, "::error::the artifact holds no comment\n")
    assert github.state["calls"] == []


def git(folder: Path, *args: str) -> str:
    known = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    done = subprocess.run(["git", "-C", folder, *known, *args], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def checked_out(folder: Path) -> Path:
    """A clone of the project as it is committed, but for the scripts under test."""
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True, timeout=60)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    for script in ("preview", "deliver", "codequality"):
        shutil.copy(ROOT / ".ci" / script, folder / ".ci" / script)
    return folder


@pytest.mark.slow
def test_the_preview_of_a_forge_compares_every_stack_with_the_base_also_a_new_one(tmp_path: Path) -> None:
    clone, out = checked_out(tmp_path / "clone"), tmp_path / "out"
    shutil.copy(clone / "Pulumi.dev.yaml", clone / "Pulumi.fresh.yaml")
    done = subprocess.run([clone / ".ci/preview", "HEAD", out], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    for stack in ("dev", "fresh", "prod"):
        assert json.loads((out / f"{stack}.sarif").read_text())["version"] == "2.1.0"
        assert "<testsuite" in (out / f"{stack}.xml").read_text()
    comment = (out / "comment.md").read_text()
    assert comment.startswith(MARKER)
    assert len(comment.encode()) <= 65_536


def one(root: ElementTree.Element, name: str) -> ElementTree.Element:
    """The test case of that name."""
    (found,) = (case for case in root.iter("testcase") if case.get("name") == name)
    return found


def test_a_base_that_was_not_fetched_stops_the_preview_instead_of_comparing_with_nothing(tmp_path: Path) -> None:
    clone, out = checked_out(tmp_path / "clone"), tmp_path / "out"
    done = subprocess.run([clone / ".ci/preview", "nosuch", out], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: BASE: found 'nosuch', which is no revision of this repository; allowed: ")
    assert not (out / "comment.md").exists()


@pytest.mark.slow
def test_a_change_that_breaks_a_rule_is_on_the_pull_request_with_its_line_its_edges_and_its_price(
    tmp_path: Path,
) -> None:
    clone, out = checked_out(tmp_path / "clone"), tmp_path / "out"
    file = clone / "catalog.yaml"
    text, needs = file.read_text(), "needs: [redis]"
    for before, after in (
        # An image of a registry that prod does not allow, another edge, and more CPU.
        (needs, 'needs: [redis, user-service]\n    image: {repository: quay.io/elsewhere/web, tag: "1.2.3"}'),
        ("requests: {cpu: 150m, memory: 256Mi}", "requests: {cpu: 300m, memory: 256Mi}"),
    ):
        assert text.count(before) == 1
        text = text.replace(before, after)
    file.write_text(text)
    line = 1 + text[: text.index("    image: {repository: quay.io")].count("\n")
    git(clone, "commit", "--quiet", "--all", "--message", "a change")
    done = subprocess.run([clone / ".ci/preview", "HEAD~1", out], capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["stack dev: exit status 0", "stack prod: exit status 1"]

    comment = (out / "comment.md").read_text()
    assert comment.startswith(MARKER)
    assert comment.count(MARKER) == 1
    first, dev, prod = comment.split("## Preview of stack ")
    assert re.search(r"^\| dev \| 🟢 \*\*passes\*\* \| [\d.*]+ \| 🔴 [+\d.*]+ \| .*\|$", first, re.MULTILINE)
    assert re.search(r"^\| prod \| 🔴 \*\*refused\*\* \| [\d.*]+ \| 🔴 [+\d.*]+ \| .*\|$", first, re.MULTILINE)
    assert "🟢 **passes**" in dev
    assert "🔴 **refused** | 1 of the policy" in prod
    assert f"| ❌ error | image-registries | catalog.yaml:{line}: services.product-service.image |" in prod
    for part in (dev, prod):
        assert re.search(r"\| Change a month \| 🔴 \*\*\+\d+\.\d\d\*\* \|", part)
        assert re.search(r"\n\| CC-2001 \| [\d.]+ \| [\d.]+ \| \+[\d.]+ \|\n", part)
        assert "| product-service → user-service | edge | added |" in part
        assert "n0 -->|added| n1" in part.split("```mermaid")[1].split("```")[0]
        folded = part[part.index("<details><summary>Changed objects: ") :]
        assert "NetworkPolicy cloudmart/user-service" in folded
        assert "NetworkPolicy cloudmart/user-service" not in part.replace(folded, "")

    (result,) = json.loads((out / "prod.sarif").read_text())["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    assert (result["ruleId"], result["level"]) == ("image-registries", "error")
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("catalog.yaml", line)
    assert not any(r["level"] == "error" for r in json.loads((out / "dev.sarif").read_text())["runs"][0]["results"])

    subprocess.run([sys.executable, clone / ".ci/codequality", out], check=True, timeout=60)
    issues = json.loads((out / "codequality.json").read_text())
    (issue,) = (issue for issue in issues if issue["severity"] == "major")
    assert issue["location"] == {"path": "catalog.yaml", "lines": {"begin": line}}
    assert (issue["check_name"], issue["description"]) == ("image-registries", result["message"]["text"])
    assert len({issue["fingerprint"] for issue in issues}) == len(issues)

    suites = ElementTree.parse(out / "prod.xml").getroot()  # noqa: S314 - of our own making
    assert (suites.get("failures"), suites.get("errors")) == ("1", "0")
    assert one(suites, "image-registries").find("failure") is not None
    assert one(suites, "image-registries").get("line") == str(line)
    assert one(suites, "memory-limits").find("failure") is None
    assert json.loads((out / "prod.json").read_text())["delta"]["changes"]
    assert "quay.io/elsewhere/web" in (out / "prod.html").read_text()


@pytest.mark.slow
def test_files_that_do_not_load_are_on_the_pull_request_too(tmp_path: Path) -> None:
    clone, out = checked_out(tmp_path / "clone"), tmp_path / "out"
    file = clone / "catalog.yaml"
    file.write_text(file.read_text().replace("needs: [redis]", "needs: [reddis]"))
    git(clone, "commit", "--quiet", "--all", "--message", "a mistake")
    done = subprocess.run([clone / ".ci/preview", "HEAD~1", out], capture_output=True, text=True, timeout=240)
    assert done.returncode == 2
    comment = (out / "comment.md").read_text()
    assert comment.count(MARKER) == 1
    assert "| prod | 🔴 **refused** |  |  |  |" in comment
    (row, *_) = re.findall(r"\| ❌ error \| settings \| (.*) \| (.*) \|", comment)
    assert re.fullmatch(r"catalog\.yaml:\d+: services\.product-service\.needs\[0\]", row[0].replace("\\", ""))
    assert row[1].startswith("found 'reddis' (did you mean 'redis'?); allowed: ")


class Delivery:
    """A clone whose delivery repository is a folder."""

    def __init__(self, folder: Path) -> None:
        self.clone, self.bare = checked_out(folder / "clone"), folder / "delivery.git"
        subprocess.run(["git", "init", "--quiet", "--bare", self.bare], check=True, timeout=60)
        self._given = os.environ | {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{self.bare}.insteadOf",
            "GIT_CONFIG_VALUE_0": "https://git.example.com/cloudmart/delivery.git",
            "CLOUDMART_DELIVERY_TOKEN": "hunter2",
        }

    def deliver(self) -> subprocess.CompletedProcess[str]:
        command = [self.clone / ".ci/deliver"]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, env=self._given)

    def change(self) -> str:
        """Commits another version of the image, and returns the commit."""
        file = self.clone / "catalog.yaml"
        assert "1.30.4-alpine-slim" in file.read_text()
        file.write_text(file.read_text().replace("1.30.4-alpine-slim", "1.30.5-alpine-slim"))
        git(self.clone, "commit", "--quiet", "--all", "--message", "newer")
        return git(self.clone, "rev-parse", "HEAD")

    def log(self, form: str) -> list[str]:
        """What was delivered, the latest first."""
        return git(self.bare, "log", f"--format={form}", "main").splitlines()

    def somebody_pushes_before(self, times: int) -> None:
        """Somebody else's commit arrives while each of the next pushes is under way."""
        hook = self.bare / "hooks/pre-receive"
        hook.write_text(f"""#!/bin/sh
unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
printf x >> pushes
[ "$(wc -c < pushes)" -le {times} ] || exit 0
export GIT_AUTHOR_NAME=e GIT_AUTHOR_EMAIL=e@example.com GIT_COMMITTER_NAME=e GIT_COMMITTER_EMAIL=e@example.com
git update-ref refs/heads/main "$(git commit-tree -p main -m elsewhere "main^{{tree}}")"
""")
        hook.chmod(0o755)


@pytest.mark.slow
def test_what_is_merged_is_delivered_once_and_nothing_older_after_it(tmp_path: Path) -> None:
    delivery = Delivery(tmp_path)
    clone, bare, deliver = delivery.clone, delivery.bare, delivery.deliver
    first = deliver()
    assert (first.returncode, first.stderr.splitlines()[-1]) == (0, "stack prod: delivered"), first.stderr
    # Only the stack with GitOps on, in the folder that its Application reads.
    assert {name.rsplit("/")[1] for name in git(bare, "ls-tree", "-r", "--name-only", "main").splitlines()} == {"prod"}
    assert {"stacks/prod/kustomization.yaml", "stacks/prod/_cluster/namespace-cloudmart.yaml"} < set(
        git(bare, "ls-tree", "-r", "--name-only", "main").splitlines()
    )
    assert deliver().stderr.splitlines()[-1] == "stack prod: nothing to deliver"
    assert git(bare, "rev-list", "--count", "main") == "1"

    old = git(clone, "rev-parse", "HEAD")
    new = delivery.change()
    assert deliver().stderr.splitlines()[-1] == "stack prod: delivered"
    assert delivery.log("%(trailers:key=Source,valueonly)")[0] == new
    git(clone, "checkout", "--quiet", old)
    assert deliver().stderr.splitlines()[-1] == "stack prod: a newer commit was delivered already"
    assert git(bare, "rev-list", "--count", "main") == "2"
    assert "hunter2" not in git(bare, "log", "--patch", "main")

    git(clone, "push", "--quiet", "--force", str(bare), f"{new}:main")
    refused = deliver()
    assert refused.returncode == 2
    assert "branch main holds the program" in refused.stderr


@pytest.mark.nightly
def test_a_delivery_on_which_somebody_else_pushed_goes_on_top_of_theirs(tmp_path: Path) -> None:
    delivery = Delivery(tmp_path)
    assert delivery.deliver().returncode == 0
    new = delivery.change()
    delivery.somebody_pushes_before(2)
    done = delivery.deliver()
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("stack prod:")]
    assert said == [
        "stack prod: attempt 1 was not taken",
        "stack prod: attempt 2 was not taken",
        "stack prod: delivered",
    ]
    assert delivery.log("%s") == ["Stack prod", "elsewhere", "elsewhere", "Stack prod"]
    assert delivery.log("%(trailers:key=Source,valueonly)")[0] == new


@pytest.mark.nightly
def test_a_delivery_that_is_never_taken_is_an_error_and_forces_nothing(tmp_path: Path) -> None:
    delivery = Delivery(tmp_path)
    assert delivery.deliver().returncode == 0
    delivery.change()
    delivery.somebody_pushes_before(9)
    done = delivery.deliver()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "stack prod: attempt 3 was not taken"
    assert delivery.log("%s") == ["elsewhere"] * 3 + ["Stack prod"]


class Deploy:
    """A clone of one commit, in which `cloudmart` notes what it is called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in (".ci", ".venv/bin"):
            (folder / name).mkdir(parents=True)
        shutil.copy(ROOT / ".ci/deploy", folder / ".ci")
        cloudmart = folder / ".venv/bin/cloudmart"
        cloudmart.write_text('#!/bin/sh\necho "$@ ${PULUMI_CONFIG_PASSPHRASE-unset}" >> called\n[ "$1" != "$FAILS" ]\n')
        cloudmart.chmod(0o755)
        git(folder, "init", "--quiet")
        git(folder, "commit", "--quiet", "--allow-empty", "--message", "one")
        self.commit = git(folder, "rev-parse", "HEAD")

    def run(self, newest: str | None = None, **given: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")}
        command = [str(self.folder / ".ci/deploy"), "prod", "mine", newest or self.commit]
        return subprocess.run(
            command, env={**kept, "FAILS": "", **given}, capture_output=True, text=True, timeout=60, cwd=self.folder
        )

    @property
    def called(self) -> list[str]:
        file = self.folder / "called"
        return file.read_text().splitlines() if file.is_file() else []


@pytest.mark.parametrize(
    ("given", "passphrase"),
    [
        ({"PULUMI_BACKEND_URL": "s3://b", "PULUMI_ACCESS_TOKEN": "", "PULUMI_CONFIG_PASSPHRASE": "p"}, "p"),
        # As a forge gives a secret that is not set: Pulumi would encrypt with nothing.
        ({"PULUMI_BACKEND_URL": "", "PULUMI_ACCESS_TOKEN": "t", "PULUMI_CONFIG_PASSPHRASE": ""}, "unset"),
    ],
)
def test_a_deploy_is_an_up_and_a_verify_with_what_the_environment_has(
    tmp_path: Path, given: dict[str, str], passphrase: str
) -> None:
    deploy = Deploy(tmp_path)
    assert deploy.run(**given).returncode == 0
    assert deploy.called == [
        f"up --stack prod --context mine {passphrase}",
        f"verify --stack prod --context mine --wait 5m {passphrase}",
    ]


def test_a_deploy_whose_up_fails_fails_and_verifies_nothing(tmp_path: Path) -> None:
    deploy = Deploy(tmp_path)
    assert deploy.run(PULUMI_BACKEND_URL="s3://b", FAILS="up").returncode == 1
    assert [line.split()[0] for line in deploy.called] == ["up"]


def test_a_deploy_whose_state_would_be_lost_with_the_machine_is_refused(tmp_path: Path) -> None:
    deploy = Deploy(tmp_path)
    done = deploy.run(PULUMI_BACKEND_URL="", PULUMI_ACCESS_TOKEN="")
    assert done.returncode == 2
    assert "found neither PULUMI_BACKEND_URL nor PULUMI_ACCESS_TOKEN" in done.stderr
    assert deploy.called == []


def test_a_run_of_an_older_commit_takes_no_newer_one_back(tmp_path: Path) -> None:
    deploy = Deploy(tmp_path)
    done = deploy.run(newest="f" * 40, PULUMI_BACKEND_URL="s3://b")
    assert done.returncode == 2
    assert f"found {deploy.commit}; allowed: {'f' * 40}" in done.stderr
    assert deploy.called == []


@pytest.mark.parametrize(
    ("kinds", "status"), [([], 2), (["wait_timer", "branch_policy"], 2), (["branch_policy", "required_reviewers"], 0)]
)
def test_prod_is_deployed_only_where_somebody_has_to_approve(tmp_path: Path, kinds: list[str], status: int) -> None:
    file = gh.install(tmp_path / "bin", environments={"prod": {"protection_rules": [{"type": kind} for kind in kinds]}})
    workflow = yaml.safe_load((ROOT / ".github/workflows/deploy.yaml").read_text())
    (step,) = (one for one in workflow["jobs"]["deploy"]["steps"] if one.get("name") == "Somebody had to approve")
    given = {"GH_TOKEN": "token", "REPOSITORY": "o/r", "STACK": "prod"}
    assert set(given) == set(step["env"])
    given["PATH"] = f"{file.parent}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-e", "-c", step["run"]], env=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == status
    assert ("found no required reviewers" in done.stdout) == (status == 2)
