"""``templates.gatekeeper.sh/v1``: ConstraintTemplate; ``constraints.gatekeeper.sh/v1beta1``: the kinds it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.custom import CustomKind, Spec

CONSTRAINT_TEMPLATE = CustomKind("templates.gatekeeper.sh/v1", "ConstraintTemplate")


def constraint(kind: str) -> CustomKind:
    """The kind that a ConstraintTemplate makes."""
    return CustomKind("constraints.gatekeeper.sh/v1beta1", kind)


@dataclass(frozen=True, kw_only=True)
class Names(Spec):
    """What the kind is called."""

    kind: str


@dataclass(frozen=True, kw_only=True)
class Validation(Spec):
    """The structural schema of a constraint's parameters."""

    open_api_v3_schema: Mapping[str, Any] = field(metadata={"wire": "openAPIV3Schema"})


@dataclass(frozen=True, kw_only=True)
class CrdSpec(Spec):
    """The resource definition of the kind."""

    names: Names
    validation: Validation


@dataclass(frozen=True, kw_only=True)
class Crd(Spec):
    """As a resource definition has it."""

    spec: CrdSpec


@dataclass(frozen=True, kw_only=True)
class Source(Spec):
    """The rule in Rego of a language version, and the libraries that it imports."""

    version: str
    rego: str
    libs: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Code(Spec):
    """The source for an engine."""

    engine: str
    source: Source


@dataclass(frozen=True, kw_only=True)
class Target(Spec):
    """What judges what."""

    target: str
    code: Sequence[Code]


@dataclass(frozen=True, kw_only=True)
class ConstraintTemplateSpec(Spec):
    """A kind of constraint, and the rule that one enforces."""

    crd: Crd
    targets: Sequence[Target]


@dataclass(frozen=True, kw_only=True)
class Kinds(Spec):
    """Kinds of any version. The group of the core kinds is empty."""

    api_groups: Sequence[str]
    kinds: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Requirement(Spec):
    """A requirement on a label."""

    key: str
    operator: str
    values: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Selector(Spec):
    """Which labels."""

    match_labels: Mapping[str, str]
    match_expressions: Sequence[Requirement]


@dataclass(frozen=True, kw_only=True)
class Match(Spec):
    """Which objects."""

    kinds: Sequence[Kinds]
    namespace_selector: Selector


@dataclass(frozen=True, kw_only=True)
class ConstraintSpec(Spec):
    """A rule as it is enforced: `enforcement_action` is ``deny`` or ``warn``."""

    enforcement_action: str
    match: Match
    parameters: Mapping[str, Any]
