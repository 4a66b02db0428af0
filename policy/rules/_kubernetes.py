"""What the rules see of a resource: a Kubernetes object or Helm release as plain values, with unknown ones marked.

The engine passes properties as proxies that raise on a value it cannot know yet. One unknown environment variable would
then hide everything else about a container, so unknown values are turned into `UNKNOWN` once, and each rule skips just
the check that needs the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

from pulumi_policy import PolicyResource, proxy

from cloudmart.settings.rules import WORKLOADS


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


#: Stands for a value that preview cannot know. It is not None: a missing value and an unknown one differ.
UNKNOWN: Final = _Unknown()

_SENTINELS = frozenset(
    {
        proxy.UNKNOWN_BOOLEAN_VALUE,
        proxy.UNKNOWN_NUMBER_VALUE,
        proxy.UNKNOWN_STRING_VALUE,
        proxy.UNKNOWN_ARRAY_VALUE,
        proxy.UNKNOWN_ASSET_VALUE,
        proxy.UNKNOWN_ARCHIVE_VALUE,
        proxy.UNKNOWN_OBJECT_VALUE,
    }
)

_SCALARS = frozenset({bool, int, float, type(None)})

#: A group other than these may have a kind of the same name (a Knative Service, say), which is something else.
_GROUPS: dict[str, frozenset[str]] = {
    "Deployment": frozenset({"apps", "extensions"}),
    "StatefulSet": frozenset({"apps"}),
    "DaemonSet": frozenset({"apps", "extensions"}),
    "ReplicaSet": frozenset({"apps", "extensions"}),
    "ReplicationController": frozenset({"core"}),
    "Job": frozenset({"batch"}),
    "CronJob": frozenset({"batch"}),
    "Pod": frozenset({"core"}),
    "Namespace": frozenset({"core"}),
    "Service": frozenset({"core"}),
    "ConfigMap": frozenset({"core"}),
    "PersistentVolumeClaim": frozenset({"core"}),
    "ResourceQuota": frozenset({"core"}),
    "HorizontalPodAutoscaler": frozenset({"autoscaling"}),
    "PodDisruptionBudget": frozenset({"policy"}),
    "NetworkPolicy": frozenset({"networking.k8s.io", "extensions"}),
    "Gateway": frozenset({"gateway.networking.k8s.io"}),
    # Of these operators make pods.
    "Cluster": frozenset({"postgresql.cnpg.io"}),
    "Pooler": frozenset({"postgresql.cnpg.io"}),
    "ObjectStore": frozenset({"barmancloud.cnpg.io"}),
    "Kafka": frozenset({"kafka.strimzi.io"}),
    "KafkaNodePool": frozenset({"kafka.strimzi.io"}),
    "Release": frozenset({"helm.sh"}),
    "Chart": frozenset({"helm.sh"}),
}
_TOKEN = re.compile(r"kubernetes:([^/:]+)/[^:]+:(\w+)")


@lru_cache(maxsize=4096)
def kind_of(resource_type: str) -> str | None:
    """The kind behind a type token such as ``kubernetes:apps/v1:Deployment``, any API version; None if not ours."""
    match = _TOKEN.fullmatch(resource_type)
    return match[2] if match and match[1] in _GROUPS.get(match[2], ()) else None


class Plain(dict[str, Any]):
    """Properties that are plain already: whoever has such takes them as they are."""


def plain(value: Any) -> Any:
    """`value` as dicts, lists and scalars, with `UNKNOWN` for what preview cannot know."""
    # Nothing here runs as often as this; exact types first, because asking for an abstract one takes ten times as long.
    kind = type(value)
    if kind is str:
        return UNKNOWN if value in _SENTINELS else value
    if kind is dict:
        return {
            key: (UNKNOWN if item in _SENTINELS else item) if type(item) is str else plain(item)
            for key, item in value.items()
        }
    if kind is list:
        return [plain(item) for item in value]
    if kind in _SCALARS or kind is Plain:
        return value
    if isinstance(value, Mapping):
        return {key: _entry(value, key) for key in value}
    if isinstance(value, Sequence) and kind is not bytes:
        return [_entry(value, index) for index in range(len(value))]
    return value


def _entry(container: Any, key: Any) -> Any:
    try:
        return plain(container[key])
    except proxy.UnknownValueError:
        return UNKNOWN


def get(value: Any, *path: str) -> Any:
    """The value at `path`: None if a step is missing, `UNKNOWN` if a step is unknown."""
    for step in path:
        if value is UNKNOWN:
            return UNKNOWN
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value


def items(value: Any, *path: str) -> list[Any]:
    """The known items of the list at `path`; empty if it is missing or unknown."""
    found = get(value, *path)
    return [item for item in found if item is not UNKNOWN] if isinstance(found, list) else []


def amount(value: Any, *path: str) -> Any:
    """The number at `path`, None if it is missing, `UNKNOWN` if it is unknown or no number.

    What has the wrong type is the schema check's to report; a rule must only not fail on it.
    """
    found = get(value, *path)
    return found if found is None or (isinstance(found, (int, float)) and not isinstance(found, bool)) else UNKNOWN


def texts(value: Any, *path: str) -> Any:
    """The list of strings at `path`, None if it is missing, `UNKNOWN` if any of it is unknown or of another type."""
    found = get(value, *path)
    return found if found is None or (isinstance(found, list) and all(isinstance(t, str) for t in found)) else UNKNOWN


def number(value: Any) -> str:
    """A number as people write it: the engine sends every number as a float."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def text_or(value: Any, default: str) -> str:
    """`value` if it is text with something in it, else `default`."""
    return value if isinstance(value, str) and value else default


@dataclass(frozen=True, eq=False)
class Container:
    """A container of a pod; `init` says whether it is an init container."""

    name: str
    init: bool
    body: dict[str, Any]

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"{'init container' if self.init else 'container'} '{self.name}'"


@dataclass(frozen=True, eq=False)
class Object:
    """A resource of a kind that the rules know. `body` is plain (see `plain`)."""

    kind: str
    urn: str
    resource_name: str
    body: dict[str, Any]

    @classmethod
    def of(cls, kind: str, urn: str, name: str, props: Any) -> Object:
        """The object with the properties `props`."""
        return cls(kind, urn, name, plain(props))

    @cached_property
    def name(self) -> str:
        """The object's name; the resource's name where the provider is to choose one."""
        given = self.body.get("name") if self.kind in ("Release", "Chart") else get(self.body, "metadata", "name")
        return text_or(given, self.resource_name)

    @cached_property
    def namespace(self) -> Any:
        """The namespace, ``default`` if none is given, None for a Namespace itself, or `UNKNOWN`."""
        if self.kind == "Namespace":
            return None
        given = (
            self.body.get("namespace") if self.kind in ("Release", "Chart") else get(self.body, "metadata", "namespace")
        )
        return "default" if given is None else given if isinstance(given, str) else UNKNOWN

    @cached_property
    def id(self) -> str:
        """``Kind/namespace/name``, or ``Namespace/name``: what `exempt` patterns are matched against."""
        if self.namespace is None:
            return f"{self.kind}/{self.name}"
        return f"{self.kind}/{'?' if self.namespace is UNKNOWN else self.namespace}/{self.name}"

    @cached_property
    def where(self) -> str:
        """How messages name it: ``Deployment cloudmart/user-service``."""
        return self.id.replace("/", " ", 1)

    @cached_property
    def template(self) -> Any:
        """The pod template (``metadata`` and ``spec``) of a workload; the Pod itself for a Pod; None otherwise."""
        if self.kind not in WORKLOADS:
            return None
        return get(self.body, *TEMPLATE_PATHS.get(self.kind, ("spec", "template")))

    @cached_property
    def pod_labels(self) -> Any:
        """The labels of a workload's pods, each text or `UNKNOWN`."""
        found = get(self.template, "metadata", "labels")
        if not isinstance(found, dict):
            return found if found is None else UNKNOWN
        return {key: value if isinstance(value, str) else UNKNOWN for key, value in found.items()}

    @cached_property
    def containers(self) -> list[Container]:
        """Init containers, then containers, of a workload."""
        return [
            Container(text_or(body.get("name"), f"#{index}"), key == "initContainers", body)
            for key in ("initContainers", "containers")
            for index, body in enumerate(items(self.template, "spec", key))
            if isinstance(body, dict)
        ]

    @property
    def long_running(self) -> bool:
        """Whether its pods are meant to stay: not Jobs, CronJobs, or a Pod that may end."""
        if self.kind == "Pod":
            return get(self.body, "spec", "restartPolicy") in (None, "Always")
        return self.kind in WORKLOADS - {"Job", "CronJob"}


TEMPLATE_PATHS: dict[str, tuple[str, ...]] = {"Pod": (), "CronJob": ("spec", "jobTemplate", "spec", "template")}

# Every rule is asked about a resource before the next resource comes: remembering one is enough to read it once.
_last: tuple[Any, Object] | None = None


def read(kind: str, urn: str, name: str, props: Any) -> Object:
    """The object with the properties `props`, read once for all rules that ask in a row."""
    global _last
    last = _last
    if last is not None and last[0] is props:
        return last[1]
    found = Object.of(kind, urn, name, props)
    _last = (props, found)
    return found


def matches(selector: Any, labels: Any) -> bool:
    """Whether a LabelSelector selects `labels`. True where something unknown keeps it from being ruled out."""
    if selector is UNKNOWN or labels is UNKNOWN:
        return True
    labels = labels or {}
    wanted = get(selector, "matchLabels")
    for key, value in wanted.items() if isinstance(wanted, dict) else ():
        if isinstance(value, str) and labels.get(key) not in (value, UNKNOWN):
            return False
    return all(_expression_holds(expression, labels) for expression in items(selector, "matchExpressions"))


def _expression_holds(expression: Any, labels: Mapping[str, Any]) -> bool:
    key, values = get(expression, "key"), texts(expression, "values") or []
    found = labels.get(key) if isinstance(key, str) else UNKNOWN
    if UNKNOWN in (found, values):
        return True
    holds: dict[str, Callable[[], bool]] = {
        "In": lambda: found in values,
        "NotIn": lambda: found not in values,
        "Exists": lambda: found is not None,
        "DoesNotExist": lambda: found is None,
    }
    return holds.get(str(get(expression, "operator")), lambda: True)()


class Stack:
    """All objects of a stack that the rules know, found by kind, by place, by name and by label."""

    def __init__(self, resources: Sequence[PolicyResource]) -> None:
        self._by_kind: dict[str, list[Object]] = {}
        self._by_place: dict[tuple[str, Any], list[Object]] = {}
        self._by_name: dict[tuple[str, Any, str], Object] = {}
        self._by_label: dict[tuple[Any, Any, Any], list[Object]] = {}
        self.workloads: list[Object] = []
        for resource in resources:
            kind = kind_of(resource.resource_type)
            if kind is not None:
                self._add(Object.of(kind, resource.urn, resource.name, resource.props))

    def _add(self, found: Object) -> None:
        self._by_kind.setdefault(found.kind, []).append(found)
        self._by_place.setdefault((found.kind, found.namespace), []).append(found)
        self._by_name[found.kind, found.namespace, found.name] = found
        if found.kind in WORKLOADS:
            self.workloads.append(found)
            labels = found.pod_labels
            # Under the label UNKNOWN stands what any selector may select.
            for label, value in labels.items() if isinstance(labels, dict) else [(UNKNOWN, UNKNOWN)]:
                self._by_label.setdefault((found.namespace, label, value), []).append(found)

    def of(self, *kinds: str) -> Iterator[Object]:
        """Every object of these kinds."""
        for kind in kinds:
            yield from self._by_kind.get(kind, ())

    def within(self, namespace: Any, *kinds: str) -> Iterator[Object]:
        """Every object of these kinds in a namespace, and those whose namespace is unknown: they may be in it."""
        for kind in kinds:
            yield from self._by_place.get((kind, namespace), ())
            if namespace is not UNKNOWN:
                yield from self._by_place.get((kind, UNKNOWN), ())

    def named(self, namespace: Any, kind: str, name: str) -> Object | None:
        """The object of that kind and name, if the stack has it."""
        return self._by_name.get((kind, namespace, name)) or self._by_name.get((kind, UNKNOWN, name))

    def selected(self, namespace: Any, selector: Any) -> Iterator[Object]:
        """The workloads of a namespace whose pods a LabelSelector selects, or may select for all that is known."""
        wanted = get(selector, "matchLabels")
        pairs = [(k, v) for k, v in wanted.items() if isinstance(v, str)] if isinstance(wanted, dict) else []
        candidates: Iterable[Object]
        if namespace is UNKNOWN:
            candidates = self.workloads
        elif not pairs:
            candidates = self.within(namespace, *WORKLOADS)
        else:
            keys = [pairs[0], (pairs[0][0], UNKNOWN), (UNKNOWN, UNKNOWN)]
            places = (namespace, UNKNOWN)
            candidates = (f for place in places for key in keys for f in self._by_label.get((place, *key), ()))
        return (found for found in candidates if matches(selector, found.pod_labels))


_last_stack: tuple[Any, Stack] | None = None


def read_stack(resources: Sequence[PolicyResource]) -> Stack:
    """The stack of these resources."""
    global _last_stack
    last = _last_stack
    if last is not None and last[0] is resources:
        return last[1]
    found = Stack(resources)
    _last_stack = (resources, found)
    return found
