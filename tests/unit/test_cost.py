"""`cloudmart cost`: the sums, what is said about them, the formats, and how it exits."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cloudmart.cli import main
from cloudmart.errors import UserError
from cloudmart.finops import actual, cost_report, tables
from cloudmart.finops.allocation.client import Client, Http, Kind
from cloudmart.finops.allocation.windows import Window
from tests.conftest import Project
from tests.unit.allocation_api import RECORDED_NOW, Api, Reply, answer, entry, key, recorded, serving

NOW = datetime(2026, 11, 24, 0, 5, tzinfo=UTC)
WINDOW = Window.parse("2026-11-23T23:08:00Z,2026-11-23T23:11:00Z", RECORDED_NOW)
DAYS = Window.parse("2026-11-20,2026-11-22", NOW)
CPU, GIB = 0.031611, 0.004237


def report_of(
    *replies: Reply | Callable[[dict[str, str]], Reply], window: Window = DAYS, **options: Any
) -> actual.Report:
    with serving(*replies) as api:
        client = Client(Http(api.url), (Kind.OPENCOST,), 30, lambda seconds: None)
        return actual.report(client, window, **{"by": "service", "trend": False, **options})


def every_step(**pods: dict[str, Any]) -> Callable[[dict[str, str]], Reply]:
    """The same pods in every step; `pods` are keys of `key()` by name, with what differs from `entry()`."""

    def reply(parameters: dict[str, str]) -> Reply:
        step = {}
        for name, changes in pods.items():
            namespace, workload, *rest = name.split("_")
            step[key(namespace, workload, *rest)] = entry(parameters["window"], **changes)
        return answer(step)

    return reply


# --- the sums --------------------------------------------------------------------------------------------------------


def test_a_recorded_answer_adds_up_to_a_calculation_by_hand() -> None:
    report = report_of(Reply(recorded("pods")), window=WINDOW)
    rows = {row.name: row for row in report.rows}
    assert report.covered_minutes == 3
    payment = rows["payment-service"]
    assert payment.pods == pytest.approx(3)
    assert payment.cpu_request == pytest.approx(0.3)
    assert payment.cpu_usage == pytest.approx(0.15, rel=1e-3)
    assert payment.memory_request == pytest.approx(0.75)
    assert payment.efficiency == pytest.approx(0.5, rel=1e-3)
    # The answer has five decimals for each pod.
    assert payment.cost == pytest.approx((0.3 * CPU + 0.75 * GIB) * 3 / 60, abs=3e-5)
    assert payment.monthly == pytest.approx(payment.cost / 3 * 60 * 730)
    burst = rows["burst"]
    assert burst.cpu_efficiency == pytest.approx(4, rel=1e-3)
    assert burst.memory_efficiency == pytest.approx(2)
    assert report.idle_cost == pytest.approx(0.0552, abs=1e-3)
    assert report.total.cost == pytest.approx(sum(row.cost for row in report.rows))


def test_a_window_that_data_covers_in_part_is_scaled_by_its_minutes_and_says_so() -> None:
    window = Window.parse("2026-11-23T23:05:00Z,2026-11-23T23:10:00Z", RECORDED_NOW)
    report = report_of(Reply(recorded("pods-part")), window=window)
    whole = report_of(Reply(recorded("pods")), window=WINDOW)
    part, full = ({row.name: row for row in one.rows}["kafka"] for one in (report, whole))
    assert report.covered_minutes == 4
    assert part.monthly == pytest.approx(full.monthly, rel=0.05)
    assert part.memory_usage == pytest.approx(full.memory_usage)
    # Its CPU usage is spread over five minutes, so it is not shown as if it were known.
    assert part.cpu_usage is None
    assert "data for 4 of 5 minutes only" in report.notes[0]
    assert "CPU usage is not known for 100% of the pods' time" in report.notes[1]


def test_the_cpu_usage_of_short_lived_pods_is_taken_from_the_rest_of_the_group() -> None:
    pods = every_step(shop_web={}, shop_web_young={"minutes": 144.0, "cpuCoreUsageAverage": 0.05})
    (row,) = report_of(pods).rows
    assert row.cpu_efficiency == pytest.approx(0.5)
    assert row.pods == pytest.approx(1.1)
    assert row.cpu_usage == pytest.approx(0.55)


def test_days_groups_and_namespaces_come_out_of_one_pass() -> None:
    pods = every_step(shop_web={}, shop_web_1={}, shop_db={}, other_web={})
    report = report_of(pods)
    assert {row.name: row.pods for row in report.rows} == {"web": 3, "db": 1}
    assert {row.name: row.pods for row in report.namespaces} == {"shop": 3, "other": 1}
    assert {row.name for row in report.pods} == {"shop/web-0", "shop/1", "shop/db-0", "other/web-0"}
    assert {row.name for row in report.over_provisioned} == set()
    one = 24 * (CPU + 2 * GIB)
    assert report.total.days == {"2026-11-20": pytest.approx(4 * one), "2026-11-21": pytest.approx(4 * one)}
    assert report.total.cost == pytest.approx(8 * one)
    assert report.total.monthly == pytest.approx(4 * 730 * (CPU + 2 * GIB))


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("service", {"web"}),
        ("namespace", {"shop"}),
        ("pod", {"shop/web-0"}),
        ("controller", {"shop/deployment:web"}),
        ("cost-center", {"CC-2001"}),
        ("label:app", {"web"}),
    ],
)
def test_every_grouping_names_its_groups(by: str, names: set[str]) -> None:
    assert {row.name for row in report_of(every_step(shop_web={}), by=by).rows} == names


def test_another_label_is_asked_for_as_the_api_stores_it() -> None:
    def reply(parameters: dict[str, str]) -> Reply:
        assert parameters["aggregate"].endswith(",label:cost_center,label:example_com_team")
        return answer({key("shop", "web") + "/blue": entry(parameters["window"])})

    assert [row.name for row in report_of(reply, by="label:example.com/team").rows] == ["blue"]


def test_what_has_no_label_is_a_group_of_its_own() -> None:
    bare = "shop/__unallocated__/job-x/__unallocated__/__unallocated__/__unallocated__/__unallocated__"

    def reply(parameters: dict[str, str]) -> Reply:
        return answer({bare: entry(parameters["window"])})

    assert [row.name for row in report_of(reply).rows] == ["job-x"]
    assert [row.name for row in report_of(reply, by="cost-center").rows] == ["(none)"]


def test_a_declared_service_is_paid_for_by_whom_it_declares() -> None:
    report = report_of(every_step(shop_web={}), by="cost-center", payers={("shop", "web"): "CC-7"})
    assert [row.name for row in report.rows] == ["CC-7"]


def test_unmounted_volumes_cost_and_are_explained() -> None:
    unmounted = "__unmounted__/__unallocated__/__unmounted__" + "/__unallocated__" * 4

    def reply(parameters: dict[str, str]) -> Reply:
        return answer({key("shop", "web"): entry(parameters["window"]), unmounted: {"pvCost": 3, "minutes": 1440}})

    report = report_of(reply)
    assert {row.name: row.storage_cost for row in report.rows} == {"__unmounted__": 6, "web": 0}
    assert all("unmounted" not in row.name for row in (*report.pods, *report.over_provisioned))
    assert any(note.startswith("__unmounted__: volumes") for note in report.notes)


# --- idle, shared, trend, waste --------------------------------------------------------------------------------------


def with_idle(parameters: dict[str, str]) -> Reply:
    if parameters["aggregate"] == "cluster":
        return answer({"lab": entry(parameters["window"])})
    step = {
        key("shop", "web"): entry(parameters["window"], ramCost=0, cpuCost=3),
        key("shop", "db"): entry(parameters["window"], ramCost=4, cpuCost=1),
        key("kube-system", "dns"): entry(parameters["window"], ramCost=0, cpuCost=2),
    }
    if parameters["includeIdle"] == "true":
        step["__idle__"] = {"cpuCost": 6, "ramCost": 5, "minutes": 1440}
    return answer(step)


def test_idle_capacity_is_beside_the_rows_or_shared_by_what_each_resource_costs() -> None:
    beside = report_of(with_idle)
    assert (beside.idle_cost, beside.total.cost) == (22, 20)
    shared = report_of(with_idle, idle="share")
    rows = {row.name: row for row in shared.rows}
    assert rows["web"].idle_cost == pytest.approx(2 * (6 * 3 / 6))
    assert rows["db"].idle_cost == pytest.approx(2 * (6 * 1 / 6 + 5))
    assert shared.idle_cost == 0
    assert shared.total.cost == pytest.approx(42)
    assert sum(row.cost for row in shared.rows) == pytest.approx(42)


def test_idle_capacity_may_be_left_out() -> None:
    hidden = report_of(with_idle, idle="hide")
    assert hidden.idle_cost is None
    assert hidden.total.cost == 20


def test_shared_namespaces_are_borne_in_proportion_to_cost() -> None:
    report = report_of(with_idle, share=("kube-system",))
    assert {row.name: row.shared_cost for row in report.rows} == {
        "db": pytest.approx(4 * 10 / 16),
        "web": pytest.approx(4 * 6 / 16),
    }
    assert report.total.cost == pytest.approx(20)
    assert {row.name for row in report.namespaces} == {"shop", "kube-system"}


@pytest.mark.parametrize("option", [{"idle": "share"}, {"share": ("kube-system",)}])
def test_what_all_bear_cannot_be_told_for_a_part(option: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="together with a filter"):
        report_of(with_idle, filters={"namespace": ("shop",)}, **option)


def test_a_filter_leaves_the_others_and_idle_capacity_out() -> None:
    report = report_of(with_idle, filters={"namespace": ("kube-system",)})
    assert [row.name for row in report.rows] == ["dns"]
    assert report.idle_cost is None


def test_the_trend_is_against_the_window_before_by_the_hour() -> None:
    def reply(parameters: dict[str, str]) -> Reply:
        now = parameters["window"] >= "2026-11-20"
        hours = "T00:00:00Z,2026-11-19T12:00:00Z" if parameters["window"].startswith("2026-11-19") else ""
        span = parameters["window"] if not hours else f"2026-11-19{hours}"
        step = {key("shop", "web"): entry(span, cpuCoreHours=1, cpuCost=(3 if now else 2) * _hours(span), ramCost=0)}
        if now:
            step[key("shop", "new")] = entry(span)
        return answer(step)

    report = report_of(reply, trend=True)
    rows = {row.name: row.change for row in report.rows}
    assert rows["web"] == pytest.approx(0.5)
    assert rows["new"] is None
    assert report.total.change is not None


def _hours(span: str) -> float:
    start, end = (datetime.fromisoformat(text) for text in span.split(","))
    return (end - start).total_seconds() / 3600


def test_without_data_before_there_is_no_trend() -> None:
    def reply(parameters: dict[str, str]) -> Reply:
        now = parameters["window"] >= "2026-11-20"
        return answer({key("shop", "web"): entry(parameters["window"])} if now else {})

    assert report_of(reply, trend=True).rows[0].change is None


def test_over_provisioned_workloads_are_those_that_use_less_than_half_dearest_first() -> None:
    pods = every_step(
        shop_busy={"cpuCoreUsageAverage": 0.9, "ramByteUsageAverage": 1.8 * 2**30},
        shop_lazy={"cpuCoreUsageAverage": 0.1},
        shop_fat={"cpuCoreUsageAverage": 0.9, "ramByteUsageAverage": 0.2 * 2**30},
        shop_norequest={"cpuCoreRequestAverage": 0, "ramByteRequestAverage": 0},
    )
    report = report_of(pods)
    assert [row.name for row in report.over_provisioned] == ["shop/deployment:lazy", "shop/deployment:fat"]
    lazy = report.over_provisioned[0]
    assert lazy.unused_monthly == pytest.approx(730 * (0.9 * CPU + 1 * GIB))


def test_nothing_to_show_says_so_and_is_no_error() -> None:
    report = report_of(Reply(recorded("empty-window")))
    assert list(report.rows) == []
    assert report.notes == [
        "no allocations from 2026-11-20 00:00 to 2026-11-22 00:00 UTC; after an installation the first data takes "
        "about 25 minutes"
    ]
    assert "no allocations" in tables.as_text(cost_report.document(report))


# --- formats ---------------------------------------------------------------------------------------------------------

EVIL = "<script>alert(1)</script>|[x](http://evil)`*_=cmd"


def evil_report() -> actual.Report:
    def reply(parameters: dict[str, str]) -> Reply:
        name = EVIL.replace("/", "\\")
        return answer({f"shop/deployment:w/{name}/{name}/x/y/z": entry(parameters["window"])})

    return report_of(reply)


class Page(HTMLParser):
    """Counts the tags and keeps the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_escapes_every_name_and_fetches_nothing() -> None:
    page = tables.as_html(cost_report.document(evil_report()))
    parsed = Page(page)
    assert "script" not in parsed.tags
    assert not {"img", "link", "a", "iframe"} & set(parsed.tags)
    assert "<script>alert(1)" in parsed.text  # shown as it is named
    assert "default-src 'none'" in page


def test_markdown_escapes_every_name() -> None:
    text = tables.as_markdown(cost_report.document(evil_report()))
    (line,) = [line for line in text.splitlines() if "script" in line and "shop/" not in line]
    assert "\\<script\\>" in line
    assert not re.search(r"(?<!\\)[<>\[\]`*_]", line)
    headings = [one for one in text.splitlines() if one.startswith("| service")]
    assert line.replace("\\|", "").count("|") == headings[0].count("|")


def test_csv_has_one_line_a_row_and_no_formulas() -> None:
    def reply(parameters: dict[str, str]) -> Reply:
        return answer(
            {key("shop", "=1+1"): entry(parameters["window"]), key("shop", 'a,"b'): entry(parameters["window"])}
        )

    rows = list(csv.DictReader(io.StringIO(cost_report.csv_text(report_of(reply)))))
    assert [row["name"] for row in rows] == ["'=1+1", 'a,"b']
    assert float(rows[0]["cost"]) == pytest.approx(2 * 24 * (CPU + 2 * GIB), abs=1e-5)
    assert tables.as_csv(("a",), [("=1+1",), ("-x",), ("ok",)]) == "a\n'=1+1\n'-x\nok\n"


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_text_fits_the_width_and_keeps_name_and_cost(width: int) -> None:
    out = io.StringIO()
    document = cost_report.document(report_of(Reply(recorded("pods")), window=WINDOW))
    tables.print_text(document, out, width)
    rows = [line for line in out.getvalue().splitlines() if line.startswith("payment-service ")]
    assert len(rows) == 1
    assert "0.00063" in rows[0]
    assert all(len(line) <= width for line in out.getvalue().splitlines() if line.startswith(("payment", "cloudmart/")))


def test_the_json_has_exactly_the_documented_keys() -> None:
    data = json.loads(cost_report.as_json(report_of(Reply(recorded("pods")), window=WINDOW)))
    page = (Path(__file__).resolve().parents[2] / "docs" / "costs.md").read_text()
    assert list(data) == [
        "window",
        "source",
        "by",
        "rows",
        "total",
        "idleCost",
        "namespaces",
        "pods",
        "overProvisioned",
        "notes",
    ]
    for name in (*data, *data["window"], *data["rows"][0], *data["rows"][0]["cpu"]):
        assert f'"{name}"' in page


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0.00"), (1234.567, "1,234.57"), (0.5, "0.5000"), (0.00063, "0.00063"), (-2, "-2.00"), (-1e-9, "0.00000")],
)
def test_money_has_the_digits_that_matter(amount: float, text: str) -> None:
    assert tables.money(amount) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.123, "+12%"), (-0.5, "-50%"), (0.001, "0%"), (-0.001, "0%"), (1234.5, "+1,234x"), (None, "")],
)
def test_a_change_has_its_sign_unless_there_is_none(ratio: float | None, text: str) -> None:
    assert tables.percent(ratio, sign=True) == text


# --- the command -----------------------------------------------------------------------------------------------------


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["cloudmart", "cost", *args])
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


@pytest.mark.parametrize("format_", ["text", "json", "csv", "markdown", "html"])
def test_the_command_prints_every_format(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], format_: str
) -> None:
    with serving(Reply(recorded("pods"))) as api:
        code, out, err = run(monkeypatch, capsys, "--url", api.url, "--window", "1h", "--format", format_)
    assert (code, err) == (0, "")
    assert "payment-service" in out.replace("\\-", "-")
    if format_ == "json":
        json.loads(out)


def test_the_command_writes_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with serving(Reply(recorded("pods"))) as api:
        code, out, _ = run(
            monkeypatch, capsys, "--url", api.url, "--window", "1h", "--format", "csv", "--out", str(tmp_path / "c.csv")
        )
    assert (code, out) == (0, "")
    assert (tmp_path / "c.csv").read_text().startswith("name,cost,")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--window", "bogus"), "error: window: found 'bogus'; allowed: a duration"),
        (("--by", "colour"), "error: by: found 'colour'; allowed: service, namespace"),
        (("--filter", "namespace"), "error: --filter: found 'namespace'; allowed: FIELD=VALUE"),
        (("--filter", "colour=red"), "error: aggregate: found 'colour'"),
        (("--service", "a/b"), "error: cost: found --url and --service; allowed: one of them"),
        (("--window", "1h", "forecast", "--stack", "dev"), "error: cost: found options before forecast"),
    ],
)
def test_bad_input_is_one_message_and_exit_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], message: str
) -> None:
    with serving(Reply(recorded("pods"))) as api:
        code, out, err = run(monkeypatch, capsys, "--url", api.url, *args)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that knows one cluster with OpenCost, and logs how it is called."""
    services = {"items": [{"metadata": {"namespace": "m", "name": "opencost"}, "spec": {"ports": [{"port": 9003}]}}]}
    (tmp_path / "services.json").write_text(json.dumps(services))
    (tmp_path / "pods.json").write_bytes(recorded("pods"))
    program = tmp_path / "kubectl"
    program.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/calls
case "$*" in
  *get-contexts*) echo shop; echo production ;;
  *services*json*) cat {tmp_path}/services.json ;;
  *--raw*) cat {tmp_path}/pods.json ;;
  *) echo "error: $*" >&2; exit 1 ;;
esac
"""
    )
    program.chmod(0o755)
    monkeypatch.setattr("cloudmart.cluster.toolchain.kubectl", lambda: program)
    return tmp_path / "calls"


def test_the_clusters_api_is_found_and_asked_through_kubectl(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kubectl: Path
) -> None:
    code, out, err = run(monkeypatch, capsys, "--context", "shop", "--window", "3m", "--no-trend", "--format", "json")
    assert (code, err) == (0, "")
    assert json.loads(out)["source"] == "OpenCost at service m/opencost:9003"
    _, discovery, question = kubectl.read_text().splitlines()
    assert discovery == "--context shop get services --all-namespaces -o json"
    assert question.startswith(
        "--context shop get --raw /api/v1/namespaces/m/services/opencost:9003/proxy/allocation?win"
    )


def test_a_stacks_own_context_is_the_cluster_that_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kubectl: Path, project: Project
) -> None:
    project.config("prod", lambda config: config.update({"cloudmart:cluster": {"context": "production"}}))
    args = ("--stack", "prod", "--root", str(project.root), "--window", "3m", "--by", "cost-center", "--format", "csv")
    code, out, _ = run(monkeypatch, capsys, *args)
    assert code == 0
    assert [line.split(",")[0] for line in out.splitlines()] == ["name", "CC-2001", "CC-9", "(none)"]
    assert all(line.startswith("--context production get ") for line in kubectl.read_text().splitlines()[1:])


def test_a_local_cluster_that_is_not_running_is_not_started_for_a_question(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kubectl: Path, project: Project
) -> None:
    code, _, err = run(monkeypatch, capsys, "--stack", "dev", "--root", str(project.root))
    assert code == 2
    assert "its cluster is the local one, which is not running; allowed: `cloudmart local start`" in err
    assert not kubectl.exists()


def test_by_its_bare_name_the_command_asks_the_cluster_of_the_stack_that_the_others_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kubectl: Path, project: Project
) -> None:
    project.config("prod", lambda config: config.update({"cloudmart:cluster": {"context": "production"}}))
    monkeypatch.chdir(project.root)
    code, _, err = run(monkeypatch, capsys)
    assert code == 2
    assert err.startswith("error: stack dev: its cluster is the local one, which is not running; allowed: `cloudmart ")
    assert not kubectl.exists()
    monkeypatch.setenv("CLOUDMART_STACK", "prod")
    code, out, _ = run(monkeypatch, capsys, "--window", "3m", "--by", "cost-center", "--format", "csv")
    assert code == 0
    assert "CC-2001" in out, "who pays is what the stack declares"
    assert all(line.startswith("--context production get ") for line in kubectl.read_text().splitlines()[1:])


@pytest.mark.parametrize("where", ["--context", "--url", "CLOUDMART_COST_URL"])
def test_who_names_a_cluster_is_not_asked_for_a_stack(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kubectl: Path,
    project: Project,
    where: str,
) -> None:
    (project.root / "Pulumi.dev.yaml").unlink()
    monkeypatch.chdir(project.root)
    with serving(Reply(recorded("pods"))) as api:
        monkeypatch.setenv("CLOUDMART_COST_URL", api.url)
        given = {"--context": ("--context", "shop"), "--url": ("--url", api.url)}.get(where, ())
        if given:
            monkeypatch.delenv("CLOUDMART_COST_URL")
        code, _, err = run(monkeypatch, capsys, *given, "--window", "3m", "--no-trend")
    assert (code, err) == (0, "")
    assert kubectl.exists() == (where == "--context")


def test_outside_a_project_the_current_context_of_kubectl_is_asked_and_named_where_it_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kubectl: Path
) -> None:
    monkeypatch.setenv("CLOUDMART_STACK", "prod")
    args = ("--root", str(kubectl.parent), "--window", "3m", "--no-trend")
    code, _, err = run(monkeypatch, capsys, *args)
    assert (code, err) == (0, "")
    assert kubectl.read_text().startswith("get services ")
    (kubectl.parent / "services.json").unlink()
    code, _, err = run(monkeypatch, capsys, *args)
    assert code == 2
    assert err.startswith("error: kubectl's current context: kubectl get: ")
    assert err.endswith("; allowed: one that answers, --context, --url, or --stack in a project\n")


def test_filters_reach_the_api_and_the_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def reply(parameters: dict[str, str]) -> Reply:
        return answer({"lab": {}}) if parameters["aggregate"] == "cluster" else Reply(recorded("pods"))

    with serving(reply) as api:
        args = ("--window", "1h", "--filter", "namespace=other,x", "--filter", "cost-center=CC-9", "--format", "csv")
        code, out, _ = run(monkeypatch, capsys, "--url", api.url, "--no-trend", *args)
    assert code == 0
    assert api.asked[1]["filter"] == 'namespace:"other","x"+label[cost_center]:"CC-9"'
    assert [line.split(",")[0] for line in out.splitlines()] == ["name", "burst"]


# --- size ------------------------------------------------------------------------------------------------------------

PODS_A_DAY = 334
MEASURED = """
import pathlib, resource, sys, time
started = time.perf_counter()
from cloudmart.cli import main
sys.argv = ["cloudmart", "cost", *sys.argv[1:]]
main()
status = pathlib.Path("/proc/self/status")
if status.exists():  # Linux counts in ru_maxrss what the parent held when it started this process
    peak = int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(f"{time.process_time():.2f} {time.perf_counter() - started:.2f} {peak:.0f}", file=sys.stderr)
"""


def many_pods(count: int) -> Callable[[dict[str, str]], Reply]:
    """Steps of `count` pods, as long as the recorded ones with their labels and annotations."""
    step = json.loads(recorded("pods"))["data"][0]
    one = next(value for name, value in step.items() if name.startswith("cloudmart/deployment:payment"))
    start, end = one["start"].encode(), one["end"].encode()
    pods = {key(f"ns-{i % 20}", f"service-{i % 100}", f"pod-{i}"): one for i in range(count)}
    body = json.dumps({"code": 200, "status": "success", "data": [pods]}).encode()

    def reply(parameters: dict[str, str]) -> Reply:
        first, last = parameters["window"].split(",")
        return Reply(
            body.replace(start, first.encode()).replace(end, last.encode()).replace(b'"minutes": 3', b'"minutes": 1440')
        )

    return reply


def measured(api: Api, what: str, *args: str) -> dict[str, Any]:
    """Runs the whole command in a process of its own, and holds the best of three runs against the limits.

    The limit is on the processor's time, because tests share the machine; the clock's is printed.
    """
    runs = []
    for _ in range(3):
        command = [sys.executable, "-c", MEASURED, "--url", f"{api.url}/allocation", "--format", "json", "--no-trend"]
        done = subprocess.run([*command, *args], capture_output=True, text=True, timeout=120, check=True)
        runs.append(tuple(map(float, done.stderr.split())))
    processor, clock, mebibytes = min(runs)
    print(f"\n{what}: {clock:.2f} s ({processor:.2f} s of the processor), {mebibytes:.0f} MiB")  # noqa: T201
    assert processor < 2
    assert mebibytes < 300
    data: dict[str, Any] = json.loads(done.stdout)
    return data


@pytest.mark.slow
def test_thirty_days_of_ten_thousand_entries_take_under_two_seconds_and_300_mib() -> None:
    with serving(many_pods(PODS_A_DAY)) as api:
        data = measured(api, f"30 days, {30 * PODS_A_DAY} entries", "--window", "2026-10-01,2026-10-31")
        assert len(api.asked) == 3 * 30
    assert data["total"]["pods"] == pytest.approx(PODS_A_DAY)
    assert len(data["total"]["days"]) == 30


@pytest.mark.slow
def test_ten_thousand_entries_in_one_answer_take_under_two_seconds_and_300_mib() -> None:
    with serving(many_pods(10_000)) as api:
        data = measured(api, "one answer of 10,000 entries", "--window", "2026-10-01,2026-10-02")
    assert data["total"]["pods"] == pytest.approx(10_000)
