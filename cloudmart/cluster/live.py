"""The objects that a cluster holds, for whoever compares them with what is declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

#: Where objects are listed: API version, kind and namespace, which is empty for what is cluster-wide.
Place: TypeAlias = tuple[str, str, str]


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


def release_of(item: Mapping[str, Any]) -> str | None:
    """``namespace/name`` of the Helm release that made an object, by the annotations that Helm gives each; or None."""
    annotations = item["metadata"].get("annotations") or {}
    name = annotations.get("meta.helm.sh/release-name")
    return f"{annotations.get('meta.helm.sh/release-namespace', '')}/{name}" if name else None
