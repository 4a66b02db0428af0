"""The passwords that are generated: how often each was made anew."""

from __future__ import annotations

from pydantic import Field

from cloudmart.settings.base import DnsLabel, FrozenMapping, Model, Positive


class SecretSettings(Model):
    """Generated passwords. Their values stand in no file: only how often each was rotated."""

    #: By name, as `cloudmart secrets list` has it: how often the password was made anew. Each change makes another one,
    #: and rolls the pods that use it; `cloudmart secrets rotate` counts up.
    rotations: FrozenMapping[DnsLabel, Positive] = Field(default={}, validate_default=True)
