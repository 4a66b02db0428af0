"""The preview for checks: each finding at the line that causes it, in the formats that forges read."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema_rs
import pytest

from cloudmart.cli import main
from cloudmart.errors import UserError
from cloudmart.finops.markdown import literal
from cloudmart.preview import document, findings, junit, places, report, run, sarif
from cloudmart.preview.findings import SCHEMA, SETTINGS, Finding, Level
from cloudmart.preview.places import Place, Places
from cloudmart.preview.recorder import HOME
from cloudmart.preview.run import PreviewResult
from cloudmart.preview.schema import SchemaError, SchemaResult
from cloudmart.report import html, pull_request
from tests.conftest import Project, copy_project
from tests.unit.test_report import EVIL, Page, harmless

STACK = "Pulumi.dev.yaml"
#: Nothing is left unchecked.
CHECKED = SchemaResult([], 5, {})


def spoil(project: Project) -> None:
    """Breaks a rule in each way that the catalog or a stack's file can."""

    def catalog(tree: Any) -> None:
        services = tree["services"]
        services["user-service"]["resources"]["limits"]["cpu"] = "2"
        services["product-service"]["autoscaling"]["cpu"] = 40
        services["payment-service"]["image"] = {"repository": "evil.example.com/pay", "tag": "main"}
        tree["placeholderImage"]["repository"] = "evil.example.com/stand-in"
        tree["data"]["redis"]["exporter"] = {"enabled": True, "resources": {"limits": {"cpu": "3", "memory": "64Mi"}}}

    def stack(config: Any) -> None:
        config["cloudmart:services"]["order-service"]["env"]["API_TOKEN"] = "x"
        config["cloudmart:services"]["product-service"]["autoscaling"] = {"memory": 95}
        config["cloudmart:budgets"]["CC-2001"]["monthly"] = 5

    project.catalog(catalog)
    project.config("dev", stack)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> PreviewResult:
    project = copy_project(tmp_path_factory.mktemp("spoilt") / "project", program=False)
    spoil(project)
    return run.preview("dev", project.root)


@pytest.fixture(scope="module")
def found(spoilt: PreviewResult) -> list[Finding]:
    return findings.of(spoilt)


#: Rule, word of the subject, file and key path.
CAUSES = [
    ("limit-request-ratio", "user-service", "catalog.yaml", "services.user-service.resources.limits.cpu"),
    ("limit-request-ratio", "redis", "catalog.yaml", "data.redis.exporter.resources.limits.cpu"),
    ("autoscaler-bounds", "product-service-hpa", "catalog.yaml", "services.product-service.autoscaling.cpu"),
    ("autoscaler-bounds", "product-service-hpa", STACK, "config.cloudmart:services.product-service.autoscaling.memory"),
    ("image-pinned", "payment-service", "catalog.yaml", "services.payment-service.image.tag"),
    ("image-registries", "payment-service", "catalog.yaml", "services.payment-service.image"),
    ("image-registries", "order-service", "catalog.yaml", "placeholderImage"),
    ("no-literal-secrets", "order-service-config", STACK, "config.cloudmart:services.order-service.env.API_TOKEN"),
    ("budget", "", STACK, "config.cloudmart:budgets.CC-2001"),
]


@pytest.mark.parametrize(("rule", "subject", "file", "path"), CAUSES)
def test_a_violation_points_at_the_line_that_causes_it(
    spoilt: PreviewResult, found: list[Finding], rule: str, subject: str, file: str, path: str
) -> None:
    causes = [one.place for one in found if one.rule == rule and one.subject.endswith(subject) and one.place]
    (place,) = [one for one in causes if (one.file, one.path) == (file, path)]
    lines = (spoilt.recording.root / file).read_text().splitlines()
    assert place.line is not None
    key = re.split(r"[.:]", path)[-1]
    assert lines[place.line - 1].strip().strip("'\"").startswith(key)


def test_every_finding_of_a_spoilt_catalog_has_a_line(found: list[Finding]) -> None:
    assert len(found) >= len(CAUSES)
    assert [one for one in found if one.place is None or one.place.line is None] == []
    assert {one.level for one in found} == {Level.ERROR, Level.WARNING}


def test_what_no_key_says_is_put_on_the_entry_of_its_service_store_or_layer(spoilt: PreviewResult) -> None:
    assert spoilt.loaded is not None
    where = Places(spoilt.recording, spoilt.loaded)
    urns = {(one.type.rpartition(":")[2], one.name): one.urn for one in spoilt.recording.resources}

    def path(kind: str, name: str, wrong: str) -> str | None:
        place = where.of_error(SchemaError(urns[(kind, name)], wrong, "is wrong"))
        return place.path if place else None

    assert path("Deployment", "user-service", "spec.template.spec.containers[0].resources.limits.cpu") == (
        "services.user-service.resources.limits.cpu"
    )
    assert path("Deployment", "user-service", "spec.paused") == "services.user-service"
    assert path("HorizontalPodAutoscaler", "user-service-hpa", "spec.maxReplicas") == (
        "services.user-service.autoscaling.max"
    )
    # Where the stack's file has it, it is the one that counts.
    assert path("ConfigMap", "user-service-config", "data.LOG_LEVEL") == (
        "config.cloudmart:services.user-service.env.LOG_LEVEL"
    )
    assert path("StatefulSet", "postgres", "spec.serviceName") == "data.postgres"
    assert path("NetworkPolicy", "cloudmart-allow-dns", "spec.egress") == "namespace"
    assert path("NetworkPolicy", "kubecost-allow-dns", "spec.egress") == "kubecost"
    assert path("Release", "kubecost", "values") == "kubecost"
    assert where.of_error(SchemaError("stack outputs", "x", "is a secret")) is None


def test_every_component_has_a_part_of_the_declaration_that_it_is_made_from() -> None:
    sources = [file.read_text(encoding="utf-8") for file in (HOME / "components").rglob("*.py")]
    tokens = {token for text in sources for token in re.findall(r'"(cloudmart:\w+:\w+)"', text)}
    # They belong to whom they are made for.
    assert tokens - places.OWNERS.keys() == {
        "cloudmart:namespace:GuardedNamespace",
        "cloudmart:priority:PriorityClasses",
    }
    assert places.OWNERS.keys() <= tokens


def test_the_text_names_the_line(spoilt: PreviewResult, found: list[Finding]) -> None:
    text = report.as_text(spoilt)
    assert [one for one in found if f"    at {one.place}\n" not in text] == []


# --- SARIF -----------------------------------------------------------------------------------------------------------


def test_sarif_has_a_result_for_each_finding_and_what_its_rule_is_about(found: list[Finding]) -> None:
    data = json.loads(sarif.as_sarif("dev", found))
    (only,) = data["runs"]
    rules = only["tool"]["driver"]["rules"]
    assert data["version"] == "2.1.0"
    assert len(only["results"]) == len(found)
    for result, finding in zip(only["results"], found, strict=True):
        rule = rules[result["ruleIndex"]]
        assert rule["id"] == result["ruleId"] == finding.rule
        assert {"text", "markdown"} == rule["help"].keys()
        assert rule["shortDescription"]["text"]
        assert rule["helpUri"].startswith("https://")
        assert result["level"] in ("error", "warning")
        assert finding.message.split()[0] in result["message"]["text"]
        (location,) = result["locations"]
        physical = location["physicalLocation"]
        assert finding.place is not None
        assert physical["artifactLocation"]["uri"] == finding.place.file
        assert physical["region"] == {"startLine": finding.place.line}
    prints = [result["partialFingerprints"]["cloudmartFinding/v1"] for result in only["results"]]
    assert len(prints) == len(found)
    # One key path may break a rule for several objects, which are several findings.
    assert len(set(prints)) == len({(one.rule, one.urn or one.subject, str(one.place)) for one in found})


def test_rules_for_security_have_a_score_and_the_others_a_severity() -> None:
    rules = json.loads(sarif.as_sarif("dev", []))["runs"][0]["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules) > 20
    for rule in rules:
        is_security = "security" in rule["properties"]["tags"]
        assert ("security-severity" in rule["properties"]) == is_security
        assert ("problem.severity" in rule["properties"]) == (not is_security)


def test_the_same_finding_has_the_same_fingerprint_when_lines_move_or_figures_change() -> None:
    def fingerprint(line: int, message: str, path: str = "services.a") -> str:
        one = Finding("budget", Level.ERROR, "", message, Place("catalog.yaml", line, path), "urn")
        (result,) = json.loads(sarif.as_sarif("dev", [one]))["runs"][0]["results"]
        text: str = result["partialFingerprints"]["cloudmartFinding/v1"]
        return text

    assert fingerprint(1, "5 over") == fingerprint(9, "6 over") != fingerprint(1, "5 over", "services.b")


def test_a_message_makes_no_link_in_sarif_and_nothing_unprintable_gets_into_a_file() -> None:
    one = Finding(SCHEMA, Level.ERROR, "x", "[a](javascript:1) \x1b[31m\u202e", None)
    text = sarif.as_sarif("dev", [one])
    (result,) = json.loads(text)["runs"][0]["results"]
    assert "](" not in result["message"]["text"]
    assert "\x1b" not in json.loads(text)["runs"][0]["results"][0]["message"]["text"]
    assert "\x1b" not in junit.as_junit("dev", [one], CHECKED)
    assert parsed(junit.as_junit("dev", [one], CHECKED)).get("failures") == "1"


def parsed(xml: str) -> ElementTree.Element:
    return ElementTree.fromstring(xml)  # noqa: S314 (our own)


# --- JUnit -----------------------------------------------------------------------------------------------------------


def test_junit_fails_the_rules_that_stop_and_tells_the_others_advice(found: list[Finding]) -> None:
    root = parsed(junit.as_junit("dev", found, CHECKED))
    cases = {case.get("name"): case for case in root.iter("testcase")}
    stopping = {one.rule for one in found if one.level is Level.ERROR}
    assert {name for name, case in cases.items() if case.find("failure") is not None} == stopping
    assert root.get("failures") == str(len(stopping))
    assert root.get("tests") == str(len(cases))
    assert sum(int(suite.get("tests", "")) for suite in root.iter("testsuite")) == len(cases)
    for name in stopping:
        text = cases[name].findtext("failure") or ""
        assert text.count("\n") + 1 == sum(one.rule == name and one.level is Level.ERROR for one in found)
        assert re.match(r"(catalog|Pulumi\.dev)\.yaml:\d+: ", text)
        assert cases[name].get("line", "").isdigit()
    advice = cases["limit-request-ratio"]
    assert advice.find("failure") is None
    assert "catalog.yaml:" in (advice.findtext("system-out") or "")


def test_junit_skips_a_case_for_the_objects_that_nothing_could_be_said_of(found: list[Finding]) -> None:
    partly = SchemaResult([], 5, {"example.com/v1 Thing": 2, "example.com/v1 Other": 1})
    for findings_ in ([], found):
        root = parsed(junit.as_junit("dev", findings_, partly))
        cases = {case.get("name"): case for case in root.iter("testcase")}
        skipped = cases["object-schema-unchecked"]
        (reason,) = skipped.findall("skipped")
        assert reason.get("message") == "3 of 8 objects were not checked: no schema of their kinds is here"
        assert "2 x example.com/v1 Thing" in (skipped.findtext("system-out") or "")
        # The rule holds, or not, for those that were checked.
        assert cases[SCHEMA].find("skipped") is None
        assert (root.get("skipped"), root.get("tests")) == ("1", str(len(cases)))
    assert SCHEMA + "-unchecked" not in junit.as_junit("dev", found, CHECKED)


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_the_committed_schema_of_the_json_is_the_one_that_the_types_make() -> None:
    committed = json.loads((HOME / "schemas" / "preview.schema.json").read_text(encoding="utf-8"))
    assert committed == document.json_schema(), "cloudmart config schema preview > schemas/preview.schema.json"
    jsonschema_rs.meta.validate(committed)


def test_the_json_fits_its_schema_and_says_its_version(spoilt: PreviewResult) -> None:
    data = json.loads(report.as_json(spoilt))
    jsonschema_rs.validate(document.json_schema(), data)
    assert data["version"] == document.VERSION
    lines = {one["place"]["line"] for one in data["policy"]["violations"]}
    assert len(lines) > 5
    assert not jsonschema_rs.is_valid(document.json_schema(), {**data, "more": 1})
    assert not jsonschema_rs.is_valid(document.json_schema(), {**data, "version": 2})


# --- files that do not load ------------------------------------------------------------------------------------------


@pytest.fixture
def broken(project: Project) -> Project:
    def edit(tree: Any) -> None:
        tree["services"]["user-service"]["replicas"] = "many"
        tree["services"]["order-service"]["needs"] = ["kafka", "paymnt-service"]

    project.catalog(edit)
    return project


def test_a_settings_error_is_a_finding_on_its_line_and_still_an_error(
    broken: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = {name: tmp_path / name for name in ("sarif", "junit", "markdown", "html", "json")}
    also = [word for name, file in files.items() for word in ("--also", f"{name}={file}")]
    monkeypatch.setattr("sys.argv", ["cloudmart", "preview", "-s", "dev", "--root", str(broken.root), *also])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: catalog.yaml:")
    assert not files["json"].exists()
    (result, *_) = json.loads(files["sarif"].read_text())["runs"][0]["results"]
    line = result["locations"][0]["physicalLocation"]["region"]["startLine"]
    assert "replicas: many" in (broken.root / "catalog.yaml").read_text().splitlines()[line - 1]
    assert result["ruleId"] == SETTINGS
    root = parsed(files["junit"].read_text())
    assert root.get("failures") == "1"
    assert int(root.get("skipped", "")) == int(root.get("tests", "")) - 1
    text = files["markdown"].read_text()
    assert text.startswith(f"{pull_request.MARKER}\n## Preview of stack dev")
    assert f"catalog.yaml:{line}: services.user-service.replicas" in text
    harmless(Page(files["html"].read_text()))


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("catalog.yaml:7: a.b[0]: found 1; allowed: 2", Place("catalog.yaml", 7, "a.b[0]")),
        ("Pulumi.dev.yaml:3: config.cloudmart:x: found 1", Place("Pulumi.dev.yaml", 3, "config.cloudmart:x")),
        ("policy/config/dev.json: all: found 1; allowed: 2", Place("policy/config/dev.json", None, "all")),
        ("catalog.yaml:7: not valid YAML: mapping values", Place("catalog.yaml", 7, "")),
        ("--base: found 'x', which git does not know", None),
    ],
)
def test_the_file_line_and_key_of_a_message_are_read(line: str, place: Place | None) -> None:
    (one,) = findings.of_error(UserError(line))
    assert (one.place, one.message) == (place, line)
    # Where the place is shown, it is not said twice.
    assert one.what == (line.removeprefix(f"{place}: ") if place else line)
    assert not one.what.startswith(("catalog", "Pulumi", "policy"))


def test_a_value_that_does_not_go_with_another_files_is_placed_and_its_message_names_both() -> None:
    line = "Pulumi.dev.yaml:4 over catalog.yaml:28: services.web.replicas: found replicas 9 is outside the range"
    (one,) = findings.of_error(UserError(line))
    assert (one.place, one.what) == (Place("Pulumi.dev.yaml", 4, "services.web.replicas"), line)


# --- comment and page ------------------------------------------------------------------------------------------------


def hostile(count: int = 1) -> list[Finding]:
    return [Finding(SCHEMA, Level.ERROR, EVIL, EVIL, Place(EVIL, 1, EVIL), EVIL) for _ in range(count)]


def test_text_of_others_stays_text_in_the_comment_and_on_the_page() -> None:
    content = pull_request.failed(EVIL, hostile())
    harmless(Page(html.page(content)))
    text = pull_request.comment(content)
    rest = text.removeprefix(pull_request.MARKER)
    assert re.search(r"(?<!\\)<(?!/?(details|summary)\b)", rest) is None
    assert re.search(r"(?<!\\)\]\(", rest) is None
    assert not re.search(r"@\w", rest)


def test_a_comment_keeps_within_its_room_and_says_what_is_missing(spoilt: PreviewResult) -> None:
    for room, rows in ((8_192, 10), (65_536, 40)):
        text = pull_request.comment(pull_request.failed("dev", hostile(5_000)), room)
        assert len(text) <= room
        assert f"| and {5_000 - rows} more |" in text
    whole = pull_request.comment(pull_request.content(spoilt))
    assert "Left out: " not in whole
    content = pull_request.content(spoilt)
    many = replace(content, sections=[*content.sections, *[pull_request.failed("dev", hostile(9)).sections[0]] * 20])
    small = pull_request.comment(many, 8_192)
    assert len(small) <= 8_192
    assert "Left out: " in small


def test_no_problem_is_said_of_the_objects_that_were_checked_and_of_no_others(spoilt: PreviewResult) -> None:
    gap = "3 of 8 objects were not checked: no schema of their kind is here."
    partly = replace(spoilt, schema=SchemaResult([], 5, {"example.com/v1 Thing": 3}))
    whole = replace(spoilt, schema=CHECKED)
    none = "None: no rule of the policy is broken, every"
    for result, said in (
        (replace(partly, violations=[], errors=[]), f"{none} checked object fits its schema. {gap}"),
        (replace(whole, violations=[], errors=[]), f"{none} object fits its schema."),
    ):
        assert f"**Problems:** {said}\n" in pull_request.comment(pull_request.content(result))
        assert f"<p>{said}</p>" in html.page(pull_request.content(result))
    # Among findings as well: their table is all that there is to say of the others.
    assert f"### Problems\n\n- {gap}\n" in pull_request.comment(pull_request.content(partly))
    assert "not checked" not in pull_request.comment(pull_request.content(whole))


def test_a_refused_preview_says_so_first_and_names_the_lines(spoilt: PreviewResult, found: list[Finding]) -> None:
    text = pull_request.comment(pull_request.content(spoilt))
    assert text.index("🔴 **refused**") < text.index("### Problems") < text.index("Cost centers")
    assert [one for one in found if literal(str(one.place)) not in text] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--also", "pdf=x"], "--also: found 'pdf=x'; allowed: FORMAT=FILE, of text, json"),
        (["--also", "sarif"], "--also: found 'sarif'; allowed: FORMAT=FILE"),
        (["--room", "10"], "error: --room: 10 is not in the range 4096<=x<=65536."),
    ],
)
def test_a_format_that_there_is_not_is_one_error(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["cloudmart", "preview", "-s", "dev", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--out ", "--also html="])
def test_a_report_that_has_no_place_is_refused_by_its_option_before_the_work(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("cloudmart.preview.run.preview", lambda *_args, **_options: pytest.fail("it worked"))
    nowhere = tmp_path / "no" / "x.html"
    for file, message in (
        (nowhere, f"found no folder {nowhere.parent}; allowed: a file in a folder that exists"),
        (tmp_path, None if option == "--out " else "found a folder; allowed: a file"),  # click says the former itself
    ):
        monkeypatch.setattr("sys.argv", ["cloudmart", "preview", "--no-cache", *f"{option}{file}".split(" ")])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert (ended.value.code, out) == (2, "")
        if message:
            assert err == f"error: {option}{file}: {message}\n"


def test_a_report_that_cannot_be_written_is_told_by_the_option_that_asked_for_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = "/dev/full"
    words = ["--no-cache", "--root", str(project.root), "--format", "json", "--also", f"junit={full}"]
    monkeypatch.setattr("sys.argv", ["cloudmart", "preview", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: --also junit={full}: cannot be written: ")
