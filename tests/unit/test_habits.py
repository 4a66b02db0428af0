"""What a developer's tools read: hooks, updates, editors, the dev container, owners, the changelog."""

from __future__ import annotations

import configparser
import datetime
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudmart.cluster.crds import STRIMZI_VERSION
from cloudmart.settings import stacks
from cloudmart.settings.charts import CHARTS
from cloudmart.settings.gateway import GATEWAY_API_VERSION
from tests.conftest import ROOT

Json = Any

HOOKS: list[Json] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
RENOVATE: Json = json.loads((ROOT / "renovate.json").read_text())


@cache
def tracked() -> tuple[str, ...]:
    """The files of the repository, those that are not committed yet too."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return tuple(file for file in done.stdout.splitlines() if (ROOT / file).is_file())


# --- hooks -----------------------------------------------------------------------------------------------------------


def files_of(hook: Json) -> list[str]:
    """What pre-commit would give a hook of all that is tracked."""
    return [
        file
        for file in tracked()
        if re.search(hook.get("files", ""), file)
        and (hook.get("types") != ["shell"] or "bash" in (ROOT / file).read_bytes().split(b"\n")[0].decode("latin-1"))
    ]


def command_of(hook: Json) -> list[str]:
    program, *options = shlex.split(hook["entry"])
    assert program.startswith(".venv/bin/")
    # The environment that runs this, wherever it is.
    return [str(Path(sys.executable).parent / Path(program).name), *options]


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_every_hook_is_a_program_of_the_environment_and_has_files_to_look_at(hook: Json) -> None:
    assert Path(command_of(hook)[0]).is_file()
    assert hook["language"] == "system"
    assert files_of(hook)


@pytest.mark.slow
@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_every_hook_passes_on_the_repository_as_it_is(hook: Json) -> None:
    files = files_of(hook) if hook.get("pass_filenames", True) else []
    command = command_of(hook) + (["--check"] if hook["id"] == "format" else [])
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_stack_is_previewed_before_a_commit_that_changes_what_it_declares() -> None:
    previews = {hook["entry"]: re.compile(hook["files"]) for hook in HOOKS if " preview " in hook["entry"]}
    assert set(previews) == {f".venv/bin/cloudmart preview --stack {stack}" for stack in stacks(ROOT)}
    for pattern in previews.values():
        for file in ("catalog.yaml", "Pulumi.dev.yaml", "Pulumi.yaml", "components/mesh.py", "policy/config/prod.json"):
            assert pattern.search(file)
        assert not pattern.search("docs/costs.md")


# --- updates ---------------------------------------------------------------------------------------------------------


def selected(pattern: str) -> list[str]:
    """The files that a pattern of Renovate's selects: between slashes it is an expression."""
    assert pattern.startswith("/")
    assert pattern.endswith("/")
    return [file for file in tracked() if re.search(pattern[1:-1], file)]


def found(manager: Json) -> Iterator[tuple[str, dict[str, str]]]:
    """What one of the managers of our own finds: the file, and the parts of each match."""
    for text in manager["matchStrings"]:
        # Renovate has RE2: no look-around. Python spells a name in another way.
        assert not re.search(r"\(\?[=!]|\(\?<[=!]", text)
        expression = re.compile(text.replace("(?<", "(?P<"))
        for file in sorted({file for pattern in manager["managerFilePatterns"] for file in selected(pattern)}):
            for match in expression.finditer((ROOT / file).read_text()):
                yield file, {key: value for key, value in match.groupdict().items() if value}


def updated(description: str) -> list[tuple[str, dict[str, str]]]:
    (manager,) = (one for one in RENOVATE["customManagers"] if one["description"].startswith(description))
    return list(found(manager))


def test_renovate_sees_the_version_of_every_chart_and_where_newer_ones_are() -> None:
    seen = {(parts["depName"], parts["currentValue"], parts["registryUrl"]) for _, parts in updated("Helm charts")}
    assert seen == {(chart.name, chart.version, chart.repo) for chart in CHARTS.values()}


def test_renovate_sees_every_image_that_the_settings_and_the_catalogs_name() -> None:
    texts = {
        file: (ROOT / file).read_text()
        for file in tracked()
        if re.fullmatch(r"cloudmart/settings/.+\.py|(.+/)?catalog\.yaml|(.+/)?Pulumi\.[\w-]+\.yaml", file)
    }
    python, written = re.compile(r"\btag=\"([^\"]+)"), re.compile(r"\btag: \"?([^\s,\"}]+)")
    named = [
        (file, tag)
        for file, text in texts.items()
        for tag in (python if file.endswith(".py") else written).findall(text)
    ]
    seen = [(file, parts["currentValue"]) for file, parts in updated("Images that") + updated("Images of")]
    assert sorted(seen) == sorted(named)
    assert len(seen) > 9


@pytest.mark.parametrize(
    "text",
    [
        'image: {repository: registry.example.com/shop/web, tag: "1.4.2"}\n',
        "image:\n      repository: registry.example.com/shop/web\n      tag: 1.4.2\n",
        f'image: {{repository: registry.example.com/shop/web, tag: "1.4.2", digest: "sha256:{"a" * 64}"}}\n',
    ],
)
def test_renovate_sees_an_image_however_it_is_written(text: str) -> None:
    (manager,) = (one for one in RENOVATE["customManagers"] if one["description"].startswith("Images of"))
    match = re.search(manager["matchStrings"][0].replace("(?<", "(?P<"), text)
    assert match is not None
    assert (match["depName"], match["currentValue"]) == ("registry.example.com/shop/web", "1.4.2")
    assert match["currentDigest"] == (f"sha256:{'a' * 64}" if "digest" in text else None)


def test_renovate_sees_the_versions_in_constants() -> None:
    assert {(parts["depName"], parts["currentValue"]) for _, parts in updated("A version in a constant")} == {
        ("io.strimzi:api", STRIMZI_VERSION),
        ("kubernetes-sigs/gateway-api", GATEWAY_API_VERSION),
    }


def test_every_comment_for_renovate_is_one_that_a_manager_reads() -> None:
    comments = sum(
        len(re.findall(r"# renovate: ", (ROOT / file).read_text()))
        for file in tracked()
        if file.endswith((".py", ".yaml", ".yml", ".toml")) and not file.startswith("tests/")
    )
    assert comments == len(updated("Helm charts")) + len(updated("A version in a constant"))


def test_renovate_takes_the_locks_and_every_kind_of_file_that_names_a_version() -> None:
    (pattern,) = RENOVATE["pip-compile"]["managerFilePatterns"]
    locks = [file for file in tracked() if file.endswith(".txt") and "uv pip compile" in (ROOT / file).read_text()]
    assert selected(pattern) == locks
    assert {"requirements-dev.txt", "requirements.txt"} <= set(locks)
    assert {file for file in tracked() if file.endswith("go.mod")} > {"cloudmart/cluster/go/go.mod"}
    assert {"custom.regex", "devcontainer", "github-actions", "gitlabci", "gomod", "pip-compile"} == set(
        RENOVATE["enabledManagers"]
    )
    named = {name for rule in RENOVATE["packageRules"] for name in rule.get("matchFileNames", [])}
    assert named <= set(tracked())


# --- editors and the dev container -----------------------------------------------------------------------------------


def test_the_editor_checks_every_catalog_and_stack_with_its_schema() -> None:
    schemas = json.loads((ROOT / ".vscode/settings.json").read_text())["yaml.schemas"]
    assert {(ROOT / name).resolve().relative_to(ROOT).as_posix() for name in schemas} == {
        "schemas/catalog.schema.json",
        "schemas/stack.schema.json",
    }
    covered = {
        path.relative_to(ROOT).as_posix(): name
        for name, globs in schemas.items()
        for g in globs
        for path in ROOT.glob(g)
    }
    shops = [file for file in tracked() if re.fullmatch(r"(examples/\w+/)?(catalog|Pulumi\.[\w-]+)\.yaml", file)]
    assert set(covered) == set(shops)
    for file, name in covered.items():
        assert ("catalog" in file) == ("catalog" in name)


def test_the_dev_container_is_what_the_pipeline_runs_in_and_has_the_editors_extensions() -> None:
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    image = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())["default"]["image"]
    assert container["image"] == image
    assert re.fullmatch(r"[\w./]+:[\w.-]+@sha256:[0-9a-f]{64}", image)
    recommended = json.loads((ROOT / ".vscode/extensions.json").read_text())["recommendations"]
    assert container["customizations"]["vscode"]["extensions"] == recommended


def editorconfig(file: str) -> dict[str, str]:
    """What .editorconfig says of a file; the globs that are in use here."""
    parser = configparser.ConfigParser()
    parser.read_string("[root]\n" + (ROOT / ".editorconfig").read_text())
    kept: dict[str, str] = {}
    for glob in parser.sections():
        expression = re.escape(glob).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
        expression = expression.replace(r"\{", "(").replace(r"\}", ")").replace(",", "|")
        if re.fullmatch(expression if "/" in glob else f"(.*/)?{expression}", file):
            kept |= dict(parser[glob])
    return kept


def test_every_file_is_as_the_editors_are_told() -> None:
    wrong = []
    for file in tracked():
        kept, data = editorconfig(file), (ROOT / file).read_bytes()
        if b"\0" in data:
            continue
        lines = data.decode(kept["charset"]).split("\n")
        if kept["insert_final_newline"] == "true" and data and (lines[-1] != "" or lines[-2] == ""):
            wrong.append(f"{file}: last line")
        for number, line in enumerate(lines, 1):
            if "\r" in line or (kept["trim_trailing_whitespace"] == "true" and line != line.rstrip()):
                wrong.append(f"{file}:{number}: end of line")
            if kept["indent_style"] == "space" and line.startswith("\t"):
                wrong.append(f"{file}:{number}: tab")
    assert wrong == []


# --- people ----------------------------------------------------------------------------------------------------------


def test_every_place_that_has_owners_exists() -> None:
    lines = [line for line in (ROOT / "CODEOWNERS").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0].split()[0] == "*", "everything has an owner"
    for line in lines:
        place, *owners = line.split()
        assert owners
        assert all(re.fullmatch(r"@[\w-]+/[\w-]+", owner) for owner in owners)
        assert place == "*" or (ROOT / place.strip("/")).exists(), place


def releases(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Version, date and sections of each release of a changelog, the newest first."""
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading = re.fullmatch(r"\[([^\]]+)\](?: - (\S+))?", section.splitlines()[0])
        assert heading is not None, section.splitlines()[0]
        yield heading[1], heading[2] or "", re.findall(r"^### (.*)", section, re.MULTILINE)


def test_the_changelog_begins_with_what_is_not_released_and_goes_back_from_this_version() -> None:
    first, *released = releases((ROOT / "CHANGELOG.md").read_text())
    assert first[:2] == ("Unreleased", "")
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert all(set(sections) <= kinds for _, _, sections in (first, *released))
    versions = [tuple(map(int, version.split("."))) for version, _, _ in released]
    assert all(len(version) == 3 for version in versions)
    assert versions == sorted(versions, reverse=True)
    dates = [datetime.date.fromisoformat(date) for _, date, _ in released]
    assert dates == sorted(dates, reverse=True)
    if released:
        assert released[0][0] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.mark.parametrize(
    ("tag", "changelog", "status", "said"),
    [
        (
            "v1.2.0",
            "## [Unreleased]\n\n## [1.2.0] - 2027-01-31\n\n### Added\n- it\n\n## [1.1.0] - 2027-01-01\n- old\n",
            0,
            "",
        ),
        ("v1.2.1", "## [Unreleased]\n", 2, "tag: found 'v1.2.1'; allowed: v1.2.0"),
        ("1.2.0", "## [Unreleased]\n", 2, "tag: found '1.2.0'; allowed: v1.2.0"),
        ("v1.2.0", "## [Unreleased]\n- it\n", 2, "CHANGELOG.md: found nothing on 1.2.0"),
        (
            "v1.2.0",
            "## [Unreleased]\n\n## [1.2.0] - 2027-01-31\n\n## [1.1.0] - x\n- old\n",
            2,
            "found nothing on 1.2.0",
        ),
    ],
)
def test_the_notes_of_a_release_are_its_section_and_a_tag_of_another_version_is_refused(
    tmp_path: Path, tag: str, changelog: str, status: int, said: str
) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/release-notes", tmp_path / ".ci")
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{changelog}")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    command = [sys.executable, str(tmp_path / ".ci/release-notes"), tag]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == status
    assert said in done.stderr
    assert done.stdout == ("### Added\n- it\n" if status == 0 else "")
