"""What a change of the declared resources costs: creates, updates, replaces and deletes, each with its part of the sum.

Two lists of resources with their estimates go in: another revision and this one, or Pulumi's state and this one. Pure:
nothing is read, nothing is run. The parts of all changes add up to the difference of the two estimates, to the last
digit: what costs more without being changed itself (a Deployment whose autoscaler got a higher maximum) is counted for
the change that did it, or listed as ``same`` with its new cost where no change did (other prices, another load).
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from cloudmart.finops.estimate import Estimate, Line, Range, Resource
from cloudmart.finops.paths import Item, path_text
from cloudmart.settings.prices import WHOLE_STACK

UNKNOWN = "[unknown]"
SECRET = "[secret]"  # noqa: S105 (the mask, not a secret)
"""What stands in a recording for values that nobody knows yet, and for those that nobody may see."""

_Path: TypeAlias = tuple[str | int | Item, ...]
_SHOWN = 60


class Op(StrEnum):
    """What the engine does to a resource."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    #: Nothing; it only has another price.
    SAME = "same"


class Compared(Resource, Protocol):
    """What the comparison reads of a resource, beside what the estimate does."""

    @property
    def custom(self) -> bool: ...
    @property
    def aliases(self) -> Sequence[str]: ...
    @property
    def ignore_changes(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Property:
    """A property that differs. ``before`` or ``after`` is ``None`` where there is none; both are short texts."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Change:
    """One resource, what becomes of it, and what it costs in a month before and after."""

    op: Op
    urn: str
    type: str
    kind: str
    name: str
    namespace: str
    before: Range
    after: Range
    properties: tuple[Property, ...] = ()
    #: The properties that cannot be changed in place.
    forced_by: tuple[str, ...] = ()
    #: By cost center, its part of the difference.
    by_cost_center: Mapping[str, Range] = field(default_factory=dict)

    @property
    def monthly(self) -> Range:
        """The difference in a month."""
        return self.after - self.before

    @property
    def title(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Delta:
    """All changes between two lists of resources, the dearest first."""

    base: str
    changes: tuple[Change, ...]
    before: Estimate
    after: Estimate
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def monthly(self) -> Range:
        return self.after.monthly - self.before.monthly

    @functools.cached_property
    def counts(self) -> dict[Op, int]:
        found = Counter(change.op for change in self.changes)
        return {op: found[op] for op in Op if op is not Op.SAME}

    def causes(self) -> dict[str, list[tuple[str, Range]]]:
        """By cost center, and under ``stack`` for all: what changed its cost, and by how much."""
        found: dict[str, list[tuple[str, Range]]] = {}
        for change in self.changes:
            text = (
                f"{change.op} {change.kind} {change.name}" if change.op is not Op.SAME else f"{change.title} repriced"
            )
            for name, part in ((WHOLE_STACK, change.monthly), *change.by_cost_center.items()):
                if part != Range():
                    found.setdefault(name, []).append((text, part))
        return found


@dataclass(frozen=True)
class Verdict:
    """What somebody who knows better (the engine) says of a resource."""

    op: Op
    forced_by: tuple[str, ...] = ()


def compare(
    base: str,
    before: Sequence[Compared],
    after: Sequence[Compared],
    estimates: tuple[Estimate, Estimate],
    *,
    verdicts: Mapping[str, Verdict] | None = None,
    notes: Sequence[str] = (),
) -> Delta:
    """Compare two lists of resources; ``estimates`` are those of ``before`` and ``after``.

    ``base`` says what ``before`` is. Without ``verdicts`` (by URN), resources are the same where their URN, or an
    alias, is, and a table of what Kubernetes and Pulumi's provider cannot change in place tells a replacement from an
    update.
    """
    old = {resource.urn: resource for resource in before if _counts(resource)}
    mutable = _mutable(after)
    found: dict[str, Change] = {}
    renamed: dict[str, str] = {}
    for resource in after:
        if not _counts(resource):
            continue
        past = old.pop(resource.urn, None)
        for alias in resource.aliases if past is None else ():
            if past is None and (past := old.pop(alias, None)) is not None:
                renamed[alias] = resource.urn
        change = _change(past, resource, (verdicts or {}).get(resource.urn), mutable)
        if change is not None:
            found[resource.urn] = change
    for urn, resource in old.items():
        found[urn] = _made(Op.DELETE, resource, (), ())
    return Delta(base, tuple(_priced(found, renamed, before, after, estimates)), *estimates, notes=tuple(notes))


def _counts(resource: Compared) -> bool:
    """Components are only a name for what is in them; providers say how, not what."""
    return resource.custom and not resource.type.startswith("pulumi:")


def _change(past: Compared | None, now: Compared, verdict: Verdict | None, mutable: frozenset[str]) -> Change | None:
    if past is None:
        return _made(Op.CREATE, now, (), ())
    ignored = tuple(_ignored(now))
    paths = list(_differing(past.inputs, now.inputs, ()))
    counted = [found for found in paths if not any(_within(found[0], path) for path in ignored)]
    properties = tuple(Property(path_text(path), _shown(old), _shown(new)) for path, old, new in counted)
    # Hashes tell no reader anything.
    properties = tuple(sorted(properties, key=lambda one: "checksum/" in one.path))
    if verdict is not None:
        return None if verdict.op is Op.SAME else _made(verdict.op, now, properties, verdict.forced_by)
    if not properties:
        return None
    forced = tuple(path_text(path) for path, _, _ in counted if _forces(now, path, mutable))
    return _made(Op.REPLACE if forced else Op.UPDATE, now, properties, forced)


def _made(op: Op, of: Compared, properties: tuple[Property, ...], forced: tuple[str, ...]) -> Change:
    metadata = of.inputs.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    return Change(
        op=op,
        urn=of.urn,
        type=of.type,
        kind=of.type.rpartition(":")[2],
        name=str(metadata.get("name") or of.inputs.get("name") or of.name),
        namespace=str(metadata.get("namespace") or of.inputs.get("namespace") or ""),
        before=Range(),
        after=Range(),
        properties=properties,
        forced_by=forced,
    )


def _priced(
    found: Mapping[str, Change],
    renamed: Mapping[str, str],
    before: Sequence[Compared],
    after: Sequence[Compared],
    estimates: tuple[Estimate, Estimate],
) -> list[Change]:
    """The changes with their costs, and what has another cost without being changed."""
    sides = tuple(_by_urn(estimate.lines, renamed) for estimate in estimates)
    known = {resource.urn: resource for resource in (*before, *after)}
    costs: dict[str, tuple[list[Line], list[Line]]] = {urn: ([], []) for urn in found}
    for urn in dict.fromkeys((*found, *sides[0], *sides[1])):
        lines = (sides[0].get(urn, []), sides[1].get(urn, []))
        if urn not in found and _totals(lines[0]) == _totals(lines[1]):
            continue
        target = urn
        if urn not in found or (found[urn].op is Op.UPDATE and _pieces(lines[0]) == _pieces(lines[1])):
            scalers = [renamed.get(line.scaler, line.scaler) for line in (*lines[0], *lines[1])]
            target = next((scaler for scaler in scalers if scaler in found), urn)
        was, now = costs.setdefault(target, ([], []))
        was += lines[0]
        now += lines[1]
    changes = []
    for urn, (was, now) in costs.items():
        change = found[urn] if urn in found else _made(Op.SAME, known[urn], (), ())
        parts: dict[str, Range] = {}
        for line in now:
            parts[line.cost_center] = parts.get(line.cost_center, Range()) + line.monthly
        for line in was:
            parts[line.cost_center] = parts.get(line.cost_center, Range()) - line.monthly
        changes.append(
            replace(
                change,
                before=sum((line.monthly for line in was), Range()),
                after=sum((line.monthly for line in now), Range()),
                by_cost_center=parts,
            )
        )
    return sorted(changes, key=lambda c: (-abs(c.monthly.expected), -abs(c.monthly.max), c.op, c.title))


def _by_urn(lines: Sequence[Line], renamed: Mapping[str, str]) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(renamed.get(line.urn, line.urn), []).append(line)
    return found


def _pieces(lines: Sequence[Line]) -> list[tuple[object, ...]]:
    """What one pod or volume costs, whatever their number is."""
    return [(line.item, line.quantity, line.price, line.hours, line.cost_center) for line in lines]


def _totals(lines: Sequence[Line]) -> dict[str, Range]:
    totals: dict[str, Range] = {}
    for line in lines:
        totals[line.cost_center] = totals.get(line.cost_center, Range()) + line.monthly
    return totals


# --- what differs ----------------------------------------------------------------------------------------------------

_MISSING = object()
_List: TypeAlias = list[Any]
_Difference: TypeAlias = tuple[_Path, Any, Any]


@dataclass(frozen=True)
class _Named(Item):
    """An item, and where it stands now, or stood: what is ignored is told by index."""

    index: int


def _differing(old: Any, new: Any, path: _Path) -> Iterator[_Difference]:
    """Every leaf that differs, and where it stands."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            if not key.startswith("__"):  # the provider's own bookkeeping
                yield from _differing(old.get(key, _MISSING), new.get(key, _MISSING), (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        key = _identity(old, new)
        yield from _by_index(old, new, path) if key is None else _by_key(old, new, key, path)
    elif old != new and UNKNOWN not in (old, new) and not (_secret(old) and _secret(new)):
        # A null is what is left out, to the provider.
        if old in (None, _MISSING) and new in (None, _MISSING):
            return
        yield path, old, new


def _by_index(old: _List, new: _List, path: _Path) -> Iterator[_Difference]:
    for index in range(max(len(old), len(new))):
        one = old[index] if index < len(old) else _MISSING
        other = new[index] if index < len(new) else _MISSING
        yield from _differing(one, other, (*path, index))


def _by_key(old: _List, new: _List, key: str, path: _Path) -> Iterator[_Difference]:
    """Each item beside the one of the same name, wherever that stands, so that what is put between others is added
    and does not seem to take their place."""
    was, now = ({item[key]: (index, item) for index, item in enumerate(items)} for items in (old, new))
    for value in dict.fromkeys((*was, *now)):
        index, _ = now.get(value) or was[value]
        one, other = (side[value][1] if value in side else _MISSING for side in (was, now))
        yield from _differing(one, other, (*path, _Named(((key, value),), index)))
    yield from _reordered([value for value in was if value in now], [value for value in now if value in was], path)


def _reordered(was: list[Any], now: list[Any], path: _Path) -> Iterator[_Difference]:
    """The names that stand in another order, from the first to the last of them: a variable may use only those that
    stand before it in ``env``, and init containers run one after another."""
    moved = [index for index, (one, other) in enumerate(zip(was, now, strict=True)) if one != other]
    if moved:
        texts = (", ".join(map(str, names[moved[0] : moved[-1] + 1])) for names in (was, now))
        before, after = (f"order {text}" for text in texts)
        yield path, before, after


#: What tells the items of a list apart; the first that does counts. Of mounts, ``name`` is that of the volume. To
#: Kubernetes a container's port is its number and protocol: a number that is there once will do. ``port`` is none of
#: these: in a rule of a NetworkPolicy it is all that there is to change.
_IDENTITIES = ("mountPath", "name", "containerPort")


def _identity(*lists: _List) -> str | None:
    """The key by which the items of both lists are known; ``None`` where there is none."""
    if not all(isinstance(item, Mapping) for items in lists for item in items):
        return None
    return next((key for key in _IDENTITIES if all(_tells_apart(key, items) for items in lists)), None)


def _tells_apart(key: str, items: _List) -> bool:
    values = [item.get(key) for item in items]
    known = all(isinstance(value, str | int) and value not in (UNKNOWN, SECRET) for value in values)
    return known and len(set(values)) == len(values)


def _secret(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(map(_secret, value.values()))
    if isinstance(value, list):
        return bool(value) and all(map(_secret, value))
    return bool(value == SECRET)


def _shown(value: Any) -> str | None:
    if value is _MISSING or value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _ignored(resource: Compared) -> Iterator[_Path]:
    for path in resource.ignore_changes:
        yield tuple(int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]\"]+", path))


def _within(path: _Path, above: _Path) -> bool:
    steps = (part.index if isinstance(part, _Named) else part for part in path[: len(above)])
    return tuple(steps) == above


# --- what cannot be changed in place ----------------------------------------------------------------------------------

# pulumi-kubernetes, provider/pkg/provider/diff.go: properties of a kind whose change makes a new object. Everything
# below a path counts too. Kinds are told apart by group.
_METADATA = ("metadata.name", "metadata.namespace")
_IMMUTABLE: dict[tuple[str, str], tuple[str, ...]] = {
    ("apps", "StatefulSet"): (
        "spec.podManagementPolicy",
        "spec.revisionHistoryLimit",
        "spec.selector",
        "spec.serviceName",
        "spec.volumeClaimTemplates",
    ),
    ("apps", "Deployment"): ("spec.selector",),
    ("apps", "DaemonSet"): ("spec.selector",),
    ("batch", "Job"): ("spec.completions", "spec.parallelism", "spec.selector", "spec.template"),
    ("core", "PersistentVolumeClaim"): (
        "spec.accessModes",
        "spec.selector",
        "spec.storageClassName",
        "spec.volumeName",
    ),
    ("core", "ResourceQuota"): ("spec.scopes",),
    ("core", "Secret"): ("type",),
    ("core", "Service"): ("spec.clusterIP",),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): ("roleRef",),
    ("rbac.authorization.k8s.io", "RoleBinding"): ("roleRef",),
    ("storage.k8s.io", "StorageClass"): ("parameters", "provisioner"),
}
#: Pods change in place only in these; everything else of their spec makes a new one.
_POD_MUTABLE = re.compile(r"spec\.(activeDeadlineSeconds|tolerations)|spec\.schedulingGates")
_TOKEN = re.compile(r"kubernetes:([^/:]+)/[^:]+:(\w+)")


def _mutable(resources: Sequence[Compared]) -> frozenset[str]:
    """Kinds whose data the program's provider changes in place."""
    switches = {"enableConfigMapMutable": "ConfigMap", "enableSecretMutable": "Secret"}
    providers = [resource.inputs for resource in resources if resource.type == "pulumi:providers:kubernetes"]
    return frozenset(
        kind for key, kind in switches.items() if any(str(inputs.get(key)).lower() == "true" for inputs in providers)
    )


def _forces(resource: Compared, path: _Path, mutable: frozenset[str]) -> bool:
    if resource.type.startswith("random:"):
        return True  # a new value, whatever it is that changed
    match = _TOKEN.fullmatch(resource.type)
    if match is None or not resource.is_kubernetes_object:
        return False
    text = path_text(path)
    key = (match[1], match[2])
    if key == ("core", "Pod") and text.startswith("spec."):
        return not _POD_MUTABLE.match(text)
    immutable: tuple[str, ...] = (*_METADATA, *_IMMUTABLE.get(key, ()))
    if match[2] in ("ConfigMap", "Secret") and (match[2] not in mutable or resource.inputs.get("immutable") is True):
        immutable += ("data", "binaryData", "stringData")
    return any(text == prefix or text.startswith((f"{prefix}.", f"{prefix}[")) for prefix in immutable)
