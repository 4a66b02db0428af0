"""Monitoring: its settings, the values of its charts, what it scrapes, its rules, and what the program registers."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from pydantic import ValidationError

from cloudmart.finops.estimate import estimate
from cloudmart.finops.prices import load as load_book
from cloudmart.preview.recorder import Recording, record
from cloudmart.settings import GATEWAY, PROMETHEUS, Purpose, Settings, load
from cloudmart.settings.load import CATALOG
from cloudmart.settings.monitoring import MonitoringSettings
from components.monitoring.costs import cost_rules
from components.monitoring.monitors import monitors
from components.monitoring.rules import owners, requests_of, rules
from components.monitoring.stack import _network_policies as network_policies
from components.monitoring.values import metrics_server_values, stack_values
from tests.conftest import ROOT

ON: dict[str, Any] = {"enabled": True}
LABELS = {"project": "cloudmart", "team": "platform", "cost-center": "CC-2002", "app": "monitoring"}
PAYER = {key: LABELS[key] for key in ("project", "team", "cost-center")}
CHARTS = ROOT / "tests" / "charts"
SMALL = {"cpu": "250m", "memory": "1Gi"}
#: Every store by an operator, with all that alerts are made for.
OPERATED: dict[str, Any] = {
    "postgres": {"mode": "operator", "exporter": ON, "cluster": {"backup": {"destination": "s3://backups/shop"}}},
    "redis": {"mode": "operator", "exporter": ON, "eviction": "noeviction"},
    "kafka": {
        "mode": "operator",
        "exporter": ON,
        "cluster": {"controllers": {"requests": SMALL, "limits": SMALL}},
    },
}
#: Metrics of an image of its own, which the catalog's services have none of.
MEASURED = {"image": {"repository": "registry.example.com/user", "tag": "1"}, "metrics": {"port": 9102, "path": "/m"}}


def settings_of(folder: Path, **layers: Any) -> Settings:
    """The catalog with some layers configured; single stores without exporters otherwise."""
    shutil.copy(ROOT / CATALOG, folder)
    config = {f"cloudmart:{key}": value for key, value in layers.items()}
    (folder / "Pulumi.test.yaml").write_text(json.dumps({"config": config or {"cloudmart:kubecost": {}}}))
    return load("test", folder)


def scraped(settings: Settings) -> dict[str, int]:
    return {edge.target: edge.port for edge in settings.edges if edge.purpose is Purpose.SCRAPE}


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"retentionDays": 7}, "greater than or equal to 8"),
        ({"intervalSeconds": 5}, "greater than or equal to 10"),
        ({"objectives": {"critical": {"availability": 90}}}, "greater than or equal to 95"),
        ({"objectives": {"critical": {"milliseconds": 300}}}, "25, 50, 100, 250, 1000, 5000 or 10000"),
        ({"components": {"nodeExporter": {}}}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_work_is_refused_with_what_is_allowed(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        MonitoringSettings.model_validate(config)
    assert message in str(raised.value)


def test_metrics_without_an_image_are_refused_because_the_placeholder_has_none(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="metrics is given and image is not: the placeholder has none"):
        settings_of(tmp_path, services={"user-service": {"metrics": {}}})


def test_a_service_promises_what_its_criticality_says_unless_it_says_so_itself(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, services={"user-service": {"slo": {"milliseconds": 250}}})
    objective = settings.monitoring.objective_of
    own, usual = objective(settings.services["user-service"]), objective(settings.services["product-service"])
    assert settings.services["user-service"].criticality == settings.services["product-service"].criticality
    assert own == usual.model_copy(update={"milliseconds": 250})
    assert usual.milliseconds != 250


# --- edges -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ({"monitoring": ON}, {}),
        ({"services": {"user-service": MEASURED}}, {}),
        ({"monitoring": ON, "services": {"user-service": MEASURED}}, {"user-service": 9102}),
        ({"monitoring": ON, "data": {"postgres": {"exporter": ON}}}, {"postgres": 9187}),
        ({"monitoring": ON, "gateway": ON, "mesh": ON | {"mode": "ambient"}}, {GATEWAY: 8100}),
        (
            {"monitoring": ON, "mesh": ON, "services": {"user-service": MEASURED}},
            dict.fromkeys(
                [
                    *("user-service", "product-service", "order-service", "payment-service", "notification-service"),
                    *("postgres", "redis", "kafka"),
                ],
                15020,
            ),
        ),
    ],
)
def test_what_declares_metrics_is_scraped_and_nothing_else(
    layers: dict[str, Any], expected: dict[str, int], tmp_path: Path
) -> None:
    settings = settings_of(tmp_path, **layers)
    assert scraped(settings) == expected
    # To scrape is not to call: the ports for calls stay closed to Prometheus.
    assert not any(PROMETHEUS in settings.callers_of(target) for target in settings.parties)


def test_a_monitor_selects_the_pods_of_its_party_at_the_port_of_its_edge(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, monitoring=ON, services={"user-service": MEASURED})
    (monitor,) = monitors(settings).values()
    assert monitor.wire() == {
        "selector": {"matchLabels": {"app": "user-service"}},
        "namespaceSelector": {"matchNames": ["cloudmart"]},
        "podMetricsEndpoints": [
            {
                "portNumber": 9102,
                "path": "/m",
                "relabelings": [{"action": "replace", "targetLabel": "job", "replacement": "user-service"}],
            }
        ],
    }


def test_in_the_mesh_the_proxys_container_is_the_target_at_its_own_port(tmp_path: Path) -> None:
    found = monitors(settings_of(tmp_path, monitoring=ON, mesh=ON))
    (endpoint,) = found["user-service"].wire()["podMetricsEndpoints"]
    assert endpoint["path"] == "/stats/prometheus"
    keep, address, _ = endpoint["relabelings"]
    assert (keep["action"], keep["regex"]) == ("keep", "istio-proxy")
    # As Prometheus does it: the expression is anchored at both ends.
    for before, after in (("10.0.0.7:15090", "10.0.0.7:15020"), ("[fd00::7]:15090", "[fd00::7]:15020")):
        group = re.fullmatch(address["regex"], before)
        assert group
        assert address["replacement"].replace("$1", group[1]) == after
    assert found["istiod"].wire()["namespaceSelector"] == {"matchNames": ["istio-system"]}


# --- values ----------------------------------------------------------------------------------------------------------


def stack(**config: Any) -> tuple[MonitoringSettings, dict[str, Any]]:
    settings = MonitoringSettings.model_validate(config)
    return settings, stack_values(settings, cluster_id="cloudmart-test", labels=LABELS, admin_checksum="0" * 64)


def containers(values: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """Everything in a chart's values that has resources, by where it stands."""
    found = {at: values["resources"]} if "limits" in values.get("resources", {}) else {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= containers(value, f"{at}.{key}")
        for item in value if isinstance(value, list) else []:
            if isinstance(item, Mapping):
                found |= containers(item, f"{at}.{key}.{item.get('name')}")
    return found


def test_every_container_that_the_charts_make_has_requests_and_limits() -> None:
    settings, values = stack()
    found = containers(values)
    assert set(found) == {
        ".prometheus.prometheusSpec",
        ".prometheus.prometheusSpec.containers.config-reloader",
        ".prometheus.prometheusSpec.initContainers.init-config-reloader",
        ".alertmanager.alertmanagerSpec",
        ".alertmanager.alertmanagerSpec.containers.config-reloader",
        ".alertmanager.alertmanagerSpec.initContainers.init-config-reloader",
        ".prometheusOperator",
        ".prometheusOperator.admissionWebhooks.patch",
        ".kube-state-metrics",
        ".grafana",
        ".grafana.sidecar",
    }
    for resources in [*found.values(), metrics_server_values(settings, labels=LABELS)["resources"]]:
        assert {"cpu", "memory"} == resources["requests"].keys() == resources["limits"].keys()
    # Needs the host's network and root folder, which the namespace's Pod Security does not allow.
    assert values["nodeExporter"] == {"enabled": False}


def test_monitors_and_rules_are_found_by_the_projects_label_and_carry_it() -> None:
    _, values = stack()
    spec = values["prometheus"]["prometheusSpec"]
    for selector in ("serviceMonitorSelector", "podMonitorSelector", "ruleSelector"):
        assert spec[selector] == {"matchLabels": {"project": "cloudmart"}}
    labelled = [values["commonLabels"], spec["podMetadata"]["labels"], values["kube-state-metrics"]["customLabels"]]
    labelled += [values["grafana"]["podLabels"], values["prometheusOperator"]["podLabels"]]
    labelled += [spec["storageSpec"]["volumeClaimTemplate"]["metadata"]["labels"]]
    assert all(labels == PAYER for labels in labelled)
    for kind in ("pods", "namespaces", "persistentvolumeclaims"):
        assert f"{kind}=[app,project,team,cost-center]" in values["kube-state-metrics"]["metricLabelsAllowlist"]


def test_prometheus_leaves_room_on_its_volume_and_receivers_come_from_a_secret() -> None:
    _, values = stack(components={"prometheus": {"storage": "10Gi"}}, receiversSecret="receivers", retentionDays=30)
    spec = values["prometheus"]["prometheusSpec"]
    assert (spec["retention"], spec["retentionSize"]) == ("30d", "8192MiB")
    alertmanager = values["alertmanager"]["alertmanagerSpec"]
    assert (alertmanager["useExistingSecret"], alertmanager["configSecret"]) == (True, "receivers")
    assert "configSecret" not in stack()[1]["alertmanager"]["alertmanagerSpec"]


def test_mail_ports_are_opened_where_a_receiver_needs_them_and_to_alertmanager_alone(tmp_path: Path) -> None:
    def policies(**config: Any) -> Mapping[str, Any]:
        return network_policies(settings_of(tmp_path, monitoring={**ON, **config}))

    assert "allow-receivers" not in policies()
    opened = policies(receiversSecret="receivers", receiverPorts=[587])["allow-receivers"]
    assert opened.pod_selector.match_labels == {"app.kubernetes.io/name": "alertmanager"}
    assert opened.policy_types == ["Egress"]
    assert [[(port.protocol, port.port) for port in rule.ports] for rule in opened.egress] == [[("TCP", 587)]]
    with pytest.raises(ValidationError, match="receiverPorts without receiversSecret; allowed: both"):
        stack(receiverPorts=[587])


@pytest.mark.parametrize("chart", ["kube-prometheus-stack", "metrics-server"])
def test_the_stand_in_chart_is_the_tables_chart_and_knows_every_key_that_is_set(chart: str) -> None:
    settings, values = stack(receiversSecret="receivers")
    if chart == "metrics-server":
        values = metrics_server_values(settings, labels=LABELS)
    pinned = {of.name: of.version for of in (settings.chart_of("stack"), settings.chart_of("metrics_server"))}
    about = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())
    assert (about["name"], about["version"]) == (chart, pinned[chart])
    known = yaml.safe_load((CHARTS / chart / "values.yaml").read_text())
    assert list(_unknown(values, known)) == []


def _unknown(values: Mapping[str, Any], known: Mapping[str, Any], at: str = "") -> list[str]:
    missing = [f"{at}{key}" for key in values if key not in known]
    for key, value in values.items():
        # An empty mapping takes any key; resources are held by value.
        if isinstance(value, Mapping) and known.get(key) and key != "resources":
            missing += _unknown(value, known[key], f"{at}{key}.")
    return missing


# --- rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "counter"),
    [
        ({}, None),
        ({"services": {"user-service": MEASURED}}, 'http_requests_total{namespace="cloudmart", job="user-service"}'),
        ({"gateway": ON, "services": {"user-service": MEASURED}}, "kong_http_requests_total"),
        ({"gateway": ON, "mesh": ON, "services": {"user-service": MEASURED}}, "istio_requests_total"),
        ({"gateway": ON, "mesh": ON | {"mode": "ambient"}}, "kong_http_requests_total"),
    ],
)
def test_requests_are_counted_by_whoever_sees_them_first(
    layers: dict[str, Any], counter: str | None, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path, monitoring=ON, **layers)
    found = requests_of(settings, "user-service")
    if counter is None:
        assert found is None
    else:
        assert found
        assert found.all.startswith(counter)


@pytest.mark.parametrize(
    ("layers", "bound", "other"),
    [
        ({"mesh": ON}, ("1000", "1000.0"), ("10000", "100", "1000.5")),
        (
            {"services": {"user-service": MEASURED | {"slo": {"milliseconds": 250}}}},
            ("0.25",),
            ("0.025", "2.5", "0125"),
        ),
        ({"services": {"user-service": MEASURED}}, ("1", "1.0"), ("10", "0.1")),
    ],
)
def test_the_objectives_bound_matches_one_bucket_however_prometheus_writes_it(
    layers: dict[str, Any], bound: tuple[str, ...], other: tuple[str, ...], tmp_path: Path
) -> None:
    found = requests_of(settings_of(tmp_path, monitoring=ON, **layers), "user-service")
    assert found
    expression = re.search(r'le=~"([^"]+)"', found.fast)
    assert expression
    assert all(re.fullmatch(expression[1], le) for le in bound)
    assert not any(re.fullmatch(expression[1], le) for le in other)


def test_pods_of_one_owner_are_those_of_no_other(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        monitoring=ON,
        services={
            "kafka-mirror": yaml.safe_load((ROOT / CATALOG).read_text())["services"]["user-service"] | {"routes": []}
        },
    )
    pods = {
        "kafka-0": "kafka",
        "kafka-mirror-7d9f6c5b8-abcde": "kafka-mirror",
        "user-service-7d9f6c5b8-abcde": "user-service",
    }

    def matches(selector: str, pod: str) -> bool:
        wanted = re.search(r'pod=~"([^"]+)"', selector)
        unwanted = re.search(r'pod!~"([^"]+)"', selector)
        return bool(wanted and re.fullmatch(wanted[1], pod) and not (unwanted and re.fullmatch(unwanted[1], pod)))

    for pod, owner in pods.items():
        assert [of.name for of in owners(settings) if 'namespace="cloudmart"' in of.pods and matches(of.pods, pod)] == [
            owner
        ]


def alerts(settings: Settings) -> list[dict[str, Any]]:
    groups = {**rules(settings), "cost": cost_rules(settings, load_book())}
    return [rule.wire() for of in groups.values() for group in of for rule in group.rules]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    config = {"monitoring": ON, "mesh": ON, "gateway": ON, "data": OPERATED}
    return settings_of(tmp_path_factory.mktemp("all"), **config, budgets={"CC-2001": {"monthly": 9}})


def test_every_expression_is_one_that_prometheus_parses(everything: Settings) -> None:
    for rule in alerts(everything):
        promql_parser.parse(rule["expr"])


def test_every_alert_says_whom_it_concerns_how_bad_it_is_and_what_to_do(everything: Settings) -> None:
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbooks.md").read_text(), re.MULTILINE)
    found = [rule for rule in alerts(everything) if "alert" in rule]
    assert {rule["alert"] for rule in found} == set(sections)
    for rule in found:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["labels"]["cost_center"] in {*everything.cost_centers, "stack"}
        assert rule["labels"]["team"]
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{rule['alert'].lower()}"


def test_whatever_is_scraped_is_missed_when_it_falls_silent() -> None:
    """The instances behind a pooler too: it answers also when none of them is left."""
    prod = load("prod", ROOT)
    scraped_jobs = {of.pod_metrics_endpoints[0].relabelings[-1].replacement for of in monitors(prod).values()}
    missed = {
        found[1]
        for rule in alerts(prod)
        if rule.get("alert") == "MetricsMissing" and (found := re.search(r'up{job="([^"]+)"', rule["expr"]))
    }
    assert {"postgres-instances", "redis-replicas", "istiod"} < missed == scraped_jobs


def test_alerts_on_stores_read_only_what_a_monitor_of_ours_scrapes(everything: Settings, tmp_path: Path) -> None:
    def jobs_of(settings: Settings) -> tuple[set[str], set[str]]:
        scraped_jobs = {
            of.pod_metrics_endpoints[0].relabelings[-1].replacement or "" for of in monitors(settings).values()
        }
        of_stores = [rule.wire() for name in settings.stores for rule in rules(settings)[name][-1].rules]
        expressions = [rule["expr"] for rule in of_stores]
        # What is not of kube-state-metrics comes from a store, and says from which of its pods.
        own = [series for expr in expressions for series in re.findall(r"\b(?!kube_)\w+_\w+{[^}]*}", expr)]
        assert own
        return {found[1] if (found := re.search(r'job="([^"]+)"', series)) else series for series in own}, scraped_jobs

    together = settings_of(tmp_path, monitoring=ON, data=OPERATED | {"kafka": {"mode": "operator", "exporter": ON}})
    for settings, controllers in ((everything, "kafka-controllers"), (together, "kafka")):
        read, scraped_jobs = jobs_of(settings)
        assert read <= scraped_jobs
        assert {"postgres", "postgres-instances", "redis-replicas", "kafka", "kafka-exporter", controllers} == read


@pytest.mark.parametrize(
    ("store", "own", "absent"),
    [
        ("postgres", {"exporter": ON}, {"BackupMissing", "LogNotArchived"}),
        ("redis", {"exporter": ON}, {"MemoryFull"}),
        ("postgres", {}, {"BackupMissing", "LogNotArchived", "ReplicationLag", "ReplicationBroken", "PoolerSaturated"}),
        ("kafka", {"mode": "single"}, {"ReplicasMissing", "PartitionsOffline", "ControllerMissing", "ConsumerLag"}),
    ],
)
def test_there_is_no_alert_on_what_a_store_does_not_have(
    store: str, own: dict[str, Any], absent: set[str], tmp_path: Path
) -> None:
    """No backup, a cache that may evict, no metrics, one pod."""

    def told(of: Settings) -> set[str]:
        return {rule.alert for group in rules(of)[store] for rule in group.rules if rule.alert}

    (tmp_path / "all").mkdir()
    every = told(settings_of(tmp_path / "all", monitoring=ON, data=OPERATED))
    assert every - told(settings_of(tmp_path, monitoring=ON, data={store: {"mode": "operator"} | own})) >= absent
    assert absent <= every


def test_who_is_woken_depends_on_how_much_the_service_matters(everything: Settings) -> None:
    def severities(service: str) -> set[tuple[str, str]]:
        return {
            (rule["labels"]["window"], rule["labels"]["severity"])
            for rule in alerts(everything)
            if rule.get("alert") == "ErrorBudgetBurn" and rule["labels"]["service"] == service
        }

    assert severities("payment-service") == {(w, "critical") for w in ("1h", "6h")} | {
        (w, "warning") for w in ("1d", "3d")
    }
    assert severities("notification-service") == {(w, "warning") for w in ("1h", "6h")} | {
        (w, "info") for w in ("1d", "3d")
    }


# --- the program -----------------------------------------------------------------------------------------------------


def program(**monitoring: Any) -> Recording:
    layers = ("mesh", "gateway", "gitops", "verticalAutoscaling", "admission")
    overrides: dict[str, Any] = {f"cloudmart:{layer}": {"enabled": False} for layer in layers}
    return record("dev", ROOT, overrides=overrides | {"cloudmart:monitoring": monitoring})


def test_off_it_leaves_no_trace_and_its_types_are_not_imported() -> None:
    off = program(enabled=False)
    assert not [found.urn for found in off.resources if "onitoring" in found.urn or "prometheus" in found.urn]
    assert "grafana" not in str(off.outputs)


def test_grafanas_password_is_made_and_stands_in_a_secret_alone() -> None:
    on = program(enabled=True)
    (release,) = [found for found in on.resources if found.type.endswith(":Release") and found.name == "monitoring"]
    assert release.inputs["values"]["grafana"]["admin"]["existingSecret"] == "grafana-admin"
    assert "adminPassword" not in str(release.inputs)
    (password,) = [found for found in on.resources if found.name == "grafana-admin" and "RandomPassword" in found.type]
    assert password.inputs["length"] == 32


def test_the_estimate_counts_every_container_and_claim_of_the_values() -> None:
    replicas = {"components": {"prometheus": {"replicas": 2}, "alertmanager": {"replicas": 3}}}
    on = program(enabled=True, metricsServer={"enabled": True}, **replicas)
    lines = [
        line
        for line in estimate(on.resources, load_book()).lines
        if line.namespace == "monitoring" and line.kind == "Release"
    ]
    parts = MonitoringSettings.model_validate({"metricsServer": {"enabled": True}, **replicas})
    # Hooks are over at once.
    workloads = [of for name, of in parts.workloads.items() if name != "hooks"]
    for item, expected in (
        ("cpu", sum(of.requests.cpu.cores * of.replicas for of in workloads)),
        ("memory", sum(of.requests.memory.bytes * of.replicas for of in workloads) / 2**30),
        ("storage", sum(claim.bytes for claim in parts.claims) / 2**30),
    ):
        found = sum(line.quantity * line.count.expected for line in lines if line.item == item)
        assert float(found) == pytest.approx(float(expected)), item
