"""What an API server serves, asked of it and not of kubectl's cache, which may be hours old."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cloudmart.errors import UserError

#: Runs kubectl with these arguments and returns what it printed.
Kubectl = Callable[..., str]


def served(kubectl: Kubectl, api_versions: Iterable[str]) -> Mapping[tuple[str, str], bool]:
    """``(apiVersion, kind)`` of every kind that is served in these API versions, and whether it is namespaced.

    Raises what `kubectl` raises when the server does not answer. An API version that is not served has no kinds.
    """
    asked = sorted(set(api_versions))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda api_version: _resources(kubectl, api_version), asked))
    return {
        (api_version, resource["kind"]): resource["namespaced"]
        for api_version, resources in zip(asked, answers, strict=True)
        for resource in resources
        if "/" not in resource["name"]  # subresources
    }


def served_kinds(kubectl: Kubectl, groups: Iterable[str]) -> set[str]:
    """``Kind.group`` of every kind that is served in these API groups, in any version."""
    versions: list[str] = []
    for group in set(groups):
        try:
            found = json.loads(kubectl("get", "--raw", f"/apis/{group}"))["versions"]
        except UserError as error:
            if "NotFound" not in str(error):
                raise
            continue
        versions += [version["groupVersion"] for version in found]
    return {f"{kind}.{api_version.partition('/')[0]}" for api_version, kind in served(kubectl, versions)}


def _resources(kubectl: Kubectl, api_version: str) -> list[dict[str, Any]]:
    path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    try:
        return list(json.loads(kubectl("get", "--raw", path))["resources"])
    except UserError as error:
        if "NotFound" in str(error):
            return []
        raise
