"""Grafana dashboards from the declaration: one of the whole shop, one a service, one of the costs.

Written with Grafana's own types. This module is slow to import: only the monitoring does, when it is on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from grafana_foundation_sdk.builders import bargauge, stat, table, text, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, Row, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import DataSourceRef, LegendDisplayMode, LegendPlacement, VizOrientation
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

from cloudmart.finops.prices import HOURS_PER_MONTH, PriceBook
from cloudmart.settings import Service, Settings
from cloudmart.settings.data import StoreMode
from cloudmart.settings.mesh import MeshMode
from cloudmart.settings.prices import WHOLE_STACK
from components.monitoring.costs import CENTER_HOURLY, CENTER_MONTHLY, HOURLY, SERVICE_HOURLY, STACK_MONTHLY
from components.monitoring.monitors import EXPORTER, INSTANCES, REPLICAS
from components.monitoring.promql import Owner, number
from components.monitoring.rules import FAILED_SHARE, REQUESTS, SLOW_SHARE, owners, requests_of
from components.monitoring.stores import LAST_BACKUP
from components.monitoring.values import DATASOURCE

#: PromQL and the name of its series; ``{{label}}`` in it is the value of a label.
Query: TypeAlias = tuple[str, str]

_SOURCE = DataSourceRef(type_val="prometheus", uid=DATASOURCE)
#: Grafana's grid has 24 columns.
_WHOLE, _HALF, _THIRD, _SIXTH = 24, 12, 8, 4
_TALL, _LOW = 8, 4
_RATE = "$__rate_interval"
_GIB = 2**30
#: Grafana takes no longer ones.
_MOST_IN_UID = 40


def dashboards(settings: Settings, prices: PriceBook) -> Mapping[str, str]:
    """By name: a dashboard's JSON, the same for the same settings."""
    found = {"overview": _overview(settings, prices), "cost": _cost(settings, prices)}
    of = {owner.name: owner for owner in owners(settings)}
    for name, service in settings.services.items():
        found[f"service-{name}"] = _service(settings, name, service, of[name], of, prices)
    return {name: JSONEncoder(sort_keys=True, indent=None).encode(made.build()) for name, made in found.items()}


def uid_of(name: str) -> str:
    """The stable identity of a dashboard: links and bookmarks live by it."""
    if len(name) <= _MOST_IN_UID:
        return name
    return hashlib.sha256(name.encode()).hexdigest()[:_MOST_IN_UID]


# --- panels ----------------------------------------------------------------------------------------------------------


def _query(query: Query, ref: int, *, instant: bool = False) -> Dataquery:
    expr, legend = query
    made = Dataquery().expr(expr).legend_format(legend).ref_id(chr(ord("A") + ref)).datasource(_SOURCE)
    return made.instant() if instant else made.range()


def _over_time(
    title: str, queries: Sequence[Query], unit: str, *, span: int = _HALF, description: str = "", stacked: bool = False
) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .unit(unit)
        .min(0)
        .span(span)
        .height(_TALL)
        .line_width(1)
        .fill_opacity(30 if stacked else 0)
        .legend(
            VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
        )
    )
    for ref, query in enumerate(queries):
        panel = panel.with_target(_query(query, ref))
    return panel


def _number(
    title: str,
    expr: str,
    unit: str,
    *,
    span: int = _SIXTH,
    description: str = "",
    bounds: Sequence[tuple[float, str]] = (),
    decimals: int | None = None,
    none: str = "no data",
) -> stat.Panel:
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .unit(unit)
        .span(span)
        .height(_LOW)
        .no_value(none)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(bounds))
        .with_target(_query((expr, ""), 0))
    )
    return panel if decimals is None else panel.decimals(decimals)


def _thresholds(bounds: Sequence[tuple[float, str]]) -> ThresholdsConfig:
    steps = [Threshold(value=None, color="green"), *(Threshold(value=value, color=color) for value, color in bounds)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _bars(title: str, query: Query, unit: str, bounds: Sequence[tuple[float, str]], description: str) -> bargauge.Panel:
    return (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .unit(unit)
        .min(0)
        .max(1)
        .span(_THIRD)
        .height(_TALL)
        .orientation(VizOrientation.HORIZONTAL)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(bounds))
        .with_target(_query(query, 0, instant=True))
    )


def _rows_of(title: str, expr: str, columns: Mapping[str, str], unit: str, *, span: int) -> table.Panel:
    """A table of an instant query: `columns` are its labels with their headings, the last is ``Value``."""
    shown = {"Time": True, **dict.fromkeys(("__name__",), True)}
    order: dict[str, object] = {"excludeByName": shown, "renameByName": dict(columns)}
    return (
        table.Panel()
        .title(title)
        .datasource(_SOURCE)
        .span(span)
        .height(_TALL)
        .override_by_name(columns["Value"], [DynamicConfigValue(id_val="unit", value=unit)])
        .with_transformation(DataTransformerConfig(id_val="organize", options=order))
        .with_target(_query((expr, ""), 0, instant=True).format(PromQueryFormat.TABLE))
    )


def _dashboard(settings: Settings, name: str, title: str, description: str, since: str) -> Dashboard:
    return (
        Dashboard(title)
        .uid(uid_of(name))
        .description(description)
        .tags([settings.project])
        .time(f"now-{since}", "now")
        .refresh("1m")
        .timezone("browser")
        # They come from the program: a change made here would be gone with the pod.
        .readonly()
        .link(
            DashboardLink("Dashboards")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([settings.project])
            .as_dropdown(True)
            .keep_time(True)
        )
    )


def _filled(dashboard: Dashboard, rows: Mapping[str, Sequence[Any]]) -> Dashboard:
    """Rows with their panels; one that has none is left out."""
    for title, panels in rows.items():
        if panels:
            dashboard = dashboard.with_row(Row(title))
        for panel in panels:
            dashboard = dashboard.with_panel(panel)
    return dashboard


# --- queries ---------------------------------------------------------------------------------------------------------


def _quantile(settings: Settings, name: str, quantile: str) -> str | None:
    requests = requests_of(settings, name)
    if requests is None:
        return None
    found = f"histogram_quantile({quantile}, sum by (le) (rate({requests.buckets}[{_RATE}])))"
    return found if requests.per_second == 1 else f"{found} / {requests.per_second}"


def _cpu(pods: str) -> str:
    return f'rate(container_cpu_usage_seconds_total{{{pods}, container!=""}}[{_RATE}])'


def _memory(pods: str) -> str:
    return f'container_memory_working_set_bytes{{{pods}, container!=""}}'


def _amount(kind: str, resource: str, pods: str) -> str:
    return f'kube_pod_container_resource_{kind}{{resource="{resource}", {pods}}}'


# --- dashboards ------------------------------------------------------------------------------------------------------


def _overview(settings: Settings, prices: PriceBook) -> Dashboard:
    currency, home = prices.currency, settings.namespace.name
    seen = [name for name in settings.services if requests_of(settings, name)]
    pods = {owner.name: owner.pods for owner in owners(settings) if owner.name in settings.services}
    alerts = 'count(ALERTS{alertstate="firing", severity="%s"}) or vector(0)'
    quantiles = [(query, name) for name in seen if (query := _quantile(settings, name, "0.95"))]
    budget = settings.budgets.get(WHOLE_STACK)
    bad = [(0.001, "orange"), (0.01, "red")]
    return _filled(
        _dashboard(settings, "overview", f"{settings.project}: overview", "All services at a glance.", "6h"),
        {
            "Now": [
                _number("Critical alerts", alerts % "critical", "none", bounds=[(1, "red")]),
                _number("Warnings", alerts % "warning", "none", bounds=[(1, "orange")]),
                _number("Requests", f"sum({REQUESTS})", "reqps", none="no source"),
                _number(
                    "Errors", f"max({FAILED_SHARE.format(window='5m')})", "percentunit", bounds=bad, none="no source"
                ),
                _number(
                    "Pods missing",
                    f'sum(kube_deployment_spec_replicas{{namespace="{home}"}})'
                    f' - sum(kube_deployment_status_replicas_available{{namespace="{home}"}})',
                    "none",
                    bounds=[(1, "orange")],
                ),
                _number(
                    f"A month of this ({currency})",
                    STACK_MONTHLY,
                    "none",
                    decimals=0,
                    bounds=[(float(budget.monthly), "red")] if budget else (),
                ),
            ],
            "Requests": [
                _over_time("Requests by service", [(REQUESTS, "{{service}}")], "reqps"),
                _over_time(
                    "Answered with an error", [(FAILED_SHARE.format(window="5m"), "{{service}}")], "percentunit"
                ),
                _over_time("95 % are answered within", quantiles, "s"),
                _over_time(
                    "Slower than promised",
                    [(SLOW_SHARE.format(window="5m"), "{{service}}")],
                    "percentunit",
                    description="Share of the requests that take longer than the service's objective says.",
                ),
            ]
            if seen
            else [],
            "Saturation": [
                _over_time(
                    "CPU, of what is requested",
                    [(f"sum({_cpu(of)}) / sum({_amount('requests', 'cpu', of)})", name) for name, of in pods.items()],
                    "percentunit",
                ),
                _over_time(
                    "Memory, of the limit",
                    [
                        (f"sum({_memory(of)}) / sum({_amount('limits', 'memory', of)})", name)
                        for name, of in pods.items()
                    ],
                    "percentunit",
                ),
            ],
            "Replicas": [
                _over_time(
                    "Pods that serve",
                    [(f'kube_deployment_status_replicas_available{{namespace="{home}"}}', "{{deployment}}")],
                    "none",
                ),
                _over_time(
                    "Restarts in an hour",
                    [
                        (
                            "sum by (pod)"
                            f' (increase(kube_pod_container_status_restarts_total{{namespace="{home}"}}[1h])) > 0',
                            "{{pod}}",
                        )
                    ],
                    "none",
                ),
            ],
            "Cost": [
                _over_time(
                    f"A month by service ({currency})",
                    [(f'{SERVICE_HOURLY}{{namespace="{home}"}} * {HOURS_PER_MONTH}', "{{service}}")],
                    "none",
                    span=_WHOLE,
                    stacked=True,
                )
            ],
        },
    )


def _service(
    settings: Settings, name: str, service: Service, owner: Owner, all_: Mapping[str, Owner], prices: PriceBook
) -> Dashboard:
    home = settings.namespace.name
    here = f'{{service="{name}"}}'
    objective = settings.monitoring.objective_of(service)
    requests = requests_of(settings, name)
    month = f'sum({SERVICE_HOURLY}{{namespace="{home}", service="{name}"}}) * {HOURS_PER_MONTH}'
    allowed = float((100 - Decimal(str(objective.availability))) / 100)
    p95 = _quantile(settings, name, "0.95")
    now = []
    if requests and p95:
        now = [
            _number("Requests", f"{REQUESTS}{here}", "reqps"),
            _number(
                "Errors, 1 h",
                FAILED_SHARE.format(window="1h") + here,
                "percentunit",
                bounds=[(allowed, "red")],
                decimals=2,
            ),
            _number("95 % within", p95, "s", bounds=[(objective.milliseconds / 1000, "red")]),
        ]
    available = f'kube_deployment_status_replicas_available{{namespace="{home}", deployment="{name}"}}'
    now += [
        _number("Pods that serve", f"sum({available})", "none", bounds=()),
        _number(f"A month of this ({prices.currency})", month, "none", decimals=2),
    ]
    return _filled(
        _dashboard(settings, f"service-{name}", f"{settings.project}: {name}", service.description, "6h"),
        {
            "Now": [_about(settings, name, service), *now],
            "Requests": _requests_of_service(settings, name, service) if requests else [],
            "Needs": _needs(settings, name, all_),
            "Scaling": _scaling(settings, name, service, owner),
            "Resources": _resources(owner),
            "Cost": _cost_of_service(settings, name, prices),
        },
    )


def _about(settings: Settings, name: str, service: Service) -> text.Panel:
    objective = settings.monitoring.objective_of(service)
    needs = ", ".join(f"`{target}`" for target in service.needs) or "nothing"
    callers = ", ".join(f"`{caller}`" for caller in settings.callers_of(name)) or "nobody"
    lines = [
        f"{service.description}.",
        f"Needs {needs}; called by {callers}.",
        f"Promises {number(Decimal(str(objective.availability)))} % without errors and "
        f"{number(Decimal(str(objective.fast)))} % within {objective.milliseconds} ms, over 30 days.",
        f"Criticality {service.criticality.value}, team {settings.team_of(service)}, "
        f"cost center {settings.cost_center_of(service)}.",
    ]
    return text.Panel().title("About").mode(TextMode.MARKDOWN).content("\n\n".join(lines)).span(_WHOLE).height(5)


def _requests_of_service(settings: Settings, name: str, service: Service) -> list[Any]:
    here = f'{{service="{name}"}}'
    objective = settings.monitoring.objective_of(service)
    budgets = [
        (f"{share.format(window='3d')}{here} / {number((100 - Decimal(str(promised))) / 100)}", what)
        for share, promised, what in (
            (FAILED_SHARE, objective.availability, "errors"),
            (SLOW_SHARE, objective.fast, "slow"),
        )
    ]
    panels = [
        _over_time(
            "Requests",
            [(f"{REQUESTS}{here}", "all"), (f"{REQUESTS}{here} * {FAILED_SHARE.format(window='5m')}{here}", "errors")],
            "reqps",
        ),
        _over_time(
            "Answered within",
            [
                (query, f"{float(quantile) * 100:g} %")
                for quantile in ("0.5", "0.95", "0.99")
                if (query := _quantile(settings, name, quantile))
            ],
            "s",
        ),
        _over_time(
            "Not as promised",
            [
                (f"{FAILED_SHARE.format(window='5m')}{here}", "errors"),
                (f"{SLOW_SHARE.format(window='5m')}{here}", "slow"),
            ],
            "percentunit",
        ),
        _over_time(
            "Budget for errors, rate of use over 3 days",
            budgets,
            "none",
            description="At 1 it lasts exactly 30 days.",
        ),
    ]
    if settings.mesh.enabled and settings.mesh.mode is MeshMode.SIDECAR:
        to = f'reporter="destination", destination_workload_namespace="{settings.namespace.name}"'
        panels.append(
            _over_time(
                "Who calls",
                [
                    (
                        "sum by (source_workload)"
                        f' (rate(istio_requests_total{{{to}, destination_workload="{name}"}}[{_RATE}]))',
                        "{{source_workload}}",
                    )
                ],
                "reqps",
            )
        )
    return panels


def _needs(settings: Settings, name: str, all_: Mapping[str, Owner]) -> list[Any]:
    """Of each service and store that it needs: what there is to see."""
    panels: list[Any] = []
    for target in settings.services[name].needs:
        if target in settings.services and requests_of(settings, target):
            here = f'{{service="{target}"}}'
            panels.append(
                _over_time(
                    f"{target}: errors and slow answers",
                    [
                        (f"{FAILED_SHARE.format(window='5m')}{here}", "errors"),
                        (f"{SLOW_SHARE.format(window='5m')}{here}", "slow"),
                    ],
                    "percentunit",
                )
            )
        store = getattr(settings.data, target, None)
        if store is None or target not in all_:
            continue
        pods = all_[target].pods
        panels.append(
            _over_time(
                f"{target}: CPU and memory, of the limit",
                [
                    (f"sum({_cpu(pods)}) / sum({_amount('limits', 'cpu', pods)})", "CPU"),
                    (f"sum({_memory(pods)}) / sum({_amount('limits', 'memory', pods)})", "memory"),
                ],
                "percentunit",
            )
        )
        if store.scrape_port is not None:
            panels += _store(settings, target, operated=store.mode is StoreMode.OPERATOR)
    return panels


def _store(settings: Settings, store: str, *, operated: bool) -> list[Any]:
    inner = {"postgres": INSTANCES, "redis": REPLICAS, "kafka": EXPORTER}
    where = f'namespace="{settings.namespace.name}", job="{inner[store] if operated else store}"'
    if store == "postgres" and operated:
        postgres = settings.data.postgres
        backups = [
            _over_time(
                "postgres: age of the newest backup",
                [(f"time() - max({LAST_BACKUP}{{{where}}} > 0)", "age")],
                "s",
            )
        ]
        return [
            _over_time(
                "postgres: behind the primary", [(f"max by (pod) (cnpg_pg_replication_lag{{{where}}})", "{{pod}}")], "s"
            ),
            *(backups if postgres and postgres.cluster.backup else []),
        ]
    if store == "postgres":
        return [
            _over_time(
                "postgres: connections",
                [
                    (f"sum(pg_stat_activity_count{{{where}}})", "in use"),
                    (f"max(pg_settings_max_connections{{{where}}})", "allowed"),
                ],
                "none",
            )
        ]
    if store == "redis":
        hits, misses = (f"rate(redis_keyspace_{kind}_total{{{where}}}[{_RATE}])" for kind in ("hits", "misses"))
        return [
            _over_time(
                "redis: found in the cache", [(f"sum({hits}) / (sum({hits}) + sum({misses}))", "hits")], "percentunit"
            ),
            _over_time(
                "redis: memory",
                [
                    (f"max(redis_memory_used_bytes{{{where}}})", "used"),
                    (f"max(redis_memory_max_bytes{{{where}}})", "allowed"),
                ],
                "bytes",
            ),
        ]
    return [
        _over_time(
            "kafka: messages not read yet",
            [(f"sum by (consumergroup, topic) (kafka_consumergroup_lag{{{where}}})", "{{consumergroup}}: {{topic}}")],
            "none",
        )
    ]


def _scaling(settings: Settings, name: str, service: Service, owner: Owner) -> list[Any]:
    home, scaling = settings.namespace.name, service.autoscaling
    available = f'kube_deployment_status_replicas_available{{namespace="{home}", deployment="{name}"}}'
    if scaling is None:
        return [
            _over_time("Pods", [(f"sum({available})", "serving"), (f"vector({service.replicas})", "wanted")], "none")
        ]
    hpa = f'namespace="{home}", horizontalpodautoscaler="{name}-hpa"'
    desired = f"kube_horizontalpodautoscaler_status_desired_replicas{{{hpa}}}"
    queries = {"cpu": _cpu(owner.pods), "memory": _memory(owner.pods)}
    targets = {"cpu": scaling.cpu, "memory": scaling.memory}
    return [
        _over_time(
            "Pods",
            [
                (f"sum({available})", "serving"),
                (f"max({desired})", "wanted"),
                (f"vector({scaling.min})", "least"),
                (f"vector({scaling.max})", "most"),
            ],
            "none",
        ),
        _over_time(
            "What the autoscaler looks at, of what is requested",
            [
                query
                for resource, target in targets.items()
                if target is not None
                for query in (
                    (
                        f"sum({queries[resource]}) / sum({_amount('requests', resource, owner.pods)})",
                        resource,
                    ),
                    (f"vector({number(Decimal(target) / 100)})", f"{resource} target"),
                )
            ],
            "percentunit",
        ),
    ]


def _resources(owner: Owner) -> list[Any]:
    pods = owner.pods

    def per_pod(use: str, resource: str) -> list[Query]:
        return [
            (f"sum by (pod) ({use})", "{{pod}}"),
            *((f"max(sum by (pod) ({_amount(kind, resource, pods)}))", kind[:-1]) for kind in ("requests", "limits")),
        ]

    throttled, periods = (
        f'sum by (pod) (rate(container_cpu_cfs_{kind}_total{{{pods}, container!=""}}[{_RATE}]))'
        for kind in ("throttled_periods", "periods")
    )
    return [
        _over_time("CPU of each pod", per_pod(_cpu(pods), "cpu"), "none", description="Cores."),
        _over_time("Memory of each pod", per_pod(_memory(pods), "memory"), "bytes"),
        _over_time("Held back at the CPU limit", [(f"{throttled} / {periods}", "{{pod}}")], "percentunit"),
        _over_time(
            "Restarts in an hour",
            [(f"sum by (pod) (increase(kube_pod_container_status_restarts_total{{{pods}}}[1h]))", "{{pod}}")],
            "none",
        ),
    ]


def _cost_of_service(settings: Settings, name: str, prices: PriceBook) -> list[Any]:
    where = f'namespace="{settings.namespace.name}", service="{name}"'
    center = settings.cost_center_of(settings.services[name])
    panels = [
        _over_time(
            f"A month of this ({prices.currency})",
            [(f"sum by (item) ({HOURLY}{{{where}}}) * {HOURS_PER_MONTH}", "{{item}}")],
            "none",
            stacked=True,
        )
    ]
    if budget := settings.budgets.get(center):
        panels.append(
            _over_time(
                f"Budget of {center} ({prices.currency} a month)",
                [
                    (f'{CENTER_MONTHLY}{{cost_center="{center}"}}', "spent at this pace"),
                    (f"vector({number(budget.monthly)})", "budget"),
                    (f"vector({number(budget.monthly * budget.warn_at / 100)})", "warning"),
                ],
                "none",
            )
        )
    return panels


def _cost(settings: Settings, prices: PriceBook) -> Dashboard:
    currency = prices.currency
    hourly = prices.effective
    allocatable = " + ".join(
        f'sum(kube_node_status_allocatable{{resource="{resource}"}}) * {number(price)}'
        for resource, price in (("cpu", hourly.cpu), ("memory", hourly.memory / _GIB))
    )
    requested = " + ".join(
        f'sum(kube_pod_container_resource_requests{{resource="{resource}"}}'
        f' and on (namespace, pod) kube_pod_status_phase{{phase="Running"}} == 1) * {number(price)}'
        for resource, price in (("cpu", hourly.cpu), ("memory", hourly.memory / _GIB))
    )
    spent = [
        f'label_replace({CENTER_MONTHLY}{{cost_center="{name}"}} / {number(budget.monthly)}, "of", "{name}", "", "")'
        if name != WHOLE_STACK
        else f'label_replace({STACK_MONTHLY} / {number(budget.monthly)}, "of", "{name}", "", "")'
        for name, budget in settings.budgets.items()
    ]
    warn = min((budget.warn_at for budget in settings.budgets.values()), default=80) / 100
    return _filled(
        _dashboard(
            settings,
            "cost",
            f"{settings.project}: cost",
            f"What runs, at the prices of {prices.name}. Kubecost has the cloud's bill.",
            "7d",
        ),
        {
            "Now": [
                _number(f"A month of this ({currency})", STACK_MONTHLY, "none", decimals=0, span=_THIRD),
                _number(
                    f"In 30 days, at the trend of 7 ({currency})",
                    f"predict_linear({STACK_MONTHLY}[7d], 30 * 86400)",
                    "none",
                    decimals=0,
                    span=_THIRD,
                ),
                _number(
                    f"Idle on the cluster's nodes ({currency} a month)",
                    f"(({allocatable}) - ({requested})) * {HOURS_PER_MONTH}",
                    "none",
                    decimals=0,
                    span=_THIRD,
                    description="What nodes can give, less what running pods request, by whomever.",
                ),
            ],
            "Cost centers": [
                *(
                    [
                        _bars(
                            "Of the budget",
                            (" or ".join(spent), "{{of}}"),
                            "percentunit",
                            [(warn, "orange"), (1, "red")],
                            "A month of what runs now, of what may be spent.",
                        )
                    ]
                    if spent
                    else []
                ),
                _over_time(
                    f"A month by cost center ({currency})",
                    [(CENTER_MONTHLY, "{{cost_center}}")],
                    "none",
                    span=_THIRD,
                    stacked=True,
                ),
                _over_time(
                    "An hour, of the average hour of 7 days",
                    [(f"avg_over_time({CENTER_HOURLY}[1h]) / avg_over_time({CENTER_HOURLY}[7d])", "{{cost_center}}")],
                    "percentunit",
                    span=_THIRD,
                ),
            ],
            "Services": [
                _over_time(
                    f"A month by service ({currency})",
                    [(f"{SERVICE_HOURLY} * {HOURS_PER_MONTH}", "{{service}}")],
                    "none",
                    stacked=True,
                ),
                _rows_of(
                    "Now",
                    f"sort_desc(sum by (service, namespace, cost_center) ({SERVICE_HOURLY}) * {HOURS_PER_MONTH})",
                    {
                        "service": "Service",
                        "namespace": "Namespace",
                        "cost_center": "Cost center",
                        "Value": f"{currency} a month",
                    },
                    "none",
                    span=_HALF,
                ),
                _over_time(
                    f"A month by item ({currency})",
                    [(f"sum by (item) ({HOURLY}) * {HOURS_PER_MONTH}", "{{item}}")],
                    "none",
                    stacked=True,
                ),
                _over_time(
                    f"A month by team ({currency})",
                    [(f"sum by (team) ({HOURLY}) * {HOURS_PER_MONTH}", "{{team}}")],
                    "none",
                    stacked=True,
                ),
            ],
        },
    )
