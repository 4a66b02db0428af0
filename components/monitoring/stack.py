"""Monitoring: Prometheus, Alertmanager and Grafana in a namespace of their own, and what they are told of the shop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pulumi
from pulumi_kubernetes.core.v1 import ConfigMap
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import NetworkPolicyEgressRuleArgs, NetworkPolicyPeerArgs, NetworkPolicySpecArgs

from cloudmart.settings import PROMETHEUS, Settings
from components import network
from components.custom import CustomObject
from components.labels import Labels
from components.layer import (
    API_SERVER_PORTS,
    ChartLayer,
    from_anywhere,
    layer_labels,
    layer_quota,
    to_ports,
    within,
)
from components.monitoring.monitors import monitors, unseen
from components.monitoring.rules import rules
from components.monitoring.values import (
    ADMIN,
    ADMIN_PASSWORD,
    ADMIN_USER,
    DASHBOARD_LABEL,
    METRICS_SERVER,
    PROMETHEUS_PORT,
    RELEASE,
    WEBHOOK_PORT,
    metrics_server_values,
    stack_values,
)
from components.password import checksum_of, credentials, generated
from components.specs.prometheus import POD_MONITOR, PROMETHEUS_RULE, PrometheusRuleSpec

_KUBELET_PORT = 10250
_OPERATOR_PODS = {"app.kubernetes.io/name": "kube-prometheus-stack-prometheus-operator"}
_ALERTMANAGER_PODS = {"app.kubernetes.io/name": "alertmanager"}
_METRICS_SERVER_PODS = {"app.kubernetes.io/name": "metrics-server"}


@dataclass(frozen=True, kw_only=True)
class MonitoringArgs:
    """All of the settings: rules and dashboards follow from services, stores, edges, prices and budgets. `labels` are
    the shop's."""

    settings: Settings
    labels: Labels


class Monitoring(ChartLayer):
    """``cloudmart:monitoring:Monitoring``

    GuardedNamespace; NetworkPolicies ``allow-within``, ``allow-outside`` (the API server, receivers of alerts at 443),
    ``allow-receivers`` where they are at other ports, ``allow-kubelets``, ``allow-scraping`` (one rule for each edge)
    and ``allow-webhook``; RandomPassword ``grafana-admin`` and Secret ``grafana-admin``; Helm Release ``monitoring``
    and, where it is wanted, ``metrics-server``; a PodMonitor for each edge that is scraped; a PrometheusRule for each
    owner of rules; a ConfigMap ``dashboard-<name>`` for each dashboard.
    """

    #: URL of Prometheus inside the cluster.
    prometheus_url: pulumi.Output[str]
    #: URL of Grafana inside the cluster.
    grafana_url: pulumi.Output[str]

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:monitoring:Monitoring", name, None, opts)
        settings, layer = args.settings, args.settings.monitoring
        chart = layer.chart_of("stack")
        labels = layer_labels(args.labels, layer, app=name, component="monitoring", version=chart.version)
        self._guard(
            name,
            layer,
            labels,
            settings.cluster,
            _network_policies(settings),
            quota=layer_quota(layer.workloads, layer.claims),
        )

        def metadata(of: str, more: dict[str, str] | None = None) -> ObjectMetaArgs:
            return ObjectMetaArgs(name=of, namespace=self.namespace, labels=labels.metadata | (more or {}))

        child = pulumi.ResourceOptions(parent=self, depends_on=[*self._guards])
        password = generated(ADMIN, settings.secrets, child)
        admin = credentials(
            metadata(ADMIN),
            {ADMIN_USER: "admin", ADMIN_PASSWORD: password.value},
            [password],
            settings.secrets,
            child,
        )
        release = self._release(
            RELEASE,
            layer,
            chart,
            stack_values(
                layer,
                cluster_id=f"{settings.project}-{settings.stack}",
                labels=labels.metadata,
                admin_checksum=checksum_of(password),
            ),
            after=[admin],
        )
        if layer.metrics_server.enabled:
            values = metrics_server_values(layer, labels=labels.metadata)
            self._release(METRICS_SERVER, layer, layer.chart_of("metrics_server"), values)

        # The release brings the kinds.
        after = pulumi.ResourceOptions(parent=self, depends_on=[release])
        for target, monitor in monitors(settings).items():
            CustomObject(f"scrape-{target}", POD_MONITOR, metadata=metadata(target), spec=monitor, opts=after)
        # Not at the top: Grafana's types are slow to import, and nothing else needs them or the prices.
        from cloudmart.finops.prices import of_stack
        from components.monitoring.costs import cost_rules
        from components.monitoring.dashboards import dashboards

        prices = of_stack(settings.prices, Path.cwd())
        for about, groups in {**rules(settings), "cost": cost_rules(settings, prices)}.items():
            CustomObject(
                f"rules-{about}",
                PROMETHEUS_RULE,
                metadata=metadata(about),
                spec=PrometheusRuleSpec(groups=groups),
                opts=after,
            )
        for title, dashboard in dashboards(settings, prices).items():
            ConfigMap(
                f"dashboard-{title}",
                metadata=metadata(f"dashboard-{title}", DASHBOARD_LABEL),
                data={f"{title}.json": dashboard},
                opts=child,
            )

        self.prometheus_url = pulumi.Output.format(
            "http://{0}-prometheus.{1}:{2}", RELEASE, self.namespace, PROMETHEUS_PORT
        )
        self.grafana_url = pulumi.Output.format("http://{0}-grafana.{1}", RELEASE, self.namespace)
        self.register_outputs(
            {"namespace": self.namespace, "prometheus_url": self.prometheus_url, "grafana_url": self.grafana_url}
        )


def _network_policies(settings: Settings) -> dict[str, NetworkPolicySpecArgs]:
    layer = settings.monitoring

    def selector(labels: dict[str, str]) -> LabelSelectorArgs:
        return LabelSelectorArgs(match_labels=labels)

    scraper = selector(dict(layer.pod_labels))
    found = {
        "allow-within": within(),
        "allow-outside": to_ports(API_SERVER_PORTS),
        "allow-kubelets": to_ports([_KUBELET_PORT], scraper),
        "allow-webhook": from_anywhere([WEBHOOK_PORT], selector(_OPERATOR_PODS)),
        "allow-scraping": NetworkPolicySpecArgs(
            pod_selector=scraper,
            policy_types=["Egress"],
            egress=[
                *(
                    NetworkPolicyEgressRuleArgs(
                        to=[network.party(settings.parties[edge.target], layer.namespace)], ports=network.tcp(edge.port)
                    )
                    for edge in settings.needs_of(PROMETHEUS)
                ),
                *(
                    NetworkPolicyEgressRuleArgs(
                        to=[
                            NetworkPolicyPeerArgs(
                                namespace_selector=selector({"kubernetes.io/metadata.name": behind.namespace}),
                                pod_selector=selector(dict(behind.pods)),
                            )
                        ],
                        ports=network.tcp(behind.port),
                    )
                    for behind in unseen(settings)
                ),
            ],
        ),
    }
    if layer.receiver_ports:
        found["allow-receivers"] = to_ports(layer.receiver_ports, selector(_ALERTMANAGER_PODS))
    if layer.metrics_server.enabled:
        # The API server asks it; it asks the kubelets.
        pods = selector(_METRICS_SERVER_PODS)
        found["allow-metrics-api"] = from_anywhere([_KUBELET_PORT], pods)
        found["allow-metrics-server-kubelets"] = to_ports([_KUBELET_PORT], pods)
    return found
