"""The API server, and the namespaces with what guards them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cloudmart.verify.check import Check, Finding, Stage, Status, count, finding, judged, skipped
from cloudmart.verify.state import State

_POD_SECURITY = "pod-security.kubernetes.io/"


def checks(state: State) -> Iterator[Check]:
    """The API server first, as it is what everything else is asked of."""
    yield _answers(state)
    yield _kinds(state)
    yield _there(state)
    if state.namespaces and set(state.namespaces) == state.lost:
        yield skipped(Stage.NAMESPACES, "Pod Security", "no namespace is there")
        yield skipped(Stage.NAMESPACES, "default deny", "no namespace is there")
        return
    yield judged(
        Stage.NAMESPACES,
        "Pod Security",
        f"each of {count(len(state.namespaces), 'namespace')} enforces what it declares",
        _loosened(state),
    )
    yield judged(
        Stage.NAMESPACES,
        "default deny",
        f"in place in {count(len(set(_denied(state))), 'namespace')}",
        [*_open(state), *_strangers(state)],
    )


def _answers(state: State) -> Check:
    wanted = state.expected.settings.cluster.kubernetes_version
    other = not state.version.startswith(f"v{wanted}.")
    return judged(
        Stage.API,
        "answers",
        state.version,
        [
            finding(
                "version",
                f"the server is {state.version}, manifests are checked for {wanted}",
                f"set cluster.kubernetesVersion in catalog.yaml to the server's, then {state.up}",
                Status.WARN,
            )
        ]
        if other
        else [],
    )


def _kinds(state: State) -> Check:
    unknown: dict[tuple[str, str], int] = {}
    for one in state.expected.objects:
        key = (one.api_version, one.kind)
        if key not in state.expected.scopes:
            unknown[key] = unknown.get(key, 0) + 1
    return judged(
        Stage.API,
        "serves every declared kind",
        count(len({(one.api_version, one.kind) for one in state.expected.objects}), "kind"),
        [
            finding(
                f"{kind} ({api_version})",
                f"is not served; {count(number, 'object')} of it cannot be there",
                f"install what defines it: {state.put_back} does, where a chart of the stack brings it",
            )
            for (api_version, kind), number in unknown.items()
        ],
    )


def _there(state: State) -> Check:
    findings = []
    for one in state.declared("Namespace"):
        live = state.live.get(one.reference)
        name = one.reference.name
        if live is None:
            within = sum(other.namespace == name for other in state.expected.objects)
            findings.append(
                finding(
                    f"Namespace {name}", f"is not there, and so are {count(within, 'object')} in it", state.put_back
                )
            )
        elif (phase := live.get("status", {}).get("phase")) != "Active":
            findings.append(
                finding(
                    f"Namespace {name}",
                    f"is {phase}: somebody deletes it",
                    f"wait until it is gone ({state.kubectl('get', 'namespace', name, '--watch')}), then "
                    + state.put_back,
                )
            )
    return judged(Stage.NAMESPACES, "there and active", ", ".join(state.namespaces) or "none is declared", findings)


def _loosened(state: State) -> Iterator[Finding]:
    for one, live in state.present("Namespace"):
        wanted, found = _levels(one.object), _levels(live)
        differing = {key: level for key, level in wanted.items() if found.get(key) != level}
        if differing:
            told = ", ".join(
                f"{key} is {found.get(key, 'not set')} instead of {level}" for key, level in differing.items()
            )
            enforced = any(key.startswith("enforce") for key in differing)
            yield finding(
                f"Namespace {one.reference.name}", told, state.put_back, Status.FAIL if enforced else Status.WARN
            )


def _levels(namespace: Mapping[str, Any]) -> dict[str, str]:
    labels = namespace["metadata"].get("labels") or {}
    return {
        key.removeprefix(_POD_SECURITY): str(value) for key, value in labels.items() if key.startswith(_POD_SECURITY)
    }


def _denied(state: State) -> Iterator[str]:
    for one in state.declared("NetworkPolicy", group="networking.k8s.io"):
        if _denies_all(one.object):
            yield one.reference.namespace


def _open(state: State) -> Iterator[Finding]:
    for one in state.declared("NetworkPolicy", group="networking.k8s.io"):
        if not _denies_all(one.object) or one.reference.namespace in state.lost:
            continue
        live = state.live.get(one.reference)
        if live is None:
            yield finding(
                one.reference.label, "is not there: whatever no policy selects may talk to anybody", state.put_back
            )
        elif not _denies_all(live):
            yield finding(one.reference.label, "denies no longer everything in both directions", state.put_back)


def _denies_all(policy: Mapping[str, Any]) -> bool:
    spec = policy.get("spec") or {}
    return (
        not spec.get("podSelector")
        and set(spec.get("policyTypes") or ()) == {"Ingress", "Egress"}
        and not spec.get("ingress")
        and not spec.get("egress")
    )


def _strangers(state: State) -> Iterator[Finding]:
    """Policies add up: one that nobody declared may let in what the declared ones keep out."""
    for reference, live in state.found("NetworkPolicy"):
        metadata = live["metadata"]
        # Charts and operators bring their own.
        made = metadata.get("ownerReferences") or "meta.helm.sh/release-name" in (metadata.get("annotations") or {})
        if reference in state.expected.objects or made:
            continue
        yield finding(
            reference.label,
            "is not declared, and policies add up: it may let in or out what the declared ones do not",
            "look at it, then "
            + state.kubectl("delete", "networkpolicy", reference.name, namespace=reference.namespace),
            Status.WARN,
        )
