"""What the README and docs/ say is there, is there; what they show, works."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from cloudmart.cluster.load import read_profile
from cloudmart.preview import run
from cloudmart.settings import load
from docs.reference import generate
from tests.unit.command_lines import parsed

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")])
#: A block of code: its language and what is in it.
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
MARK = "<!-- tested: this block is added to the catalog and previewed -->"


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
    pages = [str(page.relative_to(contents.parent)) for page in PAGES if page.name not in ("README.md", "index.md")]
    assert sorted(plain or decision for plain, decision in listed) == sorted(pages)


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
    assert len(pages) >= len(PAGES)  # with search and index, without the README
    for page in pages:
        references = References()
        references.feed(page.read_text())
        assert references.found, page
        assert [found for found in references.found if "://" in found or found.startswith("//")] == [], page
        assert 'class="highlight-mermaid' not in page.read_text(), page
    styles = "".join(style.read_text() for style in tmp_path.rglob("*.css"))
    assert re.findall(r"@import[^;]*//[^;]*|url\([\"']?(?:https?:)?//[^)]*", styles) == []


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
    for name in ("conf.py", "_static"):
        copy = shutil.copytree if (CHECKOUT / "docs" / name).is_dir() else shutil.copy
        copy(CHECKOUT / "docs" / name, tmp_path / name)
    (tmp_path / "index.md").write_text(f"# Contents\n\n{page}\n")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(tmp_path), str(tmp_path / "out")]
    built = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
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
        words = [word for word in shlex.split(line, comments=True) if word != "…"]
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
    if page.name != "README.md"  # its blocks have tests of their own
    for number, text in enumerate(settings_of(page.read_text()), 1)
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


@pytest.mark.slow
def test_the_service_that_the_readme_adds_passes_the_preview_of_every_stack(tmp_path: Path) -> None:
    readme = (CHECKOUT / "README.md").read_text()
    block = readme.split(MARK)[1].split("```yaml\n")[1].split("```")[0]
    added = yaml.safe_load(block)["services"]
    for name in ("components", "policy", "cloudmart"):
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__main__.py", "Pulumi.yaml", "Pulumi.dev.yaml", "Pulumi.prod.yaml"):
        shutil.copy(CHECKOUT / name, tmp_path / name)
    # As somebody would: appended to the services, as text.
    text = (CHECKOUT / "catalog.yaml").read_text()
    entry = block.split("services:\n", 1)[1]
    (tmp_path / "catalog.yaml").write_text(text.replace("\nexternals:\n", f"\n{entry}\nexternals:\n", 1))
    for stack in ("dev", "prod"):
        assert set(load(stack, tmp_path).services) - set(load(stack, CHECKOUT).services) == set(added)
        result = run.preview(stack, tmp_path)
        assert [violation for violation in result.violations if violation.level == "mandatory"] == []
        assert result.errors == []
        kinds = {r.kind for r in result.recording.resources if r.object_name and "review-service" in r.object_name}
        assert {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"} <= kinds
