"""Cost labels, the registry of cost centers, and the remediation."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import pytest
from google.protobuf import json_format, struct_pb2
from pulumi_policy import PolicyCustomTimeouts, PolicyResourceOptions, ResourceValidationArgs, ResourceValidationPolicy
from pulumi_policy.deserialize import deserialize_properties, serialize_properties

from cloudmart.preview.policy import evaluate, policies
from tests.policy.objects import (
    COST_CENTERS,
    LABELS,
    POD_KINDS,
    Resource,
    broken,
    namespace,
    release,
    resource,
    workload,
)

COST = {key: LABELS[key] for key in ("project", "team", "cost-center")}


@pytest.mark.parametrize("kind", POD_KINDS)
def test_a_labelled_workload_of_any_kind_passes(kind: str) -> None:
    assert broken("cost-labels", workload(kind)) == []


@pytest.mark.parametrize("kind", POD_KINDS)
def test_missing_labels_are_found_on_every_kind_of_workload(kind: str) -> None:
    [message] = broken("cost-labels", workload(kind).with_("metadata.labels", {"team": "platform"}))
    assert f"{kind} cloudmart/user-service: no label project, cost-center" in message


@pytest.mark.parametrize(
    ("kind", "path", "place"),
    [
        ("Deployment", "spec.template.metadata.labels", "pod template"),
        ("CronJob", "spec.jobTemplate.spec.template.metadata", "pod template"),
        ("StatefulSet", "spec.volumeClaimTemplates.0.metadata.labels", "claim template 'data'"),
    ],
)
def test_templates_need_the_labels_themselves(kind: str, path: str, place: str) -> None:
    [message] = broken("cost-labels", workload(kind).without(path))
    assert f"{place}: no label project, team, cost-center" in message


def test_an_ephemeral_volume_makes_a_claim_that_needs_labels() -> None:
    volumes = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]
    [message] = broken("cost-labels", workload().with_("spec.template.spec.volumes", volumes))
    assert "ephemeral volume 'scratch'" in message


@pytest.mark.parametrize("found", [namespace(), resource("PersistentVolumeClaim", "data", {})])
def test_namespaces_and_claims_need_the_labels(found: Resource) -> None:
    assert broken("cost-labels", found) == []
    assert len(broken("cost-labels", found.without("metadata.labels.team"))) == 1
    assert len(broken("cost-labels", found.with_("metadata.labels.team", ""))) == 1


def test_a_cost_center_that_is_not_in_the_registry_is_found_with_those_that_are() -> None:
    [message] = broken("cost-labels", workload().with_("metadata.labels.cost-center", "CC-9999"))
    assert "cost-center 'CC-9999' is not in the registry" in message
    assert "use one of CC-2001, CC-2002" in message


@pytest.mark.parametrize(
    "path", ["metadata", "metadata.labels", "metadata.labels.team", "metadata.labels.cost-center", "spec.template"]
)
@pytest.mark.parametrize("rule", ["cost-labels", "workload-cost-center"])
def test_what_preview_cannot_know_is_no_violation(rule: str, path: str) -> None:
    assert broken(rule, workload().unknown(path)) == []


def test_required_labels_and_registry_are_configurable() -> None:
    assert broken("cost-labels", workload(), costCenters=["CC-1"])
    [message] = broken("cost-labels", namespace(), required=["owner"])
    assert "no label owner" in message


def test_the_registry_of_the_catalog_is_the_default() -> None:
    rule = {"all": "disabled", "cost-labels": "mandatory"}
    assert evaluate([workload()], rule) == []
    assert len(evaluate([workload()], rule, cost_centers=["CC-1"])) == 2


def test_the_namespace_gives_a_workload_its_cost_center() -> None:
    bare = workload().without("spec.template.metadata.labels.cost-center")
    assert broken("workload-cost-center", namespace(), bare) == []
    [message] = broken("workload-cost-center", namespace().without("metadata.labels.cost-center"), bare)
    assert "Deployment cloudmart/user-service: neither it nor its namespace has a cost center" in message
    [message] = broken("workload-cost-center", namespace().with_("metadata.labels.cost-center", "CC-0"), bare)
    assert "'CC-0' is not in the registry" in message


def test_a_helm_release_needs_a_namespace_with_a_cost_center() -> None:
    assert broken("workload-cost-center", namespace("kubecost"), release()) == []
    assert len(broken("workload-cost-center", release())) == 1
    assert broken("workload-cost-center", release().unknown("namespace")) == []


# --- remediation -----------------------------------------------------------------------------------------------------

CONFIG = {"namespaces": {"cloudmart": COST}, "required": list(COST), "costCenters": COST_CENTERS, "exempt": []}


def _remediated(found: Resource, props: Any, **config: Any) -> Any:
    [rule] = [rule for rule in policies() if rule.name == "cost-labels"]
    options = PolicyResourceOptions(False, [], None, [], PolicyCustomTimeouts(0, 0, 0), [])
    args = ResourceValidationArgs(found.type, props, found.urn, found.name, options, None, {**CONFIG, **config})
    return cast(ResourceValidationPolicy, rule).remediate(args)


def _as_engine_sends(inputs: Mapping[str, Any]) -> Any:
    wire = struct_pb2.Struct()
    wire.update(dict(inputs))
    return deserialize_properties(json_format.MessageToDict(wire), True)


def _bare(kind: str) -> Resource:
    found = workload(kind).without("metadata.labels")
    if kind == "CronJob":
        return found.without("spec.jobTemplate.spec.template.metadata")
    if kind == "StatefulSet":
        found = found.without("spec.volumeClaimTemplates.0.metadata.labels")
    return found if kind == "Pod" else found.with_("spec.template.metadata.labels", {"app": "user-service"})


@pytest.mark.parametrize("kind", POD_KINDS)
def test_remediation_adds_what_is_missing_and_a_second_time_changes_nothing(kind: str) -> None:
    found = _bare(kind)
    assert broken("cost-labels", found)
    once = _remediated(found, copy.deepcopy(found.inputs))
    assert broken("cost-labels", Resource(found.type, found.name, once)) == []
    assert _remediated(found, copy.deepcopy(once)) is None


def test_remediation_keeps_labels_that_are_there() -> None:
    found = workload().with_("metadata.labels", {"team": "checkout"})
    once = _remediated(found, copy.deepcopy(found.inputs))
    assert once["metadata"]["labels"] == {**COST, "team": "checkout"}


def test_remediation_works_on_what_the_engine_sends_and_keeps_secrets_secret() -> None:
    secret = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": "hidden"}
    found = _bare("StatefulSet").with_("metadata.annotations", {"note": secret})
    once = serialize_properties(_remediated(found, _as_engine_sends(found.inputs)))
    assert once["metadata"]["annotations"]["note"] == secret
    assert once["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"] == COST
    assert _remediated(found, _as_engine_sends(once)) is None


@pytest.mark.parametrize("path", ["metadata.labels", "metadata", "spec", "spec.template", "metadata.namespace"])
def test_remediation_leaves_unknown_values_alone(path: str) -> None:
    unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
    found = workload().with_(path, unknown)
    assert _remediated(found, _as_engine_sends(found.inputs)) is None


def test_remediation_touches_only_the_namespaces_that_are_configured_and_not_exempt() -> None:
    bare = _bare("Deployment")
    assert _remediated(bare, copy.deepcopy(bare.inputs), namespaces={"other": COST}) is None
    assert _remediated(bare, copy.deepcopy(bare.inputs), exempt=["Deployment/cloudmart/*"]) is None


def test_evaluation_at_level_remediate_mends_a_copy_and_reports_the_rest_as_mandatory() -> None:
    config = {"all": "disabled", "cost-labels": {"enforcementLevel": "remediate", "namespaces": {"cloudmart": COST}}}
    bare = _bare("Deployment")
    before = copy.deepcopy(bare.inputs)
    assert evaluate([bare], config) == []
    assert bare.inputs == before
    [violation] = evaluate([workload().with_("metadata.labels.cost-center", "CC-0")], config)
    assert violation.level == "mandatory"
