"""What an API server serves, asked of it and not of kubectl's cache, which may be hours old."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from cloudmart.errors import UserError

#: Runs kubectl with these arguments and returns what it printed.
Kubectl = Callable[..., str]


@dataclass(frozen=True)
class Resource:
    """How the API server serves a kind: its name in paths, and whether objects of it stand in a namespace."""

    plural: str
    namespaced: bool


def root(api_version: str) -> str:
    """Where an API version stands."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def resources(
    ask: Callable[[str], Mapping[str, Any] | None], api_versions: Iterable[str]
) -> Mapping[tuple[str, str], Resource]:
    """``(apiVersion, kind)`` of every kind that is served in these API versions.

    `ask` is given a path, and returns what stands there or None; it may be called from several threads, and what it
    raises is raised. An API version that is not served has no kinds.
    """
    asked = sorted(set(api_versions))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda api_version: ask(root(api_version)), asked))
    return {
        (api_version, resource["kind"]): Resource(resource["name"], resource["namespaced"])
        for api_version, answer in zip(asked, answers, strict=True)
        for resource in (answer or {}).get("resources") or ()
        if "/" not in resource["name"]  # subresources
    }


def served(kubectl: Kubectl, api_versions: Iterable[str]) -> Mapping[tuple[str, str], bool]:
    """``(apiVersion, kind)`` of every kind that is served in these API versions, and whether it is namespaced.

    Raises what `kubectl` raises when the server does not answer. An API version that is not served has no kinds.
    """
    found = resources(lambda path: _raw(kubectl, path), api_versions)
    return {key: resource.namespaced for key, resource in found.items()}


def served_kinds(kubectl: Kubectl, groups: Iterable[str]) -> set[str]:
    """``Kind.group`` of every kind that is served in these API groups, in any version."""
    found = (_raw(kubectl, f"/apis/{group}") for group in set(groups))
    versions = [version["groupVersion"] for group in found if group for version in group["versions"]]
    return {f"{kind}.{api_version.partition('/')[0]}" for api_version, kind in served(kubectl, versions)}


def _raw(kubectl: Kubectl, path: str) -> Any:
    """What stands there, or None."""
    try:
        return json.loads(kubectl("get", "--raw", path))
    except UserError as error:
        if "NotFound" in str(error):
            return None
        raise
