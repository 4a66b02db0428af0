"""Objects of kinds that pulumi-kubernetes has no type for: one typed helper for all of them.

A spec is a frozen dataclass with the fields that this project sets, in Python's names; it goes over the wire in
camelCase, without what is None. Which kinds there are and what their fields mean is said by the dataclasses in
`components.specs`, one module for each API group.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pulumi
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs


@dataclass(frozen=True)
class CustomKind:
    """What makes a kind known to an API server: ``security.istio.io/v1``, ``AuthorizationPolicy``."""

    api_version: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Base of typed specs, and of their parts. A field's name on the wire is its own in camelCase, without a trailing
    underscore; metadata ``wire`` of the field gives another."""

    def wire(self) -> dict[str, Any]:
        """The spec as the API server reads it."""
        found = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                found[field.metadata.get("wire") or _camel(field.name)] = _wire(value)
        return found


def _camel(name: str) -> str:
    first, *rest = name.rstrip("_").split("_")
    return first + "".join(part.capitalize() for part in rest)


def _wire(value: Any) -> Any:
    if isinstance(value, Spec):
        return value.wire()
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Mapping):
        return {key: _wire(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_wire(item) for item in value]
    return value


class CustomObject(pulumi.CustomResource):
    """One object of a custom kind. The cluster must know the kind: depend on the release that brings it."""

    def __init__(
        self,
        name: str,
        kind: CustomKind,
        *,
        metadata: ObjectMetaArgs,
        spec: Spec | None = None,
        fields: Spec | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`fields` stand beside `metadata`, for the kinds that have no `spec`."""
        properties: dict[str, Any] = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
        if spec is not None:
            properties["spec"] = spec.wire()
        if fields is not None:
            properties |= fields.wire()
        super().__init__(f"kubernetes:{kind.api_version}:{kind.kind}", name, properties, opts)
