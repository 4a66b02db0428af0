"""The cost report: what it says, that foreign text stays text, and that everybody can read it anywhere."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudmart.cli import main
from cloudmart.errors import UserError
from cloudmart.finops import actual, forecast
from cloudmart.finops.allocation import Client
from cloudmart.finops.allocation.saved import Saved
from cloudmart.finops.estimate import Range
from cloudmart.finops.markdown import literal as escaped
from cloudmart.finops.tables import Column, Table
from cloudmart.preview.recorder import HOME
from cloudmart.report import charts, html, markdown, wiring
from cloudmart.report.charts import Chart, Series
from cloudmart.report.gather import Report, Source, gather
from cloudmart.report.sections import Content, Fact, Section, content
from cloudmart.report.wiring import Mark, Wiring
from cloudmart.settings import load, stacks
from tests.conftest import copy_project
from tests.unit.allocation_api import ANSWERS, Reply, recorded, serving

TAGS = set(
    re.findall(
        r"\w+",
        "html head meta title style body header main nav section h1 h2 h3 p dl dt dd div ul li a figure figcaption "
        "table caption thead tbody tfoot tr th td details summary pre svg g rect path text desc",
    )
)
EVIL = "<script>alert(1)</script>\"><img src=x onerror='alert(2)'>{{ 7*7 }}&lt;|`@all`\n[a](javascript:1)"


class Page(HTMLParser):
    """What a browser makes of a page: elements with attributes, and text outside of style."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def harmless(page: Page) -> None:
    """Nothing runs, nothing is fetched, no element that the template does not write."""
    assert {tag for tag, _ in page.elements} <= TAGS
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "style", "xlink:href")], tag
        assert (attributes.get("href") or "#").startswith("#")
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def with_text(text: str) -> Content:
    """A report in which every place for foreign text holds it."""
    table = Table(text, (Column(text, number=False), Column(text)), [(text, text)] * 2, (text, text))
    chart = Chart(text, [text, "b"], [Series(text, [1, 2], "a"), Series(text, [2, None], "b")], text)
    section = Section(
        ident="s", title=text, lead=[text], charts=[chart], tables=[table], notes=[text], diff=f"+{text}\n"
    )
    return Content(title=text, lead=[text], facts=[Fact(text, text, text, "bad")], sections=[section])


@pytest.fixture(scope="module")
def plain() -> Report:
    return gather("dev")


def saved(name: str = "pods") -> Source:
    answers = Saved(ANSWERS / f"{name}.json")
    return Source(client=answers.client(), window=answers.window, name=f"file {name}.json")


@pytest.fixture(scope="module")
def measured() -> Report:
    return gather("dev", source=saved())


# --- what it says ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", stacks(HOME))
def test_the_page_has_the_sums_of_the_estimate(stack: str, plain: Report) -> None:
    report = plain if stack == plain.preview.recording.stack else gather(stack)
    text = Page(html.page(content(report))).text
    estimate = report.preview.estimate
    for groups in (estimate.by_service, estimate.by_cost_center):
        for name, cost in groups.items():
            assert name in text
            assert all(f"{value:,.2f}" in text for value in (cost.min, cost.expected, cost.max))
    # Parts of a whole are rounded at the 28th digit.
    together = sum((share.total for share in report.shares.values()), Range()).expected
    assert round(together, 20) == round(estimate.monthly.expected, 20)


def test_a_section_without_data_says_so_in_one_line(plain: Report) -> None:
    found = {section.ident: section for section in content(plain).sections}
    for ident, option in (
        ("change", "--base"),
        ("actual", "--window"),
        ("forecast", "--url"),
        ("rightsizing", "--usage"),
    ):
        section = found[ident]
        assert len(section.lead) == 1
        assert option in section.lead[0]
        assert not section.tables
        assert not section.charts
        for text in (Page(html.page(content(plain))).text, markdown.summary(content(plain))):
            assert section.title in text
            assert section.lead[0].partition("(")[0] in text


def test_a_stack_without_budgets_says_so(plain: Report) -> None:
    report = replace(plain, preview=replace(plain.preview, budgets=()))
    (section,) = [section for section in content(report).sections if section.ident == "budgets"]
    assert section.lead == ["No budget is configured for this stack (cloudmart:budgets)."]


def test_autoscaling_shows_the_pods_and_cost_at_each_end(plain: Report) -> None:
    (section,) = [section for section in content(plain).sections if section.ident == "autoscaling"]
    rows = {row[0]: row for row in section.tables[0].rows}
    for name, service in plain.settings.services.items():
        assert service.autoscaling is not None
        bounds = (service.autoscaling.min, service.replicas, service.autoscaling.max)
        assert rows[name][1] == " / ".join(map(str, bounds))
        cost = plain.preview.estimate.by_service[name]
        assert rows[name][2:] == tuple(f"{value:,.2f}" for value in (cost.min, cost.expected, cost.max))


def test_efficiency_and_forecast_are_those_of_the_allocations(measured: Report) -> None:
    source = saved()
    ran = actual.report(source.client, source.window, "service", filters={"namespace": ["cloudmart", "kubecost"]})
    billed = forecast.compare(source.client, source.window, measured.preview.estimate)
    assert measured.actual is not None
    assert measured.forecast is not None
    assert [row.cost for row in measured.actual.rows] == [row.cost for row in ran.rows]
    assert measured.forecast.total == billed.total
    found = {section.ident: section for section in content(measured).sections}
    names = [row[0] for row in found["actual"].tables[0].rows]
    assert "payment-service" in names
    assert "burst" not in names, "another namespace's workload is not this stack's"
    assert found["forecast"].tables[0].total is not None
    assert any("too little data" in note for note in found["rightsizing"].notes)
    assert [fact.value for fact in content(measured).facts if fact.label == "Right-sizing saves"] == ["not known"]


def test_a_saved_answer_says_what_the_api_says() -> None:
    answers = Saved(ANSWERS / "pods.json")
    with serving(Reply(recorded("pods"))) as api:
        asked = actual.report(Client.at(f"{api.url}/allocation"), answers.window, "service", trend=False)
    told = actual.report(answers.client(), answers.window, "service", trend=False)
    assert replace(told, source="") == replace(asked, source="")


def test_a_live_api_and_its_saved_answer_make_the_same_report(measured: Report) -> None:
    steps = json.loads(recorded("pods"))["data"]
    by_cluster = [{key.replace("/", " "): one for key, one in step.items()} for step in steps]

    def reply(asked: dict[str, str]) -> Reply:
        window = saved().window
        inside = asked["window"] == str(window)
        data = by_cluster if asked["aggregate"] == "cluster" else steps
        return Reply(json.dumps({"code": 200, "data": data if inside else [{}]}).encode())

    with serving(reply) as api:
        source = Source(client=Client.at(f"{api.url}/allocation"), window=saved().window, name="file pods.json")
        assert html.page(content(gather("dev", source=source))) == html.page(content(measured))


def entry(start: str, end: str) -> dict[str, Any]:
    return {"window": {"start": start, "end": end}, "start": start, "end": end, "minutes": 60, "cpuCost": 1.0}


KEY = "shop/deployment:web/web-0/web/web/web-shop/CC-1"
LONG = {KEY: entry("2026-11-01T00:00:00Z", "2026-11-08T00:00:00Z")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "does not answer with JSON"),
        ("<html>", "a web page"),
        ('{"code": 500, "message": "no data yet"}', "no data yet"),
        ('{"code": 200, "data": []}', "found no allocations"),
        ('{"code": 200, "data": [null, {}]}', "found no allocations"),
        (json.dumps({"data": [{"shop": entry("2026-11-01T00:00:00Z", "2026-11-01T01:00:00Z")}]}), "aggregated by"),
        (json.dumps({"data": [{KEY: {"minutes": 60}}]}), "data.0"),
        (json.dumps({"data": [{KEY: None}]}), "data.0"),
        (json.dumps({"data": [LONG]}), "step=1d"),
    ],
)
def test_a_file_that_is_no_answer_is_one_clear_error(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "answer.json"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        Saved(file)
    assert str(caught.value).startswith(f"--allocation {file}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_saved_week_of_hours_is_read_day_by_day(tmp_path: Path) -> None:
    hours = [f"2026-11-{day:02}T{hour:02}:00:00Z" for day in (1, 2, 3) for hour in range(24)]
    steps = [{KEY: entry(*span)} for span in itertools.pairwise(hours)]
    file = tmp_path / "answer.json"
    file.write_text(json.dumps({"code": 200, "data": steps}))
    answers = Saved(file)
    told = actual.report(answers.client(), answers.window, "service", trend=False)
    assert told.total.cost == len(steps)
    assert list(told.total.days) == ["2026-11-01", "2026-11-02", "2026-11-03"]


# --- against a base --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A service more and one less, one that costs more, and an edge more."""
    root = tmp_path_factory.mktemp("project")
    copy_project(root, program=False)
    shutil.copy(HOME / ".gitignore", root)

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)

    git("init", "--quiet", "--initial-branch=main")
    git("add", ".")
    git("commit", "--quiet", "-m", "base")
    catalog = (root / "catalog.yaml").read_text()
    catalog = catalog.replace("needs: [kafka, payment-service]", "needs: [kafka, payment-service, user-service]")
    catalog = catalog.replace("  notification-service:\n", "  review-service:\n").replace("cpu: 150m", "cpu: 200m")
    (root / "catalog.yaml").write_text(catalog)
    stack = (root / "Pulumi.dev.yaml").read_text().replace("notification-service:", "review-service:")
    (root / "Pulumi.dev.yaml").write_text(stack)
    return gather("dev", root, base="main")


@pytest.mark.slow
def test_the_change_is_the_difference_of_both_estimates(changed: Report) -> None:
    delta = changed.preview.delta
    assert delta is not None
    (fact,) = [fact for fact in content(changed).facts if fact.label == "Change a month"]
    difference = delta.after.monthly.expected - delta.before.monthly.expected
    assert fact.value == f"{difference:+,.2f}"
    (section,) = [section for section in content(changed).sections if section.ident == "change"]
    services = {row[0]: row for row in section.tables[1].rows}
    assert services["review-service"][1] == "0.00"
    assert services["notification-service"][2] == "0.00"
    assert sum(Decimal(row[3]) for row in services.values()) == pytest.approx(difference, abs=Decimal("0.03"))


@pytest.mark.slow
def test_the_diagram_shows_what_came_went_and_changed(changed: Report) -> None:
    (section,) = [section for section in content(changed).sections if section.ident == "change"]
    ids = {match[2]: match[1] for match in re.finditer(r'(n\d+)\[\(?"([a-z-]+)', section.diagram)}
    assert f'{ids["review-service"]}["review-service<br/>added' in section.diagram
    assert f'{ids["notification-service"]}["notification-service<br/>removed' in section.diagram
    assert f'{ids["product-service"]}["product-service<br/>changed<br/>+' in section.diagram
    assert f"{ids['order-service']} -->|added| {ids['user-service']}" in section.diagram
    assert f"{ids['notification-service']} -.->|removed| {ids['kafka']}" in section.diagram
    assert "payment-api" not in ids, "nothing happened there"
    text = markdown.summary(content(changed))
    assert f"```mermaid\n{section.diagram}\n```" in text
    assert text.index("| Change a month |") < text.index("```mermaid") < text.index("<details>")


def test_the_base_without_a_change_has_no_diagram_and_says_so() -> None:
    settings = load("dev", HOME)
    found = wiring.compare(settings, settings)
    assert not found.changed_nodes
    assert not found.changed_edges
    assert wiring.mermaid(found, {}, "USD") == ("", "")


def test_names_cannot_break_out_of_the_diagram() -> None:
    evil = '"]:::added\n```\nclick n0 "javascript:alert(1)" <b>'
    diagram, _ = wiring.mermaid(Wiring({evil: ("service", Mark.ADDED)}, {}), {evil: Decimal(1)}, "USD")
    assert diagram.splitlines()[1].count('"') == 2
    assert "`" not in diagram
    assert "<b>" not in diagram
    assert not [line for line in diagram.splitlines() if line.lstrip().startswith("click")]


def test_a_large_change_is_drawn_in_part_and_says_what_is_missing() -> None:
    nodes = {f"s{i}": ("service", Mark.ADDED) for i in range(500)}
    edges = {(f"s{i}", f"s{i + 1}"): Mark.ADDED for i in range(499)}
    diagram, note = wiring.mermaid(Wiring(nodes, edges), {}, "USD")
    assert len(diagram) < 20_000
    assert diagram.count("-->") == wiring.MOST
    drawn = len(re.findall(r"^  n\d+\[", diagram, re.MULTILINE))
    assert note == f"not in the diagram: {500 - drawn} more services and stores, {499 - wiring.MOST} more edges"


# --- foreign text stays text -----------------------------------------------------------------------------------------


def test_no_text_of_config_or_api_becomes_markup_in_the_page() -> None:
    page = Page(html.page(with_text(EVIL)))
    harmless(page)
    assert page.text.count("<script>alert(1)</script>") > 10
    assert "49" not in page.text


def test_what_no_file_can_hold_or_what_turns_text_around_is_replaced() -> None:
    for made in (
        html.page(with_text("a\ud800\x00\x1b[31m\u202eb")),
        markdown.summary(with_text("a\ud800\x00\x1b\u202eb")),
    ):
        made.encode("utf-8")
        assert not set("\ud800\x00\x1b\u202e") & set(made)
        assert "a\ufffd\ufffd\ufffd" in made


@pytest.mark.slow
@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=()), min_size=1))
def test_any_text_can_be_written_and_keeps_the_page_what_it_is(text: str) -> None:
    made = html.page(with_text(text))
    made.encode("utf-8")
    page = Page(made)
    harmless(page)
    usual = Page(html.page(with_text("usual")))
    shapes = [[tag for tag, _ in one.elements] for one in (page, usual)]
    assert shapes[0] == shapes[1]
    markdown.summary(with_text(text)).encode("utf-8")


@settings(deadline=None)
@given(st.text(min_size=1))
def test_any_text_leaves_a_table_of_the_summary_its_cells(text: str) -> None:
    summary = markdown.summary(with_text(text))
    for line in summary.splitlines():
        if line.startswith("| ") and not line.startswith("| |"):
            assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) in (3, 4), line


@pytest.mark.parametrize(
    "text",
    ["<b>x</b>", "@team", "[a](b)", "![a](b)", "`code`", "a|b", "https://example.com", "www.example.com", "$x$", "#1"],
)
def test_markdown_shows_foreign_text_as_it_is(text: str) -> None:
    shown = escaped(text)
    assert not re.search(r"(?<!\\)[|<>\[\]*_`#!$]", shown)
    assert not re.search(
        r"@\w|://|www\.", shown.replace("\N{ZERO WIDTH SPACE}:", "").replace("\N{ZERO WIDTH SPACE}.", "")
    )


def test_a_diff_cannot_close_its_own_block_of_code() -> None:
    diff = "+a: '````'\n+```\n+<script>\n"
    text = markdown.summary(Content(title="t", lead=[], facts=[], sections=[Section(ident="s", title="s", diff=diff)]))
    assert f"`````diff\n{diff}`````" in text


# --- everywhere, by everybody ----------------------------------------------------------------------------------------


def test_the_page_needs_no_network_and_no_script(measured: Report) -> None:
    made = html.page(content(measured))
    page = Page(made)
    harmless(page)
    assert "url(" not in made
    assert "@import" not in made
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", made)


def test_the_page_can_be_read_by_a_screen_reader(measured: Report) -> None:
    page = Page(html.page(content(measured)))
    assert page.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert all(attributes.get("scope") in ("row", "col") for attributes in page.all("th"))
    named = len(page.all("caption")) + sum("aria-label" in attributes for attributes in page.all("table"))
    assert named == len(page.all("table")) > 5
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    drawings = [attributes for attributes in page.all("svg") if "aria-labelledby" in attributes]
    assert len(drawings) > 5
    for drawing in drawings:
        assert drawing["role"] == "img"
        assert set((drawing["aria-labelledby"] or "").split()) <= set(ids)
    for _, attributes in page.elements:
        if (attributes.get("href") or "").startswith("#"):
            assert (attributes["href"] or "")[1:] in ids


def luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_bars_stand_out_from_the_background(scheme: int) -> None:
    style = (HOME / "cloudmart" / "report" / "page.jinja").read_text()
    block = re.findall(r":root\{([^}]*)\}", style)[scheme]
    colours = dict(re.findall(r"--([a-z]+):#([0-9a-f]+)", block))
    for background in ("bg", "card"):
        for text in ("fg", "soft", "link"):
            # WCAG 2.2, 1.4.3 and 1.4.11.
            assert contrast(colours[text], colours[background]) >= 4.5, (text, background)
    for tone in ("a", "b", "c", "d", "weak", "good", "warn", "bad"):
        assert contrast(colours[tone], colours["bg"]) >= 3, tone


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes() -> None:
    made = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [
            sys.executable,
            "-m",
            "cloudmart.cli",
            "report",
            "-s",
            "dev",
            "--allocation",
            str(ANSWERS / "pods.json"),
        ]
        made.append(subprocess.run(command, check=True, capture_output=True, cwd=HOME, env=environment).stdout)
    assert made[0] == made[1]
    assert len(made[0]) > 10_000


# --- charts ----------------------------------------------------------------------------------------------------------


def bars(svg: str) -> Iterator[tuple[str, float]]:
    """Title and width of each bar."""
    name = "{http://www.w3.org/2000/svg}"
    for group in ElementTree.fromstring(svg).iter(f"{name}g"):  # noqa: S314 (our own drawing)
        if "bar" in (group.get("class") or "").split():
            yield group.findtext(f"{name}title") or "", float(group[1].get("width") or 0)


@pytest.mark.parametrize("stacked", [True, False])
def test_a_bar_is_as_long_as_its_value_and_says_it(stacked: bool) -> None:
    names = ["a", "b", "c"]
    series = [Series("CPU", [1, 2, None], "a"), Series("memory", [4, None, 0], "b")]
    found = dict(bars(charts.svg(Chart("t", names, series, "USD", stacked=stacked), "x")))
    assert found.keys() == {"a: CPU 1.00 USD", "b: CPU 2.00 USD", "a: memory 4.00 USD"}
    assert found["b: CPU 2.00 USD"] == pytest.approx(2 * found["a: CPU 1.00 USD"])
    assert found["a: memory 4.00 USD"] == pytest.approx(4 * found["a: CPU 1.00 USD"])


def test_a_drawing_has_its_colours_from_the_page_and_its_whole_names() -> None:
    name = "a-service-with-a-rather-long-name-that-has-no-room"
    svg = charts.svg(Chart("t", [name], [Series("cost", [1], "bad")], "USD"), "x")
    assert 'class="tone-bad"' in svg
    assert not re.search(r"<style|<script|#[0-9a-fA-F]{6}|<!--", svg)
    assert f"{name}: cost 1.00 USD" in svg
    (label,) = re.findall(r"<text[^>]*>([^<]*…)</text>", svg)
    assert name.startswith(label[:-1])


@pytest.mark.parametrize("top", [0.1, 60, 100, 101, 180, 250, 500])
def test_a_limit_has_a_mark_of_its_own(top: float) -> None:
    svg = charts.svg(Chart("t", ["a"], [Series("used", [top], "a")], "%", limit=100), "x")
    marks = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert "100" in marks
    assert len(marks) < 10


def test_marks_of_an_axis_do_not_stand_on_each_other() -> None:
    for top in (99, 101, 190, 450, 510, 3501, 123456):
        svg = charts.svg(Chart("t", ["a"], [Series("used", [top], "a")], "%", limit=100), "x")
        places = sorted(float(x) for x in re.findall(r'<text x="([\d.]+)"', svg))
        assert all(right - left > 30 for left, right in itertools.pairwise(places)), top


# --- size ------------------------------------------------------------------------------------------------------------


def test_the_summary_of_a_huge_report_fits_into_a_comment_and_says_what_is_missing() -> None:
    rows = [(f"сервис-{i}" * 5, "1.00", "long " * 30) for i in range(5000)]
    columns = (Column("service", number=False), Column("cost"), Column("why", number=False))
    sections = [
        Section(ident=f"s{i}", title=f"Part {i}", tables=[Table("t", columns, rows)], diff="+x: 1\n" * 10_000)
        for i in range(10)
    ]
    huge = Content(title="Cost", lead=[], facts=[Fact("Expected a month", "1.00")], sections=sections)
    text = markdown.summary(huge)
    assert 20_000 < len(text) <= len(text.encode()) <= markdown.LIMIT == 65_536
    assert text.startswith("## Cost\n\n| | | |\n| --- | ---: | --- |\n| Expected a month |")
    assert "and 4960 more" in text
    assert "Left out: " in text
    assert "part 9" in text.rpartition("Left out: ")[2]
    assert text.count("<details>") == text.count("</details>")
    assert text.count("```") % 2 == 0


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_writes_the_page_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.html"
    monkeypatch.delenv("CLOUDMART_COST_URL", raising=False)
    monkeypatch.setattr(sys, "argv", ["cloudmart", "report", "--stack", "dev", "--out", str(file)])
    main()
    assert file.read_text().startswith("<!doctype html>\n")
    assert file.read_text().endswith("</html>\n")
    assert capsys.readouterr().out == ""


def test_two_sources_at_once_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--allocation", str(ANSWERS / "pods.json"), "--url", "http://127.0.0.1:1"]
    monkeypatch.setattr(sys, "argv", ["cloudmart", "report", "--stack", "dev", *options])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "--allocation with" in capsys.readouterr().err
