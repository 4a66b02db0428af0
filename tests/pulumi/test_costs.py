"""Costs under the real engine: the pack's budgets, and the preview against the engine's own state and plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cloudmart.deploy import up
from cloudmart.deploy.engine import PolicyViolated
from tests.pulumi.shop import Shop

Json = Any


def raise_requests(catalog: Json) -> None:
    catalog["services"]["user-service"]["resources"]["requests"]["cpu"] = "200m"
    catalog["services"]["product-service"]["autoscaling"]["max"] = 14


@pytest.fixture(scope="module")
def deployed(shop: Shop) -> Shop:
    """The stack `dev` as it is in the repository, deployed."""
    shop.up("dev")
    return shop


def delta(shop: Shop, *arguments: str) -> Json:
    ended = shop.cloudmart("preview", "-s", "dev", "--format", "json", *arguments)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)["delta"]


def test_what_is_deployed_is_no_change_to_the_preview(deployed: Shop) -> None:
    found = delta(deployed, "--against", "state")
    assert (found["changes"], found["monthly"]["expected"]) == ([], 0)


def test_state_plan_and_engine_agree_on_what_a_change_does(deployed: Shop, tmp_path: Path) -> None:
    catalog = deployed.project.root / "catalog.yaml"
    before = catalog.read_text()
    deployed.project.catalog(raise_requests)
    try:
        plan = tmp_path / "plan.json"
        plan.write_text(deployed.pulumi("preview", "-s", "dev", "--json").stdout)
        by_plan, by_state = delta(deployed, "--plan", str(plan)), delta(deployed, "--against", "state")
        exported = tmp_path / "state.json"
        exported.write_text(deployed.pulumi("stack", "export", "-s", "dev").stdout)
        by_file = delta(deployed, "--against", str(exported))
    finally:
        catalog.write_text(before)
    engine = {
        (step["op"], step["urn"])
        for step in json.loads(plan.read_text())["steps"]
        if step["op"] != "same" and step["newState"]["custom"]
    }
    assert engine
    for found in (by_plan, by_state, by_file):
        assert {(change["op"], change["urn"]) for change in found["changes"]} == engine
        # Two pods of 100m more, of two to eight; four pods of product-service more at most.
        assert found["monthly"]["expected"] == pytest.approx(0.2 * 0.031611 * 730, abs=1e-3)
    assert by_plan["monthly"] == by_state["monthly"] == by_file["monthly"]
    assert "ciphertext" not in json.dumps(by_file)


def test_up_stops_at_a_passed_budget_and_says_by_how_much(deployed: Shop) -> None:
    file = deployed.project.root / "Pulumi.dev.yaml"
    before, held = file.read_text(), deployed.held()
    deployed.project.config("dev", lambda config: config["cloudmart:budgets"].update({"CC-2001": {"monthly": 40}}))
    said: list[str] = []
    try:
        with pytest.raises(PolicyViolated) as caught:
            up.up("dev", None, deployed.project.root, said.append)
        offline = deployed.cloudmart("preview", "-s", "dev", "--format", "json")
    finally:
        file.write_text(before)
    (violation,) = str(caught.value).splitlines()
    assert violation.startswith("mandatory: budget: Budget CC-2001: ")
    assert "over the budget of 40.00; most of it: product-service" in violation
    assert offline.returncode == 1
    (ours,) = [v for v in json.loads(offline.stdout)["policy"]["violations"] if v["rule"] == "budget"]
    assert violation.removeprefix("mandatory: budget: ") == ours["message"]
    assert deployed.held() == held


def test_up_goes_on_at_the_threshold_and_passes_the_advice_on(deployed: Shop) -> None:
    file = deployed.project.root / "Pulumi.dev.yaml"
    before = file.read_text()
    deployed.project.config(
        "dev", lambda config: config["cloudmart:budgets"].update({"CC-2001": {"monthly": 1000, "warnAt": 1}})
    )
    try:
        _, lines = deployed.up("dev")
    finally:
        file.write_text(before)
    (advice,) = [line for line in lines if line.startswith("advisory: budget-threshold: ")]
    assert "of the budget of 1,000.00, warned of from 1 %" in advice
