"""The JSON of a preview: one document, whose version changes when a program that reads it has to.

`VERSION` is raised when a key goes, gets another meaning or another type; a key that is added does not raise it.
``schemas/preview.schema.json`` is made of these types: ``cloudmart config schema preview``.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NotRequired, cast

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from cloudmart.finops.estimate import Range
from cloudmart.preview import delta_report, findings
from cloudmart.preview.findings import Finding
from cloudmart.preview.run import PreviewResult

VERSION: Final = 1
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_CLOSED = ConfigDict(extra="forbid")


@with_config(_CLOSED)
class Place(TypedDict):
    """The line of a file, from 1, and the key path on it, that causes a finding."""

    file: str
    line: int | None
    path: str


@with_config(_CLOSED)
class Amount(TypedDict):
    """An amount of money in a month, in the price book's currency: with autoscalers at their minimum, at what is
    expected, and at their maximum."""

    min: float
    expected: float
    max: float


@with_config(_CLOSED)
class Resource(TypedDict):
    """A resource that the program registers. ``apiVersion``, ``kind`` and ``namespace`` are null for what is no
    object of Kubernetes; ``name`` is then the resource's own."""

    urn: str
    type: str
    name: str
    apiVersion: str | None
    kind: str | None
    namespace: str | None


@with_config(_CLOSED)
class Violation(TypedDict):
    """What a rule of the policy pack says. ``mandatory`` stops a deployment. ``urn`` is empty for budgets."""

    rule: str
    level: Literal["mandatory", "advisory"]
    urn: str
    message: str
    place: Place | None


@with_config(_CLOSED)
class Policy(TypedDict):
    """What the policy pack says."""

    violations: list[Violation]


@with_config(_CLOSED)
class Error(TypedDict):
    """A fault of an object, at a path of its properties."""

    urn: str
    path: str
    message: str
    place: Place | None


@with_config(_CLOSED)
class Cause(TypedDict):
    """What makes up most of a budget, or of its change."""

    name: str
    amount: float


@with_config(_CLOSED)
class Budget(TypedDict):
    """A budget and how it stands. ``before`` is what was estimated of it without the change, where that is known."""

    name: str
    monthly: float
    warnAt: int
    basis: Literal["expected", "max"]
    amount: float
    percent: float
    state: Literal["within", "warning", "over"]
    before: float | None
    causes: list[Cause]
    sentence: str


@with_config(_CLOSED)
class Cost(TypedDict):
    """What the stack is estimated to cost."""

    monthly: Amount
    byCostCenter: dict[str, Amount]
    byService: dict[str, Amount]
    currency: str
    budgets: list[Budget]
    notes: list[str]


@with_config(_CLOSED)
class Property(TypedDict):
    """A property that differs; null where there is none on that side."""

    path: str
    before: str | None
    after: str | None


@with_config(_CLOSED)
class Change(TypedDict):
    """A resource, what becomes of it, and what it costs. ``same``: it only has another price."""

    op: Literal["create", "update", "replace", "delete", "same"]
    urn: str
    type: str
    kind: str
    namespace: str | None
    name: str
    before: Amount
    after: Amount
    monthly: Annotated[Amount, Field(description="The difference.")]
    byCostCenter: Annotated[dict[str, Amount], Field(description="The parts of the difference.")]
    forcedBy: Annotated[list[str], Field(description="The properties that cannot be changed in place.")]
    properties: list[Property]


@with_config(_CLOSED)
class Counts(TypedDict):
    """How many resources are changed, and how."""

    create: int
    update: int
    replace: int
    delete: int


@with_config(_CLOSED)
class Delta(TypedDict):
    """What differs from the base."""

    base: str
    summary: list[str]
    counts: Counts
    currency: str
    before: Amount
    after: Amount
    monthly: Annotated[Amount, Field(description="The difference.")]
    changes: list[Change]
    notes: list[str]


@with_config(_CLOSED)
class Schema(TypedDict):
    """What the objects were checked against, and how many were: of the others nothing is in ``errors``."""

    kubernetesVersion: str
    checked: int
    unchecked: Annotated[dict[str, int], Field(description="Objects by API version and kind without a schema here.")]


@with_config(_CLOSED)
class Preview(TypedDict):
    """What ``cloudmart preview --format json`` prints. ``delta`` is there with --base, --against or --plan."""

    version: Literal[1]
    stack: str
    resources: list[Resource]
    policy: Policy
    cost: Cost
    schema: Schema
    errors: list[Error]
    delta: NotRequired[Delta]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the document."""
    return {"$schema": _DRAFT, **TypeAdapter(Preview).json_schema(mode="serialization"), "title": "A preview"}


def as_data(result: PreviewResult) -> Preview:
    """The document of a preview."""
    estimate = result.estimate
    places = {(one.rule, one.urn, one.message): _place(one) for one in findings.of(result)}
    data: Preview = {
        "version": VERSION,
        "stack": result.recording.stack,
        "resources": [
            {
                "urn": recorded.urn,
                "type": recorded.type,
                "name": recorded.object_name or recorded.name,
                "apiVersion": recorded.api_version,
                "kind": recorded.kind,
                "namespace": recorded.namespace,
            }
            for recorded in result.recording.resources
        ],
        "policy": {
            "violations": [
                {
                    "rule": one.rule,
                    "level": "mandatory" if one.level == "mandatory" else "advisory",
                    "urn": one.urn,
                    "message": one.message,
                    "place": places[(one.rule, one.urn, one.message)],
                }
                for one in result.violations
            ]
        },
        "cost": {
            "monthly": _amount(estimate.monthly),
            "byCostCenter": {name: _amount(amount) for name, amount in estimate.by_cost_center.items()},
            "byService": {name: _amount(amount) for name, amount in estimate.by_service.items()},
            "currency": estimate.prices.currency,
            "budgets": cast("list[Budget]", delta_report.budgets_data(result.budgets)),
            "notes": list(estimate.notes),
        },
        "schema": {
            "kubernetesVersion": result.kubernetes_version,
            "checked": result.schema.checked,
            "unchecked": result.schema.unchecked,
        },
        "errors": [
            {
                "urn": one.urn,
                "path": one.path,
                "message": one.message,
                "place": places[(findings.SCHEMA, one.urn, f"{one.path}: {one.message}")],
            }
            for one in result.errors
        ],
    }
    if result.delta is not None:
        data["delta"] = cast("Delta", delta_report.as_data(result.delta, result.budgets))
    return data


def _place(finding: Finding) -> Place | None:
    place = finding.place
    return Place(file=place.file, line=place.line, path=place.path) if place else None


def _amount(amount: Range) -> Amount:
    """To a hundredth of a cent: what is left of rounding does not show in sums."""
    return {
        "min": float(round(amount.min, 4)),
        "expected": float(round(amount.expected, 4)),
        "max": float(round(amount.max, 4)),
    }
