"""The whole tree: what the catalog says, with a stack's differences merged in."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import Field, PrivateAttr

from cloudmart.settings.admission import AdmissionSettings
from cloudmart.settings.base import DnsLabel, FrozenMapping, Image, LabelValue, Model, ProjectName, ServiceName
from cloudmart.settings.charts import Chart
from cloudmart.settings.data import DataSettings, Store, StoreMode
from cloudmart.settings.gateway import GatewaySettings
from cloudmart.settings.gitops import GitOpsSettings
from cloudmart.settings.identity import IdentitySettings
from cloudmart.settings.kubecost import KubecostSettings
from cloudmart.settings.layer import Layer
from cloudmart.settings.mesh import MeshMode, MeshSettings
from cloudmart.settings.monitoring import GRAFANA_ADMIN, MonitoringSettings
from cloudmart.settings.operators import OperatorSettings
from cloudmart.settings.prices import Budget, PriceSettings
from cloudmart.settings.rules import Ruling
from cloudmart.settings.secrets import SecretSettings
from cloudmart.settings.service import Cluster, CostCenter, External, NamespaceSettings, Service
from cloudmart.settings.vertical_autoscaling import VerticalAutoscalingSettings

GATEWAY = "gateway"
"""Name of the gateway where it is one end of an edge."""

PROMETHEUS = "prometheus"
"""Name of the monitoring's Prometheus where it is one end of an edge."""

#: Where the gateway's pods answer with their metrics: Kong's status listener.
_GATEWAY_METRICS_PORT = 8100
#: Where the mesh's proxy answers with its own metrics and, merged, those of the pod's container. It takes no part in
#: the mesh: it answers in plain text, and no AuthorizationPolicy holds for it.
PROXY_METRICS_PORT = 15020


class TargetKind(StrEnum):
    """What an edge can lead to."""

    SERVICE = "service"
    STORE = "store"
    EXTERNAL = "external"
    #: A part of the platform, such as the gateway.
    LAYER = "layer"


class Purpose(StrEnum):
    """What an edge is for."""

    #: A request that somebody needs answered.
    CALL = "call"
    #: The monitoring collects metrics, at a port that is not the one for calls.
    SCRAPE = "scrape"


class Protocol(StrEnum):
    """What is spoken on an edge, as far as a proxy in between must know it."""

    HTTP = "http"
    TCP = "tcp"
    #: HTTP within TLS that the caller itself makes.
    HTTPS = "https"


@dataclass(frozen=True, kw_only=True)
class Party:
    """One end of an edge inside the cluster, as policies name it."""

    name: str
    namespace: str
    #: Labels that select its pods within the namespace.
    pod_labels: Mapping[str, str]
    #: The ServiceAccount that its pods run as.
    service_account: str


@dataclass(frozen=True, kw_only=True)
class Edge:
    """`caller` may call `target`: the one source of wiring, network policy and authorization between the two."""

    caller: str
    target: str
    kind: TargetKind
    #: The port that the target's pods (or the external host) listen on.
    port: int
    protocol: Protocol
    #: Who the caller is to the mesh: ``<trust domain>/ns/<namespace>/sa/<account>``, without ``spiffe://``.
    identity: str
    purpose: Purpose = Purpose.CALL


class Declaration(Model):
    """What the YAML files can say; `Settings` adds the stack's name."""

    #: Value of the label `project`, and prefix of cluster-wide names.
    project: ProjectName
    #: The cluster, as far as manifests depend on it.
    cluster: Cluster
    #: The shop's namespace, its owner, and who pays by default.
    namespace: NamespaceSettings
    #: The closed registry of who can be billed.
    cost_centers: FrozenMapping[LabelValue, CostCenter]
    #: Stands in for services that have no image yet. It listens on the container port as an unprivileged user and
    #: answers both probe paths.
    placeholder_image: Image
    #: The microservices, by name.
    services: FrozenMapping[ServiceName, Service]
    #: What services call outside of the cluster, by name.
    externals: FrozenMapping[ServiceName, External] = Field(default={}, validate_default=True)
    data: DataSettings
    kubecost: KubecostSettings
    gateway: GatewaySettings = Field(default_factory=GatewaySettings)
    identity: IdentitySettings | None = None
    mesh: MeshSettings = MeshSettings()
    admission: AdmissionSettings = AdmissionSettings()
    gitops: GitOpsSettings = GitOpsSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    vertical_autoscaling: VerticalAutoscalingSettings = VerticalAutoscalingSettings()
    operators: OperatorSettings = OperatorSettings()
    secrets: SecretSettings = Field(default_factory=SecretSettings)
    prices: PriceSettings = Field(default_factory=PriceSettings)
    #: What may be spent in a month by cost center, and under `stack` by all of it together.
    budgets: FrozenMapping[LabelValue, Budget] = Field(default={}, validate_default=True)


class Settings(Declaration):
    """One frozen, validated tree: everything that the program, the policies and the prices need to know of a stack."""

    stack: DnsLabel
    # Not a field: no YAML file says it.
    _rules: Mapping[str, Ruling] = PrivateAttr(default_factory=dict)

    @property
    def rules(self) -> Mapping[str, Ruling]:
        """The policy pack's rules that admission enforces, by name; none where that layer is off."""
        return self._rules

    def with_rules(self, rules: Mapping[str, Ruling]) -> Settings:
        """The same settings, with these rules."""
        settings = self.model_copy()
        settings._rules = rules
        return settings

    @property
    def stores(self) -> dict[str, str]:
        """Names of the stores that exist, each with its cost center."""
        return {name: store.cost_center or self.namespace.cost_center for name, store in self._stores.items()}

    def cost_center_of(self, service: Service) -> str:
        """The code that pays for a service."""
        return service.cost_center or self.namespace.cost_center

    def team_of(self, service: Service) -> str:
        """The team that runs a service."""
        return service.team or self.namespace.team

    @functools.cached_property
    def parties(self) -> Mapping[str, Party]:
        """Everything inside the cluster that can be one end of an edge, by name."""
        home = self.namespace.name
        found = [
            Party(name=name, namespace=home, pod_labels={"app": name}, service_account=name) for name in self.services
        ]
        found += [
            Party(
                name=name,
                namespace=home,
                pod_labels=store.pod_labels(name),
                service_account=store.service_account(name),
            )
            for name, store in self._stores.items()
            if store.is_inside
        ]
        if self.gateway.enabled:
            found.append(
                Party(
                    name=GATEWAY,
                    namespace=self.gateway.namespace,
                    pod_labels=self.gateway.pod_labels,
                    service_account=self.gateway.service_account,
                )
            )
        if self.monitoring.enabled:
            found.append(
                Party(
                    name=PROMETHEUS,
                    namespace=self.monitoring.namespace,
                    pod_labels=self.monitoring.pod_labels,
                    service_account=self.monitoring.service_account,
                )
            )
        return {party.name: party for party in found}

    @functools.cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every edge: what the gateway routes to, what services need, then what is scraped, in the catalog's order."""
        return tuple(self._edges())

    def _edges(self) -> Iterator[Edge]:
        if self.gateway.enabled:
            for name, service in self.services.items():
                if service.routes:
                    yield self._edge(GATEWAY, name)
        for name, service in self.services.items():
            for target in service.needs:
                yield self._edge(name, target)
        if self.monitoring.enabled:
            yield from self._scrapes()

    def _scrapes(self) -> Iterator[Edge]:
        proxies = self.mesh.enabled and self.mesh.mode is MeshMode.SIDECAR
        for name, service in self.services.items():
            if (port := PROXY_METRICS_PORT if proxies else service.metrics_port) is not None:
                yield self._scrape(name, TargetKind.SERVICE, port)
        for name, store in self._stores.items():
            # Pods that an operator makes are not all in the mesh.
            proxied = proxies and store.mode is StoreMode.SINGLE
            if store.is_inside and (port := PROXY_METRICS_PORT if proxied else store.scrape_port) is not None:
                yield self._scrape(name, TargetKind.STORE, port)
        if self.gateway.enabled:
            yield self._scrape(GATEWAY, TargetKind.LAYER, _GATEWAY_METRICS_PORT)

    def _scrape(self, target: str, kind: TargetKind, port: int) -> Edge:
        return Edge(
            caller=PROMETHEUS,
            target=target,
            kind=kind,
            port=port,
            protocol=Protocol.HTTP,
            identity=self.identity_of(self.parties[PROMETHEUS]),
            purpose=Purpose.SCRAPE,
        )

    def _edge(self, caller: str, target: str) -> Edge:
        if target in self.services:
            kind, port, protocol = TargetKind.SERVICE, self.services[target].container_port, Protocol.HTTP
        elif target in self.externals:
            external = self.externals[target]
            kind, port, protocol = TargetKind.EXTERNAL, external.port, Protocol(external.scheme)
        else:
            kind, port, protocol = TargetKind.STORE, self._stores[target].client_port, Protocol.TCP
        return Edge(
            caller=caller,
            target=target,
            kind=kind,
            port=port,
            protocol=protocol,
            identity=self.identity_of(self.parties[caller]),
        )

    def identity_of(self, party: Party) -> str:
        """Who a party is to the mesh: its SPIFFE identity without the scheme."""
        return f"{self.mesh.trust_domain}/ns/{party.namespace}/sa/{party.service_account}"

    def needs_of(self, caller: str) -> tuple[Edge, ...]:
        """The edges that start at `caller`."""
        return tuple(edge for edge in self.edges if edge.caller == caller)

    def callers_of(self, target: str) -> tuple[str, ...]:
        """The names of those that may call `target`, in the order of `edges`."""
        return self._callers.get(target, ())

    def scrapes_of(self, target: str) -> tuple[Edge, ...]:
        """The edges over which the metrics of `target` are collected."""
        return tuple(edge for edge in self.edges if edge.target == target and edge.purpose is Purpose.SCRAPE)

    @functools.cached_property
    def _callers(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for edge in self.edges:
            if edge.purpose is Purpose.CALL:
                found.setdefault(edge.target, []).append(edge.caller)
        return {target: tuple(callers) for target, callers in found.items()}

    @functools.cached_property
    def _stores(self) -> dict[str, Store]:
        return {name: store for name in type(self.data).model_fields if (store := getattr(self.data, name)) is not None}

    @functools.cached_property
    def passwords(self) -> Mapping[str, str]:
        """Every password that is generated, or kept where External Secrets finds it, by name, with whose it is: a
        store, or ``monitoring``."""
        found = self._passwords(self._stores)
        return {**found, GRAFANA_ADMIN: "monitoring"} if self.monitoring.enabled else found

    @property
    def possible_passwords(self) -> frozenset[str]:
        """Those, and the ones that would be generated if a store ran in another mode or a layer were on."""
        modes = (StoreMode.SINGLE, StoreMode.OPERATOR)
        others = [
            self._passwords({name: store.model_copy(update={"mode": mode}) for name, store in self._stores.items()})
            for mode in modes
        ]
        return frozenset({GRAFANA_ADMIN}.union(*others))

    def _passwords(self, stores: Mapping[str, Store]) -> dict[str, str]:
        # Not from the edges: a need that leads nowhere is an error, which this must not come before.
        needs = {service: of.needs for service, of in self.services.items()}
        return {
            password: name
            for name, store in stores.items()
            for password in store.passwords(
                name,
                [service for service, of in needs.items() if name in of],
                managed=self.secrets.external is not None,
            )
        }

    @property
    def charts(self) -> Mapping[str, Chart]:
        """Every chart that is installed, by the configuration key of its source: ``gateway.chart``, ``mesh.istiod``."""
        return {
            f"{key}.{source}": chart
            for key, layer in {**self.layers, **self.guests}.items()
            for source, chart in layer.charts.items()
        }

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The layers that are on, by their configuration key."""
        declared: dict[str, Layer] = {
            "kubecost": self.kubecost,
            "mesh": self.mesh,
            "gateway": self.gateway,
            "admission": self.admission,
            "gitops": self.gitops,
            "monitoring": self.monitoring,
            "verticalAutoscaling": self.vertical_autoscaling,
        }
        on = {"enabled": True}
        postgres, kafka = self.data.postgres, self.data.kafka
        if postgres and postgres.mode is StoreMode.OPERATOR:
            declared["operators.cloudnativePg"] = self.operators.cloudnative_pg.model_copy(update=on)
        if kafka and kafka.mode is StoreMode.OPERATOR:
            declared["operators.strimzi"] = self.operators.strimzi.model_copy(update=on)
        return {key: layer for key, layer in declared.items() if layer.enabled}

    @property
    def guests(self) -> Mapping[str, Layer]:
        """Charts of stores in mode `operator` that have no namespace of their own, by their configuration key."""
        found: dict[str, Layer] = {}
        postgres, redis = self.data.postgres, self.data.redis
        if postgres and postgres.mode is StoreMode.OPERATOR and (backup := postgres.cluster.backup):
            found["data.postgres.cluster.backup"] = backup.layer(self.operators.cloudnative_pg.namespace)
        if redis and redis.mode is StoreMode.OPERATOR:
            found["data.redis.cluster"] = redis.layer(self.namespace.name)
        return found

    @staticmethod
    def without(layer: str) -> dict[str, Any]:
        """What a stack's configuration has to say for a layer to be off, by the layer's key: a store runs without its
        operator, then."""
        single = {"mode": StoreMode.SINGLE.value}
        off: dict[str, dict[str, Any]] = {
            "operators.cloudnativePg": {"data": {"postgres": single}},
            "operators.strimzi": {"data": {"kafka": single}},
            "data.redis.cluster": {"data": {"redis": single}},
            "data.postgres.cluster.backup": {"data": {"postgres": {"cluster": {"backup": None}}}},
        }
        if layer in off:
            return off[layer]
        found: dict[str, Any] = {"enabled": False}
        for step in reversed(layer.split(".")):
            found = {step: found}
        return found

    @staticmethod
    def switch(layer: str) -> str:
        """For people, the key and value of a stack's configuration that turn a layer off: ``cloudmart:kubecost.enabled
        to false``."""
        here: Any = Settings.without(layer)
        steps = []
        while isinstance(here, dict):
            ((step, here),) = here.items()
            steps.append(step)
        return f"cloudmart:{'.'.join(steps)} to {json.dumps(here)}"
