"""Can a chart be had? Asked before anything is changed, because Helm asks only in the middle of it."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
import yaml

from cloudmart.errors import UserError
from cloudmart.settings.charts import Chart, Source

_SECONDS = 5.0
_OCI_SCHEME = "https"
# The loader written in C reads a repository's index ten times faster; some builds of PyYAML lack it.
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"


class ChartUnreachable(UserError):  # noqa: N818 (a state of the chart, and the message says so)
    """A chart is not where the settings say, or the place does not answer."""


def check_chart(chart: Chart, root: Path, *, key: str, source: str = "chart", timeout: float = _SECONDS) -> None:
    """Raise :class:`ChartUnreachable` unless `chart` can be had, at its version, from where it is said to be.

    `root` is what a relative path is relative to. `key` is the configuration key of the layer, such as
    ``cloudmart:kubecost``, and `source` the key below it that says where the chart is: both for the message. `timeout`
    is in seconds, for each request. A registry that wants credentials counts as reachable: they are Helm's to present.
    """
    checks = {Source.REPOSITORY: _repository, Source.OCI: _oci, Source.PATH: _path}
    try:
        problem = checks[chart.source](chart, root, timeout)
    except requests.RequestException as error:
        problem = f"{chart.repo} does not answer ({_reason(error)})"
    if problem:
        raise ChartUnreachable(
            f"chart {chart}: {problem}; set {key}.{source}.path to a local copy of the chart, {key}.{source}.repo or "
            f"{key}.{source}.oci to a mirror that has it, or {key}.enabled to false"
        )


def check_manifest(source: str, root: Path, *, key: str, timeout: float = _SECONDS) -> None:
    """Raise :class:`ChartUnreachable` unless a manifest can be had from its URL or path, which `key` configures."""
    problem = None
    if "://" not in source:
        if not (root / source).is_file():
            problem = f"{root / source} is not there"
    else:
        try:
            with requests.get(source, timeout=timeout, stream=True) as response:
                if not response.ok:
                    problem = f"{source} answers {response.status_code} {response.reason}"
        except requests.RequestException as error:
            problem = f"{source} does not answer ({_reason(error)})"
    if problem:
        raise ChartUnreachable(f"manifest {key}: {problem}; set it to a mirror or to a local copy")


def _repository(chart: Chart, root: Path, timeout: float) -> str | None:
    del root
    url = f"{chart.repo.rstrip('/')}/index.yaml"
    response = requests.get(url, timeout=timeout)
    if response.status_code != requests.codes.ok:
        return f"{url} answers {response.status_code} {response.reason}"
    try:
        # A safe loader, either of them.
        index = yaml.load(response.content, _LOADER)  # noqa: S506
        versions = {entry["version"]: entry["urls"][0] for entry in index["entries"].get(chart.name, ())}
    except (yaml.YAMLError, LookupError, TypeError, AttributeError):
        return f"{url} is not the index of a chart repository"
    if not versions:
        return f"repository {chart.repo} has no chart of that name"
    if chart.version not in versions:
        return f"repository {chart.repo} has no such version ({_some(versions)})"
    archive = urljoin(url, versions[chart.version])
    # Not HEAD, which some stores of archives refuse; the body is not read.
    with requests.get(archive, timeout=timeout, stream=True) as response:
        return None if response.ok else f"{archive} answers {response.status_code} {response.reason}"


def _oci(chart: Chart, root: Path, timeout: float) -> str | None:
    del root
    host, _, name = chart.repo.removeprefix("oci://").partition("/")
    url = f"{_OCI_SCHEME}://{host}/v2/{name}/manifests/{chart.version}"
    headers = {"Accept": _MANIFESTS}
    response = requests.head(url, headers=headers, timeout=timeout)
    if response.status_code == requests.codes.unauthorized:
        challenge = dict(re.findall(r'(\w+)="([^"]*)"', response.headers.get("WWW-Authenticate", "")))
        if realm := challenge.pop("realm", None):
            granted = requests.get(realm, params=challenge, timeout=timeout)
            if granted.status_code == requests.codes.ok:
                body = granted.json()
                headers["Authorization"] = f"Bearer {body.get('token') or body.get('access_token')}"
                response = requests.head(url, headers=headers, timeout=timeout)
    if response.status_code in {requests.codes.ok, requests.codes.unauthorized, requests.codes.forbidden}:
        return None
    return f"{chart.repo}:{chart.version} answers {response.status_code} {response.reason}"


def _path(chart: Chart, root: Path, timeout: float) -> str | None:
    del timeout
    place = root / chart.repo
    try:
        if place.is_dir():
            text = (place / "Chart.yaml").read_bytes()
        else:
            with tarfile.open(place, "r:gz") as archive:
                # Every member of a chart's archive stands below one folder; the subcharts' stand deeper.
                member = next(name for name in archive.getnames() if re.fullmatch(r"[^/]+/Chart\.yaml", name))
                text = (archive.extractfile(member) or _missing()).read()
        found = yaml.safe_load(text)
        name, version = found["name"], str(found["version"])
    except FileNotFoundError:
        return f"{place} is not there" if not place.exists() else f"{place} has no Chart.yaml"
    except (OSError, tarfile.TarError, StopIteration, yaml.YAMLError, KeyError, TypeError) as error:
        return f"{place} is not a chart ({_reason(error)})"
    if (name, version) != (chart.name, chart.version):
        return f"{place} is chart {name} {version}"
    if place.is_dir():
        # Helm looks for a subchart below the name of its chart, whatever its alias.
        subcharts = [dependency["name"] for dependency in found.get("dependencies") or ()]
        if absent := [sub for sub in subcharts if not any((place / "charts").glob(f"{sub}*"))]:
            return f"{place} lacks its subchart {', '.join(absent)} (`helm dependency build {chart.repo}`)"
    return None


def _missing() -> Any:
    raise FileNotFoundError


def _some(versions: Iterable[str]) -> str:
    newest = sorted(versions, key=lambda text: [int(part) for part in re.findall(r"\d+", text)[:3]], reverse=True)
    return f"newest: {', '.join(newest[:3])}"


def _reason(error: BaseException) -> str:
    if isinstance(error, requests.Timeout):
        return "timed out"
    # The innermost cause says what happened; the outer ones name the library's own objects.
    inner: BaseException = error
    while (deeper := inner.__cause__ or inner.__context__) is not None:
        inner = deeper
    return str(inner) or type(inner).__name__
