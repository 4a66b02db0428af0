"""Whether Kubecost knows of us, and what the last day cost by it, with the estimate beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from cloudmart.cluster.kubectl import Kubectl
from cloudmart.errors import UserError
from cloudmart.finops import actual
from cloudmart.finops.allocation.client import Client
from cloudmart.finops.allocation.discovery import discover
from cloudmart.finops.estimate import Range, of_stack
from cloudmart.finops.prices import HOURS_PER_MONTH
from cloudmart.finops.tables import money
from cloudmart.verify.check import Check, Finding, Stage, Status, finding, judged, skipped
from cloudmart.verify.state import State

#: Seconds for an answer: a verification is short, and asks for one day of one namespace.
TIME_LIMIT = 3.0
#: Estimates are of requests, bills of the greater of request and usage; beyond this it is something else.
_FAR = Decimal("1.25")
_NAMES = ("Kubecost holds allocations of ours", "cost of the last day")


@dataclass(frozen=True)
class Told:
    """What the Allocation API said: a report, or why there is none; and whether the user said where it is."""

    report: actual.Report | None = None
    refused: str = ""
    named: bool = False


def at(url: str) -> Client:
    """The API at an address that the user gives; asks nothing yet. Raises ``UserError`` where it is none."""
    return Client.at(url, time_limit=TIME_LIMIT)


def ask(kubectl: Kubectl, namespace: str, named: Client | None) -> Told:
    """Asks for the last day of a namespace, the API named or else the one found in the cluster. Changes nothing."""
    try:
        client = named or discover(kubectl, time_limit=TIME_LIMIT)
        window = client.window("24h", datetime.now(UTC))
        return Told(
            actual.report(client, window, "namespace", filters={"namespace": (namespace,)}, idle="hide", trend=False)
        )
    except UserError as error:
        return Told(refused=str(error), named=named is not None)


def checks(state: State, told: Told) -> Iterator[Check]:
    """Reachable first; a cost only of what was answered."""
    declared = state.expected.recording.outputs.get("kubecostUrl") is not None
    if told.report is None:
        if told.named:
            mend = "name an address that answers here, with --url or CLOUDMART_COST_URL, or none"
            yield judged(Stage.COST, _NAMES[0], "not known", [finding("Kubecost", told.refused, mend)])
            yield skipped(Stage.COST, _NAMES[1], "the address that was given does not answer")
            return
        if not declared:
            left_out = [line for line in state.left_out if line.startswith("kubecost")]
            why = left_out[0] if left_out else "Kubecost is off in this stack, and the cluster has none that answers"
        elif state.simulated:
            why = "pods are simulated here: no Kubecost answers"
        else:
            yield judged(Stage.COST, _NAMES[0], "not known", [_unreachable(state, told.refused)])
            why = "Kubecost does not answer"
            yield skipped(Stage.COST, _NAMES[1], why)
            return
        for name in _NAMES:
            yield skipped(Stage.COST, name, why)
        return
    report, namespace = told.report, state.expected.settings.namespace.name
    if not report.rows:
        yield judged(
            Stage.COST,
            _NAMES[0],
            f"{report.source} answers",
            [
                finding(
                    f"namespace {namespace}",
                    "has no allocations in the last day",
                    "the first come about 25 minutes after an installation; then see whether its agent may read the "
                    "namespace",
                    Status.WARN,
                )
            ],
        )
        yield skipped(Stage.COST, _NAMES[1], "no allocations yet")
        return
    yield judged(Stage.COST, _NAMES[0], f"{report.source} answers, {report.total.pods:.1f} pods on average", [])
    yield _last_day(state, report)


def _unreachable(state: State, why: str) -> Finding:
    return finding(
        "Kubecost",
        why,
        f"see its pods: {state.kubectl('get', 'pods', namespace=state.expected.settings.kubecost.namespace)}; "
        "or name the address with --url",
    )


def _last_day(state: State, report: actual.Report) -> Check:
    expected, namespace = state.expected, state.expected.settings.namespace.name
    estimate = of_stack(expected.recording.resources, expected.settings, expected.recording.root)
    of_ours = estimate.by_namespace.get(namespace, Range())
    hours = Decimal(report.covered_minutes) / 60
    least, likely, most = (amount / HOURS_PER_MONTH * hours for amount in (of_ours.min, of_ours.expected, of_ours.max))
    currency = estimate.prices.currency
    cost = Decimal(report.total.cost)
    told = (
        f"{money(float(cost))} for {hours:.1f} hours with data; by the estimate {money(float(likely))} {currency} "
        f"({money(float(least))} to {money(float(most))})"
    )
    findings = []
    if hours and cost > most * _FAR:
        findings.append(
            finding(
                f"namespace {namespace}",
                f"cost {money(float(cost))}, more than the estimate with every autoscaler at its most: "
                + money(float(most)),
                f"`cloudmart cost --stack {expected.settings.stack} --window 24h` says of what; prices may differ from "
                "the stack's book",
                Status.WARN,
            )
        )
    return judged(Stage.COST, _NAMES[1], told, findings)
