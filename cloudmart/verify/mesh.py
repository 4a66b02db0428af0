"""The mesh: mutual TLS for everybody, authorization in place, a proxy in every pod."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloudmart.verify.check import Check, Finding, Stage, count, finding, judged, skipped
from cloudmart.verify.state import Object, State

_SECURITY = "security.istio.io"
_PROXY = "istio-proxy"


def checks(state: State) -> Iterator[Check]:
    """Nothing where the stack has no mesh."""
    strict = list(state.declared("PeerAuthentication", group=_SECURITY))
    if not strict:
        yield skipped(Stage.MESH, "mTLS, authorization, proxies", "this stack has no mesh")
        return
    yield judged(
        Stage.MESH,
        "mTLS is strict",
        f"{sum(one.reference in state.live for one in strict)} of {len(strict)} PeerAuthentications",
        _loose(state),
    )
    policies = list(state.declared("AuthorizationPolicy", group=_SECURITY))
    yield judged(
        Stage.MESH,
        "authorization is in place",
        f"{sum(one.reference in state.live for one in policies)} of {len(policies)} AuthorizationPolicies",
        _unauthorized(state),
    )
    yield _proxies(state)


def _loose(state: State) -> Iterator[Finding]:
    for one in state.declared("PeerAuthentication", group=_SECURITY):
        live = state.live.get(one.reference)
        if live is None:
            yield finding(
                one.reference.label, "is not there: callers without a certificate may be let in", state.put_back
            )
            continue
        for where, mode in _modes(one.object).items():
            found = _modes(live).get(where, "not set")
            if found != mode:
                yield finding(one.reference.label, f"{where} is {found} instead of {mode}", state.put_back)
    for reference, live in state.found("PeerAuthentication"):
        if reference in state.expected.objects:
            continue
        loose = {where: mode for where, mode in _modes(live).items() if mode not in ("STRICT", "UNSET")}
        if loose:
            told = ", ".join(f"{where} {mode}" for where, mode in loose.items())
            yield finding(
                reference.label,
                f"is not declared, and says {told}: plain connections are let in",
                state.kubectl("delete", reference.argument, namespace=reference.namespace),
            )


def _modes(item: Object) -> dict[str, str]:
    spec: dict[str, Any] = item.get("spec") or {}
    modes = {"mtls.mode": str((spec.get("mtls") or {}).get("mode", "UNSET"))}
    return modes | {
        f"portLevelMtls.{port}.mode": str(value.get("mode", "UNSET"))
        for port, value in (spec.get("portLevelMtls") or {}).items()
    }


def _unauthorized(state: State) -> Iterator[Finding]:
    for one in state.declared("AuthorizationPolicy", group=_SECURITY):
        live = state.live.get(one.reference)
        if live is None:
            yield finding(one.reference.label, "is not there", state.put_back)
        elif _rules(live) != _rules(one.object):
            yield finding(one.reference.label, "says not what is declared", state.put_back)
    for reference, live in state.found("AuthorizationPolicy"):
        if reference not in state.expected.objects and (live.get("spec") or {}).get("action", "ALLOW") == "ALLOW":
            yield finding(
                reference.label,
                "is not declared, and lets in whom the declared ones do not",
                state.kubectl("delete", reference.argument, namespace=reference.namespace),
            )


def _rules(item: Object) -> tuple[Any, Any]:
    spec = item.get("spec") or {}
    return spec.get("action", "ALLOW"), spec.get("rules") or []


def _proxies(state: State) -> Check:
    name = "a proxy in every pod"
    members = {
        reference.name: (live["metadata"].get("labels") or {})
        for reference, live in state.found("Namespace")
        if reference in state.expected.objects
    }
    injected = {ns for ns, labels in members.items() if labels.get("istio-injection") == "enabled"}
    ambient = {ns for ns, labels in members.items() if labels.get("istio.io/dataplane-mode") == "ambient"}
    pods = [
        (reference, pod)
        for reference, pod in state.found("Pod")
        if reference.namespace in injected | ambient and not _stays_out(pod)
    ]
    if not pods:
        return skipped(Stage.MESH, name, "no pod is in a namespace of the mesh")
    if state.simulated:
        return skipped(Stage.MESH, name, "pods are simulated here: nothing puts proxies into them")
    findings = []
    for reference, pod in pods:
        if reference.namespace in ambient:
            # Istio's agent on the node says so when it has taken over the pod's traffic.
            covered = (pod["metadata"].get("annotations") or {}).get("ambient.istio.io/redirection") == "enabled"
        else:
            spec = pod["spec"]
            names = [one["name"] for key in ("initContainers", "containers") for one in spec.get(key) or ()]
            covered = _PROXY in names
        if not covered:
            findings.append(
                finding(
                    reference.label,
                    "is not in the mesh: it has no proxy",
                    "istiod must run before the pod starts; then "
                    + state.kubectl("delete", "pod", reference.name, namespace=reference.namespace),
                )
            )
    return judged(Stage.MESH, name, f"{len(pods) - len(findings)} of {count(len(pods), 'pod')}", findings)


def _stays_out(pod: Object) -> bool:
    metadata = pod["metadata"]
    said = {**(metadata.get("annotations") or {}), **(metadata.get("labels") or {})}
    over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return over or said.get("sidecar.istio.io/inject") == "false" or said.get("istio.io/dataplane-mode") == "none"
