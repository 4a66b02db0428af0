"""What runs: workloads, their pods, who pays for these, and the Services in front of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from cloudmart.cluster.amounts import amount, shown
from cloudmart.cluster.live import Reference
from cloudmart.deploy.room import declared_quotas, foreign_quota
from cloudmart.settings.rules import COST_CENTER
from cloudmart.verify.check import Check, Finding, Stage, Status, count, finding, judged, skipped
from cloudmart.verify.state import Object, State, age, conditions, reason, time_of

_KINDS = ("Deployment", "StatefulSet", "DaemonSet")
#: The labels that costs are grouped by.
COST_LABELS = ("project", "team", COST_CENTER)
#: Why a container waits that is on its way.
_STARTING = ("ContainerCreating", "PodInitializing")
#: A restart longer ago has been survived.
_RECENT = timedelta(hours=1)
#: Metrics of a new pod come after two scrapes; metrics-server's default is one every 15 s.
_FIRST_METRICS_SECONDS = 60
#: Closer to its limit than this, a container is killed by the next burst.
_NEAR_LIMIT = Decimal("0.90")
#: Longer than a pod's own grace period; then its node does not answer.
_STUCK_SECONDS = 300


def checks(state: State) -> Iterator[Check]:
    """Workloads, then what is the matter with their pods."""
    yield _available(state)
    pods = [(reference, pod) for reference, pod in state.found("Pod") if _runs(pod)]
    names = ("pods run", "restarts", "labels on pods", "usage of pods")
    if not pods:
        for name in names:
            yield skipped(Stage.WORKLOADS, name, "no pod is there")
    else:
        running = sum(_is_ready(pod) for _, pod in pods)
        yield judged(
            Stage.WORKLOADS, "pods run", f"{running} of {count(len(pods), 'pod')} ready", _stopped(state, pods)
        )
        restarts = sum(one.get("restartCount", 0) for _, pod in pods for one in _containers(pod))
        yield judged(Stage.WORKLOADS, "restarts", f"{restarts} in {count(len(pods), 'pod')}", _restarted(state, pods))
        yield judged(
            Stage.WORKLOADS,
            "labels on pods",
            f"{', '.join(COST_LABELS)} on {count(len(pods), 'pod')}",
            _unlabelled(state, pods),
        )
        yield _usage(state, pods)
    yield _services(state, pods)


# --- workloads --------------------------------------------------------------------------------------------------------


def _available(state: State) -> Check:
    there = list(state.found(*_KINDS))
    missing = state.missing(*_KINDS)
    if not there:
        return skipped(Stage.WORKLOADS, "available", "no workload is there" if missing else "none is declared")
    findings = [found for reference, live in there for found in _workload(state, reference, live)]
    bad = {found.subject for found in findings if found.status is Status.FAIL}
    told = f"{len(there) - len(bad)} of {count(len(there), 'workload')}"
    return judged(Stage.WORKLOADS, "available", told + (f", {missing} missing" if missing else ""), findings)


def _workload(state: State, reference: Reference, live: Object) -> Iterator[Finding]:
    spec, status, found = live["spec"], live.get("status") or {}, conditions(live)
    argument, see = _argument(reference), _rollout_status(state, reference)
    if reference.kind == "DaemonSet":
        wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
        updated = status.get("updatedNumberScheduled", 0)
    else:
        wanted, ready = spec.get("replicas", 1), status.get("readyReplicas", 0)
        updated = status.get("updatedReplicas", 0)
    declared = state.expected.objects.get(reference)
    if wanted == 0 and declared is not None and declared.recorded.inputs["spec"].get("replicas", 1):
        scaled = any(
            one.object["spec"]["scaleTargetRef"]["name"] == reference.name
            for one in state.declared("HorizontalPodAutoscaler")
            if one.reference.namespace == reference.namespace
        )
        # An autoscaler leaves what stands at zero alone, and `up` leaves the number to the autoscaler.
        least = declared.recorded.inputs["spec"].get("replicas", 1)
        mend = state.kubectl("scale", argument, f"--replicas={least}", namespace=reference.namespace)
        yield finding(reference.label, "is scaled to 0", mend if scaled else state.put_back)
        return
    if spec.get("paused"):
        resume = state.kubectl("rollout", "resume", argument, namespace=reference.namespace)
        yield finding(reference.label, "its rollout is paused: changes do not reach the pods", resume, Status.WARN)
    if (failure := found.get("ReplicaFailure")) and failure["status"] == "True":
        why = reason(failure)
        mend = f"mend what refuses them (the quota, a policy, an account that is missing), then {state.put_back}"
        if foreign := foreign_quota(why, reference.namespace, declared_quotas(state.expected.recording)):
            delete = state.kubectl("delete", "resourcequota", foreign, namespace=reference.namespace)
            mend = f"the stack does not declare that quota: {delete}"
        yield finding(reference.label, f"its pods are refused: {why}", mend)
    available = found.get("Available")
    progressing = found.get("Progressing")
    if progressing and progressing["status"] == "False":
        undo = state.kubectl("rollout", "undo", argument, namespace=reference.namespace)
        yield finding(
            reference.label,
            f"its rollout is stuck, {ready} of {wanted} ready: {reason(progressing)}",
            f"{_where(state, reference, live)}; mend the cause and run {state.up}, or go back: {undo}",
        )
    elif ready < wanted or (available and available["status"] != "True"):
        yield finding(
            reference.label,
            f"{ready} of {count(wanted, 'pod')} ready"
            + (f": {reason(available)}" if available and available["status"] != "True" else ""),
            f"{_where(state, reference, live)}; {see}",
            # Those that are ready serve.
            Status.WARN if available and available["status"] == "True" and ready else Status.FAIL,
        )
    elif updated < wanted or live["metadata"].get("generation", 0) > status.get("observedGeneration", 0):
        yield finding(reference.label, f"{updated} of {count(wanted, 'pod')} of the newest version", see, Status.WARN)


def _where(state: State, reference: Reference, live: Object) -> str:
    """Where it says why: at its pods, but those that are refused are not there."""
    told = any(
        _owns(reference, live, pod, item["metadata"].get("labels") or {}) and _runs(item) and not _is_ready(item)
        for pod, item in state.found("Pod")
    )
    if told:
        return "see its pods below"
    return state.kubectl("describe", _argument(reference), namespace=reference.namespace) + " says why"


def _argument(workload: Reference) -> str:
    return f"{workload.kind.lower()}/{workload.name}"


def _rollout_status(state: State, workload: Reference) -> str:
    return state.kubectl("rollout", "status", _argument(workload), "--timeout=30s", namespace=workload.namespace)


# --- pods -------------------------------------------------------------------------------------------------------------


def _runs(pod: Object) -> bool:
    """Whether it should run: not one of a Job that is done, nor one that was evicted and replaced."""
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _is_ready(pod: Object) -> bool:
    return conditions(pod).get("Ready", {}).get("status") == "True"


def _containers(pod: Object) -> Iterator[Mapping[str, Any]]:
    status = pod.get("status") or {}
    for key in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(key) or ()


def _stopped(state: State, pods: list[tuple[Reference, Object]]) -> Iterator[Finding]:
    for reference, pod in pods:
        describe = state.kubectl("describe", "pod", reference.name, namespace=reference.namespace)
        deleted = pod["metadata"].get("deletionTimestamp")
        if deleted:
            # It is the end of the grace period.
            late = (state.now - time_of(deleted)).total_seconds()
            if late > _STUCK_SECONDS:
                yield finding(
                    reference.label,
                    f"should have ended {late / 60:.0f} minutes ago; its node does not answer, or a finalizer holds it",
                    f"{describe}; where its node is gone: "
                    + state.kubectl("delete", "node", pod["spec"].get("nodeName", "")),
                )
            continue
        scheduled = conditions(pod).get("PodScheduled")
        if scheduled and scheduled["status"] != "True":
            yield finding(
                reference.label,
                f"is not scheduled: {reason(scheduled)}",
                "make room for it (a node, or smaller requests), or mend what it asks for; "
                f"{describe} says which node refuses it why",
            )
            continue
        waits = list(_waiting(state, reference, pod))
        yield from waits
        if not waits and not _is_ready(pod):
            ready = conditions(pod).get("Ready")
            yield finding(
                reference.label,
                f"is not ready: {reason(ready) if ready else (pod.get('status') or {}).get('phase', 'no status')}",
                f"{describe}; its readiness probe does not pass, or its node does not answer",
                # A new one has its start-up ahead.
                Status.FAIL if age(pod, state.now) > _FIRST_METRICS_SECONDS else Status.WARN,
            )


def _waiting(state: State, reference: Reference, pod: Object) -> Iterator[Finding]:
    for container in _containers(pod):
        waiting = (container.get("state") or {}).get("waiting")
        if not waiting or waiting.get("reason") in _STARTING:
            continue
        why = str(waiting.get("reason"))
        image, name = container.get("image", ""), container["name"]
        logs = state.kubectl("logs", reference.name, f"--container={name}", "--previous", namespace=reference.namespace)
        if "Image" in why or "Registry" in why:
            mend = (
                f"make sure that {image} is there and may be pulled (name, tag, pull secret), mend it in catalog.yaml, "
                f"then {state.put_back}"
            )
        elif why == "CrashLoopBackOff":
            mend = f"{logs} shows why it ends"
        elif why.startswith("CreateContainer"):
            mend = f"what it refers to is missing: {state.put_back} puts back what is declared"
        else:
            mend = state.kubectl("describe", "pod", reference.name, namespace=reference.namespace)
        yield finding(
            reference.label, f"container {name} waits: {why}: {waiting.get('message', 'no message')} ({image})", mend
        )


def _restarted(state: State, pods: list[tuple[Reference, Object]]) -> Iterator[Finding]:
    for reference, pod in pods:
        for container in _containers(pod):
            ended = (container.get("lastState") or {}).get("terminated")
            if not ended or not container.get("restartCount") or not ended.get("finishedAt"):
                continue
            if state.now - time_of(ended["finishedAt"]) > _RECENT:
                continue
            why, name = str(ended.get("reason") or "ended"), container["name"]
            logs = state.kubectl(
                "logs", reference.name, f"--container={name}", "--previous", namespace=reference.namespace
            )
            mend = f"{logs} shows its last words"
            if why == "OOMKilled":
                mend = (
                    "it needs more memory than its limit: raise resources.limits.memory of its service "
                    f"(`cloudmart rightsize` knows how much), then {state.up}"
                )
            yield finding(
                reference.label,
                f"container {name} restarted {count(container['restartCount'], 'time')}, last at "
                f"{ended['finishedAt']}: {why}, exit code {ended.get('exitCode')}",
                mend,
                Status.WARN,
            )


def _unlabelled(state: State, pods: list[tuple[Reference, Object]]) -> Iterator[Finding]:
    centers = state.expected.settings.cost_centers
    owners = [(one.reference, one.object) for one in state.declared(*_KINDS)]
    rolling = {reference for reference, live in state.found(*_KINDS) if _is_rolling(live)}
    for reference, pod in pods:
        labels = pod["metadata"].get("labels") or {}
        of = next((one for one in owners if _owns(*one, reference, labels)), None)
        template = (of[1]["spec"]["template"]["metadata"].get("labels") or {}) if of else {}
        wanted = {key: template[key] for key in COST_LABELS if key in template}
        told = []
        for key in COST_LABELS:
            if key not in labels:
                told.append(f"has no label {key}")
            elif key in wanted and labels[key] != wanted[key]:
                told.append(f"label {key} is {labels[key]} instead of {wanted[key]}")
            elif key == COST_CENTER and labels[key] not in centers:
                told.append(f"label {key} is {labels[key]}, which is no cost center of catalog.yaml")
        if told:
            restart = state.kubectl("delete", "pod", reference.name, namespace=reference.namespace)
            mend = f"{restart}: its workload makes it anew, as declared"
            if of and of[0] in rolling:  # one of the old version would be made anew
                mend = f"it goes when the rollout is over: {_rollout_status(state, of[0])}"
            yield finding(reference.label, f"{', '.join(told)}: its cost is booked wrong", mend)


def _owns(owner: Reference, workload: Mapping[str, Any], pod: Reference, labels: Mapping[str, str]) -> bool:
    selector = workload["spec"]["selector"].get("matchLabels") or {}
    return owner.namespace == pod.namespace and selector.items() <= labels.items()


def _is_rolling(live: Object) -> bool:
    """Whether pods of an older version of it are still to be replaced."""
    status = live.get("status") or {}
    there = status.get("currentNumberScheduled", 0) if live["kind"] == "DaemonSet" else status.get("replicas", 0)
    updated = status.get("updatedNumberScheduled" if live["kind"] == "DaemonSet" else "updatedReplicas", 0)
    return bool(there > updated or live["metadata"].get("generation", 0) > status.get("observedGeneration", 0))


# --- usage ------------------------------------------------------------------------------------------------------------


def _usage(state: State, pods: list[tuple[Reference, Object]]) -> Check:
    name = "usage of pods"
    if state.pod_usage.refused:
        return skipped(Stage.WORKLOADS, name, f"metrics.k8s.io does not answer: {state.pod_usage.refused}")
    used = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in state.pod_usage.items}
    findings: list[Finding] = []
    sums: list[tuple[Decimal, Decimal, str]] = []
    for reference, pod in pods:
        metrics = used.get((reference.namespace, reference.name))
        if metrics is None:
            if _is_ready(pod) and age(pod, state.now) > _FIRST_METRICS_SECONDS:
                findings.append(
                    finding(
                        reference.label,
                        "has no metrics, so that no autoscaler can count it",
                        state.kubectl("top", "pod", reference.name, "--containers", namespace=reference.namespace)
                        + "; metrics-server's log says why it cannot ask the pod's node",
                        Status.WARN,
                    )
                )
            continue
        usage = {one["name"]: one["usage"] for one in metrics["containers"]}
        sums.append(
            (
                sum((amount(one.get("cpu", 0)) for one in usage.values()), Decimal(0)),
                sum((amount(one.get("memory", 0)) for one in usage.values()), Decimal(0)),
                reference.name,
            )
        )
        findings += _near_limits(state, reference, pod, usage)
    if not sums:
        return judged(Stage.WORKLOADS, name, "not known yet: the first metrics come within a minute", findings)
    cpu, memory = sum((one[0] for one in sums), Decimal(0)), sum((one[1] for one in sums), Decimal(0))
    most = max(sums)
    told = (
        f"{count(len(sums), 'pod')}: {shown('cpu', cpu)}, {shown('memory', memory)}; most: {most[2]} "
        f"{shown('cpu', most[0])}, {shown('memory', most[1])}"
    )
    return judged(Stage.WORKLOADS, name, told, findings)


def _near_limits(
    state: State, reference: Reference, pod: Object, usage: Mapping[str, Mapping[str, str]]
) -> Iterator[Finding]:
    for container in (*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]):
        limit = amount(((container.get("resources") or {}).get("limits") or {}).get("memory", 0))
        used = amount(usage.get(container["name"], {}).get("memory", 0))
        if limit and used > limit * _NEAR_LIMIT:
            yield finding(
                reference.label,
                f"container {container['name']} uses {used / limit:.0%} of its memory limit of "
                + shown("memory", limit),
                f"raise resources.limits.memory of its service (`cloudmart rightsize` knows how much), then {state.up}",
                Status.WARN,
            )


# --- Services ---------------------------------------------------------------------------------------------------------


def _services(state: State, pods: list[tuple[Reference, Object]]) -> Check:
    name = "Services have pods"
    services = [(one, live) for one, live in state.present("Service", group="") if live["spec"].get("selector")]
    if not services:
        return skipped(Stage.WORKLOADS, name, "no Service is there")
    findings = []
    for one, live in services:
        selector = live["spec"]["selector"]
        ready = sum(
            reference.namespace == one.reference.namespace
            and selector.items() <= (pod["metadata"].get("labels") or {}).items()
            and _is_ready(pod)
            for reference, pod in pods
        )
        if not ready:
            wanted = one.object["spec"].get("selector")
            why = "" if wanted == selector else f", and its selector is not the declared one: {selector}"
            findings.append(
                finding(
                    one.reference.label,
                    f"no ready pod is behind it{why}",
                    state.put_back if why else "bring up the pods that it selects, see above",
                )
            )
    return judged(
        Stage.WORKLOADS, name, f"{len(services) - len(findings)} of {count(len(services), 'Service')}", findings
    )
