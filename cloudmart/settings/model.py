"""The whole tree: what the catalog says, with a stack's differences merged in."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from cloudmart.settings.base import DnsLabel, FrozenMapping, Image, LabelValue, Model, ProjectName, ServiceName
from cloudmart.settings.data import DataSettings
from cloudmart.settings.kubecost import KubecostSettings
from cloudmart.settings.prices import Budget, PriceSettings
from cloudmart.settings.service import Cluster, CostCenter, External, NamespaceSettings, Service


class TargetKind(StrEnum):
    """What an edge can lead to."""

    SERVICE = "service"
    STORE = "store"
    EXTERNAL = "external"


@dataclass(frozen=True, kw_only=True)
class Edge:
    """`caller` needs `target`. The one source of wiring, network policy and authorization between the two."""

    caller: str
    target: str
    kind: TargetKind


class Declaration(Model):
    """What the YAML files can say; `Settings` adds the stack's name."""

    #: Value of the label `project`, and prefix of cluster-wide names.
    project: ProjectName
    cluster: Cluster
    namespace: NamespaceSettings
    #: The closed registry of who can be billed.
    cost_centers: FrozenMapping[LabelValue, CostCenter]
    #: Stands in for services that have no image yet. It listens on the container port as an unprivileged user and
    #: answers both probe paths.
    placeholder_image: Image
    services: FrozenMapping[ServiceName, Service]
    externals: FrozenMapping[ServiceName, External] = Field(default={}, validate_default=True)
    data: DataSettings
    kubecost: KubecostSettings
    prices: PriceSettings = Field(default_factory=PriceSettings)
    #: What may be spent in a month by cost center, and under `stack` by all of it together.
    budgets: FrozenMapping[LabelValue, Budget] = Field(default={}, validate_default=True)


class Settings(Declaration):
    """One frozen, validated tree: everything that the program, the policies and the prices need to know of a stack."""

    stack: DnsLabel

    @property
    def stores(self) -> dict[str, str]:
        """Names of the stores that exist, each with its cost center."""
        return {
            name: store.cost_center or self.namespace.cost_center
            for name in type(self.data).model_fields
            if (store := getattr(self.data, name)) is not None
        }

    def cost_center_of(self, service: Service) -> str:
        """The code that pays for a service."""
        return service.cost_center or self.namespace.cost_center

    def team_of(self, service: Service) -> str:
        """The team that runs a service."""
        return service.team or self.namespace.team

    @functools.cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every declared edge, in the catalog's order."""
        return tuple(
            Edge(caller=name, target=target, kind=self._kind_of(target))
            for name, service in self.services.items()
            for target in service.needs
        )

    def callers_of(self, target: str) -> tuple[str, ...]:
        """The services that declare a need of `target`, in the catalog's order."""
        return self._callers.get(target, ())

    @functools.cached_property
    def _callers(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for edge in self.edges:
            found.setdefault(edge.target, []).append(edge.caller)
        return {target: tuple(callers) for target, callers in found.items()}

    def _kind_of(self, target: str) -> TargetKind:
        if target in self.services:
            return TargetKind.SERVICE
        return TargetKind.EXTERNAL if target in self.externals else TargetKind.STORE
