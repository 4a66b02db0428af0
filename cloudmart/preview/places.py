"""From what is wrong with a resource to the line of ``catalog.yaml`` or ``Pulumi.<stack>.yaml`` that says so.

A resource belongs to the part of the declaration that its nearest component was made from. Which key of that part
matters depends on the rule that was broken, or on the property that is wrong. Where that key stands in no file (the
model's default holds), the nearest one above it does: at last the entry of the service, store or layer itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cloudmart.preview.policy import Violation
from cloudmart.preview.recorder import Recording
from cloudmart.preview.schema import SchemaError
from cloudmart.settings import Loaded, Origin, stack_file
from cloudmart.settings.source import Path_, dotted

#: The part of the declaration that a component is made from; ``{}`` is the component's name. Components that are not
#: here belong to what the component around them does.
OWNERS: Mapping[str, str] = {
    "cloudmart:platform:Platform": "namespace",
    "cloudmart:microservice:Microservice": "services.{}",
    "cloudmart:data:DataLayer": "data",
    "cloudmart:data:Postgres": "data.postgres",
    "cloudmart:data:Redis": "data.redis",
    "cloudmart:data:Kafka": "data.kafka",
    "cloudmart:operators:CloudNativePg": "operators.cloudnativePg",
    "cloudmart:operators:Strimzi": "operators.strimzi",
    "cloudmart:kubecost:Kubecost": "kubecost",
    "cloudmart:gateway:Gateway": "gateway",
    "cloudmart:gateway:Routes": "gateway",
    "cloudmart:authorization:EntranceAuthorization": "gateway",
    "cloudmart:mesh:Mesh": "mesh",
    "cloudmart:authorization:Authorization": "mesh",
    "cloudmart:authorization:Waypoint": "mesh",
    "cloudmart:admission:Gatekeeper": "admission",
    "cloudmart:admission:NativePolicies": "admission",
    "cloudmart:monitoring:Monitoring": "monitoring",
    "cloudmart:gitops:GitOps": "gitops",
    "cloudmart:vertical_autoscaling:VerticalAutoscaling": "verticalAutoscaling",
}

# Rule, what its message says, and the key that says so, below the owner or, with a slash before it, from the top. The
# first that is written somewhere is it.
_OF_RULES: tuple[tuple[str, str, str], ...] = (
    ("cpu-memory-requests", r"no (cpu|memory)", "resources.requests.{}"),
    ("memory-limits", r"()", "resources.limits.memory"),
    ("limit-request-ratio", r"(cpu|memory) limit", "resources.limits.{}"),
    ("image-pinned", r"has no digest|no tag|moving tag", "image.tag"),
    ("image-(pinned|registries)", r"()", "image"),
    ("image-(pinned|registries)", r"^Deployment", "/placeholderImage"),
    ("probes", r"(liveness|readiness)", "{}"),
    ("no-literal-secrets", r"'([A-Za-z_][A-Za-z0-9_]*)' (?:is a secret|looks like)", "env.{}"),
    ("service-exposure", r"type is", "service.type"),
    ("autoscaler-(bounds|target)", r"target (cpu|memory)", "autoscaling.{}"),
    ("autoscaler-(bounds|target)", r"no (cpu|memory) request", "resources.requests.{}"),
    ("autoscaler-bounds", r"(min|max)Replicas", "autoscaling.{}"),
    ("autoscaler-(bounds|target)", r"()", "autoscaling"),
    ("disruption-budget", r"()", "autoscaling.min"),
    ("disruption-budget", r"()", "replicas"),
    ("(workload-cost-center|cost-labels)", r"cost.center", "costCenter"),
    ("(workload-cost-center|cost-labels)", r"cost.center", "/namespace.costCenter"),
    ("cost-labels", r"no label .*team", "team"),
    ("data-protected", r"()", "protect"),
    ("helm-pinned", r"()", "chart"),
    ("helm-requests", r"()", "components"),
)
# The same for properties of objects, which schemas find fault with.
_CONTAINER = r"spec\.template\.spec\.(?:initContainers|containers)\[\d+\]\."
_OF_PROPERTIES: tuple[tuple[str, str], ...] = (
    (_CONTAINER + r"resources\.(requests|limits)\.(cpu|memory)", "resources.{}.{}"),
    (_CONTAINER + r"resources", "resources"),
    (_CONTAINER + r"image$", "image"),
    (_CONTAINER + r"(liveness|readiness)Probe", "{}"),
    (_CONTAINER + r"env", "env"),
    (_CONTAINER + r"ports", "containerPort"),
    (r"spec\.template\.spec\.terminationGracePeriodSeconds", "terminationGraceSeconds"),
    (r"spec\.replicas", "replicas"),
    (r"spec\.(min|max)Replicas", "autoscaling.{}"),
    (r"spec\.behavior\.scale(Up|Down)", "autoscaling.scale{}"),
    (r"spec\.(?:metrics|behavior)", "autoscaling"),
    (r"spec\.volumeClaimTemplates.*storage", "storage.size"),
    (r"data\.([A-Za-z_][A-Za-z0-9_]*)", "env.{}"),
    (r"(?:spec\.template\.)?metadata\.labels\.cost-center", "costCenter"),
    (r"(?:spec\.template\.)?metadata\.labels\.(team|tier|version)", "{}"),
    (r"metadata\.namespace", "/namespace.name"),
)
_BUDGET = re.compile(r"Budget (\S+): ")


@dataclass(frozen=True)
class Place:
    """A key path, and where it is written: a file of the project and a line of it, counted from 1."""

    file: str
    line: int | None
    path: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.path}" if self.path else where


class Places:
    """Places of one recording's resources."""

    def __init__(self, recording: Recording, loaded: Loaded) -> None:
        self._stack = recording.stack
        self._resources = {recorded.urn: recorded for recorded in recording.resources}
        self._origins = loaded.origins

    def of_violation(self, violation: Violation) -> Place | None:
        """What causes a violation; ``None`` where it is about nothing that is declared."""
        if violation.rule.startswith("budget") and (found := _BUDGET.match(violation.message)):
            return self._nearest(("budgets", found[1]))
        return self._first(violation.urn, _by_rule(violation))

    def of_error(self, error: SchemaError) -> Place | None:
        """What causes a fault of an object; ``None`` where it is about nothing that is declared."""
        return self._first(error.urn, _by_property(error.path))

    def owner_of(self, urn: str) -> Path_ | None:
        """The part of the declaration that a resource was made from; ``None`` outside of the shop's components."""
        recorded = self._resources.get(urn)
        while recorded is not None:
            if (pattern := OWNERS.get(recorded.type)) is not None:
                return tuple(part.format(recorded.name) for part in pattern.split("."))
            recorded = self._resources.get(recorded.parent)
        return None

    def _first(self, urn: str, candidates: Iterator[str]) -> Place | None:
        owner = self.owner_of(urn)
        if owner is None:
            return None
        for text in candidates:
            path = tuple(text[1:].split(".")) if text.startswith("/") else (*owner, *text.split("."))
            if path in self._origins:
                return self._nearest(path)
        return self._nearest(owner)

    def _nearest(self, path: Path_) -> Place | None:
        for length in range(len(path), 0, -1):
            origin = self._origins.get(path[:length])
            if origin is not None and origin.line is not None:
                return Place(origin.file, origin.line, self._written(origin, path[:length]))
        return None

    def _written(self, origin: Origin, path: Path_) -> str:
        """The key path as the file has it."""
        return f"config.cloudmart:{dotted(path)}" if origin.file == stack_file(self._stack) else dotted(path)


def _by_rule(violation: Violation) -> Iterator[str]:
    part = re.search(r"container '(exporter)'", violation.message)
    for rule, says, path in _OF_RULES:
        if re.fullmatch(rule, violation.rule) and (found := re.search(says, violation.message)):
            key = path.format(*found.groups())
            if part and not key.startswith("/"):
                yield f"{part[1]}.{key}"
            yield key


def _by_property(path: str) -> Iterator[str]:
    for pattern, key in _OF_PROPERTIES:
        if found := re.match(pattern, path):
            yield key.format(*found.groups())
