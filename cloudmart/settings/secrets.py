"""Where passwords come from, and how often each was made anew."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from cloudmart.settings.base import DnsLabel, FrozenMapping, HostName, Model, Positive


class SecretStore(Model):
    """An object of the External Secrets Operator that knows where to ask, and as whom. It is not made here."""

    #: Its name.
    name: HostName
    #: Its kind.
    kind: Literal["ClusterSecretStore", "SecretStore"] = "ClusterSecretStore"


class ExternalSecrets(Model):
    """Passwords are kept in a vault, and the External Secrets Operator brings them into the cluster."""

    #: Where to ask.
    store: SecretStore
    #: A password's key in the vault is this and its name: ``cloudmart/prod/`` makes ``cloudmart/prod/redis-password``.
    prefix: Annotated[str, Strict(), Field(pattern=r"^[A-Za-z0-9/_.-]*$", max_length=200)] = ""
    #: The field of that key; the whole of it where it is left out.
    property: Annotated[str, Strict(), Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=100)] | None = None


class SecretSettings(Model):
    """Passwords. Their values stand in no file: only how often each was rotated."""

    #: By name, as `cloudmart secrets list` has it: how often the password was made anew. Each change makes another one,
    #: and rolls the pods that use it; `cloudmart secrets rotate` counts up.
    rotations: FrozenMapping[DnsLabel, Positive] = Field(default={}, validate_default=True)
    #: Where it is left out, passwords are generated.
    external: ExternalSecrets | None = None
