"""Which secrets a stack has, where each comes from and who reads it: all of it from a recording, none of it written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cloudmart.preview.recorder import Recorded, Recording
from cloudmart.settings import Settings

_EXTERNAL_SECRET = "ExternalSecret"  # noqa: S105 - a kind
_SECRET_KEYS = ("secretname", "existingsecret", "configsecret")
#: Lists of names, in the values of charts and of a consumer of Kong.
_LISTS = ("pullsecrets", "credentials")
#: Of a listener of the Gateway API; and on a Gateway whose certificates cert-manager makes.
_CERTIFICATES, _ISSUER = "certificateRefs", "cert-manager.io/cluster-issuer"
#: Keys of a Secret's manifest that hold its values.
_VALUES = ("stringData", "data")


class Source(StrEnum):
    """Where a secret value comes from."""

    #: The program makes it, once, and anew when it is rotated.
    GENERATED = "generated"
    #: The External Secrets Operator fetches it from where people keep it.
    EXTERNAL = "external"
    #: An encrypted value of the stack's file.
    CONFIGURATION = "configuration"
    #: Something reads a Secret that this program does not make.
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, kw_only=True)
class Consumer:
    """An object that reads a secret."""

    #: ``Deployment cloudmart/order-service``.
    label: str
    #: It holds pods (or is a chart, which does): the value is read at their start.
    pods: bool
    #: What it declares changes with the value: its pods are replaced, or its operator looks again.
    follows: bool


@dataclass(frozen=True, kw_only=True)
class Secret:
    """One secret value, and the Kubernetes Secret that it stands in."""

    #: Of a generated one: what `cloudmart secrets rotate` takes. Of one from the configuration: its key there.
    name: str
    source: Source
    #: ``cloudmart/postgres-credentials``.
    secret: str
    #: The keys of the Secret that hold the value, by itself or within a file.
    keys: tuple[str, ...]
    #: How often it was made anew; None for what cannot be rotated from here.
    rotation: int | None
    consumers: tuple[Consumer, ...]
    #: Stands for a generated or configured value in the recording.
    sentinel: str = ""


@dataclass(frozen=True)
class _Reference:
    """A place of an object's manifest that names a Secret; no keys mean all of it."""

    name: str
    keys: frozenset[str]


def inventory(recording: Recording, settings: Settings) -> list[Secret]:
    """Every secret value of a stack, in the program's order; then the Secrets that are read and not made here."""
    readers = [(one, list(_references(one.inputs))) for one in _readers(recording)]
    found: list[Secret] = []
    # Those that cert-manager makes.
    made = {
        (str(one.namespace), reference.name)
        for one, references in readers
        if _ISSUER in (one.metadata.get("annotations") or {})
        for reference in references
    }
    for holder in recording.resources:
        if holder.kind == _EXTERNAL_SECRET:
            found += _fetched(holder, settings, readers)
            made.add((str(holder.namespace), str(holder.inputs["spec"]["target"]["name"])))
        if not (holder.is_kubernetes_object and holder.kind == "Secret"):
            continue
        place = (str(holder.namespace), str(holder.object_name))
        made.add(place)
        for sentinel, keys in _values(holder, recording).items():
            wanted = recording.generated[sentinel]
            generated = wanted.source == "random"
            found.append(
                Secret(
                    name=wanted.name,
                    source=Source.GENERATED if generated else Source.CONFIGURATION,
                    secret="/".join(place),
                    keys=keys,
                    rotation=settings.secrets.rotations.get(wanted.name, 0) if generated else None,
                    # As `components.password.checksum_of` makes it, here and below.
                    consumers=tuple(_consumers(readers, place, frozenset(keys), sentinel)),
                    sentinel=sentinel,
                )
            )
    return [*found, *_elsewhere(readers, made)]


def _values(holder: Recorded, recording: Recording) -> dict[str, tuple[str, ...]]:
    """By sentinel: the keys of a Secret in which it stands."""
    found: dict[str, list[str]] = {}
    for path, template in holder.secrets.items():
        if path[0] not in _VALUES:
            continue
        text = json.dumps(template)
        for sentinel in recording.generated:
            if sentinel in text:
                found.setdefault(sentinel, []).append(str(path[1]) if len(path) > 1 else "")
    return {sentinel: tuple(keys) for sentinel, keys in found.items()}


def _fetched(
    holder: Recorded, settings: Settings, readers: list[tuple[Recorded, list[_Reference]]]
) -> Iterator[Secret]:
    """The values that an ExternalSecret fetches for its Secret."""
    prefix = settings.secrets.external.prefix if settings.secrets.external else ""
    names = {f"{prefix}{name}": name for name in settings.passwords}
    spec = holder.inputs["spec"]
    template = spec["target"]["template"]["data"]
    for datum in spec["data"]:
        value = f"{{{{ .{datum['secretKey']} }}}}"
        name = names[datum["remoteRef"]["key"]]
        rotation = settings.secrets.rotations.get(name, 0)
        keys = tuple(key for key, text in template.items() if value in text)
        place = (str(holder.namespace), str(spec["target"]["name"]))
        yield Secret(
            name=name,
            source=Source.EXTERNAL,
            secret="/".join(place),
            keys=keys,
            rotation=rotation,
            consumers=tuple(_consumers(readers, place, frozenset(keys), f"{value} {rotation}")),
        )


def _readers(recording: Recording) -> Iterator[Recorded]:
    """What can read a Secret: objects and charts."""
    for one in recording.resources:
        if (
            one.custom
            and one.type.startswith("kubernetes:")
            and one.kind not in ("Secret", _EXTERNAL_SECRET)
            and one.namespace
        ):
            yield one


def _label(one: Recorded) -> str:
    kind = one.kind or one.type.rsplit(":", 1)[-1]
    return f"{kind} {one.namespace}/{one.object_name or one.inputs.get('name') or one.name}"


def _consumers(
    readers: list[tuple[Recorded, list[_Reference]]], place: tuple[str, str], keys: frozenset[str], mark: str
) -> Iterator[Consumer]:
    namespace, name = place
    digest = hashlib.sha256(mark.encode()).hexdigest()
    for one, references in readers:
        if one.namespace != namespace:
            continue
        if any(found.name == name and (not found.keys or found.keys & keys) for found in references):
            yield Consumer(label=_label(one), pods=_has_pods(one), follows=digest in json.dumps(one.inputs))


def _has_pods(one: Recorded) -> bool:
    spec = one.inputs.get("spec")
    return one.kind is None or (isinstance(spec, dict) and ("template" in spec or "jobTemplate" in spec))


def _elsewhere(readers: list[tuple[Recorded, list[_Reference]]], made: set[tuple[str, str]]) -> list[Secret]:
    found: dict[tuple[str, str], tuple[set[str], list[Consumer]]] = {}
    for one, references in readers:
        for reference in references:
            place = (str(one.namespace), reference.name)
            if place in made:
                continue
            keys, consumers = found.setdefault(place, (set(), []))
            keys |= reference.keys
            consumer = Consumer(label=_label(one), pods=_has_pods(one), follows=False)
            if consumer not in consumers:
                consumers.append(consumer)
    return [
        Secret(
            name=name,
            source=Source.ELSEWHERE,
            secret=f"{namespace}/{name}",
            keys=tuple(sorted(keys)),
            rotation=None,
            consumers=tuple(consumers),
        )
        for (namespace, name), (keys, consumers) in found.items()
    ]


def _references(value: Any, key: str = "") -> Iterator[_Reference]:
    """The Secrets that a manifest or a chart's values name: by ``secretKeyRef``, in volumes, as a custom kind's own
    reference, or as the name of an existing Secret. `key` is the one under which `value` stands."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, str) and item and key.lower().endswith(_LISTS):
                yield _Reference(item, frozenset())
            yield from _references(item, key)
    if not isinstance(value, Mapping):
        return
    name = value.get("name")
    # `{name, key}` is how kinds of every group name one key of a Secret; the same of a ConfigMap says so.
    one_key = set(value) == {"name", "key"} and "configmap" not in key.lower()
    if (
        isinstance(name, str)
        and name
        and ("secret" in key.lower() or key == _CERTIFICATES or one_key or value.get("kind") == "Secret")
    ):
        yield _Reference(name, _keys(value))
    for below, item in value.items():
        if isinstance(item, str) and item and below.lower().endswith(_SECRET_KEYS):
            yield _Reference(item, _keys(value))
        else:
            yield from _references(item, below)


def _keys(reference: Mapping[str, Any]) -> frozenset[str]:
    """The keys of the Secret that a reference takes; none for all of it."""
    if isinstance(key := reference.get("key"), str):
        return frozenset({key})
    return frozenset(str(item["key"]) for item in reference.get("items") or () if isinstance(item, Mapping))
