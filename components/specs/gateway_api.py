"""The Gateway API: ``gateway.networking.k8s.io``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from components.custom import CustomKind, Spec

_VERSION = "gateway.networking.k8s.io/v1"

GATEWAY_CLASS = CustomKind(_VERSION, "GatewayClass")
GATEWAY = CustomKind(_VERSION, "Gateway")
HTTP_ROUTE = CustomKind(_VERSION, "HTTPRoute")


@dataclass(frozen=True, kw_only=True)
class GatewayClassSpec(Spec):
    """Which controller looks after Gateways of the class."""

    controller_name: str
    description: str | None = None


@dataclass(frozen=True, kw_only=True)
class SecretReference(Spec):
    """A Secret of the Gateway's own namespace."""

    name: str


@dataclass(frozen=True, kw_only=True)
class ListenerTls(Spec):
    """HTTPS that ends at the Gateway."""

    certificate_refs: Sequence[SecretReference]
    mode: Literal["Terminate"] = "Terminate"


@dataclass(frozen=True, kw_only=True)
class LabelSelector(Spec):
    """Namespaces, by their labels."""

    match_labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class RouteNamespaces(Spec):
    """From which namespaces routes may attach."""

    selector: LabelSelector
    from_: Literal["Selector"] = "Selector"


@dataclass(frozen=True, kw_only=True)
class RouteKind(Spec):
    """A kind of routes."""

    kind: Literal["HTTPRoute"] = "HTTPRoute"


@dataclass(frozen=True, kw_only=True)
class AllowedRoutes(Spec):
    """Which routes may attach to a listener."""

    namespaces: RouteNamespaces
    kinds: Sequence[RouteKind]


@dataclass(frozen=True, kw_only=True)
class Listener(Spec):
    """A port of the Gateway."""

    name: str
    port: int
    protocol: Literal["HTTP", "HTTPS"]
    allowed_routes: AllowedRoutes
    hostname: str | None = None
    tls: ListenerTls | None = None


@dataclass(frozen=True, kw_only=True)
class GatewaySpec(Spec):
    """An entrance."""

    gateway_class_name: str
    listeners: Sequence[Listener]


@dataclass(frozen=True, kw_only=True)
class ParentReference(Spec):
    """The Gateway's listener that a route attaches to."""

    name: str
    namespace: str
    section_name: str


@dataclass(frozen=True, kw_only=True)
class PathMatch(Spec):
    """A path and all below it."""

    value: str
    type: Literal["PathPrefix"] = "PathPrefix"


@dataclass(frozen=True, kw_only=True)
class RouteMatch(Spec):
    """A request must match all of it; any method where it is left out."""

    path: PathMatch
    method: str | None = None


@dataclass(frozen=True, kw_only=True)
class ExtensionReference(Spec):
    """An object of another API group, in the route's own namespace."""

    group: str
    kind: str
    name: str


@dataclass(frozen=True, kw_only=True)
class RouteFilter(Spec):
    """What is done to a request on its way."""

    extension_ref: ExtensionReference
    type: Literal["ExtensionRef"] = "ExtensionRef"


@dataclass(frozen=True, kw_only=True)
class BackendReference(Spec):
    """A Service of the route's own namespace."""

    name: str
    port: int


@dataclass(frozen=True, kw_only=True)
class RouteRule(Spec):
    """Requests that match one of `matches` go to `backend_refs`."""

    matches: Sequence[RouteMatch]
    filters: Sequence[RouteFilter]
    backend_refs: Sequence[BackendReference]


@dataclass(frozen=True, kw_only=True)
class HttpRouteSpec(Spec):
    """What comes in at a listener, and where it goes."""

    parent_refs: Sequence[ParentReference]
    rules: Sequence[RouteRule]
    hostnames: Sequence[str] | None = None
