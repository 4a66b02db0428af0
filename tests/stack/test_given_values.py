"""What CloudMart was asked to be, word by word, on what goes over the wire."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stack.objects import Stack

SERVICES = ["user-service", "product-service", "order-service", "payment-service", "notification-service"]

UP = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 30}]}
DOWN = {"stabilizationWindowSeconds": 300, "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]}


def _amounts(cpu: str, memory: str) -> dict[str, str]:
    return {"cpu": cpu, "memory": memory}


@pytest.mark.parametrize(
    ("service", "replicas", "requests", "limits"),
    [
        ("user-service", 2, _amounts("100m", "128Mi"), _amounts("300m", "256Mi")),
        ("product-service", 3, _amounts("150m", "256Mi"), _amounts("500m", "512Mi")),
        ("order-service", 2, _amounts("100m", "128Mi"), _amounts("300m", "256Mi")),
    ],
)
def test_replicas_requests_and_limits_are_the_given_ones(
    stack: Stack, service: str, replicas: int, requests: dict[str, str], limits: dict[str, str]
) -> None:
    assert stack.of("Deployment")[service]["spec"]["replicas"] == replicas
    assert stack.app(service)["resources"] == {"requests": requests, "limits": limits}


@pytest.mark.parametrize(
    ("service", "least", "most", "targets"),
    [
        ("user-service", 2, 8, {"cpu": 70, "memory": 80}),
        ("product-service", 2, 10, {"cpu": 70}),
        ("order-service", 1, 6, {"cpu": 70}),
    ],
)
def test_autoscaling_ranges_and_targets_are_the_given_ones(
    stack: Stack, service: str, least: int, most: int, targets: dict[str, int]
) -> None:
    spec = stack.of("HorizontalPodAutoscaler")[f"{service}-hpa"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (least, most)
    assert [metric["type"] for metric in spec["metrics"]] == ["ContainerResource"] * len(targets)
    measured = [metric["containerResource"] for metric in spec["metrics"]]
    # A proxy that a mesh puts beside the service is not measured with it.
    assert {(each["container"], each["target"]["type"]) for each in measured} == {(service, "Utilization")}
    found = {each["name"]: each["target"]["averageUtilization"] for each in measured}
    assert found == targets


def test_the_user_service_leaves_slowly_and_comes_quickly(stack: Stack) -> None:
    behavior = stack.of("HorizontalPodAutoscaler")["user-service-hpa"]["spec"]["behavior"]
    assert behavior == {"scaleDown": DOWN, "scaleUp": UP}


def test_there_are_five_services_and_each_has_an_autoscaler(stack: Stack) -> None:
    assert set(stack.of("Deployment")) == set(SERVICES)
    assert set(stack.of("HorizontalPodAutoscaler")) == {f"{service}-hpa" for service in SERVICES}


@pytest.mark.parametrize(
    ("service", "env"),
    [
        ("user-service", {"DB_HOST": "postgres-service"}),
        ("product-service", {"REDIS_HOST": "redis-service"}),
        ("order-service", {"KAFKA_BROKERS": "kafka-service:9092"}),
        ("notification-service", {"KAFKA_BROKERS": "kafka-service:9092"}),
    ],
)
def test_each_service_is_told_where_its_store_is_and_knows_its_own_name(
    stack: Stack, service: str, env: dict[str, str]
) -> None:
    found = {entry["name"]: entry.get("value") for entry in stack.app(service)["env"]}
    assert found["SERVICE_NAME"] == service
    assert found.items() >= env.items()
    host = next(iter(env.values())).partition(":")[0]
    assert host in stack.of("Service")


def test_nobody_is_told_of_what_it_does_not_need(stack: Stack) -> None:
    told = {
        service: {entry["name"] for entry in stack.app(service)["env"]} & {"DB_HOST", "REDIS_HOST", "KAFKA_BROKERS"}
        for service in SERVICES
    }
    assert told == {
        "user-service": {"DB_HOST"},
        "product-service": {"REDIS_HOST"},
        "order-service": {"KAFKA_BROKERS"},
        "payment-service": set(),
        "notification-service": {"KAFKA_BROKERS"},
    }


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_listens_on_8080_as_http_behind_port_80_of_a_cluster_address(stack: Stack, service: str) -> None:
    assert stack.app(service)["ports"] == [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]
    spec = stack.of("Service")[service]["spec"]
    assert spec["type"] == "ClusterIP"
    (port,) = spec["ports"]
    assert (port["name"], port["port"], port["targetPort"]) == ("http", 80, "http")


@pytest.mark.parametrize("service", SERVICES)
def test_probes_are_the_given_ones(stack: Stack, service: str) -> None:
    def essence(probe: Any) -> tuple[str, str, int, int]:
        get = probe["httpGet"]
        return get["path"], get["port"], probe["initialDelaySeconds"], probe["periodSeconds"]

    container = stack.app(service)
    assert essence(container["livenessProbe"]) == ("/health", "http", 30, 10)
    assert essence(container["readinessProbe"]) == ("/ready", "http", 10, 5)


@pytest.mark.parametrize("service", SERVICES)
def test_services_are_version_1_of_the_backend(stack: Stack, service: str) -> None:
    for kind in ("Deployment", "Service"):
        labels = stack.of(kind)[service]["metadata"]["labels"]
        assert (labels["app"], labels["tier"], labels["version"]) == (service, "backend", "v1")


def test_the_namespace_says_whose_it_is_and_who_pays(stack: Stack) -> None:
    labels = stack.of("Namespace")["cloudmart"]["metadata"]["labels"]
    assert (labels["project"], labels["team"], labels["cost-center"]) == ("cloudmart", "platform", "CC-2001")
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert labels["pod-security.kubernetes.io/warn"] == "restricted"


@pytest.mark.parametrize("service", SERVICES)
def test_the_placeholder_answers_both_probes_without_privileges(stack: Stack, service: str) -> None:
    # nginx:alpine wants root and port 80, and so neither starts nor becomes ready here.
    container = stack.app(service)
    assert "nginx-unprivileged" in container["image"]
    conf = stack.of("ConfigMap")[f"{service}-placeholder"]["data"]["nginx.conf"]
    assert "listen 8080;" in conf
    for probe in ("livenessProbe", "readinessProbe"):
        assert f"location = {container[probe]['httpGet']['path']} " in conf
    folders = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert folders == {"/tmp": False, "/etc/placeholder": True}  # noqa: S108 - the container's
    written = [line.split()[1] for line in conf.splitlines() if line.strip().startswith(("pid ", "client_body_temp"))]
    assert written
    assert all(path.startswith("/tmp/") for path in written)  # noqa: S108
