"""Monitoring: Prometheus, Alertmanager, Grafana and the metrics API.

Sizes are for a cluster of some hundred pods. CPU limits are at most four times, memory limits at most twice the
requests; the charts themselves set none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import Field, Strict, model_validator

from cloudmart.settings.base import (
    DnsLabel,
    Flag,
    HostName,
    MisfitError,
    Model,
    OwnNamespace,
    Port,
    Resources,
    VolumeSize,
)
from cloudmart.settings.charts import KUBE_PROMETHEUS_STACK, METRICS_SERVER, Chart, ChartSource
from cloudmart.settings.layer import Layer, Workload, amounts, workload
from cloudmart.settings.quantities import Bytes
from cloudmart.settings.service import Objective, Service

#: Name of Grafana's administrator's password, and of the Secret that it stands in.
GRAFANA_ADMIN = "grafana-admin"


class Stored(Workload):
    """A workload with a volume for each of its pods."""

    #: Size of each pod's volume.
    storage: VolumeSize


class MonitoringWorkloads(Model):
    """Requests and limits of every container that kube-prometheus-stack makes.

    node_exporter is left out for good: it wants the host's network, processes and root folder, and the whole namespace
    would have to allow that. What the rules and dashboards read comes from the kubelets and from kube-state-metrics.
    """

    #: Replicas scrape and store everything each for itself.
    prometheus: Stored = Stored(requests=amounts("250m", "1Gi"), limits=amounts("1", "2Gi"), storage=Bytes("20Gi"))
    #: Groups alerts and tells people.
    alertmanager: Stored = Stored(requests=amounts("20m", "64Mi"), limits=amounts("80m", "128Mi"), storage=Bytes("1Gi"))
    #: One pod without a volume: data sources, dashboards and the password come from the program, and what people change
    #: by hand is gone with the pod.
    grafana: Resources = Resources(requests=amounts("100m", "256Mi"), limits=amounts("400m", "512Mi"))
    #: Prometheus' operator.
    operator: Workload = workload(requests=("50m", "128Mi"), limits=("200m", "256Mi"))
    #: The state of the cluster's objects as metrics.
    kube_state_metrics: Workload = workload(requests=("50m", "128Mi"), limits=("200m", "256Mi"))
    #: Beside Prometheus, Alertmanager and Grafana: tells them of changed configuration.
    reloader: Resources = Resources(requests=amounts("10m", "64Mi"), limits=amounts("40m", "128Mi"))
    #: Jobs that make the certificate of the operator's webhook, at every install and upgrade.
    hooks: Resources = Resources(requests=amounts("20m", "32Mi"), limits=amounts("80m", "64Mi"))


class MetricsServerSettings(ChartSource):
    """The resource metrics API, by which autoscalers see CPU and memory.

    Off, because the local cluster and the managed ones of the large clouds have one: a second would take the API from
    the first.
    """

    #: Whether it is installed.
    enabled: Flag = False
    #: Its pods.
    server: Workload = workload(requests=("100m", "200Mi"), limits=("400m", "400Mi"))


class Objectives(Model):
    """What services promise, by their criticality."""

    critical: Objective = Objective(availability=99.95, fast=99, milliseconds=1000)
    high: Objective = Objective(availability=99.9, fast=99, milliseconds=1000)
    standard: Objective = Objective(availability=99.5, fast=99, milliseconds=1000)
    low: Objective = Objective(availability=99, fast=95, milliseconds=5000)


class MonitoringSettings(Layer):
    """kube-prometheus-stack, metrics-server, and the monitors, rules and dashboards that the catalog asks for."""

    namespace: OwnNamespace = "monitoring"
    stack: ChartSource = ChartSource()
    #: The usage that HPAs and `kubectl top` read.
    metrics_server: MetricsServerSettings = MetricsServerSettings()
    components: MonitoringWorkloads = MonitoringWorkloads()
    #: The cluster's default class where it is left out.
    storage_class: HostName | None = None
    #: Longer than the week that an unusual cost is told by.
    retention_days: Annotated[int, Strict(), Field(ge=8, le=400)] = 15
    #: Seconds between two scrapes, and between two evaluations of the rules.
    interval_seconds: Annotated[int, Strict(), Field(ge=10, le=60)] = 30
    #: Secret in the monitoring's namespace with the key ``alertmanager.yaml``: who is told of which alert. Without it
    #: alerts are seen in Alertmanager and Grafana, and nobody is told.
    receivers_secret: DnsLabel | None = None
    #: Ports besides 443 at which Alertmanager reaches those receivers: 587 or 465 for a mail server, say. Nobody can
    #: read them out of the Secret before it is there.
    receiver_ports: tuple[Port, ...] = ()
    #: Where people read the runbooks: a path of the repository, or a URL. Alerts name their section of it.
    runbooks: Annotated[str, Strict(), Field(pattern=r"^[^\s#]+$", max_length=500)] = "docs/runbooks.md"
    #: A service's own `slo` wins.
    objectives: Objectives = Objectives()
    #: An hour's cost is unusual when it is so many percent above that of the last seven days, and above the same hour
    #: a week ago.
    unusual_cost_percent: Annotated[int, Strict(), Field(ge=5, le=1000)] = 30

    @model_validator(mode="after")
    def _ports_are_of_receivers(self) -> Self:
        if self.receiver_ports and self.receivers_secret is None:
            raise MisfitError(
                "receiverPorts without receiversSecret; allowed: both, because without receivers nobody is told",
                ("receiverPorts",),
                ("receiversSecret",),
            )
        return self

    CHARTS: ClassVar[Mapping[str, Chart]] = {"stack": KUBE_PROMETHEUS_STACK, "metrics_server": METRICS_SERVER}

    @property
    def charts(self) -> Mapping[str, Chart]:
        found = dict(super().charts)
        if not self.metrics_server.enabled:
            del found["metricsServer"]
        return found

    @property
    def workloads(self) -> Mapping[str, Workload]:
        parts = self.components

        def pods(of: Resources, replicas: int = 1) -> Workload:
            return Workload(requests=of.requests, limits=of.limits, replicas=replicas)

        found: dict[str, Workload] = {
            "prometheus": parts.prometheus,
            "alertmanager": parts.alertmanager,
            "grafana": pods(parts.grafana),
            "operator": parts.operator,
            "kubeStateMetrics": parts.kube_state_metrics,
            "prometheusReloader": pods(parts.reloader, parts.prometheus.replicas),
            "alertmanagerReloader": pods(parts.reloader, parts.alertmanager.replicas),
            "grafanaSidecar": pods(parts.reloader),
            "hooks": pods(parts.hooks),
        }
        return found | ({"metricsServer": self.metrics_server.server} if self.metrics_server.enabled else {})

    @property
    def claims(self) -> tuple[Bytes, ...]:
        """The size of every volume claim."""
        stored = (self.components.prometheus, self.components.alertmanager)
        return tuple(part.storage for part in stored for _ in range(part.replicas))

    def objective_of(self, service: Service) -> Objective:
        """What a service promises: its own words, else those of its criticality."""
        own = {key: value for key, value in service.slo if value is not None}
        promised: Objective = getattr(self.objectives, service.criticality)
        return promised.model_copy(update=own)

    @property
    def pod_labels(self) -> Mapping[str, str]:
        """Labels of Prometheus' pods: they are the ones that scrape."""
        return {"app.kubernetes.io/name": "prometheus"}

    @property
    def service_account(self) -> str:
        """Prometheus' service account."""
        return "monitoring-prometheus"
