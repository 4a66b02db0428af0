"""Admission: where its rules come from, what is made of them, and the values of Gatekeeper's chart."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import yaml

from cloudmart.errors import UserError
from cloudmart.preview.policy import PACK, evaluate, policies, read_config
from cloudmart.preview.recorder import Recorded, record
from cloudmart.settings import load, stacks
from cloudmart.settings.admission import AdmissionSettings
from cloudmart.settings.rules import RULES, Level, rulings
from components.admission import cel
from components.admission.gatekeeper import constraint_kind, rego, rego_parameters
from components.admission.parameters import NEVER, RESOURCES, controllers, globs, left_out, parameters
from components.admission.values import gatekeeper_values
from tests.conftest import Project

ROOT = PACK.parent
CHART = ROOT / "tests" / "charts" / "gatekeeper"
PAYER = {"project": "cloudmart", "team": "platform", "cost-center": "CC-2002"}
STACKS = stacks(ROOT)
ENGINES = ("native", "gatekeeper")
#: Rules about one object that admission leaves to somebody else, and who that is.
LEFT = {
    "pod-security": "Pod Security admission",
    "host-access": "Pod Security admission",
    "helm-pinned": "no release is an object",
    "helm-requests": "no release is an object",
    "data-protected": "about options of Pulumi, which the API server never sees",
}


@cache
def recorded(stack: str, engine: str | None) -> tuple[Recorded, ...]:
    admission = {"enabled": engine is not None} | ({"engine": engine} if engine else {})
    return tuple(record(stack, ROOT, overrides={"cloudmart:admission": admission}).resources)


def own(stack: str, engine: str) -> dict[str, Recorded]:
    """What an engine adds to a stack, by type and name."""
    without = {found.urn for found in recorded(stack, None)}
    return {f"{found.kind}/{found.object_name}": found for found in recorded(stack, engine) if found.urn not in without}


# --- one source ------------------------------------------------------------------------------------------------------


def test_each_rule_of_the_pack_about_one_object_is_enforced_or_somebody_elses() -> None:
    from pulumi_policy import ResourceValidationPolicy

    about_one = {rule.name for rule in policies() if isinstance(rule, ResourceValidationPolicy)}
    assert about_one == {*RULES, *LEFT}


@pytest.mark.parametrize("stack", STACKS)
def test_levels_and_thresholds_are_those_that_the_pack_works_with(stack: str) -> None:
    from cloudmart.preview import policy

    config = read_config(PACK / "config" / f"{stack}.json")
    pack = policy._settings(config, policies(), "config")
    ours = load(stack, ROOT).with_rules(rulings(config, load(stack, ROOT).cost_centers, "config")).rules
    assert set(ours) == set(RULES)
    for name, ruling in ours.items():
        assert ruling.level.value == pack[name].level.value
        assert dict(ruling.config) == pack[name].properties


def test_a_changed_threshold_changes_what_the_pack_says_and_what_admission_enforces(project: Project) -> None:
    project.config("dev", lambda config: config.update({"cloudmart:admission": {"enabled": True}}))
    config = project.root / "policy" / "config" / "dev.json"
    config.write_text(
        json.dumps({"all": "disabled", "limit-request-ratio": {"enforcementLevel": "mandatory", "maxCpuRatio": 1.25}})
    )
    found = record("dev", project.root).resources
    (policy,) = [r for r in found if r.kind == "ValidatingAdmissionPolicy"]
    assert policy.object_name == "cloudmart-limit-request-ratio"
    assert "'most': dyn(1.25)" in str(policy.inputs)
    assert {v.rule for v in evaluate(found, read_config(config))} == {"limit-request-ratio"}


def test_the_registry_of_cost_centers_is_the_catalogs(project: Project) -> None:
    project.config("dev", lambda config: config.update({"cloudmart:admission": {"enabled": True}}))
    project.catalog(lambda catalog: catalog["costCenters"].update({"CC-7777": {"name": "x", "owner": "platform"}}))
    assert load("dev", project.root).rules["cost-labels"].config["costCenters"] == ["CC-2001", "CC-2002", "CC-7777"]


def test_a_layer_that_is_off_does_not_read_the_packs_configuration(project: Project) -> None:
    project.config("dev", lambda config: config.update({"cloudmart:admission": {"enabled": False}}))
    (project.root / "policy" / "config" / "dev.json").write_text("{")
    assert load("dev", project.root).rules == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "policy/config/dev.json:1: not valid JSON"),
        ("[]", "policy/config/dev.json: found a list; allowed: an object"),
        ('{"all": "strict"}', "policy/config/dev.json: all: found 'strict'; allowed: advisory"),
        ('{"probes": 5}', "policy/config/dev.json: probes: found 5; allowed: a level or an object"),
        ('{"probes": {"need": []}}', "policy/config/dev.json: probes.need: no such key"),
        (
            '{"limit-request-ratio": {"maxCpuRatio": "5"}}',
            "limit-request-ratio.maxCpuRatio: found '5'; allowed: a number",
        ),
        (
            '{"cost-labels": {"namespaces": {"shop": {"cost-center": "CC-2003"}}}}',
            "policy/config/dev.json: cost-labels.namespaces.shop.cost-center: found 'CC-2003' (did you mean ",
        ),
        (
            '{"no-literal-secrets": {"names": ["KEY", "(?<!MON)KEY"]}}',
            "no-literal-secrets.names[1]: found '(?<!MON)KEY'; allowed: what RE2 can read",
        ),
    ],
)
def test_a_configuration_that_does_not_fit_is_one_line_that_says_where(
    project: Project, text: str, message: str
) -> None:
    project.config("dev", lambda config: config.update({"cloudmart:admission": {"enabled": True}}))
    (project.root / "policy" / "config" / "dev.json").write_text(text)
    with pytest.raises(UserError) as raised:
        load("dev", project.root)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


# --- patterns and literals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    ["*", "a*", "*/storefront", "Job/*/x-?", "[a-c]x", "[!a]x", "[]]x", "[!]]x", "a[b", "a.b+c", "[^a]x", "a\\b"],
)
def test_a_pattern_fits_the_same_names_for_the_pack_and_at_admission(pattern: str) -> None:
    # Python's own expressions read what is made here as RE2 does.
    made = re.compile(globs([pattern]))
    for name in (
        "a",
        "ab",
        "ax",
        "bx",
        "]x",
        "^x",
        "[x",
        "a[b",
        "a.b+c",
        "axbbc",
        "a\\b",
        "ns/storefront",
        "Job/ns/x-1",
        "Job/ns/x-12",
        "",
    ):
        assert bool(made.search(name)) == fnmatch.fnmatchcase(name, pattern), name


def test_no_pattern_fits_nothing() -> None:
    assert globs([]) == NEVER
    assert not re.search(NEVER, "")
    assert not re.search(NEVER, "any thing")


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.0, "2"), (2.5, "2.5"), (["a'\"\\"], '["a\'\\"\\\\"]'), ({"a": [1]}, '{"a": [1]}'), ("é", '"é"'), ([], "[]")],
)
def test_a_parameter_is_written_as_cel_reads_it(value: Any, text: str) -> None:
    assert cel.literal(value) == text


def test_every_rule_has_its_check_in_both_languages_and_uses_no_parameter_that_is_not_there() -> None:
    assert set(cel.CHECKS) == set(RULES)
    settings = load(STACKS[0], ROOT)
    for name, ruling in rulings({}, ["CC-2001"], "").items():
        assert cel.expressions(name, parameters(ruling))["findings"]  # a parameter that is not there is a KeyError
        used = set(re.findall(r"input\.parameters\.(\w+)", rego(name) + rego("judged")))
        assert used <= set(rego_parameters(ruling, settings))
        assert rego(name).startswith(f"package rules.{name.replace('-', '_')}\n")


# --- what is made ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("stack", STACKS)
def test_a_rule_denies_warns_or_is_absent_as_its_level_says(stack: str, engine: str) -> None:
    found = own(stack, engine)
    rules = load(stack, ROOT).rules or rulings(
        read_config(PACK / "config" / f"{stack}.json"), load(stack, ROOT).cost_centers, ""
    )
    for name, ruling in rules.items():
        warns = ruling.level is Level.ADVISORY
        if engine == "native":
            binding = found[f"ValidatingAdmissionPolicyBinding/cloudmart-{name}"].inputs["spec"]
            assert binding["validationActions"] == (["Warn", "Audit"] if warns else ["Deny"])
            assert binding["policyName"] == f"cloudmart-{name}"
            selector = binding["matchResources"]["namespaceSelector"]
            assert found[f"ValidatingAdmissionPolicy/cloudmart-{name}"].inputs["spec"]["failurePolicy"] == "Fail"
        else:
            constraint = found[f"{constraint_kind('cloudmart', name)}/cloudmart"].inputs["spec"]
            assert constraint["enforcementAction"] == ("warn" if warns else "deny")
            selector = constraint["match"]["namespaceSelector"]
        assert selector["matchLabels"] == {"project": "cloudmart"}
        assert {"kube-system", "kubecost"} <= set(selector["matchExpressions"][0]["values"])
    assert load(stack, ROOT).namespace.name not in left_out(load(stack, ROOT))


@pytest.mark.parametrize("engine", ENGINES)
def test_every_object_carries_the_labels_and_a_disabled_rule_leaves_none(project: Project, engine: str) -> None:
    config = {"cloudmart:admission": {"enabled": True, "engine": engine}}
    (project.root / "policy" / "config" / "dev.json").write_text(json.dumps({"probes": "disabled"}))
    found = record("dev", project.root, overrides=config).resources
    made = [r for r in found if "admission" in r.urn and r.is_kubernetes_object]
    assert len([r for r in made if "probes" in r.name]) == 0
    assert len([r for r in made if "memory-limits" in r.name]) == 2
    for item in made:
        assert {"project", "team", "cost-center", "app.kubernetes.io/name"} <= set(item.metadata["labels"])


@pytest.mark.slow
def test_a_constraint_waits_for_its_template_and_that_for_its_kind_and_for_the_release() -> None:
    found = own("prod", "gatekeeper")
    (release,) = [r for r in recorded("prod", "gatekeeper") if r.type.endswith(":Release") and r.name == "gatekeeper"]
    for name in RULES:
        kind = constraint_kind("cloudmart", name)
        template, constraint = found[f"ConstraintTemplate/{kind.lower()}"], found[f"{kind}/cloudmart"]
        assert release.urn in template.dependencies
        assert template.urn in constraint.dependencies
        assert template.metadata["annotations"] == {"pulumi.com/waitFor": "jsonpath={.status.created}=true"}
        assert template.inputs["spec"]["crd"]["spec"]["names"]["kind"] == kind
        schema = template.inputs["spec"]["crd"]["spec"]["validation"]["openAPIV3Schema"]["properties"]
        assert set(schema) == set(constraint.inputs["spec"]["parameters"])


@pytest.mark.parametrize("engine", ENGINES)
def test_the_first_pod_of_the_shop_waits_for_admission(engine: str) -> None:
    found = {r.urn: r for r in recorded("dev", engine)}
    rules = {
        r.urn
        for r in own("dev", engine).values()
        if r.kind in ("ValidatingAdmissionPolicyBinding",) or r.name.endswith("-constraint")
    }
    assert len(rules) == len(RULES)

    def awaited(item: Recorded) -> set[str]:
        # A child is registered when its parent is, and that when what it depends on is there.
        return set(item.dependencies) | (awaited(found[item.parent]) if item.parent in found else set())

    workloads = [r for r in found.values() if r.kind in ("Deployment", "StatefulSet")]
    assert len(workloads) >= 8
    for workload in workloads:
        assert rules <= awaited(workload), workload.name


def test_the_controllers_of_operators_and_of_the_mesh_make_pods_and_argo_cd_brings_what_people_wrote() -> None:
    settings = load("prod", ROOT)
    groups = controllers(settings)
    assert groups[0] == "system:serviceaccounts:kube-system"
    assert not any("argocd" in group for group in groups)
    for key, layer in settings.layers.items():
        assert (f"system:serviceaccounts:{layer.namespace}" in groups) == (
            key == "mesh" or key.startswith("operators.")
        )


def test_every_kind_of_a_rule_has_its_place_in_the_api() -> None:
    assert {kind for rule in RULES.values() for kind in rule.kinds} == set(RESOURCES)


# --- the chart -------------------------------------------------------------------------------------------------------


def values(**config: Any) -> Mapping[str, Any]:
    settings = AdmissionSettings.model_validate({"enabled": True, "engine": "gatekeeper", **config})
    return gatekeeper_values(settings, labels=PAYER, resources_by_group={"apps": ["deployments"]}, left_out={"b", "a"})


def test_every_pod_of_the_chart_has_requests_limits_and_cost_labels() -> None:
    found = values(controller={"replicas": 2, "requests": {"cpu": "70m"}})
    assert found["replicas"] == 2
    assert found["controllerManager"]["resources"]["requests"] == {"cpu": "70m", "memory": "256Mi"}
    for part in ("controllerManager", "audit", "crds"):
        for side in ("requests", "limits"):
            assert set(found[part]["resources"][side]) == {"cpu", "memory"}
    assert found["commonLabels"] == PAYER
    assert "podLabels" not in found  # the chart would write the same keys twice


def test_a_gatekeeper_that_is_away_keeps_nothing_from_running() -> None:
    found = values()
    assert found["validatingWebhookFailurePolicy"] == found["validatingWebhookCheckIgnoreFailurePolicy"] == "Ignore"
    assert found["validatingWebhookExemptNamespacesLabels"] == {"kubernetes.io/metadata.name": ["a", "b"]}
    assert [rule["apiGroups"] for rule in found["validatingWebhookCustomRules"]] == [
        ["apps"],
        ["templates.gatekeeper.sh"],
        ["constraints.gatekeeper.sh"],
    ]


def test_the_chart_of_the_tests_is_the_tables_and_makes_the_kinds_of_the_rules() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    pinned = AdmissionSettings(enabled=True).chart_of("chart")
    assert (chart["name"], chart["version"]) == (pinned.name, pinned.version)
    kinds = {item["spec"]["names"]["kind"] for item in yaml.safe_load_all((CHART / "crds" / "all.yaml").read_text())}
    assert kinds == {"ConstraintTemplate", *(constraint_kind("cloudmart", name) for name in RULES)}
    assert set(values()) <= set(yaml.safe_load((CHART / "values.yaml").read_text()))


def test_native_policies_install_no_chart() -> None:
    assert AdmissionSettings.model_validate({"enabled": True}).charts == {}
    assert not [found for found in own("dev", "native").values() if found.type.endswith(":Release")]
