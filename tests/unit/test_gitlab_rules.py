"""Which job of .gitlab-ci.yml runs when: its conditions, evaluated as GitLab does, for every kind of pipeline."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PIPELINE: dict[str, Any] = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())
KEYWORDS = {"stages", "workflow", "default"}
JOBS = {name: job for name, job in PIPELINE.items() if name not in KEYWORDS and not name.startswith(".")}

SWITCHES = {
    "CLOUDMART_COMMENT_TOKEN": "token",
    "CLOUDMART_PUSH_TOKEN": "token",
    "CLOUDMART_ENGINE_PREVIEW": "true",
    "CLOUDMART_DEPLOY": "true",
    "CLOUDMART_DELIVERY": "true",
}
PROJECT = {"CI_PROJECT_ID": "1", "CI_DEFAULT_BRANCH": "main"}
MERGE_REQUEST = PROJECT | {"CI_PIPELINE_SOURCE": "merge_request_event", "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "1"}
FORK = MERGE_REQUEST | {"CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "2"}
MERGED = PROJECT | {"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_BRANCH": "main"}
BRANCH = MERGED | {"CI_COMMIT_BRANCH": "feature"}
TAG = PROJECT | {"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_TAG": "v1"}
SCHEDULE = MERGED | {"CI_PIPELINE_SOURCE": "schedule"}

OPERAND = r'(?:\$\w+|"[^"]*")'


def holds(condition: str, variables: Mapping[str, str]) -> bool:
    """A condition of variables, quoted texts, `==`, `!=` and `&&`; another one is an error, and not taken for true."""

    def value(operand: str) -> str | None:
        return variables.get(operand[1:]) if operand.startswith("$") else operand[1:-1]

    def term(text: str) -> bool:
        found = re.fullmatch(rf"({OPERAND})(?: (==|!=) ({OPERAND}))?", text)
        assert found is not None, f"not understood: {text}"
        left, operator, right = found.groups()
        if operator is None:
            return bool(value(left))
        return (value(left) == value(right)) == (operator == "==")

    return all(term(" ".join(part.split())) for part in condition.split("&&"))


def when(rules: list[dict[str, Any]], variables: Mapping[str, str]) -> str:
    """The first rule that holds says when; none means never. The variable `changed` is the file that changed."""
    for rule in rules:
        assert set(rule) <= {"if", "when", "allow_failure", "changes"}
        if holds(rule["if"], variables) and changed(rule.get("changes"), variables.get("changed", "catalog.yaml")):
            return str(rule.get("when", "on_success"))
    return "never"


def changed(globs: list[str] | None, file: str) -> bool:
    """GitLab's globs are Ruby's: `{a,b}` is either, `**/` any folders or none, `*` no slash."""
    if globs is None:
        return True
    alternatives = [one for glob in globs for one in _alternatives(glob)]
    return any(re.fullmatch(_pattern(one), file) for one in alternatives)


def _alternatives(glob: str) -> list[str]:
    head, opened, rest = glob.partition("{")
    inner, _, tail = rest.partition("}")
    return [head + one + tail for one in inner.split(",")] if opened else [glob]


def _pattern(glob: str) -> str:
    parts = re.split(r"(\*\*/|\*)", glob)
    return "".join({"**/": "(?:[^/]+/)*", "*": "[^/]*"}.get(part) or re.escape(part) for part in parts)


def jobs(variables: Mapping[str, str]) -> dict[str, str]:
    """The jobs of the pipeline that would be made, and when each runs."""
    if when(PIPELINE["workflow"]["rules"], variables) == "never":
        return {}
    found = {name: when(job["rules"], variables) for name, job in JOBS.items()}
    return {name: how for name, how in found.items() if how != "never"}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (FORK, {"preview": "on_success"}),
        (MERGE_REQUEST, {"preview": "on_success", "comment": "always", "engine": "on_success"}),
        (BRANCH, {}),
        (TAG, {}),
        (MERGED, {"deploy-dev": "on_success", "deploy-prod": "manual", "deliver": "on_success"}),
        (SCHEDULE, {"nightly": "on_success", "propose": "always"}),
    ],
    ids=["a fork's merge request", "merge request", "branch", "tag", "merged", "schedule"],
)
def test_with_everything_switched_on_each_event_runs_its_own_jobs_and_a_fork_none_with_a_token(
    event: dict[str, str], expected: dict[str, str]
) -> None:
    assert jobs(event | SWITCHES) == expected


@pytest.mark.parametrize("event", [FORK, MERGE_REQUEST, BRANCH, TAG, MERGED, SCHEDULE])
def test_as_it_comes_only_the_preview_of_a_merge_request_runs(event: dict[str, str]) -> None:
    expected = {"preview": "on_success"} if "CI_MERGE_REQUEST_SOURCE_PROJECT_ID" in event else {}
    assert jobs(event) == expected


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


def test_a_change_of_anything_but_the_shops_own_files_is_tested() -> None:
    for file in set(tracked()) - {"LICENSE"}:
        shop = file == "catalog.yaml" or re.fullmatch(r"Pulumi\.\w+\.yaml", file) is not None
        assert ("check" in jobs(MERGE_REQUEST | {"changed": file})) is not shop, file
        assert "check" not in jobs(MERGED | {"changed": file})


@pytest.mark.parametrize("switch", SWITCHES)
def test_each_switch_switches_something_on(switch: str) -> None:
    without = {name: value for name, value in SWITCHES.items() if name != switch}
    events = (MERGE_REQUEST, MERGED, SCHEDULE)
    assert [jobs(event | SWITCHES) for event in events] != [jobs(event | without) for event in events]


def test_the_production_deploy_holds_up_what_comes_after_it_until_somebody_starts_it() -> None:
    assert PIPELINE["deploy-prod"]["rules"][0]["allow_failure"] is False


@pytest.mark.parametrize("condition", ["$A =~ /x/", "$A || $B", "($A)", "$A == 'x'"])
def test_a_condition_that_is_not_understood_is_an_error(condition: str) -> None:
    with pytest.raises(AssertionError, match="not understood"):
        holds(condition, {"A": "x", "B": ""})
