"""Kubecost: its settings, the values of its charts, what the component registers, and whether a chart can be had."""

from __future__ import annotations

import functools
import inspect
import io
import json
import re
import tarfile
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from cloudmart.cluster import charts
from cloudmart.cluster.charts import ChartUnreachable, check_chart
from cloudmart.preview.recorder import Recorded, record
from cloudmart.settings.charts import CHARTS, KUBECOST, Chart, Source
from cloudmart.settings.kubecost import KubecostSettings
from cloudmart.settings.quantities import Bytes, Cpu
from components.kubecost import quota
from components.kubecost_values import cost_analyzer_values, kubecost_values

ROOT = Path(__file__).resolve().parents[2]
TEST_CHARTS = ROOT / "tests" / "charts"
PAYER = {"project": "cloudmart", "team": "platform", "cost-center": "CC-2001"}
LABELS = PAYER | {"app": "kubecost", "app.kubernetes.io/name": "kubecost"}
SMALL = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "20m", "memory": "32Mi"}}
#: The configurations whose values the tests look at, by name.
CONFIGS: dict[str, dict[str, Any]] = {
    "3.x": {},
    "3.x with everything": {
        "cloudIntegrationSecret": "cloud",
        "storage": {"storageClass": "fast"},
        "imagePullSecrets": ["pull"],
        "components": {"clusterController": SMALL | {"enabled": True}},
    },
    "3.x with a bucket": {
        "federatedStorageSecret": "bucket",
        "components": {"forecasting": SMALL | {"enabled": False}},
    },
    "2.x": {"chart": {"name": "cost-analyzer"}},
    "2.x with everything": {
        "chart": {"name": "cost-analyzer"},
        "cloudIntegrationSecret": "cloud",
        "storage": {"storageClass": "fast"},
        "imagePullSecrets": ["pull"],
        "components": {"clusterController": SMALL | {"enabled": True}},
    },
}
#: Where each chart keeps the resources of a container.
PLACES = {
    "kubecost": {
        "aggregator": "aggregator",
        "agent": "finopsagent",
        "frontend": "frontend",
        "localStore": "localStore",
        "cloudCost": "cloudCost",
        "forecasting": "forecasting",
        "clusterController": "clusterController",
    },
    "cost-analyzer": {
        "aggregator": "kubecostAggregator",
        "agent": "finopsagent",
        "frontend": "kubecostFrontend",
        "costModel": "kubecostModel",
        "cloudCost": "kubecostAggregator.cloudCost",
        "prometheus": "prometheus.server",
        "forecasting": "forecasting",
        "clusterController": "clusterController",
    },
}


def settings(config: dict[str, Any]) -> KubecostSettings:
    return KubecostSettings.model_validate(config)


def values_of(config: dict[str, Any]) -> dict[str, Any]:
    made = settings(config)
    function = kubecost_values if made.is_v3 else cost_analyzer_values
    return function(made, cluster_id="cloudmart-dev", labels=LABELS)


def at(values: dict[str, Any], path: str) -> Any:
    found: Any = values
    for key in path.split("."):
        found = found[key]
    return found


def unknown_keys(values: dict[str, Any], known: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, value in values.items():
        if key not in known:
            yield f"{path}{key}"
        # An empty mapping in values.yaml, such as labels, takes any key; resources are checked by value.
        elif isinstance(value, dict) and known[key] and key != "resources":
            yield from unknown_keys(value, known[key], f"{path}{key}.")


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"chart": {"version": "2.8.7"}}, "version 2.8.7 is not one of chart kubecost; allowed: 3.0 or later within 3"),
        ({"chart": {"name": "cost-analyzer", "version": "3.2.1"}}, "allowed: 2.8 or later within 2.x"),
        ({"chart": {"name": "cost-analyzer", "version": "2.7.0"}}, "allowed: 2.8 or later within 2.x"),
        ({"chart": {"version": "3.x"}}, "String should match pattern"),
        ({"chart": {"repo": "https://a.example", "path": "charts/kubecost"}}, "repo and path are given"),
        ({"chart": {"repo": "https://user:password@a.example"}}, "String should match pattern"),
        ({"chart": {"oci": "https://a.example/kubecost"}}, "String should match pattern"),
        (
            {"chart": {"name": "cost-analyzer", "version": "2.9.7"}},
            "2.9.7 without federatedStorageSecret; allowed: with it",
        ),
        ({"chart": {"name": "cost-analyzer"}, "federatedStorageSecret": "bucket"}, "allowed: 2.9, or chart kubecost"),
        ({"chart": {"name": "cost-analyzer"}, "imageRegistry": "a.example"}, "imageRegistry with chart cost-analyzer"),
        ({"components": {"aggregator": SMALL, "networkCosts": SMALL}}, "Extra inputs are not permitted"),
        ({"clusterId": "a b"}, "String should match pattern"),
        ({"storage": {"database": "-1Gi"}}, "a memory or storage quantity"),
        ({"retention": {"hours": 0}}, "greater than or equal to 1"),
    ],
)
def test_what_a_chart_cannot_do_is_an_error_that_says_what_is_allowed(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        settings(config)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, CHARTS["kubecost"]),
        ({"name": "cost-analyzer"}, CHARTS["cost-analyzer"]),
        (
            {"version": "3.1.8", "repo": "https://mirror.example/charts"},
            Chart(name="kubecost", version="3.1.8", repo="https://mirror.example/charts"),
        ),
        (
            {"oci": "oci://registry.example:5000/charts/kubecost"},
            Chart(
                name="kubecost",
                version=KUBECOST.version,
                repo="oci://registry.example:5000/charts/kubecost",
                source=Source.OCI,
            ),
        ),
        (
            {"path": "charts/kubecost"},
            Chart(name="kubecost", version=KUBECOST.version, repo="charts/kubecost", source=Source.PATH),
        ),
    ],
)
def test_a_stack_overrides_only_the_place_and_the_version_that_it_names(
    config: dict[str, Any], expected: Chart
) -> None:
    assert settings({"chart": config}).chart.resolved == expected


def test_every_chart_of_the_table_says_to_renovate_where_newer_versions_are() -> None:
    source = Path(inspect.getfile(Chart)).read_text()
    for pinned in CHARTS.values():
        comment = f"# renovate: datasource=helm depName={pinned.name} registryUrl={pinned.repo}\n"
        pin = rf'\w+ = Chart\(\s*name="{pinned.name}", version="{pinned.version}"'
        assert re.search(re.escape(comment) + pin, source)


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_every_running_container_has_requests_and_limits_where_its_chart_looks_for_them(name: str) -> None:
    made, values = settings(CONFIGS[name]), values_of(CONFIGS[name])
    assert made.containers
    for container, resources in made.containers.items():
        assert at(values, f"{PLACES[made.chart.name][container]}.resources") == {
            "requests": {"cpu": str(resources.requests.cpu), "memory": str(resources.requests.memory)},
            "limits": {"cpu": str(resources.limits.cpu), "memory": str(resources.limits.memory)},
        }


@pytest.mark.parametrize("name", CONFIGS)
def test_what_runs_by_the_settings_is_what_the_values_switch_on(name: str) -> None:
    made, values = settings(CONFIGS[name]), values_of(CONFIGS[name])
    switched = {
        container: at(values, place)["enabled"]
        for container, place in PLACES[made.chart.name].items()
        if place.split(".")[0] in values and "enabled" in at(values, place)
    }
    assert {container for container, on in switched.items() if on} == made.containers.keys() & switched.keys()
    assert values["networkCosts"] == {"enabled": False}


@pytest.mark.parametrize("name", CONFIGS)
def test_no_value_has_a_key_that_its_chart_does_not_know(name: str) -> None:
    made = settings(CONFIGS[name])
    known = yaml.safe_load((TEST_CHARTS / made.chart.name / "values.yaml").read_text())
    assert list(unknown_keys(values_of(CONFIGS[name]), known)) == []


def test_2_9_runs_the_agent_with_the_bucket_and_apart_from_its_subcharts_config_map() -> None:
    values = values_of({"chart": {"name": "cost-analyzer", "version": "2.9.7"}, "federatedStorageSecret": "bucket"})
    assert values["global"]["clusterId"] == "cloudmart-dev"
    assert values["global"]["federatedStorage"] == {"existingSecret": "bucket"}
    assert values["finopsagent"]["resources"]["limits"]["memory"] == "1Gi"
    assert values["pricingConfigmapName"] != "pricing-configs"


@pytest.mark.parametrize("name", CONFIGS)
def test_the_cost_center_is_an_allocation_concept_of_its_own_and_on_every_pod(name: str) -> None:
    values = values_of(CONFIGS[name])
    mapping = values["kubecostProductConfigs"]["labelMappingConfigs"]
    assert (mapping["department_label"], mapping["team_label"]) == ("cost_center", "team")
    # Not `app` and its like: they are part of the charts' selectors.
    assert values["global"]["additionalLabels"] == PAYER


@pytest.mark.parametrize("name", ["3.x", "3.x with everything", "3.x with a bucket"])
def test_values_of_3_x_hold_no_key_that_makes_it_abort(name: str) -> None:
    forbidden = {"prometheus", "grafana", "kubecostModel", "kubecostAggregator", "kubecostFrontend", "service"}
    values = values_of(CONFIGS[name])
    assert not forbidden & values.keys()
    assert not forbidden & values["global"].keys()
    assert values["global"]["clusterId"] == "cloudmart-dev"


def test_2_x_gets_the_cluster_id_and_no_grafana_with_its_password_in_plain() -> None:
    values = values_of(CONFIGS["2.x"])
    assert values["prometheus"]["server"]["global"]["external_labels"] == {"cluster_id": "cloudmart-dev"}
    assert values["global"]["grafana"] == {"enabled": False, "proxy": False}


@pytest.mark.parametrize("hours", [1, 49, 200])
def test_the_prometheus_of_2_x_keeps_more_than_the_hourly_store_and_than_the_charts_minimum(hours: int) -> None:
    values = values_of({"chart": {"name": "cost-analyzer"}, "retention": {"days": 30, "hours": hours}})
    kept = int(values["prometheus"]["server"]["retention"].removesuffix("h"))
    assert kept >= 50
    assert kept > hours
    assert values["kubecostModel"]["etlHourlyStoreDurationHours"] == hours
    assert values["kubecostAggregator"]["etlDailyStoreDurationDays"] == 30


def test_sizes_and_retention_of_a_stack_reach_the_chart() -> None:
    values = values_of(
        {
            "storage": {"storageClass": "fast", "database": "4Gi", "store": "2Gi", "configs": "128Mi"},
            "retention": {"days": 7, "hours": 24},
            "cloudIntegrationSecret": "cloud",
        }
    )
    assert values["global"]["defaultStorageClass"] == "fast"
    assert values["aggregator"]["aggregatorDbStorage"]["storageRequest"] == "4Gi"
    assert values["aggregator"]["persistentConfigsStorage"]["storageRequest"] == "128Mi"
    assert values["localStore"]["persistentVolume"]["size"] == "2Gi"
    assert values["cloudCost"]["persistentConfigsStorage"]["size"] == "128Mi"
    assert values["aggregator"]["retention1d"] == values["localStore"]["retention1d"] == 7
    assert values["aggregator"]["retention1h"] == 24


def test_statistics_go_to_the_vendor_only_where_the_stack_says_so() -> None:
    assert values_of({})["telemetry"] == {"enabled": False}
    assert values_of({"telemetry": True})["telemetry"] == {"enabled": True}
    assert not any(values_of(CONFIGS["2.x"])["reporting"].values())


@pytest.mark.parametrize("name", CONFIGS)
def test_the_quota_has_room_for_every_container_twice(name: str) -> None:
    made = settings(CONFIGS[name])
    hard = quota(made)
    cores = sum(part.limits.cpu.cores for part in made.containers.values())
    # A rolling update runs every pod of a Deployment twice at most.
    assert hard["pods"] == str(2 * len(made.containers))
    assert Cpu(hard["limits.cpu"]).cores == 2 * cores
    assert hard["services.loadbalancers"] == "0"


def test_the_quota_has_room_for_the_claims_that_a_change_of_charts_leaves() -> None:
    secrets = {"federatedStorageSecret": "bucket", "cloudIntegrationSecret": "cloud"}
    before = settings({"cloudIntegrationSecret": "cloud"})
    after = settings({"chart": {"name": "cost-analyzer", "version": "2.9.7"}} | secrets)
    sizes = [size.bytes for made in (before, after) for size in made.volumes.values()]
    for made in (before, after):
        assert int(quota(made)["persistentvolumeclaims"]) >= len(sizes)
        assert Bytes(quota(made)["requests.storage"]).bytes >= sum(sizes)


# --- component -------------------------------------------------------------------------------------------------------


def component(tmp_path: Path, config: dict[str, Any]) -> tuple[dict[str, Recorded], dict[str, Any]]:
    (tmp_path / "Pulumi.yaml").write_text("name: shop\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    (tmp_path / "__main__.py").write_text(
        textwrap.dedent(
            f"""
            import pulumi
            from cloudmart.settings.kubecost import KubecostSettings
            from cloudmart.settings.service import Cluster
            from components.kubecost import Kubecost, KubecostArgs
            from components.labels import Labels

            kubecost = Kubecost("kubecost", KubecostArgs(
                settings=KubecostSettings.model_validate({config!r}),
                cluster=Cluster(kubernetes_version="1.36"),
                labels=Labels(app="shop", component="shop", tier="backend", version="v1",
                              project="cloudmart", team="platform", cost_center="CC-2001"),
                default_cluster_id="cloudmart-dev"))
            pulumi.export("namespace", kubecost.namespace)
            pulumi.export("apiUrl", kubecost.api_url)
            """
        )
    )
    recording = record("dev", tmp_path)
    return {f"{r.type.split(':')[-1]} {r.object_name or r.name}": r for r in recording.resources}, recording.outputs


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({}, "http://kubecost-frontend.kubecost:9090/model"),
        ({"namespace": "finops"}, "http://kubecost-frontend.finops:9090/model"),
        ({"chart": {"name": "cost-analyzer"}}, "http://kubecost-cost-analyzer.kubecost:9090/model"),
    ],
)
def test_the_api_is_where_the_chart_of_that_major_version_puts_it(
    tmp_path: Path, config: dict[str, Any], url: str
) -> None:
    _, outputs = component(tmp_path, config)
    assert outputs["apiUrl"] == url
    assert outputs["namespace"] == config.get("namespace", "kubecost")


@pytest.mark.parametrize(
    ("chart", "expected"),
    [
        ({}, {"chart": "kubecost", "version": KUBECOST.version, "repositoryOpts": {"repo": KUBECOST.repo}}),
        ({"oci": "oci://r.example/kubecost"}, {"chart": "oci://r.example/kubecost", "version": KUBECOST.version}),
        ({"path": "charts/kubecost"}, {"chart": "./charts/kubecost", "version": KUBECOST.version}),
    ],
)
def test_the_release_is_pinned_wherever_its_chart_comes_from(
    tmp_path: Path, chart: dict[str, Any], expected: dict[str, Any]
) -> None:
    found, _ = component(tmp_path, {"chart": chart})
    inputs = found["Release kubecost"].inputs
    assert {key: inputs[key] for key in ("chart", "version", "repositoryOpts") if key in inputs} == expected
    assert inputs["name"] == inputs["namespace"] == "kubecost"
    assert (inputs["skipAwait"], inputs["atomic"], inputs["createNamespace"]) == (False, False, False)


def test_pods_start_only_once_the_namespace_is_fenced(tmp_path: Path) -> None:
    found, _ = component(tmp_path, {"apiClients": ["monitoring"]})
    waits_for = set(found["Release kubecost"].dependencies)
    fences = {r.urn for key, r in found.items() if key.split()[0] in {"Namespace", "ResourceQuota", "NetworkPolicy"}}
    assert len(fences) == 7
    assert fences <= waits_for
    denied = found["NetworkPolicy default-deny"].inputs["spec"]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    let_in = found["NetworkPolicy allow-api-clients"].inputs["spec"]
    assert let_in["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "frontend"}}
    (rule,) = let_in["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert [port["port"] for port in rule["ports"]] == [9090]


def test_kubecost_is_billed_to_its_own_cost_center_where_the_stack_gives_it_one(tmp_path: Path) -> None:
    found, _ = component(tmp_path, {"costCenter": "CC-9", "clusterId": "eu-1"})
    labels = found["Namespace kubecost"].inputs["metadata"]["labels"]
    assert (labels["app"], labels["cost-center"]) == ("kubecost", "CC-9")
    values = found["Release kubecost"].inputs["values"]
    assert values["global"]["additionalLabels"] == PAYER | {"cost-center": "CC-9"}
    assert values["global"]["clusterId"] == "eu-1"


@pytest.mark.parametrize("enabled", [True, False])
def test_no_resource_definition_outlives_a_release_that_does_not_use_it(tmp_path: Path, enabled: bool) -> None:
    found, _ = component(tmp_path, {"components": {"clusterController": SMALL | {"enabled": enabled}}})
    assert found["Release kubecost"].inputs["skipCrds"] is not enabled


@pytest.mark.parametrize("protect", [True, False])
def test_the_cost_history_is_protected_where_the_stack_says_so(tmp_path: Path, protect: bool) -> None:
    found, _ = component(tmp_path, {"protect": protect})
    assert found["Namespace kubecost"].protect is protect
    assert found["Release kubecost"].protect is protect


# --- reachability ----------------------------------------------------------------------------------------------------

INDEX = {
    "entries": {
        "kubecost": [{"version": "3.2.1", "urls": ["kubecost-3.2.1.tgz"]}, {"version": "3.2.0", "urls": ["gone.tgz"]}]
    }
}
TOKEN = "t0k3n"


class _Registry(BaseHTTPRequestHandler):
    """A chart repository below /charts, and an OCI registry that wants an anonymous token."""

    def do_GET(self) -> None:
        pages = {
            "/charts/index.yaml": yaml.safe_dump(INDEX),
            "/charts/kubecost-3.2.1.tgz": "archive",
            "/broken/index.yaml": "<html>",
            "/empty/index.yaml": "entries: {}",
        }
        if self.path.startswith("/token?"):
            assert "scope=repository%3Acharts%2Fkubecost%3Apull" in self.path
            return self._answer(200, json.dumps({"token": TOKEN}))
        return self._answer(200 if self.path in pages else 404, pages.get(self.path, ""))

    def do_HEAD(self) -> None:
        if self.path.startswith("/v2/private/"):
            return self._answer(401, "")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            challenge = f'Bearer realm="http://{self.headers["Host"]}/token",scope="repository:charts/kubecost:pull"'
            return self._answer(401, "", challenge)
        return self._answer(200 if self.path == "/v2/charts/kubecost/manifests/3.2.1" else 404, "")

    def _answer(self, status: int, body: str, challenge: str = "") -> None:
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Registry)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def chart(repo: str, source: Source = Source.REPOSITORY, version: str = "3.2.1") -> Chart:
    return Chart(name="kubecost", version=version, repo=repo, source=source)


check = functools.partial(check_chart, key="cloudmart:kubecost", off="cloudmart:kubecost.enabled to false")


def problem(chart_: Chart, root: Path = ROOT) -> str:
    with pytest.raises(ChartUnreachable) as raised:
        check(chart_, root, timeout=2)
    return str(raised.value)


def test_a_chart_in_a_repository_is_found(registry: str) -> None:
    check(chart(f"http://{registry}/charts/"), ROOT)


@pytest.mark.parametrize(
    ("path", "version", "message"),
    [
        ("charts", "3.9.9", "has no such version (newest: 3.2.1, 3.2.0)"),
        ("charts", "3.2.0", "gone.tgz answers 404"),
        ("nowhere", "3.2.1", "index.yaml answers 404"),
        ("broken", "3.2.1", "is not the index of a chart repository"),
        ("empty", "3.2.1", "has no chart of that name"),
    ],
)
def test_a_repository_without_the_chart_says_what_is_missing(
    registry: str, path: str, version: str, message: str
) -> None:
    assert message in problem(chart(f"http://{registry}/{path}", version=version))


def test_a_repository_that_does_not_answer_names_the_chart_and_the_cure() -> None:
    message = problem(chart("http://127.0.0.1:9/charts"))
    assert message.startswith("chart kubecost 3.2.1: http://127.0.0.1:9/charts does not answer (")
    assert message.endswith("or cloudmart:kubecost.enabled to false")
    assert "cloudmart:kubecost.chart.path" in message
    assert "\n" not in message


def test_a_chart_in_an_oci_registry_is_found_with_an_anonymous_token(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charts, "_OCI_SCHEME", "http")
    check(chart(f"oci://{registry}/charts/kubecost", Source.OCI), ROOT)
    assert ":3.9.9 answers 404" in problem(chart(f"oci://{registry}/charts/kubecost", Source.OCI, "3.9.9"))


def test_a_registry_that_wants_credentials_counts_as_reachable_because_helm_may_have_them(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charts, "_OCI_SCHEME", "http")
    check(chart(f"oci://{registry}/private/kubecost", Source.OCI), ROOT)


@pytest.mark.parametrize("name", ["kubecost", "cost-analyzer"])
def test_the_test_charts_stand_for_the_versions_that_are_pinned(name: str) -> None:
    pinned = CHARTS[name]
    local = Chart(name=name, version=pinned.version, repo=f"tests/charts/{name}", source=Source.PATH)
    check(local, ROOT)


def test_a_local_chart_of_another_name_or_version_or_without_its_subcharts_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "kubecost"
    assert "is not there" in problem(chart("kubecost", Source.PATH), tmp_path)
    folder.mkdir()
    assert "has no Chart.yaml" in problem(chart("kubecost", Source.PATH), tmp_path)
    meta = {"name": "kubecost", "version": "3.2.1", "dependencies": [{"name": "finops-agent", "alias": "finopsagent"}]}
    (folder / "Chart.yaml").write_text(yaml.safe_dump(meta))
    # What readers of YAML disagree about is the chart's own affair.
    (folder / "Chart.yaml").write_text(yaml.safe_dump(meta) + "appVersion: 2026-01-01\n")
    assert "is chart kubecost 3.2.1" in problem(chart("kubecost", Source.PATH, "3.2.0"), tmp_path)
    assert "lacks its subchart finops-agent" in problem(chart("kubecost", Source.PATH), tmp_path)
    (folder / "charts").mkdir()
    (folder / "charts" / "finops-agent-1.0.20.tgz").touch()
    check(chart("kubecost", Source.PATH), tmp_path)


def test_a_packed_chart_is_read_from_its_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "kubecost.tgz", "w:gz") as archive:
        for name, version in (("kubecost/charts/sub/Chart.yaml", "1.0.0"), ("kubecost/Chart.yaml", "3.2.1")):
            content = yaml.safe_dump({"name": "kubecost", "version": version}).encode()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    check(chart("kubecost.tgz", Source.PATH), tmp_path)
    assert "is chart kubecost 3.2.1" in problem(chart("kubecost.tgz", Source.PATH, "3.2.2"), tmp_path)
    (tmp_path / "text.tgz").write_text("no archive")
    assert "is not a chart" in problem(chart("text.tgz", Source.PATH), tmp_path)
