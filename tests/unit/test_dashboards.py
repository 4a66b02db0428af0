"""Dashboards: the same for the same settings, every query parses, and each shows what its service has."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from cloudmart.finops.prices import load as load_book
from cloudmart.settings import Settings
from components.monitoring.dashboards import dashboards, uid_of
from components.monitoring.monitors import monitors
from tests.conftest import ROOT
from tests.unit.test_monitoring import MEASURED, ON, OPERATED, settings_of

#: A ConfigMap holds a mebibyte at most.
MOST = 2**20


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_of(
        tmp_path_factory.mktemp("dashboards"),
        monitoring=ON,
        mesh=ON,
        data={"postgres": {"exporter": ON}, "kafka": {"exporter": ON}},
        budgets={"CC-2001": {"monthly": 100}, "stack": {"monthly": 500}},
    )


@pytest.fixture(scope="module")
def made(settings: Settings) -> dict[str, Any]:
    return {name: json.loads(text) for name, text in dashboards(settings, load_book()).items()}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in panels(dashboard) for target in panel.get("targets", [])]


def titles(dashboard: dict[str, Any]) -> set[str]:
    return {panel["title"] for panel in dashboard["panels"]}


def test_there_is_one_of_the_shop_one_of_the_costs_and_one_a_service(settings: Settings, made: dict[str, Any]) -> None:
    assert set(made) == {"overview", "cost", *(f"service-{name}" for name in settings.services)}


def test_the_same_settings_make_the_same_bytes_under_the_same_identity(
    settings: Settings, made: dict[str, Any]
) -> None:
    again = dashboards(settings, load_book())
    assert again == dashboards(settings, load_book())
    assert all(len(text.encode()) < MOST / 8 for text in again.values())
    uids = [dashboard["uid"] for dashboard in made.values()]
    assert uids == list(made)
    assert len(uid_of("service-" + "a" * 40)) == 40
    assert uid_of("service-" + "a" * 40) != uid_of("service-" + "a" * 39 + "b")


def test_every_query_is_one_that_prometheus_parses(made: dict[str, Any]) -> None:
    for dashboard in made.values():
        for expr in queries(dashboard):
            promql_parser.parse(expr.replace("$__rate_interval", "5m"))


def test_panels_lie_within_the_grid_and_over_no_other(made: dict[str, Any]) -> None:
    for dashboard in made.values():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert at["x"] + at["w"] <= 24
            assert not cells & taken, panel["title"]
            taken |= cells


def test_every_panel_asks_our_prometheus_and_says_in_which_unit_it_answers(made: dict[str, Any]) -> None:
    for dashboard in made.values():
        for panel in panels(dashboard):
            if panel["type"] == "text":
                continue
            assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
            assert panel["targets"]
            assert '"unit"' in json.dumps(panel["fieldConfig"]), panel["title"]


def test_a_service_shows_the_stores_that_it_needs_and_no_other(made: dict[str, Any]) -> None:
    assert "postgres: connections" in titles(made["service-user-service"])
    assert not any("kafka" in title or "redis" in title for title in titles(made["service-user-service"]))
    assert "kafka: messages not read yet" in titles(made["service-order-service"])
    assert "payment-service: errors and slow answers" in titles(made["service-order-service"])
    # It has no exporter here: what the kubelet knows is all there is to see.
    assert [title for title in titles(made["service-product-service"]) if "redis" in title] == [
        "redis: CPU and memory, of the limit"
    ]


def test_of_a_store_by_an_operator_it_shows_how_far_behind_its_parts_are(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, monitoring=ON, data=OPERATED)
    shown = [json.loads(text) for text in dashboards(settings, load_book()).values()]
    assert {
        "postgres: behind the primary",
        "postgres: age of the newest backup",
        "redis: memory",
        "kafka: messages not read yet",
    } <= set().union(*map(titles, shown))
    asked = {job for board in shown for expr in queries(board) for job in re.findall(r'job="([^"]+)"', expr)}
    scraped = {of.pod_metrics_endpoints[0].relabelings[-1].replacement for of in monitors(settings).values()}
    assert {"postgres-instances", "redis-replicas", "kafka-exporter"} == asked <= scraped


def test_a_service_shows_its_range_its_budget_and_its_edges(made: dict[str, Any]) -> None:
    everything = " ".join(queries(made["service-user-service"]))
    for wanted in ("vector(2)", "vector(8)", "vector(0.7)", "vector(0.8)", "vector(100)", "source_workload"):
        assert wanted in everything
    about = next(panel for panel in panels(made["service-payment-service"]) if panel["title"] == "About")
    assert "called by `order-service`" in about["options"]["content"]
    assert "cost center CC-2001" in about["options"]["content"]


def test_without_anybody_who_sees_requests_there_is_no_row_of_them(tmp_path: Path) -> None:
    found = dashboards(settings_of(tmp_path, monitoring=ON), load_book())
    assert "Requests" not in {panel["title"] for panel in json.loads(found["service-user-service"])["panels"]}
    (tmp_path / "own").mkdir()
    measured = settings_of(tmp_path / "own", monitoring=ON, services={"user-service": MEASURED})
    shown = json.loads(dashboards(measured, load_book())["service-user-service"])
    assert "http_request_duration_seconds_bucket" in " ".join(queries(shown))


def test_the_cost_dashboard_holds_spending_against_the_declared_budgets(made: dict[str, Any]) -> None:
    everything = " ".join(queries(made["cost"]))
    assert 'cost_center:cost:monthly{cost_center="CC-2001"} / 100' in everything
    assert "stack:cost:monthly / 500" in everything
    assert "predict_linear" in everything


def test_recorded_series_that_dashboards_read_are_recorded(settings: Settings, made: dict[str, Any]) -> None:
    from tests.unit.test_monitoring import alerts

    recorded = {rule["record"] for rule in alerts(settings) if "record" in rule}
    read = {name for board in made.values() for expr in queries(board) for name in re.findall(r"\w+:\w+:\w+", expr)}
    assert read
    assert read <= recorded


def test_grafanas_types_are_imported_by_one_module_and_that_by_the_monitoring_when_it_is_on() -> None:
    at_the_top: dict[str, set[str]] = {}
    for file in (ROOT / "components").rglob("*.py"):
        for node in ast.parse(file.read_text()).body:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            at_the_top.setdefault(file.name, set()).update(names)
    slow = {file for file, names in at_the_top.items() if any(name.startswith("grafana_") for name in names)}
    assert slow == {"dashboards.py"}
    assert not [file for file, names in at_the_top.items() if "components.monitoring.dashboards" in names]
