"""Takes the pictures of the documentation anew, with a Chromium on PATH. ``make pictures``.

The report is a photograph of the page that ``cloudmart report`` writes. A dashboard is a drawing of its layout, from
the JSON that Grafana is given: panels at their places with their titles, kinds and queries, and no data.
"""

from __future__ import annotations

import html
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloudmart.preview.recorder import HOME, record

HERE = Path(__file__).resolve().parent
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
#: Width of a picture in pixels, and of one of Grafana's 24 columns; height of one of its rows.
_WIDTH, _COLUMN, _ROW = 1000, 41, 17
#: In a panel of so many rows there is room for its title alone.
_LOW = 4
_STYLE = """
body { margin: 8px; background: #f4f5f5; font: 12px sans-serif; color: #24292e; position: relative }
h1 { font-size: 16px; height: 22px; margin: 0 }
div { position: absolute; box-sizing: border-box; padding: 4px 7px; overflow: hidden; border: 3px solid #f4f5f5 }
div.panel { background: #fff } div.row { padding: 0 7px; border: 0; line-height: 17px } b, code { display: block }
small, code { color: #6e7680 } code { font-size: 10px; margin-top: 4px; overflow-wrap: anywhere }
"""


def main() -> None:
    browser = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"error: found none of {', '.join(_BROWSERS)} on PATH; allowed: one of them")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.html"
        cloudmart = Path(sys.executable).parent / "cloudmart"
        subprocess.run([cloudmart, "report", "--stack", "prod", "--out", report], check=True)
        _photograph(browser, report, "report.png", 1750)
        for name, dashboard in dashboards("prod").items():
            if name in ("overview", "cost", "service-order-service"):
                page = Path(folder) / f"{name}.html"
                page.write_text(layout(dashboard), encoding="utf-8")
                _photograph(browser, page, f"dashboard-{name}.png", 40 + _ROW * _bottom(dashboard))


def _photograph(browser: str, page: Path, name: str, height: int) -> None:
    # No sandbox, which a container does not let it have: it opens nothing but our own file.
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={_WIDTH},{height}"]
    command = [browser, *options, f"--screenshot={HERE / name}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def dashboards(stack: str) -> Mapping[str, Any]:
    """What Grafana is given, by the dashboard's name."""
    return {
        str(found.object_name).removeprefix("dashboard-"): json.loads(text)
        for found in record(stack, HOME).resources
        if found.kind == "ConfigMap" and str(found.object_name).startswith("dashboard-")
        for text in found.inputs["data"].values()
    }


def _bottom(dashboard: Any) -> int:
    return max(int(panel["gridPos"]["y"]) + int(panel["gridPos"]["h"]) for panel in dashboard["panels"])


def layout(dashboard: Any) -> str:
    """A page with each panel at its place in the grid."""
    parts = [f"<!doctype html><meta charset=utf-8><style>{_STYLE}</style><h1>{html.escape(dashboard['title'])}</h1>"]
    for panel in dashboard["panels"]:
        place = {"x": 0, "y": 0, "w": 24, "h": 1} | panel["gridPos"]
        box = (
            f"left:{_COLUMN * place['x']}px;top:{28 + _ROW * place['y']}px;"
            f"width:{_COLUMN * place['w']}px;height:{_ROW * place['h']}px"
        )
        row = panel["type"] == "row"
        lines = [f"<b>{html.escape(panel['title'])}</b>"]
        if not row:
            lines.append(f"<small>{html.escape(panel['type'])}</small>")
        if place["h"] > _LOW:
            lines += [f"<code>{html.escape(target['expr'][:150])}</code>" for target in panel.get("targets", [])[:2]]
        parts.append(f"<div class={'row' if row else 'panel'} style='{box}'>{''.join(lines)}</div>")
    return "\n".join(parts)


if __name__ == "__main__":
    main()
