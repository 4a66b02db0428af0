"""Forecast against actual: each cause of a difference is found where it was put, and they add up."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudmart.cli import main
from cloudmart.finops import cost_report, forecast, prices, tables
from cloudmart.finops.allocation.client import Answer, Client, Kind
from cloudmart.finops.allocation.windows import Window
from cloudmart.finops.estimate import Estimate, Line, Range
from tests.unit.allocation_api import Reply, answer, entry, key, recorded, serving

DAY = "2026-11-20T00:00:00Z,2026-11-21T00:00:00Z"
WINDOW = Window.parse(DAY, datetime(2026, 11, 24, tzinfo=UTC))
CPU, GIB, STORAGE = 0.031611, 0.004237, 0.00005479452
WEB_DAY = 24 * (CPU + 2 * GIB)


def line(item: str, quantity: float, count: float, **changes: Any) -> Line:
    price = {"cpu": CPU, "memory": GIB, "storage": STORAGE, "load balancer": 0.025}[item]
    about = {
        "kind": "Deployment",
        "name": "web",
        "namespace": "shop",
        "service": "web",
        "cost_center": "CC-2001",
    } | changes
    return Line(
        urn=f"urn::{about['kind']}::{about['name']}",
        item=item,
        quantity=Decimal(str(quantity)),
        unit="each",
        count=Range(Decimal(1), Decimal(str(count)), Decimal(10)),
        price=Decimal(str(price)),
        **about,
    )


#: Two pods of one core and 2 GiB, which is what `entry()` bills.
WEB = (line("cpu", 1, 2), line("memory", 2, 2))


class Fixed:
    """A transport that always gives one body."""

    where = "here"

    def __init__(self, reply: Reply) -> None:
        self.reply = reply

    def get(self, path: str, timeout: float) -> Answer:
        return Answer(self.reply.status, self.reply.body)


def compare(lines: Sequence[Line], pods: dict[str, dict[str, Any]], **options: Any) -> forecast.Forecast:
    client = Client(Fixed(answer(pods)), (Kind.OPENCOST,))
    return forecast.compare(client, WINDOW, Estimate(prices.load(), tuple(lines), ("a note",)), **options)


def causes(row: forecast.Compared) -> dict[str, float]:
    return {cause.name: cause.amount for cause in row.causes}


def pods(count: int = 2, /, **changes: Any) -> dict[str, dict[str, Any]]:
    return {key("shop", "web", f"web-{i}"): entry(DAY, **changes) for i in range(count)}


def test_what_runs_as_estimated_has_no_error_and_no_cause() -> None:
    found = compare(WEB, pods())
    (row,) = found.services
    assert row.expected == pytest.approx(2 * WEB_DAY)
    assert row.error == pytest.approx(0)
    assert row.causes == []
    assert row.within
    assert row.min == pytest.approx(WEB_DAY)
    assert row.max == pytest.approx(10 * WEB_DAY)
    assert [one.name for one in found.cost_centers] == ["CC-2001"]
    assert found.notes == ["a note"]


def test_more_replicas_than_expected_are_that_cause() -> None:
    (row,) = compare(WEB, pods(3)).services
    assert causes(row) == {"replicas": pytest.approx(WEB_DAY)}
    assert row.causes[0].detail == "3.00 pods ran, 2 expected"
    assert row.error == pytest.approx(0.5)


def test_larger_requests_than_declared_are_that_cause() -> None:
    more = {"cpuCoreRequestAverage": 1.5, "cpuCoreHours": 36.0, "cpuCost": 36 * CPU}
    (row,) = compare(WEB, pods(2, **more)).services
    assert causes(row) == {"requests": pytest.approx(2 * 12 * CPU)}
    assert row.causes[0].detail == "cpu: 3 cores requested, 2 declared for as many pods"


def test_usage_above_the_request_is_that_cause() -> None:
    above = {"cpuCoreUsageAverage": 1.5, "cpuCoreHours": 36.0, "cpuCost": 36 * CPU}
    (row,) = compare(WEB, pods(2, **above)).services
    assert causes(row) == {"usage above request": pytest.approx(2 * 12 * CPU)}
    assert row.causes[0].detail == "cpu: 3 cores billed, 2 requested"


def test_other_prices_storage_network_and_balancers_are_causes_of_their_own() -> None:
    billed = {"ramCost": 48 * GIB * 2, "pvCost": 1.0, "networkCost": 2.0, "loadBalancerCost": 3.0, "gpuCost": 4.0}
    lines = (*WEB, line("storage", 10, 1), line("load balancer", 1, 1))
    (row,) = compare(lines, pods(**billed)).services
    assert causes(row) == {
        "prices": pytest.approx(2 * 48 * GIB),
        "storage": pytest.approx(2 - 240 * STORAGE),
        "network": pytest.approx(4),
        "load balancers": pytest.approx(6 - 24 * 0.025),
        "other": pytest.approx(8),
    }


def test_what_only_one_side_knows_is_said() -> None:
    lines = (*WEB, line("cpu", 1, 1, name="idle", service="idle"))
    found = compare(lines, pods() | {key("shop", "debug"): entry(DAY)})
    rows = {row.name: row for row in found.services}
    assert causes(rows["idle"]) == {"did not run": pytest.approx(-24 * CPU)}
    assert causes(rows["debug"]) == {"not in the estimate": pytest.approx(WEB_DAY)}
    assert (rows["idle"].error, rows["debug"].error) == (-1, None)


def test_other_namespaces_and_idle_capacity_stand_beside() -> None:
    everything = pods() | {key("kube-system", "dns"): entry(DAY), "__idle__": {"cpuCost": 6, "ramCost": 3}}
    found = compare(WEB, everything)
    (row,) = found.services
    assert found.cluster_idle == 9
    assert found.elsewhere == pytest.approx(WEB_DAY)
    assert row.idle == pytest.approx(9 * 2 / 3)  # two of three pods
    assert row.error == pytest.approx(0)
    (shared,) = compare(WEB, everything, idle="share").services
    assert causes(shared) == {"idle": pytest.approx(6)}
    assert shared.actual == pytest.approx(2 * WEB_DAY + 6)


def test_a_cost_center_is_the_sum_of_its_services_and_says_which_differ() -> None:
    lines = (*WEB, line("cpu", 1, 1, name="api", service="api"), line("memory", 2, 1, name="api", service="api"))
    found = compare(lines, pods(3) | {key("shop", "api"): entry(DAY, networkCost=1)})
    (center,) = found.cost_centers
    assert causes(center) == {"replicas": pytest.approx(WEB_DAY), "network": pytest.approx(1)}
    assert {cause.name: cause.detail for cause in center.causes} == {"replicas": "web", "network": "api"}
    assert found.total.difference == pytest.approx(center.difference)


def test_a_declared_service_is_billed_to_whom_it_declares() -> None:
    found = compare(WEB, {key("shop", "web", f"web-{i}", cost_center="CC-9"): entry(DAY) for i in range(2)})
    assert [row.name for row in found.cost_centers] == ["CC-2001"]


def test_a_helm_release_is_compared_as_a_whole() -> None:
    release = {"kind": "Release", "name": "kubecost", "namespace": "kubecost", "service": "kubecost"}
    parts = {
        f"kubecost/deployment:kubecost-{part}/pod-{part}/cost-analyzer/{part}/kubecost/CC-2001": entry(DAY)
        for part in ("frontend", "aggregator")
    }
    lines = [line(item, size, 1, **release) for item, size in (("cpu", 1), ("memory", 2)) for _ in range(2)]
    (row,) = compare(lines, parts).services
    assert (row.name, row.causes) == ("kubecost", [])


def test_half_a_day_of_data_is_compared_with_half_a_day() -> None:
    half = "2026-11-20T12:00:00Z,2026-11-21T00:00:00Z"
    found = compare(WEB, {key("shop", "web", f"web-{i}"): entry(half) for i in range(2)})
    assert found.services[0].expected == pytest.approx(WEB_DAY)
    assert found.services[0].error == pytest.approx(0)
    assert found.notes[0] == "data for 720 of 1,440 minutes; the estimate is scaled to those"


def test_without_data_there_is_a_note_and_no_division_by_nought() -> None:
    found = compare(WEB, {})
    assert found.services[0].error is None
    assert found.notes[0].startswith("no allocations in this window")


figures = st.floats(0, 1000)


@given(
    st.lists(st.tuples(figures, figures, figures, figures, figures, figures, st.floats(1, 1440)), max_size=4),
    st.lists(st.tuples(st.floats(0.1, 8), st.floats(0.1, 8), st.integers(1, 9), st.booleans()), max_size=3),
    st.sampled_from(["separate", "share"]),
)
def test_the_causes_of_any_difference_add_up_to_it(
    ran: list[tuple[float, ...]], declared: list[tuple[float, float, int, bool]], idle: forecast.Idle
) -> None:
    step = {
        key("shop", "web", f"web-{i}"): entry(
            DAY,
            minutes=minutes,
            cpuCoreRequestAverage=request,
            cpuCoreHours=hours,
            cpuCost=cpu,
            ramCost=ram,
            pvCost=volume,
            networkCost=network,
        )
        for i, (request, hours, cpu, ram, volume, network, minutes) in enumerate(ran)
    }
    lines = []
    for i, (cores, gib, count, volume) in enumerate(declared):
        lines += [line("cpu", cores, count, name=f"w{i}"), line("memory", gib, count, name=f"w{i}")]
        lines += [line("storage", 10, count, name=f"w{i}")] if volume else []
    found = compare(lines, step | {"__idle__": {"cpuCost": 5, "ramCost": 1}}, idle=idle)
    for row in (*found.services, *found.cost_centers, found.total):
        left = row.difference - sum(cause.amount for cause in row.causes)
        assert abs(left) <= 20e-5 * max(row.actual, row.expected, len(ran))


# --- formats and command ---------------------------------------------------------------------------------------------


def test_the_json_has_exactly_the_documented_keys() -> None:
    data = json.loads(cost_report.forecast_json(compare(WEB, pods(3))))
    page = (Path(__file__).resolve().parents[2] / "docs" / "costs.md").read_text().split("## Forecast against")[1]
    assert list(data) == [
        "window",
        "source",
        "currency",
        "idle",
        "clusterIdle",
        "elsewhere",
        "total",
        "costCenters",
        "services",
        "notes",
    ]
    for name in (*data, *data["services"][0], *data["services"][0]["causes"][0], *data["total"]["estimated"]):
        assert f'"{name}"' in page


def test_text_markdown_html_and_csv_say_the_same() -> None:
    found = compare(WEB, pods(3))
    document = cost_report.forecast_document(found)
    for text in (tables.as_text(document), tables.as_markdown(document), tables.as_html(document)):
        assert "+50%" in text
        assert "replicas" in text
    assert cost_report.forecast_csv(found).splitlines()[1].startswith("web,")


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["cloudmart", "cost", "forecast", *args])
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


def test_the_command_sets_a_stack_beside_a_real_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The recorded cluster ran stack dev, as its autoscalers had scaled it.
    with serving(Reply(recorded("pods"))) as api:
        args = ("--stack", "dev", "--url", api.url, "--window", "3m", "--format", "json")
        code, out, err = run(monkeypatch, capsys, *args)
    assert (code, err) == (0, "")
    rows = {row["name"]: row for row in json.loads(out)["services"]}
    assert rows["payment-service"]["actual"] > 0
    assert "did not run" not in {cause["name"] for cause in rows["payment-service"]["causes"]}
    assert {"postgres", "redis", "kafka"} <= {name for name, row in rows.items() if row["actual"] > 0}


@pytest.mark.parametrize("make", [lambda url: ("--url", url, "--stack", "nowhere")])
def test_bad_input_is_one_message_and_exit_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], make: Callable[[str], tuple[str, ...]]
) -> None:
    with serving(Reply(recorded("pods"))) as api:
        code, out, err = run(monkeypatch, capsys, *make(api.url))
    assert (code, out) == (2, "")
    assert "Traceback" not in err
