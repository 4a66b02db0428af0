"""What `cloudmart rightsize` proposes for a stack has been through the program, the policies and the quota."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cloudmart.cli import cli
from cloudmart.cluster import load as load_
from cloudmart.cluster.load import DAY, Point, Timeline, demand, from_settings
from cloudmart.errors import UserError
from cloudmart.finops.rightsize import Usage, duration, from_run
from cloudmart.preview import rightsizing
from cloudmart.preview.recorder import HOME
from cloudmart.preview.rightsizing import Proposal, propose, thresholds
from cloudmart.preview.run import preview
from cloudmart.settings import Settings, load
from cloudmart.settings.edit import write
from tests.conftest import Project

# Whole runs of the preview, some in processes of their own.
pytestmark = pytest.mark.slow


def a_day(settings: Settings, share: float = 1) -> Timeline:
    """A day at the declared replicas, every ten minutes, at a share of the load that the catalog describes."""
    profile = from_settings(settings)
    points = []
    for minute in range(0, DAY, 10):
        for name, service in settings.services.items():
            cpu, memory = demand(profile, name, minute, 1)
            points.append(
                Point.model_validate(
                    {
                        "minute": minute,
                        "service": name,
                        "cpu": cpu * share,
                        "memory": memory * service.replicas,
                        "ready": service.replicas,
                        "pending": 0,
                        "least": service.min_replicas,
                        "most": service.max_replicas,
                        "requestedCpu": 0,
                        "requestedMemory": 0,
                        "cpuLimit": 0,
                        "memoryLimit": 0,
                        "monthly": 0,
                    }
                )
            )
    return Timeline(stack="dev", seed=1, speed=1, kubernetes="v1", currency="USD", tick=10, points=tuple(points))


def used(root: Path, stack: str = "dev", share: float = 1) -> list[Usage]:
    return from_run(a_day(load(stack, root), share))


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_what_is_written_passes_everything_that_passed_before_and_costs_less(project: Project, stack: str) -> None:
    before = preview(stack, project.root)
    proposal = propose(stack, project.root, used(project.root, stack))
    assert proposal.refused == ()
    assert write(stack, project.root, proposal.changes)
    after = preview(stack, project.root)
    assert len(after.mandatory) == len(before.mandatory) == 0
    assert after.errors == before.errors == []
    assert after.estimate.monthly.min < before.estimate.monthly.min
    assert proposal.saving > 0


@pytest.fixture(scope="module")
def unchanged() -> Proposal:
    """What is proposed for the stack as it is in this repository."""
    return propose("dev", HOME, used(HOME))


def test_the_second_run_proposes_nothing(project: Project, unchanged: Proposal) -> None:
    usage = used(project.root)
    assert write("dev", project.root, unchanged.changes)
    again = propose("dev", project.root, usage)
    assert (again.changes, again.diff) == ((), "")


def test_proposing_writes_nothing(project: Project) -> None:
    before = {path: path.read_bytes() for path in project.root.rglob("*.yaml")}
    assert propose("dev", project.root, used(project.root)).changes
    assert {path: path.read_bytes() for path in project.root.rglob("*.yaml")} == before


def test_limits_stay_within_the_ratio_that_the_stacks_policies_allow(project: Project) -> None:
    file = project.root / "policy" / "config" / "dev.json"
    config = json.loads(file.read_text())
    config["limit-request-ratio"] = {"enforcementLevel": "mandatory", "maxCpuRatio": 3, "maxMemoryRatio": 1.5}
    file.write_text(json.dumps(config))
    proposal = propose("dev", project.root, used(project.root))
    assert proposal.refused == ()
    proposed = [found.proposed.resources for found in proposal.recommendations if found.proposed]
    assert proposed
    for resources in proposed:
        assert resources.limits.cpu.cores <= 3 * resources.requests.cpu.cores
        assert resources.limits.memory.bytes <= 1.5 * resources.requests.memory.bytes


def test_a_change_that_breaks_a_mandatory_policy_is_refused_with_the_rule(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = project.root / "policy" / "config" / "dev.json"
    config = json.loads(file.read_text())
    config["limit-request-ratio"] = {"enforcementLevel": "mandatory", "maxCpuRatio": 4.5, "maxMemoryRatio": 2}
    file.write_text(json.dumps(config))
    # As if the recommendation did not know the pack's thresholds.
    monkeypatch.setattr(rightsizing, "thresholds", lambda _: thresholds({}))
    proposal = propose("dev", project.root, used(project.root))
    assert any(reason.startswith("policy limit-request-ratio: ") for reason in proposal.refused)


def test_a_peak_that_the_quota_does_not_hold_is_refused(whole_project: Project) -> None:
    quota = whole_project.root / "components" / "quota.py"
    text = quota.read_text()
    assert 'hard = {f"{kind}.cpu"' in text
    quota.write_text(text.replace('hard = {f"{kind}.cpu": str(', 'hard = {f"{kind}.cpu": "500m" or str('))
    proposal = propose("dev", whole_project.root, used(whole_project.root))
    assert any("requests.cpu passes 500m" in reason for reason in proposal.refused)


def test_thresholds_come_from_the_stacks_configuration_and_else_from_the_packs_defaults() -> None:
    found = thresholds({"limit-request-ratio": {"maxCpuRatio": 3}, "autoscaler-bounds": "mandatory"})
    assert (found.max_cpu_ratio, found.max_memory_ratio) == (3, 2)
    assert (found.min_utilization, found.max_utilization) == (50, 85)


@pytest.mark.parametrize(("text", "minutes"), [("90m", 90), ("24h", 1440), ("14d", 20160)])
def test_durations_are_read_in_minutes_hours_and_days(text: str, minutes: float) -> None:
    assert duration(text, "--window") == minutes


@pytest.mark.parametrize("text", ["", "0d", "d", "1w", "-1d", "1.5h", "999999d"])
def test_a_duration_that_is_none_names_the_option(text: str) -> None:
    with pytest.raises(UserError, match="--window: found"):
        duration(text, "--window")


# --- the command -----------------------------------------------------------------------------------------------------


def rightsize(project: Project, *options: str) -> Any:
    file = project.root / "day.json"
    if not file.exists():
        load_.save(a_day(load("dev", project.root)), file)
    arguments = ["rightsize", "--stack", "dev", "--root", str(project.root), "--usage", str(file), *options]
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


def test_the_command_shows_the_change_and_leaves_the_file_alone(project: Project) -> None:
    before = (project.root / "Pulumi.dev.yaml").read_text()
    result = rightsize(project)
    assert result.exit_code == 0
    assert "+++ b/Pulumi.dev.yaml" in result.stdout
    assert (project.root / "Pulumi.dev.yaml").read_text() == before


def test_the_command_writes_once_and_says_when_there_is_nothing_left_to_write(project: Project) -> None:
    first, second = rightsize(project, "--write"), rightsize(project, "--write")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "Pulumi.dev.yaml: written" in first.stderr
    assert "Pulumi.dev.yaml: nothing to change" in second.stderr
    assert "Nothing to change." in second.stdout


def test_json_holds_every_service_and_nothing_but_json_stands_on_standard_output(project: Project) -> None:
    found = json.loads(rightsize(project, "--format", "json", "--write").stdout)
    assert {entry["service"] for entry in found["services"]} == set(load("dev", project.root).services)
    assert found["monthlySaving"] == pytest.approx(sum(entry["monthlySaving"] for entry in found["services"]))
    assert all(entry["risk"] in ("low", "medium", "high") for entry in found["services"] if entry["proposed"])


def test_markdown_holds_the_diff_for_a_pull_request(project: Project) -> None:
    text = rightsize(project, "--format", "markdown").stdout
    assert text.startswith("## Right-sizing of stack dev")
    assert "```diff\n--- a/Pulumi.dev.yaml" in text


def test_half_a_day_of_usage_changes_nothing_and_says_what_is_missing(project: Project) -> None:
    day = a_day(load("dev", project.root))
    half = day.model_copy(update={"points": tuple(point for point in day.points if point.minute < DAY / 2)})
    load_.save(half, project.root / "day.json")
    result = rightsize(project, "--write")
    assert result.exit_code == 0
    assert "too little data: 12.0 h of usage" in result.stdout
    assert "nothing to change" in result.stderr


def test_a_service_that_is_in_the_usage_and_not_in_the_stack_is_left_out(project: Project) -> None:
    usage = [*used(project.root), replace(used(project.root)[0], service="ghost-service")]
    found = propose("dev", project.root, usage)
    assert "ghost-service" not in {one.service for one in found.recommendations}


def test_savings_are_priced_as_the_stack_pays(project: Project, unchanged: Proposal) -> None:
    listed = unchanged.saving
    project.config("dev", lambda config: config.update({"cloudmart:prices": {"regionMultiplier": 2}}))
    assert propose("dev", project.root, used(project.root)).saving == pytest.approx(listed * 2, abs=listed / 1000)
