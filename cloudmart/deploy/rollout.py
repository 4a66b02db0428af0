"""Waits until what was deployed is available, and says why it is not: which pod, which container, what helps."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from cloudmart.cluster.kubectl import Kubectl, KubectlError
from cloudmart.deploy.room import declared_quotas, foreign_quota
from cloudmart.errors import UserError
from cloudmart.preview.recorder import Recording

Progress = Callable[[str], None]
Json = Mapping[str, Any]
#: Namespace and name of each quota that the stack declares.
Quotas = Container[tuple[str, str]]

#: How long the workloads may take, in seconds; beyond a Deployment's own progress deadline of five minutes.
_READY_SECONDS = 330.0
#: After so many seconds it is told what a workload waits for; it may be nothing to worry about.
_TELL_SECONDS = 15.0
#: What says of itself that it has only just begun.
_STARTING = {"ContainerCreating", "PodInitializing"}
#: How often in a row the API server may fail to answer before that is the error.
_LOST_ANSWERS = 3


def workloads(recording: Recording) -> Iterable[tuple[str, str, str]]:
    """Kind, namespace and name of every Deployment and StatefulSet that was recorded."""
    for resource in recording.resources:
        if resource.is_kubernetes_object and resource.kind in ("Deployment", "StatefulSet"):
            yield resource.kind, str(resource.namespace), str(resource.object_name)


def wait_until_available(recording: Recording, kubectl: Kubectl, progress: Progress) -> None:
    """Waits for each workload's rollout; all have the same deadline, ``CLOUDMART_READY_SECONDS`` (330) from now.

    What one waits for is told on the way. Raises ``UserError`` with a line for each workload that is not available
    by then, or that has given up before: the pod, the reason, the cure, and whether the version before still serves.
    """
    seconds = float(os.environ.get("CLOUDMART_READY_SECONDS", _READY_SECONDS))
    deadline = time.monotonic() + seconds
    waiting, quotas = list(workloads(recording)), declared_quotas(recording)
    progress(f"waiting for {len(waiting)} workloads to be available")
    failed = []
    while waiting := _incomplete(kubectl, waiting, progress):
        kind, namespace, name = waiting.pop(0)
        why = _waited(kubectl, (kind, namespace, name), quotas, deadline, progress)
        if why is None:
            progress(f"available {kind} {name}")
        else:
            failed.append(
                f"{kind} {namespace}/{name} is not available ({why}): {_told(kubectl, kind, namespace, name, quotas)}"
            )
    if failed:
        raise UserError("\n".join(failed))


def _incomplete(
    kubectl: Kubectl, workloads: Sequence[tuple[str, str, str]], progress: Progress
) -> list[tuple[str, str, str]]:
    """Those whose rollout is not complete; the others are told. One look at all, for a process each costs more."""
    found: dict[tuple[str, str, str], Json] = {}
    try:
        for space in {namespace for _, namespace, _ in workloads}:
            for live in kubectl.json("get", "deployments,statefulsets", f"--namespace={space}")["items"]:
                found[live["kind"], space, live["metadata"]["name"]] = live
    except KubectlError:
        return list(workloads)  # whoever waits for one of them knows how often that may be
    left = []
    for workload in workloads:
        if workload in found and _is_complete(found[workload]):
            progress(f"available {workload[0]} {workload[2]}")
        else:
            left.append(workload)
    return left


def _is_complete(live: Json) -> bool:
    """As `kubectl rollout status` has it."""
    status, replicas = live.get("status", {}), live["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < live["metadata"]["generation"]:
        return False
    if live["kind"] == "StatefulSet":
        same = status.get("updateRevision") == status.get("currentRevision")
        return bool(same and status.get("readyReplicas", 0) >= replicas)
    updated = int(status.get("updatedReplicas", 0))
    return bool(status.get("replicas", 0) <= updated >= replicas and status.get("availableReplicas", 0) >= updated)


def _waited(
    kubectl: Kubectl, workload: tuple[str, str, str], quotas: Quotas, deadline: float, progress: Progress
) -> str | None:
    """None when the rollout is complete; else what kubectl said in the end."""
    kind, namespace, name = workload
    told: set[str] = set()
    lost = 0
    while True:
        seconds = max(1.0, min(_TELL_SECONDS, deadline - time.monotonic()))
        lines: list[str] = []
        arguments = (f"{kind.lower()}/{name}", f"--namespace={namespace}", f"--timeout={seconds:.0f}s")
        if kubectl.follow("rollout", "status", *arguments, line=lines.append, timeout=seconds):
            return None
        said = (lines or ["the API server gives no answer"])[-1].removeprefix("error: ")
        if "timed out" in said:
            lost = 0
        elif "progress deadline" in said:
            return said
        else:
            # A watch that was cut off, an API server that starts again.
            lost += 1
            if lost == _LOST_ANSWERS:
                raise KubectlError(f"waiting for {kind} {namespace}/{name}: {said}")
            time.sleep(1)
            continue
        if time.monotonic() >= deadline:
            return "no time left"
        for reason in _reasons(kubectl, kind, namespace, name, quotas):
            if reason not in told:
                told.add(reason)
                progress(f"{kind} {name} waits: {reason}")


def _told(kubectl: Kubectl, kind: str, namespace: str, name: str, quotas: Quotas) -> str:
    """Everything about a workload that is not available, in one line."""
    reasons = list(_reasons(kubectl, kind, namespace, name, quotas))
    if not reasons:
        reasons = [f"no pod says why; `kubectl -n {namespace} describe {kind.lower()} {name}` shows its events"]
    live = kubectl.json("get", kind.lower(), name, f"--namespace={namespace}", "--ignore-not-found") or {}
    before = _of_before(live)
    if before:
        reasons.append(f"the version before goes on serving with {before} pods")
    return "; ".join(reasons)


def _of_before(live: Json) -> int:
    """How many available pods are not of the newest version."""
    status = live.get("status", {})
    if live.get("kind") == "StatefulSet":
        if status.get("currentRevision") == status.get("updateRevision"):
            return 0
        return max(0, int(status.get("availableReplicas", 0)) - int(status.get("updatedReplicas", 0)))
    # A Deployment that takes no pod away before a new one is ready counts the old ones as available.
    rolling = status.get("updatedReplicas", 0) < status.get("replicas", 0)
    return int(status.get("availableReplicas", 0)) if rolling else 0


def _reasons(kubectl: Kubectl, kind: str, namespace: str, app: str, quotas: Quotas) -> Iterator[str]:
    """Why pods of an application are not ready or not there, as scheduler, kubelet and controllers say it."""
    listed = kubectl.json("get", "pods,replicasets", f"--namespace={namespace}", f"--selector=app={app}")["items"]
    events = kubectl.json("get", "events", f"--namespace={namespace}", "--field-selector=type=Warning")["items"]
    for pod in listed:
        if pod["kind"] == "Pod" and "deletionTimestamp" not in pod["metadata"]:
            yield from _of_pod(pod, _said_of(events, "Pod", pod["metadata"]["name"], "Unhealthy"), namespace)
    for replica_set in listed:
        for condition in replica_set.get("status", {}).get("conditions", []):
            if replica_set["kind"] == "ReplicaSet" and condition["type"] == "ReplicaFailure":
                yield _refused(condition.get("message", condition.get("reason", "")), namespace, quotas)
    if kind == "StatefulSet" and (refused := _said_of(events, kind, app, "FailedCreate")):
        yield _refused(refused, namespace, quotas)


def _of_pod(pod: Json, unhealthy: str, namespace: str) -> Iterator[str]:
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            why = condition.get("message") or condition.get("reason", "no reason given")
            yield f"pod {name} is not scheduled: {why}; it needs room: a node, or smaller requests"
            return
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        state, where = container.get("state", {}), f"pod {name}, container {container['name']}"
        logs = f"`kubectl -n {namespace} logs {name} -c {container['name']} --previous` shows why"
        waiting, ended = state.get("waiting"), state.get("terminated")
        if waiting and waiting.get("reason") not in _STARTING:
            why = str(waiting.get("reason"))
            yield f"{where}: {why}: {waiting.get('message', 'no message')}; {_cure(why, container, logs)}"
        elif ended and ended.get("exitCode"):
            yield f"{where}: ended with {ended.get('reason', 'Error')}, exit code {ended['exitCode']}; {logs}"
        elif "running" in state and not container.get("ready") and unhealthy:
            yield f"{where}: runs, and is not ready: {unhealthy}; mend its readiness probe, or what it asks"


def _cure(why: str, container: Json, logs: str) -> str:
    image = container.get("image") or "its image"
    if "Image" in why or "Registry" in why:
        return f"see that {image} is there and may be pulled, or set another in catalog.yaml, and run up again"
    if why.startswith("CreateContainerConfig"):
        return "put there what it refers to (a Secret, a ConfigMap or a key of one), and run up again"
    return logs


def _refused(message: str, namespace: str, quotas: Quotas) -> str:
    cure = "raise namespace.headroom, or ask for less" if "quota" in message else "mend what is refused"
    if foreign := foreign_quota(message, namespace, quotas):
        cure = f"the stack does not declare that quota: `kubectl -n {namespace} delete resourcequota {foreign}`"
    return f"its pods are refused: {message}; {cure}, and run up again"


def _said_of(events: Sequence[Json], kind: str, name: str, reason: str) -> str:
    """The newest event of a reason about an object; empty where there is none."""
    found = [
        event
        for event in events
        if event["reason"] == reason
        and (event["involvedObject"]["kind"], event["involvedObject"]["name"]) == (kind, name)
    ]
    newest = max(found, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime")), default=None)
    return " ".join(newest["message"].split()) if newest else ""
