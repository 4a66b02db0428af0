"""Autoscalers, and the budgets that allow an eviction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloudmart.cluster.live import Reference
from cloudmart.verify.check import Check, Finding, Stage, Status, count, finding, judged, skipped
from cloudmart.verify.state import Object, State, conditions, reason


def checks(state: State) -> Iterator[Check]:
    """Metrics before bounds: without them an autoscaler knows neither."""
    scalers = [(one.reference, live) for one, live in state.present("HorizontalPodAutoscaler")]
    if scalers:
        findings = [found for reference, live in scalers for found in _blind(state, reference, live)]
        blind = {found.subject for found in findings}
        yield judged(
            Stage.AUTOSCALING,
            "autoscalers see live metrics",
            "; ".join(_told(live) for reference, live in scalers if reference.label not in blind) or "none",
            findings,
        )
        yield judged(
            Stage.AUTOSCALING,
            "not held at the most",
            ", ".join(_bounds(live) for _, live in scalers),
            [found for reference, live in scalers for found in _pinned(state, reference, live)],
        )
    else:
        yield skipped(Stage.AUTOSCALING, "autoscalers see live metrics", "no autoscaler is there")
    budgets = [(one.reference, live) for one, live in state.present("PodDisruptionBudget")]
    if not budgets:
        yield skipped(Stage.DISRUPTION, "allow an eviction", "no disruption budget is there")
        return
    findings = [found for reference, live in budgets for found in _held(state, reference, live)]
    yield judged(
        Stage.DISRUPTION,
        "allow an eviction",
        f"{len(budgets) - len(findings)} of {count(len(budgets), 'budget')}",
        findings,
    )


def _blind(state: State, reference: Reference, live: Object) -> Iterator[Finding]:
    describe = state.kubectl("describe", "hpa", reference.name, namespace=reference.namespace)
    target = live["spec"]["scaleTargetRef"]
    at = Reference(target.get("apiVersion", "apps/v1"), target["kind"], reference.namespace, target["name"])
    if at.kind in ("Deployment", "StatefulSet") and at not in state.live:
        declared = state.expected.objects.get(reference)
        wanted = declared.object["spec"]["scaleTargetRef"] if declared else target
        other = "" if wanted["name"] == target["name"] else f"; declared is {wanted['kind']} {wanted['name']}"
        yield finding(reference.label, f"its target {at.kind} {at.name} is not there{other}", state.put_back)
        return
    found = conditions(live)
    told = False
    for kind in ("AbleToScale", "ScalingActive"):
        condition = found.get(kind)
        if condition and condition["status"] != "True":
            told = True
            disabled = condition.get("reason") == "ScalingDisabled"
            mend = (
                "bring its target back from 0, see above"
                if disabled
                else f"{describe}; metrics come from metrics-server: {state.metrics_server}"
            )
            yield finding(reference.label, f"{kind} is {condition['status']}: {reason(condition)}", mend)
    if told:
        return
    current = (live.get("status") or {}).get("currentMetrics") or []
    for metric in live["spec"].get("metrics") or ():
        name, _ = _figures(metric)
        if not any(_figures(one)[0] == name and _figures(one)[1] is not None for one in current):
            yield finding(
                reference.label,
                f"{name} is <unknown>",
                f"the first metrics of new pods come within a minute; {describe} says what is missing after that",
            )


def _figures(metric: dict[str, Any]) -> tuple[str, Any]:
    """Name of a metric, of a spec's or of a status', and its figure; None where it is not known or is a spec's."""
    kind = str(metric["type"])
    body = metric.get(kind[0].lower() + kind[1:]) or {}
    name = body.get("name") or (body.get("metric") or {}).get("name") or kind
    current = body.get("current") or {}
    for key in ("averageUtilization", "averageValue", "value"):
        if current.get(key) is not None:
            return name, current[key]
    return name, None


def _told(live: Object) -> str:
    parts = []
    for one in (live.get("status") or {}).get("currentMetrics") or ():
        name, figure = _figures(one)
        percent = "%" if isinstance(figure, int) else ""
        parts.append(f"{name} {figure}{percent}")
    return f"{live['spec']['scaleTargetRef']['name']} {', '.join(parts)}"


def _bounds(live: Object) -> str:
    spec, status = live["spec"], live.get("status") or {}
    now, least, most = status.get("currentReplicas", 0), spec.get("minReplicas", 1), spec["maxReplicas"]
    at = ", its least" if now == least else ", its most" if now == most else ""
    return f"{spec['scaleTargetRef']['name']} {now} ({least} to {most}{at})"


def _pinned(state: State, reference: Reference, live: Object) -> Iterator[Finding]:
    spec, status = live["spec"], live.get("status") or {}
    limited = conditions(live).get("ScalingLimited", {})
    if limited.get("status") == "True" and limited.get("reason") == "TooManyReplicas":
        yield finding(
            reference.label,
            f"is held at its most of {spec['maxReplicas']} and wants more; now {_told(live)}",
            f"raise autoscaling.max of {spec['scaleTargetRef']['name']} (the quota follows), then {state.up}; or find "
            "out where the load comes from",
            Status.WARN,
        )
    elif status.get("currentReplicas", 0) and status["currentReplicas"] < spec.get("minReplicas", 1):
        yield finding(
            reference.label,
            f"has {status['currentReplicas']} replicas, fewer than its least of {spec.get('minReplicas', 1)}",
            "see its workload above",
            Status.WARN,
        )


def _held(state: State, reference: Reference, live: Object) -> Iterator[Finding]:
    status = live.get("status") or {}
    healthy, wanted = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    expected = status.get("expectedPods", 0)
    if status.get("disruptionsAllowed", 0) > 0:
        return
    if not expected:
        yield finding(
            reference.label,
            "covers no pod",
            f"bring up its pods, see above; where its selector was changed: {state.put_back}",
        )
    elif healthy < expected:
        yield finding(
            reference.label,
            f"allows no eviction: {healthy} of {count(expected, 'pod')} healthy, {wanted} must be",
            "bring up its pods, see above",
        )
    else:
        yield finding(
            reference.label,
            f"allows no eviction even though all of {count(expected, 'pod')} are healthy: no node can be drained",
            f"{state.put_back} where it is not as declared; else allow one: fewer in minAvailable, or one in "
            "maxUnavailable",
        )
