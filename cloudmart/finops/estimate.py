"""What the declared resources cost in a month, from their requests alone.

The estimate prices what the scheduler reserves: requests of pods, times replicas, and the capacity of volumes. That is
what Kubecost and OpenCost bill at least (they take the greater of request and usage). Each figure is a range: replicas
run from an autoscaler's minimum to its maximum; expected is the average of a known load, else the declared count.

Every amount can be explained: an :class:`Estimate` is a list of :class:`Line`, each a product of its factors. Amounts
are exact decimals in the price book's currency; round only what is shown.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Protocol

from cloudmart.finops import operated
from cloudmart.finops import prices as price_books
from cloudmart.finops.helm import Charts, Rendered
from cloudmart.finops.prices import HOURS_PER_MONTH, PriceBook, Rate
from cloudmart.settings.model import Settings
from cloudmart.settings.quantities import Bytes, Cpu

GIB = Decimal(2**30)
# More than there is of anything; sums of products of these have digits that a Decimal can hold.
_MOST_CORES, _MOST_BYTES, _MOST_REPLICAS = 10**9, 10**18, 10**6
NONE = "(none)"
"""Name of the group for what carries no label."""

DEFAULT_NODES = 3
"""Pods of a DaemonSet where nobody says how many nodes there are: one a zone."""

# Parts of charts that run on every node, by chart and key of the values.
_DAEMON_SETS = {("kubecost", "networkCosts"), ("cost-analyzer", "networkCosts")}
# Charts that are one DaemonSet as a whole, and their releases: a folder with the chart may be called anything.
_DAEMON_CHARTS = {"cni", "istio-cni", "ztunnel"}
# Requests of these are no money: they come with the node.
_FREE = ("ephemeral-storage", "hugepages-")
# What Istio's injector gives the proxy beside each pod, unless annotations of the pod or the values of istiod's release
# say otherwise: the default of `global.proxy.resources` in istiod's chart.
_PROXY = {"cpu": "100m", "memory": "128Mi"}
# Parts of charts that nobody pays for by the month, by chart and key of the values: templates for others' pods, and
# what is over at once, as init containers and hooks are.
_UNPAID = {
    ("istiod", "global"),
    ("redis-ha", "init"),
    ("argo-cd", "redisSecretInit"),
    ("kube-prometheus-stack", "admissionWebhooks"),
    ("gatekeeper", "crds"),
}
# Parts of charts that run once, whatever `replicas` beside them says of the others.
_SINGLE = {("gatekeeper", "audit")}
_RELEASE = "kubernetes:helm.sh/v3:Release"
_COMPONENT = "app.kubernetes.io/component"

_Parts = list[tuple[str, Decimal]]


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

    def __sub__(self, other: Range) -> Range:
        return Range(self.min - other.min, self.expected - other.expected, self.max - other.max)

    def times(self, factor: Decimal) -> Range:
        return Range(self.min * factor, self.expected * factor, self.max * factor)


@dataclass(frozen=True)
class Line:
    """``count`` pieces (pods, volumes, balancers) x ``quantity`` ``unit`` each x ``price`` an hour x ``hours``."""

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
    component: str = NONE
    team: str = NONE
    #: Hours of a month; 1 for what is paid by the piece, as a GiB that leaves the cloud.
    hours: Decimal = HOURS_PER_MONTH
    #: How the price came about.
    how: str = ""
    #: What the quantity is the sum of: name and quantity.
    parts: tuple[tuple[str, Decimal], ...] = ()
    #: URN of the autoscaler that decides on the count.
    scaler: str = ""

    @functools.cached_property
    def monthly(self) -> Range:
        return self.count.times(self.quantity * self.price * self.hours)


DIMENSIONS: dict[str, Callable[[Line], str]] = {
    "service": lambda line: line.service,
    "component": lambda line: line.component,
    "namespace": lambda line: line.namespace,
    "team": lambda line: line.team,
    "cost-center": lambda line: line.cost_center,
}
"""What amounts can be grouped by."""


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
        return self.by("service")

    @functools.cached_property
    def by_cost_center(self) -> dict[str, Range]:
        return self.by("cost-center")

    @functools.cached_property
    def by_namespace(self) -> dict[str, Range]:
        return self.by("namespace")

    def by(self, dimension: str) -> dict[str, Range]:
        """Amounts by one of :data:`DIMENSIONS`, sorted by name."""
        key = DIMENSIONS[dimension]
        groups: dict[str, Range] = {}
        for line in self.lines:
            groups[key(line)] = groups.get(key(line), Range()) + line.monthly
        return dict(sorted(groups.items()))


def estimate(
    resources: Iterable[Resource],
    prices: PriceBook,
    *,
    nodes: int | None = None,
    load: Mapping[str, Decimal] | None = None,
    egress: Mapping[str, Decimal] | None = None,
    charts: Charts | None = None,
) -> Estimate:
    """Price recorded resources.

    ``nodes`` is how many a DaemonSet runs on (if ``None``, assumed, with a note); ``load`` the replicas that the
    autoscaler of a service is expected to keep on average; ``egress`` the GiB a month that a service sends out of the
    cloud; ``charts`` renders Helm releases (if ``None``, they are priced from the values that they declare).
    """
    pricing = _Pricing(list(resources), prices, nodes, load or {}, egress or {}, charts)
    return Estimate(prices, tuple(pricing.lines()), tuple(dict.fromkeys((*pricing.notes, *pricing.on_releases()))))


def of_stack(
    resources: Iterable[Resource], settings: Settings, root: Path, *, prices: PriceBook | None = None
) -> Estimate:
    """Price a stack's resources by its own settings; ``root`` is the project's folder. Raises :class:`UserError`."""
    stack = settings.prices
    return estimate(
        resources,
        prices or price_books.of_stack(stack, root),
        nodes=stack.nodes,
        load={name: profile.replicas for name, profile in stack.load.items()},
        egress=stack.egress_gib,
        charts=Charts(root),
    )


@dataclass(frozen=True)
class _Owner:
    """Whom a line belongs to."""

    urn: str
    kind: str
    name: str
    namespace: str
    service: str
    cost_center: str
    component: str
    team: str


@dataclass(frozen=True)
class _Made:
    """An object that an operator makes of a registered one; it is paid for as a part of that."""

    of: Resource
    inputs: Mapping[str, Any]
    type: str = ""
    is_kubernetes_object: bool = True

    @property
    def urn(self) -> str:
        return self.of.urn

    @property
    def name(self) -> str:
        return self.of.name


@dataclass(frozen=True)
class _ChartObject(_Made):
    """An object that a chart makes of its release."""

    @property
    def name(self) -> str:
        return f"{self.of.name}: {self.inputs.get('kind')} {_map(self.inputs, 'metadata').get('name')}"


@dataclass
class _Pricing:
    resources: list[Resource]
    prices: PriceBook
    nodes: int | None
    load: Mapping[str, Decimal]
    egress: Mapping[str, Decimal]
    charts: Charts | None
    notes: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[Line]:
        self._namespace_labels: dict[str, Mapping[str, Any]] = {}
        self._scalers: dict[tuple[str, str, str], Resource] = {}
        self._rates: dict[tuple[str, str | None], Rate] = {}
        self._services: dict[str, _Owner] = {}
        self._scaled: set[str] = set()
        self._releases: dict[str, list[str]] = {}
        self._referred = {
            (str(of.inputs.get("kind")), _namespace(metadata), str(metadata.get("name"))): of.inputs
            for of in self.resources
            if of.is_kubernetes_object and (metadata := _map(of.inputs, "metadata"))
        }
        resources = [part for resource in self.resources for part in self._parts(resource)]
        for resource in resources:
            if resource.is_kubernetes_object:
                metadata = _map(resource.inputs, "metadata")
                if resource.inputs.get("kind") == "Namespace":
                    self._namespace_labels[str(metadata.get("name"))] = _map(metadata, "labels")
                elif resource.inputs.get("kind") == "HorizontalPodAutoscaler":
                    target = _map(_map(resource.inputs, "spec"), "scaleTargetRef")
                    key = (_namespace(metadata), str(target.get("kind")), str(target.get("name")))
                    self._scalers[key] = resource
        self._proxy = _proxy(self.resources)
        for resource in resources:
            if resource.is_kubernetes_object:
                yield from self._object(resource)
            elif resource.type == _RELEASE:
                yield from self._release(resource)
        yield from self._transfers()
        for service in self.load:
            if service not in self._scaled:
                self.notes.append(f"load of {service}: not counted, no autoscaler scales it")

    def on_releases(self) -> Iterator[str]:
        """How Helm releases were priced, a note for each way."""
        for how, names in self._releases.items():
            yield f"Helm release{'s' if len(names) > 1 else ''} {', '.join(names)}: {how}"

    def _parts(self, resource: Resource) -> Iterator[Resource]:
        """The resource itself, or the objects that its chart or its operator makes."""
        if resource.type != _RELEASE:
            made = operated.workloads(resource.inputs, self._referred) if resource.is_kubernetes_object else None
            yield from [resource] if made is None else (_Made(resource, item) for item in made)
            return
        found = self.charts.render(resource.name, resource.inputs) if self.charts else "no charts are rendered here"
        if isinstance(found, str):
            how = f"priced from the values declared here, not from the chart's own: {found}"
            self._releases.setdefault(how, []).append(resource.name)
            yield resource
            return
        self._releases.setdefault(f"priced from its rendered chart, {found.chart}", []).append(resource.name)
        yield from _chart_objects(resource, found)

    def _transfers(self) -> Iterator[Line]:
        for service, size in self.egress.items():
            owner = self._services.get(service)
            if owner is None:
                self.notes.append(f"egress of {service}: not priced, nothing that runs is called so")
            elif size:
                line = self._line(owner, "egress", size, "GiB", Range.exactly(1), self.prices.transfer())
                yield replace(line, hours=Decimal(1))

    def _object(self, resource: Resource) -> Iterator[Line]:
        spec = _map(resource.inputs, "spec")
        match resource.inputs.get("kind"):
            case "Deployment" | "ReplicaSet" | "StatefulSet" | "ReplicationController" as kind:
                template = _map(spec, "template")
                replicas, scaler = self._replicas(resource, kind, self._owner(resource, template).service)
                yield from self._pods(resource, template, replicas, scaler)
                for claim in _list(spec, "volumeClaimTemplates"):
                    yield from self._claim(resource, claim, replicas, scaler)
            case "DaemonSet":
                yield from self._pods(resource, _map(spec, "template"), self._on_every_node())
            case "Pod":
                yield from self._pods(resource, resource.inputs, Range.exactly(1))
            case "Job" | "CronJob" as kind:
                self.notes.append(f"{kind} {resource.name}: not priced, its hours are not declared")
            case "PersistentVolumeClaim":
                yield from self._claim(resource, resource.inputs, Range.exactly(1))
            case "Prometheus" | "Alertmanager" as kind:
                # Their operator makes a StatefulSet of each.
                main = {"name": kind.lower(), "resources": _map(spec, "resources")}
                containers = {"containers": [main, *_list(spec, "containers")]}
                template = {"metadata": _map(spec, "podMetadata"), "spec": containers}
                replicas = Range.exactly(_count(spec.get("replicas"), 1))
                yield from self._pods(resource, template, replicas)
                if claim := _map(_map(spec, "storage"), "volumeClaimTemplate"):
                    yield from self._claim(resource, claim, replicas)
            case "Service" if spec.get("type") == "LoadBalancer":
                owner = self._owner(resource, resource.inputs)
                rate = self.prices.balancer()
                if not rate.amount:
                    self.notes.append(f"load balancers cost nothing in {self.prices.name}")
                yield self._line(owner, "load balancer", Decimal(1), "each", Range.exactly(1), rate)

    def _pods(self, resource: Resource, template: Mapping[str, Any], count: Range, scaler: str = "") -> Iterator[Line]:
        owner = self._owner(resource, template)
        self._services.setdefault(owner.service, owner)
        spec = self._with_proxy(owner.namespace, template)
        pool = self.prices.pool_of(_map(spec, "nodeSelector")) if self.prices.pools else None
        cpu, cpu_parts = self._pod_request(resource, spec, "cpu")
        memory, memory_parts = self._pod_request(resource, spec, "memory")
        if not cpu and not memory:
            what = (
                resource.name if isinstance(resource, _ChartObject) else f"{owner.kind} {owner.namespace}/{owner.name}"
            )
            self.notes.append(f"{what}: requests nothing, so it costs nothing here")
        if cpu:
            yield self._line(owner, "cpu", cpu, "core", count, self._compute("cpu", pool), cpu_parts, scaler)
        if memory:
            parts = [(name, size / GIB) for name, size in memory_parts]
            rate = self._compute("memory", pool)
            yield self._line(owner, "memory", memory / GIB, "GiB", count, rate, parts, scaler)
        for volume in _list(spec, "volumes"):
            if claim := _map(_map(volume, "ephemeral"), "volumeClaimTemplate"):
                yield from self._claim(resource, claim, count, scaler)

    def _with_proxy(self, namespace: str, template: Mapping[str, Any]) -> Mapping[str, Any]:
        """The pod's spec, with the mesh's proxy where Istio injects one: by the pod's own label, else the namespace's.

        In ambient mode there is none: the node's ztunnel is a DaemonSet, priced like any other.
        """
        spec, metadata = _map(template, "spec"), _map(template, "metadata")
        wanted = _map(metadata, "labels").get("sidecar.istio.io/inject")
        if spec.get("hostNetwork") or wanted == "false" or not (wanted == "true" or self._injects(namespace)):
            return spec
        annotations = _map(metadata, "annotations")
        # As the injector's template has it: one annotation replaces all of the defaults.
        requests = {
            item: value
            for item, name in (("cpu", "proxyCPU"), ("memory", "proxyMemory"))
            if (value := annotations.get(f"sidecar.istio.io/{name}")) is not None
        } or self._proxy
        proxy = {"name": "istio-proxy", "resources": {"requests": requests}}
        return {**spec, "containers": [*_list(spec, "containers"), proxy]}

    def _injects(self, namespace: str) -> bool:
        """Whether Istio puts a proxy into the namespace's pods that say nothing of it."""
        labels = self._namespace_labels.get(namespace, {})
        return labels.get("istio-injection") == "enabled" or (
            "istio.io/rev" in labels and "istio-injection" not in labels
        )

    def _compute(self, item: Literal["cpu", "memory"], pool: str | None) -> Rate:
        if (rate := self._rates.get((item, pool))) is None:
            rate = self._rates[item, pool] = self.prices.compute(item, pool)
        return rate

    def _pod_request(self, resource: Resource, spec: Mapping[str, Any], item: str) -> tuple[Decimal, _Parts]:
        """As the scheduler counts: init containers run one after another, before the rest; sidecars run all along.

        The sum, and what it is the sum of.
        """
        overhead = self._amount(resource, item, _map(spec, "overhead").get(item))
        extra: _Parts = [("overhead of the pod's runtime", overhead)] if overhead else []
        if item in (pod_level := _map(_map(spec, "resources"), "requests")):
            whole = self._amount(resource, item, pod_level[item])
            return whole + overhead, [("the pod as a whole", whole), *extra]
        parts = [(str(c.get("name")), self._request(resource, c, item)) for c in _list(spec, "containers")]
        running = sum((request for _, request in parts), Decimal(0))
        sidecars = peak = Decimal(0)
        largest = ""
        for container in _list(spec, "initContainers"):
            request, name = self._request(resource, container, item), str(container.get("name"))
            if container.get("restartPolicy") == "Always":
                sidecars += request
                parts.append((f"sidecar {name}", request))
                needed = sidecars
            else:
                needed = sidecars + request
            if needed > peak:
                peak, largest = needed, name
        if peak > running + sidecars:
            # What runs later fits into what was reserved for this one.
            return peak + overhead, [(f"init container {largest}, with the sidecars before it", peak), *extra]
        return running + sidecars + overhead, [*parts, *extra]

    def _request(self, resource: Resource, container: Mapping[str, Any], item: str) -> Decimal:
        declared = _map(container, "resources")
        requests = _map(declared, "requests")
        for other in requests:
            if other not in ("cpu", "memory") and not other.startswith(_FREE):
                self.notes.append(f"{resource.name}: requests {other}, for which there is no price")
        # The API server copies a limit to a request that is not set.
        return self._amount(resource, item, requests.get(item, _map(declared, "limits").get(item)))

    def _claim(self, resource: Resource, claim: Mapping[str, Any], count: Range, scaler: str = "") -> Iterator[Line]:
        spec = _map(claim, "spec")
        size = self._amount(resource, "storage", _map(_map(spec, "resources"), "requests").get("storage")) / GIB
        if not size:
            return
        named = spec.get("storageClassName")
        storage_class = named if isinstance(named, str) and named else None
        if storage_class and self.prices.storage_classes and storage_class not in self.prices.storage_classes:
            self.notes.append(f"storage class {storage_class} has no price of its own in {self.prices.name}")
        name = _map(claim, "metadata").get("name")
        parts = [(f"volume {name}" if name else "volume", size)]
        owner = self._owner(resource, claim)
        yield self._line(owner, "storage", size, "GiB", count, self.prices.storage(storage_class), parts, scaler)

    def _release(self, resource: Resource) -> Iterator[Line]:
        """The values that we declare, found by their shape; what a chart adds by its own defaults is not seen."""
        owner = self._release_owner(resource, (_map(_map(resource.inputs, "values"), "labels"),))
        self._services.setdefault(owner.service, owner)
        chart = _chart(resource)
        count = self._on_every_node() if {chart, resource.name} & _DAEMON_CHARTS else Range.exactly(1)
        yield from self._values(resource, owner, _map(resource.inputs, "values"), chart, count)

    def _release_owner(self, resource: Resource, labels: tuple[Mapping[str, Any], ...]) -> _Owner:
        namespace = str(resource.inputs.get("namespace") or "default")
        found = (*labels, self._namespace_labels.get(namespace, {}))
        return _Owner(
            urn=resource.urn,
            kind="Release",
            name=resource.name,
            namespace=namespace,
            service=resource.name,
            cost_center=_label(found, "cost-center") or NONE,
            component=_label(found, _COMPONENT) or resource.name,
            team=_label(found, "team") or NONE,
        )

    def _values(
        self,
        resource: Resource,
        owner: _Owner,
        values: Mapping[str, Any],
        chart: str,
        count: Range,
        at: str = "values",
    ) -> Iterator[Line]:
        if values.get("enabled") is False:
            return
        for key in ("replicas", "replicaCount"):
            if (number := _whole(values.get(key))) is not None:
                count = Range.exactly(number)
                if self._injects(owner.namespace):
                    # What says how many pods there are says how many proxies.
                    proxy = {"resources": {"requests": self._proxy}}
                    yield from self._values(resource, owner, proxy, chart, count, f"{at}.istio-proxy")
        requests = _map(_map(values, "resources"), "requests")
        if cpu := self._amount(resource, "cpu", requests.get("cpu")):
            yield self._line(owner, "cpu", cpu, "core", count, self._compute("cpu", None), [(at, cpu)])
        if memory := self._amount(resource, "memory", requests.get("memory")):
            rate = self._compute("memory", None)
            yield self._line(owner, "memory", memory / GIB, "GiB", count, rate, [(at, memory / GIB)])
        for size_of in (values.get("storageRequest"), values.get("size"), requests.get("storage")):
            if isinstance(size_of, str):
                size = self._amount(resource, "storage", size_of) / GIB
                yield self._line(owner, "storage", size, "GiB", count, self.prices.storage(None), [(at, size)])
        # What an operator merges into its pods by name.
        for container in _list(values, "containers"):
            yield from self._values(
                resource, owner, container, chart, count, f"{at}.containers.{container.get('name')}"
            )
        for key, value in values.items():
            if isinstance(value, Mapping) and key != "resources" and (chart, key) not in _UNPAID:
                here = self._on_every_node if (chart, key) in _DAEMON_SETS and value.get("enabled") else None
                of_each = Range.exactly(1) if (chart, key) in _SINGLE else count
                yield from self._values(resource, owner, value, chart, here() if here else of_each, f"{at}.{key}")

    def _replicas(self, resource: Resource, kind: str, service: str) -> tuple[Range, str]:
        """How many, and the URN of the autoscaler that decides on it."""
        metadata, spec = _map(resource.inputs, "metadata"), _map(resource.inputs, "spec")
        scaler = self._scalers.get((_namespace(metadata), kind, str(metadata.get("name"))))
        if scaler is None:
            return Range.exactly(_count(spec.get("replicas"), 1)), ""
        bounds = _map(scaler.inputs, "spec")
        least = _count(bounds.get("minReplicas"), 1)
        most = max(least, _count(bounds.get("maxReplicas"), least))
        self._scaled.add(service)
        wanted = self.load.get(service, Decimal(_count(spec.get("replicas"), least)))
        expected = min(max(wanted, Decimal(least)), Decimal(most))
        return Range(Decimal(least), expected, Decimal(most)), scaler.urn

    def _on_every_node(self) -> Range:
        if self.nodes is None:
            self.notes.append(f"a DaemonSet is priced on {DEFAULT_NODES} nodes, which is an assumption")
        return Range.exactly(DEFAULT_NODES if self.nodes is None else self.nodes)

    def _owner(self, resource: Resource, labelled: Mapping[str, Any]) -> _Owner:
        """Labels of the pod (or claim) template, then of the object, then of its namespace: Kubecost's order."""
        metadata = _map(resource.inputs, "metadata")
        namespace = _namespace(metadata)
        own = (_map(_map(labelled, "metadata"), "labels"), _map(metadata, "labels"))
        if isinstance(resource, _ChartObject):
            return self._release_owner(resource.of, own)
        every = (*own, self._namespace_labels.get(namespace, {}))
        name = str(metadata.get("name") or resource.name)
        return _Owner(
            urn=resource.urn,
            kind=str(resource.inputs.get("kind")),
            name=name,
            namespace=namespace,
            service=_label(own, "app") or _label(own, "app.kubernetes.io/name") or name,
            cost_center=_label(every, "cost-center") or NONE,
            component=_label(own, _COMPONENT) or NONE,
            team=_label(every, "team") or NONE,
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
    def _line(
        owner: _Owner,
        item: str,
        quantity: Decimal,
        unit: str,
        count: Range,
        rate: Rate,
        parts: _Parts | None = None,
        scaler: str = "",
    ) -> Line:
        return Line(
            **vars(owner),
            item=item,
            quantity=quantity,
            unit=unit,
            count=count,
            price=rate.amount,
            how=rate.how,
            parts=tuple(parts or ()),
            scaler=scaler,
        )


def _proxy(resources: Iterable[Resource]) -> Mapping[str, Any]:
    """What the mesh's proxies request: as the release of istiod's chart says, else the chart's default."""
    for resource in resources:
        if resource.type == _RELEASE and "istiod" in (_chart(resource), resource.name):
            proxy = _map(_map(_map(resource.inputs, "values"), "global"), "proxy")
            if requests := _map(_map(proxy, "resources"), "requests"):
                return requests
    return _PROXY


def _chart(release: Resource) -> str:
    """The chart's name, from wherever it comes."""
    return str(release.inputs.get("chart") or "").rstrip("/").rpartition("/")[2]


def _chart_objects(release: Resource, rendered: Rendered) -> Iterator[Resource]:
    namespace = str(release.inputs.get("namespace") or "default")
    for item in rendered.objects:
        metadata = {"namespace": namespace, **_map(item, "metadata")}
        yield _ChartObject(release, {**item, "metadata": metadata})


@functools.lru_cache(maxsize=4096)
def _parsed(item: str, quantity: str) -> Decimal:
    """Cores, or bytes. Raises ``ValueError`` for anything else."""
    found = Cpu(quantity).cores if item == "cpu" else Decimal(Bytes(quantity).bytes)
    if found > (_MOST_CORES if item == "cpu" else _MOST_BYTES):  # of a state that somebody made up
        raise ValueError
    return found


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


def _whole(value: Any) -> int | None:
    """A whole number; the engine sends every number as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value % 1:
        return None
    return int(value)


def _count(value: Any, default: int) -> int:
    number = _whole(value)
    return default if number is None or not 0 <= number <= _MOST_REPLICAS else number
