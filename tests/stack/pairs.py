"""Who reaches whom in a stack, worked out twice from its objects, and how that differs from what is declared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from typing import Any, TypeAlias

from cloudmart.settings import Settings
from cloudmart.settings.data import StoreMode
from cloudmart.settings.model import GATEWAY, PROMETHEUS
from tests.evaluators.authorization import Verdict, Waypoint, Workload, decide
from tests.evaluators.authorization_rules import Http, Request, Token
from tests.evaluators.network import Network, Peer, Pod, matches

Json = Any
#: (caller, target, port of the target's pods)
Pair: TypeAlias = tuple[str, str, int]

OUTSIDE = "outside"
WAYPOINT = "waypoint"
_ADDRESS = "203.0.113.7"
#: In ambient mode all that goes between two pods of the mesh comes to this port of the other, where NetworkPolicies
#: see it: https://istio.io/latest/docs/ambient/usage/networkpolicy/
HBONE = 15008
#: Ports of a sidecar itself; it does not judge who comes to them:
#: https://istio.io/latest/docs/ops/deployment/application-requirements/
SIDECARS_OWN = (15020, 15021, 15090)

#: Labels that operators put on pods by themselves, as far as the shop's policies ask for them: of the pods that clients
#: connect to, and of those behind them.
_OPERATORS_LABELS = {"kafka": {"strimzi.io/name": "kafka-kafka", "strimzi.io/kind": "Kafka"}}
_INNER_LABELS = {
    "postgres": {"cnpg.io/cluster": "postgres", "cnpg.io/podRole": "instance", "cnpg.io/instanceRole": "primary"},
    "redis": {"app": "redis", "release": "redis"},
    "kafka": {"strimzi.io/cluster": "kafka", "strimzi.io/name": "kafka-kafka-exporter"},
}

#: What is open and not declared, and what is declared and closed.
Differences: TypeAlias = dict[str, list[tuple[Any, ...]]]
EXACT: Differences = {"open": [], "closed": []}


def off_by(found: set[Any], expected: set[Any]) -> Differences:
    """How two sets differ."""
    return {"open": sorted(found - expected), "closed": sorted(expected - found)}


@dataclass(frozen=True)
class Shop:
    """A stack: what is declared, and the objects that its program makes of that."""

    settings: Settings
    objects: tuple[Json, ...]

    def of(self, *kinds: str) -> list[Json]:
        """The objects of some kinds."""
        return [found for found in self.objects if found["kind"] in kinds]

    @cached_property
    def network(self) -> Network:
        return Network(self.objects)

    @cached_property
    def security(self) -> list[Json]:
        return self.of("PeerAuthentication", "RequestAuthentication", "AuthorizationPolicy")

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
            if not rendered and (party.namespace != self.settings.namespace.name or name in self._operated):
                # A chart or an operator makes the pods; that they have the party's labels is held with those.
                labels = {**self._asked_for(name), **party.pod_labels, **_OPERATORS_LABELS.get(name, {})}
                rendered = [Pod(name, party.namespace, labels, service_account=party.service_account)]
            (found[name],) = rendered
        return found

    @cached_property
    def inner_pods(self) -> dict[str, Pod]:
        """Pods of stores in mode `operator` behind those that clients connect to."""
        home = self.settings.namespace.name
        return {
            f"{name} within": Pod(name, home, _INNER_LABELS[name]) for name in self._operated & _INNER_LABELS.keys()
        }

    def _asked_for(self, store: str) -> Json:
        """Labels that a store's custom object asks of its operator for the pods that clients connect to."""
        if store == "kafka" and (found := self.of("Kafka")):
            return found[0]["spec"]["kafka"]["template"]["pod"]["metadata"]["labels"]
        if store == "postgres" and (found := self.of("Pooler")):
            return found[0]["spec"]["template"]["metadata"]["labels"]
        return {}

    @property
    def _operated(self) -> set[str]:
        return {name for name in self.settings.stores if getattr(self.settings.data, name).mode is StoreMode.OPERATOR}

    @cached_property
    def declared(self) -> set[Pair]:
        """The catalog's edges, and the way from outside to the gateway."""
        found = {(e.caller, e.target if e.target in self.pods else OUTSIDE, e.port) for e in self.settings.edges}
        if self.settings.gateway.enabled:
            found.add((OUTSIDE, GATEWAY, 8443 if self.settings.gateway.tls else 8000))
        return found

    @cached_property
    def tried(self) -> list[Pair]:
        """Every ordered pair, at every port that anything in the shop listens on, and at some where nothing does."""
        ports = {port for pod in self.pods.values() for _, _, port in pod.ports}
        ports |= {port for _, _, port in self.declared} | {80, 443, HBONE, *SIDECARS_OWN}
        return [
            (caller, target, port)
            for caller, target in permutations([*self.pods, OUTSIDE], 2)
            # Prometheus scrapes the cluster itself too, and that is not a matter of edges.
            if {caller, target} != {PROMETHEUS, OUTSIDE}
            for port in sorted(ports)
        ]

    # --- the mesh ---

    @property
    def is_ambient(self) -> bool:
        return self.settings.mesh.enabled and self.settings.mesh.is_ambient

    def is_meshed(self, name: str) -> bool:
        """Whether the mesh has a proxy at a pod, by the label of its namespace and by what the pod says against it."""
        return name in self._meshed

    @cached_property
    def _meshed(self) -> set[str]:
        found = set()
        for name, pod in self.pods.items():
            labels = {**self._namespace(pod.namespace), **pod.labels}
            injected = labels.get("istio-injection") == "enabled" and labels.get("sidecar.istio.io/inject") != "false"
            if injected or labels.get("istio.io/dataplane-mode") == "ambient":
                found.add(name)
        return found

    def principal(self, name: str) -> str | None:
        """Who a caller is to the mesh: by its own pod, and not by what the settings say of it."""
        if not self.is_meshed(name):
            return None
        pod = self.pods[name]
        return f"{self.settings.mesh.trust_domain}/ns/{pod.namespace}/sa/{pod.service_account}"

    @cached_property
    def workloads(self) -> dict[str, Workload]:
        """The pods as the mesh knows them."""
        return {
            name: Workload(
                pod.namespace, pod.labels, self.is_ambient, self.waypoint(name) if self.is_ambient else None, name
            )
            for name, pod in self.pods.items()
        }

    def waypoint(self, name: str) -> Waypoint | None:
        """The waypoint that requests to a pod's Service pass: its Service names one, or its namespace."""
        pod = self.pods[name]
        labels = dict(self._namespace(pod.namespace))
        for service in self.of("Service"):
            selector = service["spec"].get("selector")
            here = service["metadata"]["namespace"] == pod.namespace
            if here and selector and matches({"matchLabels": selector}, pod.labels):
                labels |= service["metadata"]["labels"]
        named = labels.get("istio.io/use-waypoint", "none")
        if named == "none":
            return None
        (gateway,) = [g for g in self.of("Gateway") if g["metadata"]["name"] == named]
        assert gateway["spec"]["gatewayClassName"] == "istio-waypoint"
        namespace = gateway["metadata"]["namespace"]
        # Istio makes a service account of the Gateway's name.
        return Waypoint(named, namespace, f"{self.settings.mesh.trust_domain}/ns/{namespace}/sa/{named}")

    def _namespace(self, name: str) -> Json:
        (found,) = [o for o in self.of("Namespace") if o["metadata"]["name"] == name]
        return found["metadata"]["labels"]


def network_off_by(shop: Shop) -> Differences:
    """Where the NetworkPolicies of the caller, or those of the target, are not what is declared.

    Each half has to be exact by itself: a connection needs both, and so either could hide that the other is too wide.
    """
    ends: dict[str, Peer] = {**shop.pods, OUTSIDE: _ADDRESS}
    wanted = {hop for pair in shop.declared for hop in _hops(shop, pair)}
    harmless = set()
    if shop.is_ambient:
        # A declared pair may be open at both ports: at its own the mesh refuses plain text, and at the other nobody
        # listens who is not in the mesh. Behind a waypoint the workload takes nothing but what comes from there.
        harmless = {(caller, target, at) for caller, target, port in shop.declared for at in (port, HBONE)} - wanted
    tried = set(shop.tried) - harmless
    if hops := {end for pair in wanted for end in pair[:2]} - ends.keys():
        (name,) = hops
        (gateway,) = [found for found in shop.of("Gateway") if found["metadata"]["name"] == name]
        labels = {**gateway["spec"]["infrastructure"]["labels"], "gateway.networking.k8s.io/gateway-name": name}
        ends[name] = Pod(name, gateway["metadata"]["namespace"], labels)
        tried |= {pair for end in shop.pods for pair in ((end, name, HBONE), (name, end, HBONE))}
    # Nobody goes past what a store shows to its clients.
    ends |= shop.inner_pods
    strangers = {*shop.settings.services, GATEWAY, OUTSIDE}
    tried |= {(caller, inner, port) for caller, _, port in tried for inner in shop.inner_pods if caller in strangers}
    halves = ((shop.network.lets_out, 0, "leaves"), (shop.network.lets_in, 1, "enters"))
    found = {
        (half, *pair)
        for lets, end, half in halves
        for pair in tried | wanted
        # Prometheus goes to the API server as well, which no selector and no address names in every cluster.
        if pair[end] != OUTSIDE
        and (half, pair[0], pair[2]) != ("leaves", PROMETHEUS, 443)
        and lets(ends[pair[0]], ends[pair[1]], pair[2])
    }
    return off_by(found, {(half, *pair) for _, end, half in halves for pair in wanted if pair[end] != OUTSIDE})


def _hops(shop: Shop, pair: Pair) -> list[Pair]:
    """What a network plugin sees of a pair."""
    caller, target, _ = pair
    if not (shop.is_ambient and shop.is_meshed(caller) and shop.is_meshed(target)):
        return [pair]
    if waypoint := shop.workloads[target].waypoint:
        return [(caller, waypoint.name, HBONE), (waypoint.name, target, HBONE)]
    return [(caller, target, HBONE)]


def mesh_off_by(shop: Shop) -> Differences:
    """Where the mesh's authorization is not what is declared of its pods."""
    judged = {
        pair for pair in shop.tried if shop.is_meshed(pair[1]) and (shop.is_ambient or pair[2] not in SIDECARS_OWN)
    }
    found = {pair for pair in judged if any(comes_through(shop, pair[1], request) for request in requests(shop, pair))}
    expected = shop.declared & judged
    # To the mesh all who have no identity are the same, outside or in; it takes the NetworkPolicies to tell them apart.
    nobody = {OUTSIDE, *(name for name in shop.pods if not shop.is_meshed(name))}
    expected |= {(name, target, port) for caller, target, port in expected if caller in nobody for name in nobody}
    return off_by(found, expected & judged)


def requests(shop: Shop, pair: Pair) -> Iterator[Request]:
    """What a caller could try at a port: where HTTP is spoken every route, with a token and without."""
    caller, target, port = pair
    principal, service = shop.principal(caller), shop.settings.services.get(target)
    if service is None or port != service.container_port:
        yield Request(port, principal)
        return
    for token in tokens(shop):
        asked = [((route.methods or ["GET"])[0], route.path) for route in service.routes]
        for method, path in [("GET", "/"), *asked]:
            yield Request(port, principal, http=Http(str(method), path, token=token))


def tokens(shop: Shop) -> list[Token | None]:
    """None, and where there is an issuer one of its tokens."""
    identity = shop.settings.identity
    return (
        [None, Token({"iss": identity.issuer, "sub": "someone", "aud": [*identity.audiences]})] if identity else [None]
    )


def comes_through(shop: Shop, target: str, request: Request) -> bool:
    """Whether a request is let in: on the way that it should take, or past the waypoint."""
    to = shop.workloads[target]
    ways = [to, replace(to, waypoint=None)] if to.waypoint else [to]
    return any(decide(shop.security, request, way) is Verdict.ALLOWED for way in ways)
