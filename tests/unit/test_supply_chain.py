"""What CloudMart is made of is named to the byte: packages by hash, actions by commit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

LOCKS = sorted(ROOT.glob("requirements*.txt"))
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[a-z,]+\])?==[^\s;]+( ;.*)?( --hash=sha256:[0-9a-f]{64})+")
_COMMIT = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
_IMAGE = re.compile(r"docker://\S+@sha256:[0-9a-f]{64}")


def not_locked(text: str) -> list[str]:
    """The requirements of a lock that do not name one version and the digests of its files."""
    whole = re.sub(r"\s*\\\n\s*", " ", text)
    lines = [line.split(" #")[0].rstrip() for line in whole.splitlines()]
    return [line for line in lines if line and not line.lstrip().startswith("#") and not _REQUIREMENT.fullmatch(line)]


def unpinned(workflow: str) -> list[str]:
    """The actions of a workflow that somebody else can exchange: those named by a tag or a branch."""
    found: list[str] = []

    def look(value: object) -> None:
        if isinstance(value, dict):
            uses = value.get("uses")
            if isinstance(uses, str) and not uses.startswith("./"):
                pinned = _IMAGE if uses.startswith("docker://") else _COMMIT
                found.extend([uses] if not pinned.fullmatch(uses) else [])
            for below in value.values():
                look(below)
        elif isinstance(value, list):
            for below in value:
                look(below)

    look(yaml.safe_load(workflow))
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_package_of_a_lock_is_one_version_with_its_hashes(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert not_locked(text) == []
    assert text.count("==") > 40, "the lock is empty"


def test_both_locks_are_there() -> None:
    assert [path.name for path in LOCKS] == ["requirements-dev.txt", "requirements.txt"]


def test_what_cloudmart_runs_with_is_what_it_is_tested_with() -> None:
    tested, run = (set(re.findall(r"^\S+==.*", lock.read_text(encoding="utf-8"), re.MULTILINE)) for lock in LOCKS)
    assert run < tested


@pytest.mark.parametrize("lock", [*LOCKS, ROOT / "benchmarks/checkov.txt"], ids=lambda path: path.name)
def test_the_command_at_a_locks_top_is_one_that_renovate_runs_again(lock: Path) -> None:
    # Its manager pip-compile takes these options, those with a value by `=`, and refuses any other.
    known = re.compile(r"--(universal|generate-hashes|(python-version|extra|output-file)=\S+)")
    found = re.match(r"#.*\n#    uv pip compile (.*)\n", lock.read_text(encoding="utf-8"))
    assert found is not None
    *options, source = found[1].split()
    assert (ROOT / source).is_file()
    assert f"--output-file={lock.relative_to(ROOT)}" in options
    assert [option for option in options if not known.fullmatch(option)] == []


@pytest.mark.parametrize(
    "line",
    [
        "click>=8",
        "click==8.1",
        "click==8.1 --hash=md5:" + "0" * 32,
        "git+https://example.com/click.git",
        "./click",
        "--index-url https://example.com/simple",
        "click @ https://example.com/click.whl",
    ],
)
def test_a_package_without_version_or_hash_is_found(line: str) -> None:
    good = "six==1.17.0 ; python_version < '4' \\\n    --hash=sha256:" + "0" * 64 + "\n    # via x\n"
    assert not_locked(good + line + "\n" + good) == [line]


def test_every_action_is_pinned_to_a_commit() -> None:
    workflows = (ROOT / ".github").rglob("*.y*ml")
    found = {path.name: unpinned(path.read_text(encoding="utf-8")) for path in workflows}
    assert {name: actions for name, actions in found.items() if actions} == {}


def test_an_action_that_can_be_exchanged_is_found() -> None:
    digest = "0" * 40
    steps = [
        {"uses": f"actions/checkout@{digest}"},
        {"uses": f"github/codeql-action/init@{digest}"},
        {"uses": "./.github/actions/own"},
        {"uses": "docker://alpine@sha256:" + "0" * 64},
        {"uses": "actions/checkout@v4"},
        {"uses": "docker://alpine:3"},
        {"run": "make test"},
    ]
    jobs = {"jobs": {"test": {"steps": steps}, "called": {"uses": "owner/repository/.github/workflows/x.yml@main"}}}
    assert unpinned(yaml.safe_dump(jobs)) == [
        "owner/repository/.github/workflows/x.yml@main",
        "actions/checkout@v4",
        "docker://alpine:3",
    ]
