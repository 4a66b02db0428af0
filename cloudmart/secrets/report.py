"""The list of secrets, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cloudmart.finops.tables import Column, Document, Table
from cloudmart.secrets.inventory import Consumer, Secret, Source

_HOUR = 3600
_DAY = 24 * _HOUR


def data(stack: str, secrets: Sequence[Secret], made: Mapping[str, datetime], now: datetime) -> dict[str, Any]:
    """For ``--format json``; ages in seconds, null where nobody knows."""
    return {
        "stack": stack,
        "secrets": [
            {
                "name": one.name,
                "source": one.source.value,
                "secret": one.secret,
                "keys": list(one.keys),
                "rotation": one.rotation,
                "made": at.isoformat() if (at := _made(one, made)) else None,
                "ageSeconds": int((now - at).total_seconds()) if at else None,
                "consumers": [{"object": of.label, "follows": of.follows or not of.pods} for of in one.consumers],
            }
            for one in secrets
        ],
    }


def document(stack: str, secrets: Sequence[Secret], made: Mapping[str, datetime], now: datetime) -> Document:
    """For people."""
    rows = [
        [
            one.name,
            one.source.value,
            f"{one.secret} ({', '.join(one.keys) or 'all of it'})",
            "" if one.rotation is None else str(one.rotation),
            _age((now - at).total_seconds()) if (at := _made(one, made)) else "",
            ", ".join(_reader(of) for of in one.consumers) or "nobody",
        ]
        for one in secrets
    ]
    columns = [
        Column("Name", number=False),
        Column("Made", number=False, rank=1),
        Column("Secret (keys)", number=False, rank=2),
        Column("Rotation"),
        Column("Age"),
        Column("Read by", number=False),
    ]
    notes = []
    if any(one.rotation is not None and of.pods and not of.follows for one in secrets for of in one.consumers):
        notes.append("* goes on with the old value after a rotation, until somebody restarts it")
    return Document(f"Secrets of stack {stack}", (), [Table("No value is shown", columns, rows)], notes)


def _made(one: Secret, made: Mapping[str, datetime]) -> datetime | None:
    return made.get(one.name) if one.source is Source.GENERATED else None


def _reader(of: Consumer) -> str:
    kind, _, place = of.label.partition(" ")
    return f"{kind} {place.partition('/')[2]}" + ("" if of.follows or not of.pods else "*")


def _age(seconds: float) -> str:
    """``3d``, ``5h`` or ``12m``, as kubectl shows it."""
    if seconds >= _DAY:
        return f"{seconds // _DAY:.0f}d"
    return f"{seconds // _HOUR:.0f}h" if seconds >= _HOUR else f"{max(seconds, 0) // 60:.0f}m"
