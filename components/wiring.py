"""Turns the declared edges into connections, so that nothing about an edge is written twice."""

from __future__ import annotations

from collections.abc import Mapping

from cloudmart.settings import Settings, TargetKind
from components.connection import Connection

SERVICE_PORT = 80


def variable(name: str, suffix: str) -> str:
    """``payment-api`` and ``URL`` make ``PAYMENT_API_URL``."""
    return f"{name.replace('-', '_').upper()}_{suffix}"


def service_connection(settings: Settings, name: str) -> Connection:
    """How to reach a service of the shop: its URL through its Service, its pods for the network policy."""
    return Connection(
        env={variable(name, "URL"): f"http://{name}:{SERVICE_PORT}"},
        secret_env={},
        host=name,
        port=settings.services[name].container_port,
        pod_selector={"app": name},
    )


def external_connection(settings: Settings, name: str) -> Connection:
    """How to reach something outside the cluster."""
    external = settings.externals[name]
    return Connection(
        env={variable(name, "URL"): f"{external.scheme}://{external.host}:{external.port}"},
        secret_env={},
        host=external.host,
        port=external.port,
        pod_selector=None,
        cidrs=external.cidrs,
    )


def connections(settings: Settings, stores: Mapping[tuple[str, str], Connection]) -> dict[str, list[Connection]]:
    """Each service's connections, in the order in which it declares its needs; `stores` by store and caller."""
    made: dict[str, list[Connection]] = {name: [] for name in settings.services}
    for edge in settings.edges:
        if edge.caller not in made:
            continue  # the gateway is wired by its routes
        match edge.kind:
            case TargetKind.SERVICE:
                connection = service_connection(settings, edge.target)
            case TargetKind.STORE:
                connection = stores[edge.target, edge.caller]
            case TargetKind.EXTERNAL:
                connection = external_connection(settings, edge.target)
        made[edge.caller].append(connection)
    return made
