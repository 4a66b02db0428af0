"""Who may call whom: the table of edges as a diagram. Drawn from `Settings.edges`, as the policies are made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from xml.sax.saxutils import escape, quoteattr

from cloudmart.report.wiring import SHAPES, kinds_of, text
from cloudmart.settings import Edge, Settings

# Of the picture, in pixels.
_BOX_WIDTH, _BOX_HEIGHT, _ROW, _COLUMN, _MARGIN = 180, 44, 76, 300, 24

# Both themes of a reader: the picture is shown in pages of either.
_STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1f2328; text-anchor: middle; dominant-baseline: central }
text.edge { font-size: 11px; fill: #59636e; paint-order: stroke; stroke: #ffffff; stroke-width: 8px }
.node { fill: #f6f8fa; stroke: #59636e }
.store { fill: #ddf4ff } .external { fill: #fff8c5 } .platform { fill: #dafbe1 }
path { fill: none; stroke: #59636e; stroke-width: 1.5 } marker path { fill: #59636e; stroke: none }
.paper { fill: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } text.edge { fill: #9198a1; stroke: #0d1117 }
.node { fill: #151b23; stroke: #9198a1 }
.store { fill: #0c2d4a } .external { fill: #3b2e00 } .platform { fill: #0f3a1d }
path { stroke: #9198a1 } marker path { fill: #9198a1 } .paper { fill: #0d1117 }
}
"""


def as_json(settings: Settings) -> str:
    """``stack``, ``nodes`` (name, kind, and for what is in the cluster namespace and service account) and ``edges``
    (caller, target, port, protocol, and identity: the caller's, as the mesh knows it)."""
    nodes = []
    for name, kind in kinds_of(settings).items():
        node = {"name": name, "kind": kind}
        if party := settings.parties.get(name):
            node |= {"namespace": party.namespace, "serviceAccount": party.service_account}
        nodes.append(node)
    edges = [
        {
            "caller": edge.caller,
            "target": edge.target,
            "port": edge.port,
            "protocol": str(edge.protocol),
            "identity": edge.identity,
        }
        for edge in settings.edges
    ]
    return json.dumps({"stack": settings.stack, "nodes": nodes, "edges": edges}, indent=2) + "\n"


def as_mermaid(settings: Settings) -> str:
    """A Mermaid flowchart, for Markdown that is shown on a forge."""
    kinds = kinds_of(settings)
    ids = {name: f"n{index}" for index, name in enumerate(kinds)}
    lines = ["flowchart LR"]
    for name, kind in kinds.items():
        opening, closing = SHAPES[kind]
        lines.append(f'  {ids[name]}{opening}"{text(name)}"{closing}')
    lines += [f'  {ids[edge.caller]} -->|"{text(_label(edge))}"| {ids[edge.target]}' for edge in settings.edges]
    return "\n".join(lines) + "\n"


def as_svg(settings: Settings) -> str:
    """A picture: callers to the left of what they call, in light or dark as its reader likes it."""
    kinds = kinds_of(settings)
    columns = _columns(list(kinds), settings.edges)
    height = max((len(column) for column in columns), default=0) * _ROW
    places = {
        name: _Place(
            x=_MARGIN + index * _COLUMN,
            y=_MARGIN + round((height - len(column) * _ROW) / 2) + row * _ROW + (_ROW - _BOX_HEIGHT) // 2,
        )
        for index, column in enumerate(columns)
        for row, name in enumerate(column)
    }
    size = (2 * _MARGIN + max(len(columns) - 1, 0) * _COLUMN + _BOX_WIDTH, 2 * _MARGIN + height)
    title = f"{settings.project}, stack {settings.stack}: who may call whom"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" '
        f'height="{size[1]}" role="img" aria-label={quoteattr(title)}>',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        '<defs><marker id="to" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker></defs>',
        '<rect class="paper" width="100%" height="100%"/>',
    ]
    parts += [_line(edge, places) for edge in settings.edges]
    parts += [_box(name, kind, places[name]) for name, kind in kinds.items()]
    # Above the boxes and lines, so that nothing crosses a label.
    parts += [_edge_label(edge, places) for edge in settings.edges]
    return "\n".join([*parts, "</svg>"]) + "\n"


@dataclass(frozen=True)
class _Place:
    """The upper left corner of a box."""

    x: int
    y: int

    @property
    def middle(self) -> int:
        return self.y + _BOX_HEIGHT // 2

    @property
    def right(self) -> int:
        return self.x + _BOX_WIDTH


def _label(edge: Edge) -> str:
    return f"{edge.protocol} {edge.port}"


def _columns(names: Sequence[str], edges: Sequence[Edge]) -> list[list[str]]:
    """Names by the longest way that leads to them, each column in the order of its callers' rows."""
    callers: dict[str, list[str]] = {name: [] for name in names}
    for edge in edges:
        callers[edge.target].append(edge.caller)
    depth = dict.fromkeys(names, 0)
    # The settings refuse cycles, so no way is longer than there are names.
    for _ in names:
        for edge in edges:
            depth[edge.target] = max(depth[edge.target], depth[edge.caller] + 1)
    columns: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in names:
        columns[depth[name]].append(name)
    row: dict[str, float] = {}
    for column in columns:
        column.sort(key=lambda name: fmean([row[caller] for caller in callers[name]] or [0.0]))
        row |= {name: index - len(column) / 2 for index, name in enumerate(column)}
    return columns


def _line(edge: Edge, places: Mapping[str, _Place]) -> str:
    start, end = places[edge.caller], places[edge.target]
    bend = (end.x - start.right) // 2
    return (
        f'<path d="M{start.right} {start.middle}C{start.right + bend} {start.middle} '
        f'{end.x - bend} {end.middle} {end.x} {end.middle}" marker-end="url(#to)"/>'
    )


def _edge_label(edge: Edge, places: Mapping[str, _Place]) -> str:
    start, end = places[edge.caller], places[edge.target]
    # Near its target, where the lines of one caller have parted.
    x, y = start.right + (end.x - start.right) * 0.7, start.middle + (end.middle - start.middle) * 0.784
    return f'<text class="edge" x="{x:.0f}" y="{y:.0f}">{escape(_label(edge))}</text>'


def _box(name: str, kind: str, place: _Place) -> str:
    # The length is that of a name of 40 characters at most, which is the longest that there is.
    fit = f' textLength="{_BOX_WIDTH - 16}" lengthAdjust="spacingAndGlyphs"' if len(name) > 22 else ""
    round_ = {"service": 6, "platform": 0}.get(kind, _BOX_HEIGHT // 2)
    return (
        f'<rect class="node {kind}" x="{place.x}" y="{place.y}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" '
        f'rx="{round_}"/><text x="{place.x + _BOX_WIDTH // 2}" y="{place.middle}"{fit}>{escape(name)}</text>'
    )
