"""`cloudmart up` and `cloudmart down` without a Pulumi CLI, on a real API server.

The tests of this file are one story, told in order: what one leaves is what the next finds.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from click.testing import CliRunner

from cloudmart.cli import cli
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy import table, up
from cloudmart.deploy.engine import NoCli
from cloudmart.errors import UserError
from tests.conftest import Project, copy_project

Json = Any

pytestmark = pytest.mark.cluster

SPACE = "cloudmart"
_KINDS = (
    "serviceaccounts,configmaps,secrets,services,deployments,statefulsets,horizontalpodautoscalers,"
    "poddisruptionbudgets,networkpolicies,resourcequotas,limitranges,persistentvolumeclaims,pods"
)
#: What every namespace has of itself.
_OWN = {"ServiceAccount default", "ConfigMap kube-root-ca.crt"}


@dataclass
class Shop:
    """A copy of the project in the folder whose cluster runs, and what its runs said."""

    cluster: LocalCluster
    project: Project
    said: list[str] = field(default_factory=list)

    def up(self, stack: str = "dev") -> tuple[up.Deployed, list[str]]:
        """Deploys; the lines of this run."""
        lines: list[str] = []
        deployed = up.up(stack, None, self.project.root, lines.append)
        self.said += lines
        return deployed, lines

    def down(self, stack: str = "dev", *, delete_data: bool = False) -> list[str]:
        """Takes away; what it says is left."""
        return list(up.down(stack, None, self.project.root, self.said.append, delete_data=delete_data))

    def get(self, *arguments: str) -> list[Json]:
        """The items of a list."""
        items: list[Json] = json.loads(self.cluster.kubectl("get", *arguments, "-o", "json"))["items"]
        return items

    def held(self) -> dict[str, str]:
        """Everything in the namespace, ``Kind name`` to uid."""
        found = self.get(_KINDS, "-n", SPACE)
        return {f"{item['kind']} {item['metadata']['name']}": item["metadata"]["uid"] for item in found}

    def secrets(self) -> dict[str, str]:
        """Every value that a Secret of the stores holds, by ``name/key``."""
        return {
            f"{item['metadata']['name']}/{key}": base64.b64decode(value).decode()
            for item in self.get("secrets", "-n", SPACE)
            for key, value in (item.get("data") or {}).items()
        }

    def gone(self) -> bool:
        """Whether nothing of the shop is left in the cluster."""
        spaces = {item["metadata"]["name"] for item in self.get("namespaces")}
        classes = {item["metadata"]["name"] for item in self.get("priorityclasses")}
        return SPACE not in spaces and not any(name.startswith(SPACE) for name in classes)


def _done(lines: list[str], word: str) -> set[str]:
    return {line.removeprefix(f"{word} ") for line in lines if line.startswith(f"{word} ")}


@pytest.fixture(scope="module")
def shop(cluster: LocalCluster) -> Iterator[Shop]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(up, "find_cli", lambda *_: NoCli("no pulumi in this test"))
        found = Shop(cluster, copy_project(cluster.root))
        yield found


def _within(seconds: float, what: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def test_a_namespace_that_something_else_made_is_refused_before_anything_changes(shop: Shop) -> None:
    shop.cluster.kubectl("create", "namespace", SPACE)
    try:
        with pytest.raises(UserError, match="namespace cloudmart: found one that something else made; allowed: none"):
            shop.up()
        assert _within(10, lambda: set(shop.held()) == _OWN)
        assert not [item for item in shop.get("priorityclasses") if item["metadata"]["name"].startswith(SPACE)]
        with pytest.raises(UserError, match="something else made"):
            shop.down(delete_data=True)
        assert [item for item in shop.get("namespaces") if item["metadata"]["name"] == SPACE]
    finally:
        shop.cluster.kubectl("delete", "namespace", SPACE)


def test_a_first_up_that_is_killed_is_finished_by_the_next(shop: Shop) -> None:
    root = shop.project.root
    code = (
        "import pathlib, sys; from cloudmart.deploy import up; from cloudmart.deploy.engine import NoCli;"
        "up.find_cli = lambda *_: NoCli('killed'); up.up('dev', None, pathlib.Path(sys.argv[1]), print)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(root)], start_new_session=True)
    try:

        def started() -> bool:
            assert process.poll() is None, "ended before it could be killed"
            try:
                return any(name.startswith("ConfigMap user-service") for name in shop.held())
            except UserError:
                return False  # no namespace yet

        deadline = time.monotonic() + 60
        while not started():
            assert time.monotonic() < deadline
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    deployed, _ = shop.up()
    declared = {f"{r.kind} {r.object_name}" for r in deployed.recording.resources if r.namespace == SPACE}
    assert declared <= set(shop.held())


def test_every_workload_is_available_and_the_table_says_so(shop: Shop) -> None:
    deployed, _ = shop.up()
    for item in shop.get("deployments", "-n", SPACE):
        conditions = {condition["type"]: condition["status"] for condition in item["status"]["conditions"]}
        assert conditions["Available"] == "True", item["metadata"]["name"]
    rows = {row.name: row for row in table.rows(deployed)}
    assert set(rows) == {*deployed.settings.services, "postgres", "redis", "kafka"}
    assert all(row.ready == row.desired > 0 for row in rows.values())
    assert rows["user-service"].scales == (2, 8)
    assert all(row.monthly.expected > 0 for row in rows.values())
    claims = shop.get("persistentvolumeclaims", "-n", SPACE)
    assert {claim["metadata"]["name"]: claim["status"]["phase"] for claim in claims} == {
        f"data-{store}-0": "Bound" for store in ("postgres", "redis", "kafka")
    }


def test_a_second_up_changes_nothing(shop: Shop) -> None:
    before = shop.held()
    deployed, lines = shop.up()
    assert _done(lines, "created") | _done(lines, "changed") | _done(lines, "removed") == set()
    count = sum(r.is_kubernetes_object for r in deployed.recording.resources)
    assert f"0 created, 0 changed, 0 removed, {count} unchanged" in "\n".join(lines)
    assert shop.held() == before


def test_the_command_ends_with_a_table_and_with_commands_that_work(shop: Shop) -> None:
    ended = CliRunner().invoke(cli, ["up", "--stack", "dev", "--root", str(shop.project.root)])
    assert ended.exit_code == 0, ended.output
    assert "pods are simulated" in ended.stdout.lower()
    for name in ("user-service", "payment-service", "postgres", "kafka"):
        (row,) = [line for line in ended.stdout.splitlines() if line.strip().startswith(f"{name} ")]
        ready, _, desired = row.split()[1].partition("/")
        assert ready == desired
    assert "2-8" in ended.stdout
    following = ended.stdout.partition("Next:")[2].strip().splitlines()
    commands = [line.strip() for line in following if " get pods,hpa" in line or line.strip().startswith("export ")]
    assert len(commands) == 2
    shown = subprocess.run(["sh", "-ec", "\n".join(commands)], capture_output=True, text=True, check=True).stdout
    assert "pod/user-service-" in shown
    assert "horizontalpodautoscaler.autoscaling/user-service-hpa" in shown


def test_passwords_are_generated_once_and_shown_nowhere(shop: Shop) -> None:
    before = shop.secrets()
    shop.up()
    assert shop.secrets() == before
    assert len(before["postgres-credentials/password"]) == 32
    assert before["redis-credentials/password"] in before["redis-credentials/auth.conf"]
    shown = "\n".join(shop.said)
    for key, value in before.items():
        if key.endswith("/username"):
            continue
        assert value not in shown, key
        assert base64.b64encode(value.encode()).decode() not in shown, key


def test_autoscalers_report_real_targets(shop: Shop) -> None:
    def unknown() -> list[str]:
        return [
            item["metadata"]["name"]
            for item in shop.get("horizontalpodautoscalers", "-n", SPACE)
            for metric in item["spec"]["metrics"]
            if not any(
                current.get("containerResource", {}).get("name") == metric["containerResource"]["name"]
                and "averageUtilization" in current["containerResource"]["current"]
                for current in item["status"].get("currentMetrics") or []
            )
        ]

    assert len(shop.get("horizontalpodautoscalers", "-n", SPACE)) == 5
    assert _within(60, lambda: not unknown()), unknown()
    assert "<unknown>" not in shop.cluster.kubectl("get", "hpa", "-n", SPACE)


def test_kubectl_top_answers_for_every_pod(shop: Shop) -> None:
    pods = {item["metadata"]["name"] for item in shop.get("pods", "-n", SPACE)}

    def answered() -> bool:
        try:
            lines = shop.cluster.kubectl("top", "pods", "-n", SPACE, "--no-headers").splitlines()
        except UserError:
            return False
        return pods <= {line.split()[0] for line in lines}

    assert _within(60, answered)


def test_up_leaves_the_replica_count_to_the_autoscaler(shop: Shop) -> None:
    shop.cluster.kubectl("scale", "deployment/user-service", "-n", SPACE, "--replicas=4")
    _, lines = shop.up()
    (found,) = [d for d in shop.get("deployments", "-n", SPACE) if d["metadata"]["name"] == "user-service"]
    # The autoscaler itself waits five minutes before it takes any away.
    assert found["spec"]["replicas"] == 4
    assert "removed" not in " ".join(line for line in lines if "user-service" in line)


def test_a_new_deployment_starts_with_its_declared_replicas_before_the_autoscaler_has_looked(shop: Shop) -> None:
    shop.cluster.kubectl("delete", "deployment/product-service", "-n", SPACE)
    deployed, _ = shop.up()
    (row,) = [row for row in table.rows(deployed) if row.name == "product-service"]
    # Its autoscaler would be content with two, and a Deployment without the field has one.
    assert (row.ready, row.desired, row.scales) == (3, 3, (2, 10))
    _, lines = shop.up()
    assert _done(lines, "changed") == set()


def test_what_somebody_changed_or_deleted_by_hand_is_put_right(shop: Shop) -> None:
    shop.cluster.kubectl("delete", "service/order-service", "-n", SPACE)
    patch = json.dumps({"data": {"LOG_LEVEL": "by hand"}})
    shop.cluster.kubectl("patch", "configmap/order-service-config", "-n", SPACE, "--type=merge", f"--patch={patch}")
    _, lines = shop.up()
    assert _done(lines, "created") == {f"Service {SPACE}/order-service"}
    assert _done(lines, "changed") == {f"ConfigMap {SPACE}/order-service-config"}


def test_a_service_that_leaves_the_catalog_takes_its_objects_along_and_nothing_else(shop: Shop) -> None:
    before = shop.held()
    shop.project.catalog(lambda catalog: catalog["services"].pop("notification-service"))
    shop.project.config("dev", lambda config: config["cloudmart:services"].pop("notification-service"))
    _, lines = shop.up()
    pods = [name for name in before if name.startswith("Pod notification-service-")]
    assert pods
    assert _within(30, lambda: not [name for name in shop.held() if name in pods])
    after = shop.held()
    assert set(before) - set(after) == {
        "ServiceAccount notification-service",
        "ConfigMap notification-service-config",
        "ConfigMap notification-service-placeholder",
        "Service notification-service",
        "Deployment notification-service",
        "HorizontalPodAutoscaler notification-service-hpa",
        "PodDisruptionBudget notification-service-pdb",
        "NetworkPolicy notification-service",
        *pods,
    }
    assert len(_done(lines, "removed")) == 8
    # The others are the same objects; even their pods, which nothing had to restart.
    assert {name: uid for name, uid in before.items() if name in after} == after
    assert _done(lines, "created") == set()
    changed = {name.split("/")[-1] for name in _done(lines, "changed")}
    assert changed <= {"cloudmart-quota", "cloudmart-limits", "kafka"}


def test_a_refused_object_is_named_and_the_next_up_after_the_mend_converges(shop: Shop) -> None:
    # A class that may not be changed: the API server says no in the middle of the run.
    shop.project.config("dev", lambda config: config["cloudmart:data"]["redis"]["storage"].update(size="3Gi"))
    with pytest.raises(UserError, match=r"(?s)redis.*(?:Forbidden|forbidden|immutable)"):
        shop.up()
    shop.project.config("dev", lambda config: config["cloudmart:data"]["redis"]["storage"].update(size="1Gi"))
    shop.up()
    _, lines = shop.up()
    assert "0 created, 0 changed, 0 removed" in "\n".join(lines)


def test_down_keeps_the_namespace_the_data_and_the_passwords_that_open_it(shop: Shop) -> None:
    passwords = shop.secrets()
    left = shop.down()
    assert sorted(left) == sorted(
        [f"namespace {SPACE}", *(f"claim data-{store}-0" for store in ("kafka", "postgres", "redis"))]
    )
    kept = {f"PersistentVolumeClaim data-{store}-0" for store in ("kafka", "postgres", "redis")}
    bookkeeping = {"Secret cloudmart-dev", "Secret cloudmart-dev-generated"}
    assert _within(60, lambda: set(shop.held()) == kept | bookkeeping | _OWN), shop.held()
    assert not [item for item in shop.get("priorityclasses") if item["metadata"]["name"].startswith(SPACE)]
    assert shop.down() == left
    # A new password would lock the data up.
    shop.up()
    assert shop.secrets() == passwords


def test_down_with_the_data_leaves_nothing(shop: Shop) -> None:
    assert shop.down(delete_data=True) == []
    assert shop.gone()
    assert _within(30, lambda: shop.get("persistentvolumes") == [])
    assert shop.down(delete_data=True) == []


def test_another_stack_neither_takes_over_nor_takes_away_what_a_stack_has(shop: Shop) -> None:
    shop.up()
    before, secrets = shop.held(), shop.secrets()
    other = shop.project.root / "Pulumi.other.yaml"
    other.write_text((shop.project.root / "Pulumi.dev.yaml").read_text())
    try:
        for run in (
            lambda: up.up("other", None, shop.project.root, print),
            lambda: up.down("other", None, shop.project.root, print, delete_data=True),
        ):
            with pytest.raises(UserError, match=f"namespace {SPACE}: found one of stack dev; allowed: none"):
                run()
        # Another namespace, but the same project, of which the cluster-wide objects are.
        other.write_text("config:\n  cloudmart:namespace: {name: elsewhere}\n  cloudmart:kubecost: {enabled: false}\n")
        with pytest.raises(UserError, match=r"PriorityClass cloudmart-\w+: found one of stack dev; allowed: none"):
            up.up("other", None, shop.project.root, print)
        assert "elsewhere" not in {item["metadata"]["name"] for item in shop.get("namespaces")}
    finally:
        other.unlink()
    assert (shop.held(), shop.secrets()) == (before, secrets)
    shop.down(delete_data=True)


def test_the_other_stack_comes_up_on_the_same_cluster(shop: Shop) -> None:
    copy_project(shop.project.root)
    deployed, _ = shop.up("prod")
    # An autoscaler may have just asked for one more than there was when its rollout was over.
    assert _within(30, lambda: all(row.ready == row.desired > 0 for row in table.rows(deployed)))
    _, lines = shop.up("prod")
    assert "0 created, 0 changed, 0 removed" in "\n".join(lines)
    shop.down("prod", delete_data=True)
    assert shop.gone()
