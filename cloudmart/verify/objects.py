"""Whether what is declared is there, ours, and as declared."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from cloudmart.cluster.live import Reference
from cloudmart.drift.finding import Kind
from cloudmart.drift.report import sentence
from cloudmart.verify.check import Check, Finding, Stage, Status, count, finding, judged, skipped
from cloudmart.verify.state import Object, State

#: Who writes for us: the way without a CLI, and Pulumi's provider, which names itself so with a suffix of its own.
_OURS = ("cloudmart", "pulumi-kubernetes")
_AS_DECLARED = "as declared"
#: The path of a whole container, as drift writes it.
_CONTAINER = re.compile(r"\b(containers|initContainers|ephemeralContainers)\[[^\[\]]*\]$")


def checks(state: State) -> Iterator[Check]:
    """Presence, then whose, then each field; charts are asked for by their release."""
    objects = state.expected.objects
    there = sum(reference in state.live for reference in objects)
    yield judged(Stage.OBJECTS, "there", f"{there} of {count(len(objects), 'declared object')}", _missing(state))
    if not there:
        for name in ("ours", _AS_DECLARED):
            yield skipped(Stage.OBJECTS, name, "no object is there")
        return
    yield judged(Stage.OBJECTS, "ours", f"{count(there, 'object')} with our labels, written by us", _foreign(state))
    if state.drift_refused:
        yield skipped(Stage.OBJECTS, _AS_DECLARED, f"this user may not compare: {state.drift_refused}")
    else:
        seen = f"{count(there, 'object')} compared, field by field"
        yield judged(Stage.OBJECTS, _AS_DECLARED, seen, _differing(state))


def _missing(state: State) -> Iterator[Finding]:
    for reference in state.expected.objects:
        served = (reference.api_version, reference.kind) in state.expected.scopes
        # Told with their namespace, or with their kind.
        if (
            reference not in state.live
            and served
            and reference.namespace not in state.lost
            and not _is_lost(reference, state)
        ):
            yield finding(reference.label, "is not there", state.put_back)


def _is_lost(reference: Reference, state: State) -> bool:
    return reference.kind == "Namespace" and reference.name in state.lost


def _foreign(state: State) -> Iterator[Finding]:
    for reference, one in state.expected.objects.items():
        live = state.live.get(reference)
        if live is None:
            continue
        wanted = one.object["metadata"].get("labels") or {}
        labels = live["metadata"].get("labels") or {}
        lost = [key for key in wanted if key not in labels]
        other = [key for key in wanted if key in labels and labels[key] != str(wanted[key])]
        if lost or other:
            told = [f"lost the label {key}" for key in lost]
            told += [f"label {key} is {labels[key]} instead of {wanted[key]}" for key in other]
            yield finding(reference.label, ", ".join(told), state.put_back)
        managers = _managers(live)
        if managers and not any(manager.startswith(_OURS) for manager in managers):
            who = ", ".join(name for name, _ in managers.most_common(3))
            yield finding(
                reference.label,
                f"was written by {who}, never by us",
                f"find out who made it; {state.put_back} takes it over or says why not",
                Status.WARN,
            )


def _differing(state: State) -> Iterator[Finding]:
    """What drift finds in objects that are there; lost and changed labels are told above, by who looks for ours."""
    for one in state.drift:
        declared = state.expected.objects.get(one.object)
        # What was changed in a pod is in no object that is declared.
        of_pod = one.object.kind == "Pod" and one.path
        if one.object not in state.live or not (declared or of_pod):
            continue
        labels = (declared.object["metadata"].get("labels") if declared else None) or {}
        if one.path.startswith("metadata.labels") and any(one.path.endswith(key) for key in labels):
            continue
        # A field more may be harmless. A container more is a program of somebody's, with the service's rights.
        is_warning = one.kind is Kind.ADDED and not _CONTAINER.search(one.path)
        yield finding(one.object.label, sentence(one), one.mend, Status.WARN if is_warning else Status.FAIL)


def _managers(live: Object) -> Counter[str]:
    """Who wrote an object's fields; its status is written by others at all times."""
    entries = live["metadata"].get("managedFields") or []
    return Counter(str(entry.get("manager", "")) for entry in entries if entry.get("subresource") != "status")
