"""The objects that a cluster holds, for whoever compares them with what is declared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from cloudmart.cluster.discovery import served
from cloudmart.cluster.kubectl import Kubectl


@dataclass(frozen=True, order=True)
class Reference:
    """Which object. `namespace` is empty for what is cluster-wide."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def to(cls, item: Mapping[str, Any]) -> Reference:
        """The reference to an object, or to a manifest whose namespace is filled in."""
        metadata = item["metadata"]
        return cls(item["apiVersion"], item["kind"], metadata.get("namespace", ""), metadata["name"])

    @property
    def group(self) -> str:
        """The API group; empty for the core's."""
        return self.api_version.rpartition("/")[0]

    @property
    def label(self) -> str:
        """For people: ``Service shop/user-service``."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @property
    def argument(self) -> str:
        """For kubectl, with its group where it has one: ``deployment.apps/user-service``."""
        kind = self.kind.lower()
        return f"{kind}.{self.group}/{self.name}" if self.group else f"{kind}/{self.name}"


def fetch(kubectl: Kubectl, wanted: Iterable[Reference]) -> Mapping[Reference, Mapping[str, Any]]:
    """Those of `wanted` that are there, with their managed fields.

    What is not there, or of a kind that the cluster does not serve, is missing from the answer. Raises
    ``KubectlError`` when the API server does not answer or may not say.
    """
    references = set(wanted)
    found = listing(kubectl, ((one.api_version, one.kind, one.namespace) for one in references))
    return {reference: found[reference] for reference in references if reference in found}


def listing(kubectl: Kubectl, places: Iterable[tuple[str, str, str]]) -> Mapping[Reference, Mapping[str, Any]]:
    """Every object of these kinds in these places, with its managed fields; a place is API version, kind, namespace.

    One call of kubectl for each namespace, and one for what is cluster-wide (an empty namespace), at the same time;
    one more for each API version, to leave out kinds that are not served. Raises as :func:`fetch` does.
    """
    asked = set(places)
    known = served(kubectl.run, {api_version for api_version, _, _ in asked})
    kinds: dict[str, set[str]] = {}
    for api_version, kind, namespace in asked:
        # A namespaced kind without a namespace would be looked for in all of them, or in kubectl's own.
        if known.get((api_version, kind)) is bool(namespace):
            group, _, version = api_version.rpartition("/")
            kinds.setdefault(namespace, set()).add(f"{kind}.{version}.{group}")

    def items(namespace: str) -> list[dict[str, Any]]:
        where = [f"--namespace={namespace}"] if namespace else []
        text = kubectl.run(
            "get", ",".join(sorted(kinds[namespace])), *where, "--show-managed-fields", "--ignore-not-found", "-o=json"
        )
        return list(json.loads(text)["items"]) if text.strip() else []

    with ThreadPoolExecutor(8) as pool:
        return {Reference.to(item): item for found in pool.map(items, kinds) for item in found}


def release_of(item: Mapping[str, Any]) -> str | None:
    """``namespace/name`` of the Helm release that made an object, by the annotations that Helm gives each; or None."""
    annotations = item["metadata"].get("annotations") or {}
    name = annotations.get("meta.helm.sh/release-name")
    return f"{annotations.get('meta.helm.sh/release-namespace', '')}/{name}" if name else None
