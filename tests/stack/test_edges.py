"""Every ordered pair of the gateway, each service, each store and outside: allowed if and only if it is declared.

Once by the NetworkPolicies, and apart from them by the mesh's authorization, in every stack and with every combination
of the layers that have a say in it. What else the policies let through (names, metrics, control planes) is not asked.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from cloudmart.preview.recorder import record
from cloudmart.settings import load, stacks
from cloudmart.settings.data import StoreMode
from cloudmart.settings.model import GATEWAY, PROMETHEUS
from cloudmart.settings.service import Route, RouteAuth
from tests.conftest import ROOT, copy_project
from tests.evaluators.authorization import Verdict, decide
from tests.evaluators.authorization_rules import Http, Request, Token
from tests.evaluators.network import matches
from tests.stack.pairs import EXACT, HBONE, Shop, mesh_off_by, network_off_by, tokens

Json = Any
#: A stack, and a layer of each kind that has a say in who may call whom.
Combination: TypeAlias = tuple[str, str, str, str]

_GATEWAY, _MESH, _DATA = "cloudmart:gateway", "cloudmart:mesh", "cloudmart:data"
LAYERS: Mapping[str, Json] = {
    "alone": {_GATEWAY: {"enabled": False}},
    "gateway": {_GATEWAY: {"enabled": True}},
    "meshless": {_MESH: {"enabled": False}},
    "sidecar": {_MESH: {"enabled": True, "mode": "sidecar"}},
    "ambient": {_MESH: {"enabled": True, "mode": "ambient"}},
    "single": {_DATA: {store: {"mode": "single"} for store in ("postgres", "redis", "kafka")}},
    "operator": {_DATA: {store: {"mode": "operator"} for store in ("postgres", "redis", "kafka")}},
}
_STACKS, _DATA_MODES = stacks(ROOT), ("single", "operator")
_WAYS = list(product(("alone", "gateway"), ("meshless", "sidecar", "ambient")))
EVERY: list[Combination] = [(stack, *way, data) for way in _WAYS for stack in _STACKS for data in _DATA_MODES]
#: Every way once, in turns of the stack and of the stores' mode; with the others it takes more time than it tells.
_FAST = [
    (_STACKS[number % len(_STACKS)], *way, _DATA_MODES[(number + number // 3) % 2]) for number, way in enumerate(_WAYS)
]


def of(chosen: Callable[[Combination], bool]) -> pytest.MarkDecorator:
    """Runs a test in some of the combinations, those of `_FAST` with the fast tests."""
    marked = [
        pytest.param(found, marks=[] if found in _FAST else [pytest.mark.slow], id="-".join(found))
        for found in EVERY
        if chosen(found)
    ]
    return pytest.mark.parametrize("shop", marked, indirect=True, scope="session")


every = of(lambda found: True)
meshed = of(lambda found: found[2] != "meshless")
#: Where the comparisons are tried out themselves.
_BUSIEST = [found for found in _FAST if found[1] == "gateway" and found[2] != "meshless"]
busiest = of(_BUSIEST.__contains__)
#: The mesh's comparison takes a second for each mode.
one_mode_first = pytest.mark.parametrize(
    "shop",
    [pytest.param(found, marks=[pytest.mark.slow] * bool(n), id="-".join(found)) for n, found in enumerate(_BUSIEST)],
    indirect=True,
    scope="session",
)


def put(into: Json, changes: Json) -> None:
    """Changes what is there, at every depth."""
    for key, value in changes.items():
        if isinstance(value, dict):
            put(into.setdefault(key, {}), value)
        else:
            into[key] = value


def recorded(combination: Combination, folder: Path, routes: Json = None) -> Shop:
    """A stack with these layers, and user-service with other routes if need be, from a copy of the project."""
    stack, *layers = combination
    project = copy_project(folder, program=False)
    for layer in layers:
        project.config(stack, lambda config, layer=layer: put(config, LAYERS[layer]))  # type: ignore[misc]
    if routes is not None:
        project.catalog(lambda catalog: catalog["services"]["user-service"].update(routes=routes))
    objects = [found.inputs for found in record(stack, project.root).resources if found.is_kubernetes_object]
    return Shop(load(stack, project.root), tuple(objects))


@pytest.fixture(scope="session")
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A stack with a combination of layers."""
    return recorded(request.param, tmp_path_factory.mktemp("edges"))


@every
def test_the_network_lets_through_what_is_declared_and_nothing_else(shop: Shop) -> None:
    assert network_off_by(shop) == EXACT


@meshed
def test_the_mesh_lets_through_what_is_declared_and_nothing_else(shop: Shop) -> None:
    outside_the_mesh = {name for name in shop.pods if not shop.is_meshed(name)} - {PROMETHEUS}
    # A node's proxy can leave out no port of a pod, and an operator that is not in the mesh must reach its brokers.
    operated = shop.is_ambient and shop.settings.data.kafka and shop.settings.data.kafka.mode is StoreMode.OPERATOR
    assert outside_the_mesh == ({"kafka"} if operated else set())
    assert mesh_off_by(shop) == EXACT


@meshed
def test_services_call_each_other_as_they_like_with_a_users_token_or_without(shop: Shop) -> None:
    for edge in shop.settings.edges:
        if edge.target in shop.settings.services and edge.caller in shop.settings.services:
            for token in tokens(shop):
                request = Request(edge.port, shop.principal(edge.caller), http=Http("DELETE", "/any", token=token))
                assert decide(shop.security, request, shop.workloads[edge.target]) is Verdict.ALLOWED


@meshed
def test_plain_text_is_refused_before_anybody_asks_who_sent_it(shop: Shop) -> None:
    for edge in shop.settings.edges:
        if edge.target in shop.pods and shop.is_meshed(edge.caller):
            for to in (shop.workloads[edge.target], replace(shop.workloads[edge.target], waypoint=None)):
                assert decide(shop.security, Request(edge.port, None), to) is Verdict.NO_MUTUAL_TLS


#: A path below another asks for more, or for less; one is for some methods only.
ROUTES: list[Json] = [
    {"path": "/users", "auth": "jwt"},
    {"path": "/users/login", "methods": ["POST"], "auth": "anonymous"},
    {"path": "/status", "auth": "anonymous"},
    {"path": "/status/private", "methods": ["GET", "PUT"], "auth": "jwt"},
]


def route_of(routes: tuple[Route, ...], method: str, path: str) -> Route | None:
    """The one that a gateway takes: the longest that fits."""
    fitting = [
        route
        for route in routes
        if f"{path}/".startswith(f"{route.path.rstrip('/')}/") and (not route.methods or method in route.methods)
    ]
    return max(fitting, key=lambda route: len(route.path), default=None)


@pytest.mark.parametrize("mesh", ["sidecar", "ambient"])
def test_the_gateway_may_ask_what_the_routes_say_and_with_a_token_where_they_want_one(
    mesh: str, tmp_path: Path
) -> None:
    shop = recorded(("dev", "gateway", mesh, "single"), tmp_path, ROUTES)
    service = shop.settings.services["user-service"]
    (no_token, good) = tokens(shop)
    assert good is not None
    bad = Token({**good.claims, "iss": "https://elsewhere.example.com"})
    paths = [f"{route['path']}{more}" for route in ROUTES for more in ("", "/", "/more", "-like")]
    found, expected = {}, {}
    for method in ("GET", "POST", "PUT"):
        for path in ["/", "/none", *paths]:
            route = route_of(service.routes, method, path)
            for name, token in (("none", no_token), ("good", good), ("bad", bad)):
                key = (method, path, name)
                request = Request(service.container_port, shop.principal(GATEWAY), http=Http(method, path, token=token))
                found[key] = decide(shop.security, request, shop.workloads["user-service"])
                allowed = route is not None and (route.auth is RouteAuth.ANONYMOUS or name == "good")
                expected[key] = Verdict.ALLOWED if allowed else Verdict.DENIED
                if name == "bad":
                    expected[key] = Verdict.INVALID_TOKEN
    assert found == expected


# --- The comparisons can fail ----------------------------------------------------------------------------------------


def with_changed(shop: Shop, index: int, change: Callable[[Json], object] | None) -> Shop:
    """The stack with one object changed, or without it."""
    objects = list(shop.objects)
    if change is None:
        del objects[index]
    else:
        objects[index] = copy.deepcopy(objects[index])
        change(objects[index])
    return Shop(shop.settings, tuple(objects))


def at_home(shop: Shop, kind: str) -> list[tuple[int, str]]:
    """The policies of a kind in the shop's namespace: their places among the objects, and names."""
    return [
        (index, found["metadata"]["name"])
        for index, found in enumerate(shop.objects)
        if found["kind"] == kind and found["metadata"]["namespace"] == shop.settings.namespace.name
    ]


def peers_of_edges(shop: Shop, policy: Json) -> list[Json]:
    """The peers of a NetworkPolicy that are ends of edges: for pods that have some, at ports that edges lead to."""
    selector, ports = policy["spec"]["podSelector"], {HBONE, *(port for _, _, port in shop.declared)}
    if not selector or not any(matches(selector, pod.labels) for pod in shop.pods.values()):
        return []
    return [
        peer
        for rule in [*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])]
        if ports & {port["port"] for port in rule["ports"]}
        for peer in [*rule.get("from", []), *rule.get("to", [])]
        if "podSelector" in peer
    ]


@busiest
def test_without_a_network_policy_its_edges_are_closed_and_with_a_wider_one_others_are_open(shop: Shop) -> None:
    changed = 0
    for index, name in at_home(shop, "NetworkPolicy"):
        peers = len(peers_of_edges(shop, shop.objects[index]))
        if peers:
            without = network_off_by(with_changed(shop, index, None))
            assert without["closed"], f"{name} is not there"
            assert not without["open"], f"{name} is not there, and denial is no longer the default"
        for number in range(peers):

            def widen(policy: Json, number: int = number) -> None:
                peer = peers_of_edges(shop, policy)[number]
                peer.clear()
                peer["namespaceSelector"] = {}

            wider = with_changed(shop, index, widen)
            assert network_off_by(wider)["open"], f"peer {number} of {name} is everybody"
            changed += 1
    edges = [e for e in shop.settings.edges if e.caller in shop.settings.services and e.target in shop.pods]
    assert changed >= 2 * len(edges)


def sources(policy: Json) -> list[Json]:
    """Every source of an AuthorizationPolicy."""
    return [each["source"] for rule in policy["spec"].get("rules", []) for each in rule.get("from", [])]


@one_mode_first
def test_without_an_authorization_policy_its_edge_is_closed_and_with_a_wider_one_others_are_open(shop: Shop) -> None:
    changed = 0
    for index, name in at_home(shop, "AuthorizationPolicy"):
        found = len(sources(shop.objects[index]))
        if found:
            without = mesh_off_by(with_changed(shop, index, None))
            assert without["closed"], f"{name} is not there"
            assert not without["open"], f"{name} is not there, and denial is no longer the default"
        for number in range(found):

            def widen(policy: Json, number: int = number) -> None:
                sources(policy)[number].clear()

            wider = with_changed(shop, index, widen)
            assert mesh_off_by(wider)["open"], f"source {number} of {name} is everybody"
            changed += 1
    assert changed >= len([e for e in shop.settings.edges if e.target in shop.pods and shop.is_meshed(e.caller)])


def test_a_variable_that_a_service_declares_itself_counts_before_that_of_its_edge() -> None:
    own = {"DB_HOST": "elsewhere", "SERVICE_NAME": "users", "DB_PASSWORD": "asked-for-at-start"}
    recording = record("dev", ROOT, overrides={"cloudmart:services": {"user-service": {"env": own}}})
    inputs = {(one.kind, one.object_name): one.inputs for one in recording.resources}
    (container,) = inputs["Deployment", "user-service"]["spec"]["template"]["spec"]["containers"]
    assert not {one["name"] for one in container["env"]} & own.keys()
    assert {"DB_PORT", "DB_USER"} <= {one["name"] for one in container["env"]}
    assert inputs["ConfigMap", container["envFrom"][0]["configMapRef"]["name"]]["data"].items() >= own.items()
