"""Ways to look at what a stack registered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from cloudmart.preview.recorder import Recorded, Recording
from cloudmart.settings import Settings, stacks
from tests.conftest import ROOT

Json = Any

#: What the name of a stack is followed by where its stores are in mode `single`.
SINGLE = " with single stores"
#: For what is said of the pods of stores: those that operators make are not among the program's own objects. What the
#: program tells the operators is held in tests/unit/test_operators.py.
single_stores = pytest.mark.parametrize(
    "stack", [name if name == "dev" else name + SINGLE for name in stacks(ROOT)], indirect=True, scope="session"
)

#: The recommended labels of Kubernetes, the catalog's own, and those that costs are grouped by.
RECOMMENDED = frozenset(
    f"app.kubernetes.io/{key}" for key in ("name", "instance", "component", "part-of", "version", "managed-by")
)
OWN = frozenset({"app", "tier", "version"})
COST = frozenset({"project", "team", "cost-center"})


@dataclass(frozen=True)
class Pod:
    """A pod as a workload's template makes it."""

    workload: str
    namespace: str
    metadata: Mapping[str, Json]
    spec: Mapping[str, Json]

    @property
    def labels(self) -> Mapping[str, str]:
        labels: Mapping[str, str] = self.metadata["labels"]
        return labels

    @property
    def containers(self) -> list[Json]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """Named ports of the containers that stay."""
        return {port["name"]: port["containerPort"] for c in self.spec["containers"] for port in c.get("ports", [])}


@dataclass
class Stack:
    """A stack's settings and its recording, by kind and name."""

    settings: Settings
    recording: Recording
    objects: list[Recorded] = field(init=False)

    def __post_init__(self) -> None:
        self.objects = [found for found in self.recording.resources if found.is_kubernetes_object]

    def of(self, kind: str, namespace: str | None = None) -> dict[str, Json]:
        """Inputs of every object of a kind by name; of the shop's namespace unless another is given."""
        wanted = namespace or self.settings.namespace.name
        return {
            str(found.object_name): found.inputs
            for found in self.objects
            if found.kind == kind and found.namespace in (wanted, None)
        }

    def recorded(self, kind: str, name: str) -> Recorded:
        """One object of the shop."""
        (found,) = [
            one
            for one in self.objects
            if one.kind == kind and one.object_name == name and one.namespace in (self.settings.namespace.name, None)
        ]
        return found

    def pods(self) -> list[Pod]:
        """A pod of each workload."""
        return [
            Pod(
                f"{found.kind} {found.object_name}",
                str(found.namespace),
                found.inputs["spec"]["template"]["metadata"],
                found.inputs["spec"]["template"]["spec"],
            )
            for found in self.objects
            if found.kind in ("Deployment", "StatefulSet")
        ]

    def app(self, service: str) -> Json:
        """The container of a service."""
        (container,) = self.of("Deployment")[service]["spec"]["template"]["spec"]["containers"]
        return container

    def labelled(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Everything that has labels: objects, pod templates, claim templates."""
        for found in self.objects:
            what = f"{found.kind} {found.object_name}"
            yield what, found.metadata.get("labels", {})
            spec = found.inputs.get("spec", {})
            if found.kind in ("Deployment", "StatefulSet"):
                yield f"{what}, pod", spec["template"]["metadata"].get("labels", {})
            for claim in spec.get("volumeClaimTemplates", []):
                yield f"{what}, claim", claim["metadata"].get("labels", {})
