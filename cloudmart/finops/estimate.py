"""What the declared resources cost in a month, from their requests alone.

The estimate prices what the scheduler reserves: requests of pods, times replicas, and the capacity of volumes. That is
what Kubecost and OpenCost bill at least (they take the greater of request and usage). Each figure is a range: replicas
run from an autoscaler's minimum to its maximum, and the declared count is what is expected.

Every amount can be explained: an :class:`Estimate` is a list of :class:`Line`, each a product of its factors. Amounts
are exact decimals in the price book's currency; round only what is shown.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from cloudmart.finops.prices import HOURS_PER_MONTH, PriceBook
from cloudmart.settings.quantities import Bytes, Cpu

GIB = Decimal(2**30)
NONE = "(none)"
"""Name of the group for what carries no label."""

DEFAULT_NODES = 3
"""Pods of a DaemonSet where nobody says how many nodes there are: one a zone."""

# Parts of charts that run on every node, by chart and key of the values.
_DAEMON_SETS = {("kubecost", "networkCosts"), ("cost-analyzer", "networkCosts")}
# Requests of these are no money: they come with the node.
_FREE = ("ephemeral-storage", "hugepages-")


class Resource(Protocol):
    """What the estimate reads of a recorded registration."""

    @property
    def urn(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> Mapping[str, Any]: ...
    @property
    def is_kubernetes_object(self) -> bool: ...


@dataclass(frozen=True)
class Range:
    """A least, an expected and a greatest amount: of pieces, or of money in a month."""

    min: Decimal = Decimal(0)
    expected: Decimal = Decimal(0)
    max: Decimal = Decimal(0)

    @classmethod
    def exactly(cls, amount: int | Decimal) -> Range:
        return cls(Decimal(amount), Decimal(amount), Decimal(amount))

    def __add__(self, other: Range) -> Range:
        return Range(self.min + other.min, self.expected + other.expected, self.max + other.max)

    def times(self, factor: Decimal) -> Range:
        return Range(self.min * factor, self.expected * factor, self.max * factor)


@dataclass(frozen=True)
class Line:
    """``count`` pieces (pods, volumes, balancers) x ``quantity`` ``unit`` each x ``price`` an hour x 730 hours."""

    urn: str
    kind: str
    name: str
    namespace: str
    service: str
    cost_center: str
    item: str
    quantity: Decimal
    unit: str
    count: Range
    price: Decimal

    @functools.cached_property
    def monthly(self) -> Range:
        return self.count.times(self.quantity * self.price * HOURS_PER_MONTH)


@dataclass(frozen=True)
class Estimate:
    """All lines, and ``notes`` on what was assumed or could not be priced."""

    prices: PriceBook
    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def monthly(self) -> Range:
        return sum((line.monthly for line in self.lines), Range())

    @functools.cached_property
    def by_service(self) -> dict[str, Range]:
        return self._grouped(lambda line: line.service)

    @functools.cached_property
    def by_cost_center(self) -> dict[str, Range]:
        return self._grouped(lambda line: line.cost_center)

    @functools.cached_property
    def by_namespace(self) -> dict[str, Range]:
        return self._grouped(lambda line: line.namespace)

    def _grouped(self, key: Callable[[Line], str]) -> dict[str, Range]:
        groups: dict[str, Range] = {}
        for line in self.lines:
            groups[key(line)] = groups.get(key(line), Range()) + line.monthly
        return dict(sorted(groups.items()))


def estimate(resources: Iterable[Resource], prices: PriceBook, *, nodes: int | None = None) -> Estimate:
    """Price recorded resources; ``nodes`` is how many a DaemonSet runs on (if ``None``, assumed, with a note)."""
    pricing = _Pricing(list(resources), prices, nodes)
    return Estimate(prices, tuple(pricing.lines()), tuple(dict.fromkeys(pricing.notes)))


@dataclass(frozen=True)
class _Owner:
    """Whom a line belongs to."""

    urn: str
    kind: str
    name: str
    namespace: str
    service: str
    cost_center: str


@dataclass
class _Pricing:
    resources: list[Resource]
    prices: PriceBook
    nodes: int | None
    notes: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[Line]:
        self._namespace_labels: dict[str, Mapping[str, Any]] = {}
        self._scalers: dict[tuple[str, str, str], Mapping[str, Any]] = {}
        for resource in self.resources:
            if resource.is_kubernetes_object:
                metadata, spec = _map(resource.inputs, "metadata"), _map(resource.inputs, "spec")
                if resource.inputs.get("kind") == "Namespace":
                    self._namespace_labels[str(metadata.get("name"))] = _map(metadata, "labels")
                elif resource.inputs.get("kind") == "HorizontalPodAutoscaler":
                    target = _map(spec, "scaleTargetRef")
                    key = (_namespace(metadata), str(target.get("kind")), str(target.get("name")))
                    self._scalers[key] = spec
        for resource in self.resources:
            if resource.is_kubernetes_object:
                yield from self._object(resource)
            elif resource.type == "kubernetes:helm.sh/v3:Release":
                yield from self._release(resource)

    def _object(self, resource: Resource) -> Iterator[Line]:
        spec = _map(resource.inputs, "spec")
        match resource.inputs.get("kind"):
            case "Deployment" | "ReplicaSet" | "StatefulSet" as kind:
                replicas = self._replicas(resource, kind)
                yield from self._pods(resource, _map(spec, "template"), replicas)
                for claim in _list(spec, "volumeClaimTemplates"):
                    yield from self._claim(resource, claim, replicas)
            case "DaemonSet":
                yield from self._pods(resource, _map(spec, "template"), self._on_every_node())
            case "Pod":
                yield from self._pods(resource, resource.inputs, Range.exactly(1))
            case "Job" | "CronJob" as kind:
                self.notes.append(f"{kind} {resource.name}: not priced, its hours are not declared")
            case "PersistentVolumeClaim":
                yield from self._claim(resource, resource.inputs, Range.exactly(1))
            case "Service" if spec.get("type") == "LoadBalancer":
                owner = self._owner(resource, resource.inputs)
                price = self.prices.hourly.load_balancer
                if not price:
                    self.notes.append(f"load balancers cost nothing in {self.prices.name}")
                yield self._line(owner, "load balancer", Decimal(1), "each", Range.exactly(1), price)

    def _pods(self, resource: Resource, template: Mapping[str, Any], count: Range) -> Iterator[Line]:
        owner = self._owner(resource, template)
        spec = _map(template, "spec")
        cpu = self._pod_request(resource, spec, "cpu")
        memory = self._pod_request(resource, spec, "memory")
        if not cpu and not memory:
            self.notes.append(
                f"{owner.kind} {owner.namespace}/{owner.name}: requests nothing, so it costs nothing here"
            )
        if cpu:
            yield self._line(owner, "cpu", cpu, "core", count, self.prices.hourly.cpu)
        if memory:
            yield self._line(owner, "memory", memory / GIB, "GiB", count, self.prices.hourly.memory)

    def _pod_request(self, resource: Resource, spec: Mapping[str, Any], item: str) -> Decimal:
        """As the scheduler counts: init containers run one after another, before the rest; sidecars run all along."""
        if item in (pod_level := _map(_map(spec, "resources"), "requests")):
            return self._amount(resource, item, pod_level[item]) + self._overhead(resource, spec, item)
        running = sum((self._request(resource, c, item) for c in _list(spec, "containers")), Decimal(0))
        sidecars = peak = Decimal(0)
        for container in _list(spec, "initContainers"):
            request = self._request(resource, container, item)
            if container.get("restartPolicy") == "Always":
                sidecars += request
                peak = max(peak, sidecars)
            else:
                peak = max(peak, sidecars + request)
        return max(running + sidecars, peak) + self._overhead(resource, spec, item)

    def _overhead(self, resource: Resource, spec: Mapping[str, Any], item: str) -> Decimal:
        return self._amount(resource, item, _map(spec, "overhead").get(item))

    def _request(self, resource: Resource, container: Mapping[str, Any], item: str) -> Decimal:
        declared = _map(container, "resources")
        requests = _map(declared, "requests")
        for other in requests:
            if other not in ("cpu", "memory") and not other.startswith(_FREE):
                self.notes.append(f"{resource.name}: requests {other}, for which there is no price")
        # The API server copies a limit to a request that is not set.
        return self._amount(resource, item, requests.get(item, _map(declared, "limits").get(item)))

    def _claim(self, resource: Resource, claim: Mapping[str, Any], count: Range) -> Iterator[Line]:
        requests = _map(_map(_map(claim, "spec"), "resources"), "requests")
        size = self._amount(resource, "storage", requests.get("storage")) / GIB
        owner = self._owner(resource, claim)
        if size:
            yield self._line(owner, "storage", size, "GiB", count, self.prices.hourly.storage)

    def _release(self, resource: Resource) -> Iterator[Line]:
        """The values that we declare, found by their shape; what a chart adds by its own defaults is not seen."""
        namespace = str(resource.inputs.get("namespace") or "default")
        labels = self._namespace_labels.get(namespace, {})
        chart = str(resource.inputs.get("chart") or "").rstrip("/").rpartition("/")[2]
        owner = _Owner(
            resource.urn, "Release", resource.name, namespace, resource.name, str(labels.get("cost-center") or NONE)
        )
        self.notes.append(
            f"Helm release {resource.name}: priced from the values declared here, not from the chart's own"
        )
        yield from self._values(resource, owner, _map(resource.inputs, "values"), chart, Range.exactly(1))

    def _values(
        self, resource: Resource, owner: _Owner, values: Mapping[str, Any], chart: str, count: Range
    ) -> Iterator[Line]:
        if values.get("enabled") is False:
            return
        for key in ("replicas", "replicaCount"):
            if isinstance(values.get(key), int) and not isinstance(values[key], bool):
                count = Range.exactly(values[key])
        requests = _map(_map(values, "resources"), "requests")
        if cpu := self._amount(resource, "cpu", requests.get("cpu")):
            yield self._line(owner, "cpu", cpu, "core", count, self.prices.hourly.cpu)
        if memory := self._amount(resource, "memory", requests.get("memory")):
            yield self._line(owner, "memory", memory / GIB, "GiB", count, self.prices.hourly.memory)
        for key in ("storageRequest", "size"):
            if isinstance(values.get(key), str):
                size = self._amount(resource, "storage", values[key]) / GIB
                yield self._line(owner, "storage", size, "GiB", count, self.prices.hourly.storage)
        for key, value in values.items():
            if isinstance(value, Mapping) and key != "resources":
                here = self._on_every_node if (chart, key) in _DAEMON_SETS and value.get("enabled") else None
                yield from self._values(resource, owner, value, chart, here() if here else count)

    def _replicas(self, resource: Resource, kind: str) -> Range:
        metadata, spec = _map(resource.inputs, "metadata"), _map(resource.inputs, "spec")
        declared = _count(spec.get("replicas"), 1)
        scaler = self._scalers.get((_namespace(metadata), kind, str(metadata.get("name"))))
        if scaler is None:
            return Range.exactly(declared)
        least = _count(scaler.get("minReplicas"), 1)
        most = max(least, _count(scaler.get("maxReplicas"), least))
        expected = min(max(_count(spec.get("replicas"), least), least), most)
        return Range(Decimal(least), Decimal(expected), Decimal(most))

    def _on_every_node(self) -> Range:
        if self.nodes is None:
            self.notes.append(f"a DaemonSet is priced on {DEFAULT_NODES} nodes, which is an assumption")
        return Range.exactly(DEFAULT_NODES if self.nodes is None else self.nodes)

    def _owner(self, resource: Resource, labelled: Mapping[str, Any]) -> _Owner:
        """Labels of the pod (or claim) template, then of the object, then of its namespace: Kubecost's order."""
        metadata = _map(resource.inputs, "metadata")
        namespace = _namespace(metadata)
        own = (_map(_map(labelled, "metadata"), "labels"), _map(metadata, "labels"))
        name = str(metadata.get("name") or resource.name)
        return _Owner(
            urn=resource.urn,
            kind=str(resource.inputs.get("kind")),
            name=name,
            namespace=namespace,
            service=_label(own, "app") or _label(own, "app.kubernetes.io/name") or name,
            cost_center=_label((*own, self._namespace_labels.get(namespace, {})), "cost-center") or NONE,
        )

    def _amount(self, resource: Resource, item: str, quantity: Any) -> Decimal:
        if quantity is None:
            return Decimal(0)
        try:
            return _parsed(item, str(quantity))
        except ValueError:
            self.notes.append(f"{resource.name}: {item}: {str(quantity)!r} is not a quantity, so it is not priced")
            return Decimal(0)

    @staticmethod
    def _line(owner: _Owner, item: str, quantity: Decimal, unit: str, count: Range, price: Decimal) -> Line:
        return Line(**vars(owner), item=item, quantity=quantity, unit=unit, count=count, price=price)


@functools.lru_cache(maxsize=4096)
def _parsed(item: str, quantity: str) -> Decimal:
    """Cores, or bytes. Raises ``ValueError`` for anything else."""
    return Cpu(quantity).cores if item == "cpu" else Decimal(Bytes(quantity).bytes)


def _map(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, Mapping) else {}


def _list(parent: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = parent.get(key)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _label(sources: Iterable[Mapping[str, Any]], key: str) -> str | None:
    return next((str(labels[key]) for labels in sources if labels.get(key)), None)


def _namespace(metadata: Mapping[str, Any]) -> str:
    return str(metadata.get("namespace") or "default")


def _count(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default
