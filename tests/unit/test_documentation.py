"""What the README and docs/ say is there, is there; what they show, works."""

from __future__ import annotations

import copy
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import click
import pytest
import yaml
from click.testing import CliRunner

from cloudmart.cli import cli
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.cluster.load import read_profile
from cloudmart.deploy import up
from cloudmart.deploy.rollout import workloads
from cloudmart.preview.recorder import Recording, record
from cloudmart.settings import load
from docs.reference import generate
from tests.unit.command_lines import parsed

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")])
#: A block of code: its language and what is in it.
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

#: A block that a page has its reader put into a file: whole, merged into YAML that is there, or beside a line.
PUT = re.compile(
    r'^( *)<!-- file: (\S+?)(?:, (before|after): "((?:[^"\\]|\\.)+)")? -->\n *```\w+\n(.*?)^ *```$',
    re.DOTALL | re.MULTILINE,
)


def relative(page: Path) -> str:
    return str(page.relative_to(CHECKOUT))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    prose = re.sub(r"`[^`\n]+`", "", FENCE.sub("", page.read_text()))
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose)
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z0-9]+)", page.read_text(), re.MULTILINE))
    assert named <= targets


def test_the_contents_list_every_page_once() -> None:
    contents = CHECKOUT / "docs/index.md"
    listed = re.findall(
        r"^- \[[^\]]+\]\(([^)#:]+\.md)\): \S|^- \[[^\]]+\]\((decisions/[^)]+)\)$", contents.read_text(), re.M
    )
    pages = [str(page.relative_to(contents.parent)) for page in PAGES if page.parent != CHECKOUT and page != contents]
    assert sorted(plain or decision for plain, decision in listed) == sorted(pages)


def test_every_picture_is_small_and_seenon_a_page() -> None:
    seen = set(re.findall(r"!\[[^\]]+\]\([^)]*pictures/([^)]+)\)", "".join(page.read_text() for page in PAGES)))
    pictures = {file.name: file.stat().st_size for file in (CHECKOUT / "docs/pictures").glob("*.png")}
    assert seen == set(pictures)
    assert max(pictures.values()) < 200_000


class References(HTMLParser):
    """Where a page has a browser go by itself: scripts, styles, pictures, fonts; not links that somebody clicks."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload", "preconnect", "dns-prefetch"):
            self.found.append(values.get("href") or "")
        elif tag != "a":
            self.found += [value for key in ("src", "srcset", "data", "poster") if (value := values.get(key))]


@pytest.mark.parametrize("page", generate.PAGES)
def test_the_reference_is_what_the_models_the_rules_and_the_commands_say_now(page: str) -> None:
    committed = (CHECKOUT / "docs/reference" / page).read_text()
    assert committed == generate.render(generate.PAGES[page]), "out of date; run: make reference"


def test_examples_of_a_help_text_become_commands_that_are_checked_like_others() -> None:
    said = "Words that\nare wrapped, of a <stack>.\n\n\b\nExamples:\n  cloudmart preview --stack dev\n  cloudmart up"
    text = "\n\n".join(generate.paragraphs(said))
    assert text.startswith("Words that are wrapped, of a \\<stack>.\n\nExamples:\n\n```console\n")
    assert list(commands(text)) == [("preview --stack dev", True), ("up", True)]


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_its_pages_fetch_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        str(CHECKOUT / "docs"),
        str(tmp_path),
    ]
    built = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    pages = sorted(tmp_path.rglob("*.html"))
    built_from = [page for page in PAGES if (CHECKOUT / "docs") in page.parents]
    assert {page.with_suffix(".html").name for page in built_from} <= {page.name for page in pages}
    for page in pages:
        references = References()
        references.feed(page.read_text())
        assert references.found, page
        assert [found for found in references.found if "://" in found or found.startswith("//")] == [], page
        assert 'class="highlight-mermaid' not in page.read_text(), page
    styles = "".join(style.read_text() for style in tmp_path.rglob("*.css"))
    assert re.findall(r"@import[^;]*//[^;]*|url\([\"']?(?:https?:)?//[^)]*", styles) == []


def built_of(page: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A site of one page, built as strictly."""
    for name in ("conf.py", "_static"):
        copied = shutil.copytree if (CHECKOUT / "docs" / name).is_dir() else shutil.copy
        copied(CHECKOUT / "docs" / name, folder / name)
    (folder / "index.md").write_text(f"# Contents\n\n{page}\n")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(folder), str(folder / "out")]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(CHECKOUT.glob("README*.md")), ids=relative)
def test_mermaid_draws_what_stands_outside_of_the_site_too(page: Path, tmp_path: Path) -> None:
    [picture] = [block for language, block in FENCE.findall(page.read_text()) if language == "mermaid"]
    built = built_of(f"```mermaid\n{picture}```", tmp_path)
    assert (built.returncode, built.stderr) == (0, "")
    assert '<div class="diagram"><svg' in (tmp_path / "out/index.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("[gone](nowhere.md)", "xref_missing"),
        ("[gone](index.md#nowhere)", "xref_missing"),
        ("```mermaid\nflowchart LR\n  a --> \n```", "Parse error"),
    ],
)
def test_the_site_is_not_built_with_a_link_or_a_diagram_that_is_wrong(page: str, said: str, tmp_path: Path) -> None:
    built = built_of(page, tmp_path)
    assert built.returncode != 0
    assert said in built.stderr


def commands(text: str) -> Iterator[tuple[str, bool]]:
    """Every `cloudmart` command line of a page, and whether it stands in a block of commands, complete."""
    fenced = [block for language, block in FENCE.findall(text) if language in ("", "sh", "console")]
    for line in "\n".join(fenced).replace("\\\n", " ").splitlines():
        if found := re.match(r" *(?:\$ )?(?:\.venv/bin/)?cloudmart +(.*)", line):
            yield found[1], True
    for span in re.findall(r"`([^`\n]+)`", FENCE.sub("", text)):
        if found := re.search(r"(?:^|\| )(?:\.venv/bin/)?cloudmart +([^|]*)$", span):
            yield found[1], False


def test_click_reads_the_command_lines_of_a_page_and_refuses_a_misspelt_one() -> None:
    text = "`cloudmart rightsize`\n```sh\ncloudmart preview --stack dev  # x\n```\n`get | cloudmart render`"
    assert list(commands(text)) == [("preview --stack dev  # x", True), ("rightsize", False), ("render", False)]
    with pytest.raises(click.NoSuchOption):
        parsed(["cost", "forecast", "--stak", "dev"], complete=True)
    with pytest.raises(click.UsageError):
        parsed(["local", "begin"], complete=False)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_cloudmart_command_that_a_page_shows_can_be_typed(page: Path) -> None:
    wrong = []
    for line, complete in commands(page.read_text()):
        typed = itertools.takewhile(lambda word: word not in (">", "|"), shlex.split(line, comments=True))
        words = [word for word in typed if word != "…"]
        try:
            parsed(words, complete=complete)
        except click.exceptions.Exit:
            pass  # --help and --version
        except click.UsageError as error:
            if isinstance(error, click.BadParameter) and error.param and isinstance(error.param.type, click.Path):
                continue  # a file that the reader is to have
            wrong.append(f"cloudmart {line}: {error.format_message()}")
    assert wrong == []


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Two trees, deep."""
    both = {key for key in over if isinstance(over[key], dict) and isinstance(under.get(key), dict)}
    return {**under, **over, **{key: merged(under[key], over[key]) for key in both}}


def settings_of(text: str) -> Iterator[str]:
    """Every block of YAML of a page, and every `cloudmart:layer: {…}` in its prose."""
    for indent, block in re.findall(r"^( *)```yaml\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
        yield re.sub(f"^{indent}", "", block, flags=re.MULTILINE)
    yield from re.findall(r"`(cloudmart:[a-zA-Z]+: \{[^`]*\})`", text)


SHOWN = [
    pytest.param(text, id=f"{relative(page)}-{number}")
    for page in PAGES
    # What a reader puts into files is previewed below.
    for number, text in enumerate(settings_of(PUT.sub("", page.read_text())), 1)
]


@pytest.mark.parametrize("text", SHOWN)
def test_every_setting_that_a_page_shows_loads_over_the_catalog_and_a_stack(text: str, tmp_path: Path) -> None:
    if text.startswith("# sale.yaml"):
        (tmp_path / "sale.yaml").write_text(text)
        assert read_profile(tmp_path / "sale.yaml").services
        return
    shown = yaml.safe_load(text)
    config = {**shown.pop("config", {}), **{key: shown.pop(key) for key in list(shown) if key.startswith("cloudmart:")}}
    # Development's, where less is on: what a page shows must do by itself.
    stack = yaml.safe_load((CHECKOUT / "Pulumi.dev.yaml").read_text())
    catalog = yaml.safe_load((CHECKOUT / "catalog.yaml").read_text())
    (tmp_path / "Pulumi.dev.yaml").write_text(json.dumps({"config": merged(stack["config"], config)}))
    (tmp_path / "catalog.yaml").write_text(json.dumps(merged(catalog, shown)))
    shutil.copytree(CHECKOUT / "policy/config", tmp_path / "policy/config")
    if book := config.get("cloudmart:prices", {}).get("book"):
        (tmp_path / book).parent.mkdir()
        shutil.copy(CHECKOUT / "cloudmart/finops/opencost-default-prices.yaml", tmp_path / book)
    load("dev", tmp_path)


#: Where the keys of a page's tables stand in the schema of a stack.
LAYERS = {
    "admission": ("cloudmart:admission",),
    "gateway": ("cloudmart:gateway",),
    "gitops": ("cloudmart:gitops",),
    "mesh": ("cloudmart:mesh", "cloudmart:services.*.resilience"),
    "monitoring": ("cloudmart:monitoring",),
    "vertical-autoscaling": ("cloudmart:verticalAutoscaling",),
}


def key_paths(schema: Mapping[str, Any], node: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Every key path that a JSON Schema knows; `*` stands for any name."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    for part in (*node.get("anyOf", ()), *node.get("allOf", ())):
        yield from key_paths(schema, part, path)
    below = dict(node.get("properties", {}))
    for any_name in node.get("patternProperties", {}).values():
        below["*"] = any_name
    for key, value in below.items():
        yield (here := f"{path}.{key}".lstrip("."))
        yield from key_paths(schema, value, here)


@pytest.mark.parametrize("layer", LAYERS)
def test_every_key_in_a_layers_table_is_one_of_its_settings(layer: str) -> None:
    text = (CHECKOUT / f"docs/layers/{layer}.md").read_text()
    schema = json.loads((CHECKOUT / "schemas/stack.schema.json").read_text())
    known = set(key_paths(schema, schema["properties"]["config"]))
    tables = re.findall(r"^\| key \| default .*\n\|[- |]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    rows = [re.findall(r"`([^`]+)`", row.split("|")[1]) for row in "".join(tables).splitlines()]
    unknown = []
    for keys in rows:
        parent = ""
        for key in keys:
            # `a.b`, `.c` and `a.b`, `c`: the second stands beside `b`.
            tried = {f"{root}.{prefix}{key.lstrip('.')}" for root in LAYERS[layer] for prefix in {"", parent}}
            if not tried & known:
                unknown.append(key)
            if "." in key.lstrip("."):
                parent = key.rpartition(".")[0] + "."
    assert rows
    assert unknown == []


# --- how-to pages, followed -------------------------------------------------------------------------------------------


def follow(page: str, root: Path) -> None:
    """Does to a copy of the project in `root` what a how-to page says."""
    for name in ("cloudmart", "components", "policy"):
        shutil.copytree(CHECKOUT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (CHECKOUT / "__main__.py", CHECKOUT / "catalog.yaml", *CHECKOUT.glob("Pulumi*.yaml")):
        shutil.copy(file, root)
    blocks = PUT.findall((CHECKOUT / "docs/how-to" / page).read_text())
    assert blocks
    for indent, name, where, beside, text in blocks:
        body, file = re.sub(f"^{indent}", "", text, flags=re.MULTILINE), root / name
        if where:
            lines = file.read_text().splitlines(keepends=True)
            line = beside.replace('\\"', '"')
            at = next(number for number, found in enumerate(lines) if found.startswith(line))
            file.write_text("".join([*lines[: at + (where == "after")], body, *lines[at + (where == "after") :]]))
        elif file.suffix == ".yaml":
            there = yaml.safe_load(file.read_text()) if file.exists() else {}
            file.write_text(yaml.safe_dump(merged(there, yaml.safe_load(body)), sort_keys=False))
        else:
            file.write_text(body)


def previewed(stack: str, root: Path) -> Any:
    """The preview of a copy, by its own code; nothing mandatory is broken in it."""
    command = [sys.executable, "-m", "cloudmart.cli", "preview", "--root", ".", "--stack", stack, "--format", "json"]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(run.stdout)


def objects(preview: Any, name: str) -> set[str]:
    return {found["kind"] for found in preview["resources"] if name in found["name"] and found["apiVersion"]}


def test_the_readme_adds_the_same_service_as_the_page() -> None:
    one, other = (PUT.findall((CHECKOUT / page).read_text()) for page in ("README.md", "docs/how-to/add-a-service.md"))
    assert one == other


@pytest.mark.slow
def test_the_service_that_a_page_adds_passes_the_preview_of_every_stack(tmp_path: Path) -> None:
    follow("add-a-service.md", tmp_path)
    for stack in ("dev", "prod"):
        kinds = objects(previewed(stack, tmp_path), "review-service")
        assert {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"} <= kinds


@pytest.mark.slow
def test_the_stack_that_a_page_adds_passes_its_own_rules_and_leaves_the_others_alone(tmp_path: Path) -> None:
    follow("add-a-stack.md", tmp_path)
    assert previewed("staging", tmp_path)["cost"]["budgets"][0]["state"] == "within"
    previewed("prod", tmp_path)


@pytest.mark.slow
def test_the_cost_center_that_a_page_adds_pays_for_its_service(tmp_path: Path) -> None:
    follow("add-a-cost-center.md", tmp_path)
    cost = previewed("dev", tmp_path)["cost"]
    assert cost["byCostCenter"]["CC-2003"] == cost["byService"]["payment-service"]
    assert {budget["name"]: budget["state"] for budget in cost["budgets"]}["CC-2003"] == "within"
    previewed("prod", tmp_path)


@pytest.mark.slow
def test_the_rule_that_a_page_adds_finds_what_breaks_it_and_nothing_else(tmp_path: Path) -> None:
    follow("add-a-policy-rule.md", tmp_path)
    assert previewed("prod", tmp_path)["policy"]["violations"] == []
    file = tmp_path / "policy/config/dev.json"
    strict = {"time-to-stop": {"enforcementLevel": "advisory", "leastSeconds": 60}}
    file.write_text(json.dumps(json.loads(file.read_text()) | strict))
    messages = [found["message"] for found in previewed("dev", tmp_path)["policy"]["violations"]]
    page = (CHECKOUT / "docs/how-to/add-a-policy-rule.md").read_text()
    assert f"Policy: {len(messages)} violations, 0 of them mandatory\n" in page
    assert f"    {messages[0]}\n" in page


@pytest.mark.slow
def test_the_layer_that_a_page_adds_is_there_where_it_is_on_and_leaves_no_trace_elsewhere(tmp_path: Path) -> None:
    follow("add-a-layer.md", tmp_path)
    assert {"Namespace", "ResourceQuota"} <= objects(previewed("prod", tmp_path), "external-dns")
    assert "external-dns" not in json.dumps(previewed("dev", tmp_path))


@pytest.mark.slow
def test_every_chart_of_production_can_come_from_a_mirror(tmp_path: Path) -> None:
    follow("air-gapped.md", tmp_path)
    previewed("prod", tmp_path)
    settings = load("prod", tmp_path)
    pinned = {chart.repo for chart in load("prod", CHECKOUT).charts.values()}
    assert not [key for key, chart in settings.charts.items() if chart.repo in pinned]
    manifests = [place for layer in settings.layers.values() for place in layer.manifests.values()]
    assert not [place for place in manifests if "://" in place]


# --- the quick start -------------------------------------------------------------------------------------------------


def shown(page: str, mark: str) -> str:
    """The block of a page that follows a comment."""
    return (CHECKOUT / page).read_text().split(f"<!-- {mark} -->\n```")[1].partition("\n")[2].partition("```")[0]


class Fresh:
    """A cluster's answers right after the first `up`: workloads as declared, before an autoscaler has looked."""

    path, context, kubeconfig = Path("/tools/bin/kubectl"), None, Path("/shop/.local/cluster/kubeconfig")

    def __init__(self, recording: Recording) -> None:
        self.items: list[Any] = []
        found = [resource for resource in recording.resources if resource.is_kubernetes_object]
        for resource in found:
            item = {"kind": resource.kind, **copy.deepcopy(dict(resource.inputs))}
            if resource.kind in ("Deployment", "StatefulSet"):
                item["status"] = {"readyReplicas": item["spec"]["replicas"]}
            self.items.append(item)

    def json(self, *_args: str) -> Any:
        return {"items": self.items}


def test_the_quick_start_shows_what_up_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = record("dev", CHECKOUT, overrides={"cloudmart:kubecost": {"enabled": False}})
    target = up.Target(kubectl=cast(Kubectl, Fresh(recording)), local=True)
    deployed = up.Deployed(settings=load("dev", CHECKOUT), target=target, recording=recording, environment={})
    monkeypatch.setattr(up, "up", lambda *_args, **_options: deployed)
    printed = CliRunner().invoke(cli, ["up", "--stack", "dev"], env={"COLUMNS": "120"}).stdout
    printed = printed.replace("/shop/", ".../").replace("/tools/", ".../")
    lines = [line.rstrip() for line in printed.splitlines()]
    assert "\n".join(lines).strip("\n") == shown("docs/quick-start.md", "stdout of make up").strip("\n")
    said = shown("docs/quick-start.md", "stderr of make up")
    count = sum(resource.is_kubernetes_object for resource in recording.resources)
    assert f"\n{count} created, 0 changed, 0 removed, 0 unchanged (" in said
    assert f"\nwaiting for {len(list(workloads(recording)))} workloads to be available\n" in said


@pytest.mark.slow
def test_the_quick_start_shows_what_its_change_costs(tmp_path: Path) -> None:
    for name in ("cloudmart", "components", "policy"):
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (CHECKOUT / "__main__.py", CHECKOUT / "catalog.yaml", *CHECKOUT.glob("Pulumi*.yaml")):
        shutil.copy(file, tmp_path)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-C", str(tmp_path)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    catalog = tmp_path / "catalog.yaml"
    old, new = "requests: {cpu: 100m, memory: 128Mi}", "requests: {cpu: 200m, memory: 128Mi}"
    catalog.write_text(catalog.read_text().replace(old, new, 1))  # user-service stands first
    command = [sys.executable, "-m", "cloudmart.cli", "preview", "--root", ".", "--stack", "dev", "--base", "HEAD"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    summary = "\n".join(line.rstrip() for line in run.stdout.splitlines())
    assert shown("docs/quick-start.md", "summary of the change").strip("\n") in summary


KOREAN = [("README.md", "README.ko.md"), ("docs/quick-start.md", "docs/quick-start.ko.md")]


def without_remarks(text: str) -> list[list[str]]:
    """The blocks of a page, but diagrams: lines of commands without their remarks, all else as it stands."""
    return [
        [re.sub(r" +# .*", "", line) if language == "console" else line for line in block.splitlines()]
        for language, block in FENCE.findall(text)
        if language != "mermaid"
    ]


def diagrams(text: str) -> list[str]:
    """Mermaid of a page without the words in it."""
    return [
        re.sub(r'"[^"]*"|\[[^\]]*\]', "", block) for language, block in FENCE.findall(text) if language == "mermaid"
    ]


@pytest.mark.parametrize(("english", "korean"), KOREAN)
def test_the_korean_page_has_the_same_commands_figures_and_links(english: str, korean: str) -> None:
    one, other = (CHECKOUT / english).read_text(), (CHECKOUT / korean).read_text()
    assert without_remarks(other) == without_remarks(one)
    assert diagrams(other) == diagrams(one)
    assert len(re.findall("^## ", other, re.MULTILINE)) == len(re.findall("^## ", one, re.MULTILINE))
    found = [re.findall(r"\]\(([^)]+)\)", text.replace(".ko.md)", ".md)")) for text in (one, other)]
    assert sorted(found[1]) == sorted(found[0])


def test_the_picture_of_the_edges_is_the_one_that_graph_draws() -> None:
    drawn = CliRunner().invoke(cli, ["graph", "--stack", "dev"]).stdout
    assert shown("docs/architecture.md", "drawn: cloudmart graph --stack dev") == drawn
