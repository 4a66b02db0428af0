"""The rules of the monitoring, evaluated by Prometheus' own promtool on series that are made up for it.

promtool is taken from PATH. It is not built here as the local cluster's programs are: with Go's caches cold that took
2 min 26 s on two cores, most of what all other tests of a kind take together.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudmart.finops.prices import of_stack
from cloudmart.settings import Settings, load
from cloudmart.settings.load import CATALOG
from components.monitoring.costs import cost_rules
from components.monitoring.rules import rules
from tests.conftest import ROOT

CASES = [Path(__file__).with_name(name) for name in ("cases.yaml", "cost-cases.yaml", "store-cases.yaml")]

_OPERATED: dict[str, Any] = {"mode": "operator", "exporter": {"enabled": True}}
_SMALL = {"cpu": "250m", "memory": "1Gi"}
#: The prices are round, so that the expected costs can be worked out by hand.
CONFIG = {
    "cloudmart:monitoring": {"enabled": True, "costCenter": "CC-2002"},
    "cloudmart:mesh": {"enabled": True, "costCenter": "CC-2002"},
    "cloudmart:kubecost": {"enabled": False},
    "cloudmart:data": {
        "postgres": _OPERATED | {"cluster": {"backup": {"destination": "s3://backups/shop", "alertAfterHours": 1}}},
        "redis": _OPERATED | {"eviction": "noeviction"},
        "kafka": _OPERATED | {"cluster": {"controllers": {"requests": _SMALL, "limits": _SMALL}}},
    },
    "cloudmart:prices": {
        "hourly": {"cpu": "0.03", "memory": "0.004", "storage": "0.0001"},
        "storageClasses": {"fast": "0.0005"},
    },
    "cloudmart:budgets": {
        "CC-2001": {"monthly": 130, "warnAt": 80},
        "CC-2002": {"monthly": 20, "warnAt": 80},
        "stack": {"monthly": 1000, "warnAt": 80},
    },
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The catalog with the layers on that rules are made for."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / CATALOG, root)
    (root / "Pulumi.rules.yaml").write_text(json.dumps({"config": CONFIG}))
    return load("rules", root)


def groups_of(settings: Settings) -> list[dict[str, Any]]:
    """Every group of rules, as the API server gets it."""
    found = {**rules(settings), "cost": cost_rules(settings, of_stack(settings.prices, ROOT))}
    return [group.wire() for groups in found.values() for group in groups]


@pytest.fixture(scope="module")
def folder(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where promtool finds the rules and the cases."""
    folder = tmp_path_factory.mktemp("rules")
    groups = groups_of(settings)
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    for part, chosen in {
        "cost": [group for group in groups if group["name"].startswith("cost.")],
        "stores": [group for group in groups if group["name"].endswith(".store")],
    }.items():
        (folder / f"{part}.yaml").write_text(yaml.safe_dump({"groups": chosen}))
    for cases in CASES:
        shutil.copy(cases, folder)
    return folder


def promtool(*arguments: str, folder: Path) -> str:
    """Runs promtool and returns what it says, or fails with it."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool on PATH; it is part of Prometheus' releases")
    command = [program, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_prometheus_takes_every_rule_and_finds_nothing_wrong_or_twice(folder: Path) -> None:
    assert re.search(
        r"SUCCESS: \d+ rules found",
        promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yaml", folder=folder),
    )


@pytest.mark.slow
@pytest.mark.parametrize("cases", [path.name for path in CASES])
def test_every_case_fires_what_it_must_and_nothing_else(cases: str, folder: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", cases, folder=folder)


def test_there_is_a_case_for_every_alert(settings: Settings) -> None:
    alerts = {rule["alert"] for group in groups_of(settings) for rule in group["rules"] if "alert" in rule}
    tried: set[str] = set()
    for cases in CASES:
        for case in yaml.safe_load(cases.read_text())["tests"]:
            for test in case["promql_expr_test"]:
                if test["exp_samples"]:
                    tried |= set(re.findall(r'alertname="(\w+)"', test["expr"]))
    assert tried == alerts
