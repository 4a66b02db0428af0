"""Recording rules and alerts that follow from the declaration: objectives of services, saturation, missing metrics.

Whom an alert concerns stands in its labels: `service` (a service, a store or a layer), `team` and `cost_center`.
`severity` is `critical` where somebody must come at once, `warning` where it must be seen to in working hours, `info`
where it explains another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from cloudmart.settings import GATEWAY, Criticality, Purpose, Service, Settings, TargetKind
from cloudmart.settings.mesh import MeshMode
from components.monitoring.monitors import unseen
from components.monitoring.promql import Owner, alert, number, record
from components.monitoring.stores import store_rules
from components.specs.prometheus import Rule, RuleGroup

#: A pair of windows, the burn rate at which it alerts, how long it must hold, and whether it is worth waking somebody:
#: the Site Reliability Workbook, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts", for 99.9 % over 30 days.
BURN_RATES = (
    ("1h", "5m", Decimal("14.4"), "2m", True),
    ("6h", "30m", Decimal(6), "15m", True),
    ("1d", "2h", Decimal(3), "1h", False),
    ("3d", "6h", Decimal(1), "3h", False),
)
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")

#: Requests a second of a service: all, those answered with 5xx, those answered too late; by `service`.
REQUESTS, FAILED, SLOW = "service:requests:rate5m", "service:requests_failed:rate5m", "service:requests_slow:rate5m"
#: The share of these among all, over a window; by `service`.
FAILED_SHARE, SLOW_SHARE = "service:requests_failed:ratio_rate{window}", "service:requests_slow:ratio_rate{window}"

#: Of a pod's memory limit, in percent; of a quota; of a volume that is left.
_MEMORY, _QUOTA, _VOLUME_LEFT = 90, 90, 15


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Where the requests of a service are counted: selectors of PromQL."""

    all: str
    failed: str
    #: Counts of a histogram: those up to the objective's bound, and all.
    fast: str
    timed: str
    #: The histogram itself, by `le`, and how many of its units make a second.
    buckets: str
    per_second: int


def requests_of(settings: Settings, name: str) -> Requests | None:
    """Whoever sees the requests first: the mesh's proxy, else the gateway, else the service itself, else nobody."""
    service = settings.services[name]
    bound = settings.monitoring.objective_of(service).milliseconds
    home = settings.namespace.name
    if settings.mesh.enabled and settings.mesh.mode is MeshMode.SIDECAR:
        where = f'reporter="destination", destination_workload_namespace="{home}", destination_workload="{name}"'
        return _requests("istio_requests_total", "istio_request_duration_milliseconds", where, "response_code", bound)
    if settings.gateway.enabled and service.routes:
        # Kong's names of its services hold ours between dots.
        where = f'job="{GATEWAY}", service=~"(.*[._])?{name}([._].*)?"'
        return _requests("kong_http_requests_total", "kong_request_latency_ms", where, "code", bound)
    if service.metrics:
        where = f'namespace="{home}", job="{name}"'
        return _requests("http_requests_total", "http_request_duration_seconds", where, "code", bound, per_second=1)
    return None


def _requests(counter: str, histogram: str, where: str, code: str, bound: int, *, per_second: int = 1000) -> Requests:
    upper = number(Decimal(bound) * per_second / 1000)
    # Prometheus 3 writes whole bounds with a decimal.
    le = f"{upper}([.]0)?" if "." not in upper else upper.replace(".", "[.]")
    return Requests(
        all=f"{counter}{{{where}}}",
        failed=f'{counter}{{{where}, {code}=~"5.."}}',
        fast=f'{histogram}_bucket{{{where}, le=~"{le}"}}',
        timed=f"{histogram}_count{{{where}}}",
        buckets=f"{histogram}_bucket{{{where}}}",
        per_second=per_second,
    )


_URGENT = {
    Criticality.CRITICAL: ("critical", "warning"),
    Criticality.HIGH: ("critical", "warning"),
    Criticality.STANDARD: ("warning", "info"),
    Criticality.LOW: ("warning", "info"),
}
# What follows a Deployment's name in those of its pods.
_POD = "-[a-z0-9]+-[a-z0-9]{5}"


def owners(settings: Settings) -> list[Owner]:
    """Everybody whom alerts on pods can concern: services, stores, layers."""
    home, center, team = settings.namespace.name, settings.namespace.cost_center, settings.namespace.team
    found = []
    for name, service in settings.services.items():
        urgent, later = _URGENT[service.criticality]
        found.append(
            Owner(
                name=name,
                pods=f'namespace="{home}", pod=~"{name}{_POD}"',
                team=settings.team_of(service),
                cost_center=settings.cost_center_of(service),
                urgent=urgent,
                later=later,
            )
        )
    for name, payer in settings.stores.items():
        if name not in settings.parties:
            continue  # it runs outside the cluster
        others = [service for service in settings.services if service.startswith(f"{name}-")]
        apart = f', pod!~"({"|".join(others)}){_POD}"' if others else ""
        found.append(
            Owner(
                name=name,
                pods=f'namespace="{home}", pod=~"{name}-.+"{apart}',
                team=team,
                cost_center=payer,
                # Whatever needs a store is down without it.
                urgent="critical",
                later="warning",
            )
        )
    for key, layer in settings.layers.items():
        if layer.namespace != home:
            found.append(
                Owner(
                    name=key,
                    pods=f'namespace="{layer.namespace}"',
                    team=layer.team or team,
                    cost_center=layer.cost_center or center,
                    urgent="warning",
                    later="warning",
                )
            )
    return found


def rules(settings: Settings) -> Mapping[str, list[RuleGroup]]:
    """The groups of rules by what they are about: each service, store and layer, and the platform as a whole."""
    found: dict[str, list[RuleGroup]] = {}
    for owner in owners(settings):
        groups = [RuleGroup(name=f"{owner.name}.saturation", rules=list(_saturation(settings, owner)))]
        if service := settings.services.get(owner.name):
            groups[0] = RuleGroup(name=groups[0].name, rules=[*groups[0].rules, *_replicas(settings, owner, service)])
            if requests := requests_of(settings, owner.name):
                groups.insert(
                    0, RuleGroup(name=f"{owner.name}.slo", rules=list(_slo(settings, owner, service, requests)))
                )
        if of_store := list(store_rules(settings, owner)):
            groups.append(RuleGroup(name=f"{owner.name}.store", rules=of_store))
        found[owner.name.replace(".", "-").lower()] = groups
    found["platform"] = [RuleGroup(name="platform", rules=list(_platform(settings)))]
    return found


def _slo(settings: Settings, owner: Owner, service: Service, requests: Requests) -> Iterator[Rule]:
    labels = {"service": owner.name}
    here = f'{{service="{owner.name}"}}'
    objective = settings.monitoring.objective_of(service)

    def rate(of: str) -> str:
        return f"sum(rate({of}[5m]))"

    yield record(REQUESTS, rate(requests.all), **labels)
    # No failure yet means that the series is not there.
    yield record(FAILED, f"{rate(requests.failed)} or {rate(requests.all)} * 0", **labels)
    yield record(SLOW, f"{rate(requests.timed)} - {rate(requests.fast)}", **labels)
    for window in WINDOWS:
        total = f"sum_over_time({REQUESTS}{here}[{window}])"
        for share, part in ((FAILED_SHARE, FAILED), (SLOW_SHARE, SLOW)):
            yield record(
                share.format(window=window), f"sum_over_time({part}{here}[{window}]) / ({total} > 0)", **labels
            )
    for name, share, promised, what in (
        ("ErrorBudgetBurn", FAILED_SHARE, objective.availability, "answers with errors"),
        ("LatencyBudgetBurn", SLOW_SHARE, objective.fast, f"takes longer than {objective.milliseconds} ms"),
    ):
        # By way of text: 100 - 99.95 would be 0.0499999.
        budget = (100 - Decimal(str(promised))) / 100
        for long, short, rate_, wait, pages in BURN_RATES:
            threshold = number(rate_ * budget)
            yield alert(
                name,
                f"{share.format(window=long)}{here} > {threshold} and {share.format(window=short)}{here} > {threshold}",
                wait=wait,
                severity=owner.urgent if pages else owner.later,
                labels={**owner.labels, "window": long},
                summary=f"{owner.name} {what} for {{{{ $value | humanizePercentage }}}} of the requests of {long}",
                description=(
                    f"It promises {number(Decimal(str(promised)))} % over 30 days. The rest is being used up at "
                    f"{number(rate_)} times the rate at which it would last, or faster."
                ),
                runbooks=settings.monitoring.runbooks,
            )


def _saturation(settings: Settings, owner: Owner) -> Iterator[Rule]:
    container = f'{owner.pods}, container!=""'
    by = "by (namespace, pod, container)"
    runbooks = settings.monitoring.runbooks
    where = "{{ $labels.pod }}, container {{ $labels.container }},"
    throttled, periods = (f"container_cpu_cfs_{kind}_total{{{container}}}" for kind in ("throttled_periods", "periods"))
    yield alert(
        "CpuThrottled",
        f"sum {by} (rate({throttled}[5m])) / sum {by} (rate({periods}[5m])) > 0.25",
        wait="15m",
        severity=owner.later,
        labels=owner.labels,
        summary=f"{where} wants more CPU than its limit",
        description="It was held back in {{ $value | humanizePercentage }} of the scheduler's periods.",
        runbooks=runbooks,
    )
    # Without the page cache, which can be given back.
    used = f"max {by} (container_memory_rss{{{container}}})"
    limit = f'max {by} (kube_pod_container_resource_limits{{resource="memory", {owner.pods}}})'
    yield alert(
        "MemoryNearLimit",
        f"{used} / {limit} > {number(Decimal(_MEMORY) / 100)}",
        wait="15m",
        severity=owner.later,
        labels=owner.labels,
        summary=f"{where} uses {{{{ $value | humanizePercentage }}}} of its memory limit",
        description="At the limit it is killed.",
        runbooks=runbooks,
    )
    killed = f'kube_pod_container_status_last_terminated_reason{{reason="OOMKilled", {owner.pods}}}'
    restarts = f"kube_pod_container_status_restarts_total{{{owner.pods}}}"
    yield alert(
        "OutOfMemory",
        f"sum {by} (increase({restarts}[15m])) > 0 and on (namespace, pod, container) max {by} ({killed}) == 1",
        wait="0s",
        severity=owner.urgent,
        labels=owner.labels,
        summary=f"{where} was killed for its memory",
        description="It reached its memory limit and was started anew.",
        runbooks=runbooks,
    )
    crashing = f'kube_pod_container_status_waiting_reason{{reason="CrashLoopBackOff", {owner.pods}}}'
    yield alert(
        "CrashLooping",
        f"max {by} (max_over_time({crashing}[5m])) >= 1",
        wait="10m",
        severity=owner.urgent,
        labels=owner.labels,
        summary=f"{where} fails again and again",
        description="It ends soon after every start, and each start waits longer.",
        runbooks=runbooks,
    )


def _replicas(settings: Settings, owner: Owner, service: Service) -> Iterator[Rule]:
    home, runbooks = settings.namespace.name, settings.monitoring.runbooks
    deployment = f'{{namespace="{home}", deployment="{owner.name}"}}'
    yield alert(
        "ReplicasMissing",
        f"max(kube_deployment_spec_replicas{deployment}) > max(kube_deployment_status_replicas_available{deployment})",
        wait="15m",
        severity=owner.urgent,
        labels=owner.labels,
        summary=f"{owner.name} has fewer pods than it wants",
        description="Of {{ $value }} wanted replicas some have not been available for a quarter of an hour.",
        runbooks=runbooks,
    )
    if service.autoscaling and service.autoscaling.min < service.autoscaling.max:
        hpa = f'{{namespace="{home}", horizontalpodautoscaler="{owner.name}-hpa"}}'
        current, most = (
            f"max(kube_horizontalpodautoscaler_{kind}{hpa})"
            for kind in ("status_current_replicas", "spec_max_replicas")
        )
        yield alert(
            "AutoscalerAtMaximum",
            f"{current} >= {most}",
            wait="15m",
            severity=owner.later,
            labels=owner.labels,
            summary=f"{owner.name} runs with as many pods as its autoscaler may start",
            description="More load would have to be borne by the {{ $value }} pods that there are.",
            runbooks=runbooks,
        )


def _platform(settings: Settings) -> Iterator[Rule]:
    home, layer = settings.namespace, settings.monitoring
    runbooks = layer.runbooks
    known = {owner.name: owner for owner in owners(settings)}
    platform = {
        "service": "platform",
        "team": layer.team or home.team,
        "cost_center": layer.cost_center or home.cost_center,
    }

    def of(namespace: str) -> Mapping[str, str]:
        """Whom a whole namespace concerns."""
        for key, part in settings.layers.items():
            if part.namespace == namespace != home.name:
                return known[key].labels
        return {"service": settings.project, "team": home.team, "cost_center": home.cost_center}

    # Nobody who declares no metrics is missed.
    for edge in settings.edges:
        if edge.purpose is Purpose.SCRAPE:
            owner = known[edge.target]
            yield _missing(
                "MetricsMissing",
                f'up{{job="{edge.target}", namespace="{settings.parties[edge.target].namespace}"}} == 1',
                owner.labels,
                owner.urgent if edge.kind is not TargetKind.LAYER else "warning",
                f"No pod of {edge.target} answers with metrics",
                runbooks,
            )
    # A pooler answers also when no instance is left behind it.
    for behind in unseen(settings):
        owner = known[behind.owner]
        yield _missing(
            "MetricsMissing",
            f'up{{job="{behind.name}", namespace="{behind.namespace}"}} == 1',
            {**owner.labels, "part": behind.name},
            owner.urgent,
            f"No pod of {behind.name} answers with metrics",
            runbooks,
        )
    for what, series in (
        ("kube-state-metrics", f'kube_pod_info{{namespace="{home.name}"}}'),
        ("kubelets", f'container_memory_rss{{namespace="{home.name}"}}'),
    ):
        yield _missing(
            "MetricsMissing",
            series,
            {**platform, "source": what},
            "critical",
            f"No metrics come from {what}: other alerts are blind",
            runbooks,
        )

    for namespace in dict.fromkeys([home.name, *(part.namespace for part in settings.layers.values())]):
        where = f'namespace="{namespace}"'
        quota = f'resource=~"(requests|limits)[.](cpu|memory)|pods", {where}'
        yield alert(
            "QuotaNearlyUsed",
            f'max by (namespace, resource) (kube_resourcequota{{type="used", {quota}}}) / '
            f'max by (namespace, resource) (kube_resourcequota{{type="hard", {quota}}} > 0)'
            f" > {number(Decimal(_QUOTA) / 100)}",
            wait="15m",
            severity="warning",
            labels=of(namespace),
            summary="{{ $labels.namespace }} uses {{ $value | humanizePercentage }} of its {{ $labels.resource }}",
            description="At the quota no further pod starts: no scaling, no rolling update.",
            runbooks=runbooks,
        )
        free, size = (f"kubelet_volume_stats_{kind}_bytes{{{where}}}" for kind in ("available", "capacity"))
        by = "by (namespace, persistentvolumeclaim)"
        yield alert(
            "VolumeFilling",
            f"min {by} ({free}) / max {by} ({size}) < {number(Decimal(_VOLUME_LEFT) / 100)}"
            f" and on (namespace, persistentvolumeclaim) min {by} (predict_linear({free}[6h], 4 * 86400)) < 0",
            wait="30m",
            severity="critical" if namespace == home.name else "warning",
            labels=of(namespace),
            summary="{{ $labels.persistentvolumeclaim }} has {{ $value | humanizePercentage }} of its space left",
            description="At the pace of the last six hours it is full within four days.",
            runbooks=runbooks,
        )

    if settings.mesh.enabled:
        yield alert(
            "CertificateExpiring",
            "min(citadel_server_root_cert_expiry_timestamp) - time() < 30 * 86400",
            wait="1h",
            severity="critical",
            labels=of(settings.mesh.namespace),
            summary="The mesh's root certificate expires in {{ $value | humanizeDuration }}",
            description="With it every connection between services ends.",
            runbooks=runbooks,
        )


def _missing(name: str, series: str, labels: Mapping[str, str], severity: str, summary: str, runbooks: str) -> Rule:
    return alert(
        name,
        f"absent({series})",
        wait="10m",
        severity=severity,
        labels=labels,
        summary=summary,
        description="What is not measured raises no alert.",
        runbooks=runbooks,
    )
