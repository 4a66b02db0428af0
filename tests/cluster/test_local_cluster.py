"""What the local cluster promises, shown on a running one."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from click.testing import CliRunner

from cloudmart.cli import cli
from cloudmart.cluster.local import LocalCluster
from cloudmart.errors import UserError
from tests.cluster.conftest import say

pytestmark = pytest.mark.cluster


def scaled(name: str, replicas: int, annotations: dict[str, str]) -> str:
    """A Deployment that requests 100m and 128Mi, and an HPA of 2 to 6 replicas on it."""
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}, annotations: {json.dumps(annotations)}}}
    spec:
      containers:
        - name: main
          image: example.org/{name}:1
          resources: {{requests: {{cpu: 100m, memory: 128Mi}}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: {name}}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}
  minReplicas: 2
  maxReplicas: 6
  metrics:
    - {{type: Resource, resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 70}}}}}}
    - {{type: Resource, resource: {{name: memory, target: {{type: Utilization, averageUtilization: 80}}}}}}
"""


STORE = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store}
spec:
  serviceName: store
  replicas: 2
  selector: {matchLabels: {app: store}}
  template:
    metadata: {labels: {app: store}}
    spec:
      containers:
        - {name: main, image: example.org/store:1, volumeMounts: [{name: data, mountPath: /data}]}
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 5Gi}}}
"""


def eventually(what: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.2)
    return False


def pids(local: LocalCluster) -> dict[str, int | None]:
    return {component.name: component.pid for component in local.status().components}


@pytest.fixture(scope="module")
def breakable(home: Path) -> Iterator[LocalCluster]:
    local = LocalCluster(home / "broken")
    yield local
    local.stop()


@pytest.fixture
def own(breakable: LocalCluster) -> LocalCluster:
    """A running cluster that a test may break; healed before each test, made anew where that fails."""
    try:
        breakable.start(say)
    except UserError:
        breakable.reset(say)
    return breakable


# --- what runs --------------------------------------------------------------------------------------------------------


def test_every_component_listens_on_loopback_alone(cluster: LocalCluster) -> None:
    addresses = set()
    for pid in pids(cluster).values():
        listening = [c for c in psutil.Process(pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert listening, f"process {pid} listens nowhere"
        addresses |= {connection.laddr.ip for connection in listening}
    assert addresses == {"127.0.0.1"}


def test_nobody_else_on_the_machine_can_read_its_files(cluster: LocalCluster) -> None:
    assert stat.S_IMODE(cluster.directory.stat().st_mode) == 0o700
    files = [cluster.kubeconfig, *(cluster.directory / name for name in ("config.yaml", "cluster.json", "kwokctl.log"))]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    keys = list(cluster.directory.rglob("*.key"))
    assert keys
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_a_client_without_a_certificate_is_refused(cluster: LocalCluster) -> None:
    info = cluster.status().info
    assert info is not None
    authority = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["certificate-authority"]
    context = ssl.create_default_context(cafile=authority)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{info.server}/api/v1/secrets", context=context, timeout=10)  # noqa: S310
    assert refused.value.code == 403


def test_role_based_access_control_refuses_what_no_role_grants(cluster: LocalCluster) -> None:
    with pytest.raises(UserError, match="Forbidden"):
        cluster.kubectl("get", "secrets", "--as=system:serviceaccount:default:default")


def test_three_nodes_in_three_zones_are_ready(cluster: LocalCluster) -> None:
    nodes = json.loads(cluster.kubectl("get", "nodes", "--output=json"))["items"]
    zones = {node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in nodes}
    assert len(nodes) == len(zones) == 3
    for node in nodes:
        assert node["status"]["capacity"]["cpu"] == "8"
        assert {c["type"]: c["status"] for c in node["status"]["conditions"]}["Ready"] == "True"


def test_the_programs_say_the_version_that_is_pinned(cluster: LocalCluster) -> None:
    answered = json.loads(cluster.kubectl("version", "--output=json"))
    assert answered["serverVersion"]["gitVersion"] == answered["clientVersion"]["gitVersion"] == "v1.36.3"


def test_claims_bind_by_the_default_class_and_volumes_go_with_them(cluster: LocalCluster, namespace: str) -> None:
    cluster.kubectl("apply", f"--namespace={namespace}", "--filename=-", stdin=STORE)
    cluster.kubectl("rollout", "status", "statefulset/store", f"--namespace={namespace}", "--timeout=30s")
    claims = json.loads(cluster.kubectl("get", "pvc", f"--namespace={namespace}", "--output=json"))["items"]
    assert {claim["status"]["phase"] for claim in claims} == {"Bound"}
    assert {claim["spec"]["storageClassName"] for claim in claims} == {"standard"}
    volumes = [f"pv/{claim['spec']['volumeName']}" for claim in claims]
    cluster.kubectl("get", *volumes)

    cluster.kubectl("delete", "statefulset/store", f"--namespace={namespace}")
    cluster.kubectl("delete", "pvc", "--all", f"--namespace={namespace}")
    assert eventually(lambda: cluster.kubectl("get", *volumes, "--ignore-not-found") == "", 20)


def test_admission_enforces_quota_and_pod_security(cluster: LocalCluster, namespace: str) -> None:
    cluster.kubectl("create", "quota", "none", "--hard=pods=0", f"--namespace={namespace}")
    pod = ["run", "pod", "--image=example.org/pod:1", f"--namespace={namespace}"]
    with pytest.raises(UserError, match="exceeded quota"):
        cluster.kubectl(*pod)
    cluster.kubectl("delete", "quota", "none", f"--namespace={namespace}")
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    with pytest.raises(UserError, match="violates PodSecurity"):
        cluster.kubectl(*pod)


@pytest.mark.nightly
def test_autoscalers_follow_the_usage_that_pods_report(cluster: LocalCluster, namespace: str) -> None:
    here = f"--namespace={namespace}"
    usage, low = "kwok.x-k8s.io/usage-cpu", {"kwok.x-k8s.io/usage-memory": "8Mi"}
    manifests = [
        scaled("steady", 3, {}),
        scaled("busy", 2, {usage: "140m"} | low),
        scaled("idle", 4, {usage: "10m"} | low),
    ]
    cluster.kubectl("apply", here, "--filename=-", stdin="---".join(manifests))

    def replicas() -> dict[str, int]:
        found = json.loads(cluster.kubectl("get", "deployments", here, "--output=json"))["items"]
        return {deployment["metadata"]["name"]: deployment["spec"]["replicas"] for deployment in found}

    assert eventually(lambda: replicas() == {"steady": 3, "busy": 6, "idle": 2}, 120), replicas()

    status = json.loads(cluster.kubectl("get", "hpa/steady", here, "--output=json"))["status"]
    current = {metric["resource"]["name"]: metric["resource"]["current"] for metric in status["currentMetrics"]}
    # By default half of the requests, so that nothing moves; time between two scrapes blurs CPU by a few percent.
    assert abs(current["cpu"]["averageUtilization"] - 50) <= 5
    assert current["memory"]["averageUtilization"] == 50
    assert len(cluster.kubectl("top", "pods", here, "--no-headers").splitlines()) >= 3
    assert len(cluster.kubectl("top", "nodes", "--no-headers").splitlines()) == 3


# --- what may happen to it --------------------------------------------------------------------------------------------


def test_a_second_start_does_nothing_and_takes_less_than_a_second(own: LocalCluster) -> None:
    before, said = pids(own), list[str]()
    started = time.monotonic()
    own.start(said.append)
    assert time.monotonic() - started < 1
    assert said == []
    assert pids(own) == before


def test_start_puts_back_what_somebody_deleted_of_a_running_cluster(own: LocalCluster) -> None:
    before = pids(own)
    own.kubectl("delete", "apiservice/v1beta1.metrics.k8s.io", "node/node-b", "storageclass/standard")
    own.start(say)
    own.kubectl("get", "apiservice/v1beta1.metrics.k8s.io", "node/node-b", "storageclass/standard")
    assert pids(own) == before


def test_two_checkouts_have_clusters_of_their_own(cluster: LocalCluster, own: LocalCluster) -> None:
    assert cluster.name != own.name
    ports = [{port for c in local.status().components for port in c.ports} for local in (cluster, own)]
    assert ports[0].isdisjoint(ports[1])


@pytest.mark.parametrize("killed", ["etcd", "kube-apiserver", "kwok-controller", "metrics-server"])
def test_start_brings_back_a_killed_component_and_keeps_the_objects(own: LocalCluster, killed: str) -> None:
    own.kubectl("create", "configmap", f"before-{killed}")
    pid = pids(own)[killed]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: pids(own)[killed] is None, 5)
    assert not own.is_running()

    own.start(say)
    assert own.is_running()
    own.kubectl("get", "configmap", f"before-{killed}")
    own.kubectl("delete", "configmap", f"before-{killed}")


def test_objects_outlive_stop_and_new_pods_run_at_once_after_the_restart(own: LocalCluster) -> None:
    own.kubectl("create", "deployment", "kept", "--image=example.org/kept:1", "--replicas=2")
    own.kubectl("rollout", "status", "deployment/kept", "--timeout=30s")
    own.stop()
    assert set(pids(own).values()) == {None}

    own.start(say)
    own.kubectl("scale", "deployment/kept", "--replicas=5")
    # A predecessor's node lease, or a leader's, would hold this up for 15 s and more.
    own.kubectl("rollout", "status", "deployment/kept", "--timeout=10s")
    own.kubectl("delete", "deployment", "kept")


@pytest.mark.nightly
def test_a_port_that_somebody_took_meanwhile_is_replaced_and_the_objects_stay(own: LocalCluster) -> None:
    own.kubectl("create", "configmap", "kept")
    info = own.status().info
    assert info is not None
    port = int(info.server.rpartition(":")[2])
    own.stop()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        again = own.start(say)
    assert again.server != info.server
    own.kubectl("get", "configmap", "kept")
    own.kubectl("delete", "configmap", "kept")
    # kwok's port changed too, and metrics-server must have learnt it.
    assert eventually(lambda: len(_node_usage(own)) == 3, 60)


def _node_usage(local: LocalCluster) -> list[str]:
    try:
        return local.kubectl("top", "nodes", "--no-headers").splitlines()
    except UserError:
        return []


@pytest.mark.nightly
def test_a_recorded_process_id_that_passed_to_another_process_is_left_alone(own: LocalCluster) -> None:
    own.stop()
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        recorded = own.directory / "clusters" / own.name / "pids" / "etcd.pid"
        recorded.write_text(str(other.pid))
        assert not own.is_running()
        own.stop()
        assert other.poll() is None
        recorded.write_text(str(other.pid))
        own.start(say)
        assert other.poll() is None
        assert pids(own)["etcd"] not in (None, other.pid)
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize("lost", ["pki/admin.key", "etcd/member/snap/db"])
@pytest.mark.nightly
def test_damaged_data_is_named_and_reset_cures_it(own: LocalCluster, lost: str) -> None:
    own.stop()
    path = own.directory / "clusters" / own.name / lost
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"missing or empty; .* `cloudmart local reset`") as damaged:
        own.start(say)
    assert str(path) in str(damaged.value)
    own.reset(say)
    assert own.is_running()


@pytest.mark.nightly
def test_a_component_that_cannot_start_is_named_with_its_last_words(own: LocalCluster) -> None:
    own.stop()
    database = own.directory / "clusters" / own.name / "etcd" / "member" / "snap" / "db"
    database.write_bytes(os.urandom(100_000))
    started = time.monotonic()
    with pytest.raises(UserError, match="etcd") as broken:
        own.start(say)
    assert time.monotonic() - started < 30
    assert "invalid" in str(broken.value)
    assert "`cloudmart local reset`" in str(broken.value)
    assert set(pids(own).values()) == {None}
    own.reset(say)


@pytest.mark.nightly
def test_what_an_interrupted_first_start_left_is_replaced(own: LocalCluster) -> None:
    own.delete()
    half = own.directory / "clusters" / own.name / "pki"
    half.mkdir(parents=True)
    (half / "ca.key").write_text("half a key")
    own.start(say)
    assert own.is_running()


@pytest.mark.nightly
def test_a_damaged_kwokctl_configuration_is_written_anew_around_the_data(own: LocalCluster) -> None:
    own.kubectl("create", "configmap", "kept")
    own.stop()
    (own.directory / "clusters" / own.name / "kwok.yaml").write_text("half: [a")
    own.start(say)
    own.kubectl("get", "configmap", "kept")
    own.kubectl("delete", "configmap", "kept")


@pytest.mark.nightly
def test_reset_empties_the_cluster_and_touches_nothing_beside_it(own: LocalCluster) -> None:
    own.kubectl("create", "configmap", "gone")
    beside = own.directory.parent / "beside"
    beside.write_text("mine")
    own.reset(say)
    assert own.kubectl("get", "configmap", "gone", "--ignore-not-found") == ""
    assert beside.read_text() == "mine"
    beside.unlink()


def test_the_command_line_starts_reports_and_stops(own: LocalCluster) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(cli, ["local", *arguments, "--root", str(own.root)], catch_exceptions=False)
        assert result.exit_code == code
        return result.stdout

    started = run("start")
    assert "simulated by kwok" in started
    assert str(own.kubeconfig) in started
    reported = json.loads(run("status", "--format", "json"))
    assert reported["running"] is True
    assert all(component["up"] for component in reported["components"])
    run("stop")
    stopped = run("status", code=1)
    assert stopped.startswith("not running")
    assert "DOWN  etcd" in stopped
