"""Kong's own kinds: ``configuration.konghq.com``.

The fields of a plugin's `config` are those of the plugin's schema in Kong, in snake case, and no API server checks
them: the custom resource definition admits any. What is set here is from the schemas of Kong 3.9.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from components.custom import CustomKind, Spec

GROUP = "configuration.konghq.com"

KONG_PLUGIN = CustomKind(f"{GROUP}/v1", "KongPlugin")
KONG_CONSUMER = CustomKind(f"{GROUP}/v1", "KongConsumer")


class PluginConfig(Spec):
    """Base of the plugins' configurations: on the wire, the fields keep their names."""

    def wire(self) -> dict[str, Any]:
        """The configuration as Kong reads it."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value is not None
        }


@dataclass(frozen=True, kw_only=True)
class Jwt(PluginConfig):
    """Asks for a token that one of the consumers' keys has signed."""

    #: The claim that names the key.
    key_claim_name: str = "iss"
    claims_to_verify: tuple[Literal["exp", "nbf"], ...] = ("exp",)
    #: No tokens in addresses: they would stand in every log on the way.
    uri_param_names: tuple[str, ...] = ()
    cookie_names: tuple[str, ...] = ()
    header_names: tuple[str, ...] = ("authorization",)
    #: OPTIONS needs a token too, unless it is a browser's preflight: those the plugin cors has answered before.
    run_on_preflight: bool = True


@dataclass(frozen=True, kw_only=True)
class RateLimiting(PluginConfig):
    """Requests of one address on one of Kong's routes, counted by each of Kong's pods for itself."""

    minute: int
    limit_by: Literal["ip"] = "ip"
    policy: Literal["local"] = "local"
    fault_tolerant: bool = True


@dataclass(frozen=True, kw_only=True)
class Prometheus(PluginConfig):
    """Counts requests by status, and how long they take; without these Kong tells of itself only."""

    status_code_metrics: bool = True
    latency_metrics: bool = True


@dataclass(frozen=True, kw_only=True)
class CorsConfig(PluginConfig):
    """Answers browsers' preflight requests, and says whose pages may read answers."""

    origins: tuple[str, ...]
    max_age: int
    methods: tuple[str, ...]
    #: Tokens travel in a header that the page sets; cookies do not count.
    credentials: bool = False
    preflight_continue: bool = False


@dataclass(frozen=True, kw_only=True)
class RequestSizeLimiting(PluginConfig):
    """The largest body."""

    allowed_payload_size: int
    size_unit: Literal["kilobytes"] = "kilobytes"


@dataclass(frozen=True, kw_only=True)
class CorrelationId(PluginConfig):
    """A number for each request, in its logs everywhere and in its answer."""

    header_name: str = "X-Request-ID"
    generator: Literal["uuid"] = "uuid"
    echo_downstream: bool = True


@dataclass(frozen=True, kw_only=True)
class KongPlugin(Spec):
    """A plugin with a configuration; the fields stand beside `metadata`."""

    plugin: Literal["jwt", "rate-limiting", "cors", "request-size-limiting", "correlation-id", "prometheus"]
    config: PluginConfig


@dataclass(frozen=True, kw_only=True)
class KongConsumer(Spec):
    """Whoever has one of the credentials: names of Secrets. The fields stand beside `metadata`."""

    username: str
    credentials: Sequence[str]
