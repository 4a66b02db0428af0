"""A change of the catalog changes what it must, and nothing else."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from cloudmart.preview.recorder import Recorded, record
from cloudmart.settings import load, stacks
from cloudmart.settings.data import StoreMode
from tests.conftest import ROOT, Project

Objects = dict[tuple[str, str], Recorded]

_STACKS = stacks(ROOT)
#: With the fast tests, changes are tried in the lightest stack.
lightest_first = pytest.mark.parametrize(
    "stack", [pytest.param(name, marks=[] if name == _STACKS[0] else [pytest.mark.slow]) for name in _STACKS]
)


def _objects(root: Path, stack: str) -> Objects:
    """Every resource by the last part of its type and its name."""
    return {(r.type.rsplit(":", 1)[-1], r.name): r for r in record(stack, root).resources}


@lru_cache
def _unchanged(stack: str) -> Objects:
    return _objects(ROOT, stack)


#: What a layer makes for each service beside its own objects, as type and name; ``{}`` is the service.
_EACH: dict[str, set[tuple[str, str]]] = {
    "verticalAutoscaling": {("VerticalPodAutoscaler", "{}-vpa")},
    "monitoring": {("ConfigMap", "dashboard-service-{}"), ("PrometheusRule", "rules-{}")},
}


def _of_layers(stack: str, service: str) -> set[tuple[str, str]]:
    """What the layers that are on in a stack make for one service."""
    settings = load(stack, ROOT)
    on = settings.layers
    found = {(kind, name.format(service)) for layer, made in _EACH.items() if layer in on for kind, name in made}
    # Its proxy is what is scraped.
    is_scraped = "monitoring" in on and settings.mesh.enabled and not settings.mesh.is_ambient
    return found | ({("PodMonitor", f"scrape-{service}")} if is_scraped else set())


def _shown(stack: str, *services: str, listed: bool = False) -> set[tuple[str, str]]:
    """What the monitoring, where it is on, tells of services; `listed` where there is one more or less of them."""
    settings = load(stack, ROOT)
    if not settings.monitoring.enabled:
        return set()
    found = {("ConfigMap", f"dashboard-service-{service}") for service in services}
    if listed:
        found.add(("ConfigMap", "dashboard-overview"))
        if settings.mesh.enabled:
            found |= {("PrometheusRule", "rules-platform"), ("NetworkPolicy", "monitoring-allow-scraping")}
    return found


def _of_mesh(stack: str, service: str | None = None, edges: tuple[tuple[str, str], ...] = ()) -> set[tuple[str, str]]:
    """What the mesh, where it is on, makes for a service and for edges."""
    if not load(stack, ROOT).mesh.enabled:
        return set()
    of_service = {(kind, f"authorization-{service}") for kind in ("DestinationRule", "VirtualService", "Sidecar")}
    of_edges = {("AuthorizationPolicy", f"authorization-{caller}-to-{target}") for caller, target in edges}
    return (of_service if service else set()) | of_edges


def _scope(stack: str, caller: str) -> set[tuple[str, str]]:
    """What tells a caller's proxy, where it has one, whom it calls."""
    return {found for found in _of_mesh(stack, caller) if found[0] == "Sidecar"}


def _delivered(stack: str) -> set[tuple[str, str]]:
    """What tells Argo CD, where it is on, which Deployments an autoscaler scales."""
    return {("Application", f"cloudmart-{stack}")} if "gitops" in load(stack, ROOT).layers else set()


def _is_operated(stack: str, store: str) -> bool:
    return getattr(load(stack, ROOT).data, store).mode is StoreMode.OPERATOR


def _user(stack: str, store: str, service: str) -> set[tuple[str, str]]:
    """What a store that an operator runs has for one of its callers."""
    if not _is_operated(stack, store):
        return set()
    own = {"postgres": ("DatabaseRole", f"postgres-{service}"), "kafka": ("KafkaUser", service)}
    return {
        own[store],
        ("RandomPassword", f"{store}-{service}-password"),
        ("Secret", f"{store}-{service}-credentials"),
    }


def _door(stack: str, store: str) -> set[tuple[str, str]]:
    """What says who may call a store."""
    if store == "postgres" and _is_operated(stack, store):
        # The schemas of the callers are the database's.
        return {("NetworkPolicy", "postgres-pooler"), ("Database", "postgres-cloudmart")}
    return {("NetworkPolicy", store)}


def _shares(stack: str, others: tuple[str, ...]) -> set[tuple[str, str]]:
    """What says how many of the database's connections each of its callers may have."""
    if not _is_operated(stack, "postgres"):
        return set()
    return {("Pooler", "postgres-pooler"), *(("DatabaseRole", f"postgres-{other}") for other in others)}


def _changed(before: Objects, after: Objects) -> set[tuple[str, str]]:
    return {key for key in before.keys() & after.keys() if before[key].inputs != after[key].inputs}


def _checksum(objects: Objects, service: str) -> str:
    template = objects[("Deployment", service)].inputs["spec"]["template"]
    checksum: str = template["metadata"]["annotations"]["checksum/config"]
    return checksum


@lightest_first
def test_a_new_service_adds_its_own_objects_and_opens_the_doors_that_it_needs(project: Project, stack: str) -> None:
    before = _unchanged(stack)

    def add(catalog: Any) -> None:
        catalog["services"]["review-service"] = {
            "description": "Reviews of products",
            "criticality": "low",
            "traffic": "low",
            "replicas": 2,
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}},
            "autoscaling": {"min": 2, "max": 4, "cpu": 70},
            "needs": ["postgres", "user-service"],
        }

    project.catalog(add)
    after = _objects(project.root, stack)
    assert after.keys() - before.keys() == {
        ("Microservice", "review-service"),
        ("ServiceAccount", "review-service"),
        ("ConfigMap", "review-service-config"),
        ("ConfigMap", "review-service-placeholder"),
        ("Deployment", "review-service"),
        ("Service", "review-service"),
        ("HorizontalPodAutoscaler", "review-service-hpa"),
        ("PodDisruptionBudget", "review-service-pdb"),
        ("NetworkPolicy", "review-service"),
    } | _of_layers(stack, "review-service") | _user(stack, "postgres", "review-service") | _of_mesh(
        stack, "review-service", (("review-service", "postgres"), ("review-service", "user-service"))
    )
    assert before.keys() - after.keys() == set()
    assert _changed(before, after) == {
        ("ResourceQuota", "cloudmart-quota"),
        ("NetworkPolicy", "user-service"),
    } | _door(stack, "postgres") | _shares(stack, ("user-service",)) | _shown(
        stack, "user-service", listed=True
    ) | _delivered(stack)


@lightest_first
def test_a_service_that_goes_takes_its_own_objects_and_closes_its_doors(project: Project, stack: str) -> None:
    before = _unchanged(stack)
    project.catalog(lambda catalog: catalog["services"].pop("notification-service"))
    project.config(stack, lambda config: config.get("cloudmart:services", {}).pop("notification-service", None))
    after = _objects(project.root, stack)
    assert after.keys() - before.keys() == set()
    gone = (before.keys() - after.keys()) - _of_layers(stack, "notification-service")
    beside = _of_mesh(stack, "notification-service", (("notification-service", "kafka"),))
    beside |= _user(stack, "kafka", "notification-service")
    assert beside <= gone
    gone -= beside
    assert {name.removesuffix("-hpa").removesuffix("-pdb") for _, name in gone} == {
        "notification-service",
        "notification-service-config",
        "notification-service-placeholder",
    }
    changed = _changed(before, after) - {("LimitRange", "cloudmart-limits")}  # it had the smallest containers
    shown = _shown(stack, listed=True) | _delivered(stack)
    assert changed == {("ResourceQuota", "cloudmart-quota"), ("NetworkPolicy", "kafka")} | shown


@lightest_first
def test_a_need_of_redis_that_is_added_changes_exactly_what_it_must(project: Project, stack: str) -> None:
    before = _unchanged(stack)
    project.catalog(lambda catalog: catalog["services"]["notification-service"]["needs"].append("redis"))
    after = _objects(project.root, stack)
    expected: dict[str, tuple[set[tuple[str, str]], set[tuple[str, str]]]] = {
        "dev": (
            set(),
            {
                ("Deployment", "notification-service"),  # its environment
                ("NetworkPolicy", "notification-service"),  # the way out
                ("NetworkPolicy", "redis"),  # and in
            },
        ),
        "prod": (
            {("AuthorizationPolicy", "authorization-notification-service-to-redis")},
            {
                ("Deployment", "notification-service"),
                ("NetworkPolicy", "notification-service"),
                ("NetworkPolicy", "redis-haproxy"),
                ("Sidecar", "authorization-notification-service"),  # the proxy learns of one more target
                ("ConfigMap", "dashboard-service-notification-service"),  # its dashboard shows it
            },
        ),
    }
    added, changed = expected[stack]
    assert before.keys() - after.keys() == set()
    assert after.keys() - before.keys() == added
    assert _changed(before, after) == changed
    environment = str(after[("Deployment", "notification-service")].inputs)
    assert "REDIS_HOST" in environment
    assert "REDIS_HOST" not in str(before[("Deployment", "notification-service")].inputs)


@lightest_first
def test_an_edge_between_services_that_goes_closes_both_ends(project: Project, stack: str) -> None:
    before = _unchanged(stack)
    project.catalog(lambda catalog: catalog["services"]["order-service"]["needs"].remove("payment-service"))
    after = _objects(project.root, stack)
    assert before.keys() - after.keys() == _of_mesh(stack, edges=(("order-service", "payment-service"),))
    assert after.keys() - before.keys() == set()
    assert _changed(before, after) == {
        ("NetworkPolicy", "order-service"),
        ("NetworkPolicy", "payment-service"),
        ("Deployment", "order-service"),
    } | _scope(stack, "order-service") | _shown(stack, "order-service", "payment-service")
    assert "PAYMENT_SERVICE_URL" in str(before[("Deployment", "order-service")].inputs)
    assert "PAYMENT_SERVICE_URL" not in str(after[("Deployment", "order-service")].inputs)
    port = load(stack, ROOT).services["payment-service"].container_port
    rules = after[("NetworkPolicy", "payment-service")].inputs["spec"].get("ingress", [])
    assert not [rule for rule in rules if port in [each["port"] for each in rule["ports"]]]


@lightest_first
def test_an_edge_to_a_store_that_goes_takes_the_credentials_away(project: Project, stack: str) -> None:
    before = _unchanged(stack)
    project.catalog(lambda catalog: catalog["services"]["user-service"]["needs"].remove("postgres"))
    after = _objects(project.root, stack)
    edge = _of_mesh(stack, edges=(("user-service", "postgres"),))
    # It names the kinds that are delivered, and nothing has a role in the database any more.
    is_limited = "gitops" in load(stack, ROOT).layers and _is_operated(stack, "postgres")
    project_of_delivery = {("AppProject", "cloudmart-delivery")} if is_limited else set()
    assert before.keys() - after.keys() == edge | _user(stack, "postgres", "user-service")
    assert after.keys() - before.keys() == set()
    assert _changed(before, after) == {
        ("NetworkPolicy", "user-service"),
        ("Deployment", "user-service"),
    } | _scope(stack, "user-service") | _door(stack, "postgres") | project_of_delivery | _shown(stack, "user-service")
    secret = "postgres-user-service-credentials" if _is_operated(stack, "postgres") else "postgres-credentials"
    assert secret in str(before[("Deployment", "user-service")].inputs)
    assert "postgres" not in str(after[("Deployment", "user-service")].inputs)


@lightest_first
def test_changed_configuration_rolls_the_pods_of_that_service_alone(project: Project, stack: str) -> None:
    before = _unchanged(stack)
    project.catalog(lambda catalog: catalog["services"]["order-service"]["env"].update(FEATURE_X="on"))
    after = _objects(project.root, stack)
    assert _changed(before, after) == {("ConfigMap", "order-service-config"), ("Deployment", "order-service")}
    assert _checksum(before, "order-service") != _checksum(after, "order-service")
    for service in ("user-service", "product-service", "payment-service", "notification-service"):
        assert _checksum(before, service) == _checksum(after, service)


@lightest_first
def test_a_changed_probe_path_changes_what_the_placeholder_answers(project: Project, stack: str) -> None:
    before = _unchanged(stack)

    def edit(catalog: Any) -> None:
        catalog["services"]["user-service"]["liveness"] = {
            "path": "/alive",
            "initialDelaySeconds": 30,
            "periodSeconds": 10,
        }

    project.catalog(edit)
    after = _objects(project.root, stack)
    assert _changed(before, after) == {("ConfigMap", "user-service-placeholder"), ("Deployment", "user-service")}
    assert _checksum(before, "user-service") != _checksum(after, "user-service")
    assert "location = /alive " in str(after[("ConfigMap", "user-service-placeholder")].inputs)


@lightest_first
def test_an_image_of_its_own_replaces_the_placeholder(project: Project, stack: str) -> None:
    before = _unchanged(stack)
    digest = "sha256:" + "ab" * 32

    def edit(catalog: Any) -> None:
        catalog["services"]["user-service"]["image"] = {
            "repository": "registry.example.com/shop/user",
            "digest": digest,
            "pullSecrets": ["registry"],
        }

    project.catalog(edit)
    after = _objects(project.root, stack)
    assert before.keys() - after.keys() == {("ConfigMap", "user-service-placeholder")}
    assert _changed(before, after) == {("Deployment", "user-service")}
    pod = after[("Deployment", "user-service")].inputs["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == f"registry.example.com/shop/user@{digest}"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert "args" not in pod["containers"][0]


@lightest_first
def test_a_deployment_without_autoscaler_owns_its_replicas(project: Project, stack: str) -> None:
    project.catalog(lambda catalog: catalog["services"]["user-service"].pop("autoscaling"))
    after = _objects(project.root, stack)
    assert ("HorizontalPodAutoscaler", "user-service-hpa") not in after
    assert after[("Deployment", "user-service")].ignore_changes == ()


@lightest_first
def test_a_cost_center_of_its_own_is_on_every_object_of_the_service_and_on_no_other(
    project: Project, stack: str
) -> None:
    before = _unchanged(stack)
    project.catalog(lambda catalog: catalog["services"]["user-service"].update(costCenter="CC-2002"))
    after = _objects(project.root, stack)
    changed = {after[key].urn: after[key].metadata["labels"] for key in _changed(before, after)}
    rules = {key for key in [("PrometheusRule", f"rules-{of}") for of in ("user-service", "platform")] if key in after}
    told = {after[key].urn for key in _shown(stack, "user-service") | rules}
    of_it = [labels for urn, labels in changed.items() if urn not in told]
    assert {(labels["app"], labels["cost-center"]) for labels in of_it} == {("user-service", "CC-2002")}
