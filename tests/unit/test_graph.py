"""The diagram of who may call whom: it shows the table of edges, all of it and nothing else."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner

from cloudmart.cli import cli
from cloudmart.report import graph
from cloudmart.settings import GATEWAY, Settings, load
from tests.conftest import ROOT, Project

_SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def routed(project: Project) -> Settings:
    """The shop behind its gateway."""
    project.catalog(
        lambda catalog: catalog["services"]["user-service"].update(routes=[{"path": "/x", "auth": "anonymous"}])
    )
    project.config("dev", lambda config: config.update({"cloudmart:gateway": {"enabled": True}}))
    return load("dev", project.root)


def edges_of(settings: Settings) -> set[tuple[str, str]]:
    return {(edge.caller, edge.target) for edge in settings.edges}


def test_the_json_holds_every_edge_with_port_protocol_and_the_callers_identity(routed: Settings) -> None:
    found = json.loads(graph.as_json(routed))
    assert {(edge["caller"], edge["target"]) for edge in found["edges"]} == edges_of(routed)
    by_ends = {(edge["caller"], edge["target"]): edge for edge in found["edges"]}
    assert by_ends["order-service", "payment-service"] == {
        "caller": "order-service",
        "target": "payment-service",
        "port": 8080,
        "protocol": "http",
        "identity": "cluster.local/ns/cloudmart/sa/order-service",
    }
    assert by_ends["payment-service", "payment-api"]["protocol"] == "https"
    assert by_ends[GATEWAY, "user-service"]["identity"].startswith(f"cluster.local/ns/{routed.gateway.namespace}/sa/")
    names = {node["name"] for node in found["nodes"]}
    assert names == {*routed.services, *routed.stores, *routed.externals, *routed.parties}


def test_the_mermaid_diagram_draws_each_edge_once(routed: Settings) -> None:
    text = graph.as_mermaid(routed)
    names = dict(re.findall(r'^  (n\d+)\W+"([^"]+)"\W+$', text, re.M))
    drawn = [(names[caller], names[target]) for caller, target in re.findall(r"  (n\d+) -->\|.*?\| (n\d+)", text)]
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == edges_of(routed)


def test_the_picture_is_well_formed_and_shows_every_name_and_as_many_lines_as_edges(routed: Settings) -> None:
    root = ET.fromstring(graph.as_svg(routed))  # noqa: S314 - made here
    words = [element.text for element in root.iter(f"{_SVG}text")]
    assert {*routed.services, *routed.stores, *routed.externals, GATEWAY} <= set(words)
    lines = [path for path in root.iter(f"{_SVG}path") if "marker-end" in path.attrib]
    assert len(lines) == len(routed.edges)
    left = {
        text.text: float(text.attrib["x"]) for text in root.iter(f"{_SVG}text") if text.attrib.get("class") != "edge"
    }
    assert all(left[edge.caller] < left[edge.target] for edge in routed.edges), "a line runs to the left"


def test_no_two_boxes_of_the_picture_lie_on_each_other(routed: Settings) -> None:
    root = ET.fromstring(graph.as_svg(routed))  # noqa: S314 - made here
    corners = [
        (box.attrib["x"], box.attrib["y"]) for box in root.iter(f"{_SVG}rect") if "node" in box.attrib.get("class", "")
    ]
    assert len(corners) == len(set(corners))


def test_a_stack_without_a_gateway_has_none_in_its_diagram(project: Project) -> None:
    project.config("dev", lambda config: config.update({"cloudmart:gateway": {"enabled": False}}))
    assert GATEWAY not in graph.as_mermaid(load("dev", project.root))


@pytest.mark.parametrize("format_", ["mermaid", "svg", "json"])
def test_the_command_prints_and_writes_the_same(format_: str, tmp_path: Path) -> None:
    arguments = ["graph", "--stack", "dev", "--root", str(ROOT), "--format", format_]
    printed = CliRunner().invoke(cli, arguments)
    assert printed.exit_code == 0
    file = tmp_path / "graph"
    assert CliRunner().invoke(cli, [*arguments, "--out", str(file)]).exit_code == 0
    assert file.read_text() == printed.stdout
