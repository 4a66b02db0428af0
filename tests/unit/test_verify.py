"""Checks and reports of `cloudmart verify`, on a made-up cluster that holds what dev declares."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from cloudmart.cli import cli
from cloudmart.cluster.amounts import amount, of_pod
from cloudmart.cluster.api import Api, connected
from cloudmart.cluster.kubectl import Kubectl, KubectlError
from cloudmart.cluster.live import Reference
from cloudmart.deploy.expected import Expected, Way
from cloudmart.deploy.up import Target
from cloudmart.preview.recorder import record
from cloudmart.preview.render import manifests
from cloudmart.settings import load
from cloudmart.verify import report, run, watch
from cloudmart.verify.check import Check, Report, Stage, Status, finding, judged, plain, skipped
from cloudmart.verify.costs import Told
from cloudmart.verify.state import Read, State
from tests.conftest import ROOT

Json = dict[str, Any]
SPACE = "cloudmart"
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
_KUBECTL = Kubectl(path=Path("kubectl"), context="c")
_WIDE = ("Namespace", "PriorityClass", "StorageClass", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


@cache
def _expected() -> Expected:
    recording = record("dev", ROOT, overrides={"cloudmart:kubecost": {"enabled": False}})
    kinds = {(one.object["apiVersion"], one.object["kind"]) for one in manifests(recording)}
    return Expected(
        settings=load("dev", ROOT),
        target=Target(kubectl=_KUBECTL, local=True),
        way=Way.APPLY_SET,
        recording=recording,
        scopes={(version, kind): kind not in _WIDE for version, kind in kinds},
    )


@pytest.mark.parametrize(("way", "ends"), [(Way.APPLY_SET, "dev"), (Way.PULUMI, "dev --refresh")])
def test_what_puts_live_objects_back_refreshes_under_the_engine_which_else_finds_nothing_to_do(
    way: Way, ends: str
) -> None:
    state = State(expected=replace(_expected(), way=way), live={})
    assert state.put_back == f"cloudmart up --stack {ends}"
    assert state.up == "cloudmart up --stack dev"


def test_commands_to_type_go_to_the_cluster_that_was_looked_at() -> None:
    state = State(expected=_expected(), live={})
    assert state.kubectl("describe", "pod", "a b", namespace=SPACE) == (
        "kubectl --context c describe -n cloudmart pod 'a b'"
    )


def _status(item: Json) -> Json:
    kind, spec = item["kind"], item.get("spec") or {}
    if kind == "Namespace":
        return {"phase": "Active"}
    if kind in ("Deployment", "StatefulSet"):
        number = spec.get("replicas", 1)
        return {"readyReplicas": number, "updatedReplicas": number, "availableReplicas": number}
    if kind == "ResourceQuota":
        return {"hard": spec["hard"], "used": {}}
    if kind == "PodDisruptionBudget":
        return {"disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}
    if kind == "HorizontalPodAutoscaler":
        keys = {one["type"]: one["type"][0].lower() + one["type"][1:] for one in spec["metrics"]}
        metrics = [
            {"type": one["type"], keys[one["type"]]: {**one[keys[one["type"]]], "current": {"averageUtilization": 5}}}
            for one in spec["metrics"]
        ]
        return {"currentReplicas": spec["minReplicas"], "currentMetrics": metrics}
    return {}


def _pod(owner: Json) -> Json:
    template = copy.deepcopy(owner["spec"]["template"])
    name = f"{owner['metadata']['name']}-0"
    made = (NOW - timedelta(hours=5)).isoformat()
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": name, "namespace": SPACE, "creationTimestamp": made},
        "spec": template["spec"],
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


def healthy() -> State:
    """Everything that is declared is there and works."""
    live: dict[Reference, Json] = {}
    for reference, one in _expected().objects.items():
        item: Json = copy.deepcopy(dict(one.object))
        item["status"] = _status(item)
        live[reference] = item
        if reference.kind in ("Deployment", "StatefulSet"):
            pod = _pod(item)
            live[Reference.to(pod)] = pod
        for template in (item.get("spec") or {}).get("volumeClaimTemplates") or ():
            name = f"{template['metadata']['name']}-{reference.name}-0"
            claim = {"metadata": {"name": name, "namespace": SPACE}, "spec": {}, "status": {"phase": "Bound"}}
            live[Reference("v1", "PersistentVolumeClaim", SPACE, name)] = claim
    pods = [reference.name for reference in live if reference.kind == "Pod"]
    usage = {"cpu": "1m", "memory": "1Mi"}
    node = {
        "metadata": {"name": "node-a"},
        "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": "8", "memory": "16Gi"}},
    }
    return State(
        expected=_expected(),
        live=live,
        version=f"v{_expected().settings.cluster.kubernetes_version}.1",
        nodes=Read([node]),
        node_usage=Read([{"metadata": {"name": "node-a"}, "usage": usage}]),
        pod_usage=Read([{"metadata": {"name": name, "namespace": SPACE}, "containers": []} for name in pods]),
        now=NOW,
    )


def checks(state: State) -> list[Check]:
    return list(run.checks(state, Told(refused="nobody answers")))


def the(state: State, kind: str, name: str) -> Json:
    (found,) = [item for ref, item in state.live.items() if (ref.kind, ref.name) == (kind, name)]
    return found  # type: ignore[return-value]


def without(state: State, kind: str, name: str) -> State:
    return replace(state, live={ref: item for ref, item in state.live.items() if (ref.kind, ref.name) != (kind, name)})


def test_a_healthy_stack_fails_and_warns_of_nothing_and_says_why_it_skips() -> None:
    found = checks(healthy())
    assert [check for check in found if check.status in (Status.FAIL, Status.WARN)] == []
    assert sum(check.status is Status.PASS for check in found) >= 18
    assert all(check.seen for check in found)


def _change(kind: str, name: str, key: str, value: object) -> Callable[[State], None]:
    def change(state: State) -> None:
        *path, last = key.split(".")
        item: Any = the(state, kind, name)
        for part in path:
            item = item.setdefault(part, {})
        item[last] = value

    return change


def _waits(why: str) -> list[Json]:
    return [{"name": "user-service", "image": "i", "state": {"waiting": {"reason": why, "message": "m"}}}]


_POD = "user-service-0"
_ENDED = {"reason": "OOMKilled", "exitCode": 137, "finishedAt": (NOW - timedelta(minutes=5)).isoformat()}
BROKEN: list[tuple[str, Callable[[State], None], Stage, str, str, Status]] = [
    ("pod security", _change("Namespace", SPACE, "metadata.labels", {"pod-security.kubernetes.io/enforce": "baseline"}),
     Stage.NAMESPACES, "enforce is baseline", "cloudmart up", Status.FAIL),
    ("a namespace that ends", _change("Namespace", SPACE, "status.phase", "Terminating"),
     Stage.NAMESPACES, "somebody deletes it", "wait until it is gone", Status.FAIL),
    ("labels", _change("Service", "user-service", "metadata.labels", {}),
     Stage.OBJECTS, "lost the label", "cloudmart up", Status.FAIL),
    ("somebody else's object",
     _change("Service", "user-service", "metadata.managedFields", [{"manager": "kubectl-create"}]),
     Stage.OBJECTS, "written by kubectl-create", "find out who", Status.WARN),
    ("a full quota", _change("ResourceQuota", "cloudmart-quota", "status", {"hard": {"pods": 3}, "used": {"pods": 3}}),
     Stage.QUOTA, "no room for one more pod", "headroom", Status.FAIL),
    ("a claim that waits", _change("PersistentVolumeClaim", "data-postgres-0", "status.phase", "Pending"),
     Stage.CLAIMS, "is Pending", "describe", Status.FAIL),
    ("a workload at zero", _change("Deployment", "user-service", "spec.replicas", 0),
     Stage.WORKLOADS, "scaled to 0", "scale", Status.FAIL),
    ("no ready pods", _change("Deployment", "user-service", "status.readyReplicas", 0),
     Stage.WORKLOADS, "0 of 1 pod ready", "status deployment/user-service", Status.FAIL),
    ("a paused rollout", _change("Deployment", "user-service", "spec.paused", True),
     Stage.WORKLOADS, "paused", "resume deployment/user-service", Status.WARN),
    ("a pod without a node", _change("Pod", _POD, "status.conditions",
                                     [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]),
     Stage.WORKLOADS, "not scheduled: 0/3 nodes", "make room", Status.FAIL),
    ("an image", _change("Pod", _POD, "status.containerStatuses", _waits("ImagePullBackOff")),
     Stage.WORKLOADS, "ImagePullBackOff: m (i)", "may be pulled", Status.FAIL),
    ("a crash", _change("Pod", _POD, "status.containerStatuses", _waits("CrashLoopBackOff")),
     Stage.WORKLOADS, "CrashLoopBackOff", "--previous", Status.FAIL),
    ("a kill for memory", _change("Pod", _POD, "status.containerStatuses",
                                  [{"name": "c", "restartCount": 2, "lastState": {"terminated": _ENDED}}]),
     Stage.WORKLOADS, "OOMKilled", "resources.limits.memory", Status.WARN),
    ("a cost label of a pod", _change("Pod", _POD, "metadata.labels.cost-center", "CC-0"),
     Stage.WORKLOADS, "cost-center is CC-0", "delete", Status.FAIL),
    ("a selector", _change("Service", "user-service", "spec.selector", {"app": "nobody"}),
     Stage.WORKLOADS, "no ready pod is behind it", "cloudmart up", Status.FAIL),
    ("no metrics", _change("HorizontalPodAutoscaler", "user-service-hpa", "status.currentMetrics", []),
     Stage.AUTOSCALING, "cpu is <unknown>", "describe", Status.FAIL),
    ("no target", _change("HorizontalPodAutoscaler", "user-service-hpa", "spec.scaleTargetRef.name", "nobody"),
     Stage.AUTOSCALING, "declared is Deployment user-service", "cloudmart up", Status.FAIL),
    ("at its most", _change("HorizontalPodAutoscaler", "user-service-hpa", "status.conditions",
                            [{"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas"}]),
     Stage.AUTOSCALING, "wants more", "autoscaling.max", Status.WARN),
    ("a budget", _change("PodDisruptionBudget", "user-service-pdb", "status.disruptionsAllowed", 0),
     Stage.DISRUPTION, "no node can be drained", "minAvailable", Status.FAIL),
]  # fmt: skip


@pytest.mark.parametrize(("change", "stage", "seen", "mend", "status"), [one[1:] for one in BROKEN],
                         ids=[one[0] for one in BROKEN])  # fmt: skip
def test_what_is_broken_is_told_at_its_stage_with_its_mend(
    change: Callable[[State], None], stage: Stage, seen: str, mend: str, status: Status
) -> None:
    state = healthy()
    change(state)
    told = [
        (one.status, one.mend)
        for check in checks(state)
        if check.stage is stage
        for one in check.findings
        if seen in one.seen
    ]
    assert told, [one for check in checks(state) for one in check.findings]
    assert told[0][0] is status
    assert mend in told[0][1]


def _quota(name: str, hard: Json, used: Json, **spec: object) -> dict[Reference, Json]:
    reference = Reference("v1", "ResourceQuota", SPACE, name)
    metadata = {"name": name, "namespace": SPACE}
    return {reference: {"metadata": metadata, "spec": spec, "status": {"hard": hard, "used": used}}}


@pytest.mark.parametrize("item", ["pods", "count/pods", "cpu", "memory", "limits.cpu"])
def test_a_quota_that_somebody_added_is_judged_under_each_of_its_names_and_mended_by_deleting_it(item: str) -> None:
    state = healthy()
    state = replace(state, live={**state.live, **_quota("extra", {item: "3"}, {item: "3"})})
    (check,) = [one for one in checks(state) if one.stage is Stage.QUOTA]
    (found,) = check.findings
    assert (found.subject, found.status) == (f"ResourceQuota {SPACE}/extra", Status.FAIL)
    assert found.mend.endswith(f"kubectl --context c delete -n {SPACE} resourcequota extra")
    assert "cloudmart/extra, undeclared, 100% of" in check.seen


@pytest.mark.parametrize("spec", [{"scopes": ["BestEffort"]}, {"scopeSelector": {"matchExpressions": []}}])
def test_a_quota_of_pods_that_are_none_of_ours_is_none_of_verify_s(spec: Json) -> None:
    state = healthy()
    state = replace(state, live={**state.live, **_quota("system", {"pods": "0"}, {"pods": "0"}, **spec)})
    assert [one.status for one in checks(state) if one.stage is Stage.QUOTA] == [Status.PASS]


def test_a_workload_whose_pods_a_foreign_quota_refuses_names_that_quota_and_no_pods_that_are_not_there() -> None:
    state = without(healthy(), "Pod", "user-service-0")
    why = 'pods "user-service-0" is forbidden: exceeded quota: extra, requested: pods=1, used: pods=13, limited: pods=3'
    the(state, "Deployment", "user-service")["status"] = {
        "conditions": [{"type": "ReplicaFailure", "status": "True", "message": why}]
    }
    found = [one.mend for check in checks(state) if check.name == "available" for one in check.findings]
    assert found[0].endswith(f"delete -n {SPACE} resourcequota extra")
    assert "see its pods below" not in found[1]
    assert f"describe -n {SPACE} deployment/user-service says why" in found[1]


def test_a_pod_of_the_old_version_is_left_to_the_rollout_that_replaces_it() -> None:
    state = healthy()
    the(state, "Pod", "user-service-0")["metadata"]["labels"]["cost-center"] = "CC-3001"
    # A third pod, of the new version, does not get ready.
    the(state, "Deployment", "user-service")["status"] |= {"replicas": 3, "updatedReplicas": 1}
    (found,) = [one for check in checks(state) if check.name == "labels on pods" for one in check.findings]
    assert "cost-center is CC-3001" in found.seen
    assert "status deployment/user-service" in found.mend
    assert "delete" not in found.mend


def test_a_missing_object_is_told_once() -> None:
    found = [one for check in checks(without(healthy(), "ConfigMap", "user-service-config")) for one in check.findings]
    assert [(one.subject, one.seen) for one in found] == [(f"ConfigMap {SPACE}/user-service-config", "is not there")]


def test_a_missing_namespace_is_one_finding_and_not_one_for_each_object() -> None:
    state = replace(healthy(), live={})
    found = [one for check in checks(state) if check.stage is Stage.NAMESPACES for one in check.findings]
    assert [one.subject for one in found] == [f"Namespace {SPACE}"]
    assert checks(state)[-1].status is Status.SKIPPED


def test_nodes_that_are_not_ready_or_without_metrics_are_told() -> None:
    state = healthy()
    (node,) = state.nodes.items
    node["status"]["conditions"] = [{"type": "Ready", "status": "Unknown", "message": "gone"}]
    down = replace(state, node_usage=Read(refused="no such API"))
    found = [one.seen for check in checks(down) if check.stage is Stage.NODES for one in check.findings]
    assert found == ["is not ready: gone", "does not answer: no such API"]


@pytest.mark.parametrize(("local", "mend"), [(True, "`cloudmart local start` puts back"), (False, "install it, or")])
def test_metrics_that_are_gone_are_brought_back_as_their_cluster_does_it(local: bool, mend: str) -> None:
    expected = replace(_expected(), target=Target(kubectl=_KUBECTL, local=local))
    down = replace(healthy(), expected=expected, node_usage=Read(refused="404 page not found"))
    (found,) = [one for check in checks(down) if check.stage is Stage.NODES for one in check.findings]
    assert mend in found.mend


EVIL = "a\x1b[2J|b\n<script>&"


def _report() -> Report:
    made = [
        judged(Stage.API, "answers", "v1", []),
        judged(Stage.WORKLOADS, "pods", EVIL, [finding("w", EVIL, EVIL, Status.WARN), finding("f", EVIL, EVIL)]),
        skipped(Stage.COST, "cost", EVIL),
    ]
    return Report(stack="dev", cluster="c", seconds=1, checks=made)


def test_formats_agree_and_foreign_text_steers_none_of_them() -> None:
    found = _report()
    document = json.loads(report.as_json(found))
    assert (document["exitCode"], document["counts"]) == (1, {"fail": 1, "warn": 0, "pass": 1, "skipped": 1})
    assert [one["subject"] for one in document["checks"][1]["findings"]] == ["f", "w"]
    root = ElementTree.fromstring(report.as_junit(found))  # noqa: S314 (our own)
    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("3", "1", "1")
    for text in (report.as_text(found), report.as_markdown(found), report.as_junit(found), report.as_json(found)):
        assert "\x1b" not in text
    assert "FAIL  pods" in report.as_text(found)
    assert "<script>" not in report.as_markdown(found).replace("\\<", "")


def test_a_command_that_mends_is_whole_in_every_format_however_long_it_is() -> None:
    command = f"kubectl patch deployment web --type=json --patch '{'x' * 2000}'"
    long = replace(_report(), checks=[judged(Stage.OBJECTS, "a", "v", [finding("w", "s" * 2000, command)])])
    for text in (report.as_text(long), report.as_json(long), report.as_junit(long), report.as_markdown(long)):
        assert command in text
        assert "s" * 401 not in text


def test_only_a_failure_is_an_exit_code() -> None:
    warned = replace(_report(), checks=[judged(Stage.API, "a", "v", [finding("w", "s", "m", Status.WARN)])])
    assert (warned.exit_code, _report().exit_code) == (0, 1)


def test_amounts_are_read_as_a_cluster_writes_them() -> None:
    found = [amount(text) for text in ("274997766n", "1Gi", "1e3", "junk")]
    assert found == [Decimal("0.274997766"), Decimal(2**30), Decimal(1000), Decimal(0)]
    spec = {"containers": [{"resources": {"requests": {"cpu": "100m"}}}] * 2}
    assert of_pod(spec)["requests.cpu"] == amount("200m")
    assert plain("x" * 1000).endswith("…")


class _Changes:
    """A watch that tells of a change at once."""

    def __init__(self, *_: object) -> None:
        self.looked = 0

    def __enter__(self) -> _Changes:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def known(self, live: object) -> None:
        self.looked += 1

    def wait(self, seconds: float, *, settle: float) -> bool:
        time.sleep(0.01)
        return True


def test_waiting_outlives_an_api_server_that_is_away_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [None, healthy()]

    def again(*_: object) -> tuple[State, Told]:
        answer = answers.pop(0) if answers else None
        if answer is None:
            raise KubectlError("GET /version: no answer")
        return answer, Told(refused="nobody answers")

    monkeypatch.setattr(run, "_again", again)
    monkeypatch.setattr(watch, "Watch", _Changes)
    said: list[str] = []
    broken = without(healthy(), "ConfigMap", "user-service-config")
    asked = run._Asked("dev", None, None)
    before = run._report(asked, broken, Told(refused="nobody answers"), 0)
    assert before.exit_code == 1
    after = run._wait(asked, Api(Path()), before, broken, said.append, time.monotonic(), 60)
    assert after.exit_code == 0
    assert said[1] == "waiting: GET /version: no answer"
    with pytest.raises(KubectlError, match="no answer"):
        run._wait(asked, Api(Path()), before, broken, said.append, time.monotonic(), 0.5)


def test_a_time_to_wait_needs_its_unit() -> None:
    ended = CliRunner().invoke(cli, ["verify", "--stack", "dev", "--wait", "5"])
    assert ended.exit_code == 2
    assert "allowed: a number with its unit" in ended.output


def test_a_kubectl_that_cannot_connect_is_one_error_with_what_it_says(tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text('#!/bin/sh\necho "error: context \\"nowhere\\" does not exist" >&2\nexit 1\n')
    program.chmod(0o755)
    said = r'kubectl proxy: error: context "nowhere" does not exist'
    with pytest.raises(KubectlError, match=said), connected(Kubectl(path=program, context="nowhere")):
        pytest.fail("connected")
