"""Rules on autoscalers, disruption budgets, Services, namespaces, Helm releases, and the whole stack."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cloudmart.settings.kubecost import KubecostSettings
from components.kubecost_values import cost_analyzer_values, kubecost_values
from tests.policy.objects import (
    LABELS,
    Resource,
    autoscaler,
    broken,
    budget,
    namespace,
    network_policy,
    quota,
    release,
    service,
    workload,
)

APP = "spec.template.spec.containers.0"

# --- autoscalers -----------------------------------------------------------------------------------------------------


def test_a_sane_autoscaler_passes() -> None:
    assert broken("autoscaler-bounds", autoscaler()) == []
    assert broken("autoscaler-target", workload(), autoscaler()) == []


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("spec.minReplicas", 9, "minReplicas 9 is above maxReplicas 8"),
        ("spec.minReplicas", 0, "minReplicas 0 is below 1"),
        ("spec.maxReplicas", None, "no maxReplicas"),
        ("spec.scaleTargetRef", None, "no scaleTargetRef.name"),
        ("spec.metrics.0.resource.target.averageUtilization", 95, "target cpu utilization 95 % is outside 50 to 85 %"),
        ("spec.metrics.0.resource.target.averageUtilization", 20, "target cpu utilization 20 % is outside 50 to 85 %"),
        ("spec.targetCPUUtilizationPercentage", 95.0, "target cpu utilization 95 % is outside"),
    ],
)
def test_an_autoscaler_that_makes_no_sense_is_found(path: str, value: Any, problem: str) -> None:
    [message] = broken("autoscaler-bounds", autoscaler().with_(path, value))
    assert f"HorizontalPodAutoscaler cloudmart/user-service-hpa: {problem}" in message


def test_bounds_are_configurable() -> None:
    assert len(broken("autoscaler-bounds", autoscaler(), minReplicas=3)) == 1
    assert len(broken("autoscaler-bounds", autoscaler(), minUtilization=75)) == 1
    assert len(broken("autoscaler-bounds", autoscaler(), maxUtilization=65)) == 1
    assert broken("autoscaler-bounds", autoscaler().with_("spec.minReplicas", 0), minReplicas=0) == []


@pytest.mark.parametrize(
    "path",
    [
        "spec",
        "spec.minReplicas",
        "spec.maxReplicas",
        "spec.scaleTargetRef",
        "spec.scaleTargetRef.name",
        "spec.metrics",
        "spec.metrics.0",
        "spec.metrics.0.resource",
        "spec.metrics.0.resource.target.averageUtilization",
    ],
)
@pytest.mark.parametrize("rule", ["autoscaler-bounds", "autoscaler-target", "no-orphans"])
def test_an_autoscaler_that_preview_cannot_know_is_no_violation(rule: str, path: str) -> None:
    assert broken(rule, workload(), autoscaler().unknown(path)) == []


def test_every_container_of_the_target_requests_what_the_autoscaler_measures() -> None:
    bare = workload().without(f"{APP}.resources.requests.cpu")
    [message] = broken("autoscaler-target", bare, autoscaler())
    assert "Deployment cloudmart/user-service, container 'app' has no cpu request to measure against" in message
    assert broken("autoscaler-target", workload().without(f"{APP}.resources.requests.memory"), autoscaler()) == []
    assert broken("autoscaler-target", workload().unknown(f"{APP}.resources"), autoscaler()) == []


def test_a_metric_of_one_container_needs_that_container() -> None:
    target = {"type": "Utilization", "averageUtilization": 70}
    metric = {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "app", "target": target}}
    scaled = autoscaler().with_("spec.metrics", [metric])
    sidecar = {"name": "sidecar"}
    two = workload().with_(
        "spec.template.spec.containers", [workload().inputs["spec"]["template"]["spec"]["containers"][0], sidecar]
    )
    assert broken("autoscaler-target", two, scaled) == []
    [message] = broken("autoscaler-target", two, scaled.with_("spec.metrics.0.containerResource.container", "gone"))
    assert "has no container 'gone'" in message


def test_an_absolute_target_needs_no_request() -> None:
    scaled = autoscaler().with_("spec.metrics.0.resource.target", {"type": "AverageValue", "averageValue": "200m"})
    assert broken("autoscaler-target", workload().without(f"{APP}.resources"), scaled) == []
    assert broken("autoscaler-bounds", scaled) == []


def test_two_autoscalers_on_one_workload_are_found() -> None:
    other = autoscaler().with_("metadata.name", "second")
    [message] = broken("autoscaler-target", workload(), autoscaler(), other)
    assert "HorizontalPodAutoscaler cloudmart/second: Deployment cloudmart/user-service is already scaled by" in message


# --- disruption budgets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "ReplicaSet"])
def test_more_than_one_replica_needs_a_budget(kind: str) -> None:
    assert broken("disruption-budget", workload(kind), budget()) == []
    assert broken("disruption-budget", workload(kind).with_("spec.replicas", 1)) == []
    assert broken("disruption-budget", workload(kind).without("spec.replicas")) == []
    [message] = broken("disruption-budget", workload(kind))
    assert f"{kind} cloudmart/user-service: 2 replicas and no PodDisruptionBudget" in message


def test_the_autoscalers_minimum_counts() -> None:
    one = workload().without("spec.replicas")
    assert len(broken("disruption-budget", one, autoscaler())) == 1
    assert broken("disruption-budget", one, autoscaler().with_("spec.minReplicas", 1)) == []
    assert len(broken("disruption-budget", workload(), autoscaler().with_("spec.minReplicas", 1))) == 1


@pytest.mark.parametrize(
    ("spec", "drains"),
    [
        ({"maxUnavailable": 1}, True),
        ({"maxUnavailable": "1%"}, True),  # rounded up to one pod
        ({"maxUnavailable": 0}, False),
        ({"maxUnavailable": "0%"}, False),
        ({"minAvailable": 1}, True),
        ({"minAvailable": 2}, False),
        ({"minAvailable": "50%"}, True),
        ({"minAvailable": "51%"}, False),  # rounded up to both
        ({}, True),
    ],
)
def test_a_budget_must_let_nodes_drain(spec: dict[str, Any], drains: bool) -> None:
    found = budget().without("spec.maxUnavailable")
    for key, value in spec.items():
        found = found.with_(f"spec.{key}", value)
    messages = broken("disruption-budget", workload(), found)
    assert (messages == []) == drains
    assert all("lets no pod go at 2 replicas" in message for message in messages)


def test_a_budget_is_measured_at_the_autoscalers_minimum() -> None:
    strict = budget().without("spec.maxUnavailable").with_("spec.minAvailable", 1)
    assert broken("disruption-budget", workload(), autoscaler(), strict) == []
    [message] = broken("disruption-budget", workload(), autoscaler().with_("spec.minReplicas", 1), strict)
    assert "at 1 replicas" in message


def test_a_budget_elsewhere_or_for_other_pods_does_not_count() -> None:
    assert len(broken("disruption-budget", workload(), budget().with_("metadata.namespace", "other"))) == 1
    assert len(broken("disruption-budget", workload(), budget().with_("spec.selector.matchLabels.app", "other"))) == 1


@pytest.mark.parametrize(
    ("expression", "selects"),
    [
        ({"key": "app", "operator": "In", "values": ["user-service"]}, True),
        ({"key": "app", "operator": "NotIn", "values": ["user-service"]}, False),
        ({"key": "app", "operator": "Exists"}, True),
        ({"key": "app", "operator": "DoesNotExist"}, False),
    ],
)
def test_selectors_by_expression_are_understood(expression: dict[str, Any], selects: bool) -> None:
    found = budget().with_("spec.selector", {"matchExpressions": [expression]})
    assert (broken("disruption-budget", workload(), found) == []) == selects
    assert (broken("no-orphans", workload(), found) == []) == selects


@pytest.mark.parametrize("path", ["spec", "spec.selector", "spec.selector.matchLabels.app", "metadata.namespace"])
def test_a_budget_that_preview_cannot_know_may_be_the_one(path: str) -> None:
    assert broken("disruption-budget", workload(), budget().unknown(path)) == []


@pytest.mark.parametrize("path", ["spec", "spec.replicas", "metadata.namespace"])
def test_a_workload_that_preview_cannot_know_needs_no_budget(path: str) -> None:
    assert broken("disruption-budget", workload().unknown(path)) == []


# --- Services --------------------------------------------------------------------------------------------------------


def test_an_exposed_service_is_found_unless_it_is_declared() -> None:
    assert broken("service-exposure", service()) == []
    for kind in ("LoadBalancer", "NodePort"):
        exposed = service().with_("spec.type", kind)
        [message] = broken("service-exposure", exposed)
        assert f"Service cloudmart/user-service: type is {kind}" in message
        assert broken("service-exposure", exposed, allowed=["cloudmart/user-*"]) == []
        assert len(broken("service-exposure", exposed, allowed=["other/*"])) == 1
    assert len(broken("service-exposure", service().with_("spec.externalIPs", ["192.0.2.1"]))) == 1


@pytest.mark.parametrize("path", ["spec", "spec.type", "spec.externalIPs", "metadata.namespace"])
def test_a_service_that_preview_cannot_know_is_no_violation(path: str) -> None:
    assert broken("service-exposure", service().unknown(path)) == []


# --- Helm ------------------------------------------------------------------------------------------------------------


def test_a_pinned_release_passes() -> None:
    assert broken("helm-pinned", release()) == []


@pytest.mark.parametrize("version", ["^3.2", "3.2", "3.x", "*", ">=3.0.0", "latest", "~3.2.1", "3.2.1 || 3.3.0"])
def test_a_version_that_leaves_a_choice_is_found(version: str) -> None:
    [message] = broken("helm-pinned", release().with_("version", version))
    assert f"version '{version}' of chart 'kubecost' is not one exact version" in message
    assert message.startswith("Release kubecost/kubecost: ")


def test_a_missing_version_repository_or_chart_is_found() -> None:
    assert len(broken("helm-pinned", release().without("version"))) == 1
    [message] = broken("helm-pinned", release().without("repositoryOpts"))
    assert "has no repository" in message
    assert len(broken("helm-pinned", release().without("chart"))) == 1
    assert len(broken("helm-pinned", release().with_("devel", True))) == 1


@pytest.mark.parametrize(
    "chart", ["./charts/kubecost", "/charts/kubecost", "../kubecost-3.2.1.tgz", "kubecost-3.2.1.tgz"]
)
def test_a_local_chart_is_its_own_version(chart: str) -> None:
    assert broken("helm-pinned", release(chart).without("version").without("repositoryOpts")) == []


def test_a_chart_from_an_oci_registry_needs_a_version_and_no_repository() -> None:
    chart = release("oci://registry.example.com/charts/kubecost").without("repositoryOpts")
    assert broken("helm-pinned", chart) == []
    assert len(broken("helm-pinned", chart.without("version"))) == 1


@pytest.mark.parametrize("path", ["chart", "version", "repositoryOpts", "values", "values.frontend"])
@pytest.mark.parametrize("rule", ["helm-pinned", "helm-requests"])
def test_a_release_that_preview_cannot_know_is_no_violation(rule: str, path: str) -> None:
    assert broken(rule, release().unknown(path)) == []


CHARTS = [
    "kubecost",
    "./charts/kubecost",
    "/x/kubecost-3.2.1.tgz",
    "oci://registry.example.com/kubecost",
    "kubecost/kubecost",
]


@pytest.mark.parametrize("chart", CHARTS)
def test_known_components_of_a_release_request_cpu_and_memory(chart: str) -> None:
    assert broken("helm-requests", release(chart)) == []
    [message] = broken("helm-requests", release(chart).without("values.cloudCost"))
    assert "no cpu and memory request at values.cloudCost.resources.requests" in message
    assert "or cloudCost.enabled to false" in message
    [message] = broken("helm-requests", release(chart).with_("values.cloudCost.resources.requests.cpu", 0))
    assert "no cpu request" in message
    assert broken("helm-requests", release(chart).with_("values.cloudCost", {"enabled": False})) == []


def test_the_defaults_of_the_older_chart_lack_requests() -> None:
    messages = broken("helm-requests", release("cost-analyzer").with_("values", {}))
    assert {message.split("values.")[1].split(".resources")[0] for message in messages} == {
        "kubecostModel",
        "kubecostFrontend",
        "kubecostAggregator",
        "kubecostAggregator.cloudCost",
        "forecasting",
        "prometheus.server",
        "grafana",
        "grafana.sidecar",
    }
    off = {
        "global": {"prometheus": {"enabled": False}, "grafana": {"enabled": False}},
        "networkCosts": {"enabled": True},
    }
    messages = broken("helm-requests", release("cost-analyzer").with_("values", off))
    assert not any("prometheus" in message or "grafana" in message for message in messages)
    assert any("networkCosts" in message for message in messages)


@pytest.mark.parametrize(
    ("chart", "values_of"),
    [
        ({"name": "kubecost"}, kubecost_values),
        ({"name": "cost-analyzer", "version": "2.8.2"}, cost_analyzer_values),
    ],
)
def test_the_values_that_the_component_makes_request_everything(chart: dict[str, str], values_of: Any) -> None:
    settings = KubecostSettings.model_validate({"chart": chart})
    values = values_of(settings, cluster_id="test", labels=LABELS)
    found = release(chart["name"]).with_("values", values)
    assert broken("helm-requests", found) == []
    assert broken(
        "helm-requests", found.with_("values.forecasting.resources", {}).with_("values.forecasting.enabled", True)
    )


def test_the_table_of_charts_is_configurable_and_other_charts_are_left_alone() -> None:
    assert broken("helm-requests", release("podinfo").with_("values", {})) == []
    table = {"podinfo": [{"resources": "server.resources", "switches": {}}]}
    assert len(broken("helm-requests", release("podinfo").with_("values", {}), charts=table)) == 1
    assert broken("helm-requests", release().with_("valueYamlFiles", [{}]).with_("values", {})) == []


# --- the whole stack -------------------------------------------------------------------------------------------------

GUARDED = [namespace(), quota(), network_policy(), workload()]


def test_a_namespace_with_workloads_needs_a_quota_and_a_default_deny() -> None:
    assert broken("namespace-guards", *GUARDED) == []
    assert broken("namespace-guards", namespace()) == []
    [message] = broken("namespace-guards", namespace(), network_policy(), workload())
    assert "Namespace cloudmart: it holds workloads and has no quota." in message
    [message] = broken("namespace-guards", namespace(), quota(), workload())
    assert "has no deny-ingress, deny-egress." in message
    [message] = broken("namespace-guards", quota(), network_policy(), release())
    assert "Namespace kubecost: it holds workloads and has no quota, deny-ingress, deny-egress." in message


@pytest.mark.parametrize(
    ("spec", "missing"),
    [
        ({"podSelector": {}}, ["deny-egress"]),  # policyTypes defaults to Ingress
        ({"podSelector": {}, "egress": []}, []),
        ({"podSelector": {}, "policyTypes": ["Egress"]}, ["deny-ingress"]),
        ({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}]}, ["deny-ingress"]),
        ({"podSelector": {"matchLabels": {"app": "x"}}, "policyTypes": ["Ingress"]}, ["deny-ingress", "deny-egress"]),
    ],
)
def test_a_default_deny_is_an_empty_selector_and_no_rule(spec: dict[str, Any], missing: list[str]) -> None:
    messages = broken("namespace-guards", namespace(), quota(), workload(), network_policy().with_("spec", spec))
    assert [f"has no {', '.join(missing)}." in message for message in messages] == ([True] if missing else [])


def test_guards_are_configurable_and_a_namespace_can_be_exempt() -> None:
    assert broken("namespace-guards", namespace(), quota(), workload(), required=["quota"]) == []
    assert broken("namespace-guards", namespace(), workload(), exempt=["Namespace/cloudmart"]) == []
    assert broken("namespace-guards", workload(), exempt=["Namespace/cloudmart"]) == []


@pytest.mark.parametrize("path", ["metadata.namespace", "metadata", "spec.policyTypes", "spec.ingress"])
def test_a_guard_that_preview_cannot_know_may_be_the_one(path: str) -> None:
    guard = network_policy().unknown(path)
    assert broken("namespace-guards", namespace(), quota(), workload(), guard) == []


def test_a_workload_whose_namespace_preview_cannot_know_has_no_guards_to_check() -> None:
    assert broken("namespace-guards", workload().unknown("metadata.namespace")) == []


def test_what_points_at_a_workload_of_the_stack_passes() -> None:
    found = [workload(), service(), autoscaler(), budget(), network_policy(), network_policy({"app": "user-service"})]
    assert broken("no-orphans", *found) == []


@pytest.mark.parametrize(
    "found",
    [service(), autoscaler(), budget(), network_policy({"app": "user-service"})],
    ids=["Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"],
)
def test_what_points_at_nothing_is_found(found: Resource) -> None:
    elsewhere = workload().with_("metadata.namespace", "other")
    other = workload().with_("metadata.name", "other").with_("spec.template.metadata.labels.app", "other")
    for workloads in ([], [elsewhere], [other]):
        [message] = broken("no-orphans", found, *workloads)
        assert "is not in the stack" in message or "matches no pod template of the stack" in message
    assert broken("no-orphans", found, exempt=["*/cloudmart/user-service*", "*/cloudmart/deny"]) == []


@pytest.mark.parametrize(
    "found",
    [service(), autoscaler(), budget(), network_policy({"app": "user-service"})],
    ids=["Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"],
)
def test_the_pods_of_a_chart_or_an_unknown_namespace_cannot_be_ruled_out(found: Resource) -> None:
    chart = release().with_("namespace", "cloudmart")
    assert broken("no-orphans", found, chart) == []
    assert broken("no-orphans", found.unknown("metadata.namespace")) == []
    assert broken("no-orphans", found, workload().unknown("metadata.namespace")) == []
    assert broken("no-orphans", found.unknown("spec")) == []


def test_labels_that_preview_cannot_know_may_be_selected() -> None:
    for path in ("spec.template.metadata.labels", "spec.template.metadata.labels.app", "spec.template"):
        assert broken("no-orphans", service(), budget(), workload().unknown(path)) == []


def test_services_without_pods_of_their_own_are_no_orphans() -> None:
    assert broken("no-orphans", service().without("spec.selector")) == []
    assert broken("no-orphans", service().with_("spec.type", "ExternalName")) == []


# --- data ------------------------------------------------------------------------------------------------------------

EVERYWHERE = {"namespaces": ["*"]}


def _store(kind: str, group: str, body: Any = None) -> Resource:
    return Resource(f"kubernetes:{group}:{kind}", "postgres", {"metadata": {"namespace": "shop"}, "spec": body or {}})


HOLDERS = [
    _store("StatefulSet", "apps/v1", {"volumeClaimTemplates": [{"metadata": {"name": "data"}}]}),
    _store("PersistentVolumeClaim", "core/v1"),
    _store("Cluster", "postgresql.cnpg.io/v1"),
    _store("Kafka", "kafka.strimzi.io/v1"),
    _store("KafkaNodePool", "kafka.strimzi.io/v1"),
    Resource(
        "kubernetes:helm.sh/v3:Release", "postgres", {"namespace": "shop", "chart": "./charts/redis-ha-4.1.0.tgz"}
    ),
]


@pytest.mark.parametrize("found", HOLDERS, ids=lambda found: found.type)
def test_what_holds_data_must_be_protected(found: Resource) -> None:
    kind = found.type.rsplit(":", 1)[-1]
    [message] = broken("data-protected", found, **EVERYWHERE)
    assert f"{kind} shop/postgres: holds data and is not protected" in message
    assert broken("data-protected", replace(found, protect=True), **EVERYWHERE) == []
    assert broken("data-protected", found, **EVERYWHERE, exempt=[f"{kind}/shop/postgres"]) == []


def test_where_data_must_be_protected_is_configured() -> None:
    [found, *_] = HOLDERS
    assert broken("data-protected", found) == []
    assert broken("data-protected", found, namespaces=["elsewhere"]) == []
    assert len(broken("data-protected", found, namespaces=["elsewhere", "sh*"])) == 1
    # Without a namespace it is the default one.
    assert len(broken("data-protected", found.without("metadata.namespace"), namespaces=["default"])) == 1


def test_which_charts_hold_data_is_configured() -> None:
    found = HOLDERS[-1]
    assert broken("data-protected", found, **EVERYWHERE, charts=[]) == []
    other = found.with_("chart", "oci://example.com/charts/mysql")
    assert broken("data-protected", other, **EVERYWHERE) == []
    assert len(broken("data-protected", other, **EVERYWHERE, charts=["mysql"])) == 1
    assert broken("data-protected", found.without("chart"), **EVERYWHERE) == []


def test_what_holds_no_data_or_may_hold_none_needs_no_protection() -> None:
    bare = _store("StatefulSet", "apps/v1")
    assert broken("data-protected", bare, workload(), **EVERYWHERE) == []
    assert broken("data-protected", HOLDERS[0].unknown("spec.volumeClaimTemplates"), **EVERYWHERE) == []
    assert broken("data-protected", HOLDERS[1].unknown("metadata.namespace"), **EVERYWHERE) == []
    # A kind of the same name in somebody else's group.
    assert broken("data-protected", _store("Cluster", "example.com/v1"), **EVERYWHERE) == []
