"""Every ordered pair of the gateway, each service, each store and outside: allowed if and only if it is declared.

Once by the NetworkPolicies, and apart from them by the mesh's authorization, in every stack and with every combination
of the layers that have a say in it. What else the policies let through (names, metrics, control planes) is not asked.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import permutations
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from cloudmart.preview.recorder import record
from cloudmart.settings import Settings, load, stacks
from cloudmart.settings.mesh import MeshMode
from cloudmart.settings.model import GATEWAY
from tests.conftest import ROOT, copy_project
from tests.evaluators.authorization import Verdict, Workload, decide
from tests.evaluators.authorization_rules import Http, Request, Token
from tests.evaluators.network import Network, Peer, Pod

Json = Any
#: (caller, target, port of the target's pods)
Pair: TypeAlias = tuple[str, str, int]

OUTSIDE = "outside"
_ADDRESS = "203.0.113.7"
#: The gateway's ports for HTTP and for TLS.
_PUBLIC = (8000, 8443)
#: In ambient mode all that goes between two pods of the mesh comes to this port of the other, where NetworkPolicies
#: see it: https://istio.io/latest/docs/ambient/usage/networkpolicy/
HBONE = 15008


#: What is open and not declared, and what is declared and closed.
Differences: TypeAlias = dict[str, list[tuple[Any, ...]]]
EXACT: Differences = {"open": [], "closed": []}


def off_by(found: set[Any], expected: set[Any]) -> Differences:
    """How two sets of pairs differ."""
    return {"open": sorted(found - expected), "closed": sorted(expected - found)}


@dataclass(frozen=True)
class Shop:
    """A stack: what is declared, and the objects that its program makes of that."""

    settings: Settings
    objects: tuple[Json, ...]

    @cached_property
    def network(self) -> Network:
        return Network(self.objects)

    @cached_property
    def security(self) -> list[Json]:
        """The mesh's policies."""
        kinds = ("PeerAuthentication", "RequestAuthentication", "AuthorizationPolicy")
        return [found for found in self.objects if found["kind"] in kinds]

    @cached_property
    def pods(self) -> dict[str, Pod]:
        """A pod of everything that can be one end of an edge in the cluster."""
        found = {}
        for name, party in self.settings.parties.items():
            rendered = [
                replace(pod, name=name)
                for pod in self.network.pods
                if pod.namespace == party.namespace and party.pod_labels.items() <= pod.labels.items()
            ]
            if party.namespace != self.settings.namespace.name:
                # A chart makes the pods; that they have these labels is held with the chart.
                assert not rendered
                rendered = [Pod(name, party.namespace, party.pod_labels, service_account=party.service_account)]
            (found[name],) = rendered
        return found

    @property
    def declared(self) -> set[Pair]:
        """The catalog's edges, and the way from outside to the gateway."""
        edges = {
            (edge.caller, edge.target if edge.target in self.pods else OUTSIDE, edge.port)
            for edge in self.settings.edges
        }
        public = {(OUTSIDE, GATEWAY, port) for port in _PUBLIC}
        return edges | (public if self.settings.gateway.enabled else set())

    def tried(self) -> Iterator[Pair]:
        """Every ordered pair, at every port that anything in the shop listens on."""
        ports = {port for pod in self.pods.values() for _, _, port in pod.ports}
        ports |= {port for _, _, port in self.declared} | {HBONE, 80, 443}
        for caller, target in permutations([*self.pods, OUTSIDE], 2):
            for port in sorted(ports):
                yield caller, target, port

    def is_meshed(self, name: str) -> bool:
        """Whether the mesh has a proxy at a pod, by the label of its namespace and by what the pod says against it."""
        if name == OUTSIDE:
            return False
        pod = self.pods[name]
        (namespace,) = [o for o in self.objects if o["kind"] == "Namespace" and o["metadata"]["name"] == pod.namespace]
        labels = {**namespace["metadata"]["labels"], **pod.labels}
        return (
            labels.get("istio-injection") == "enabled" and labels.get("sidecar.istio.io/inject") != "false"
        ) or labels.get("istio.io/dataplane-mode") == "ambient"


def on_the_wire(shop: Shop, pairs: set[Pair]) -> set[Pair]:
    """Pairs at the ports at which a network plugin sees them."""
    if shop.settings.mesh.mode is not MeshMode.AMBIENT or not shop.settings.mesh.enabled:
        return pairs
    return {
        (caller, target, HBONE if shop.is_meshed(caller) and shop.is_meshed(target) else port)
        for caller, target, port in pairs
    }


def network_off_by(shop: Shop) -> Differences:
    """Where the NetworkPolicies of the caller, or those of the target, are not what is declared.

    Each half has to be exact by itself: a connection needs both, and so either could hide that the other is too wide.
    """
    ends: dict[str, Peer] = {**shop.pods, OUTSIDE: _ADDRESS}
    wanted = on_the_wire(shop, shop.declared)
    # A declared pair of an ambient mesh may be open at its own port as well: there the mesh refuses plain text.
    harmless = shop.declared - wanted
    halves = ((shop.network.lets_out, 0, "leaves"), (shop.network.lets_in, 1, "enters"))
    found = {
        (half, *pair)
        for lets, end, half in halves
        for pair in shop.tried()
        if pair[end] != OUTSIDE and pair not in harmless and lets(ends[pair[0]], ends[pair[1]], pair[2])
    }
    return off_by(found, {(half, *pair) for _, end, half in halves for pair in wanted if pair[end] != OUTSIDE})


def requests(shop: Shop, caller: str, target: str, port: int) -> Iterator[Request]:
    """What a caller could try at a port: where HTTP is spoken every route, with a token and without.

    Who it is to the mesh comes from the pod itself, not from what the settings say of it.
    """
    settings = shop.settings
    principal = None
    if shop.is_meshed(caller):
        pod = shop.pods[caller]
        principal = f"{settings.mesh.trust_domain}/ns/{pod.namespace}/sa/{pod.service_account}"
    service = settings.services.get(target)
    if service is None or port != service.container_port:
        yield Request(port, principal)
        return
    tokens: list[Token | None] = [None]
    if identity := settings.identity:
        tokens.append(Token({"iss": identity.issuer, "sub": "someone", "aud": [*identity.audiences]}))
    for token in tokens:
        for path in ["/", *(route.path for route in service.routes)]:
            yield Request(port, principal, http=Http("GET", path, token=token))


def mesh_off_by(shop: Shop) -> Differences:
    """Where the mesh's authorization is not what is declared of its pods."""
    found = {
        (caller, target, port)
        for caller, target, port in shop.tried()
        if shop.is_meshed(target)
        and any(
            decide(shop.security, request, workload(shop, target)) is Verdict.ALLOWED
            for request in requests(shop, caller, target, port)
        )
    }
    return off_by(found, {pair for pair in shop.declared if shop.is_meshed(pair[1])})


def workload(shop: Shop, name: str) -> Workload:
    """A pod as the mesh knows it."""
    pod = shop.pods[name]
    return Workload(pod.namespace, pod.labels, ambient=shop.settings.mesh.mode is MeshMode.AMBIENT)


_PLATFORM = (ROOT / "components" / "platform.py").read_text()
#: Layers that have a say in who may call whom: each as configuration, and as the module that makes it.
LAYERS: Mapping[str, tuple[Json, str]] = {
    "alone": ({}, ""),
    "gateway": ({"cloudmart:gateway": {"enabled": True}}, "components.gateway"),
    "meshless": ({}, ""),
    "sidecar": ({"cloudmart:mesh": {"enabled": True, "mode": "sidecar"}}, "components.mesh"),
    "ambient": ({"cloudmart:mesh": {"enabled": True, "mode": "ambient"}}, "components.mesh"),
}
Combination: TypeAlias = tuple[str, str, str]
COMBINATIONS: list[Combination] = [
    (stack, gateway, mesh)
    for stack in stacks(ROOT)
    for gateway in ("alone", "gateway")
    for mesh in ("meshless", "sidecar", "ambient")
    if LAYERS[gateway][1] in _PLATFORM and LAYERS[mesh][1] in _PLATFORM
]
MESHED = [combination for combination in COMBINATIONS if combination[2] != "meshless"]
IN_PROD = [combination for combination in COMBINATIONS if combination[0] == "prod"]


Shops: TypeAlias = Callable[[Combination], Shop]


def recorded(combination: Combination, folder: Path) -> Shop:
    """A stack with these layers on and the others of `LAYERS` off, from a copy of the project in a folder."""
    stack, *layers = combination
    off: Json = {"cloudmart:gateway": {"enabled": False}, "cloudmart:mesh": {"enabled": False}}
    project = copy_project(folder)
    for configuration in (off, *(LAYERS[layer][0] for layer in layers)):
        project.config(stack, lambda config, these=configuration: config.update(these))  # type: ignore[misc]
    objects = [found.inputs for found in record(stack, project.root).resources if found.is_kubernetes_object]
    return Shop(load(stack, project.root), tuple(objects))


@pytest.fixture(scope="session")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Shops:
    """Records a combination when it is first asked for."""
    return lru_cache(lambda combination: recorded(combination, tmp_path_factory.mktemp("edges")))


@pytest.mark.parametrize("combination", COMBINATIONS, ids="-".join)
def test_the_network_lets_through_what_is_declared_and_nothing_else(shops: Shops, combination: Combination) -> None:
    assert network_off_by(shops(combination)) == EXACT


@pytest.mark.parametrize("combination", MESHED, ids="-".join)
def test_the_mesh_lets_through_what_is_declared_and_nothing_else(shops: Shops, combination: Combination) -> None:
    shop = shops(combination)
    assert {name for name in shop.pods if not shop.is_meshed(name)} == set()
    assert mesh_off_by(shop) == EXACT


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


def names(shop: Shop, kind: str) -> list[tuple[int, str]]:
    """The policies of a kind in the shop's namespace, by their place among the objects."""
    return [
        (index, found["metadata"]["name"])
        for index, found in enumerate(shop.objects)
        if found["kind"] == kind and found["metadata"]["namespace"] == shop.settings.namespace.name
    ]


def network_peers(policy: Json) -> list[Json]:
    """Every peer of a NetworkPolicy that names pods."""
    rules = [*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])]
    return [peer for rule in rules for peer in [*rule.get("from", []), *rule.get("to", [])] if "podSelector" in peer]


@pytest.mark.parametrize("combination", IN_PROD, ids="-".join)
def test_the_comparison_notices_a_network_policy_that_is_missing_or_too_wide(
    shops: Shops, combination: Combination
) -> None:
    shop = shops(combination)
    parties = {party for pair in shop.declared for party in pair[:2]}
    found = [(index, name) for index, name in names(shop, "NetworkPolicy") if name in parties]
    assert len(found) >= len(shop.pods) - 1, "one each, but for the gateway's"
    for index, name in found:
        assert network_off_by(with_changed(shop, index, None))["closed"], f"{name} is not there"
        for number in range(len(network_peers(shop.objects[index]))):

            def widen(policy: Json, number: int = number) -> None:
                network_peers(policy)[number]["podSelector"] = {}

            wider = with_changed(shop, index, widen)
            assert network_off_by(wider)["open"], f"peer {number} of {name} is everybody"
