"""What a change does to services and their edges, and a Mermaid diagram of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from cloudmart.settings import Settings

#: Changed nodes, and edges, of a diagram. Mermaid refuses more than 500 edges, and a reader far fewer.
MOST = 60


class Mark(StrEnum):
    """What became of a service, store, external or edge."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    SAME = "same"


@dataclass(frozen=True)
class Wiring:
    """Nodes by name with kind and mark, and edges (caller, target) with theirs; of both revisions together."""

    nodes: Mapping[str, tuple[str, Mark]]
    edges: Mapping[tuple[str, str], Mark]

    @property
    def changed_nodes(self) -> dict[str, tuple[str, Mark]]:
        return {name: node for name, node in self.nodes.items() if node[1] is not Mark.SAME}

    @property
    def changed_edges(self) -> dict[tuple[str, str], Mark]:
        return {edge: mark for edge, mark in self.edges.items() if mark is not Mark.SAME}


def compare(before: Settings, after: Settings) -> Wiring:
    """The wiring of two revisions."""
    old, new = _nodes(before), _nodes(after)
    nodes = {}
    for name in dict.fromkeys((*old, *new)):
        kind = (new.get(name) or old[name])[0]
        nodes[name] = (kind, _mark(old.get(name), new.get(name)))
    ends = [{(edge.caller, edge.target): True for edge in one.edges} for one in (before, after)]
    edges = {edge: _mark(ends[0].get(edge), ends[1].get(edge)) for edge in dict.fromkeys((*ends[0], *ends[1]))}
    return Wiring(nodes, edges)


def kinds_of(settings: Settings) -> dict[str, str]:
    """Everything that an edge can start or end at, by name: ``platform`` (the gateway, say), ``service``, ``store`` or
    ``external``."""
    return {name: kind for name, (kind, _) in _nodes(settings).items()}


def _nodes(settings: Settings) -> dict[str, tuple[str, Any]]:
    shop = {*settings.services, *settings.stores}
    return {
        **{name: ("platform", party) for name, party in settings.parties.items() if name not in shop},
        **{name: ("service", service) for name, service in settings.services.items()},
        **{name: ("store", getattr(settings.data, name)) for name in settings.stores},
        **{name: ("external", external) for name, external in settings.externals.items()},
    }


def _mark(old: object, new: object) -> Mark:
    if old is None:
        return Mark.ADDED
    if new is None:
        return Mark.REMOVED
    return Mark.SAME if old == new else Mark.CHANGED


#: How Mermaid writes a box of each kind.
SHAPES = {"service": ("[", "]"), "store": ("[(", ")]"), "external": ("([", "])"), "platform": ("{{", "}}")}
# Colours of lines only: the text keeps the theme's own, which is light or dark.
_STYLES = {
    Mark.ADDED: "stroke:#1a7f37,stroke-width:3px",
    Mark.REMOVED: "stroke:#cf222e,stroke-width:3px,stroke-dasharray:5 5",
    Mark.CHANGED: "stroke:#9a6700,stroke-width:3px",
}


def mermaid(wiring: Wiring, costs: Mapping[str, Decimal], currency: str) -> tuple[str, str]:
    """A flowchart of what changed and of what it touches, and a note on what does not fit into it, or nothing.

    ``costs`` is the difference of each service in a month. Empty where neither a node nor an edge changed.
    """
    changed = wiring.changed_nodes
    if not changed and not wiring.changed_edges:
        return "", ""
    touched = sorted(changed, key=lambda name: -abs(costs.get(name, Decimal(0))))[:MOST]
    edges = dict(wiring.changed_edges)
    edges |= {
        edge: mark for edge, mark in wiring.edges.items() if edge not in edges and not changed.keys().isdisjoint(edge)
    }
    # Those of the nodes that are shown come first.
    shown = dict(sorted(edges.items(), key=lambda item: set(touched).isdisjoint(item[0]))[:MOST])
    names = list(dict.fromkeys((*touched, *(end for edge in shown for end in edge))))
    ids = {name: f"n{i}" for i, name in enumerate(names)}
    lines = ["flowchart LR"]
    for name in names:
        kind, mark = wiring.nodes[name]
        opening, closing = SHAPES[kind]
        label = text(name) if mark is Mark.SAME else f"{text(name)}<br/>{mark}"
        if cost := round(costs.get(name, Decimal(0)), 2):
            label += f"<br/>{text(f'{cost:+,.2f} {currency}')}"
        style = "" if mark is Mark.SAME else f":::{mark}"
        lines.append(f'  {ids[name]}{opening}"{label}"{closing}{style}')
    for (caller, target), mark in shown.items():
        arrow = {Mark.ADDED: "-->|added|", Mark.REMOVED: "-.->|removed|"}.get(mark, "-->")
        lines.append(f"  {ids[caller]} {arrow} {ids[target]}")
    lines += [f"  classDef {mark} {style}" for mark, style in _STYLES.items()]
    for i, mark in enumerate(shown.values()):
        if mark is not Mark.SAME:
            lines.append(f"  linkStyle {i} stroke:{_STYLES[mark].partition('stroke:')[2].partition(',')[0]}")
    left = len(changed.keys() - set(names)), len(edges) - len(shown)
    note = f"not in the diagram: {left[0]} more services and stores, {left[1]} more edges" if any(left) else ""
    return "\n".join(lines), note


def text(plain: str) -> str:
    """Text that cannot end a label, open a tag, or end the block of code around the diagram."""
    return "".join(c if c.isascii() and (c.isalnum() or c in " ._-+,/") else f"#{ord(c)};" for c in plain)
