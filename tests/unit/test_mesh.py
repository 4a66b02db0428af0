"""The mesh: its settings, the values of its charts, what the component registers, and what that costs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from cloudmart.finops.estimate import estimate
from cloudmart.finops.prices import DEFAULT, load
from cloudmart.preview.recorder import Recording, record
from cloudmart.settings import Cpu, Service
from cloudmart.settings.mesh import MeshPlatform, MeshSettings
from components.layer import layer_quota, with_proxies
from components.mesh_values import base_values, cni_values, istiod_values, unmeshed_ports, ztunnel_values

Json = Any

ROOT = Path(__file__).resolve().parents[2]
LABELS = {"project": "cloudmart", "team": "platform", "cost-center": "CC-2002", "app": "istio"}
PAYER = {key: LABELS[key] for key in ("project", "team", "cost-center")}
MODES = ("sidecar", "ambient")


def mesh(**config: Any) -> MeshSettings:
    return MeshSettings.model_validate(config)


def values_of(mode: str, platform: str | None = None) -> dict[str, Json]:
    """Values by chart."""
    made = mesh(mode=mode, platform=platform)
    return {
        "base": base_values(made),
        "istiod": istiod_values(made, LABELS),
        "cni": cni_values(made, LABELS),
        "ztunnel": ztunnel_values(made, LABELS),
    }


def unknown_keys(values: Json, known: Json, path: str = "") -> Iterator[str]:
    for key, value in values.items():
        if key not in known:
            yield f"{path}{key}"
        # An empty mapping takes any key; so do resources and the mesh's configuration.
        elif isinstance(value, dict) and known[key] and key != "resources":
            yield from unknown_keys(value, known[key], f"{path}{key}.")


@lru_cache
def recorded(mode: str, proxy_cpu: str = "50m", platform: str | None = None) -> Recording:
    proxy: Json = {"requests": {"cpu": proxy_cpu, "memory": "96Mi"}, "limits": {"cpu": "250m", "memory": "192Mi"}}
    others: Json = {f"cloudmart:{layer}": {"enabled": False} for layer in ("gateway", "monitoring")}
    own: Json = {"enabled": True, "mode": mode, "proxy": proxy, "platform": platform}
    return record("dev", ROOT, overrides={"cloudmart:mesh": own} | others)


@pytest.fixture(scope="module", params=MODES)
def recording(request: pytest.FixtureRequest) -> Recording:
    return recorded(request.param)


# --- settings --------------------------------------------------------------------------------------------------------


def test_what_is_installed_and_counted_depends_on_the_mode() -> None:
    assert list(mesh().charts) == ["base", "istiod", "cni"]
    assert list(mesh(mode="ambient").charts) == ["base", "istiod", "cni", "ztunnel"]
    assert list(mesh().workloads) == ["istiod", "istio-cni"]
    assert list(mesh(mode="ambient").workloads) == ["istiod", "istio-cni", "ztunnel"]


def test_the_quota_has_room_for_an_agent_on_every_node_so_that_no_new_node_waits_for_it() -> None:
    hard = layer_quota(mesh(maxNodes=40).workloads)
    assert int(hard["pods"]) >= 40 + 2
    assert Cpu(hard["requests.cpu"]).cores >= 40 * Cpu("25m").cores + 2 * Cpu("200m").cores


def test_a_try_may_not_take_longer_than_the_whole() -> None:
    service: Json = {
        "description": "x",
        "criticality": "low",
        "traffic": "low",
        "replicas": 1,
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "20m", "memory": "32Mi"}},
    }
    Service.model_validate(service | {"resilience": {"timeoutSeconds": 5}})
    with pytest.raises(ValidationError, match="perTryTimeoutSeconds 5 is above timeoutSeconds 4; allowed: up to 4"):
        Service.model_validate(service | {"resilience": {"timeoutSeconds": 4}})


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", [None, "gke"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("chart", ["base", "istiod", "cni", "ztunnel"])
def test_every_key_is_one_that_the_stand_in_charts_know(mode: str, chart: str, platform: str | None) -> None:
    known = yaml.safe_load((ROOT / "tests" / "charts" / chart / "values.yaml").read_text())
    assert list(unknown_keys(values_of(mode, platform)[chart], known)) == []


@pytest.mark.parametrize("platform", list(MeshPlatform))
def test_whatever_depends_on_the_platform_is_told_it_where_its_chart_reads_it(platform: str) -> None:
    values = values_of("ambient", platform)
    assert values["istiod"]["global"]["platform"] == values["cni"]["global"]["platform"] == platform
    assert (values["cni"].get("cni") == {"cniBinDir": "/home/kubernetes/bin"}) is (platform == "gke")
    # Its role for OpenShift is made by the key at the top alone.
    assert values["ztunnel"]["platform"] == platform
    # OpenShift's profile would have istiod trust a ztunnel in kube-system, where none of ours is.
    assert values["istiod"]["trustedZtunnelNamespace"] == "istio-system"


def test_charts_are_told_of_no_platform_where_it_is_none_of_those_that_they_know() -> None:
    values = values_of("ambient")
    assert "platform" not in {**values["istiod"]["global"], **values["cni"], **values["ztunnel"]}
    assert "global" not in values["cni"]
    with pytest.raises(ValidationError, match="'gke', 'k3d', 'k3s', 'microk8s', 'minikube' or 'openshift'"):
        mesh(platform="eks")


@pytest.mark.parametrize("mode", MODES)
def test_every_container_of_the_charts_has_requests_limits_and_a_payer(mode: str) -> None:
    values = values_of(mode)
    for chart in ("istiod", "cni", "ztunnel"):
        for kind in ("requests", "limits"):
            assert set(values[chart]["resources"][kind]) == {"cpu", "memory"}, chart
        assert values[chart]["podLabels"] == PAYER, chart


@pytest.mark.parametrize("mode", MODES)
def test_no_pod_of_the_shop_needs_rights_that_pod_security_restricted_denies(mode: str) -> None:
    istiod = values_of(mode)["istiod"]
    assert istiod["cni"] == {"enabled": True}
    assert istiod["global"]["proxy"]["seccompProfile"] == {"type": "RuntimeDefault"}
    if mode == "ambient":
        assert istiod["gateways"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_a_proxy_is_there_before_its_pod_and_lets_it_go_nowhere_undeclared() -> None:
    istiod = values_of("sidecar")["istiod"]
    assert istiod["env"]["ENABLE_NATIVE_SIDECARS"] == "true"
    assert istiod["meshConfig"]["outboundTrafficPolicy"] == {"mode": "REGISTRY_ONLY"}


@pytest.mark.parametrize("mode", MODES)
def test_the_jobs_that_prepare_an_instance_of_postgres_get_no_proxy(mode: str) -> None:
    """Their pods carry no label of ours: in the mesh they would reach neither the API server nor the primary."""
    (selector,) = values_of(mode)["istiod"]["sidecarInjectorWebhook"]["neverInjectSelector"]
    assert selector == {"matchExpressions": [{"key": "cnpg.io/jobRole", "operator": "Exists"}]}


def test_the_trust_domain_of_identities_is_the_one_that_istiod_signs() -> None:
    made = mesh(trustDomain="shop.example.com")
    assert istiod_values(made, LABELS)["meshConfig"]["trustDomain"] == "shop.example.com"


def test_a_namespace_of_its_own_is_told_to_every_chart_that_asks() -> None:
    made = mesh(namespace="mesh", mode="ambient")
    assert base_values(made)["global"]["istioNamespace"] == "mesh"
    assert istiod_values(made, LABELS)["global"]["istioNamespace"] == "mesh"
    assert ztunnel_values(made, LABELS)["istioNamespace"] == "mesh"


def test_ports_that_are_left_to_others_are_listed_for_the_injector() -> None:
    assert unmeshed_ports([9091, 9090]) == {"traffic.sidecar.istio.io/excludeInboundPorts": "9090,9091"}


# --- the component ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_charts_come_one_after_the_other_and_all_before_the_first_object_of_their_kinds(
    recording: Recording,
) -> None:
    by_name = {r.name: r for r in recording.resources if r.type == "kubernetes:helm.sh/v3:Release"}
    order = [name for name in by_name if name in ("istio-base", "istiod", "istio-cni", "ztunnel")]
    for before, after in itertools.pairwise(order):
        assert by_name[before].urn in by_name[after].dependencies
    own = [r for r in recording.resources if (r.api_version or "").partition("/")[0].endswith(".istio.io")]
    assert len(own) > 20
    for found in own:
        assert by_name["istiod"].urn in found.dependencies, found.urn


def test_the_whole_mesh_takes_nothing_but_mutual_tls(recording: Recording) -> None:
    (whole,) = [
        r
        for r in recording.resources
        if r.kind == "PeerAuthentication" and r.namespace == "istio-system" and r.object_name == "default"
    ]
    assert whole.inputs["spec"] == {"mtls": {"mode": "STRICT"}}


def test_pods_are_registered_after_what_injects_their_proxies_and_what_tells_them_whom_to_let_in(
    recording: Recording,
) -> None:
    place = {(r.kind or r.type, r.object_name or r.name): i for i, r in enumerate(recording.resources)}
    first = min(i for (kind, _), i in place.items() if kind in ("Deployment", "StatefulSet"))
    last = max(i for (kind, _), i in place.items() if kind in ("AuthorizationPolicy", "PeerAuthentication"))
    assert last < first


def test_the_shops_namespace_is_in_the_mesh_and_istios_own_is_not(recording: Recording) -> None:
    labels = {str(r.object_name): r.metadata["labels"] for r in recording.resources if r.kind == "Namespace"}
    member = {"istio-injection": "enabled"}, {"istio.io/dataplane-mode": "ambient"}
    assert any(one.items() <= labels["cloudmart"].items() for one in member)
    assert not any(one.items() <= labels["istio-system"].items() for one in member)


@pytest.mark.slow
def test_gke_admits_istiod_because_a_quota_names_its_priority_class() -> None:
    """And the quota is there before the release; elsewhere there is none."""
    on_gke, elsewhere = recorded("sidecar", platform="gke"), recorded("sidecar")
    (quota,) = [r for r in on_gke.resources if (r.kind, r.object_name) == ("ResourceQuota", "istiod-critical")]
    (istiod,) = [r for r in on_gke.resources if r.name == "istiod"]
    assert quota.namespace == "istio-system"
    (scope,) = quota.inputs["spec"]["scopeSelector"]["matchExpressions"]
    assert scope["values"] == [istiod.inputs["values"]["global"]["priorityClassName"]]
    assert int(quota.inputs["spec"]["hard"]["pods"]) > istiod.inputs["values"]["replicaCount"]
    assert quota.urn in istiod.dependencies
    assert "istiod-critical" not in {r.object_name for r in elsewhere.resources}


def test_a_mesh_that_is_off_leaves_no_trace() -> None:
    off = record("dev", ROOT, overrides={"cloudmart:mesh": {"enabled": False, "mode": "ambient"}})
    assert "istio" not in str([(r.type, r.name, r.inputs) for r in off.resources])


# --- quota and price -------------------------------------------------------------------------------------------------


def test_a_quota_has_room_for_a_proxy_in_every_pod_where_the_mesh_puts_one_there() -> None:
    hard = layer_quota(mesh().workloads)
    assert with_proxies(hard, None) == with_proxies(hard, mesh()) == hard
    on = with_proxies(hard, mesh(enabled=True))
    more = int(hard["pods"]) * Cpu("50m").cores
    assert Cpu(on["requests.cpu"]).cores == Cpu(hard["requests.cpu"]).cores + more
    assert with_proxies(hard, mesh(enabled=True, mode="ambient")) == hard


def test_proxies_cost_what_the_release_says_that_they_request() -> None:
    def cores(found: Recording) -> Any:
        lines = estimate(found.resources, load(DEFAULT), nodes=3).lines
        return sum(line.quantity for line in lines if line.item == "cpu" and line.service == "payment-service")

    assert cores(recorded("sidecar", "150m")) - cores(recorded("sidecar")) == Cpu("100m").cores
    assert cores(recorded("sidecar")) - cores(recorded("ambient")) == Cpu("50m").cores


def test_what_istiod_gives_to_others_is_not_paid_for_as_its_own() -> None:
    lines = estimate(recorded("sidecar").resources, load(DEFAULT), nodes=3).lines
    istiod = [line for line in lines if line.service == "istiod"]
    assert {(line.item, str(line.quantity), str(line.count.max)) for line in istiod} == {
        ("cpu", "0.200", "2"),
        ("memory", "0.5", "2"),
    }
    assert {str(line.count.max) for line in lines if line.service == "istio-cni"} == {"3"}
