"""Bars as inline SVG: pygal draws them, the page's own style sheet colours them, nothing in them runs or is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import pygal
from pygal.style import Style

from cloudmart.errors import printable

#: Width of the drawing in its own units. Narrow, so that 13 units of text are still read on a phone of 390 pixels.
_WIDTH = 400
_FONT = 13
_LONGEST_LABEL = 21
_AXIS = 40
#: Beyond so many times the limit its mark would stand on that of zero.
_MOST_LIMITS = 5
_KEPT = ("class", "d", "x", "y", "width", "height", "transform", "viewBox")


@dataclass(frozen=True)
class Series:
    """One value for each label, ``None`` where there is none. ``tone`` names its colour in the style sheet."""

    name: str
    values: Sequence[float | None]
    tone: str


@dataclass(frozen=True)
class Chart:
    """Horizontal bars, one row for each label, side by side or ``stacked``. ``unit`` is that of the values."""

    title: str
    labels: Sequence[str]
    series: Sequence[Series]
    unit: str
    stacked: bool = True
    #: The axis reaches at least so far.
    limit: float = 0

    @property
    def summary(self) -> str:
        """What there is to see, for those who do not."""
        names = ", ".join(one.name for one in self.series)
        shown = "; ".join(
            f"{label}: " + ", ".join(_text(one.values[i], self.unit) for one in self.series if one.values[i])
            for i, label in enumerate(self.labels[:3])
        )
        more = "; and so on, the table has all figures" if len(self.labels) > 3 else ""
        return f"Bars of {names}. {shown}{more}."


def svg(chart: Chart, ident: str) -> str:
    """The drawing. ``ident`` must be unique in its page; the same chart gives the same text."""
    kind = pygal.HorizontalStackedBar if chart.stacked else pygal.HorizontalBar
    side_by_side = 1 if chart.stacked else len(chart.series)
    drawing = kind(
        width=_WIDTH,
        height=_AXIS + len(chart.labels) * (14 * side_by_side + 12),
        margin=0,
        margin_top=4,
        # The last figure of the axis stands half outside.
        margin_right=22,
        show_legend=False,
        js=[],
        css=[],
        style=Style(label_font_size=_FONT, major_label_font_size=_FONT, font_family="sans-serif"),
        **_scale(chart),
        min_scale=2,
        max_scale=4,
        value_formatter=_short,
        formatter=lambda value: printable(_text(value, chart.unit)),
        # pygal draws from the bottom up.
        x_labels=[_cut(label) for label in reversed(chart.labels)],
        truncate_label=-1,
    )
    for one in chart.series:
        # A missing value would be skipped, and the bars no longer be counted like the labels.
        drawing.add(printable(one.name), [value or 0 for value in reversed(one.values)])
    root = drawing.render_tree()
    labels = list(reversed(chart.labels))
    return _cleaned(root, chart, labels, ident)


def _cleaned(root: Any, chart: Chart, labels: Sequence[str], ident: str) -> str:
    """The shapes alone, with titles for those who point at a bar, and a name for those who cannot see it."""
    result = ElementTree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": root.get("viewBox"),
            "class": "chart limit" if chart.limit else "chart",
            "role": "img",
            "aria-labelledby": f"{ident}-title {ident}-desc",
        },
    )
    _child(result, "title", chart.title, id=f"{ident}-title")
    _child(result, "desc", chart.summary, id=f"{ident}-desc")
    for part in root:
        if _tag(part) == "g":
            _copy(part, result, chart, labels, None)
    return ElementTree.tostring(result, encoding="unicode")


def _copy(node: Any, parent: ElementTree.Element, chart: Chart, labels: Sequence[str], series: Series | None) -> None:
    tag, classes = _tag(node), (node.get("class") or "").split()
    if tag not in ("g", "rect", "path", "text") or {"overlay", "text-overlay", "tooltip-overlay"} & set(classes):
        return
    if tag == "rect" and ("background" in classes or not float(node.get("width") or 0)):
        return
    attributes = {name: str(value) for name, value in node.items() if name in _KEPT}
    for one in classes:
        if one.startswith("serie-"):
            series = chart.series[int(one.removeprefix("serie-"))]
            attributes["class"] = f"tone-{series.tone}"
    copied = ElementTree.SubElement(parent, tag, attributes)
    copied.text = node.text
    if "bars" in classes and series is not None:
        values = list(reversed(series.values))
        for i, bar in enumerate(node):
            before = len(copied)
            _copy(bar, copied, chart, labels, series)
            if len(copied) > before and len(copied[-1]):
                text = f"{labels[i]}: {series.name} {_text(values[i], chart.unit)}"
                copied[-1].insert(0, _child(None, "title", text))
            elif len(copied) > before:
                copied.remove(copied[-1])
        return
    for child in node:
        _copy(child, copied, chart, labels, series)
    if tag == "g" and not len(copied):
        parent.remove(copied)


def _child(parent: ElementTree.Element | None, tag: str, text: str, **attributes: str) -> ElementTree.Element:
    child = ElementTree.Element(tag, attributes)
    child.text = text
    if parent is not None:
        parent.append(child)
    return child


def _tag(node: Any) -> str:
    return str(node.tag).rpartition("}")[2] if isinstance(node.tag, str) else ""


def _scale(chart: Chart) -> dict[str, Any]:
    """Where a limit is, the axis has marks at it and at its half, which automatic ones might jump."""
    if not chart.limit:
        return {}
    rows = zip(*([value or 0 for value in one.values] for one in chart.series), strict=True)
    top = max(chart.limit, *(sum(row) if chart.stacked else max(row) for row in rows))
    if top > _MOST_LIMITS * chart.limit:
        return {"range": (0, top)}
    every = max(1, int(top / chart.limit / 2)) * chart.limit / (2 if top < 2 * chart.limit else 1)
    marks = [every * step for step in range(int(top / every) + 1)]
    return {"range": (0, top), "y_labels": sorted({*marks, chart.limit}), "y_labels_major": [chart.limit]}


def _cut(label: str) -> str:
    label = printable(label)
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"


def _short(value: float) -> str:
    """A figure of the axis."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:g}"


def _text(value: float | None, unit: str) -> str:
    return f"{value or 0:,.2f} {unit}".rstrip()
