"""``external-secrets.io/v1``: ExternalSecret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi

from components.custom import CustomKind, Spec

EXTERNAL_SECRET = CustomKind("external-secrets.io/v1", "ExternalSecret")


@dataclass(frozen=True, kw_only=True)
class StoreRef(Spec):
    """The SecretStore or ClusterSecretStore that knows how to ask."""

    name: str
    kind: Literal["SecretStore", "ClusterSecretStore"]


@dataclass(frozen=True, kw_only=True)
class RemoteRef(Spec):
    """One value there; `property` where the key holds several."""

    key: str
    property: str | None = None


@dataclass(frozen=True, kw_only=True)
class Datum(Spec):
    """A value, and the name that the template has for it."""

    secret_key: str
    remote_ref: RemoteRef


@dataclass(frozen=True, kw_only=True)
class TemplateMetadata(Spec):
    """What the Secret carries."""

    labels: Mapping[str, pulumi.Input[str]]


@dataclass(frozen=True, kw_only=True)
class Template(Spec):
    """The Secret: each key of `data` is a Go template over the values."""

    type_: str
    metadata: TemplateMetadata
    data: Mapping[str, pulumi.Input[str]]
    engine_version: Literal["v2"] = "v2"


@dataclass(frozen=True, kw_only=True)
class Target(Spec):
    """The Secret that is made; it goes with its ExternalSecret."""

    name: str
    template: Template
    creation_policy: Literal["Owner"] = "Owner"


@dataclass(frozen=True, kw_only=True)
class ExternalSecret(Spec):
    """With ``OnChange`` the values are fetched when this object changes, and at no other time."""

    secret_store_ref: StoreRef
    target: Target
    data: Sequence[Datum]
    refresh_policy: Literal["OnChange"] = "OnChange"
