"""What `up` says of a workload that does not become available; each answer is as an API server gives it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from cloudmart.cluster import kubectl
from cloudmart.cluster.kubectl import Kubectl, KubectlError
from cloudmart.deploy import rollout
from cloudmart.errors import UserError
from cloudmart.preview.recorder import Recorded, Recording

Json = Any

GAVE_UP = 'error: deployment "web" exceeded its progress deadline'


@dataclass(frozen=True, kw_only=True)
class Cluster(Kubectl):
    """Answers what it was given; `rollouts` are the last lines of `rollout status`, None for a complete one."""

    path: Path = Path("kubectl")
    rollouts: list[str | None] = field(default_factory=list)
    pods: list[Json] = field(default_factory=list)
    replica_sets: list[Json] = field(default_factory=list)
    events: list[Json] = field(default_factory=list)
    workload: Json = field(default_factory=dict)

    def follow(self, *args: str, line: Callable[[str], None], timeout: float) -> bool:
        said = self.rollouts.pop(0)
        line(said or "done")
        return said is None

    def json(self, *args: str, stdin: str | None = None, timeout: float = 120) -> Any:
        match args[1]:
            case "pods,replicasets":
                sets = [{"kind": "ReplicaSet", "metadata": {"name": "web-1"}} | item for item in self.replica_sets]
                return {"items": [{"kind": "Pod", "metadata": {"name": "web-1-x"}} | pod for pod in self.pods] + sets}
            case "events":
                return {"items": self.events}
        return self.workload


DECLARED = {("shop", "shop-quota")}


def error_of(cluster: Cluster, kind: str = "Deployment") -> str:
    why = rollout._waited(cluster, (kind, "shop", "web"), DECLARED, 0, lambda _: None)
    assert why is not None
    return f"({why}) {rollout._told(cluster, kind, 'shop', 'web', DECLARED)}"


def container(**state: Json) -> Json:
    return {"name": "web", "image": "docker.io/shop/web:9", "ready": False, "state": state}


def test_a_bad_image_is_told_with_its_pod_its_reason_its_cure_and_who_still_serves() -> None:
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "docker.io/shop/web:9"'}
    cluster = Cluster(
        rollouts=[GAVE_UP],
        pods=[{"status": {"containerStatuses": [container(waiting=waiting)]}}],
        workload={"kind": "Deployment", "status": {"replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}},
    )
    assert error_of(cluster) == (
        '(deployment "web" exceeded its progress deadline) pod web-1-x, container web: ImagePullBackOff: Back-off '
        'pulling image "docker.io/shop/web:9"; see that docker.io/shop/web:9 is there and may be pulled, or set '
        "another in catalog.yaml, and run up again; the version before goes on serving with 2 pods"
    )


UNSCHEDULED = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient cpu."}
UNHEALTHY = {
    "reason": "Unhealthy",
    "involvedObject": {"kind": "Pod", "name": "web-1-x"},
    "lastTimestamp": "2026-11-24T00:00:00Z",
    "message": "Readiness probe failed:\nHTTP probe failed with statuscode: 503",
}
QUOTA = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: shop-quota, requested: limits.cpu=1"}
FOREIGN = {**QUOTA, "message": "exceeded quota: extra, requested: pods=1, used: pods=13, limited: pods=3"}
REFUSED = {
    "reason": "FailedCreate",
    "involvedObject": {"kind": "StatefulSet", "name": "web"},
    "lastTimestamp": "2026-11-24T00:00:00Z",
    "message": "create Pod web-0 failed: violates PodSecurity",
}


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        (
            Cluster(pods=[{"status": {"conditions": [UNSCHEDULED]}}]),
            "pod web-1-x is not scheduled: 0/3 nodes are available: 3 Insufficient cpu.; it needs room: a node,",
        ),
        (
            Cluster(
                pods=[{"status": {"containerStatuses": [container(waiting={"reason": "CreateContainerConfigError"})]}}]
            ),
            "container web: CreateContainerConfigError: no message; put there what it refers to (a Secret,",
        ),
        (
            Cluster(pods=[{"status": {"initContainerStatuses": [container(waiting={"reason": "CrashLoopBackOff"})]}}]),
            "CrashLoopBackOff: no message; `kubectl -n shop logs web-1-x -c web --previous` shows why",
        ),
        (
            Cluster(pods=[{"status": {"containerStatuses": [container(terminated={"exitCode": 3})]}}]),
            "container web: ended with Error, exit code 3; `kubectl -n shop logs web-1-x -c web --previous`",
        ),
        (
            Cluster(pods=[{"status": {"containerStatuses": [container(running={})]}}], events=[UNHEALTHY]),
            "runs, and is not ready: Readiness probe failed: HTTP probe failed with statuscode: 503; mend its",
        ),
        (
            Cluster(replica_sets=[{"status": {"conditions": [QUOTA]}}]),
            "its pods are refused: exceeded quota: shop-quota, requested: limits.cpu=1; raise namespace.headroom,",
        ),
        (
            Cluster(replica_sets=[{"status": {"conditions": [FOREIGN]}}]),
            "limited: pods=3; the stack does not declare that quota: `kubectl -n shop delete resourcequota extra`, and",
        ),
        (Cluster(events=[REFUSED]), "its pods are refused: create Pod web-0 failed: violates PodSecurity; mend what"),
        (Cluster(), "no pod says why; `kubectl -n shop describe statefulset web` shows its events"),
    ],
    ids=(
        "unscheduled",
        "config",
        "crash",
        "ended",
        "probe",
        "quota",
        "a quota of somebody else's",
        "refused",
        "silent",
    ),
)
def test_whatever_keeps_pods_back_is_told_with_its_cure_in_one_line(cluster: Cluster, said: str) -> None:
    cluster.rollouts.append("error: timed out waiting for the condition")
    error = error_of(cluster, "StatefulSet")
    assert said in error
    assert "\n" not in error
    assert "goes on serving" not in error


def test_a_watch_that_is_cut_off_is_taken_up_again_and_an_api_server_that_stays_away_is_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    lost = "error: the server has lost the connection"
    assert (
        rollout._waited(Cluster(rollouts=[lost, lost, None]), ("Deployment", "shop", "web"), DECLARED, 0, print) is None
    )
    with pytest.raises(KubectlError, match="waiting for Deployment shop/web: the server has lost the connection"):
        rollout._waited(Cluster(rollouts=[lost] * 3), ("Deployment", "shop", "web"), DECLARED, 0, print)
    assert issubclass(KubectlError, UserError)


def test_a_long_call_does_not_wait_for_an_api_server_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "kubectl"
    fake.write_text('#!/bin/sh\n[ "$1" = apply ] && exec sleep 60\necho "error: connection refused" >&2; exit 1\n')
    fake.chmod(0o755)
    monkeypatch.setattr(kubectl, "_ASK_SECONDS", 0.05)
    with pytest.raises(
        KubectlError, match=r"^kubectl apply: the API server is not ready any more: kubectl get: error: "
    ):
        Kubectl(path=fake).run("apply", timeout=600)


def live(kind: str = "Deployment", name: str = "web", **status: Json) -> Json:
    complete: Json = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}
    if kind == "StatefulSet":
        complete = {"observedGeneration": 2, "readyReplicas": 3, "updateRevision": "b", "currentRevision": "b"}
    return {
        "kind": kind,
        "metadata": {"name": name, "generation": 2},
        "spec": {"replicas": 3},
        "status": complete | status,
    }


@pytest.mark.parametrize(
    ("workload", "complete"),
    [
        (live(), True),
        (live(observedGeneration=1), False),
        (live(updatedReplicas=2), False),
        (live(replicas=4), False),
        (live(availableReplicas=2), False),
        (live("StatefulSet"), True),
        (live("StatefulSet", readyReplicas=2), False),
        (live("StatefulSet", updateRevision="c"), False),
        (live("StatefulSet", observedGeneration=1), False),
        ({"kind": "Deployment", "metadata": {"generation": 1}, "spec": {}}, False),
    ],
)
def test_a_rollout_is_complete_as_kubectl_has_it(workload: Json, complete: bool) -> None:
    assert rollout._is_complete(workload) is complete


@dataclass
class Program:
    """A program with Deployments of these names."""

    names: list[str]

    @property
    def resources(self) -> list[Recorded]:
        return [
            Recorded(
                urn=name,
                type="kubernetes:apps/v1:Deployment",
                name=name,
                inputs={"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"}},
                parent="",
                custom=True,
            )
            for name in self.names
        ]


def test_a_process_waits_for_a_workload_only_where_a_look_at_all_has_not_found_it_complete() -> None:
    said: list[str] = []
    listed = {"items": [live(name="a"), live(name="b", availableReplicas=1), live(name="c")]}
    rollout.wait_until_available(
        cast(Recording, Program(["a", "b", "c"])), Cluster(workload=listed, rollouts=[None]), said.append
    )
    assert said == ["waiting for 3 workloads to be available", *(f"available Deployment {n}" for n in ("a", "c", "b"))]


def test_a_workload_that_nobody_has_made_is_waited_for() -> None:
    cluster = Cluster(workload={"items": []}, rollouts=[GAVE_UP])
    with pytest.raises(UserError, match="Deployment shop/a is not available"):
        rollout.wait_until_available(cast(Recording, Program(["a"])), cluster, lambda _: None)
