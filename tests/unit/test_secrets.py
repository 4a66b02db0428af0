"""Secrets as the settings, the list and the command see them."""

from __future__ import annotations

import base64
import itertools
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from cloudmart.cli import cli
from cloudmart.cluster.kubectl import Kubectl, KubectlError
from cloudmart.deploy import up
from cloudmart.deploy.generated import RESTORER
from cloudmart.errors import UserError
from cloudmart.preview.recorder import SECRET, Generated, Recorded, Recording
from cloudmart.secrets import report, rotation
from cloudmart.secrets.age import _times_of_keys
from cloudmart.secrets.inventory import Source, inventory
from cloudmart.settings import load
from tests.conftest import ROOT, Project
from tests.leaks import held

SENTINEL = "cloudmart-generated.redis-password.01234567.result."
CONFIGURED = "cloudmart-config.cloudmart-kafkaPassword.89abcdef.value."


def recorded(kind: str, name: str, **inputs: Any) -> Recorded:
    """An object of the namespace `shop`."""
    metadata = {"name": name, "namespace": "shop"}
    return Recorded(
        urn=f"urn:pulumi:dev::shop::kubernetes:x/v1:{kind}::{name}",
        type=f"kubernetes:x/v1:{kind}",
        name=name,
        inputs={"apiVersion": "x/v1", "kind": kind, "metadata": metadata, **inputs},
        parent="",
        custom=True,
        secrets={("stringData", key): value for key, value in inputs.pop("secrets", {}).items()},
    )


def holder(name: str, values: Mapping[str, str]) -> Recorded:
    """A Secret with these values."""
    return recorded("Secret", name, stringData=dict.fromkeys(values, SECRET), secrets=dict(values))


def pods(kind: str, name: str, spec: Mapping[str, Any]) -> Recorded:
    """A workload of such pods."""
    return recorded(kind, name, spec={"template": {"spec": spec}})


def recording(*resources: Recorded) -> Recording:
    """One with a generated and a configured value."""
    generated = {
        SENTINEL: Generated(sentinel=SENTINEL, source="random", name="redis-password", property="result"),
        CONFIGURED: Generated(sentinel=CONFIGURED, source="config", name="cloudmart:kafkaPassword", property="value"),
    }
    return Recording(project="shop", stack="dev", root=ROOT, resources=list(resources), outputs={}, generated=generated)


@pytest.mark.parametrize(
    ("rotations", "message"),
    [
        ({"redis-pasword": 1}, "found 'redis-pasword' (did you mean 'redis-password'?); allowed, of the passwords"),
        ({"redis-password": 0}, "found 0; allowed: greater than or equal to 1"),
        ({"redis-password": True}, "found true"),
        ({"redis-password": "2"}, "found '2'"),
    ],
)
def test_a_rotation_that_means_nothing_is_refused_where_it_stands(
    project: Project, rotations: dict[str, Any], message: str
) -> None:
    project.config("dev", lambda config: config.update({"cloudmart:secrets": {"rotations": rotations}}))
    with pytest.raises(UserError) as caught:
        load("dev", project.root)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("Pulumi.dev.yaml:")
    assert f"secrets.rotations.{next(iter(rotations))}: " in line
    assert message in line


def test_rotations_of_a_store_that_runs_in_another_way_for_once_are_no_error(project: Project) -> None:
    rotations = {"postgres-user-service-password": 2, "postgres-superuser-password": 1, "grafana-admin": 3}
    project.config("dev", lambda config: config.update({"cloudmart:secrets": {"rotations": rotations}}))
    assert dict(load("dev", project.root).secrets.rotations) == rotations


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}}]}]},
        {"initContainers": [{"envFrom": [{"secretRef": {"name": "redis"}}]}]},
        {"volumes": [{"name": "v", "secret": {"secretName": "redis"}}]},
        {"volumes": [{"secret": {"secretName": "redis", "items": [{"key": "password", "path": "p"}]}}]},
        {"volumes": [{"projected": {"sources": [{"secret": {"name": "redis"}}]}}]},
        {"imagePullSecrets": [{"name": "redis"}]},
    ],
)
def test_every_way_in_which_a_pod_reads_a_secret_is_found(spec: dict[str, Any]) -> None:
    found = inventory(
        recording(holder("redis", {"password": SENTINEL}), pods("Deployment", "reader", spec)), load("dev", ROOT)
    )
    assert [(one.name, one.secret, one.keys) for one in found] == [("redis-password", "shop/redis", ("password",))]
    (reader,) = found[0].consumers
    assert (reader.label, reader.pods, reader.follows) == ("Deployment shop/reader", True, False)


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "redis", "key": "username"}}}]}]},
        {"containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "redis", "key": "password"}}}]}]},
        {"volumes": [{"name": "redis", "configMap": {"name": "redis"}}]},
        {"serviceAccountName": "redis"},
    ],
)
def test_what_only_looks_like_reading_a_secret_is_not(spec: dict[str, Any]) -> None:
    found = inventory(
        recording(holder("redis", {"password": SENTINEL}), pods("Deployment", "reader", spec)), load("dev", ROOT)
    )
    assert found[0].consumers == ()


def test_what_the_program_does_not_make_is_listed_as_from_elsewhere() -> None:
    found = inventory(
        recording(
            holder("kafka", {"file": f"x={CONFIGURED}\n", "password": CONFIGURED}),
            recorded("ObjectStore", "backup", spec={"s3Credentials": {"accessKeyId": {"name": "keys", "key": "ID"}}}),
            recorded("Gateway", "entrance", spec={"certificateRefs": [{"kind": "Secret", "name": "certificate"}]}),
        ),
        load("dev", ROOT),
    )
    assert [(one.name, one.source, one.keys, one.rotation) for one in found] == [
        ("cloudmart:kafkaPassword", Source.CONFIGURATION, ("file", "password"), None),
        ("keys", Source.ELSEWHERE, ("ID",), None),
        ("certificate", Source.ELSEWHERE, (), None),
    ]


def test_what_people_put_there_by_hand_is_listed_and_not_what_cert_manager_makes() -> None:
    def gateway(name: str, **metadata: Any) -> Any:
        listeners = [{"tls": {"certificateRefs": [{"name": f"{name}-certificate"}]}}]
        found = recorded("Gateway", name, spec={"listeners": listeners})
        found.inputs["metadata"] |= metadata
        return found

    consumer = recorded("KongConsumer", "issuer")
    consumer.inputs["credentials"] = ["signing-key"]
    release = recorded("Release", "chart")
    release.inputs["values"] = {"global": {"imagePullSecrets": ["pull"]}}
    issued = {"annotations": {"cert-manager.io/cluster-issuer": "letsencrypt"}}
    found = inventory(recording(gateway("by-hand"), gateway("issued", **issued), consumer, release), load("dev", ROOT))
    assert [(one.name, one.source) for one in found] == [
        ("by-hand-certificate", Source.ELSEWHERE),
        ("signing-key", Source.ELSEWHERE),
        ("pull", Source.ELSEWHERE),
    ]


def test_the_list_shows_ages_and_readers_and_no_value() -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    reader = {"containers": [{"envFrom": [{"secretRef": {"name": "redis"}}]}]}
    found = inventory(
        recording(holder("redis", {"password": SENTINEL}), pods("Deployment", "reader", reader)), load("dev", ROOT)
    )
    made = {"redis-password": now - timedelta(days=3, hours=2)}
    (row,) = report.document("dev", found, made, now).tables[0].rows
    assert row == [
        "redis-password", "generated", "shop/redis (password)", "0", "3d", "Deployment reader*"
    ]  # fmt: skip
    (one,) = report.data("dev", found, made, now)["secrets"]
    assert one["ageSeconds"] == 3 * 86400 + 2 * 3600
    assert one["consumers"] == [{"object": "Deployment shop/reader", "follows": False}]
    assert SENTINEL not in json.dumps(one)


def test_a_plan_names_what_restarts_by_itself_what_does_not_and_counts_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    digest = {"checksum/redis": hashlib.sha256(SENTINEL.encode()).hexdigest()}
    reader = {"containers": [{"envFrom": [{"secretRef": {"name": "redis"}}]}]}
    told = recorded("Deployment", "told", spec={"template": {"metadata": {"annotations": digest}, "spec": reader}})
    found = recording(holder("redis", {"password": SENTINEL}), told, pods("Deployment", "by-hand", reader))
    monkeypatch.setattr(rotation, "record", lambda *_: found)
    planned = rotation.plan("dev", ROOT, "redis-password")
    assert planned.change == (("secrets", "rotations", "redis-password"), 1)
    assert planned.restarted == ("Deployment shop/told",)
    assert planned.left == ("Deployment shop/by-hand",)
    text = "\n".join(rotation.lines(planned))
    assert "restarts: Deployment shop/told\n" in text
    assert "keeps the old one until somebody restarts it: Deployment shop/by-hand" in text
    assert "redis restarts, and its one pod is away" in text


def test_each_rotation_counts_up_in_the_stacks_file_and_leaves_the_rest_as_it_is(project: Project) -> None:
    file = project.root / "Pulumi.dev.yaml"
    before = (ROOT / "Pulumi.dev.yaml").read_text()
    planned = rotation.Plan(
        stack="dev",
        name="redis-password",
        rotation=1,
        generated=True,
        updated=(),
        restarted=(),
        taken_up=(),
        left=(),
        interruption="",
    )
    rotation.write(planned, project.root)
    added = "  cloudmart:secrets:\n    rotations: {redis-password: 1}\n"
    assert file.read_text() == before + added
    assert load("dev", project.root).secrets.rotations == {"redis-password": 1}


def test_a_rotation_of_nothing_that_is_there_is_refused(project: Project) -> None:
    root = str(project.root)
    ended = CliRunner().invoke(cli, ["secrets", "rotate", "redis", "--stack", "dev", "--yes", "--root", root])
    assert isinstance(ended.exception, UserError)
    assert str(ended.exception) == (
        "stack dev: found no password 'redis'; allowed: postgres-password, postgres-superuser-password, "
        "redis-password, kafka-password"
    )


def test_without_a_terminal_nothing_is_rotated_unless_it_is_meant(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "record", lambda *_: recording(holder("redis", {"password": SENTINEL})))
    before = (project.root / "Pulumi.dev.yaml").read_text()
    root = str(project.root)
    ended = CliRunner().invoke(cli, ["secrets", "rotate", "redis-password", "--stack", "dev", "--root", root])
    assert "found no terminal to ask at; allowed: --yes" in str(ended.exception)
    assert "makes anew: RandomPassword redis-password, rotation 1" in ended.stdout
    assert (project.root / "Pulumi.dev.yaml").read_text() == before
    ended = CliRunner().invoke(
        cli, ["secrets", "rotate", "redis-password", "--stack", "dev", "--root", root, "--yes", "--write-only"]
    )
    assert ended.exit_code == 0
    assert load("dev", Path(root)).secrets.rotations == {"redis-password": 1}


@pytest.mark.parametrize(
    "written",
    [
        "x {}".format,
        lambda value: quote(f"?p={value}&"),
        lambda value: json.dumps({"p": value}),
        lambda value: value.encode().hex(),
        *(lambda value, n=n: base64.b64encode(b"-" * n + value.encode() + b"\n").decode() for n in range(3)),
        lambda value: base64.urlsafe_b64encode(json.dumps({"data": value}).encode()).decode(),
    ],
)
def test_the_search_for_leaks_finds_a_value_in_every_form(written: Any) -> None:
    value = "h2Z9wq0Jk4Lm7Nb5Vc3Xs1Ad8Fg6Pz0Q"
    assert held([value], written(value)) == ["h2Z…"]
    assert held([value], written(value[::-1])) == []


class Operator:
    """kubectl's answers about an ExternalSecret, one look after the other; the last stays, None is no answer."""

    def __init__(self, *statuses: Mapping[str, Any] | None) -> None:
        self.statuses = list(statuses)

    def json(self, *arguments: str) -> Any:
        assert arguments[1:3] == ("externalsecrets.external-secrets.io", "redis-credentials")
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status is None:
            raise KubectlError("the API server gives no answer")
        return {"status": status}

    def run(self, *arguments: str) -> str:
        assert arguments[:2] == ("get", "--raw")
        version = "external-secrets.io/v1"
        if arguments[2] == f"/apis/{version}":
            return json.dumps(
                {"resources": [{"kind": "ExternalSecret", "name": "externalsecrets", "namespaced": True}]}
            )
        return json.dumps({"versions": [{"groupVersion": version}]})


def status(ready: bool, at: str | None, message: str = "fetched") -> Mapping[str, Any]:
    conditions = [{"type": "Ready", "status": str(ready), "message": message}]
    return {"conditions": conditions, "refreshTime": at} if at else {"conditions": conditions}


@pytest.fixture
def fetched(whole_project: Project) -> rotation.Plan:
    whole_project.config(
        "dev", lambda config: config.update({"cloudmart:secrets": {"external": {"store": {"name": "v"}}}})
    )
    return rotation.plan("dev", whole_project.root, "redis-password")


def test_a_rotation_in_a_vault_waits_until_the_operator_has_fetched_the_value_again(
    fetched: rotation.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    old, new = status(True, "2026-01-01T00:00:00Z"), status(True, "2026-01-01T00:00:09Z")
    operator = Operator(old, old, None, old, new)
    before = rotation.fetches(fetched, cast(Kubectl, operator))
    assert before is not None
    rotation.wait_until_fetched(fetched, cast(Kubectl, operator), before)
    assert operator.statuses == [new]


@pytest.mark.parametrize(
    ("then", "said"),
    [
        pytest.param(
            status(False, "2026-01-01T00:00:00Z", "no such entry"), "Ready is False: no such entry", id="no such entry"
        ),
        pytest.param(status(True, "2026-01-01T00:00:00Z"), "External Secrets says nothing of it", id="no operator"),
        pytest.param({}, "External Secrets says nothing of it", id="no operator ever"),
    ],
)
def test_a_rotation_that_no_operator_fetches_is_an_error_with_what_it_says(
    fetched: rotation.Plan, then: Mapping[str, Any], said: str
) -> None:
    before = {"cloudmart/redis-credentials": "2026-01-01T00:00:00Z"}
    with pytest.raises(UserError) as caught:
        rotation.wait_until_fetched(fetched, cast(Kubectl, Operator(then)), before, seconds=0)
    assert str(caught.value).startswith(
        f"ExternalSecret cloudmart/redis-credentials: found no new fetch of redis-password ({said}); allowed: "
    )


@pytest.mark.parametrize("served", [True, False])
def test_the_command_looks_whether_a_vault_s_value_was_fetched_after_up_where_that_can_be_known(
    whole_project: Project, fetched: rotation.Plan, served: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = Operator(status(False, "2026-01-01T00:00:00Z", "no such entry"))
    if not served:
        monkeypatch.setattr(operator, "run", lambda *_: "{}")
    target = up.Target(kubectl=cast(Kubectl, operator), local=True)
    deployed = up.Deployed(
        settings=load("dev", whole_project.root), target=target, recording=recording(), environment={}
    )
    monkeypatch.setattr(up, "target_of", lambda *_: target)
    monkeypatch.setattr(up, "up", lambda *_: deployed)
    monkeypatch.setattr(time, "monotonic", itertools.count(0, 20).__next__)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    arguments = ["secrets", "rotate", "redis-password", "--yes", "--root", str(whole_project.root)]
    ended = CliRunner().invoke(cli, arguments)
    if served:
        assert isinstance(ended.exception, UserError)
        assert "Ready is False: no such entry" in str(ended.exception)
        assert "rotated redis-password" not in ended.stderr
    else:
        assert ended.exit_code == 0, ended.output
        assert "whether the value was fetched is not known: this cluster has no External Secrets" in ended.stderr
        assert "rotated redis-password" in ended.stderr


def test_a_value_that_was_put_back_has_no_age_and_the_others_keep_theirs() -> None:
    def entry(manager: str, key: str) -> dict[str, Any]:
        return {"manager": manager, "time": "2026-11-24T05:00:00Z", "fieldsV1": {"f:data": {".": {}, f"f:{key}": {}}}}

    entries = [entry("cloudmart-0a1b2c3d", "made"), entry(RESTORER, "restored"), entry("kubectl-patch", "edited")]
    assert set(_times_of_keys({"metadata": {"managedFields": entries}})) == {"made"}
