"""The cache of previews: the same bytes and status as without it, never an answer to another question."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudmart.preview import cache
from cloudmart.preview.cache import MOST, Answer, Entry
from tests.conftest import Project

ANSWER = Answer(1, ("text\n", "<html>ü</html>"))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of a few files, in a repository, with Helm's cache and definitions beside it."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    root = tmp_path / "shop"
    for name in ("catalog.yaml", "components/one.py", "policy/config/dev.json", "prices.yaml", ".local/log"):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{name}\n")
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "istio.yaml").write_text("{}\n")
    helm = tmp_path / "bin" / "helm"
    helm.parent.mkdir()
    helm.write_text("#!/bin/sh\n")
    helm.chmod(0o755)
    archive = tmp_path / "helm" / "repository" / "kong-1.tgz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"chart")
    monkeypatch.setenv("PATH", f"{helm.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HELM_CACHE_HOME", str(tmp_path / "helm"))
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"], ["tag", "base"]):
        git(root, *command)
    return root


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(root), *who, *arguments], check=True, timeout=60)


def found(root: Path, **other: Any) -> Entry | None:
    options: dict[str, Any] = {
        "formats": ["text", "sarif"],
        "room": 65_536,
        "policy_config": root / "policy/config/dev.json",
        "base": "base",
        "definitions": root.parent / "definitions",
        "folder": root.parent / "previews",
    }
    return cache.entry(**{"stack": "dev", "root": root, **options, **other})


def test_the_same_question_finds_its_answer_again(shop: Path) -> None:
    entry = found(shop)
    assert entry is not None
    assert entry.get() is None
    entry.put(ANSWER)
    assert found(shop) == entry
    assert entry.get() == ANSWER


@pytest.mark.parametrize("name", ["catalog.yaml", "components/one.py", "policy/config/dev.json", "prices.yaml"])
def test_a_file_of_the_project_that_is_edited_renamed_or_gone_is_another_question(shop: Path, name: str) -> None:
    seen = {found(shop)}
    file = shop / name
    file.write_text(file.read_text() + "# edited\n")
    seen.add(found(shop))
    if "config" not in name:
        file.rename(file.with_suffix(".new"))
        seen.add(found(shop))
        file.with_suffix(".new").unlink()
        seen.add(found(shop))
        assert len(seen) == 4
    assert len(seen) >= 2
    assert None not in seen


def test_content_that_moves_from_one_file_to_its_neighbour_is_another_question(shop: Path) -> None:
    (shop / "a.py").write_text("12")
    (shop / "b.py").write_text("3")
    before = found(shop)
    (shop / "a.py").write_text("1")
    (shop / "b.py").write_text("23")
    assert found(shop) != before


@pytest.mark.parametrize(
    "other",
    [
        {"stack": "prod"},
        {"formats": ["sarif", "text"]},
        {"formats": ["text"]},
        {"room": 5000},
        {"policy_config": None},
        {"base": None},
        {"base": "HEAD"},
    ],
    ids=str,
)
def test_another_option_is_another_question(shop: Path, other: dict[str, Any]) -> None:
    assert found(shop, **other) not in (None, found(shop))


def test_a_base_that_moved_is_another_question_and_one_that_is_unknown_none(shop: Path) -> None:
    before = found(shop)
    git(shop, "commit", "--allow-empty", "-qm", "two")
    git(shop, "tag", "--force", "base")
    assert found(shop) not in (None, before)
    assert found(shop, base="nowhere") is None


def _definition(shop: Path, _: pytest.MonkeyPatch) -> None:
    (shop.parent / "definitions" / "argo.yaml").write_text("{}\n")


def _chart(shop: Path, _: pytest.MonkeyPatch) -> None:
    (shop.parent / "helm" / "repository" / "kong-2.tgz").write_bytes(b"chart")


def _helm_itself(shop: Path, _: pytest.MonkeyPatch) -> None:
    (shop.parent / "bin" / "helm").write_text("#!/bin/sh\nexit\n")


def _variable(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_ORGANIZATION", "shop")


def _python(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version", "3.99")


def _package(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop.parent / "purelib" / "pulumi-9.dist-info").mkdir(parents=True)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(shop.parent / "purelib"))


def _own_code(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_CHECKOUT", shop.parent / "bin")


@pytest.mark.parametrize("change", [_definition, _chart, _helm_itself, _variable, _python, _package, _own_code])
def test_what_lies_outside_of_the_project_counts_too(
    shop: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    before = found(shop)
    change(shop, monkeypatch)
    assert found(shop) not in (None, before)


def test_what_tools_leave_in_hidden_folders_does_not_count(shop: Path) -> None:
    before = found(shop)
    (shop / ".local" / "log").write_text("more\n")
    (shop / "components" / "__pycache__").mkdir()
    (shop / "components" / "__pycache__" / "one.pyc").write_bytes(b"1")
    assert found(shop) == before


def test_code_from_elsewhere_is_not_answered_for(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop / "linked").symlink_to(shop.parent / "bin", target_is_directory=True)
    assert found(shop) is None
    (shop / "linked").unlink()
    assert found(shop) is not None
    monkeypatch.setenv("PYTHONPATH", str(shop.parent))
    assert found(shop) is None


@pytest.mark.parametrize(
    "damage",
    [b"", b"{}", gzip.compress(b"{}"), gzip.compress(b"[1]"), gzip.compress(b"\xff")],
    # What gzip makes holds the time: the test's name would be another one in each process.
    ids=["empty", "not packed", "an object", "a list", "no text"],
)
def test_a_damaged_entry_is_none(tmp_path: Path, damage: bytes) -> None:
    entry = Entry(tmp_path / "one")
    entry.file.write_bytes(damage)
    assert entry.get() is None
    entry.put(ANSWER)
    assert entry.get() == ANSWER


def test_an_entry_that_is_cut_anywhere_is_none(tmp_path: Path) -> None:
    entry = Entry(tmp_path / "one")
    entry.put(ANSWER)
    whole = entry.file.read_bytes()
    for size in range(len(whole)):
        entry.file.write_bytes(whole[:size])
        assert entry.get() is None


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    entry = Entry(tmp_path / "file" / "previews" / "one")
    entry.put(ANSWER)
    assert entry.get() is None


def test_only_the_user_reads_entries_and_the_oldest_go(tmp_path: Path) -> None:
    folder = tmp_path / "previews"
    for number in range(MOST + 3):
        entry = Entry(folder / str(number))
        entry.put(ANSWER)
        os.utime(entry.file, (number, number))
    Entry(folder / "last").put(ANSWER)
    left = {file.name for file in folder.iterdir()}
    assert left == {"last", *(str(number) for number in range(4, MOST + 3))}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o077 == 0 for file in folder.iterdir())


def _run(root: Path, cached: bool, *arguments: str) -> tuple[int, str, str, float]:
    environment = {key: value for key, value in os.environ.items() if key not in ("CLOUDMART_NO_CACHE", "PYTHONPATH")}
    environment["XDG_CACHE_HOME"] = str(root.parent / "cache")
    command = [sys.executable, "-m", "cloudmart.cli", "preview", "--root", str(root), *arguments]
    if not cached:
        command.append("--no-cache")
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr, time.perf_counter() - started


@pytest.mark.slow
def test_every_format_has_the_same_bytes_and_status_from_the_cache_in_under_half_a_second(
    whole_project: Project,
) -> None:
    whole_project.config("dev", lambda config: config["cloudmart:budgets"].update({"CC-2001": {"monthly": 10}}))
    root, formats = whole_project.root, ("json", "markdown", "html", "sarif", "junit")
    files = {name: root.parent / f"out.{name}" for name in formats}
    arguments = ["--stack", "dev", *(word for name in formats for word in ("--also", f"{name}={files[name]}"))]

    def answer(cached: bool) -> tuple[tuple[object, ...], float]:
        for file in files.values():
            file.unlink(missing_ok=True)
        *said, seconds = _run(root, cached, *arguments)
        return (*said, {name: file.read_bytes() for name, file in files.items()}), seconds

    plain, slow = answer(cached=False)
    assert plain[0] == 1
    assert answer(cached=True)[0] == plain
    again = [answer(cached=True) for _ in range(3)]
    assert all(found == plain for found, _ in again)
    assert min(seconds for _, seconds in again) < min(0.5, slow)


@pytest.mark.slow
def test_an_error_is_worked_out_anew_each_time(whole_project: Project) -> None:
    whole_project.catalog(lambda catalog: catalog["services"]["user-service"].update(colour="red"))
    for _ in range(2):
        status, out, said, _seconds = _run(whole_project.root, True, "--stack", "dev")
        assert (status, out) == (2, "")
        assert "colour" in said
    assert not (whole_project.root.parent / "cache" / "cloudmart" / "previews").exists()
