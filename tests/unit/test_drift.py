"""Managed fields, differences and what is shown of them, without a cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloudmart.cluster.live import Reference
from cloudmart.deploy.expected import Way
from cloudmart.drift import beside, fields, report
from cloudmart.drift.controllers import is_controller, is_made_for_others
from cloudmart.drift.fields import ABSENT, Member, Writer
from cloudmart.drift.finding import Finding, Kind
from cloudmart.drift.look import Drift, _has_data, _shown
from cloudmart.finops.paths import Item, path_text
from tests.cluster.test_drift import DAMAGES
from tests.conftest import ROOT

APP = Item((("name", "app"),))
OURS = {
    "f:metadata": {"f:labels": {".": {}, "f:team": {}}},
    "f:spec": {
        "f:containers": {'k:{"name":"app"}': {".": {}, "f:image": {}, "f:name": {}, "f:args": {}}},
        "f:egress": {},
    },
}
LIVE: dict[str, Any] = {
    "metadata": {"labels": {"team": "a", "x/y~z": "1"}, "finalizers": ["keep"]},
    "spec": {
        "containers": [{"name": "more", "image": "m"}, {"name": "app", "image": "b", "args": ["1"]}],
        "egress": [{"to": 1}, {"to": 2}],
    },
}


def test_a_field_is_compared_by_the_keys_of_its_list_wherever_the_item_stands() -> None:
    declared = {"metadata": {"labels": {"team": "b"}}, "spec": {"containers": [{"name": "app", "image": "a"}]}}
    found = {path_text(path): (there, here) for path, there, here in fields.differences(declared, LIVE, OURS)}
    assert found["metadata.labels.team"] == ("b", "a")
    assert found["spec.containers[name=app].image"] == ("a", "b")
    assert found["spec.containers[name=more]"] == (ABSENT, {"name": "more", "image": "m"})


def test_items_of_a_list_without_keys_are_told_apart_by_their_content() -> None:
    one, more = [{"to": 1}], [{"to": 0}, {"to": 1}]
    assert list(fields.differences(one, more, {})) == [((0,), ABSENT, {"to": 0})]
    assert list(fields.differences(more, one, {})) == [((0,), {"to": 0}, ABSENT)]
    assert list(fields.differences([1, 2], [1, 3], {})) == [((1,), 2, 3)]


def test_what_others_have_added_comes_as_a_whole_item_or_key_by_key() -> None:
    theirs = {
        "f:metadata": {"f:labels": {"f:x/y~z": {}, "f:team": {}}, "f:finalizers": {'v:"keep"': {}}},
        "f:spec": {"f:containers": {'k:{"name":"more"}': {".": {}, "f:image": {}}}, "f:gone": {}},
    }
    found = dict(fields.additions(LIVE, theirs, OURS))
    assert found == {
        ("metadata", "labels", "x/y~z"): "1",
        ("metadata", "finalizers"): ["keep"],
        ("spec", "containers", Item((("name", "more"),))): {"name": "more", "image": "m"},
    }


def test_what_we_own_as_a_whole_holds_no_addition() -> None:
    assert list(fields.additions(LIVE, {"f:spec": {"f:egress": {}}}, OURS)) == []


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (("spec", "containers", APP, "image"), True),
        (("spec", "egress", 1), True),  # all that is in it
        (("metadata", "labels", "x/y~z"), False),
        (("spec", "containers", Item((("name", "more"),))), False),
    ],
)
def test_an_owner_is_found_through_items_and_wholes(path: fields.Path, found: bool) -> None:
    writer = Writer("cloudmart", "Apply", "", "", OURS)
    assert (fields.owner(path, [writer]) is writer) is found


def test_a_pointer_leads_to_where_an_item_stands_now() -> None:
    assert fields.pointer(LIVE, ("spec", "containers", APP, "args", 0)) == ("spec", "containers", 1, "args", 0)
    assert fields.pointer(LIVE, ("metadata", "finalizers", Member("keep"))) == ("metadata", "finalizers", 0)
    assert fields.pointer(LIVE, ("spec", "containers", Item((("name", "none"),)))) is None


def test_the_status_and_known_controllers_are_no_people() -> None:
    assert is_controller(Writer("kubectl-edit", "Update", "status", "", {}), frozenset())
    assert is_controller(Writer("kube-controller-manager", "Update", "", "", {}), frozenset())
    assert not is_controller(Writer("kubectl-edit", "Update", "", "", {}), frozenset())
    assert is_controller(Writer("own", "Update", "", "", {}), frozenset({"own"}))


@pytest.mark.parametrize(
    ("value", "path", "shown"),
    [
        ("v", ("data", "dbPassword"), "not shown"),
        ("v", ("env", Item((("name", "API_KEY"),)), "value"), "not shown"),
        ({"name": "TOKEN", "value": "v"}, ("env", 0), '{"name": "TOKEN", "value": "not shown"}'),
        ([{"e": [{"name": "SECRET", "value": "v"}]}], ("x",), '[{"e": [{"name": "SECRET", "value": "not shown"}]}]'),
        ("creds", ("volumes", Item((("name", "a"),)), "secret", "secretName"), "creds"),
        (True, ("automountServiceAccountToken",), "true"),
        (ABSENT, ("data", "password"), None),
    ],
)  # fmt: skip
def test_what_goes_by_a_confidential_name_is_not_shown(value: Any, path: fields.Path, shown: str | None) -> None:
    assert _shown(value, path, secret=False) == shown


@pytest.mark.parametrize(
    ("kind", "spec", "has"),
    [
        ("PersistentVolumeClaim", {}, True),
        ("Namespace", {}, True),
        ("Kafka", {}, True),
        ("StatefulSet", {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}}, True),
        ("StatefulSet", {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain"}}, False),
        ("StatefulSet", {}, False),
        ("ConfigMap", {}, False),
    ],
)
def test_nothing_is_to_be_deleted_that_data_goes_with(kind: str, spec: dict[str, Any], has: bool) -> None:
    assert _has_data({"kind": kind, "spec": spec}) is has


def _pod(maker: str, image: str, **more: Any) -> dict[str, Any]:
    owner = {"apiVersion": "apps/v1", "kind": maker, "name": "app", "controller": True}
    metadata = {"namespace": "shop", "creationTimestamp": "2026-11-24T05:00:00Z", "ownerReferences": [owner]}
    containers = [{"name": "app", "image": image}, {"name": "istio-proxy", "image": "p"}]
    return {"metadata": metadata | more, "spec": {"containers": containers}}


def _maker(kind: str, **status: Any) -> dict[Reference, dict[str, Any]]:
    template = {"spec": {"containers": [{"name": "app", "image": "a"}]}}
    item = {"metadata": {"generation": 2}, "spec": {"template": template}, "status": status}
    return {Reference("apps/v1", kind, "shop", "app"): item}


def test_a_pod_is_compared_by_the_containers_of_its_template_and_a_sidecar_is_the_mesh_s() -> None:
    def told(image: str) -> list[str]:
        pod = _pod("ReplicaSet", image)
        template = beside.template_of(pod, _maker("ReplicaSet"))
        return [f"{path_text(path)} {there} {here}" for path, there, here in beside.other_images(pod, template)]

    assert told("a") == []
    assert told("b") == ["spec.containers[name=app].image a b"]


@pytest.mark.parametrize(
    ("revision", "observed", "known"), [("app-2", 2, True), ("app-1", 2, False), ("app-2", 1, False)]
)
def test_a_pod_amid_a_rollout_of_its_stateful_set_is_not_accused(revision: str, observed: int, known: bool) -> None:
    pod = _pod("StatefulSet", "b", labels={"controller-revision-hash": revision})
    maker = _maker("StatefulSet", updateRevision="app-2", observedGeneration=observed)
    assert bool(beside.template_of(pod, maker)) is known


@pytest.mark.parametrize(("when", "so"), [("05:00:00", True), ("05:00:01", True), ("05:00:09", False)])
def test_an_image_that_a_webhook_has_chosen_is_known_by_its_time(when: str, so: bool) -> None:
    writer = Writer("kube-controller-manager", "Update", "", f"2026-11-24T{when}Z", {})
    assert beside.is_by_admission(_pod("ReplicaSet", "b"), writer) is so


@pytest.mark.parametrize(
    ("subject", "so"),
    [
        ({"kind": "ServiceAccount", "namespace": "shop", "name": "x"}, True),
        ({"kind": "ServiceAccount", "namespace": "kube-system", "name": "x"}, False),
        ({"kind": "Group", "name": "system:serviceaccounts"}, True),
        ({"kind": "Group", "name": "system:serviceaccounts:shop"}, True),
        ({"kind": "Group", "name": "system:serviceaccounts:shop-2"}, False),
        ({"kind": "User", "name": "system:serviceaccount:shop:x"}, True),
        ({"kind": "User", "name": "system:serviceaccount:shop-2:x"}, False),
    ],
)
def test_a_binding_is_the_shop_s_business_where_its_accounts_are_bound(subject: dict[str, str], so: bool) -> None:
    assert beside.lets_in({"subjects": [subject]}, "shop") is so


def test_what_kubernetes_binds_itself_is_made_for_others() -> None:
    labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    rbac = "rbac.authorization.k8s.io/v1"
    binding = {"apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": {"name": "system:x", "labels": labels}}
    assert is_made_for_others(binding)
    assert not is_made_for_others(binding | {"metadata": {"name": "system:x"}})
    # The label is anybody's to write.
    assert not is_made_for_others(binding | {"metadata": {"name": "shop-may-all", "labels": labels}})
    assert not is_made_for_others(binding | {"apiVersion": "v1", "kind": "Pod"})


def test_foreign_text_neither_moves_the_cursor_nor_ends_a_table() -> None:
    evil = "a\x1b[2J|b\n# c <script>"
    finding = Finding(
        kind=Kind.ADDED, object=Reference("v1", "Service", "shop", "x"), path=evil, live=evil, by=evil, mend=f"x {evil}"
    )
    drift = Drift(stack="dev", way=Way.PULUMI, compared=1, findings=[finding])
    text, table = report.as_text(drift), report.as_markdown(drift)
    assert "\x1b" not in text + table + report.as_json(drift)
    (row,) = [line for line in table.splitlines() if line.startswith("| Service")]
    assert row.replace("\\|", "").count("|") == 7
    assert "<script>" not in row.replace("\\<", "")
    assert json.loads(report.as_json(drift))["findings"][0]["live"] == evil
    assert all(
        line.startswith("    ") for line in table.splitlines()[table.splitlines().index("To put it back:") + 2 :]
    )


def test_the_page_names_every_damage_that_is_tried() -> None:
    page = (ROOT / "docs" / "drift.md").read_text()
    assert [damage.name for damage in DAMAGES if f"- {damage.name}\n" not in page] == []
