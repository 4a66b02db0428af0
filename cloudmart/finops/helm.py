"""What a Helm chart makes of its values, where `helm` and the chart are on this machine: for prices, offline."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_SECONDS = 60
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Rendered:
    """The objects of a release, and the chart that they come from."""

    objects: tuple[Mapping[str, Any], ...]
    chart: str


@dataclass(frozen=True)
class Charts:
    """Renders releases. `root` is the folder of the program, to which paths of charts are relative."""

    root: Path

    def render(self, name: str, inputs: Mapping[str, Any], *, whole: bool = False) -> Rendered | str:
        """The objects of a release with these inputs (``chart``, ``version``, ``values``, ...), or why there are none.

        A chart is taken from the path that the release names, or from Helm's own cache. Nothing is downloaded. The
        `whole` of it is with hooks, which are over before anybody pays for them by the month, and definitions of kinds.
        """
        chart = str(inputs.get("chart") or "")
        helm = shutil.which("helm")
        if helm is None:
            return "helm is not on PATH"
        place = self._place(chart, str(inputs.get("version") or ""))
        if place is None:
            return f"the chart {chart.rpartition('/')[2]} is not on this machine"
        try:
            values = json.dumps(_whole_numbers(inputs.get("values") or {}), sort_keys=True)
        except TypeError:
            return "its values are not all known yet"
        return _template(helm, place, name, str(inputs.get("namespace") or "default"), values, whole)

    def _place(self, chart: str, version: str) -> Path | None:
        if chart and "://" not in chart and (self.root / chart).exists():
            return self.root / chart
        home = os.environ.get("HELM_CACHE_HOME")
        cache = Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "helm"
        archive = cache / "repository" / f"{chart.rpartition('/')[2]}-{version}.tgz"
        return archive if version and archive.is_file() else None


@functools.lru_cache(maxsize=64)
def _template(helm: str, chart: Path, name: str, namespace: str, values: str, whole: bool) -> Rendered | str:
    extent = "--include-crds" if whole else "--no-hooks"
    command = [helm, "template", name, str(chart), "--namespace", namespace, extent, "--values", "-"]
    try:
        done = subprocess.run(command, input=values, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"helm took more than {_SECONDS} s"
    except OSError as error:
        return f"helm cannot be run ({error.strerror})"
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
        return f"helm cannot render it ({said[0][7:200] if said else f'exit code {done.returncode}'})"
    try:
        objects = list(yaml.load_all(done.stdout, Loader=_LOADER))
    except yaml.YAMLError:
        return "helm rendered something that is not YAML"
    return Rendered(tuple(item for item in objects if isinstance(item, Mapping)), chart.name)


def _whole_numbers(value: Any) -> Any:
    """Whole numbers as such: the engine makes floats of them, and a chart would print `8.0`."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return value
