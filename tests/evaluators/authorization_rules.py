"""Whether one rule of an Istio AuthorizationPolicy matches a request.

By https://istio.io/latest/docs/reference/config/security/authorization-policy/ and its page on conditions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Json = Any


@dataclass(frozen=True)
class Token:
    """A JSON Web Token. `valid`: its signature and its times are right."""

    claims: Mapping[str, Json]
    valid: bool = True


@dataclass(frozen=True)
class Http:
    """What only a proxy that reads HTTP can see. `path` is without the query, `host` without the port."""

    method: str = "GET"
    path: str = "/"
    host: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    token: Token | None = None


@dataclass(frozen=True)
class Request:
    """A request over HTTP, or without `http` a TCP connection, to a port of the workload (not of a Service).

    `principal` is ``<trust domain>/ns/<namespace>/sa/<service account>``, from the caller's certificate; None is plain
    text. `remote_ip` is the original client's, behind trusted proxies.
    """

    port: int
    principal: str | None = None
    ip: str | None = None
    remote_ip: str | None = None
    http: Http | None = None


class _OverTcpError(Exception):
    """A rule asks for something that a TCP connection does not have."""


_SOURCE = {"principals", "requestPrincipals", "namespaces", "serviceAccounts", "ipBlocks", "remoteIpBlocks"}
_OPERATION = {"hosts", "ports", "methods", "paths"}
_HTTP_ONLY = {"requestPrincipals", "hosts", "methods", "paths", "headers", "claims"}
#: Conditions that ask for the same as a field.
_CONDITIONS = {
    "source.principal": "principals",
    "source.namespace": "namespaces",
    "source.ip": "ipBlocks",
    "remote.ip": "remoteIpBlocks",
    "request.auth.principal": "requestPrincipals",
    "destination.port": "ports",
}


@dataclass(frozen=True)
class Rules:
    """Whether rules of a policy in `namespace` match a request."""

    request: Request
    claims: Mapping[str, Json]
    namespace: str
    deny: bool

    def hold(self, rule: Mapping[str, Json]) -> bool:
        """One of ``from``, one of ``to`` and all of ``when``; what is left out holds.

        On TCP an ALLOW rule that uses HTTP is ignored as a whole; for DENY "missing attributes are treated as matches".
        """
        if unknown := rule.keys() - {"from", "to", "when"}:
            raise ValueError(f"{unknown}: not a field of a rule")
        try:
            sources = [self._fields(each["source"], _SOURCE) for each in rule.get("from", [])]
            operations = [self._fields(each["operation"], _OPERATION) for each in rule.get("to", [])]
            conditions = [self._condition(**each) for each in rule.get("when", [])]
        except _OverTcpError:
            return False
        return (not sources or any(sources)) and (not operations or any(operations)) and all(conditions)

    def _fields(self, wanted: Mapping[str, Sequence[str]], allowed: set[str]) -> bool:
        """Every field that is set, such as ``paths`` and ``notPaths``."""
        checks = []
        for key, values in wanted.items():
            name = key[3].lower() + key[4:] if key.startswith("not") else key
            if name not in allowed:
                raise ValueError(f"{key}: not one of {sorted(allowed)}")
            checks.append(self._check(name, [], values, negated=name != key))
        return all(checks)

    def _condition(self, key: str, values: Sequence[str] = (), notValues: Sequence[str] = ()) -> bool:  # noqa: N803
        name, *parts = [part for part in re.split(r"[\[\]]+", key) if part]
        if name in ("request.headers", "request.auth.claims") and parts:
            name = name.rpartition(".")[2]
        else:
            name = _CONDITIONS[key]
        return self._check(name, parts, values, negated=False) and self._check(name, parts, notValues, negated=True)

    def _check(self, name: str, parts: Sequence[str], values: Sequence[str], *, negated: bool) -> bool:
        if not values:
            return True
        if name in _HTTP_ONLY and self.request.http is None:
            if self.deny:
                return True
            raise _OverTcpError
        match = _MATCHES.get(name, _same_text)
        return negated != any(match(found, value) for found in self._found(name, parts) for value in values)

    def _found(self, name: str, parts: Sequence[str]) -> list[str]:
        """What the request has of something: nothing, one value or several."""
        http, claims = self.request.http or Http(), self.claims
        identity = re.fullmatch("(.+)/ns/(.+)/sa/(.+)", self.request.principal or "")
        match name:
            case "principals":
                return items(self.request.principal)
            case "namespaces":
                return items(identity and identity[2])
            case "serviceAccounts":
                # Without a namespace it is one of the policy's own.
                own = [identity[3]] if identity and identity[2] == self.namespace else []
                return [*own, f"{identity[2]}/{identity[3]}"] if identity else []
            case "requestPrincipals":
                return [f"{claims['iss']}/{claims['sub']}"] if {"iss", "sub"} <= claims.keys() else []
            case "claims":
                claim: Json = claims
                for part in parts:
                    claim = claim.get(part) if isinstance(claim, Mapping) else None
                return items(claim)
            case "headers":
                return [value for key, value in http.headers.items() if key.lower() == parts[0].lower()]
        request, http_fields = self.request, {"methods": http.method, "paths": http.path, "hosts": http.host}
        others = {"ipBlocks": request.ip, "remoteIpBlocks": request.remote_ip, "ports": request.port}
        return items({**http_fields, **others}[name])


def items(value: Json) -> list[str]:
    """A missing value, one, or a list of them."""
    return [] if value is None else [str(each) for each in (value if isinstance(value, list) else [value])]


def _same_text(found: str, wanted: str) -> bool:
    """Exact, prefix (``abc*``), suffix (``*abc``) and presence (``*``: not empty)."""
    if wanted == "*":
        return found != ""
    if wanted.startswith("*"):
        return found.endswith(wanted[1:])
    return found.startswith(wanted[:-1]) if wanted.endswith("*") else found == wanted


def _same_path(found: str, wanted: str) -> bool:
    """``{*}`` is one segment, ``{**}`` any number of them and the last operator; a segment is an operator or text."""
    if "{" not in wanted and "}" not in wanted:
        return _same_text(found, wanted)
    segments = wanted.split("/")
    operators = [segment for segment in segments if re.search("[*{}]", segment)]
    if set(operators) - {"{*}", "{**}"} or "{**}" in operators[:-1]:
        raise ValueError(f"{wanted}: not a valid path template")
    patterns = {"{*}": "[^/]+", "{**}": ".*"}
    return re.fullmatch("/".join(patterns.get(s, re.escape(s)) for s in segments), found) is not None


def _same_host(found: str, wanted: str) -> bool:
    return _same_text(found.lower(), wanted.lower())


def _in_block(found: str, wanted: str) -> bool:
    return ip_address(found) in ip_network(wanted)


#: Whatever is not text with wildcards.
_MATCHES: Mapping[str, Callable[[str, str], bool]] = {
    "paths": _same_path,
    "hosts": _same_host,
    "ports": str.__eq__,
    "serviceAccounts": str.__eq__,
    "ipBlocks": _in_block,
    "remoteIpBlocks": _in_block,
}
