"""Generated values (passwords) without a Pulumi CLI: pulumi-random's part.

They live in one Secret that belongs to no ApplySet. They are made once and kept from then on, until they are rotated:
then there is another one beside the old, which goes once the new one has arrived.
"""

from __future__ import annotations

import base64
import json
import secrets
import string
from collections.abc import Collection, Iterable
from typing import Any

from cloudmart.cluster.kubectl import Kubectl
from cloudmart.errors import UserError
from cloudmart.preview.recorder import Generated, Recording
from cloudmart.preview.render import Manifest

RESTORER = "cloudmart-restored"
"""Field manager of values that were put back from the live Secrets: they are older than their time says."""


def name_of(stack: str) -> str:
    """Name of the Secret in the shop's namespace that keeps a stack's generated values."""
    return f"cloudmart-{stack}-generated"


def is_keeper(manager: str) -> bool:
    """Whether this field manager writes generated values by right: each run has a name of its own."""
    return manager.startswith("cloudmart-")


def key_of(sentinel: str) -> str:
    """The key of a generated value in that Secret."""
    return sentinel.strip(".")


def with_data(item: dict[str, Any]) -> dict[str, Any]:
    """The object, a Secret with all its values in `data`; `item` may be changed.

    `stringData` is write-only: server-side apply would not see later that a key of it is gone.
    """
    plain = item.pop("stringData", None) if item["kind"] == "Secret" else None
    if plain:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
        item["data"] = {**item.get("data", {}), **encoded}
    return item


def keys(recording: Recording, found: Iterable[Manifest]) -> dict[str, str]:
    """The key of every generated value that an object holds, by its sentinel."""
    held = json.dumps([list(manifest.recorded.secrets.values()) for manifest in found])
    return {sentinel: key_of(sentinel) for sentinel in recording.generated if sentinel in held}


def is_rotation(key: str, kept: Iterable[str]) -> bool:
    """Whether an earlier rotation of the same value is kept: then one that is missing is only not made yet."""
    return _slot(key) in {_slot(other) for other in kept}


def _decoded(key: str, value: str, secret: str) -> str:
    try:
        return base64.b64decode(value).decode()
    except ValueError:
        raise UserError(
            f"Secret {secret}: {key}: found what is no text; allowed: the password that was kept there. "
            "`cloudmart drift` says how to put it back"
        ) from None


def values(
    kubectl: Kubectl, recording: Recording, found: Iterable[Manifest], namespace: str
) -> tuple[dict[str, str], list[str]]:
    """A value for every sentinel that an object holds: the kept one, else a new one that is kept from now on. And the
    keys of those that have been made anew since.

    Raises ``UserError`` for what only the engine can give: an encrypted value of the stack's file.
    """
    name = name_of(recording.stack)
    live = kubectl.json("get", "secret", name, f"--namespace={namespace}", "--ignore-not-found")
    kept = {key: _decoded(key, value, f"{namespace}/{name}") for key, value in ((live or {}).get("data") or {}).items()}
    chosen: dict[str, str] = {}
    missing: dict[str, str] = {}
    held = keys(recording, found)
    for sentinel, key in held.items():
        wanted = recording.generated[sentinel]
        if wanted.source == "config":
            raise UserError(
                f"Pulumi.{recording.stack}.yaml: config.{wanted.name}: found an encrypted value, which only the Pulumi "
                "CLI can decrypt; put it on PATH"
            )
        chosen[sentinel] = kept.get(key) or missing.setdefault(key, _generate(wanted))
    if missing:
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "stringData": missing,
        }
        kubectl.run(
            "apply",
            "--server-side",
            # Each run owns only the keys that it adds, so that none takes away what an earlier one made.
            f"--field-manager=cloudmart-{secrets.token_hex(4)}",
            "-f",
            "-",
            stdin=json.dumps(with_data(secret)),
        )
    wanted_keys = set(held.values())
    slots = {_slot(key) for key in wanted_keys}
    # What is not wanted at all just now, of a store that is switched off, is kept: it comes back with the data.
    return chosen, [key for key in kept if key not in wanted_keys and _slot(key) in slots]


def _slot(key: str) -> tuple[str, ...]:
    """What the values that follow each other by rotation have in common: all of the key but the digest."""
    parts = key.split(".")
    return (*parts[:2], *parts[3:])


def forget(kubectl: Kubectl, stack: str, namespace: str, keys: Collection[str]) -> None:
    """Takes the values of these keys out of the Secret that keeps them."""
    if keys:
        patch = json.dumps({"data": dict.fromkeys(keys)})
        kubectl.run("patch", "secret", name_of(stack), f"--namespace={namespace}", "--type=merge", f"--patch={patch}")


def _generate(wanted: Generated) -> str:
    """As pulumi-random's RandomPassword would: its length, its character classes, at least so many of each."""
    if not wanted.type.endswith(":RandomPassword") or wanted.property != "result":
        raise UserError(f"{wanted.urn}: {wanted.property} can only be made by the Pulumi engine; put its CLI on PATH")
    given = wanted.inputs
    length = int(given["length"])
    classes = {
        "lower": string.ascii_lowercase,
        "upper": string.ascii_uppercase,
        "numeric": string.digits,
        "special": str(given.get("overrideSpecial") or "!@#$%&*()-_=+[]{}<>:?"),
    }
    used = {name: letters for name, letters in classes.items() if given.get(name, True)}
    picked = [
        secrets.choice(letters)
        for name, letters in used.items()
        for _ in range(int(given.get(f"min{name.capitalize()}", 0)))
    ]
    everything = "".join(used.values())
    picked += [secrets.choice(everything) for _ in range(length - len(picked))]
    secrets.SystemRandom().shuffle(picked)
    return "".join(picked)
