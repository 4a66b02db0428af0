"""The least roles: they hold exactly the permissions that are needed, each where and on what it is needed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from cloudmart.access import role
from cloudmart.access.permissions import Permission, namespaces, needed, resource_of
from cloudmart.cli import cli
from cloudmart.deploy.expected import Way
from cloudmart.errors import UserError
from cloudmart.preview.recorder import record
from cloudmart.settings import load
from tests.conftest import ROOT

Json = Any

WITHOUT_CHARTS = {"cloudmart:kubecost": {"enabled": False}}


def given(objects: Iterable[Json]) -> Iterator[Permission]:
    """Every permission that roles give, one by one."""
    for item in objects:
        if item["kind"] not in ("Role", "ClusterRole"):
            continue
        space = item["metadata"].get("namespace", "")
        for rule in item["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for verb in rule["verbs"]:
                        for name in rule.get("resourceNames", [""]):
                            yield Permission(space, group, resource, verb, name)


@pytest.mark.parametrize("way", list(Way))
def test_the_roles_give_exactly_what_is_needed(way: Way) -> None:
    recording = record("dev", overrides=WITHOUT_CHARTS)
    permissions = needed(recording, load("dev", ROOT), way).permissions
    found = list(given(role.objects(permissions, "dev", ["cloudmart"], None)))
    assert len(found) == len(set(found))
    anywhere = {replaced(one) for one in permissions if not one.name}
    assert set(found) == {one for one in permissions if not one.name or replaced(one) not in anywhere}
    assert not [one for one in found if "*" in (one.group, one.resource, one.verb, one.name)]


def replaced(one: Permission) -> tuple[str, str, str, str]:
    """What a permission is about, whatever the name."""
    return one.namespace, one.group, one.resource, one.verb


@pytest.mark.parametrize("way", list(Way))
def test_every_declared_object_may_be_made_and_changed_and_what_is_cluster_wide_by_its_name_alone(way: Way) -> None:
    recording = record("dev", overrides=WITHOUT_CHARTS)
    permissions = needed(recording, load("dev", ROOT), way).permissions
    for one in recording.resources:
        if not one.is_kubernetes_object or one.kind == "Namespace":
            continue
        group, resource = resource_of(str(one.api_version), str(one.kind))
        name = "" if one.namespace else str(one.object_name)
        for verb in ("get", "create", "patch"):
            assert Permission(str(one.namespace or ""), group, resource, verb, name) in permissions
    changes = {"create", "patch", "update", "delete"}
    assert not [one for one in permissions if not one.namespace and one.verb in changes and not one.name]
    assert not [one for one in permissions if one.resource == "namespaces" and one.verb == "create"]


def test_without_the_cli_the_lease_of_the_stack_may_be_held_and_no_other() -> None:
    recording = record("dev", overrides=WITHOUT_CHARTS)
    settings = load("dev", ROOT)
    held = {one for one in needed(recording, settings, Way.APPLY_SET).permissions if one.resource == "leases"}
    assert {(one.verb, one.name) for one in held} == {
        ("create", ""),  # the API server knows no name yet when it asks
        ("get", "cloudmart-dev"),
        ("update", "cloudmart-dev"),
    }
    assert {(one.namespace, one.group) for one in held} == {("cloudmart", "coordination.k8s.io")}
    assert not [one for one in needed(recording, settings, Way.PULUMI).permissions if one.resource == "leases"]


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("group:deployers", {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "deployers"}),
        ("user:ada@example.com", {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ada@example.com"}),
        ("serviceaccount:ci/deployer", {"kind": "ServiceAccount", "name": "deployer", "namespace": "ci"}),
    ],
)
def test_a_subject_is_bound_in_every_role(text: str, subject: Json) -> None:
    permissions = [Permission("shop", "", "pods", "list"), Permission("", "", "namespaces", "get", "shop")]
    found = role.objects(permissions, "dev", ["shop"], role.Subject.parse(text))
    bindings = {item["kind"]: item for item in found if item["kind"].endswith("Binding")}
    assert set(bindings) == {"RoleBinding", "ClusterRoleBinding"}
    for item in bindings.values():
        assert item["subjects"] == [subject]
        assert item["roleRef"]["name"] == "cloudmart-dev-deployer"


@pytest.mark.parametrize(
    "text", ["", "group:", "people:x", "serviceaccount:deployer", "serviceaccount:CI/x", "user:\n"]
)
def test_any_other_subject_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(UserError, match=r"--subject: found .*; allowed: group:NAME, user:NAME or serviceaccount:"):
        role.Subject.parse(text)


def test_the_command_prints_objects_that_kubectl_reads_and_refuses_a_way_that_cannot_be() -> None:
    ended = CliRunner().invoke(cli, ["access", "role", "--stack", "dev", "--subject", "group:deployers"])
    assert ended.exit_code == 0, ended.output
    found = list(yaml.safe_load_all(ended.stdout))
    as_json = CliRunner().invoke(
        cli, ["access", "role", "--stack", "dev", "--subject", "group:deployers", "--format=json"]
    )
    assert json.loads(as_json.stdout)["items"] == found
    spaces = {str(one.object_name) for one in namespaces(record("dev"))}
    assert {item["metadata"]["name"] for item in found if item["kind"] == "Namespace"} == spaces
    refused = CliRunner().invoke(cli, ["access", "role", "--stack", "dev", "--way", "applyset"])
    assert refused.exit_code != 0
    assert isinstance(refused.exception, UserError)
    assert "--way applyset: stack dev has Helm releases (kubecost), which need the Pulumi CLI" in str(refused.exception)
