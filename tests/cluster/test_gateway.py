"""The gateway's objects before the real API server with the real definitions, and the layer on the real engine."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi import automation

from cloudmart.cluster import crds as definitions
from cloudmart.cluster.local import LocalCluster
from cloudmart.errors import UserError
from cloudmart.preview.recorder import record
from tests.conftest import ROOT, copy_project

Json = Any

pytestmark = pytest.mark.cluster

#: Configurations of the gateway, by name: what is asked of the definitions.
CONFIGS: dict[str, Json] = {
    "HTTP": {"host": None, "tls": None, "cors": None},
    "HTTPS": {"host": "api.example.com", "tls": {"secret": "certificate"}},
    "a certificate from cert-manager": {
        "host": "api.example.com",
        "tls": {"secret": "certificate", "clusterIssuer": "letsencrypt"},
    },
}


def gateway_objects(folder: Path, config: Json, routes: Json = None) -> list[Json]:
    """The Gateway API's objects of prod with a configuration of the gateway."""
    project = copy_project(folder)
    project.config("prod", lambda stack: stack["cloudmart:gateway"].update(config))
    if routes is not None:
        project.catalog(lambda catalog: catalog["services"]["user-service"].update(routes=routes))
    return [
        found.inputs
        for found in record("prod", project.root).resources
        if found.is_kubernetes_object and str(found.api_version).startswith("gateway.networking.k8s.io/")
    ]


def create(cluster: LocalCluster, namespace: str, objects: list[Json]) -> list[str]:
    """Strict `create` as a dry run, with everything in one namespace."""
    for item in objects:
        if "namespace" in item["metadata"]:
            item["metadata"]["namespace"] = namespace
    text = "\n---\n".join(json.dumps(item) for item in objects)
    return cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text).splitlines()


@pytest.fixture
def taught(crds: frozenset[str]) -> None:
    if "gateway-api" not in crds:
        pytest.skip("the Gateway API's definitions cannot be had here")


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_gateway_and_its_routes_pass_the_definitions(
    taught: None, cluster: LocalCluster, namespace: str, tmp_path: Path, config: Json
) -> None:
    objects = gateway_objects(tmp_path, config)
    assert sorted(item["kind"] for item in objects) == ["Gateway", "GatewayClass", *["HTTPRoute"] * 3]
    answered = create(cluster, namespace, objects)
    assert len(answered) == len(objects)
    assert all(line.endswith(" created (server dry run)") for line in answered)


def test_as_many_routes_as_a_service_may_have_pass_the_definitions(
    taught: None, cluster: LocalCluster, namespace: str, tmp_path: Path
) -> None:
    # A list of its own for each: the catalog admits no YAML aliases.
    routes = [
        {
            "path": f"/.well-known/{'a~b.c-' * 20}{number}",
            "methods": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            "auth": "anonymous",
        }
        for number in range(16)
    ]
    routes[0]["path"] = "/"
    objects = gateway_objects(tmp_path, {}, routes)
    assert max(len(item["spec"].get("rules", [])) for item in objects) == 16
    assert len(create(cluster, namespace, objects)) == len(objects)


@pytest.mark.parametrize(
    ("kind", "edit", "said"),
    [
        ("HTTPRoute", lambda spec: spec["rules"][0]["matches"][0]["path"].update(value="/a//b"), "must not contain"),
        (
            "HTTPRoute",
            lambda spec: spec["rules"][0]["filters"][0].update(type="URLRewrite"),
            "extensionRef must be nil",
        ),
        ("HTTPRoute", lambda spec: spec["rules"][0]["backendRefs"][0].pop("port"), "Must have port"),
        ("Gateway", lambda spec: spec["listeners"][0].update(protocol="HTTP"), "tls must not be specified"),
        ("Gateway", lambda spec: spec["listeners"][0].update(hostnames=[]), "unknown field"),
    ],
)
def test_the_definitions_refuse_what_is_wrong(
    taught: None, cluster: LocalCluster, namespace: str, tmp_path: Path, kind: str, edit: Any, said: str
) -> None:
    found = next(item for item in gateway_objects(tmp_path, CONFIGS["HTTPS"]) if item["kind"] == kind)
    edit(found["spec"])
    with pytest.raises(UserError, match=said):
        create(cluster, namespace, [found])


# --- the real engine -------------------------------------------------------------------------------------------------

PROGRAM = """
import pulumi
import yaml
from pathlib import Path
from pulumi_kubernetes.core.v1 import Namespace
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pulumi_kubernetes.scheduling.v1 import PriorityClass

from cloudmart.settings import Party, Service
from cloudmart.settings.gateway import GatewaySettings
from cloudmart.settings.identity import IdentitySettings
from cloudmart.settings.mesh import MeshSettings
from cloudmart.settings.service import Cluster
from components.gateway import Gateway, GatewayArgs, Routes, RoutesArgs, Upstream
from components.labels import Labels

given = yaml.safe_load(Path("settings.yaml").read_text())
labels = Labels(app="shop", component="shop", tier="backend", version="v1", project="shop", team="platform",
                cost_center="CC-1")
home = Namespace("shop", metadata=ObjectMetaArgs(name="shop"))
first = PriorityClass("shop-critical", metadata=ObjectMetaArgs(name="shop-critical"), value=1000)
if given is not None:
    settings = GatewaySettings.model_validate(given["gateway"])
    services = {"web": Service.model_validate(given["service"])}
    party = Party(name="web", namespace="shop", pod_labels={"app": "web"}, service_account="web")
    gateway = Gateway(
        "gateway",
        GatewayArgs(settings=settings, cluster=Cluster(kubernetes_version="1.36"), labels=labels, project="shop",
                    home="shop", upstreams=[Upstream(party=party, port=8080)], mesh=MeshSettings(),
                    priority_class=first.metadata.apply(lambda metadata: metadata.name)),
        pulumi.ResourceOptions(depends_on=[home]),
    )
    Routes(
        "routes",
        RoutesArgs(settings=settings, identity=IdentitySettings.model_validate(given["identity"]), services=services,
                   gateway="shop", namespace=home.metadata.apply(lambda metadata: metadata.name),
                   gateway_namespace=gateway.namespace, labels=labels),
        pulumi.ResourceOptions(depends_on=[gateway]),
    )
"""

SETTINGS: Json = {
    "gateway": {
        "enabled": True,
        "chart": {"path": "charts/ingress"},
        "controller": {"replicas": 2},
        "host": "api.example.com",
        "tls": {"secret": "certificate"},
        "cors": {"origins": ["https://www.example.com"]},
        "timeoutSeconds": 90,
        "crds": {"source": "gateway-api.yaml"},
    },
    "identity": {
        "issuer": "https://identity.example.com",
        "jwksUri": "https://identity.example.com/keys",
        "publicKeyPem": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    },
    "service": {
        "description": "Pages",
        "criticality": "high",
        "traffic": "steady",
        "replicas": 1,
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "20m", "memory": "32Mi"}},
        "routes": [{"path": "/"}, {"path": "/sessions", "methods": ["POST"], "auth": "anonymous"}],
    },
}


class Stack:
    """A scratch stack on a cluster that knows nothing of the Gateway API."""

    def __init__(self, home: Path, cluster: LocalCluster) -> None:
        self.home = home
        (home / "state").mkdir()
        (home / "__main__.py").write_text(textwrap.dedent(PROGRAM))
        project = {"name": "gateway-test", "runtime": {"name": "python", "options": {"virtualenv": sys.prefix}}}
        (home / "Pulumi.yaml").write_text(yaml.safe_dump(project))
        shutil.copytree(ROOT / "tests" / "charts" / "ingress", home / "charts" / "ingress")
        shutil.copy(definitions.folder() / "gateway-api.yaml", home)
        variables = {
            "KUBECONFIG": str(cluster.kubeconfig),
            "PULUMI_BACKEND_URL": f"file://{home / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "test",
            "PYTHONPATH": str(ROOT),
        }
        options = automation.LocalWorkspaceOptions(env_vars=variables | {"PATH": os.environ["PATH"]})
        self.stack = automation.create_stack("test", work_dir=str(home), opts=options)

    def write(self, settings: Json) -> None:
        (self.home / "settings.yaml").write_text(yaml.safe_dump(settings))

    def changes(self) -> dict[str, int]:
        """What a preview would change, by kind of change."""
        return {str(kind): n for kind, n in self.stack.preview().change_summary.items() if kind != "same"}


@pytest.fixture
def fresh(home: Path) -> Iterator[LocalCluster]:
    """A cluster that has been taught nothing."""
    cluster = LocalCluster(home / "gateway")
    cluster.reset(lambda _line: None)
    yield cluster
    cluster.stop()


@pytest.mark.pulumi
@pytest.mark.skipif(shutil.which("pulumi") is None, reason="no pulumi command on PATH")
def test_the_layer_comes_up_in_one_go_and_goes_as_a_whole(taught: None, fresh: LocalCluster, tmp_path: Path) -> None:
    made = Stack(tmp_path, fresh)
    made.write(SETTINGS)
    made.stack.up()
    assert made.changes() == {}
    listed = json.loads(fresh.kubectl("get", "httproutes,kongplugins,kongconsumers,gateways", "-A", "-o", "json"))
    assert {(item["kind"], item["metadata"]["name"]) for item in listed["items"]} == {
        ("HTTPRoute", "web"),
        ("KongConsumer", "token-issuer"),
        ("Gateway", "shop"),
        *(("KongPlugin", f"gateway-{plugin}") for plugin in ("jwt", "cors", "correlation-id", "request-size")),
        ("KongPlugin", "gateway-rate-limit-high"),
    }
    pods = json.loads(fresh.kubectl("get", "pods", "-n", "gateway", "-o", "json"))["items"]
    assert len([pod for pod in pods if pod["status"]["phase"] == "Running"]) == 4
    for pod in pods:
        assert pod["metadata"]["labels"]["cost-center"] == "CC-1"
        # Its mark on pods whose containers lack requests or limits.
        assert "kubernetes.io/limit-ranger" not in pod["metadata"].get("annotations", {})

    made.write(None)
    made.stack.up()
    assert "gateway" not in fresh.kubectl("get", "namespaces", "-o", "name")
    groups = fresh.kubectl("get", "crds", "-o", "name")
    assert "gateway.networking.k8s.io" not in groups
    assert "roles.rbac" not in fresh.kubectl("get", "roles", "-n", "shop", "-o", "name")


def test_the_quota_admits_the_load_balancer_and_no_second_one(cluster: LocalCluster, namespace: str) -> None:
    quota = next(
        found.inputs
        for found in record("prod", ROOT).resources
        if found.kind == "ResourceQuota" and found.namespace == "gateway"
    )
    quota["metadata"]["namespace"] = namespace
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(quota))
    name = quota["metadata"]["name"]
    wait = ("wait", f"resourcequota/{name}", "-n", namespace, "--for=jsonpath={.status.hard.pods}", "--timeout=30s")
    cluster.kubectl(*wait)

    def service(name: str, kind: str) -> str:
        spec = {"type": kind, "ports": [{"port": 443, "targetPort": 8443}], "selector": {"app": "kong"}}
        if kind == "LoadBalancer":
            spec["externalTrafficPolicy"] = "Local"
        found = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }
        return cluster.kubectl("create", "-f", "-", stdin=json.dumps(found))

    service("proxy", "LoadBalancer")
    service("admin", "ClusterIP")
    for kind in ("LoadBalancer", "NodePort"):
        with pytest.raises(UserError, match="exceeded quota"):
            service("another", kind)
