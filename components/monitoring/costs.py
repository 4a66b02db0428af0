"""What runs, priced while it runs: recording rules with the prices of the stack's own book, and alerts on budgets.

The same sum as the estimate's, over what is there instead of what is declared: requests of running pods and capacity of
bound claims, by the hour, each to the cost center of its own label or else of its namespace's. Node pools' own prices
are not seen here: a pod costs what one outside any pool does.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from cloudmart.finops.prices import HOURS_PER_MONTH, PriceBook
from cloudmart.settings import Settings
from cloudmart.settings.prices import WHOLE_STACK
from components.monitoring.promql import alert, number, record
from components.specs.prometheus import Rule, RuleGroup

#: An hour's cost by namespace, workload's `service`, `cost_center`, `team` and `item` (compute, storage, balancer).
HOURLY = "workload:cost:hourly"
SERVICE_HOURLY, CENTER_HOURLY, CENTER_MONTHLY = (
    "service:cost:hourly",
    "cost_center:cost:hourly",
    "cost_center:cost:monthly",
)
STACK_MONTHLY = "stack:cost:monthly"
_GIB = 2**30
_LABELS = ("app", "cost_center", "team")


def cost_rules(settings: Settings, prices: PriceBook) -> list[RuleGroup]:
    """The rules that price, and those that warn."""
    return [
        RuleGroup(name="cost.recorded", rules=list(_recorded(settings, prices))),
        RuleGroup(name="cost.alerts", rules=list(_alerts(settings))),
    ]


def namespaces(settings: Settings) -> list[str]:
    """The namespaces that the stack pays for."""
    return list(dict.fromkeys([settings.namespace.name, *(layer.namespace for layer in settings.layers.values())]))


def _owned(costs: str, key: str, labels: str) -> str:
    """`costs` by `key`, each with the labels of whose it is: its own, else those of its namespace."""
    wanted = ", ".join(f"label_{label}" for label in _LABELS)
    own = f'max by (namespace, {key}, {wanted}) ({labels}{{label_cost_center!=""}})'
    home = f'max by (namespace, {wanted}) (kube_namespace_labels{{label_cost_center!=""}})'
    found = (
        f"{costs} * on (namespace, {key}) group_left ({wanted}) {own}"
        f" or on (namespace, {key}) {costs} * on (namespace) group_left ({wanted}) {home}"
    )
    for target, source in (
        ("service", "namespace"),
        ("service", "label_app"),
        ("cost_center", "label_cost_center"),
        ("team", "label_team"),
    ):
        found = f'label_replace({found}, "{target}", "$1", "{source}", "(.+)")'
    return f"sum by (namespace, service, cost_center, team) ({found})"


def _recorded(settings: Settings, prices: PriceBook) -> Iterator[Rule]:
    where = f'namespace=~"{"|".join(namespaces(settings))}"'
    hourly = prices.effective
    requested = " or ".join(
        f"({request} * {number(price)})"
        for resource, price in (("cpu", hourly.cpu), ("memory", hourly.memory / _GIB))
        for request in (
            f'kube_pod_container_resource_requests{{resource="{resource}", {where}}}',
            # Sidecars that start with the init containers and stay.
            f'(kube_pod_init_container_resource_requests{{resource="{resource}", {where}}}'
            " * on (namespace, pod, container) group_left () max by (namespace, pod, container)"
            ' (kube_pod_init_container_info{restart_policy="Always"}))',
        )
    )
    running = 'max by (namespace, pod) (kube_pod_status_phase{phase="Running"} == 1)'
    compute = f"(sum by (namespace, pod) ({requested}) and on (namespace, pod) {running})"
    yield record(HOURLY, _owned(compute, "pod", "kube_pod_labels"), item="compute")

    key = "persistentvolumeclaim"
    size = f"max by (namespace, {key}) (kube_persistentvolumeclaim_resource_requests_storage_bytes{{{where}}})"
    bound = f'max by (namespace, {key}) (kube_persistentvolumeclaim_status_phase{{phase="Bound"}} == 1)'

    def of_class(matcher: str) -> str:
        return f"max by (namespace, {key}) (kube_persistentvolumeclaim_info{{storageclass{matcher}}})"

    def priced(matcher: str, price: Decimal) -> str:
        return f"({size} and on (namespace, {key}) {of_class(matcher)}) * {number(price / _GIB)}"

    named = list(prices.storage_classes)
    other = f'!~"{"|".join(named)}"' if named else '=~".*"'
    parts = [priced(f'="{name}"', prices.storage(name).amount) for name in named]
    parts.append(priced(other, prices.storage(None).amount))
    storage = f"(({' or '.join(parts)}) and on (namespace, {key}) {bound})"
    yield record(HOURLY, _owned(storage, key, "kube_persistentvolumeclaim_labels"), item="storage")

    if balancer := prices.balancer().amount:
        count = f'count by (namespace, service) (kube_service_spec_type{{type="LoadBalancer", {where}}})'
        yield record(
            HOURLY, _owned(f"({count} * {number(balancer)})", "service", "kube_service_labels"), item="balancer"
        )

    yield record(SERVICE_HOURLY, f"sum by (namespace, service, cost_center, team) ({HOURLY})")
    yield record(CENTER_HOURLY, f"sum by (cost_center) ({HOURLY})")
    yield record(CENTER_MONTHLY, f"{CENTER_HOURLY} * {number(HOURS_PER_MONTH)}")
    yield record(STACK_MONTHLY, f"sum({CENTER_MONTHLY})")


def centers(settings: Settings) -> list[str]:
    """The cost centers that anything of the stack is billed to."""
    found = [
        settings.namespace.cost_center,
        *(settings.cost_center_of(service) for service in settings.services.values()),
        *settings.stores.values(),
        *(layer.cost_center or settings.namespace.cost_center for layer in settings.layers.values()),
    ]
    return sorted(set(found))


def _alerts(settings: Settings) -> Iterator[Rule]:
    runbooks, home = settings.monitoring.runbooks, settings.namespace
    for name, budget in settings.budgets.items():
        whole = name == WHOLE_STACK
        spent = STACK_MONTHLY if whole else f'{CENTER_MONTHLY}{{cost_center="{name}"}}'
        labels = {"team": home.team if whole else settings.cost_centers[name].owner, "cost_center": name}
        warn = budget.monthly * budget.warn_at / 100
        what = "The whole stack" if whole else f"Cost center {name}"
        yield alert(
            "BudgetNearlySpent",
            f"({spent} >= {number(warn)}) <= {number(budget.monthly)}",
            wait="1h",
            severity="warning",
            labels=labels,
            summary=f'{what} runs at {{{{ $value | printf "%.2f" }}}} a month, near its budget',
            description=f"A month of what runs now costs that much; the budget is {number(budget.monthly)}.",
            runbooks=runbooks,
        )
        yield alert(
            "BudgetExceeded",
            f"{spent} > {number(budget.monthly)}",
            wait="1h",
            severity="critical",
            labels=labels,
            summary=f'{what} runs at {{{{ $value | printf "%.2f" }}}} a month, over its budget',
            description=f"A month of what runs now costs that much; the budget is {number(budget.monthly)}.",
            runbooks=runbooks,
        )
    factor = number(1 + Decimal(settings.monitoring.unusual_cost_percent) / 100)
    for center in centers(settings):
        cost = f'{CENTER_HOURLY}{{cost_center="{center}"}}'
        labels = {"team": settings.cost_centers[center].owner, "cost_center": center}
        hour = f"avg_over_time({cost}[1h])"
        yield alert(
            "CostUnusual",
            f"{hour} > {factor} * avg_over_time({cost}[7d])"
            f" and {hour} > {factor} * avg_over_time({cost}[1h] offset 7d)",
            wait="30m",
            severity="warning",
            labels=labels,
            summary=f'Cost center {center} costs {{{{ $value | printf "%.4f" }}}} an hour, far more than it did',
            description=(
                f"The last hour was {settings.monitoring.unusual_cost_percent} % or more above the average of seven "
                "days and above the same hour a week ago."
            ),
            runbooks=runbooks,
        )
        yield alert(
            "CostMissing",
            f"absent({cost})",
            wait="30m",
            severity="warning",
            labels=labels,
            summary=f"Nothing is known of what cost center {center} costs",
            description="kube-state-metrics is away, or does not show the label cost-center: budgets are not watched.",
            runbooks=runbooks,
        )
