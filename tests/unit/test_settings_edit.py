"""Writing a stack's file: the values that were asked for, and not a character more."""

from __future__ import annotations

import difflib
import errno
import os
import stat
from pathlib import Path

import pytest
import yaml

from cloudmart.errors import UserError
from cloudmart.preview.recorder import HOME
from cloudmart.settings import load, stacks
from cloudmart.settings.edit import Change, edited, write

CPU = ("services", "user-service", "resources", "requests", "cpu")
CHANGES: list[Change] = [
    (CPU, "45m"),
    (("services", "user-service", "resources", "requests", "memory"), "100Mi"),
    (("services", "user-service", "resources", "limits", "cpu"), "225m"),
    (("services", "notification-service", "autoscaling", "cpu"), 80),
]


def stack(folder: Path, text: str) -> Path:
    path = folder / "Pulumi.test.yaml"
    path.write_text(text)
    return path


def lines(old: str, new: str) -> tuple[list[str], list[str]]:
    """What a diff takes away and what it adds."""
    found = [line for line in difflib.unified_diff(old.splitlines(), new.splitlines(), n=0) if line[:2] != "@@"][2:]
    return [line[1:] for line in found if line[0] == "-"], [line[1:] for line in found if line[0] == "+"]


@pytest.mark.parametrize("name", stacks(HOME))
def test_in_the_projects_own_stacks_only_the_services_that_change_get_other_lines(name: str) -> None:
    old = (HOME / f"Pulumi.{name}.yaml").read_text()
    gone, new = lines(old, edited(name, HOME, CHANGES))
    assert all(line.strip().startswith(("user-service:", "notification-service:")) for line in gone)
    assert "        requests: {cpu: 45m, memory: 100Mi}" in new
    assert "      autoscaling: {cpu: 80}" in new


@pytest.mark.parametrize("name", stacks(HOME))
def test_every_value_that_was_not_asked_for_stays(name: str) -> None:
    before = yaml.safe_load((HOME / f"Pulumi.{name}.yaml").read_text())
    after = yaml.safe_load(edited(name, HOME, CHANGES))
    services = after["config"].pop("cloudmart:services")
    expected = before["config"].pop("cloudmart:services", {})
    assert after == before
    for service, content in services.items():
        kept = {key: value for key, value in content.items() if key not in ("resources", "autoscaling")}
        assert kept == expected.get(service, {})


def test_what_was_written_is_what_the_settings_read(project: object, tmp_path: Path) -> None:
    root = tmp_path / "project"
    assert write("dev", root, CHANGES)
    services = load("dev", root).services
    assert str(services["user-service"].resources.requests.cpu) == "45m"
    assert str(services["user-service"].resources.limits.memory) == "256Mi"
    scaling = services["notification-service"].autoscaling
    assert scaling is not None
    assert (scaling.cpu, scaling.max) == (80, 3)


def test_writing_the_same_again_changes_nothing_not_even_the_files_time(project: object, tmp_path: Path) -> None:
    root = tmp_path / "project"
    assert write("dev", root, CHANGES)
    before = (root / "Pulumi.dev.yaml").stat()
    assert not write("dev", root, CHANGES)
    after = (root / "Pulumi.dev.yaml").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_comments_and_order_stay_where_they_are(tmp_path: Path) -> None:
    text = """\
# about the file
config:
  cloudmart:services: # about services
    # about b
    b: {env: {A: "1"}} # beside b
    user-service:
      resources:
        requests: {cpu: 100m, memory: 128Mi} # measured in May
        limits:
          memory: 256Mi # twice
          cpu: 300m
  # at the end
  other:key: [one, two]
"""
    stack(tmp_path, text)
    gone, new = lines(text, edited("test", tmp_path, CHANGES[:3]))
    assert gone == ["        requests: {cpu: 100m, memory: 128Mi} # measured in May", "          cpu: 300m"]
    # The comment stays in its column.
    assert new == ["        requests: {cpu: 45m, memory: 100Mi}  # measured in May", "          cpu: 225m"]


@pytest.mark.parametrize("indent", ["", "  "])
def test_lists_keep_their_indentation(tmp_path: Path, indent: str) -> None:
    text = f"config:\n  other:list:\n  {indent}- a\n  {indent}- b\n"
    stack(tmp_path, text)
    assert edited("test", tmp_path, CHANGES).startswith(text)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "config:\n", "config:\n  cloudmart:services:\n"])
def test_an_empty_file_gets_the_keys_that_it_lacks(tmp_path: Path, text: str) -> None:
    stack(tmp_path, text)
    found = yaml.safe_load(edited("test", tmp_path, CHANGES))
    assert found["config"]["cloudmart:services"]["user-service"]["resources"]["requests"]["cpu"] == "45m"


@pytest.mark.parametrize(
    "value",
    [
        "1",
        "0.5",
        "1e3",
        "yes",
        "N",
        "010",
        "1_000",
        "1:30",
        "0x1F",
        "1.5e+3",
        "2026-11-23",
        "2026-01-01t00:00:00z",
        ".inf",
        ".NaN",
    ],
)
def test_text_that_yaml_would_read_as_something_else_is_quoted(tmp_path: Path, value: str) -> None:
    stack(tmp_path, "config: {}\n")
    text = edited("test", tmp_path, [(CPU, value)])
    assert f'"{value}"' in text
    assert yaml.safe_load(text)["config"]["cloudmart:services"]["user-service"]["resources"]["requests"]["cpu"] == value


def test_a_key_that_holds_something_else_is_named(tmp_path: Path) -> None:
    stack(tmp_path, "config:\n  cloudmart:services:\n    user-service: 3\n")
    with pytest.raises(UserError, match=r"Pulumi.test.yaml: config.cloudmart:services.user-service: found 3; allowed"):
        edited("test", tmp_path, CHANGES)


@pytest.mark.parametrize("text", ["config: {a: &x 1, b: *x}\n", "config: {a: 1, a: 2}\n", "config: [\n", "- a\n"])
def test_a_file_that_the_settings_would_refuse_is_refused_and_not_rewritten(tmp_path: Path, text: str) -> None:
    path = stack(tmp_path, text)
    with pytest.raises(UserError, match=r"Pulumi\.test\.yaml"):
        write("test", tmp_path, CHANGES)
    assert path.read_text() == text


def test_a_full_disk_leaves_the_file_as_it_was_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stack(tmp_path, "config: {}\n")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"Pulumi.test.yaml: cannot be written: No space left on device"):
        write("test", tmp_path, CHANGES)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "config: {}\n"


def test_the_files_permissions_stay(tmp_path: Path) -> None:
    path = stack(tmp_path, "config: {}\n")
    path.chmod(0o640)
    assert write("test", tmp_path, CHANGES)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
