"""Helm releases: pinned, and with requests for the components we know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pulumi_policy import Severity

from ._kubernetes import UNKNOWN, Object, get
from ._rule import About, Config, Finding, resource_rule
from .resources import unrequested

_EXACT = re.compile(r"v?\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_PACKAGED = re.compile(r"-v?\d+\.\d+\.\d+[^/]*\.tgz$|\.tgz$")


def _component(path: str, *, resources: str | None = None, on: bool = True, switches: tuple[str, ...] = ()) -> Any:
    """An entry of the table: where its resources stand, and the values that must all be true for it to run."""
    names = switches or (f"{path}.enabled",)
    return {"resources": resources or f"{path}.resources", "switches": dict.fromkeys(names, on)}


# Value paths and switches with their defaults, from the charts' own values.yaml and templates: kubecost 3.2,
# cost-analyzer 2.9. What the chart's defaults request is not counted: it is not in the repository, so it has no price.
_CHARTS: dict[str, list[Any]] = {
    "kubecost": [
        _component(path)
        for path in (
            "frontend",
            "aggregator",
            "cloudCost",
            "localStore",
            "forecasting",
            "finopsagent",
            "networkCosts",
            "clusterController",
        )
    ],
    "cost-analyzer": [
        {"resources": "kubecostModel.resources", "switches": {}},
        {"resources": "kubecostAggregator.resources", "switches": {}},
        {"resources": "kubecostAggregator.cloudCost.resources", "switches": {}},
        _component("kubecostFrontend"),
        _component("forecasting"),
        _component("prometheus.server", switches=("global.prometheus.enabled", "prometheus.server.enabled")),
        _component("grafana", switches=("global.grafana.enabled",)),
        _component("grafana.sidecar", switches=("global.grafana.enabled",)),
        _component("finopsagent", on=False),
        _component("networkCosts", on=False),
        _component("clusterController", on=False),
        _component("kubecostMetrics.exporter", on=False),
        _component("diagnostics.deployment", on=False),
        _component("etlUtils", on=False),
        _component("prometheus.nodeExporter", on=False),
        _component("prometheus.pushgateway", on=False),
        _component("prometheus.alertmanager", on=False),
    ],
    "ingress": [
        _component(
            "controller.ingressController", switches=("controller.enabled", "controller.ingressController.enabled")
        ),
        _component("gateway"),
    ],
    "cloudnative-pg": [{"resources": "resources", "switches": {}}],
    "plugin-barman-cloud": [{"resources": "resources", "switches": {}}],
    "strimzi-kafka-operator": [{"resources": "resources", "switches": {}}],
    "redis-ha": [
        *({"resources": f"{part}.resources", "switches": {}} for part in ("redis", "sentinel", "splitBrainDetection")),
        _component("haproxy", on=False),
        _component("exporter", on=False),
    ],
    "istiod": [
        {"resources": "resources", "switches": {}},
        # Of the proxy in every pod of the mesh.
        {"resources": "global.proxy.resources", "switches": {}},
    ],
    "cni": [{"resources": "resources", "switches": {}}],
    "ztunnel": [{"resources": "resources", "switches": {}}],
    "gatekeeper": [
        {"resources": f"{part}.resources", "switches": {}} for part in ("controllerManager", "audit", "crds")
    ],
    "vertical-pod-autoscaler": [_component(path) for path in ("recommender", "updater", "admissionController")],
    "kube-prometheus-stack": [
        _component("prometheus.prometheusSpec", switches=("prometheus.enabled",)),
        _component("alertmanager.alertmanagerSpec", switches=("alertmanager.enabled",)),
        _component("prometheusOperator"),
        _component(
            "prometheusOperator.admissionWebhooks.patch",
            switches=("prometheusOperator.enabled", "prometheusOperator.admissionWebhooks.enabled"),
        ),
        _component("kube-state-metrics", switches=("kubeStateMetrics.enabled",)),
        _component("prometheus-node-exporter", switches=("nodeExporter.enabled",)),
        _component("grafana"),
        _component("grafana.sidecar", switches=("grafana.enabled",)),
    ],
    "metrics-server": [{"resources": "resources", "switches": {}}],
    "argo-cd": [
        {"resources": "controller.resources", "switches": {}},
        {"resources": "repoServer.resources", "switches": {}},
        {"resources": "server.resources", "switches": {}},
        {"resources": "applicationSet.resources", "switches": {}},
        *(_component(path) for path in ("redis", "redisSecretInit", "dex", "notifications")),
    ],
}


def _local(chart: str) -> bool:
    return chart.startswith((".", "/", "~")) or (chart.endswith(".tgz") and "://" not in chart)


def _pinned(found: Object, _config: Config) -> Iterator[Finding]:
    chart, version = found.body.get("chart"), found.body.get("version")
    if chart is None:
        yield Finding("no chart")
    if not isinstance(chart, str) or _local(chart):
        return  # a local chart is the version that lies there
    if version is None:
        yield Finding(f"chart '{chart}' has no version")
    elif version is not UNKNOWN and not _EXACT.fullmatch(str(version)):
        yield Finding(f"version '{version}' of chart '{chart}' is not one exact version")
    if found.body.get("devel") is True:
        yield Finding(f"devel is true, so chart '{chart}' may be a pre-release")
    if "://" not in chart and get(found.body, "repositoryOpts", "repo") in (None, ""):
        yield Finding(f"chart '{chart}' has no repository, so it depends on who runs this")


def chart_name(chart: str) -> str:
    """The name of a chart, of its repository, an address or a path."""
    return _PACKAGED.sub("", chart.rstrip("/")).rsplit("/", 1)[-1]


def _requests(found: Object, config: Config) -> Iterator[Finding]:
    chart, values = found.body.get("chart"), found.body.get("values")
    if not isinstance(chart, str) or values is UNKNOWN or found.body.get("valueYamlFiles"):
        return  # values from files are not among the inputs
    for component in config["charts"].get(chart_name(chart), ()):
        switched = [
            default if value is None else value
            for switch, default in component["switches"].items()
            for value in [get(values, *switch.split("."))]
        ]
        if not all(switched):
            continue
        path = component["resources"]
        missing = [name for name in ("cpu", "memory") if unrequested(get(values, *path.split("."), "requests", name))]
        if missing:
            yield Finding(
                f"no {' and '.join(missing)} request at values.{path}.requests",
                mend=f"set values.{path}.requests"
                + (f", or {' or '.join(component['switches'])} to false." if switched else "."),
            )


POLICIES = [
    resource_rule(
        About(
            name="helm-pinned",
            title="A Helm release names one exact version of a chart and where it comes from.",
            topic="helm",
            severity=Severity.HIGH,
            why="The same program would install something else tomorrow.",
            mend="set version to an exact version and repositoryOpts.repo, an oci:// address or a local path.",
            url="https://www.pulumi.com/registry/packages/kubernetes/api-docs/helm/v3/release/",
        ),
        frozenset({"Release", "Chart"}),
        _pinned,
    ),
    resource_rule(
        About(
            name="helm-requests",
            title="Known components of Helm releases request CPU and memory in the release's values.",
            topic="helm",
            severity=Severity.HIGH,
            why="Without requests it runs unreserved, and its cost cannot be estimated before it runs.",
            mend="set its requests in the release's values.",
            url="https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/",
        ),
        frozenset({"Release", "Chart"}),
        _requests,
        {
            "charts": {
                "type": "object",
                "additionalProperties": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["resources", "switches"],
                        "additionalProperties": False,
                        "properties": {
                            "resources": {"type": "string"},
                            "switches": {"type": "object", "additionalProperties": {"type": "boolean"}},
                        },
                    },
                },
                "default": _CHARTS,
                "description": "By chart: the value path of each component's resources, and the switches, with their "
                "defaults, that must all be on for it to run.",
            }
        },
    ),
]
