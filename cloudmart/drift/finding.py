"""One thing that is not as declared, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cloudmart.cluster.live import Reference

#: In place of a value that is nobody's to see.
HIDDEN = "not shown"


class Kind(StrEnum):
    """What is wrong with an object or a field of it."""

    MISSING = "missing"
    CHANGED = "changed"
    ADDED = "added"
    UNEXPECTED = "unexpected"
    #: The API server would not have the declared object in place of the live one.
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not as declared. Values are texts, never those of Secrets; None where there is none."""

    kind: Kind
    object: Reference
    #: The field; empty where it is about the whole object.
    path: str = ""
    declared: str | None = None
    live: str | None = None
    #: Field manager and time (RFC 3339) of the last write, where the API server knows them.
    by: str | None = None
    when: str | None = None
    mend: str = ""
