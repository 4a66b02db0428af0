"""Claims, and the stores that operators run."""

from __future__ import annotations

from collections.abc import Iterator

from cloudmart.cluster.live import Reference
from cloudmart.verify.check import Check, Finding, Stage, Status, count, finding, judged, skipped
from cloudmart.verify.resources import judge_all
from cloudmart.verify.state import State, conditions, reason

STORE_GROUPS = ("postgresql.cnpg.io", "kafka.strimzi.io", "barmancloud.cnpg.io")


def checks(state: State) -> Iterator[Check]:
    """Claims first: a store without its volume does not start."""
    yield _claims(state)
    stores = [one for one in state.expected.objects if one.group in STORE_GROUPS]
    if stores:
        yield judge_all(state, Stage.STORES, "operators call them ready", stores)
    else:
        yield skipped(Stage.STORES, "operators call them ready", "no store of this stack is run by an operator")


def _expected(state: State) -> Iterator[tuple[Reference, str]]:
    """The claims of every declared StatefulSet, as its controller names them, and whose they are."""
    for one in state.declared("StatefulSet"):
        spec = one.object["spec"]
        for template in spec.get("volumeClaimTemplates") or ():
            for number in range(int(spec.get("replicas", 1))):
                name = f"{template['metadata']['name']}-{one.reference.name}-{number}"
                yield Reference("v1", "PersistentVolumeClaim", one.reference.namespace, name), one.reference.label
    for one in state.declared("PersistentVolumeClaim"):
        yield one.reference, "the program"


def _claims(state: State) -> Check:
    findings = list(_missing(state))
    bound = total = 0
    for reference, live in state.found("PersistentVolumeClaim"):
        total += 1
        phase = (live.get("status") or {}).get("phase")
        bound += phase == "Bound"
        if phase != "Bound":
            findings.append(_unbound(state, reference, str(phase)))
        for kind, condition in conditions(live).items():
            if kind in ("FileSystemResizePending", "ControllerResizeError", "NodeResizeError"):
                findings.append(
                    finding(
                        reference.label,
                        f"{kind}: {reason(condition)}",
                        "restart what mounts it, when it may be away",
                        Status.WARN,
                    )
                )
        if live["metadata"].get("deletionTimestamp"):
            findings.append(
                finding(
                    reference.label,
                    "is being deleted: it goes with its data as soon as no pod uses it",
                    "save the data before the pod ends; a deletion cannot be taken back",
                )
            )
    if not total and not findings:
        return skipped(Stage.CLAIMS, "bound", "this stack has no claims")
    return judged(Stage.CLAIMS, "bound", f"{bound} of {count(total, 'claim')}", findings)


def _missing(state: State) -> Iterator[Finding]:
    for reference, owner in _expected(state):
        if reference not in state.live and reference.namespace not in state.lost:
            yield finding(
                reference.label,
                f"is not there; {owner} wants it",
                f"{state.put_back} where {owner} is not there either; else see what keeps it from being made: "
                + state.kubectl("describe", "statefulset", namespace=reference.namespace),
            )


def _unbound(state: State, reference: Reference, phase: str) -> Finding:
    user = next(
        (
            pod_reference.name
            for pod_reference, pod in state.found("Pod")
            if pod_reference.namespace == reference.namespace
            and any(
                (volume.get("persistentVolumeClaim") or {}).get("claimName") == reference.name
                for volume in pod["spec"].get("volumes") or ()
            )
        ),
        None,
    )
    storage_class = state.live[reference]["spec"].get("storageClassName", "the default class")
    if phase == "Lost":
        return finding(
            reference.label,
            "its volume is gone",
            "restore the data from a backup into a new claim (docs/data-stores.md)",
        )
    waiting = f"used by pod {user}" if user else "no pod uses it, and its class may wait for one"
    return finding(
        reference.label,
        f"is {phase}; class {storage_class}, {waiting}",
        f"{state.kubectl('describe', 'pvc', reference.name, namespace=reference.namespace)} says why; "
        f"{state.kubectl('get', 'storageclass')} shows the classes that there are",
    )
