"""The pack as a whole: metadata, configuration, the files of both stacks, and the real process over gRPC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc
from pulumi_policy import EnforcementLevel, StackValidationPolicy, proxy

from cloudmart.errors import UserError
from cloudmart.preview.policy import PACK, evaluate, policies, read_config
from cloudmart.settings import load
from tests.policy.objects import Resource, broken, good_stack, namespace, release, resource, workload

NAMES = [policy.name for policy in policies()]
ROOT = PACK.parent


BIG = {"cpu": 2, "memory": 1_234_567_891}


def _bad_stack() -> list[Resource]:
    """Something for nearly every rule to find."""
    container = {
        "name": "bad",
        "image": "evil.example.com/app",
        "ports": [{"hostPort": 80}],
        "env": [{"name": "DB_PASSWORD", "value": "hunter2"}],
    }
    stack = {resource.type.rsplit(":", 1)[1]: resource for resource in good_stack()}
    return [
        stack["Deployment"].with_("spec.template.spec.initContainers", [container]).without("metadata.labels"),
        # Numbers, which the engine sends as floats.
        workload("StatefulSet", "numbers").with_("spec.template.spec.containers.0.resources.limits", BIG),
        stack["Service"].with_("spec.type", "NodePort"),
        stack["HorizontalPodAutoscaler"].with_("spec.maxReplicas", 1).unknown("spec.minReplicas"),
        stack["PodDisruptionBudget"].with_("spec.selector.matchLabels.app", "other"),
    ]


# --- metadata --------------------------------------------------------------------------------------------------------


def test_names_of_rules_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_has_a_severity_a_topic_steps_a_page_and_described_configuration(name: str) -> None:
    [rule] = [rule for rule in policies() if rule.name == name]
    assert rule.severity is not None
    assert rule.tags
    assert rule.url
    assert rule.url.startswith("https://")
    assert rule.remediation_steps
    assert rule.enforcement_level in (EnforcementLevel.MANDATORY, EnforcementLevel.ADVISORY)
    assert rule.config_schema is not None
    assert all({"type", "default", "description"} <= set(entry) for entry in rule.config_schema.properties.values())


def test_a_good_stack_passes_the_whole_pack() -> None:
    assert evaluate(good_stack(), {"all": "mandatory"}) == []


def test_an_object_that_was_changed_in_place_is_read_again() -> None:
    found = workload()
    assert broken("image-pinned", found) == []
    found.inputs["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx"
    assert len(broken("image-pinned", found)) == 1


def _paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    if path:
        yield ".".join(path)
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield from _paths(item, (*path, str(key)))


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [None, "x", 5.0, True, [], {}, ["x"], {"x": "x"}, [None], [[]]], ids=repr)
def test_no_rule_fails_on_a_value_of_the_wrong_type(wrong: Any) -> None:
    # Rules run before the provider has looked at the object: a rule that raises hides what is wrong with it.
    for found in [*good_stack(), release(), workload("StatefulSet"), workload("CronJob"), *_bad_stack()]:
        for path in _paths(found.inputs):
            broken_object = found.with_(path, wrong)
            assert isinstance(evaluate([namespace(), workload(), broken_object], {"all": "mandatory"}), list)


def test_every_message_says_where_and_how_to_mend_it_and_shows_no_secret() -> None:
    violations = evaluate(_bad_stack(), {"all": "mandatory"})
    assert len({violation.rule for violation in violations}) > 8
    for violation in violations:
        assert "cloudmart" in violation.message
        assert " Mend: " in violation.message
        assert violation.urn.startswith("urn:pulumi:")
        assert "hunter2" not in violation.message


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_leaves_exempt_objects_alone(name: str) -> None:
    found = broken(name, *_bad_stack())
    assert broken(name, *_bad_stack(), exempt=["*"]) == []
    assert broken(name, *_bad_stack(), exempt=["Job/*"]) == found


# --- configuration ---------------------------------------------------------------------------------------------------


def _levels(config: dict[str, Any]) -> set[tuple[str, str]]:
    return {
        (violation.rule, violation.level)
        for violation in evaluate([workload().without("spec.template.spec.containers.0.resources.limits")], config)
    }


def test_levels_come_from_the_rule_then_from_all_then_from_the_rules_own_entry() -> None:
    assert ("memory-limits", "mandatory") in _levels({})
    assert ("memory-limits", "advisory") in _levels({"all": "advisory"})
    assert ("memory-limits", "mandatory") in _levels({"all": "advisory", "memory-limits": "mandatory"})
    assert ("memory-limits", "advisory") in _levels({"memory-limits": {"enforcementLevel": "advisory"}})
    assert ("memory-limits", "mandatory") in _levels({"memory-limits": {"exempt": []}})
    assert _levels({"all": {"enforcementLevel": "disabled"}}) == set()


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ('{"memory-limit": "mandatory"}', "memory-limit: no such rule (did you mean 'memory-limits'?); allowed: all, "),
        (
            '{"memory-limits": "strict"}',
            "memory-limits: found 'strict'; allowed: advisory, mandatory, remediate, disabled",
        ),
        ('{"all": {"enforcementLevel": 1}}', "all.enforcementLevel: found 1; allowed: advisory"),
        ('{"memory-limits": 5}', "memory-limits: found 5; allowed: a level or an object"),
        (
            '{"cost-labels": {"costCenter": []}}',
            "cost-labels.costCenter: no such key (did you mean 'costCenters'?); allowed: ",
        ),
        ('{"cost-labels": {"costCenters": ["a", 5]}}', "cost-labels.costCenters[1]: found 5; allowed: text"),
        (
            '{"image-registries": {"allowed": "docker.io"}}',
            "image-registries.allowed: found 'docker.io'; allowed: a list",
        ),
        (
            '{"limit-request-ratio": {"maxCpuRatio": 0.5}}',
            "limit-request-ratio.maxCpuRatio: found 0.5; allowed: 1 or more",
        ),
        (
            '{"cost-labels": {"namespaces": {"a": {"team": 1}}}}',
            "cost-labels.namespaces.a.team: found 1; allowed: text",
        ),
        ('{"probes": {"required": ["alive"]}}', "probes.required[0]: found 'alive'; allowed: liveness, "),
        (
            '{"no-literal-secrets": {"names": ["("]}}',
            "no-literal-secrets.names[0]: found '('; allowed: a regular expression",
        ),
        ('{"all": "mandatory",}', ":1: not valid JSON: "),
        ("[]", "found []; allowed: an object of rules"),
    ],
)
def test_a_configuration_that_does_not_fit_is_one_error_with_file_and_key_path(
    tmp_path: Path, config: str, problem: str
) -> None:
    path = tmp_path / "config.json"
    path.write_text(config)
    with pytest.raises(UserError) as caught:
        read_config(path)
    assert str(caught.value).startswith(str(path))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_configuration_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_config(tmp_path / "none.json")


def test_evaluation_names_the_source_of_a_configuration_that_does_not_fit() -> None:
    with pytest.raises(UserError, match=r"^policy/config/x.json: nope: no such rule"):
        evaluate([], {"nope": "mandatory"}, source="policy/config/x.json")


@pytest.mark.parametrize("path", sorted((PACK / "config").glob("*.json")), ids=lambda path: path.stem)
def test_the_configuration_of_every_stack_is_valid(path: Path) -> None:
    assert read_config(path)


def test_the_labels_that_development_adds_are_those_of_the_catalog() -> None:
    catalog = load("dev", ROOT)
    added = read_config(PACK / "config" / "dev.json")["cost-labels"]["namespaces"]
    namespace = catalog.namespace
    expected = {"project": catalog.project, "team": namespace.team, "cost-center": namespace.cost_center}
    assert added == {namespace.name: expected}


def test_production_lets_nothing_pass_as_advice() -> None:
    config = read_config(PACK / "config" / "prod.json")
    assert {violation.level for violation in evaluate(_bad_stack(), config)} == {"mandatory"}


def test_development_still_stops_at_secrets_and_at_the_host() -> None:
    config = read_config(PACK / "config" / "dev.json")
    mandatory = {violation.rule for violation in evaluate(_bad_stack(), config) if violation.level == "mandatory"}
    assert {"no-literal-secrets", "host-access"} <= mandatory


# --- the real process ------------------------------------------------------------------------------------------------


@contextmanager
def _served(*command: str, cwd: Path) -> Iterator[analyzer_pb2_grpc.AnalyzerStub]:
    # Nothing of the test's own import path, so that the pack has to find its rules and the project by itself.
    environment = {
        key: value for key, value in os.environ.items() if key != "PYTHONPATH" and not key.startswith("PULUMI")
    }
    process = subprocess.Popen(
        [sys.executable, "-u", *command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port.isdigit(), process.communicate(timeout=10)[1]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=20)
            yield analyzer_pb2_grpc.AnalyzerStub(channel)
    finally:
        process.kill()
        process.wait(timeout=10)


def _struct(values: Any) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(values)
    return struct


def _wire_inputs(found: Resource) -> struct_pb2.Struct:
    for path in found.unknown_paths:
        found = found.with_(".".join(map(str, path)), proxy.UNKNOWN_STRING_VALUE)
    return _struct(found.inputs)


def _request(found: Resource, properties: struct_pb2.Struct) -> analyzer_pb2.AnalyzeRequest:
    return analyzer_pb2.AnalyzeRequest(type=found.type, urn=found.urn, name=found.name, properties=properties)


def _configured(config: dict[str, Any], info: analyzer_pb2.AnalyzerInfo) -> analyzer_pb2.ConfigureAnalyzerRequest:
    """What the engine sends: the defaults of the schemas that the process itself gave, under what is configured."""
    request = analyzer_pb2.ConfigureAnalyzerRequest()
    for rule in info.policies:
        given = config.get(rule.name, {})
        entry = request.policyConfig[rule.name]
        level = given.get("enforcementLevel", config["all"])
        entry.enforcementLevel = analyzer_pb2.EnforcementLevel.Value(level.upper())
        for key, schema in rule.configSchema.properties.items():
            entry.properties[key] = given.get(key, schema["default"])
    return request


# The two ways it is started: as the engine's language host does it, and with plain python.
WAYS = {
    "pulumi.policy": (["-m", "pulumi.policy", "127.0.0.1:1", str(PACK)], PACK),
    "python": ([str(PACK)], Path("/")),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_the_process_says_over_grpc_what_the_evaluation_in_process_says(way: str) -> None:
    config = {"all": "mandatory", "limit-request-ratio": {"enforcementLevel": "advisory", "maxCpuRatio": 1}}
    resources = [namespace(), *_bad_stack()]
    command, cwd = WAYS[way]
    with _served(*command, cwd=cwd) as analyzer:
        analyzer.Configure(_configured(config, analyzer.GetAnalyzerInfo(empty_pb2.Empty())))
        stack = analyzer_pb2.AnalyzeStackRequest()
        answers = []
        for resource in resources:
            one = _request(resource, _wire_inputs(resource))
            answers += [(resource.urn, diagnostic) for diagnostic in analyzer.Analyze(one).diagnostics]
            stack.resources.add(type=one.type, urn=one.urn, name=one.name, properties=one.properties)
        answers += [(diagnostic.urn, diagnostic) for diagnostic in analyzer.AnalyzeStack(stack).diagnostics]
    found = [
        (
            diagnostic.policyName,
            analyzer_pb2.EnforcementLevel.Name(diagnostic.enforcementLevel).lower(),
            urn,
            diagnostic.message.removeprefix(f"{diagnostic.description}\n"),
        )
        for urn, diagnostic in answers
    ]
    expected = [(said.rule, said.level, said.urn, said.message) for said in evaluate(resources, config)]
    assert len({rule for rule, *_ in expected}) > 8
    assert any("memory limit 1234567891 is 9.20 times" in message for *_, message in expected)
    assert sorted(found) == sorted(expected)


def test_the_process_describes_every_rule_as_it_is() -> None:
    command, cwd = WAYS["pulumi.policy"]
    with _served(*command, cwd=cwd) as analyzer:
        info = analyzer.GetAnalyzerInfo(empty_pb2.Empty())
    described = {rule.name: rule for rule in info.policies}
    assert list(described) == NAMES
    for rule in policies():
        entry = described[rule.name]
        stack = analyzer_pb2.PolicyType.POLICY_TYPE_STACK
        assert (entry.policy_type == stack) == isinstance(rule, StackValidationPolicy)
        assert (entry.remediation_steps, entry.url) == (rule.remediation_steps, rule.url)
        assert entry.severity != analyzer_pb2.PolicySeverity.POLICY_SEVERITY_UNSPECIFIED


@pytest.mark.slow
def test_the_process_remediates_over_grpc_and_a_second_time_changes_nothing() -> None:
    labels = {"project": "cloudmart", "team": "platform", "cost-center": "CC-2001"}
    config = {"all": "disabled", "cost-labels": {"enforcementLevel": "remediate", "namespaces": {"cloudmart": labels}}}
    bare = workload().with_("metadata.labels", {"app": "x"}).with_("spec.replicas", proxy.UNKNOWN_NUMBER_VALUE)
    command, cwd = WAYS["pulumi.policy"]
    with _served(*command, cwd=cwd) as analyzer:
        analyzer.Configure(_configured(config, analyzer.GetAnalyzerInfo(empty_pb2.Empty())))
        [once] = analyzer.Remediate(_request(bare, _struct(bare.inputs))).remediations
        again = analyzer.Remediate(_request(bare, once.properties)).remediations
        after = analyzer.Analyze(_request(bare, once.properties)).diagnostics
    assert dict(once.properties["metadata"]["labels"]) == {"app": "x", **labels}
    assert once.properties["spec"]["replicas"] == proxy.UNKNOWN_NUMBER_VALUE
    assert list(again) == []
    assert list(after) == []


# --- documentation ---------------------------------------------------------------------------------------------------


def test_the_page_has_a_row_for_every_rule_as_its_metadata_says() -> None:
    configs = {path.stem: json.loads(path.read_text()) for path in (PACK / "config").glob("*.json")}

    def level(stack: str, name: str) -> str:
        given = configs[stack].get(name)
        given = given.get("enforcementLevel") if isinstance(given, dict) else given
        return str(given or configs[stack]["all"])

    rows = []
    for rule in policies():
        assert rule.severity is not None
        assert rule.enforcement_level is not None
        assert rule.config_schema is not None
        keys = ", ".join(f"`{key}`" for key in rule.config_schema.properties if key != "exempt") or "none"
        levels = f"{rule.enforcement_level.value} | {level('dev', rule.name)} | {level('prod', rule.name)}"
        rows.append(f"| `{rule.name}` | {rule.description} | {rule.severity.value} | {levels} | {keys} |")
    page = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
    found = [line for line in page.splitlines() if line.startswith("| `")]
    assert found == rows, "docs/policies.md should have these rows:\n" + "\n".join(rows)


PRIVILEGED = {"securityContext": {"privileged": True}}
LITERAL = {"name": "DB_PASSWORD", "value": "not-really-one"}


@pytest.mark.parametrize(
    ("kind", "rule", "path", "value"),
    [
        ("Deployment", "host-access", "spec.template.spec.containers", [{"name": "app", **PRIVILEGED}]),
        ("Deployment", "no-literal-secrets", "spec.template.spec.containers", [{"name": "app", "env": [LITERAL]}]),
        ("Deployment", "image-registries", "spec.template.spec.containers", [{"name": "app", "image": "x.io/a:1"}]),
        ("ConfigMap", "no-literal-secrets", "data", {"DB_PASSWORD": "not-really-one"}),
        ("Service", "service-exposure", "spec.type", "LoadBalancer"),
    ],
)
def test_what_a_patch_sets_is_judged_and_nothing_that_it_leaves_out(
    kind: str, rule: str, path: str, value: object
) -> None:
    found = resource(kind, "user-service", {}).with_(path, value)
    patch = replace(found, type=f"{found.type}Patch")
    violations = evaluate([patch], {"all": "mandatory"})
    assert [violation.rule for violation in violations] == [rule]
