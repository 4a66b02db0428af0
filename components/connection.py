"""What a service needs to know to reach a store: the one contract between the data layer and its consumers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import pulumi


@dataclass(frozen=True, kw_only=True)
class SecretRef:
    """One key of a Secret in the consumer's namespace, for `secretKeyRef`."""

    name: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How to reach one store.

    Everything but `checksum` is computed from the settings alone, so that manifests and policies can be derived without
    waiting for a resource.
    """

    #: Plain environment variables.
    env: Mapping[str, str]
    #: Environment variables whose value stays in a Secret.
    secret_env: Mapping[str, SecretRef]
    #: The name that clients resolve: a Service of the namespace, or the managed endpoint's own name.
    host: str
    #: The port that clients connect to.
    port: int
    #: Labels of the store's pods, for an egress rule; None where it runs outside the cluster: then `cidrs` says where.
    pod_selector: Mapping[str, str] | None
    #: Address ranges of a store outside the cluster. Empty for one inside.
    cidrs: tuple[str, ...] = ()
    #: Changes with the credentials. It goes into an annotation of the consumer's pod template, so that new credentials
    #: roll its pods. None where they are not made here.
    checksum: pulumi.Input[str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "env", MappingProxyType(dict(self.env)))
        object.__setattr__(self, "secret_env", MappingProxyType(dict(self.secret_env)))
