"""What the checks look at: what is declared, and what the cluster holds of it and around it, read once."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeAlias

from cloudmart.cluster.api import Api
from cloudmart.cluster.kubectl import KubectlError
from cloudmart.cluster.live import Place, Reference
from cloudmart.deploy.expected import Declared, Expected
from cloudmart.drift import look
from cloudmart.drift.finding import Finding

Object: TypeAlias = Mapping[str, Any]

_METRICS = "/apis/metrics.k8s.io/v1beta1"
#: What is looked at in every namespace of the stack, whoever made it: pods, what runs them, what they are given, what
#: shields them and what refuses them.
_AROUND = (
    ("v1", "Pod"),
    ("v1", "PersistentVolumeClaim"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("v1", "ResourceQuota"),
)


@dataclass(frozen=True)
class Read:
    """The answer to one question: objects, or why there are none."""

    items: Sequence[Object] = ()
    refused: str = ""


@dataclass(frozen=True, kw_only=True)
class State:
    """A stack and its cluster at one moment."""

    expected: Expected
    #: Every object of the kinds that are declared, and of some more, in the stack's namespaces.
    live: Mapping[Reference, Object]
    version: str = ""
    nodes: Read = Read()
    node_usage: Read = Read()
    pod_usage: Read = Read()
    #: Where live objects differ from declared ones, or why nobody may know.
    drift: Sequence[Finding] = ()
    drift_refused: str = ""
    #: What `up` left out on the local cluster, each with its reason.
    left_out: Sequence[str] = ()
    context: str | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def simulated(self) -> bool:
        """Whether there are no containers, so that nothing answers and no operator acts on its resources."""
        return self.expected.target.local

    @cached_property
    def namespaces(self) -> Sequence[str]:
        """Every namespace that the stack declares, in the program's order."""
        return [one.reference.name for one in self.declared("Namespace")]

    @cached_property
    def lost(self) -> frozenset[str]:
        """Declared namespaces that are not there: nothing in them can be."""
        return frozenset(one.reference.name for one in self.declared("Namespace") if one.reference not in self.live)

    def declared(self, *kinds: str, group: str | None = None) -> Iterator[Declared]:
        """What is declared of these kinds, in the program's order."""
        for one in self.expected.objects.values():
            if one.reference.kind in kinds and group in (None, one.reference.group):
                yield one

    def present(self, *kinds: str, group: str | None = None) -> Iterator[tuple[Declared, Object]]:
        """What is declared of these kinds and is there: what should be, and what is."""
        for one in self.declared(*kinds, group=group):
            if one.reference in self.live:
                yield one, self.live[one.reference]

    def missing(self, *kinds: str) -> int:
        """How many of these kinds are declared and not there."""
        return sum(one.reference not in self.live for one in self.declared(*kinds))

    @cached_property
    def _by_kind(self) -> Mapping[str, Sequence[tuple[Reference, Object]]]:
        kinds: dict[str, list[tuple[Reference, Object]]] = {}
        for reference in sorted(self.live):
            kinds.setdefault(reference.kind, []).append((reference, self.live[reference]))
        return kinds

    def found(self, *kinds: str) -> Iterator[tuple[Reference, Object]]:
        """What is there of these kinds, declared or not."""
        for kind in kinds:
            yield from self._by_kind.get(kind, ())

    @property
    def up(self) -> str:
        """What deploys settings that were changed."""
        return self.expected.up(self.context)

    @property
    def put_back(self) -> str:
        """What makes live objects as declared again."""
        return self.expected.put_back(self.context)

    @property
    def metrics_server(self) -> str:
        """What brings metrics-server back, or says why it is down."""
        look = self.kubectl("get", "apiservice", "v1beta1.metrics.k8s.io")
        if self.expected.target.local:
            return f"`cloudmart local start` puts back what is missing of it; else see why it is down: {look}"
        return f"install it, or see why it is down: {look}"

    def kubectl(self, *arguments: str, namespace: str = "") -> str:
        """A command to type."""
        words = [*arguments[:1], *(["-n", namespace] if namespace else []), *arguments[1:]]
        return shlex.join([*self.expected.target.kubectl.command, *words])


@dataclass(frozen=True)
class Reading:
    """What was asked for early, in the background."""

    pool: ThreadPoolExecutor
    api: Api
    version: Future[str]
    nodes: Future[Read]
    node_usage: Future[Read]


def begin(api: Api, pool: ThreadPoolExecutor) -> Reading:
    """Asks for what does not depend on what is declared."""
    return Reading(
        pool,
        api,
        pool.submit(_version, api),
        pool.submit(_items, api, "/api/v1/nodes"),
        pool.submit(_items, api, f"{_METRICS}/nodes"),
    )


def places(objects: Collection[Reference]) -> set[Place]:
    """Every kind and namespace that something is declared in, and what is looked at around it."""
    found = {(one.api_version, one.kind, one.namespace) for one in objects}
    namespaces = {one.name for one in objects if one.kind == "Namespace"}
    found |= {(api_version, kind, namespace) for namespace in namespaces for api_version, kind in _AROUND}
    # What a gateway serves with, and cert-manager's own account of it.
    for one in objects:
        if one.kind == "Gateway":
            found |= {("v1", "Secret", one.namespace), ("cert-manager.io/v1", "Certificate", one.namespace)}
        if one.kind in ("PeerAuthentication", "AuthorizationPolicy"):
            found |= {(one.api_version, one.kind, namespace) for namespace in namespaces}
    return found


def finish(reading: Reading, expected: Expected, left_out: Sequence[str], context: str | None) -> State:
    """Reads the rest. Raises ``KubectlError`` when the API server does not answer or may not say."""
    namespaces = sorted({one.name for one in expected.objects if one.kind == "Namespace"})
    usage = [
        reading.pool.submit(_items, reading.api, f"{_METRICS}/namespaces/{namespace}/pods") for namespace in namespaces
    ]
    compared = reading.pool.submit(_drift, expected, reading.api)
    found = reading.api.listing(places(expected.objects.keys()))
    drift, refused = compared.result()
    return State(
        expected=expected,
        live=found,
        drift=drift,
        drift_refused=refused,
        version=reading.version.result(),
        nodes=reading.nodes.result(),
        node_usage=reading.node_usage.result(),
        pod_usage=_together(one.result() for one in usage),
        left_out=left_out,
        context=context,
    )


def _drift(expected: Expected, api: Api) -> tuple[Sequence[Finding], str]:
    try:
        return look.compare(expected, api).findings, ""
    except KubectlError as error:
        # To compare takes the right to write, if only to try it; who verifies need not have that.
        if "orbidden" not in str(error):
            raise
        return (), str(error)


def _version(api: Api) -> str:
    return str(api.get("/version")["gitVersion"])


def _items(api: Api, path: str) -> Read:
    try:
        return Read(api.get(path)["items"])
    except KubectlError as error:
        return Read(refused=str(error))


def _together(answers: Iterable[Read]) -> Read:
    found = list(answers)
    refused = next((one.refused for one in found if one.refused), "")
    return Read([item for one in found for item in one.items], refused)


def conditions(item: Object) -> dict[str, Object]:
    """Conditions of a status, by their type."""
    return {one["type"]: one for one in (item.get("status") or {}).get("conditions") or []}


def reason(condition: Object) -> str:
    """What a condition says, in words where it has some."""
    return str(condition.get("message") or condition.get("reason") or condition.get("status"))


def age(item: Object, now: datetime) -> float:
    """Seconds since an object was made."""
    return (now - time_of(item["metadata"]["creationTimestamp"])).total_seconds()


def time_of(text: str) -> datetime:
    """A time as Kubernetes writes it."""
    return datetime.fromisoformat(text)
