"""Right-sizing: what is recommended is safe on the usage it comes from, costs least, and stays put."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cloudmart.cluster.load import demand, from_settings
from cloudmart.errors import UserError
from cloudmart.finops import prices
from cloudmart.finops.rightsize import (
    LEAST_CPU,
    LEAST_MEMORY,
    MOST_SAMPLES,
    RULES,
    Recommendation,
    Sample,
    Thresholds,
    Usage,
    percentile,
    recommend,
    simulate,
    with_vpa,
)
from cloudmart.preview.recorder import HOME
from cloudmart.settings import Autoscaling, Bytes, Cpu, Criticality, Service, load

MIB = 2**20
HOURLY = prices.load().hourly
DAY = 24 * 60


def service(
    *,
    cpu: str = "200m",
    memory: str = "256Mi",
    criticality: str = "high",
    autoscaling: dict[str, Any] | None = None,
    replicas: int = 2,
    **limits: str,
) -> Service:
    return Service.model_validate(
        {
            "description": "for tests",
            "criticality": criticality,
            "traffic": "steady",
            "replicas": replicas,
            "resources": {
                "requests": {"cpu": cpu, "memory": memory},
                "limits": {"cpu": limits.get("cpu_limit", "1"), "memory": limits.get("memory_limit", "512Mi")},
            },
            "autoscaling": autoscaling,
        }
    )


def usage(
    cpu: Sequence[float], *, memory: float = 50 * MIB, replicas: float = 2, minutes: float = 5, **more: Any
) -> Usage:
    """Each entry of `cpu` is what all pods together use in `minutes`; `memory` is of each pod."""
    samples = tuple(
        Sample(minutes=minutes, replicas=replicas, cpu=cores, memory=memory * replicas, peak_memory=memory)
        for cores in cpu
    )
    return Usage(service="shop", samples=samples, source="test", **more)


def one(a_service: Service, used: Usage, **options: Any) -> Recommendation:
    (found,) = recommend({"shop": a_service}, [used], HOURLY, **options)
    return found


def day(level: float, peak: float | None = None, every: int = 5) -> list[float]:
    """A day at `level` cores with one hour at `peak`."""
    steps = DAY // every
    return [peak if peak is not None and index * every // 60 == 12 else level for index in range(steps)]


FIXED: dict[str, Any] = {"min": 2, "max": 8, "cpu": 70}


# --- what is recommended ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("criticality", list(Criticality))
def test_without_an_autoscaler_the_request_is_the_percentile_plus_the_margin_of_the_criticality(
    criticality: Criticality,
) -> None:
    cores = [0.001 * index for index in range(1, 289)]
    found = one(service(criticality=criticality, replicas=1, cpu="900m"), usage(cores, replicas=1))
    rule = RULES[criticality]
    needed = percentile(cores, [1.0] * len(cores), rule.cpu_percentile) * (1 + rule.cpu_margin)
    assert found.proposed is not None
    request = float(found.proposed.resources.requests.cpu.cores)
    assert needed <= request <= needed + 0.011
    assert found.proposed.resources.requests.memory.bytes >= 50 * MIB * (1 + rule.memory_margin)


def test_more_critical_services_get_more_room_of_both() -> None:
    found = [
        one(service(criticality=name, replicas=1, cpu="900m"), usage(day(0.1, 0.3), replicas=1)).proposed
        for name in ("low", "standard", "high", "critical")
    ]
    sizes = [(p.resources.requests.cpu, p.resources.requests.memory) for p in found if p]
    assert len(sizes) == 4
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_too_little_data_gives_no_recommendation_and_says_so() -> None:
    found = one(service(), usage([0.01] * 100, minutes=5))
    assert found.proposed is None
    assert found.reasons == ("too little data: 8.3 h of usage in 100 samples; 24 h in 24 are needed",)
    assert not list(found.changes())


def test_two_long_averages_are_too_little_data_however_long_they_are() -> None:
    assert one(service(), usage([0.01, 0.01], minutes=DAY)).proposed is None


def test_a_service_without_usage_is_named_and_left_alone() -> None:
    (found,) = recommend({"shop": service()}, [], HOURLY)
    assert found.proposed is None
    assert "too little data" in found.reasons[0]


def test_time_without_pods_does_not_count_as_usage() -> None:
    awake = usage(day(0.1))
    asleep = tuple(replace(sample, replicas=0, cpu=0, memory=0) for sample in awake.samples)
    assert one(service(), replace(awake, samples=asleep)).proposed is None


def test_nothing_goes_below_the_floors() -> None:
    found = one(service(replicas=1), usage(day(0.0001), memory=MIB, replicas=1))
    assert found.proposed is not None
    requests = found.proposed.resources.requests
    assert (float(requests.cpu.cores), requests.memory.bytes) == (LEAST_CPU, LEAST_MEMORY)


def test_an_underprovisioned_service_gets_more_and_is_told_what_it_lacks() -> None:
    found = one(
        service(cpu="50m", memory="64Mi", cpu_limit="100m", memory_limit="128Mi", replicas=2),
        usage(day(0.3), memory=100 * MIB),
    )
    assert found.proposed is not None
    assert found.proposed.resources.requests.cpu.cores >= Decimal("0.15")
    assert found.proposed.resources.requests.memory.bytes >= 125 * MIB
    assert found.saving < 0
    assert "not enough" in found.reasons[0]


def test_memory_follows_a_killed_container_and_not_what_it_reached_before() -> None:
    found = one(service(replicas=2), usage(day(0.1), memory=100 * MIB, oom_kills=3, oom_memory=400 * MIB))
    assert found.proposed is not None
    assert found.proposed.resources.requests.memory.bytes >= 500 * MIB
    assert found.risk == "high"
    assert "killed" in " ".join(found.reasons)


def test_nothing_is_recommended_below_what_a_vertical_autoscaler_calls_its_lower_bound() -> None:
    found = one(service(replicas=2), usage(day(0.01), lower_cpu=0.15, lower_memory=200 * MIB))
    assert found.proposed is not None
    assert found.proposed.resources.requests.cpu.cores >= Decimal("0.15")
    assert found.proposed.resources.requests.memory.bytes >= 200 * MIB


def vpa(name: str, cpu: str, memory: str) -> dict[str, Any]:
    bound = {"containerName": "app", "lowerBound": {"cpu": cpu, "memory": memory}, "target": {}}
    status = {"recommendation": {"containerRecommendations": [bound]}}
    return {"spec": {"targetRef": {"kind": "Deployment", "name": name}}, "status": status}


def test_lower_bounds_are_read_from_what_kubectl_prints_of_vertical_autoscalers() -> None:
    new = {"spec": {"targetRef": {"name": "new"}}}  # has recommended nothing yet
    text = json.dumps({"items": [vpa("shop", "49511u", "262144k"), vpa("other", "1", "1Gi"), new]})
    (found,) = with_vpa([usage(day(0.1))], text.encode(), "--vpa -")
    assert (found.lower_cpu, found.lower_memory) == (0.049511, 262144000)


@pytest.mark.parametrize("text", ["[]", "{}", '{"items": [{}]}', '{"items": [3]}'])
def test_text_that_is_no_list_of_vertical_autoscalers_is_one_error(text: str) -> None:
    with pytest.raises(UserError, match=r"--vpa -: found no list of objects; allowed: `kubectl get vpa"):
        with_vpa([usage(day(0.1))], text.encode(), "--vpa -")


def test_a_memory_limit_that_equals_its_request_still_does() -> None:
    found = one(service(memory="512Mi", memory_limit="512Mi", replicas=2), usage(day(0.1)))
    assert found.proposed is not None
    assert found.proposed.resources.requests.memory == found.proposed.resources.limits.memory


def test_memory_grows_only_for_a_pod_that_would_carry_more_load_than_any_was_seen_with() -> None:
    # Four pods ran where two are enough: twice the load of each, which none was seen with.
    four = one(
        service(cpu="900m", memory="900Mi", memory_limit="1Gi", autoscaling=FIXED), usage([0.4] * 288, replicas=4)
    )
    assert four.after is not None
    assert (four.after.mean_replicas, four.after.memory_peak) == (2, 100 * MIB)
    # For an hour two pods did carry it, and were seen to need no more.
    seen = usage([0.4] * 288, replicas=4)
    few = replace(seen.samples[0], replicas=2, memory=100 * MIB)
    both = one(
        service(cpu="900m", memory="900Mi", memory_limit="1Gi", autoscaling=FIXED),
        replace(seen, samples=(*seen.samples[:276], *[few] * 12)),
    )
    assert both.after is not None
    assert both.after.memory_peak == 50 * MIB


def test_a_momentary_peak_raises_the_limit_and_not_the_request() -> None:
    calm = usage(day(0.1))
    spiky = replace(calm, samples=(replace(calm.samples[0], peak_cpu=0.25), *calm.samples[1:]))
    quiet, found = one(service(replicas=2), calm).proposed, one(service(replicas=2), spiky).proposed
    assert quiet is not None
    assert found is not None
    assert found.resources.requests.cpu == quiet.resources.requests.cpu
    assert found.resources.limits.cpu.cores >= Decimal("0.3")


def test_the_pages_margins_are_the_ones_in_use() -> None:
    page = (HOME / "docs" / "rightsizing.md").read_text()
    for criticality, rule in RULES.items():
        share = f"{rule.cpu_percentile:g}th percentile"
        margins = f"{rule.cpu_margin:.0%} | {rule.memory_margin:.0%} | {rule.target}%".replace("%", " %")
        assert f"| {criticality} | {share} | {margins} |" in page


# --- the autoscaler --------------------------------------------------------------------------------------------------


def scaling(**changes: Any) -> Autoscaling:
    return Autoscaling.model_validate({"min": 1, "max": 10, "cpu": 50} | changes)


def replicas_of(cpu: Sequence[float], a_scaling: Autoscaling, request: float = 0.1, **more: Any) -> list[int]:
    return simulate(usage(cpu, **more), a_scaling, request, a_scaling.cpu, math.inf)


def test_the_simulated_autoscaler_runs_ceil_of_usage_over_target_within_its_bounds() -> None:
    assert replicas_of([0.01, 0.12, 0.26, 9.0], scaling()) == [1, 3, 6, 10]


def test_the_simulated_autoscaler_does_nothing_within_a_tenth_of_its_target() -> None:
    assert replicas_of([0.2, 0.215, 0.185], scaling()) == [4, 4, 4]


def test_the_simulated_autoscaler_waits_out_its_window_before_it_scales_down() -> None:
    down = {"scaleDown": {"windowSeconds": 600, "percent": 100, "periodSeconds": 60}}
    assert replicas_of([0.4, 0.05, 0.05, 0.05], scaling(**down)) == [8, 8, 1, 1]


def test_the_simulated_autoscaler_takes_away_no_more_than_its_policy_allows() -> None:
    down = {"scaleDown": {"windowSeconds": 0, "percent": 50, "periodSeconds": 60}}
    assert replicas_of([0.4, 0.05, 0.05, 0.05], scaling(**down), minutes=1) == [8, 4, 2, 1]


def test_the_simulated_autoscaler_adds_no_more_than_its_policy_allows() -> None:
    assert replicas_of([0.05, 0.5, 0.5, 0.5], scaling(), minutes=0.5) == [1, 2, 4, 8]


def test_a_compressed_day_meets_an_autoscaler_that_keeps_its_own_time() -> None:
    down = {"scaleDown": {"windowSeconds": 300, "percent": 100, "periodSeconds": 60}}
    assert replicas_of([0.4, 0.05, 0.05], scaling(**down), minutes=60)[1] == 1
    assert replicas_of([0.4, 0.05, 0.05], scaling(**down), minutes=60, speed=60)[1] == 8


def test_lowering_the_request_moves_the_trigger_and_the_replicas_are_counted_with_it() -> None:
    found = one(service(cpu="400m", autoscaling=FIXED), usage(day(0.2, 0.6)))
    assert found.before is not None
    assert found.after is not None
    assert found.before.peak_replicas < found.after.peak_replicas
    assert found.after.monthly < found.before.monthly


def test_the_cheapest_request_is_not_the_smallest_when_memory_comes_with_every_pod() -> None:
    lean = one(service(cpu="400m", autoscaling=FIXED), usage(day(0.2, 0.9), memory=40 * MIB))
    heavy = one(
        service(cpu="400m", memory="4Gi", memory_limit="8Gi", autoscaling=FIXED),
        usage(day(0.2, 0.9), memory=3000 * MIB),
    )
    assert lean.proposed is not None
    assert heavy.proposed is not None
    assert heavy.proposed.resources.requests.cpu >= lean.proposed.resources.requests.cpu
    assert lean.after is not None
    assert heavy.after is not None
    assert heavy.after.mean_replicas <= lean.after.mean_replicas


def test_a_memory_trigger_is_never_reached_by_the_memory_that_every_pod_needs_anyway() -> None:
    both = {**FIXED, "memory": 80}
    found = one(service(cpu="400m", memory="1Gi", memory_limit="2Gi", autoscaling=both), usage(day(0.1)))
    assert found.proposed is not None
    assert found.proposed.resources.requests.memory.bytes >= 50 * MIB * 1.25 / 0.8 - 1
    assert found.after is not None
    assert found.after.peak_replicas == 2


def test_after_a_burst_a_memory_trigger_lets_the_replicas_come_back() -> None:
    quick = {"scaleDown": {"windowSeconds": 60, "percent": 100, "periodSeconds": 60}}
    both = {**FIXED, "memory": 80, **quick}
    found = one(service(cpu="400m", memory="1Gi", memory_limit="2Gi", autoscaling=both), usage(day(0.1, 0.9)))
    assert found.proposed is not None
    replicas = simulate(
        usage(day(0.1, 0.9)),
        Autoscaling.model_validate(both),
        float(found.proposed.resources.requests.cpu.cores),
        found.proposed.cpu_target,
        found.proposed.resources.requests.memory.bytes,
    )
    assert max(replicas) > 2
    assert replicas[-1] == 2


def test_the_target_rises_to_what_the_criticality_allows_and_never_falls() -> None:
    for criticality, now, then in (("low", 60, 80), ("critical", 50, 60), ("critical", 75, 75), ("standard", 75, 75)):
        found = one(service(criticality=criticality, cpu="800m", autoscaling={**FIXED, "cpu": now}), usage(day(0.1)))
        assert found.proposed is not None
        assert found.proposed.cpu_target == then


def test_the_target_stays_within_the_policy_packs_band() -> None:
    found = one(
        service(criticality="low", cpu="800m", autoscaling={**FIXED, "cpu": 60}),
        usage(day(0.1)),
        thresholds=Thresholds(max_utilization=65),
    )
    assert found.proposed is not None
    assert found.proposed.cpu_target == 65


def test_a_service_at_its_maximum_gets_a_request_that_takes_it_off() -> None:
    found = one(service(cpu="50m", cpu_limit="250m", autoscaling=FIXED), usage(day(0.1, 0.6)))
    assert found.before is not None
    assert found.before.pinned > 0
    assert found.after is not None
    assert found.after.pinned == 0


# --- for any usage ---------------------------------------------------------------------------------------------------

services = st.builds(
    service,
    cpu=st.sampled_from(["10m", "50m", "100m", "400m", "2"]),
    memory=st.sampled_from(["32Mi", "128Mi", "512Mi"]),
    cpu_limit=st.just("4"),
    memory_limit=st.just("1Gi"),
    criticality=st.sampled_from(list(Criticality)),
    autoscaling=st.none()
    | st.fixed_dictionaries(
        {"min": st.integers(1, 2), "max": st.integers(2, 12), "cpu": st.integers(50, 85)},
        optional={"memory": st.integers(50, 85)},
    ),
)
series = st.lists(st.floats(0, 3), min_size=24, max_size=60)


@pytest.mark.slow
@hypothesis_settings(max_examples=150, deadline=None)
@given(services, series, st.integers(1, 400), st.integers(1, 4), st.floats(0, 1))
def test_what_is_proposed_is_safe_for_the_usage_it_comes_from(
    a_service: Service, cores: list[float], memory: int, replicas: int, spike: float
) -> None:
    used = usage(cores, memory=memory * MIB, replicas=replicas, minutes=60)
    used = replace(used, samples=(replace(used.samples[0], peak_cpu=spike), *used.samples[1:]))
    thresholds = Thresholds()
    found = one(a_service, used, thresholds=thresholds)
    if found.proposed is None:
        return
    plan, after, rule = found.proposed, found.after, RULES[a_service.criticality]
    assert after is not None
    requests, limits = plan.resources.requests, plan.resources.limits
    cpu, cpu_limit = float(requests.cpu.cores), float(limits.cpu.cores)
    assert cpu >= LEAST_CPU
    assert requests.memory.bytes >= LEAST_MEMORY
    # Counted again, apart from the search.
    counts = [a_service.replicas] * len(cores)
    if a_service.autoscaling is not None:
        counts = simulate(used, a_service.autoscaling, cpu, plan.cpu_target, requests.memory.bytes)
    settled = [total / count for total, count in zip(cores, counts, strict=True)]
    assert cpu >= percentile(settled, [1.0] * len(settled), rule.cpu_percentile) - 1e-9
    assert cpu_limit >= max(settled) - 1e-9
    assert requests.memory.bytes >= memory * MIB
    assert cpu_limit <= cpu * thresholds.max_cpu_ratio + 1e-9
    assert limits.memory.bytes <= requests.memory.bytes * thresholds.max_memory_ratio
    if a_service.min_replicas < a_service.max_replicas:
        assert max(counts) < a_service.max_replicas


@pytest.mark.slow
@hypothesis_settings(max_examples=100, deadline=None)
@given(services, series, st.integers(1, 400), st.integers(1, 4))
def test_a_second_run_on_the_same_usage_proposes_nothing(
    a_service: Service, cores: list[float], memory: int, replicas: int
) -> None:
    used = usage(cores, memory=memory * MIB, replicas=replicas, minutes=60)
    first = one(a_service, used)
    if first.proposed is None:
        return
    autoscaling = a_service.autoscaling
    if autoscaling is not None:
        autoscaling = autoscaling.model_copy(update={"cpu": first.proposed.cpu_target})
    changed = a_service.model_copy(update={"resources": first.proposed.resources, "autoscaling": autoscaling})
    assert one(changed, used).proposed is None


# --- against Robusta KRR's published strategy ------------------------------------------------------------------------
# `simple`, as of July 2026: CPU request = 95th percentile of each pod's usage, the greatest over the pods, no limit;
# memory request = limit = maximum plus 15 %; at least 10m and 100 MiB. A service with an autoscaler gets none at all
# unless --allow-hpa is given, which is what is computed here.

KRR_LEAST_CPU, KRR_LEAST_MEMORY = 0.010, 100 * MIB


def krr(used: Usage) -> tuple[float, float]:
    """Cores and bytes that KRR's `simple` strategy requests, with every pod using the same."""
    pods = sorted(sample.cpu / sample.replicas for sample in used.samples)
    rank = 0.95 * (len(pods) - 1)  # quantile_over_time interpolates
    below, above = pods[math.floor(rank)], pods[math.ceil(rank)]
    cpu = below + (above - below) * (rank - math.floor(rank))
    memory = max(sample.peak_memory for sample in used.samples) * 1.15
    return max(cpu, KRR_LEAST_CPU), max(memory, KRR_LEAST_MEMORY)


def simulated_day(name: str, factor: int) -> tuple[Service, Usage]:
    """A service of the catalog at `factor` times its requests, and its day of load as the autoscaler would meet it."""
    catalog = load("dev", HOME)
    profile, given_service = from_settings(catalog), catalog.services[name]
    data = given_service.model_dump(by_alias=True)
    for kind in data["resources"].values():
        kind["cpu"] = str(Cpu.of(Cpu(kind["cpu"]).cores * factor))
        kind["memory"] = str(Bytes.of(Bytes(kind["memory"]).bytes * factor))
    a_service = Service.model_validate(data)
    scaling = a_service.autoscaling
    assert scaling is not None
    wanted = [demand(profile, name, minute, seed=1) for minute in range(0, DAY, 5)]
    flat = Usage(
        service=name,
        samples=tuple(Sample(minutes=5, replicas=1, cpu=cpu, memory=size) for cpu, size in wanted),
        source="test",
    )
    requests = a_service.resources.requests
    counts = simulate(flat, scaling, float(requests.cpu.cores), scaling.cpu, requests.memory.bytes)
    samples = tuple(
        Sample(minutes=5, replicas=count, cpu=cpu, memory=size * count, peak_cpu=cpu / count, peak_memory=size)
        for count, (cpu, size) in zip(counts, wanted, strict=True)
    )
    return a_service, replace(flat, samples=samples)


NAMES = ("user-service", "product-service", "order-service", "payment-service", "notification-service")


@pytest.mark.parametrize("factor", [1, 4])
@pytest.mark.parametrize("name", NAMES)
def test_requests_move_in_the_same_direction_as_krrs_on_the_same_usage(name: str, factor: int) -> None:
    a_service, used = simulated_day(name, factor)
    (found,) = recommend({name: a_service}, [used], HOURLY)
    assert found.proposed is not None
    now, ours = a_service.resources.requests, found.proposed.resources.requests
    cpu, memory = krr(used)
    assert (ours.cpu < now.cpu) == (cpu < float(now.cpu.cores))
    if name == "notification-service" and factor == 1:
        # KRR's floor of 100 MiB lies above the 64Mi that this service has, and uses half of.
        assert memory == KRR_LEAST_MEMORY
        assert ours.memory < now.memory
    else:
        assert (ours.memory < now.memory) == (memory < now.memory.bytes)


def test_where_an_autoscaler_has_room_ours_asks_for_less_cpu_than_krr() -> None:
    # KRR sizes the pods that ran; at four times the request one pod carried the whole sale, so it sizes for that. Ours
    # lets the autoscaler carry it with more and smaller pods.
    a_service, used = simulated_day("order-service", 4)
    (found,) = recommend({"order-service": a_service}, [used], HOURLY)
    assert found.proposed is not None
    assert float(found.proposed.resources.requests.cpu.cores) < krr(used)[0]


def test_without_an_autoscaler_ours_asks_for_krrs_cpu_plus_the_margin_of_the_criticality() -> None:
    used = usage(day(0.1, 0.3), replicas=2)
    for criticality in Criticality:
        found = one(service(criticality=criticality, replicas=2, cpu="900m"), used)
        assert found.proposed is not None
        assert float(found.proposed.resources.requests.cpu.cores) >= krr(used)[0]


def test_ours_asks_for_no_less_memory_than_krr_before_its_floor() -> None:
    used = usage(day(0.1), memory=300 * MIB)
    for criticality in Criticality:
        found = one(service(criticality=criticality, memory="900Mi", memory_limit="1Gi"), used)
        assert found.proposed is not None
        assert found.proposed.resources.requests.memory.bytes >= krr(used)[1] - 1


def test_more_samples_than_a_week_of_minutes_are_taken_together_and_lose_neither_time_nor_peaks() -> None:
    wave = [0.3 + 0.2 * math.sin(index / 500) for index in range(3 * MOST_SAMPLES)]
    used = usage(wave, minutes=1)
    high = replace(used.samples[4000], cpu=1.5, peak_cpu=0.75, peak_memory=90 * MIB)
    used = replace(used, samples=(*used.samples[:4000], high, *used.samples[4001:]))
    scaling = {"min": 2, "max": 8, "cpu": 70}
    # The first third has a sample a minute; the whole has as many samples, each of three minutes.
    fine = one(service(autoscaling=scaling), replace(used, samples=used.samples[:MOST_SAMPLES])).before
    whole = one(service(autoscaling=scaling), used).before
    assert fine is not None
    assert whole is not None
    assert whole.memory_peak == fine.memory_peak == 90 * MIB
    assert whole.cpu_surge == fine.cpu_surge == 1.5 / 4  # four pods run then
    assert whole.cpu_need == pytest.approx(fine.cpu_need, rel=0.02)
    assert whole.mean_replicas == pytest.approx(fine.mean_replicas, rel=0.02)
