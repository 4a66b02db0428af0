"""Can a chart be had? Asked before anything is changed, because Helm asks only in the middle of it."""

from __future__ import annotations

import re
import tarfile
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
import yaml

from cloudmart.errors import UserError
from cloudmart.settings.charts import Chart, Source
from cloudmart.settings.source import contents, parse

_SECONDS = 5.0
_OCI_SCHEME = "https"
# The loader written in C reads a repository's index ten times faster; some builds of PyYAML lack it.
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGED = re.compile(rb"<<\s*:")
#: Bytes of an index, and of what is unpacked of an archive; bytes of a Chart.yaml; files before it.
_LARGEST, _LARGEST_FILE, _MOST_FILES = 64 << 20, 1 << 20, 10_000
_MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"


class ChartUnreachable(UserError):  # noqa: N818 (a state of the chart, and the message says so)
    """A chart is not where the settings say, or the place does not answer."""


def check_chart(
    chart: Chart, root: Path, *, key: str, off: str, source: str = "chart", timeout: float = _SECONDS
) -> None:
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
            f"{key}.{source}.oci to a mirror that has it, or {off}"
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
    with requests.get(url, timeout=timeout, stream=True) as response:
        if response.status_code != requests.codes.ok:
            return f"{url} answers {response.status_code} {response.reason}"
        content = _body(response, timeout)
    try:
        if _MERGED.search(content):  # a few bytes of merged mappings can mean gigabytes; an index has none
            raise ValueError
        # A safe loader, either of them.
        index = yaml.load(content, _LOADER)  # noqa: S506
        versions = {str(entry["version"]): str(entry["urls"][0]) for entry in index["entries"].get(chart.name, ())}
    except (yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError, RecursionError, OverflowError):
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
                token = body.get("token") or body.get("access_token") if isinstance(body, dict) else None
                headers["Authorization"] = f"Bearer {token}"
                response = requests.head(url, headers=headers, timeout=timeout)
    if response.status_code in {requests.codes.ok, requests.codes.unauthorized, requests.codes.forbidden}:
        return None
    return f"{chart.repo}:{chart.version} answers {response.status_code} {response.reason}"


def _path(chart: Chart, root: Path, timeout: float) -> str | None:
    del timeout
    place = root / chart.repo
    name_of = f"{place.name}/Chart.yaml" if place.is_dir() else place.name
    try:
        if place.is_dir():
            text = contents(place / "Chart.yaml", name_of) if (place / "Chart.yaml").exists() else _missing()
        else:
            text = _from_archive(place)
        found = parse(text, name_of, texts=True).data
        name, version = found["name"], str(found["version"])
        # Helm looks for a subchart below the name of its chart, whatever its alias.
        subcharts = [str(dependency["name"]) for dependency in found.get("dependencies") or ()]
    except UserError as error:
        return f"{place} is not a chart ({error})"
    except FileNotFoundError:
        return f"{place} is not there" if not place.exists() else f"{place} has no Chart.yaml"
    except (OSError, EOFError, zlib.error, tarfile.TarError, LookupError, TypeError) as error:
        return f"{place} is not a chart ({_reason(error)})"
    if (name, version) != (chart.name, chart.version):
        return f"{place} is chart {name} {version}"
    if place.is_dir():
        there = [one.name for one in (place / "charts").iterdir()] if (place / "charts").is_dir() else []
        if absent := [sub for sub in subcharts if not any(name.startswith(sub) for name in there)]:
            return f"{place} lacks its subchart {', '.join(absent)} (`helm dependency build {chart.repo}`)"
    return None


def _from_archive(place: Path) -> bytes:
    """``Chart.yaml`` of a chart's archive."""
    if place.exists() and not place.is_file():
        raise tarfile.TarError("neither a folder nor a file")
    with tarfile.open(place, "r:gz") as archive:
        # Every member of a chart's archive stands below one folder; the subcharts' stand deeper.
        for count, member in enumerate(archive):
            if member.isfile() and member.size <= _LARGEST_FILE and re.fullmatch(r"[^/]+/Chart\.yaml", member.name):
                return (archive.extractfile(member) or _missing()).read()
            if count > _MOST_FILES or member.offset_data + member.size > _LARGEST:
                break  # what comes behind it would have to be unpacked first
    raise tarfile.TarError("no Chart.yaml in it")


def _body(response: requests.Response, timeout: float) -> bytes:
    """An answer of up to 64 MiB, within the time limit and not just each part of it."""
    deadline, pieces, size = time.monotonic() + timeout, [], 0
    # What has come, and not a whole piece: a server that drips would keep us waiting for that.
    while piece := response.raw.read1(1 << 16, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if size > _LARGEST or time.monotonic() > deadline:
            raise requests.Timeout if size <= _LARGEST else requests.RequestException("it sends more than 64 MiB")
    return b"".join(pieces)


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
