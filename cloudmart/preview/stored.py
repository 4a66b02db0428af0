"""Resources as Pulumi keeps and shows them: the state of a stack, and the plan of ``pulumi preview --json``.

Both hold inputs as a recording does, but for a few differences that are no change: encrypted values, what the provider
writes down for itself, defaults of Helm releases, and hashes of secrets that an offline run cannot know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cloudmart.errors import UserError
from cloudmart.finops.delta import SECRET, UNKNOWN, Compared, Op, Verdict
from cloudmart.preview.recorder import Recorded
from cloudmart.settings.source import contents, parse_json

# Marks a special value in state and plan (sdk/go/common/resource/properties.go: SigKey, SecretSig).
_SIGNATURE, _SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"
#: Bytes of a state or plan; 5,000 resources have some 20 MiB.
_LARGEST = 32 << 20
_RELEASE = "kubernetes:helm.sh/v3:Release"
_PENDING = "pendingReplacement"
#: Annotations of pods that hold hashes. All but the one of the configuration are made of generated passwords: offline,
#: of their stand-ins.
_HASH, _HASH_OF_CONFIG = "checksum/", "checksum/config"
_OPS = {
    "create": Op.CREATE,
    "import": Op.CREATE,
    "update": Op.UPDATE,
    "replace": Op.REPLACE,
    "create-replacement": Op.REPLACE,
    "delete-replaced": Op.REPLACE,
    "delete": Op.DELETE,
    "same": Op.SAME,
}


@dataclass(frozen=True)
class Stored:
    """A resource of a state or plan."""

    urn: str
    type: str
    name: str
    inputs: Mapping[str, Any]
    custom: bool
    ignore_changes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def is_kubernetes_object(self) -> bool:
        """As of a recording: one object in the cluster."""
        return (
            self.custom
            and self.type.startswith("kubernetes:")
            and bool(self.inputs.get("apiVersion"))
            and self.type.rpartition(":")[2] == self.inputs.get("kind")
        )


@dataclass(frozen=True)
class Plan:
    """A plan, completed by a recording of the same program with what stays as it is."""

    before: Sequence[Compared]
    after: Sequence[Compared]
    verdicts: Mapping[str, Verdict]
    notes: Sequence[str]


def read(file: Path, option: str) -> Mapping[str, Any]:
    """A JSON object. Raises :class:`UserError` naming the option and the file."""
    name = f"{option} {file.name}"
    data = parse_json(contents(file, name, _LARGEST), name)
    if not isinstance(data, dict):
        raise UserError(f"{name}: found {type(data).__name__}; allowed: an object")
    return data


def from_state(data: Mapping[str, Any], stack: str, source: str) -> list[Stored]:
    """The resources of what ``pulumi stack export`` prints. Raises :class:`UserError` naming `source`."""
    deployment = data.get("deployment")
    resources = deployment.get("resources") if isinstance(deployment, Mapping) else None
    if not isinstance(deployment, Mapping) or (resources is not None and not isinstance(resources, list)):
        raise UserError(f"{source}: found no deployment; allowed: what `pulumi stack export` prints")
    found = [
        _stored(item)
        for item in resources or []
        # What waits to be deleted is of no use, and often has the URN of what took its place.
        if isinstance(item, Mapping) and not item.get("delete") and not item.get(_PENDING)
    ]
    _same_stack(found, stack, source)
    return found


def from_plan(data: Mapping[str, Any], recorded: Sequence[Recorded], stack: str, source: str) -> Plan:
    """What ``pulumi preview --json`` prints. It leaves out what stays the same: that is taken from the recording.

    Raises :class:`UserError` naming `source` for what is no plan, a plan of another stack, and one that ended with an
    error, in which something is missing.
    """
    steps = data.get("steps")
    failed = [
        str(item.get("message", "")).strip()
        for item in _listed(data.get("diagnostics"))
        if isinstance(item, Mapping) and item.get("severity") == "error"
    ]
    if failed:
        first = " ".join(failed[0].removeprefix("error:").split())
        raise UserError(f"{source}: found a plan that failed ({first}); allowed: one without errors")
    if not isinstance(steps, list):
        raise UserError(f"{source}: found no steps; allowed: what `pulumi preview --json` prints")
    before: dict[str, Compared] = {resource.urn: resource for resource in recorded}
    after: dict[str, Compared] = dict(before)
    verdicts = {resource.urn: Verdict(Op.SAME) for resource in recorded}
    notes: list[str] = []
    states: list[Stored] = []
    for step in steps:
        if not isinstance(step, Mapping) or (op := _OPS.get(str(step.get("op")))) in (None, Op.SAME):
            continue
        urn = str(step.get("urn"))
        old, new = (_stored(state) if isinstance(state := step.get(key), Mapping) else None for key in _STATES)
        states += [state for state in (old, new) if state is not None]
        if op is Op.REPLACE and urn in verdicts and verdicts[urn].op is Op.REPLACE:
            continue  # its other steps say the same
        verdicts[urn] = Verdict(op, tuple(str(reason) for reason in _listed(step.get("replaceReasons"))))
        _put(before, urn, None if op is Op.CREATE else old)
        _put(after, urn, None if op is Op.DELETE else new or old)
    _same_stack(states, stack, source)
    return Plan(list(before.values()), list(after.values()), verdicts, notes)


def _listed(value: Any) -> list[Any]:
    """The list that it is, or is meant to be."""
    return value if isinstance(value, list) else []


_STATES = ("oldState", "newState")


def _put(side: dict[str, Compared], urn: str, resource: Stored | None) -> None:
    if resource is None:
        side.pop(urn, None)
    else:
        side[urn] = resource


def comparable(recorded: Sequence[Recorded]) -> list[Recorded]:
    """A recording, made to be compared with a state: what only a real run knows is unknown."""
    return [replace(resource, inputs=_normal(resource.type, resource.inputs)) for resource in recorded]


def _stored(item: Mapping[str, Any]) -> Stored:
    urn, kind = str(item.get("urn", "")), str(item.get("type", ""))
    inputs = item.get("inputs")
    return Stored(
        urn=urn,
        type=kind,
        name=urn.rpartition("::")[2],
        inputs=_normal(kind, inputs if isinstance(inputs, Mapping) else {}),
        custom=bool(item.get("custom")),
        ignore_changes=tuple(str(path) for path in _listed(item.get("ignoreChanges"))),
    )


def _normal(kind: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: _plain(value) for key, value in inputs.items() if not key.startswith("__")}
    if kind == _RELEASE:
        # The provider writes down the default of everything that was not said, and a path as its own.
        plain = {key: value for key, value in plain.items() if value not in (False, "", None)}
        plain.pop("compat", None)  # the SDK's word to the provider
        if isinstance(plain.get("chart"), str):
            plain["chart"] = plain["chart"].removeprefix("./")
    elif kind == "kubernetes:core/v1:Secret" and "stringData" in plain:
        plain["data"] = plain.pop("stringData")  # as the provider writes it down
    elif kind.endswith(":PriorityClass") and plain.get("globalDefault") is False:
        del plain["globalDefault"]  # the default is left out
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.get(_SIGNATURE) == _SECRET_SIGNATURE:
            return SECRET
        found = {key: UNKNOWN if _is_hash_of_secrets(key) else _plain(item) for key, item in value.items()}
        # A state keeps no empty lists and mappings.
        return {key: item for key, item in found.items() if item not in ([], {})}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _is_hash_of_secrets(key: str) -> bool:
    return key.startswith(_HASH) and key != _HASH_OF_CONFIG


def _same_stack(resources: Sequence[Stored], stack: str, source: str) -> None:
    for resource in resources:
        found = resource.urn.removeprefix("urn:pulumi:").partition("::")[0]
        if found != stack:
            raise UserError(f"{source}: found a resource of stack {found!r}; allowed: those of {stack!r}")
