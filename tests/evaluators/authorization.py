"""Decides, as Istio's proxies would, which requests the security policies in a set of manifests let through.

PeerAuthentication, then RequestAuthentication, then AuthorizationPolicy, by the rules of
https://istio.io/latest/docs/concepts/security/ and of the reference pages of the three kinds. What a manifest does not
settle (action CUSTOM, two PeerAuthentications of one rank) or Istio does not know is refused with an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from tests.evaluators.authorization_rules import Request, Rules, items

Json = Any

ROOT_NAMESPACE = "istio-system"
"""Policies there are for the whole mesh."""


class Verdict(StrEnum):
    """What comes of a request, and which of the three kinds of policy says so."""

    ALLOWED = "allowed"
    NO_MUTUAL_TLS = "plain text where mutual TLS is required"
    INVALID_TOKEN = "401"
    DENIED = "403"


@dataclass(frozen=True)
class Waypoint:
    """An ambient mesh's proxy for HTTP: a Gateway, and who it is to the workloads behind it."""

    name: str
    namespace: str
    principal: str


@dataclass(frozen=True)
class Workload:
    """The destination. A sidecar reads HTTP; of an ambient mesh only a `waypoint` does, in front of a `service`."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ambient: bool = False
    waypoint: Waypoint | None = None
    service: str | None = None


def decide(manifests: Iterable[Mapping[str, Json]], request: Request, to: Workload) -> Verdict:
    """What comes of a request."""
    found = list(manifests)
    if to.waypoint:
        # It takes mutual TLS and nothing else, and is itself the caller for the workload behind it.
        if request.principal is None:
            return Verdict.NO_MUTUAL_TLS
        verdict = _authorize(found, request, to, at_waypoint=True)
        if verdict is not Verdict.ALLOWED:
            return verdict
        request = replace(request, principal=to.waypoint.principal)
    mode = mutual_tls(found, to, request.port)
    if mode == "STRICT" and request.principal is None:
        return Verdict.NO_MUTUAL_TLS
    seen = replace(
        request,
        principal=None if mode == "DISABLE" else request.principal,
        http=None if to.ambient else request.http,
    )
    return _authorize(found, seen, to, at_waypoint=False)


def mutual_tls(manifests: Iterable[Mapping[str, Json]], to: Workload, port: int) -> str:
    """STRICT, PERMISSIVE or DISABLE for a port of a workload: what the narrowest policy says that says something."""
    ranks: dict[str, Json] = {}
    for policy in manifests:
        namespace, spec = policy["metadata"].get("namespace", "default"), policy.get("spec") or {}
        labels = spec.get("selector", {}).get("matchLabels")
        rank = "mesh" if namespace == ROOT_NAMESPACE else "workload" if labels else "namespace"
        # "policies with workload selectors are ignored when deployed in the root namespace"
        if policy["kind"] != "PeerAuthentication" or not _selects(policy, to) or (rank == "mesh" and labels):
            continue
        if rank in ranks:
            raise ValueError(
                f"two PeerAuthentications for one {rank}: the older one counts, and no manifest has an age"
            )
        ranks[rank] = spec
    by_port = {int(key): value for key, value in ranks.get("workload", {}).get("portLevelMtls", {}).items()}
    said = [by_port.get(port), *(ranks.get(rank, {}).get("mtls") for rank in ("workload", "namespace", "mesh"))]
    # Ambient: "it is not possible to use the DISABLE mode in a policy. Such policies will be ignored."
    ignored = {"UNSET", "DISABLE"} if to.ambient else {"UNSET"}
    modes = [str(each.get("mode", "UNSET")) for each in said if each]
    return next((mode for mode in modes if mode not in ignored), "PERMISSIVE")


def _authorize(manifests: list[Mapping[str, Json]], request: Request, to: Workload, *, at_waypoint: bool) -> Verdict:
    here = [policy for policy in manifests if (_targets if at_waypoint else _selects)(policy, to)]
    token = request.http.token if request.http else None
    issuers = [rule for p in here if p["kind"] == "RequestAuthentication" for rule in p["spec"].get("jwtRules", [])]
    if token and issuers and not (token.valid and any(_accepts(rule, token.claims) for rule in issuers)):
        return Verdict.INVALID_TOKEN
    claims = token.claims if token and issuers else {}

    matched: dict[str, list[bool]] = {"ALLOW": [], "DENY": [], "AUDIT": []}
    for policy in here:
        if policy["kind"] == "AuthorizationPolicy":
            spec = policy.get("spec") or {}
            action = spec.get("action", "ALLOW")
            if action not in matched:
                raise ValueError(f"action {action}: only its provider knows the answer")
            rules = Rules(request, claims, policy["metadata"].get("namespace", "default"), deny=action == "DENY")
            # A list first: every rule is read, so that a wrong one is noticed behind one that matches.
            matched[action].append(True in [rules.hold(rule) for rule in spec.get("rules") or []])
    if any(matched["DENY"]):
        return Verdict.DENIED
    return Verdict.ALLOWED if any(matched["ALLOW"]) or not matched["ALLOW"] else Verdict.DENIED


def _selects(policy: Mapping[str, Json], to: Workload) -> bool:
    spec = policy.get("spec") or {}
    labels = (spec.get("selector") or {}).get("matchLabels", {})
    here = policy["metadata"].get("namespace", "default") in (to.namespace, ROOT_NAMESPACE)
    return here and "targetRefs" not in spec and all(to.labels.get(key) == value for key, value in labels.items())


def _targets(policy: Mapping[str, Json], to: Workload) -> bool:
    """Waypoints "are required to use this field for policies to apply; `selector` policies will be ignored"."""
    assert to.waypoint is not None
    namespace = policy["metadata"].get("namespace", "default")
    names = {("Gateway", to.waypoint.namespace): to.waypoint.name, ("Service", to.namespace): to.service}
    refs = (policy.get("spec") or {}).get("targetRefs", [])
    return any(names.get((ref["kind"], namespace)) == ref["name"] for ref in refs)


def _accepts(rule: Mapping[str, Json], claims: Mapping[str, Json]) -> bool:
    audiences = rule.get("audiences", [])
    return rule["issuer"] == claims.get("iss") and (
        not audiences or bool(set(audiences) & set(items(claims.get("aud"))))
    )
