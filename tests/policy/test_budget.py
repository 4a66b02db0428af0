"""The budget rules: what the caller knows, and what they work out by themselves as under the engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pulumi_policy import PolicyResource, StackValidationArgs, proxy

from cloudmart.finops.budget import as_facts, standings
from cloudmart.finops.estimate import of_stack
from cloudmart.preview.policy import PACK, evaluate, policies, read_config
from cloudmart.preview.recorder import HOME, Recording, record
from cloudmart.settings import load, stacks
from cloudmart.settings.prices import Budget

RULES = ("budget", "budget-threshold")


@pytest.fixture(scope="module", params=stacks(HOME))
def recording(request: pytest.FixtureRequest) -> Recording:
    return record(request.param)


def facts(recording: Recording, monthly: float, **more: Any) -> dict[str, dict[str, str]]:
    estimate = of_stack(recording.resources, load(recording.stack, HOME), HOME)
    return as_facts(standings(estimate, {"CC-2001": Budget.model_validate({"monthly": monthly, **more})}))


def as_the_engine_sends(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_the_engine_sends(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_the_engine_sends(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def worked_out(recording: Recording, project: str = "cloudmart") -> list[str]:
    """What the rules report where nobody has worked out anything, on properties behind the engine's proxies."""
    seen = [
        PolicyResource(
            r.type,
            proxy.unknown_checking_proxy(as_the_engine_sends(r.inputs)),
            r.urn.replace("::cloudmart::", f"::{project}::", 1),
            r.name,
            None,  # type: ignore[arg-type]
            None,
            None,
            [],
            {},
        )
        for r in recording.resources
    ]
    found: list[str] = []
    for rule in policies():
        if rule.name in RULES:
            config = {"known": False, "estimated": {}, "exempt": []}
            rule.validate(StackValidationArgs(seen, config), lambda message, urn=None: found.append(message))  # type: ignore[attr-defined]
    return found


@pytest.mark.slow
def test_the_rules_work_out_under_the_engine_what_the_offline_preview_says(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(recording.stack, HOME)
    tight = settings.model_copy(
        update={
            "budgets": {
                "CC-2001": Budget.model_validate({"monthly": 1}),
                "stack": Budget.model_validate({"monthly": 1}),
            }
        }
    )
    import cloudmart_policy_rules.budget as rules  # type: ignore[import-not-found]

    monkeypatch.setattr(rules, "load", lambda name, root: tight)
    estimate = of_stack(recording.resources, tight, HOME)
    sentences = [one.sentence() for one in standings(estimate, tight.budgets)]
    found = worked_out(recording)
    assert [message.split(": ", 1)[1].split(". Whoever")[0] for message in found] == sentences
    assert worked_out(recording, project="another") == []


def test_todays_stacks_are_within_their_budgets_and_below_the_threshold(recording: Recording) -> None:
    settings = load(recording.stack, HOME)
    assert set(settings.budgets) == set(settings.cost_centers)
    assert worked_out(recording) == []


@pytest.mark.parametrize(("monthly", "rule", "level"), [(10, "budget", "mandatory"), (1e6, None, None)])
def test_above_the_budget_is_mandatory_in_every_stack(
    recording: Recording, monthly: float, rule: str | None, level: str | None
) -> None:
    config = {
        name: entry
        for name, entry in read_config(PACK / "config" / f"{recording.stack}.json").items()
        if name in ("all", *RULES)
    }
    found = [v for v in evaluate(recording.resources, config, budgets=facts(recording, monthly)) if v.rule in RULES]
    assert [(v.rule, v.level, v.urn) for v in found] == ([(rule, level, "")] if rule else [])


def test_at_the_threshold_there_is_advice_that_says_how_far(recording: Recording) -> None:
    config = json.loads((PACK / "config" / f"{recording.stack}.json").read_text())
    whole = float(of_stack(recording.resources, load(recording.stack, HOME), HOME).by_cost_center["CC-2001"].expected)
    (found,) = evaluate(recording.resources, config, budgets=facts(recording, whole / 0.9, warnAt=85))
    assert (found.rule, found.level) == ("budget-threshold", "advisory")
    assert "90.0 % of the budget" in found.message
    assert "warned of from 85 %" in found.message


def test_the_level_is_the_configurations_and_a_budget_can_be_exempt(recording: Recording) -> None:
    known = facts(recording, 10)
    (found,) = evaluate(recording.resources, {"all": "disabled", "budget": "advisory"}, budgets=known)
    assert found.level == "advisory"
    exempt = {"all": "disabled", "budget": {"enforcementLevel": "mandatory", "exempt": ["Budget/CC-2001"]}}
    assert evaluate(recording.resources, exempt, budgets=known) == []
    assert evaluate(recording.resources, {"all": "disabled", "budget": "disabled"}, budgets=known) == []


def test_a_stack_without_a_file_here_has_no_budgets_of_ours(tmp_path: Path, recording: Recording) -> None:
    import dataclasses

    other = dataclasses.replace(
        recording,
        resources=[
            dataclasses.replace(r, urn=r.urn.replace(f":{recording.stack}::", ":other::", 1))
            for r in recording.resources
        ],
    )
    assert worked_out(other) == []
