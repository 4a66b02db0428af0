"""`cloudmart preview --base` and its relatives: a real repository, the real program in both revisions."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from cloudmart.cli import main
from cloudmart.errors import UserError
from cloudmart.preview import document, report
from cloudmart.preview.run import Against, PreviewResult, preview
from cloudmart.report import html, pull_request
from tests.conftest import Project, copy_project

# Whole runs of the preview, some in processes of their own.
pytestmark = pytest.mark.slow

Json = Any


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(root), *who, *arguments], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout.strip()


def commit(project: Project) -> str:
    git(project.root, "add", "-A")
    git(project.root, "commit", "-q", "-m", "change")
    return git(project.root, "rev-parse", "HEAD")


@pytest.fixture
def repository(project: Project) -> Project:
    """The project as the first commit of a repository of its own."""
    return committed(project)


def committed(project: Project) -> Project:
    (project.root / ".gitignore").write_text(".local/\n.venv\n__pycache__/\n")
    git(project.root, "init", "-q", "-b", "main")
    commit(project)
    return project


def more(catalog: Json) -> None:
    services = catalog["services"]
    services["user-service"]["resources"]["requests"]["cpu"] = "200m"
    services["product-service"]["autoscaling"]["max"] = 14
    del services["notification-service"]


def without_notifications(config: Json) -> None:
    config["cloudmart:services"].pop("notification-service")


def changed(project: Project) -> None:
    project.catalog(more)
    project.config("dev", without_notifications)


def command(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cloudmart.cli", "preview", "-s", "dev", "--root", str(project.root), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A repository with changes that are not committed, which no test may change further."""
    project = committed(copy_project(tmp_path_factory.mktemp("edited") / "project", program=False))
    changed(project)
    return project


@pytest.fixture(scope="module")
def found(edited: Project) -> PreviewResult:
    """The changes against the commit."""
    return against(edited, "main")


def against(project: Project, ref: str) -> PreviewResult:
    return preview("dev", project.root, against=Against(base=ref))


def test_a_work_tree_against_its_own_commit_changes_nothing(repository: Project) -> None:
    found = against(repository, "HEAD").delta
    assert found is not None
    assert found.changes == ()
    assert git(repository.root, "worktree", "list").count("\n") == 0
    assert list((repository.root / ".local").iterdir()) == []


def test_uncommitted_changes_against_main_have_their_cost_and_the_summary_comes_first(edited: Project) -> None:
    ended = command(edited, "--base", "main")
    assert (ended.returncode, ended.stderr) == (0, "")
    first, cost, budget = ended.stdout.splitlines()[:3]
    assert first.startswith("Against main (")
    assert first.endswith(": 4 updated, 8 deleted")
    # user-service: 2 pods x 100m more, of 2 to 8; notification-service: 2 pods of 50m and 64Mi, of 1 to 3, less.
    expected, most = 2 * 0.1 - 2 * 0.05, 8 * 0.1 - 3 * 0.05 + 4 * 0.15
    cpu, ram = 0.031611 * 730, 0.004237 * 730
    assert cost.strip().startswith(f"{expected * cpu - 2 * ram / 16:+.2f} USD a month expected")
    assert cost.endswith(f"at most {most * cpu - 3 * ram / 16 + 4 * ram / 4:+.2f}")
    assert budget.strip().startswith("budget CC-2001 within: ")
    assert "by this change: update Deployment user-service +4.62" in budget


def test_the_base_runs_its_own_program_and_components(whole_project: Project) -> None:
    repository = committed(whole_project)
    program = repository.root / "components" / "microservice.py"
    text = program.read_text()
    assert "revision_history_limit=5" in text
    program.write_text(text.replace("revision_history_limit=5", "revision_history_limit=7"))
    found = against(repository, "HEAD").delta
    assert found is not None
    assert {(c.kind, p.path, p.before, p.after) for c in found.changes for p in c.properties} == {
        ("Deployment", "spec.revisionHistoryLimit", "5", "7")
    }
    assert len(found.changes) == 5


def test_each_side_is_priced_at_its_own_prices(repository: Project) -> None:
    repository.config("dev", lambda config: config.update({"cloudmart:prices": {"regionMultiplier": 2}}))
    found = against(repository, "HEAD").delta
    assert found is not None
    assert {change.op for change in found.changes} == {"same"}
    assert found.after.monthly.expected == 2 * found.before.monthly.expected


def test_a_passed_budget_is_a_violation_that_names_the_change(repository: Project) -> None:
    repository.config("dev", lambda config: config["cloudmart:budgets"].update({"CC-2001": {"monthly": 50}}))
    commit(repository)
    changed(repository)
    result = against(repository, "HEAD")
    (violation,) = result.mandatory
    assert violation.rule == "budget"
    assert "over the budget of 50.00; +1.92 by this change: update Deployment user-service +4.62" in violation.message
    assert result.exit_code == 1
    assert "budget CC-2001 OVER" in report.as_text(result)


def test_the_json_has_the_delta_under_its_own_key(found: PreviewResult) -> None:
    data = json.loads(report.as_json(found))
    jsonschema_rs.validate(document.json_schema(), data)
    data = data["delta"]
    assert set(data) == {
        "base", "summary", "counts", "currency", "before", "after", "monthly", "changes", "notes",
    }  # fmt: skip
    assert data["counts"] == {"create": 0, "update": 4, "replace": 0, "delete": 8}
    assert set(data["changes"][0]) == {
        "op", "urn", "type", "kind", "namespace", "name", "before", "after", "monthly", "byCostCenter", "forcedBy",
        "properties",
    }  # fmt: skip
    assert round(sum(change["monthly"]["expected"] for change in data["changes"]), 3) == round(
        data["monthly"]["expected"], 3
    )


def test_a_comment_says_the_result_first_then_costs_by_cost_center_and_folds_the_objects(found: PreviewResult) -> None:
    text = pull_request.comment(pull_request.content(found))
    first, title, *_ = text.splitlines()
    assert first == pull_request.MARKER
    assert title == "## Preview of stack dev"
    order = ["| Result |", "+1.92 USD a month expected", "Problems", "### Cost by cost center", "| CC-2001 | "]
    order += ["### Budgets", "### Services, stores and edges", "```mermaid", "<summary>Changed objects: 12</summary>"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    rows = [
        line
        for line in text.splitlines()
        if "cloudmart/" in line and (" | update | " in line or " | delete | " in line)
    ]
    assert len(rows) == 12
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 5 for line in rows)


def test_the_page_has_the_manifests_of_what_changes_first_and_no_secret(found: PreviewResult) -> None:
    text = html.page(pull_request.content(found, with_manifests=True))
    titles = re.findall(r"<details><summary>(\w+ [a-z-]+(?:/[a-z.-]+)?(?: \(changed\))?)</summary>", text)
    changed = [title for title in titles if title.endswith("(changed)")]
    assert changed == titles[:4]
    assert "Deployment cloudmart/user-service (changed)" in changed
    assert len(titles) > 60
    assert not [title for title in titles if title.startswith("Secret ")]


def test_a_comment_draws_the_edges_that_go(found: PreviewResult) -> None:
    text = pull_request.comment(pull_request.content(found))
    (diagram,) = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    names = dict(re.findall(r'(n\d+)\W+"([a-z-]+)', diagram))
    removed = {(names[a], names[b]) for a, b in re.findall(r"(n\d+) -\.->\|removed\| (n\d+)", diagram)}
    assert removed == {("notification-service", "kafka")}
    assert "-->|added|" not in diagram


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("nowhere", r"^--base: found 'nowhere', which git does not know; allowed: a branch, tag or commit"),
        ("--upload-pack=x", r"^--base: found '--upload-pack=x', which git does not know"),
    ],
)
def test_a_revision_that_is_none_is_one_error(repository: Project, ref: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        against(repository, ref)


def test_a_base_without_the_stack_says_which_ones_it_has(repository: Project) -> None:
    (repository.root / "Pulumi.new.yaml").write_text("config: {}\n")
    with pytest.raises(UserError, match=r"--base HEAD: found no stack 'new' in .*Stacks there: dev, prod"):
        preview("new", repository.root, against=Against(base="HEAD"))


def test_a_base_that_does_not_load_is_one_error_that_says_so(repository: Project) -> None:
    repository.catalog(lambda catalog: catalog["services"]["user-service"].update(replicas="many"))
    broken = commit(repository)
    repository.catalog(lambda catalog: catalog["services"]["user-service"].update(replicas=2))
    with pytest.raises(UserError, match=r"--base .* does not load: catalog.yaml:\d+: services.user-service.replicas"):
        against(repository, broken)
    assert git(repository.root, "worktree", "list").count("\n") == 0


def test_a_project_in_no_repository_is_one_error(project: Project) -> None:
    with pytest.raises(UserError, match=r"--base main: the project is in no git repository"):
        against(project, "main")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--base", "main", "--against", "state"], "preview: found --base and --against; allowed: one of them"),
        (["--against", "nothing.json"], "--against: found 'nothing.json', which is no file; allowed: state, or a file"),
        (["--plan", str(Path(__file__))], f"--plan {Path(__file__).name}:1: not valid JSON"),
    ],
)
def test_options_that_make_no_sense_are_exit_2_with_one_line(
    project: Project,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["cloudmart", "preview", "-s", "dev", "--root", str(project.root), *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
