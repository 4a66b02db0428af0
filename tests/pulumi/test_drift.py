"""Drift, second looks and safe change under the real engine.

One story, told in order: what one test leaves is what the next finds.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from cloudmart.deploy import expected
from cloudmart.deploy.expected import Way
from cloudmart.drift.finding import Kind
from cloudmart.drift.look import Drift, look
from cloudmart.errors import UserError
from tests.pulumi.shop import SPACE, Shop

Json = Any

_SOMEBODY = "--field-manager=somebody"
_UP = "cloudmart up --stack dev --refresh"


def _look(shop: Shop) -> Drift:
    return look(expected.expected("dev", None, shop.project.root, shop.said.append))


def _patch(shop: Shop, kind: str, name: str, change: Json) -> None:
    form = "strategic" if isinstance(change, dict) else "json"
    shop.cluster.kubectl("patch", kind, name, "-n", SPACE, f"--type={form}", f"--patch={json.dumps(change)}", _SOMEBODY)


def _changes(ended: subprocess.CompletedProcess[str]) -> set[str]:
    """Operations of a plan of ``pulumi preview --json``, less what stays the same."""
    assert ended.returncode == 0, ended.stderr
    return {step["op"] for step in json.loads(ended.stdout)["steps"]} - {"same"}


def test_after_up_drift_refresh_and_preview_find_nothing(shop: Shop) -> None:
    shop.up("dev")
    found = _look(shop)
    assert found.way is Way.PULUMI
    assert found.findings == []
    (note,) = found.notes
    assert note.endswith("the objects are the chart's: kubecost/kubecost")
    assert _changes(shop.pulumi("preview", "-s", "dev", "--json", "--refresh")) <= {"refresh"}


def test_damage_is_found_and_the_commands_that_drift_gives_put_it_back(shop: Shop) -> None:
    before = shop.passwords()
    image = {"name": "order-service", "image": "docker.io/nginxinc/nginx-unprivileged:1.0"}
    _patch(shop, "deployment", "order-service", {"spec": {"template": {"spec": {"containers": [image]}}}})
    _patch(shop, "secret", "postgres-credentials", {"data": {"password": "aHVudGVyMg=="}})
    _patch(shop, "hpa", "user-service-hpa", {"spec": {"maxReplicas": 3}})
    _patch(shop, "configmap", "order-service-config", {"data": {"LOG_LEVEL": "by hand"}})
    _patch(shop, "service", "user-service", {"metadata": {"labels": {"extra": "1"}}})
    widened = {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}
    _patch(shop, "networkpolicy", "payment-service", [{"op": "add", "path": "/spec/egress/-", "value": widened}])
    shop.cluster.kubectl("delete", "pdb/user-service-pdb", "secret/redis-credentials", "-n", SPACE)

    found = _look(shop).findings
    told = {(one.kind, one.object.kind, one.path.partition("[")[0]) for one in found}
    assert told == {
        (Kind.CHANGED, "Deployment", "spec.template.spec.containers"),
        (Kind.CHANGED, "Secret", "data.password"),
        (Kind.CHANGED, "HorizontalPodAutoscaler", "spec.maxReplicas"),
        (Kind.CHANGED, "ConfigMap", "data.LOG_LEVEL"),
        (Kind.ADDED, "Service", "metadata.labels.extra"),
        (Kind.CHANGED, "NetworkPolicy", "spec.egress"),
        (Kind.MISSING, "PodDisruptionBudget", ""),
        (Kind.MISSING, "Secret", ""),
    }
    assert {one.by for one in found if one.kind is not Kind.MISSING} == {"somebody"}
    assert "hunter2" not in "".join(f"{one.declared} {one.live} {one.mend}" for one in found)

    commands = dict.fromkeys(one.mend for one in found)
    assert _UP in commands
    for command in commands:
        if command != _UP:
            subprocess.run(["sh", "-ec", command], check=True, capture_output=True, timeout=60)
    ended = shop.cloudmart("up", "--stack", "dev", "--refresh")
    assert ended.returncode == 0, ended.stderr
    assert _look(shop).findings == []
    assert _changes(shop.pulumi("preview", "-s", "dev", "--json")) == set()
    assert shop.passwords() == before


def test_a_release_that_helm_does_not_know_as_deployed_is_told(shop: Shop) -> None:
    of_helm = ("secrets", "-n", "kubecost", "-l", "owner=helm,name=kubecost")
    for status in ("failed", "deployed"):
        shop.cluster.kubectl("label", *of_helm, f"status={status}", "--overwrite")
        found = [(one.object.label, one.path, one.declared, one.live) for one in _look(shop).findings]
        failed = ("Release kubecost/kubecost", "status", "deployed", "failed")
        assert found == ([failed] if status == "failed" else [])


def test_a_store_that_gets_another_volume_size_is_replaced_and_keeps_its_claim_and_its_password(shop: Shop) -> None:
    before, passwords = shop.held(), shop.passwords()

    def larger(config: Any) -> None:
        config.setdefault("cloudmart:data", {}).setdefault("redis", {})["storage"] = {"size": "3Gi"}

    shop.project.config("dev", larger)
    _, lines = shop.up("dev")
    assert "what is to be replaced is still there: previewed once more, as if it were not" in lines
    assert {line for line in lines if line.startswith(("created anew ", "replaced "))} == {
        "created anew StatefulSet redis",
        "replaced StatefulSet redis",
    }
    after = shop.held()
    lost = {name for name in before if after.get(name) != before[name]}
    assert lost == {"StatefulSet redis", "Pod redis-0"}
    assert shop.passwords() == passwords
    assert _changes(shop.pulumi("preview", "-s", "dev", "--json")) == set()
    assert _look(shop).findings == []


def test_a_replacement_that_the_api_server_would_refuse_stops_up_before_anything_is_changed(shop: Shop) -> None:
    before = shop.held()
    file = shop.project.root / "components" / "data" / "store.py"
    text = file.read_text()
    assert text.count('"ReadWriteOnce"') == 1, "the test does not know this code"
    file.write_text(text.replace('"ReadWriteOnce"', '"ReadWriteSometimes"'))
    try:
        with pytest.raises(UserError, match=r"StatefulSet \w+: .*ReadWriteSometimes"):
            shop.up("dev")
    finally:
        file.write_text(text)
    assert shop.held() == before


def test_a_component_that_is_renamed_with_an_alias_keeps_every_object(shop: Shop) -> None:
    """The type of the component is in the URN of all that it makes: without the alias everything would be made anew."""
    before = shop.held()
    file = shop.project.root / "components" / "microservice.py"
    text = file.read_text()
    old = '"cloudmart:microservice:Microservice"'
    assert text.count(f"super().__init__({old}, name, None, opts)") == 1, "the test does not know this code"
    renamed = f"""super().__init__(
            "cloudmart:microservice:Service",
            name,
            None,
            pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(aliases=[pulumi.Alias(type_={old})])),
        )"""
    file.write_text(text.replace(f"super().__init__({old}, name, None, opts)", renamed))
    try:
        assert _changes(shop.pulumi("preview", "-s", "dev", "--json")) == set()
        shop.up("dev")
    finally:
        file.write_text(text)
    after = shop.held()
    assert after == before
    assert _look(shop).findings == []
