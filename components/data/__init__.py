"""The data layer: PostgreSQL, Redis and Kafka."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pulumi

from cloudmart.settings import Party
from cloudmart.settings.data import DataSettings, Store, StoreMode
from cloudmart.settings.secrets import SecretSettings
from components.connection import Connection
from components.data.kafka import Kafka
from components.data.postgres import Postgres
from components.data.redis import Redis
from components.data.store import OperatorArgs, StoreArgs, StoreComponent
from components.labels import Labels

__all__ = ["DataLayer", "DataLayerArgs", "Kafka", "OperatorArgs", "Postgres", "Redis", "connections_of"]

#: The class of each store, by its name in the settings.
_STORES: dict[str, type[StoreComponent[Any]]] = {"postgres": Postgres, "redis": Redis, "kafka": Kafka}


@dataclass(frozen=True, kw_only=True)
class DataLayerArgs:
    """The stores' settings, and what the rest of the program wires to them."""

    settings: DataSettings
    namespace: pulumi.Input[str]
    #: Of the shop: whose the stores are, and who pays for those that name no cost center of their own.
    labels: Labels
    #: By store: the services that declare a need of it.
    callers: Mapping[str, Sequence[Party]]
    #: The namespace's name as the settings have it.
    home: str
    #: By store: who may scrape its metrics, and at which port.
    scrapers: Mapping[str, Sequence[tuple[Party, int]]] = field(default_factory=dict)
    #: Ports between pods of the mesh besides their own; see `network.mesh_ports`.
    mesh_ports: Sequence[int] = ()
    #: By store: annotations of its pods, for others that read them.
    pod_annotations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    secrets: SecretSettings = field(default_factory=SecretSettings)
    #: The stores' priority. Without one they are the first to go when a node is full, and all services with them.
    priority_class: pulumi.Input[str] | None = None
    #: By store in mode `operator`.
    operators: Mapping[str, OperatorArgs] = field(default_factory=dict)
    #: What stands before their first pod does. Their other objects do not wait for that.
    guards: Sequence[pulumi.Resource] = ()


class DataLayer(pulumi.ComponentResource):
    """``cloudmart:data:DataLayer``: a ``Postgres``, ``Redis`` and ``Kafka`` component for each store that is declared.

    The password of a store in mode `external` is the secret configuration value ``<store>Password``, unless passwords
    come from External Secrets.
    """

    #: By store: what its consumers need to know.
    connections: Mapping[str, Connection]
    #: By store and caller: the same, with the caller's own credentials where it has some.
    connections_of_callers: Mapping[tuple[str, str], Connection]
    #: By store: what its objects carry.
    labels: Mapping[str, Labels]
    #: By store: ``host:port``.
    endpoints: Mapping[str, pulumi.Output[str]]

    def __init__(self, name: str, args: DataLayerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:data:DataLayer", name, None, opts)
        stores: dict[str, StoreComponent[Any]] = {}
        for store, settings in _declared(args.settings).items():
            external = settings.mode is StoreMode.EXTERNAL
            stores[store] = _STORES[store](
                store,
                StoreArgs(
                    settings=settings,
                    namespace=args.namespace,
                    labels=replace(
                        args.labels,
                        tier="data",
                        # Of this way to run the store, not of its image: it also stands on the claim template, which
                        # cannot change.
                        version="v1",
                        cost_center=settings.cost_center or args.labels.cost_center,
                    ),
                    callers=args.callers.get(store, ()),
                    home=args.home,
                    scrapers=args.scrapers.get(store, ()),
                    mesh_ports=args.mesh_ports,
                    pod_annotations=args.pod_annotations.get(store, {}),
                    password=pulumi.Config().require_secret(f"{store}Password")
                    if external and args.secrets.external is None
                    else None,
                    secrets=args.secrets,
                    priority_class=args.priority_class,
                    operator=args.operators.get(store),
                    guards=args.guards,
                ),
                pulumi.ResourceOptions(parent=self),
            )
        self.connections = {store: component.connection for store, component in stores.items()}
        self.connections_of_callers = {
            (store, caller): connection
            for store, component in stores.items()
            for caller, connection in component.connections.items()
        }
        self.labels = {store: component.labels for store, component in stores.items()}
        self.endpoints = {store: component.endpoint for store, component in stores.items()}
        self.register_outputs({"endpoints": dict(self.endpoints)})


def connections_of(settings: DataSettings) -> dict[str, Connection]:
    """The plain part of every store's connection, from the settings alone: no resource is made."""
    return {store: _STORES[store].connection_of(store, of) for store, of in _declared(settings).items()}


def _declared(settings: DataSettings) -> dict[str, Store]:
    return {store: of for store in _STORES if (of := getattr(settings, store)) is not None}
