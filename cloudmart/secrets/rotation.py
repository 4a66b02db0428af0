"""Making a generated password anew: what that does, before it is done, and the change of the stack's file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudmart.cluster.discovery import served_kinds
from cloudmart.cluster.kubectl import Kubectl, KubectlError
from cloudmart.errors import UserError, meant
from cloudmart.preview.recorder import Recording, record
from cloudmart.secrets.inventory import Secret, Source, inventory
from cloudmart.settings import Settings, edit, load, stack_file
from cloudmart.settings.data import PASSWORD, Store, StoreMode

_ROTATED = (Source.GENERATED, Source.EXTERNAL)
#: How long the operator may take to fetch a value, in seconds; it does so as soon as the object has changed.
_FETCH_SECONDS = 30.0
_EXTERNAL_SECRET = "externalsecrets.external-secrets.io"  # noqa: S105 - a kind


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a rotation does."""

    stack: str
    name: str
    #: How often it was made anew, with this time.
    rotation: int
    #: Whether it is made here; else somebody has changed it already, where External Secrets finds it.
    generated: bool
    #: ``cloudmart/postgres-credentials (password)``.
    updated: tuple[str, ...]
    #: Whose pods are replaced.
    restarted: tuple[str, ...]
    #: What an operator takes up without a restart.
    taken_up: tuple[str, ...]
    #: Whose pods read it and go on with the old one: they were wired by hand.
    left: tuple[str, ...]
    #: What callers notice of it.
    interruption: str

    @property
    def change(self) -> edit.Change:
        """The change of the stack's file."""
        return ("secrets", "rotations", self.name), self.rotation


def plan(stack: str, root: Path, name: str) -> Plan:
    """What it would do to make the password `name` anew; nothing is changed.

    Raises ``UserError`` for a name that is none of the stack's passwords.
    """
    settings = load(stack, root)
    if name not in settings.passwords:
        known = settings.passwords
        allowed = ", ".join(known) or "none"
        raise UserError(f"stack {stack}: found no password {name!r}{meant(name, known)}; allowed: {allowed}")
    return _planned(record(stack, root), settings, name)


def _planned(recording: Recording, settings: Settings, name: str) -> Plan:
    places = [one for one in inventory(recording, settings) if one.source in _ROTATED and one.name == name]
    consumers = list(dict.fromkeys(consumer for place in places for consumer in place.consumers))
    return Plan(
        stack=recording.stack,
        name=name,
        rotation=settings.secrets.rotations.get(name, 0) + 1,
        generated=settings.secrets.external is None,
        updated=tuple(f"{place.secret} ({', '.join(place.keys)})" for place in places),
        restarted=tuple(one.label for one in consumers if one.pods and one.follows),
        taken_up=tuple(one.label for one in consumers if not one.pods),
        left=tuple(one.label for one in consumers if one.pods and not one.follows),
        interruption=_interruption(settings, name, places),
    )


def write(planned: Plan, root: Path) -> None:
    """Counts the rotation in ``Pulumi.<stack>.yaml``: the next ``up`` makes the password anew."""
    edit.write(planned.stack, root, [planned.change])


def fetches(planned: Plan, kubectl: Kubectl) -> Mapping[str, str | None] | None:
    """When External Secrets last fetched each Secret of a rotation, by ``namespace/name``; None for never, and None for
    all where the cluster has no External Secrets."""
    group = _EXTERNAL_SECRET.partition(".")[2]
    if f"ExternalSecret.{group}" not in served_kinds(kubectl.run, {group}):
        return None
    return {place: found.get("refreshTime") for place, found in _statuses(planned, kubectl).items()}


def wait_until_fetched(
    planned: Plan, kubectl: Kubectl, before: Mapping[str, str | None], seconds: float = _FETCH_SECONDS
) -> None:
    """Waits until External Secrets has fetched each again since `before`: what :func:`fetches` said before the `up`.

    Raises ``UserError`` naming those that it has not within `seconds`, and what it says of them.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            late = {
                place: status
                for place, status in _statuses(planned, kubectl).items()
                if status.get("refreshTime") in (None, before.get(place)) or not _is_ready(status)
            }
        except KubectlError:
            if time.monotonic() >= deadline:
                raise
        else:
            if not late:
                return
            if time.monotonic() >= deadline:
                break
        time.sleep(1)
    raise UserError("\n".join(_not_fetched(planned, place, status) for place, status in late.items()))


def _statuses(planned: Plan, kubectl: Kubectl) -> dict[str, Mapping[str, Any]]:
    found = {}
    for updated in planned.updated:
        place = updated.partition(" ")[0]
        space, _, name = place.partition("/")
        live = kubectl.json("get", _EXTERNAL_SECRET, name, f"--namespace={space}", "--ignore-not-found")
        found[place] = (live or {}).get("status", {})
    return found


def _ready(status: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((one for one in status.get("conditions", []) if one["type"] == "Ready"), {})


def _is_ready(status: Mapping[str, Any]) -> bool:
    return _ready(status).get("status") == "True"


def _not_fetched(planned: Plan, place: str, status: Mapping[str, Any]) -> str:
    condition = _ready(status)
    said = "External Secrets says nothing of it"
    if condition and not _is_ready(status):
        said = f"Ready is {condition['status']}: {condition.get('message', 'no message')}"
    return (
        f"ExternalSecret {place}: found no new fetch of {planned.name} ({said}); allowed: one, so its readers have "
        "restarted with the old value. Mend the entry in the vault or the store; once it is fetched, "
        "`kubectl rollout restart` them"
    )


def _interruption(settings: Settings, name: str, places: list[Secret]) -> str:
    """What the store's way of taking up a password means for its callers; docs/secrets.md says why."""
    owner = settings.passwords[name]
    store: Store | None = getattr(settings.data, owner, None)
    own = name == f"{owner}-{PASSWORD}"
    if store is None:
        return "Grafana's one pod is replaced; people log in again."
    if store.mode is StoreMode.EXTERNAL:
        return f"Callers of {owner} restart. The managed service has to know the password before that."
    if store.mode is StoreMode.SINGLE:
        if not own:
            return f"{owner} restarts, and its one pod is away meanwhile; its callers connect again."
        return (
            f"{owner} restarts, and its one pod is away meanwhile; after that its callers are refused until their new "
            "pods are ready. With one replica there is no rotation without it."
        )
    if owner == "redis":
        space = places[0].secret.partition("/")[0]
        return (
            f"{owner} is away until all of its pods have restarted: replicas with the old password and with the new "
            "one do not follow each other, so its rollout waits. As soon as the first is replaced, delete them all: "
            f"`kubectl -n {space} delete pods -l app={owner},release={owner}`. Callers are refused until then."
        )
    if own:
        return "None: it is the owner's, which no pod uses. The operator sets it without a restart."
    return (
        "None for other services. Open connections stay; new ones of the old pods are refused from the moment that the "
        "operator has set the new password until the new pods are ready."
    )


def document(planned: Plan) -> Mapping[str, Any]:
    """For ``--format json``."""
    return {
        "stack": planned.stack,
        "name": planned.name,
        "rotation": planned.rotation,
        "generated": planned.generated,
        "updated": list(planned.updated),
        "restarted": list(planned.restarted),
        "takenUp": list(planned.taken_up),
        "left": list(planned.left),
        "interruption": planned.interruption,
    }


def lines(planned: Plan) -> list[str]:
    """For people."""
    first = ("makes anew", (f"RandomPassword {planned.name}, rotation {planned.rotation}",))
    if not planned.generated:
        first = ("fetches", (f"{planned.name}, rotation {planned.rotation}: change it in the vault first",))
    parts = (
        first,
        ("updates", tuple(f"Secret {place}" for place in planned.updated)),
        ("restarts", planned.restarted),
        ("its operator takes it up", planned.taken_up),
        ("keeps the old one until somebody restarts it", planned.left),
    )
    return [
        f"Rotation of {planned.name} in stack {planned.stack} ({stack_file(planned.stack)}):",
        *(f"  {word}: {', '.join(names)}" for word, names in parts if names),
        f"  interruption: {planned.interruption}",
    ]
