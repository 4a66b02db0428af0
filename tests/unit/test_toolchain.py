"""Finding and building the local cluster's programs, without building any."""

from __future__ import annotations

import re
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from cloudmart.cluster import toolchain
from cloudmart.errors import UserError

Usage = namedtuple("Usage", "total used free")


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _no_cache_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(toolchain.MODE_VARIABLE, raising=False)


def publish(*names: str) -> Path:
    directory = toolchain.cache_directory() / "tools" / toolchain.identity()
    for name in names:
        (directory / name).mkdir(parents=True)
    return directory


def test_go_mod_names_exactly_the_programs_that_are_built() -> None:
    declared = re.search(r"^tool \((.*?)^\)", (toolchain.GO_MODULE / "go.mod").read_text(), re.MULTILINE | re.DOTALL)
    assert declared is not None
    assert set(declared[1].split()) == set(toolchain.PACKAGES.values())
    assert set(toolchain.OPTIONS) == set(toolchain.PACKAGES) - {toolchain.KWOKCTL}


def test_all_of_kubernetes_is_pinned_to_one_version() -> None:
    minor_and_patch = toolchain.version("k8s.io/kubernetes").removeprefix("v1.")
    text = (toolchain.GO_MODULE / "go.mod").read_text()
    staging = re.findall(
        r"^\s+k8s\.io/(?:api|apiserver|client-go|component-base|kubectl|metrics) v0\.(\S+)", text, re.M
    )
    assert len(staging) == 6
    assert set(staging) == {minor_and_patch}


def test_an_unknown_mode_is_refused_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(toolchain.MODE_VARIABLE, "guess")
    with pytest.raises(UserError, match=r"CLOUDMART_TOOLS='guess': allowed are build and download"):
        toolchain.ensure(lambda _: None)


def test_what_another_clone_has_built_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = publish("base", "bin")
    monkeypatch.setattr(toolchain, "find_go", lambda: pytest.fail("nothing was to be built"))
    said: list[str] = []
    assert toolchain.ensure(said.append) == toolchain.Tools(base=directory / "base", binaries=directory / "bin")
    assert said == []


def test_programs_are_built_only_where_the_releases_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = publish("base")
    built: list[Path] = []
    monkeypatch.setattr(toolchain, "_build_binaries", lambda target, _: built.append(target))
    monkeypatch.setattr(toolchain, "_official_releases_reachable", lambda _: True)
    assert toolchain.ensure(lambda _: None).binaries is None
    assert built == []
    monkeypatch.setenv(toolchain.MODE_VARIABLE, "build")
    assert toolchain.ensure(lambda _: None).binaries == directory / "bin"
    assert len(built) == 1
    monkeypatch.setenv(toolchain.MODE_VARIABLE, "download")
    assert toolchain.ensure(lambda _: None).binaries is None


@pytest.mark.parametrize(("missing", "reachable"), [(None, True), ("etcd", False)])
def test_the_releases_are_in_reach_only_if_all_that_kwokctl_names_answer(
    missing: str | None, reachable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "kwokctl", "echo https://a.example/kubectl; echo https://b.example/etcd.tar.gz#etcd")
    asked: list[str] = []

    def answers(address: str) -> bool:
        asked.append(address)
        return missing is None or missing not in address

    monkeypatch.setattr(toolchain, "_answers", answers)
    assert toolchain._official_releases_reachable(tmp_path) is reachable
    assert sorted(asked) == ["https://a.example/kubectl", "https://b.example/etcd.tar.gz"]


def test_nothing_is_asked_but_over_tls() -> None:
    assert not toolchain._answers("http://localhost/kubectl")
    assert not toolchain._answers("file:///etc/hostname")


def test_an_interrupted_build_leaves_nothing_behind(tmp_path: Path) -> None:
    def build(target: Path) -> None:
        (target / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toolchain._publish(tmp_path / "bin", build)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_build_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".making-old").mkdir()
    toolchain._publish(tmp_path / "bin", lambda target: (target / "etcd").touch())
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_an_old_go_is_passed_over_for_a_newer_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = program(tmp_path / "old" / "go", "echo go1.20.1")
    new = program(tmp_path / "venv" / "go", "echo go1.99.0")
    monkeypatch.setenv("PATH", f"{old.parent}:/bin:/usr/bin")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    assert toolchain.find_go() == new
    new.unlink()
    with pytest.raises(UserError, match=r"Go 1\.26\.\d+ or newer is needed .* is go1\.20\.1"):
        toolchain.find_go()


def test_a_build_that_fails_shows_what_go_said_without_the_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = program(
        tmp_path / "go",
        "exec >&2; echo 'go: downloading k8s.io/api v0.1.0'; echo k8s.io/api; echo './x.go:1:2: broken'; exit 1",
    )
    with pytest.raises(UserError, match=r"building kwokctl failed:\n  \./x\.go:1:2: broken$"):
        toolchain._go_build(go, tmp_path, ["kwokctl"], "", lambda _: None)


def test_a_full_disk_is_named_before_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10, 9, 2**30))
    with pytest.raises(UserError, match=r"1\.0 GiB free"):
        toolchain._require_room(tmp_path)


@pytest.mark.parametrize(("said", "fits"), [("v1.35.0", True), ("v1.37.9", True), ("v1.34.1", False), ("?", False)])
def test_a_kubectl_on_path_serves_within_one_minor_version(
    said: str, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = program(tmp_path / "path" / "kubectl", f"echo 'Client Version: {said}'")
    built = publish("bin", "base") / "bin" / "kubectl"
    monkeypatch.setenv("PATH", f"{found.parent}:/bin:/usr/bin")
    assert toolchain.kubectl() == (found if fits else built)


def test_the_built_kubectl_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = program(publish("bin") / "bin" / "kubectl", "true")
    found = program(tmp_path / "path" / "kubectl", "echo 'Client Version: v1.36.0'")
    monkeypatch.setenv("PATH", f"{found.parent}:/bin:/usr/bin")
    assert toolchain.kubectl() == built
