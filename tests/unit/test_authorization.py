"""What the mesh is told of each edge: by the objects' own fields, and by what an evaluator makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from cloudmart.errors import UserError
from cloudmart.settings import GATEWAY, Settings, load
from components.authorization import egress_scope, planned
from tests.conftest import ROOT, Project
from tests.evaluators.authorization import Verdict, Workload, decide
from tests.evaluators.authorization_rules import Http, Request, Token

Json = Any
Objects = Mapping[tuple[str, str], Json]

ISSUER = "https://issuer.example.com"
KONG = "cluster.local/ns/gateway/sa/kong-gateway"
GOOD = Token({"iss": ISSUER, "sub": "someone", "aud": ["shop"]})


def settings_of(project: Project, catalog: Callable[[Any], object] | None = None, **mesh: Json) -> Settings:
    """The development stack's, with the mesh and the gateway on."""
    if catalog:
        project.catalog(catalog)

    def switch_on(config: Any) -> None:
        config["cloudmart:mesh"] = {"enabled": True, **mesh}
        config["cloudmart:gateway"] = {"enabled": True}
        config["cloudmart:identity"] = {"issuer": ISSUER, "jwksUri": f"{ISSUER}/keys", "audiences": ["shop"]}

    project.config("dev", switch_on)
    return load("dev", project.root)


def objects_of(settings: Settings) -> Objects:
    """Specs by kind and name."""
    return {(one.kind.kind, one.name): one.spec.wire() for one in planned(settings)}


def asked(
    objects: Objects, app: str, method: str, path: str, token: Token | None = None, principal: str | None = KONG
) -> Verdict:
    """What a service's proxy says to a request."""
    manifests = [
        {"kind": kind, "metadata": {"name": name, "namespace": "cloudmart"}, "spec": spec}
        for (kind, name), spec in objects.items()
    ]
    request = Request(8080, principal, http=Http(method, path, token=token))
    return decide(manifests, request, Workload("cloudmart", {"app": app}))


def routed(routes: Sequence[Json]) -> Callable[[Any], object]:
    return lambda catalog: catalog["services"]["user-service"].update(routes=routes)


# --- routes ----------------------------------------------------------------------------------------------------------

NESTED = [
    {"path": "/users", "auth": "anonymous"},
    {"path": "/users/admin", "auth": "jwt"},
    {"path": "/users/export", "methods": ["POST"], "auth": "jwt"},
]


@pytest.mark.parametrize(
    ("method", "path", "without", "with_token"),
    [
        ("GET", "/users", Verdict.ALLOWED, Verdict.ALLOWED),
        ("GET", "/users/7", Verdict.ALLOWED, Verdict.ALLOWED),
        ("GET", "/users-of-old", Verdict.DENIED, Verdict.DENIED),
        ("GET", "/", Verdict.DENIED, Verdict.DENIED),
        # What stands below an anonymous path and asks for a token is not reached without one.
        ("GET", "/users/admin", Verdict.DENIED, Verdict.ALLOWED),
        ("DELETE", "/users/admin/7", Verdict.DENIED, Verdict.ALLOWED),
        ("POST", "/users/export", Verdict.DENIED, Verdict.ALLOWED),
        ("GET", "/users/export", Verdict.ALLOWED, Verdict.ALLOWED),
    ],
)
def test_a_longer_path_that_asks_for_a_token_is_not_opened_by_a_shorter_one(
    project: Project, method: str, path: str, without: Verdict, with_token: Verdict
) -> None:
    objects = objects_of(settings_of(project, routed(NESTED)))
    assert asked(objects, "user-service", method, path) is without
    assert asked(objects, "user-service", method, path, GOOD) is with_token


def test_a_token_must_be_the_issuers_and_for_the_audience(project: Project) -> None:
    objects = objects_of(settings_of(project, routed([{"path": "/users", "auth": "jwt"}])))
    for claims in ({"iss": "https://elsewhere.example.com"}, {"aud": ["another"]}):
        stranger = Token({**GOOD.claims, **claims})
        assert asked(objects, "user-service", "GET", "/users", stranger) is Verdict.INVALID_TOKEN
    forged = Token(GOOD.claims, valid=False)
    assert asked(objects, "user-service", "GET", "/users", forged) is Verdict.INVALID_TOKEN
    assert asked(objects, "user-service", "GET", "/users", GOOD) is Verdict.ALLOWED


def test_a_path_of_everything_lets_everything_in(project: Project) -> None:
    objects = objects_of(settings_of(project, routed([{"path": "/", "auth": "anonymous"}])))
    assert {asked(objects, "user-service", "GET", path) for path in ("/", "/a", "/a/b")} == {Verdict.ALLOWED}


def test_nobody_but_the_declared_callers_comes_in_whatever_they_ask_for(project: Project) -> None:
    objects = objects_of(settings_of(project))
    cousin = "cluster.local/ns/cloudmart/sa/user-service"
    order = "cluster.local/ns/cloudmart/sa/order-service"
    assert asked(objects, "payment-service", "POST", "/payments", principal=order) is Verdict.ALLOWED
    assert asked(objects, "payment-service", "POST", "/payments", principal=cousin) is Verdict.DENIED
    assert asked(objects, "payment-service", "POST", "/payments", principal=KONG) is Verdict.DENIED
    assert asked(objects, "payment-service", "POST", "/payments", principal=None) is Verdict.NO_MUTUAL_TLS


# --- retries ---------------------------------------------------------------------------------------------------------


def test_what_could_pay_twice_is_tried_again_only_when_nobody_can_have_seen_it(project: Project) -> None:
    idempotent, others = objects_of(settings_of(project))[("VirtualService", "payment-service")]["http"]
    assert set(idempotent["match"][0]["method"]["regex"].split("|")) & {"POST", "PATCH"} == set()
    assert "match" not in others
    # Envoy's words for: no connection; not looked at; broken before it was sent.
    safe = {"connect-failure", "refused-stream", "reset-before-request"}
    assert set(others["retries"]["retryOn"].split(",")) == safe
    # A time limit for one try would end what is under way, and its answer is waited for.
    assert "perTryTimeout" not in others["retries"]
    assert others["timeout"] == idempotent["timeout"] == "35s"


def test_no_retries_are_said_to_be_none_because_the_default_is_two(project: Project) -> None:
    def never(catalog: Any) -> None:
        catalog["services"]["user-service"]["resilience"] = {"retries": {"attempts": 0}}

    for route in objects_of(settings_of(project, never))[("VirtualService", "user-service")]["http"]:
        assert route["retries"] == {"attempts": 0}


def test_a_caller_waits_longer_than_those_that_it_waits_for(project: Project) -> None:
    settings = settings_of(project)
    checked = 0
    for edge in settings.edges:
        if edge.caller in settings.services and edge.target in settings.services:
            limits = [settings.services[name].resilience.timeout_seconds for name in (edge.caller, edge.target)]
            assert limits[0] > limits[1], edge
            checked += 1
    assert checked


def test_a_critical_services_failing_pod_is_left_out_sooner_and_longer(project: Project) -> None:
    objects = objects_of(settings_of(project))
    critical, other = (
        objects[("DestinationRule", name)]["trafficPolicy"]["outlierDetection"]
        for name in ("payment-service", "notification-service")
    )
    assert critical["consecutiveGatewayErrors"] < other["consecutiveGatewayErrors"]
    assert int(critical["baseEjectionTime"][:-1]) > int(other["baseEjectionTime"][:-1])
    # What a service answers on purpose is no failure of its pod.
    assert critical["consecutive5xxErrors"] == other["consecutive5xxErrors"] == 0


def test_the_only_pod_of_a_store_is_never_left_out(project: Project) -> None:
    policy = objects_of(settings_of(project))[("DestinationRule", "postgres")]["trafficPolicy"]
    assert "outlierDetection" not in policy
    assert policy["tls"] == {"mode": "ISTIO_MUTUAL"}


# --- what proxies know -----------------------------------------------------------------------------------------------


def test_a_proxy_knows_its_declared_targets_and_no_others(project: Project) -> None:
    settings = settings_of(project)
    objects = objects_of(settings)
    domain = "svc.cluster.local"
    assert {name: spec["egress"][0]["hosts"] for (kind, name), spec in objects.items() if kind == "Sidecar"} == {
        "default": ["istio-system/*"],
        "user-service": [f"cloudmart/postgres-service.cloudmart.{domain}", "istio-system/*"],
        "product-service": [f"cloudmart/redis-service.cloudmart.{domain}", "istio-system/*"],
        "order-service": [
            f"cloudmart/kafka-service.cloudmart.{domain}",
            f"cloudmart/payment-service.cloudmart.{domain}",
            "istio-system/*",
        ],
        "payment-service": ["cloudmart/api.payments.example.com", "istio-system/*"],
        "notification-service": [f"cloudmart/kafka-service.cloudmart.{domain}", "istio-system/*"],
        "postgres": ["istio-system/*"],
        "redis": ["istio-system/*"],
        "kafka": ["istio-system/*"],
    }
    gateway = egress_scope(settings, settings.parties[GATEWAY]).wire()
    assert gateway["workloadSelector"] == {"labels": dict(settings.gateway.pod_labels)}
    routed = [name for name, service in settings.services.items() if service.routes]
    assert gateway["egress"][0]["hosts"] == [
        *(f"cloudmart/{name}.cloudmart.{domain}" for name in routed),
        "istio-system/*",
    ]


def test_what_lies_outside_is_known_where_it_is_called_and_its_tls_is_left_to_the_caller(project: Project) -> None:
    def unused(catalog: Any) -> None:
        catalog["externals"]["unused"] = {"description": "x", "host": "unused.example.com"}
        catalog["externals"]["plain"] = {"description": "x", "host": "plain.example.com", "port": 80, "scheme": "http"}
        catalog["services"]["user-service"]["needs"].append("plain")

    objects = objects_of(settings_of(project, unused))
    entries = {name: spec for (kind, name), spec in objects.items() if kind == "ServiceEntry"}
    assert set(entries) == {"payment-api", "plain"}
    assert entries["payment-api"]["ports"] == [{"number": 443, "name": "tls", "protocol": "TLS"}]
    assert entries["plain"]["ports"] == [{"number": 80, "name": "http", "protocol": "HTTP"}]
    assert all(entry["exportTo"] == ["."] for entry in entries.values())


def test_a_managed_store_is_outside_and_has_no_policy_of_its_own(project: Project) -> None:
    def managed(catalog: Any) -> None:
        catalog["data"]["postgres"] = {
            "mode": "external",
            "external": {"host": "db.example.com", "port": 5433, "cidrs": ["203.0.113.0/24"]},
        }

    project.config("dev", lambda config: config["cloudmart:data"].pop("postgres", None))
    objects = objects_of(settings_of(project, managed))
    assert objects[("ServiceEntry", "postgres")]["ports"] == [{"number": 5433, "name": "tcp", "protocol": "TCP"}]
    assert objects[("Sidecar", "user-service")]["egress"][0]["hosts"][0] == "cloudmart/db.example.com"
    assert not {("AuthorizationPolicy", "user-service-to-postgres"), ("DestinationRule", "postgres")} & objects.keys()


# --- ambient mode ----------------------------------------------------------------------------------------------------


def test_in_ambient_mode_rules_that_read_http_name_the_service_and_its_pods_take_the_waypoint_alone(
    project: Project,
) -> None:
    objects = objects_of(settings_of(project, mode="ambient"))
    at_waypoint = objects[("AuthorizationPolicy", "gateway-to-user-service")]
    assert at_waypoint["targetRefs"] == [{"kind": "Service", "group": "", "name": "user-service"}]
    assert "selector" not in at_waypoint
    behind = objects[("AuthorizationPolicy", "waypoint-to-user-service")]
    assert behind["rules"][0]["from"] == [{"source": {"principals": ["cluster.local/ns/cloudmart/sa/waypoint"]}}]
    assert not [name for kind, name in objects if kind == "Sidecar"]


# --- settings --------------------------------------------------------------------------------------------------------


def test_an_unknown_reason_to_try_again_is_an_error_that_says_where(project: Project) -> None:
    def misspelt(catalog: Any) -> None:
        catalog["services"]["user-service"]["resilience"] = {"retries": {"retryOn": ["sometimes"]}}

    with pytest.raises(
        UserError, match=r"services\.user-service\.resilience\.retries\.retryOn\[0\]: found 'sometimes'"
    ):
        settings_of(project, misspelt)


def test_the_stack_of_the_repository_has_an_issuer_for_the_tokens_that_its_routes_want() -> None:
    settings = load("prod", ROOT)
    assert settings.identity is not None
    assert any(route.auth == "jwt" for service in settings.services.values() for route in service.routes)
