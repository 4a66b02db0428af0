"""The gateway: its settings, the values of its chart, what it registers, and who gets past its network policies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cloudmart.cluster import crds
from cloudmart.cluster.charts import ChartUnreachable, check_manifest
from cloudmart.deploy import up
from cloudmart.preview.policy import evaluate
from cloudmart.preview.recorder import Recording, record
from cloudmart.settings import load
from cloudmart.settings.gateway import GatewaySettings
from cloudmart.settings.identity import IdentitySettings
from cloudmart.settings.service import Criticality, HttpMethod
from components.gateway_values import CONTROLLER_LABELS, kong_values
from tests.conftest import ROOT, copy_project
from tests.evaluators.network import Network, Pod
from tests.unit.settings_files import changed, loaded, problems, write

Json = Any

PAYER = {"project": "shop", "team": "platform", "cost-center": "CC-1"}
PEM = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n"
IDENTITY = """\
identity: {issuer: "https://id.example.com", jwksUri: "https://id.example.com/keys", publicKeySecret: key}
"""
WEB, API = "    needs: [api, postgres]\n", "    needs: [mail]\n"


# --- settings --------------------------------------------------------------------------------------------------------


def catalog(web: str = "", api: str = "", more: str = IDENTITY) -> str:
    """The small catalog with routes of its two services."""
    text = changed(WEB, f"{WEB}    routes: [{web}]\n")
    return changed(API, f"{API}    routes: [{api}]\n", text) + more


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            catalog("{path: /a, methods: [GET, POST]}", "{path: /a, methods: [POST], auth: anonymous}"),
            r"services\.api\.routes\[0\]: found POST /a of api, which web takes as GET,POST /a; allowed: each method",
        ),
        (
            catalog("{path: /a}", "{path: /a, methods: [GET]}"),
            r"services\.api\.routes\[0\]: found GET /a of api, which web takes as every method of /a",
        ),
        (
            catalog("{path: /a, methods: [GET], auth: anonymous}, {path: /a}"),
            r"services\.web\.routes\[1\]: found every method of /a of web, which web takes as GET /a",
        ),
        (
            catalog("{path: /a}", more=""),
            r"services\.web\.routes\[0\]: found auth jwt without an issuer of tokens; allowed: auth anonymous, or an",
        ),
        (
            catalog("{path: /a}", more=IDENTITY.replace(", publicKeySecret: key", "") + "gateway: {enabled: true}\n"),
            r"services\.web\.routes\[0\]: found auth jwt without a key that the gateway can check tokens with; allowed",
        ),
        (catalog("{path: /a/}"), r"services\.web\.routes\[0\]\.path: found '/a/'; allowed: text that matches"),
        (catalog("{path: /a//b}"), r"services\.web\.routes\[0\]\.path: found '/a//b'; allowed"),
        (catalog("{path: /a/../b}"), r"services\.web\.routes\[0\]\.path: found '/a/\.\./b'; allowed"),
        (catalog("{path: /a, auth: none}"), r"services\.web\.routes\[0\]\.auth: found 'none'; allowed"),
        (catalog("{path: /a, methods: [TRACE]}"), r"services\.web\.routes\[0\]\.methods\[0\]: found 'TRACE'; allowed"),
        (
            catalog(", ".join(f"{{path: /{number}}}" for number in range(17))),
            r"services\.web\.routes: .*at most 16 items",
        ),
        (
            catalog(more="gateway: {enabled: true, namespace: shop}\n"),
            r"gateway\.namespace: found 'shop', the shop's; allowed: a namespace of its own",
        ),
        (
            catalog(more="gateway: {enabled: true}\nmesh: {enabled: true, namespace: gateway}\n"),
            r"gateway\.namespace: found 'gateway', that of mesh; allowed: a namespace of its own",
        ),
    ],
)
def test_routes_that_cannot_be_are_one_error_that_says_where_and_what_is_allowed(
    tmp_path: Path, text: str, said: str
) -> None:
    found = problems(write(tmp_path, text))
    assert len(found) == 1
    assert re.search(said, found[0]), found


def test_methods_of_one_path_may_go_to_two_services_and_a_longer_path_wins_anyway(tmp_path: Path) -> None:
    text = catalog("{path: /a, methods: [GET], auth: anonymous}, {path: /a/b}", "{path: /a, methods: [POST]}")
    services = loaded(write(tmp_path, text)).settings.services
    assert [len(service.routes) for service in services.values()] == [2, 1]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"tls": {"secret": "a", "clusterIssuer": "b"}}, "tls.clusterIssuer without host"),
        ({"cors": {"origins": []}}, "at least 1 item"),
        ({"cors": {"origins": ["*"]}}, "should match pattern"),
        ({"cors": {"origins": ["https://a.example/path"]}}, "should match pattern"),
        ({"service": {"type": "NodePort"}}, "'LoadBalancer' or 'ClusterIP'"),
        ({"requestsPerMinute": {"urgent": 1}}, "Extra inputs are not permitted"),
        ({"maxRequestKilobytes": 0}, "greater than or equal to 1"),
    ],
)
def test_a_gateway_that_cannot_work_is_refused(config: Json, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        GatewaySettings.model_validate(config)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ({"publicKeyPem": PEM, "publicKeySecret": "key"}, "allowed: one of the two"),
        ({"publicKeyPem": PEM.replace("PUBLIC", "PRIVATE")}, "should match pattern"),
        ({"publicKeyPem": PEM, "algorithm": "HS256"}, "'RS256', 'RS384'"),
    ],
)
def test_an_issuers_key_is_one_public_key(key: Json, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        IdentitySettings.model_validate({"issuer": "https://id", "jwksUri": "https://id/keys", **key})
    assert message in str(raised.value)


def test_the_limit_of_one_criticality_can_be_changed_alone() -> None:
    limits = GatewaySettings.model_validate({"requestsPerMinute": {"high": 7}}).requests_per_minute
    assert [limits.of(criticality) for criticality in Criticality] == [1200, 7, 300, 120]


# --- values ----------------------------------------------------------------------------------------------------------

CONFIGS: dict[str, Json] = {
    "as it is": {},
    "small": {"proxy": {"replicas": 1}, "webhook": False},
    "behind a load balancer": {
        "host": "api.example.com",
        "tls": {"secret": "certificate"},
        "controller": {"replicas": 2},
        "service": {"type": "LoadBalancer", "annotations": {"example.com/kind": "network"}},
    },
}


def values(config: Json) -> Json:
    settings = GatewaySettings.model_validate(config)
    return kong_values(settings, home="shop", labels=PAYER | {"app": "kong"}, priority_class="shop-critical")


def unknown(found: Json, schema: Json, path: str = "") -> Iterator[str]:
    """Keys that the chart does not know."""
    for key, value in found.items():
        if key not in schema["properties"]:
            yield f"{path}{key}"
        elif isinstance(value, dict) and "properties" in schema["properties"][key]:
            yield from unknown(value, schema["properties"][key], f"{path}{key}.")


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_key_of_the_values_is_one_of_the_chart_and_every_workload_is_bounded_and_paid_for(config: Json) -> None:
    found = values(config)
    schema = json.loads((ROOT / "tests" / "charts" / "ingress" / "values.schema.json").read_text())
    assert list(unknown(found, schema)) == []
    controller, gateway = found["controller"], found["gateway"]
    for container in (controller["ingressController"]["resources"], gateway["resources"]):
        assert {kind: set(amounts) for kind, amounts in container.items()} == {
            "requests": {"cpu", "memory"},
            "limits": {"cpu", "memory"},
        }
    assert set(gateway["initContainerResources"]) == {"requests", "limits"}
    for part in (controller, gateway):
        assert part["extraLabels"] == PAYER
        assert part["priorityClassName"] == "shop-critical"
        # The chart fails with a budget for a single pod.
        assert part["podDisruptionBudget"]["enabled"] == (part["replicaCount"] > 1)
        assert {spread["topologyKey"] for spread in part["topologySpreadConstraints"]} == {
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        }


def test_the_controllers_rights_end_at_the_two_namespaces_and_ingresses_open_nothing() -> None:
    controller = values({})["controller"]["ingressController"]
    assert controller["watchNamespaces"] == ["shop", "gateway"]
    assert controller["createIngressClass"] is False
    assert controller["env"]["enable_controller_ingress_networkingv1"] == "false"
    (expression,) = controller["admissionWebhook"]["namespaceSelector"]["matchExpressions"]
    assert expression["values"] == ["shop", "gateway"]


def test_there_is_one_port_and_behind_a_load_balancer_the_clients_address() -> None:
    plain, balanced = (values(CONFIGS[name])["gateway"]["proxy"] for name in ("as it is", "behind a load balancer"))
    assert plain == {"type": "ClusterIP", "annotations": {}, "http": {"enabled": True}, "tls": {"enabled": False}}
    assert balanced == {
        "type": "LoadBalancer",
        "annotations": {"example.com/kind": "network"},
        "externalTrafficPolicy": "Local",
        "http": {"enabled": False},
        "tls": {"enabled": True},
    }


# --- what goes over the wire -----------------------------------------------------------------------------------------


class Wire:
    """What one recording has of the gateway."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.objects = [found for found in recording.resources if found.is_kubernetes_object]

    def of(self, kind: str) -> dict[str, Json]:
        """Inputs by name."""
        return {str(found.object_name): found.inputs for found in self.objects if found.kind == kind}

    def matches(self) -> dict[str, list[tuple[str, list[str], bool]]]:
        """Each route's rules: path, methods, and whether a token is asked for."""
        return {
            name: [
                (
                    rule["matches"][0]["path"]["value"],
                    [match["method"] for match in rule["matches"] if "method" in match],
                    "gateway-jwt" in [each["extensionRef"]["name"] for each in rule["filters"]],
                )
                for rule in route["spec"]["rules"]
            ]
            for name, route in self.of("HTTPRoute").items()
        }


@pytest.fixture(scope="module")
def prod() -> Wire:
    return Wire(record("prod", ROOT))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Wire:
    """Without TLS, host, CORS, webhook and mesh; the issuer's key in the configuration; definitions are there."""
    project = copy_project(tmp_path_factory.mktemp("gateway"), program=False)
    project.config(
        "dev",
        lambda config: config.update(
            {
                "cloudmart:gateway": {"enabled": True, "webhook": False, "crds": {"install": False}},
                "cloudmart:mesh": {"enabled": False},
                "cloudmart:identity": {"publicKeySecret": None, "publicKeyPem": PEM},
            }
        ),
    )
    project.catalog(
        lambda catalog: catalog["services"]["notification-service"].update(
            routes=[{"path": "/mail", "auth": "anonymous", "methods": ["POST"]}, {"path": "/mail", "methods": ["GET"]}]
        )
    )
    return Wire(record("dev", project.root))


def test_each_routed_service_has_one_route_that_matches_what_is_declared_and_asks_for_tokens_where_it_says_so(
    prod: Wire, plain: Wire
) -> None:
    assert prod.matches() == {
        "user-service": [
            ("/api/users", [], True),
            ("/api/sessions", ["POST", "OPTIONS"], False),
            ("/api/accounts", ["POST", "OPTIONS"], False),
        ],
        "product-service": [("/api/products", ["GET", "HEAD", "OPTIONS"], False)],
        "order-service": [("/api/orders", [], True)],
    }
    # Without CORS nobody answers a preflight, so OPTIONS is let in nowhere.
    assert plain.matches()["notification-service"] == [("/mail", ["POST"], False), ("/mail", ["GET"], True)]


def test_a_route_leads_from_the_listener_to_its_service_in_the_same_namespace(prod: Wire, plain: Wire) -> None:
    for wire, listener, hostnames in ((prod, "https", ["api.cloudmart.example.com"]), (plain, "http", None)):
        for name, route in wire.of("HTTPRoute").items():
            assert route["metadata"]["namespace"] == "cloudmart"
            assert route["spec"]["parentRefs"] == [
                {"name": "cloudmart", "namespace": "gateway", "sectionName": listener}
            ]
            assert route["spec"].get("hostnames") == hostnames
            for rule in route["spec"]["rules"]:
                assert rule["backendRefs"] == [{"name": name, "port": 80}]
                assert {match["path"]["type"] for match in rule["matches"]} == {"PathPrefix"}


def test_every_plugin_that_a_rule_names_is_there_and_every_plugin_is_named(prod: Wire, plain: Wire) -> None:
    for wire in (prod, plain):
        named = {
            (each["extensionRef"]["group"], each["extensionRef"]["kind"], each["extensionRef"]["name"])
            for route in wire.of("HTTPRoute").values()
            for rule in route["spec"]["rules"]
            for each in rule["filters"]
        }
        assert named == {("configuration.konghq.com", "KongPlugin", name) for name in wire.of("KongPlugin")}
        # Filters may only name objects of the route's own namespace.
        assert {plugin["metadata"]["namespace"] for plugin in wire.of("KongPlugin").values()} == {"cloudmart"}


def test_plugins_are_configured_by_kongs_own_names(prod: Wire, plain: Wire) -> None:
    found = {name: (plugin["plugin"], plugin["config"]) for name, plugin in prod.of("KongPlugin").items()}
    assert found == {
        "gateway-jwt": (
            "jwt",
            {
                "key_claim_name": "iss",
                "claims_to_verify": ["exp"],
                "uri_param_names": [],
                "cookie_names": [],
                "header_names": ["authorization"],
                "run_on_preflight": True,
            },
        ),
        "gateway-cors": (
            "cors",
            {
                "origins": ["https://www.cloudmart.example.com"],
                "max_age": 3600,
                "methods": [method.value for method in HttpMethod],
                "credentials": False,
                "preflight_continue": False,
            },
        ),
        "gateway-request-size": (
            "request-size-limiting",
            {"allowed_payload_size": 1024, "size_unit": "kilobytes"},
        ),
        "gateway-correlation-id": (
            "correlation-id",
            {"header_name": "X-Request-ID", "generator": "uuid", "echo_downstream": True},
        ),
        # Without it Kong counts no requests, and the objectives of routed services have nothing to read.
        "gateway-metrics": ("prometheus", {"status_code_metrics": True, "latency_metrics": True}),
        "gateway-rate-limit-high": (
            "rate-limiting",
            {"minute": 600, "limit_by": "ip", "policy": "local", "fault_tolerant": True},
        ),
    }
    limits = {name: plugin["config"].get("minute") for name, plugin in plain.of("KongPlugin").items()}
    assert limits["gateway-rate-limit-low"] == 120
    assert "gateway-cors" not in limits
    assert "gateway-metrics" not in limits


def test_tokens_are_those_of_the_one_issuer_whose_key_stands_in_a_secret(prod: Wire, plain: Wire) -> None:
    for wire, secret in ((prod, "token-issuer-key"), (plain, "token-issuer")):
        (consumer,) = wire.of("KongConsumer").values()
        assert consumer["credentials"] == [secret]
        assert consumer["metadata"]["annotations"] == {"kubernetes.io/ingress.class": "kong"}
    assert not [found for found in prod.objects if found.kind == "Secret" and found.namespace == "gateway"]
    (made,) = [found for found in plain.objects if found.kind == "Secret" and found.object_name == "token-issuer"]
    assert made.namespace == "gateway"
    assert made.metadata["labels"]["konghq.com/credential"] == "jwt"
    assert {path[-1]: value for path, value in made.secrets.items()} == {
        "key": "https://identity.example.com/realms/cloudmart",
        "algorithm": "RS256",
        "rsa_public_key": PEM,
    }


def test_the_gateway_listens_at_one_port_to_routes_of_the_shop_alone(prod: Wire, plain: Wire) -> None:
    for wire, port, protocol in ((prod, 443, "HTTPS"), (plain, 80, "HTTP")):
        gateway = wire.of("Gateway")["cloudmart"]
        (listener,) = gateway["spec"]["listeners"]
        assert (listener["port"], listener["protocol"]) == (port, protocol)
        assert listener["allowedRoutes"] == {
            "kinds": [{"kind": "HTTPRoute"}],
            "namespaces": {
                "from": "Selector",
                "selector": {"matchLabels": {"kubernetes.io/metadata.name": "cloudmart"}},
            },
        }
        class_ = wire.of("GatewayClass")[gateway["spec"]["gatewayClassName"]]
        assert class_["metadata"]["annotations"] == {"konghq.com/gatewayclass-unmanaged": "true"}
    gateway = prod.of("Gateway")["cloudmart"]
    assert gateway["spec"]["listeners"][0]["tls"] == {
        "mode": "Terminate",
        "certificateRefs": [{"name": "gateway-certificate"}],
    }
    assert gateway["metadata"]["annotations"] == {"cert-manager.io/cluster-issuer": "letsencrypt"}


def test_definitions_come_before_the_release_and_that_before_every_custom_object(prod: Wire, plain: Wire) -> None:
    for wire, installs in ((prod, True), (plain, False)):
        by_urn = {found.urn: found for found in wire.recording.resources}
        (release,) = [found for found in wire.recording.resources if found.name == "kong"]
        bundles = [found.urn for found in wire.recording.resources if found.type == "kubernetes:yaml/v2:ConfigFile"]
        assert bool(bundles) == installs
        assert set(bundles) <= set(release.dependencies)
        custom = [
            found
            for found in wire.objects
            if "konghq.com" in str(found.api_version) or found.kind in ("HTTPRoute", "GatewayClass")
        ]
        assert len(custom) >= 9
        for found in custom:
            seen, rest = set(), [found.urn]
            while rest:
                urn = rest.pop()
                if urn not in seen and urn in by_urn:
                    seen.add(urn)
                    # A component is registered once what it depends on is there, and its children after it.
                    rest += [*by_urn[urn].dependencies, by_urn[urn].parent]
            assert {release.urn, *bundles} <= seen, found.urn


def test_the_quota_allows_exactly_the_load_balancer(prod: Wire, plain: Wire) -> None:
    for wire, count in ((prod, "1"), (plain, "0")):
        hard = wire.of("ResourceQuota")["gateway-quota"]["spec"]["hard"]
        assert (hard["services.loadbalancers"], hard["services.nodeports"]) == (count, count)


@pytest.mark.slow
def test_a_gateway_that_is_off_leaves_no_trace_whatever_else_is_said_of_it(tmp_path: Path) -> None:
    project = copy_project(tmp_path, program=False)
    project.config("prod", lambda config: config["cloudmart:gateway"].update(enabled=False))
    off = record("prod", project.root).resources
    project.config("prod", lambda config: config.pop("cloudmart:gateway"))
    never = record("prod", project.root).resources
    assert {found.urn: found.inputs for found in off} == {found.urn: found.inputs for found in never}
    assert not [found.urn for found in off if "kong" in found.urn or "gateway:" in found.urn]


def test_the_pack_misses_the_requests_of_both_containers(prod: Wire) -> None:
    (release,) = [found for found in prod.recording.resources if found.name == "kong"]
    assert "helm-requests" not in {found.rule for found in evaluate([release], {"all": "mandatory"})}
    bare = replace(release, inputs={**release.inputs, "values": {}})
    found = [each.message for each in evaluate([bare], {"all": "mandatory"}) if each.rule == "helm-requests"]
    assert len(found) == 2
    assert "values.controller.ingressController.resources.requests" in "".join(found)
    assert "values.gateway.resources.requests" in "".join(found)


# --- who gets past the network policies ------------------------------------------------------------------------------


def test_only_the_controller_configures_the_proxy_and_only_it_asks_the_api_server(plain: Wire) -> None:
    network = Network(found.inputs for found in plain.objects)
    settings = GatewaySettings()
    proxy = Pod("proxy", "gateway", settings.pod_labels)
    controller = Pod("controller", "gateway", CONTROLLER_LABELS)
    service = Pod("user-service", "cloudmart", {"app": "user-service"})
    payment = Pod("payment-service", "cloudmart", {"app": "payment-service"})
    intruder = Pod("intruder", "gateway", {"app": "debug"})
    server, client = "10.0.0.1", "203.0.113.7"
    ends = (proxy, controller, service, payment, intruder, server, client)
    ports = (80, 443, 6443, 8000, 8001, 8080, 8100, 8443, 8444, 10254)
    allowed = {
        (getattr(caller, "name", caller), getattr(target, "name", target), port)
        for caller in ends
        for target in ends
        for port in ports
        if caller is not target and {proxy, controller} & {caller, target} and network.allows(caller, target, port)
    }
    # Addresses cannot be told apart: the proxy's port is open to all of them, and the API server is any at its ports.
    assert allowed == {
        (client, "proxy", 8000),
        (server, "proxy", 8000),
        ("controller", "proxy", 8444),
        ("proxy", "user-service", 8080),
        *(("controller", address, port) for address in (server, client) for port in (443, 6443)),
    }


# --- the manifest of the definitions ---------------------------------------------------------------------------------


def test_a_manifest_that_cannot_be_had_is_named_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "here.yaml").write_text("{}")
    check_manifest("here.yaml", tmp_path, key="cloudmart:gateway.crds.source")
    for source, said in (("gone.yaml", "is not there"), ("http://127.0.0.1:9/x.yaml", "does not answer")):
        with pytest.raises(ChartUnreachable, match=f"manifest cloudmart:gateway.crds.source: .*{said}"):
            check_manifest(source, tmp_path, key="cloudmart:gateway.crds.source")


def test_the_local_cluster_has_no_load_balancer_and_the_definitions_of_a_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def instead(*taught: str) -> Json:
        monkeypatch.setattr(crds, "taught", lambda _cluster: taught)
        said: list[str] = []
        found = up._instead(load("prod", ROOT), tmp_path, said.append)
        assert ["no load balancers" in line for line in said] == [True]
        assert set(found) == {"cloudmart:gateway"}
        assert found["cloudmart:gateway"].pop("service") == {"type": "ClusterIP"}
        return found["cloudmart:gateway"]

    monkeypatch.setattr(crds, "folder", lambda: tmp_path)
    assert instead("istio", "gateway-api") == {"crds": {"install": False}}
    assert instead("istio") == {}
    (tmp_path / "gateway-api.yaml").write_text("{}")
    assert instead("istio") == {"crds": {"source": str(tmp_path / "gateway-api.yaml")}}
