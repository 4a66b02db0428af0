"""Right-sizing: from what services used to what they should request, with the autoscaler in the sum.

Pure: usage and settings in, recommendations out. Three readers feed it (Kubecost's or OpenCost's allocation,
Prometheus, the load driver's own timeline); all give :class:`Usage`.

How a recommendation is made
----------------------------
1. The horizontal autoscaler is simulated over the usage: its formula with tolerance, bounds, stabilization window and
   rates. So a changed request moves its trigger, and the replicas and the cost follow.
2. Of all CPU requests (with the memory request that each needs) the cheapest is taken that is *safe*:

   - the request covers the percentile of a pod's usage that the criticality asks for, plus its margin, once the
     autoscaler has answered;
   - the limit covers the greatest usage of a pod while the autoscaler has not answered yet, plus the margin, and stays
     within the policy pack's ratio to the request;
   - at the observed peak plus the margin the autoscaler still stands below its maximum;
   - memory covers the maximum plus its margin, and stays below the autoscaler's trigger where memory is one.

3. What is safe already and would save little is left alone: running again on new usage must not turn in circles.

Margins and percentiles are this module's own (:data:`RULES`); the least CPU is the default of Robusta KRR.
"""

from __future__ import annotations

import math
import operator
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import Protocol

from cloudmart.errors import UserError
from cloudmart.finops.prices import HOURS_PER_MONTH, Hourly
from cloudmart.settings import Amounts, Autoscaling, Bytes, Cpu, Criticality, Resources, Service
from cloudmart.settings.source import parse_json

GIB = 2**30
MIB = 2**20

#: Of a container, in cores or bytes: more than any has.
_MOST_BOUND = 1e18

LEAST_CPU = 0.010
"""Cores. KRR's ``--cpu-min`` default; below it a pod's own overhead decides."""

LEAST_MEMORY = 32 * MIB
"""KRR's default is 100 MiB, more than what the catalog's smallest service asks for today; so it is lower here."""

OOM_MARGIN = 0.25
"""Above the limit at which a container was killed; KRR's ``oom_memory_buffer_percentage``."""

LEAST_MINUTES = 24 * 60
"""A day: what is used at night says nothing about noon."""

LEAST_SAMPLES = 24

MOST_SAMPLES = 7 * 24 * 60
"""A week of minutes. Of more, neighbours are taken together: what is computed grows with their number."""

NEAR = 1.02
"""Plans that cost up to so many times the least are taken for equally cheap."""

WORTHWHILE = 0.05
"""Share of a service's cost below which a safe setting is left alone."""

TOLERANCE = 0.1
"""The autoscaler's: within a tenth of its target it does nothing (kube-controller-manager's default)."""

REACTION_MINUTES = 1.5
"""From a rise of the load to the new pod's first answer: metrics 15 to 60 s old, a sync every 15 s, and the start."""


@dataclass(frozen=True)
class Rule:
    """What a criticality asks for; margins are shares of what was used."""

    cpu_percentile: float
    cpu_margin: float
    memory_margin: float
    #: The highest target utilization in percent that is recommended.
    target: int


RULES: Mapping[Criticality, Rule] = {
    Criticality.CRITICAL: Rule(cpu_percentile=99, cpu_margin=0.30, memory_margin=0.30, target=60),
    Criticality.HIGH: Rule(cpu_percentile=97, cpu_margin=0.20, memory_margin=0.25, target=70),
    Criticality.STANDARD: Rule(cpu_percentile=95, cpu_margin=0.15, memory_margin=0.20, target=75),
    Criticality.LOW: Rule(cpu_percentile=90, cpu_margin=0.10, memory_margin=0.15, target=80),
}


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What the policy pack allows: limit over request, and the band of target utilizations in percent."""

    max_cpu_ratio: float = 5
    max_memory_ratio: float = 2
    min_utilization: float = 50
    max_utilization: float = 85


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One interval of one service. `cpu` (cores) and `memory` (bytes) are of all its pods together, on average."""

    minutes: float
    replicas: float
    cpu: float
    memory: float
    #: The most that a single pod used at any moment of the interval, where the source knows it.
    peak_cpu: float = 0
    peak_memory: float = 0


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a service used, oldest sample first, and who says so."""

    service: str
    samples: tuple[Sample, ...]
    source: str
    #: How many times faster the samples' minutes pass than the cluster's clock: above 1 for a compressed day.
    speed: float = 1
    oom_kills: int = 0
    #: Bytes: the highest memory limit at which a container was killed.
    oom_memory: float = 0
    #: A VerticalPodAutoscaler's lower bounds, cores and bytes; nothing below them is recommended.
    lower_cpu: float = 0
    lower_memory: float = 0

    @cached_property
    def minutes(self) -> float:
        return sum(sample.minutes for sample in self.samples)

    @cached_property
    def busiest(self) -> float:
        """Cores of the pod with the most load that was seen."""
        return max((sample.cpu / sample.replicas for sample in self.samples if sample.replicas), default=0)

    @cached_property
    def steps(self) -> Sequence[tuple[float, float, float, float]]:
        """Of each sample: seconds on the cluster's clock, cores, pods, and bytes of a pod (0 where there is none)."""
        return [
            (s.minutes * 60 / self.speed, s.cpu, s.replicas, _pod_memory(s) if s.replicas else 0.0)
            for s in self.samples
        ]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What can be changed: resources, and the autoscaler's CPU target in percent (None: no autoscaler on CPU)."""

    resources: Resources
    cpu_target: int | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a plan amounts to on the usage."""

    mean_replicas: float
    peak_replicas: int
    #: Share of the time at the autoscaler's maximum.
    pinned: float
    #: Price of the requests, a month, in the book's currency.
    monthly: Decimal
    #: Cores and bytes of one pod: the percentile once replicas have settled, and the most before they have.
    cpu_need: float
    cpu_surge: float
    memory_peak: float


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """For one service. `proposed` is None where there is none, and the last of `reasons` says why."""

    service: str
    source: str
    criticality: Criticality
    current: Plan
    before: Outcome | None
    proposed: Plan | None
    after: Outcome | None
    #: ``low``, ``medium`` or ``high``; empty where nothing is proposed.
    risk: str
    reasons: tuple[str, ...]

    @property
    def saving(self) -> Decimal:
        """A month, in the book's currency; negative where more is needed."""
        if self.before is None or self.after is None:
            return Decimal(0)
        return self.before.monthly - self.after.monthly

    def changes(self) -> Iterator[tuple[tuple[str, ...], str | int]]:
        """Key paths below ``services`` and the new values; only what differs."""
        if self.proposed is None:
            return
        for kind in ("requests", "limits"):
            for name in ("cpu", "memory"):
                old, new = (getattr(getattr(p.resources, kind), name) for p in (self.current, self.proposed))
                if old != new:
                    yield (self.service, "resources", kind, name), str(new)
        if self.proposed.cpu_target is not None and self.proposed.cpu_target != self.current.cpu_target:
            yield (self.service, "autoscaling", "cpu"), self.proposed.cpu_target


class _Point(Protocol):
    @property
    def cpu(self) -> float: ...
    @property
    def memory(self) -> float: ...
    @property
    def ready(self) -> int: ...


class Run(Protocol):
    """A timeline of the load driver: points of a service in order, and how many minutes each stands."""

    @property
    def speed(self) -> float: ...
    @property
    def services(self) -> Sequence[str]: ...
    def of(self, service: str) -> Sequence[_Point]: ...
    def minutes_of(self, service: str) -> Sequence[float]: ...


def from_run(run: Run) -> list[Usage]:
    """The usage of a simulated day."""
    return [
        Usage(
            service=service,
            samples=tuple(
                Sample(
                    minutes=minutes,
                    replicas=point.ready,
                    cpu=point.cpu,
                    memory=point.memory,
                    peak_cpu=point.cpu / max(point.ready, 1),
                    peak_memory=point.memory / max(point.ready, 1),
                )
                for point, minutes in zip(run.of(service), run.minutes_of(service), strict=True)
            ),
            source="simulated load",
            speed=run.speed,
        )
        for service in run.services
    ]


def with_vpa(usage: Iterable[Usage], content: bytes, source: str) -> list[Usage]:
    """The usage with the lower bounds of VerticalPodAutoscalers: the answer of ``kubectl get vpa --output=json``.

    Bounds of a pod's containers add up. Raises ``UserError`` naming `source` for anything else.
    """
    listed = parse_json(content, source)
    try:
        bounds: dict[str, tuple[float, float]] = {}
        for item in listed["items"]:
            found = item.get("status", {}).get("recommendation", {}).get("containerRecommendations", [])
            lower = [container["lowerBound"] for container in found]
            cores = sum(_cores(bound["cpu"]) for bound in lower)
            size = sum(float(Bytes(bound["memory"]).bytes) for bound in lower)
            if not (0 <= cores <= _MOST_BOUND and 0 <= size <= _MOST_BOUND):  # nor NaN
                raise ValueError
            bounds[item["spec"]["targetRef"]["name"]] = (cores, size)
    except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{source}: found no list of objects; allowed: `kubectl get vpa --output=json`") from None
    return [
        replace(one, lower_cpu=bounds.get(one.service, (0, 0))[0], lower_memory=bounds.get(one.service, (0, 0))[1])
        for one in usage
    ]


def _cores(text: str) -> float:
    """A recommendation may be finer than a request: ``49511u``."""
    return float(text[:-1]) / 1e6 if text.endswith("u") else float(Cpu(text).cores)


def monthly(hourly: Hourly, cores: float, size: float) -> float:
    """Price of a month of so many cores and bytes, in the book's currency."""
    return (cores * float(hourly.cpu) + size / GIB * float(hourly.memory)) * float(HOURS_PER_MONTH)


def recommend(
    services: Mapping[str, Service],
    usage: Iterable[Usage],
    hourly: Hourly,
    thresholds: Thresholds | None = None,
    *,
    least_minutes: float = LEAST_MINUTES,
    reaction_minutes: float = REACTION_MINUTES,
) -> list[Recommendation]:
    """A recommendation for each service, in the catalog's order; services without usage get none and say so.

    `reaction_minutes` is on the cluster's clock, whatever the usage's `speed`.
    """
    found = {item.service: item for item in usage}
    return [
        _Sizing(
            service=service,
            usage=found.get(name) or Usage(service=name, samples=(), source="none"),
            hourly=hourly,
            thresholds=thresholds or Thresholds(),
            reaction=reaction_minutes * 60,
        ).recommendation(least_minutes)
        for name, service in services.items()
    ]


# --- the autoscaler --------------------------------------------------------------------------------------------------


def simulate(
    usage: Usage, scaling: Autoscaling, cpu_request: float, cpu_target: int | None, memory_request: float
) -> list[int]:
    """Replicas that the autoscaler would run at the end of each sample.

    Load is taken to spread over the pods: a service's CPU stays what it was, whatever the replicas. A pod's memory
    stays what it was too, but where a pod has more load than any was seen with, it grows with the load.
    """
    down, up = scaling.scale_down, scaling.scale_up
    grows, shrinks = 1 + up.percent / 100, 1 - down.percent / 100
    cpu = None if cpu_target is None else cpu_request * cpu_target / 100
    memory = None if scaling.memory is None else memory_request * scaling.memory / 100
    result: list[int] = []
    lowest, highest = _Window(up.window_seconds, lowest=True), _Window(down.window_seconds, lowest=False)
    now, replicas = 0.0, 0
    for seconds, cores, seen, pod in usage.steps:
        now += seconds
        raw = scaling.min
        if cpu is not None:
            raw = max(raw, _desired(replicas, cores / cpu))
        if memory is not None and seen:
            pods = replicas or seen
            raw = max(raw, _desired(replicas, pods * (pod * _beyond(cores / pods, usage.busiest)) / memory))
        raw = min(raw, scaling.max)
        least_wanted, most_wanted = lowest.after(now, raw), highest.after(now, raw)
        if not replicas:
            replicas = raw
        elif raw > replicas:
            most = math.ceil(replicas * grows ** min(max(1.0, seconds / up.period_seconds), 60))
            replicas = max(replicas, min(least_wanted, most))
        elif most_wanted < replicas:
            least = math.floor(replicas * shrinks ** max(1.0, seconds / down.period_seconds))
            replicas = max(most_wanted, least)
        result.append(replicas)
    return result


class _Window:
    """The lowest, or highest, of what was wanted within the last `seconds`, in constant time whatever their number."""

    def __init__(self, seconds: float, *, lowest: bool) -> None:
        self._seconds, self._sign = seconds, -1 if lowest else 1
        # What a later and as high one has not passed yet: falling.
        self._kept: deque[tuple[float, int]] = deque()

    def after(self, now: float, value: int) -> int:
        """With a further one, wanted at `now`."""
        while self._kept and self._kept[-1][1] * self._sign <= value * self._sign:
            self._kept.pop()
        self._kept.append((now, value))
        while len(self._kept) > 1 and self._kept[0][0] <= now - self._seconds:
            self._kept.popleft()
        return self._kept[0][1]


def _coarser(samples: Sequence[Sample]) -> Iterator[Sample]:
    """So many neighbours in one that there are at most `MOST_SAMPLES`: their averages, the highest of their peaks."""
    count = math.ceil(len(samples) / MOST_SAMPLES)
    if count <= 1:
        yield from samples
        return
    for start in range(0, len(samples), count):
        some = samples[start : start + count]
        minutes = sum(sample.minutes for sample in some)
        yield Sample(
            minutes=minutes,
            replicas=sum(sample.replicas * sample.minutes for sample in some) / minutes,
            cpu=sum(sample.cpu * sample.minutes for sample in some) / minutes,
            memory=sum(sample.memory * sample.minutes for sample in some) / minutes,
            peak_cpu=max(sample.peak_cpu for sample in some),
            peak_memory=max(_pod_memory(sample) for sample in some),
        )


def _beyond(load: float, busiest: float) -> float:
    """By how much a pod's load passes all that was seen; 1 where it does not."""
    return max(1.0, load / busiest) if busiest else 1.0


def _pod_memory(sample: Sample) -> float:
    return max(sample.peak_memory, sample.memory / sample.replicas)


def _desired(replicas: int, pods: float) -> int:
    """`pods`: how many would run exactly at the target."""
    if replicas and abs(pods / replicas - 1) <= TOLERANCE:
        return replicas
    return max(1, math.ceil(pods - 1e-9))


# --- one service -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Loads:
    """What each sample asks for, whatever the plan: minutes, cores of all pods on average, and at the most."""

    minutes: Sequence[float]
    cpu: Sequence[float]
    surges: Sequence[float]
    #: Bytes of the pod with the most.
    pod_memory: float


@dataclass(kw_only=True)
class _Sizing:
    service: Service
    usage: Usage
    hourly: Hourly
    thresholds: Thresholds
    reaction: float

    @property
    def rule(self) -> Rule:
        return RULES[self.service.criticality]

    @cached_property
    def _loads(self) -> _Loads:
        samples = self.usage.samples
        return _Loads(
            minutes=[sample.minutes for sample in samples],
            cpu=[sample.cpu for sample in samples],
            surges=[max(sample.cpu, sample.peak_cpu * sample.replicas) for sample in samples],
            pod_memory=max(map(_pod_memory, samples)),
        )

    def recommendation(self, least_minutes: float) -> Recommendation:
        scaling = self.service.autoscaling
        current = Plan(resources=self.service.resources, cpu_target=scaling.cpu if scaling else None)
        running = [sample for sample in self.usage.samples if sample.replicas > 0 and sample.minutes > 0]
        self.usage = replace(self.usage, samples=tuple(_coarser(running)))
        base = Recommendation(
            service=self.usage.service,
            source=self.usage.source,
            criticality=self.service.criticality,
            current=current,
            before=None,
            proposed=None,
            after=None,
            risk="",
            reasons=(),
        )
        if self.usage.minutes < least_minutes or len(running) < LEAST_SAMPLES:
            found = f"{self.usage.minutes / 60:.1f} h of usage in {len(running)} samples"
            return replace(
                base, reasons=(f"too little data: {found}; {least_minutes / 60:g} h in {LEAST_SAMPLES} are needed",)
            )
        base = replace(base, before=(before := self._outcome(current)))
        proposed, after = self._cheapest(current)
        if proposed == current:
            return replace(base, reasons=("as it should be",))
        safe = self._safe(current, before)
        if safe and float(before.monthly - after.monthly) < WORTHWHILE * float(before.monthly):
            return replace(base, reasons=(f"safe as it is; another setting would save under {WORTHWHILE:.0%}",))
        risk, why = self._risk(current, proposed, after)
        if not safe:
            why = ("what it has now is not enough: " + self._short_of(current, before), *why)
        return replace(base, proposed=proposed, after=after, risk=risk, reasons=why)

    # --- what a plan amounts to

    def _outcome(self, plan: Plan) -> Outcome:
        requests = plan.resources.requests
        cpu, memory = float(requests.cpu.cores), float(requests.memory.bytes)
        return self._measured(cpu, plan.cpu_target, memory)

    def _replicas(self, cpu: float, target: int | None, memory: float) -> list[int]:
        scaling = self.service.autoscaling
        if scaling is None:
            return [self.service.replicas] * len(self.usage.samples)
        return simulate(self.usage, scaling, cpu, target, memory)

    def _measured(self, cpu: float, target: int | None, memory: float, trigger: float | None = None) -> Outcome:
        """`memory` is priced; `trigger` is the request against which the autoscaler measures memory, if another."""
        usage = self.usage
        replicas = self._replicas(cpu, target, memory if trigger is None else trigger)
        serving = self._serving(replicas)
        full, loads = self.service.max_replicas, self._loads
        mean = sum(map(operator.mul, replicas, loads.minutes)) / usage.minutes
        at_max = sum(minutes for count, minutes in zip(replicas, loads.minutes, strict=True) if count >= full)
        return Outcome(
            mean_replicas=mean,
            peak_replicas=max(replicas),
            pinned=at_max / usage.minutes if self._scales else 0.0,
            monthly=self._monthly(mean, cpu, memory),
            cpu_need=percentile(self._settled(replicas, cpu, target), loads.minutes, self.rule.cpu_percentile),
            cpu_surge=max(map(operator.truediv, loads.surges, serving)),
            memory_peak=loads.pod_memory * _beyond(max(map(operator.truediv, loads.cpu, replicas)), usage.busiest),
        )

    def _priced(self, outcome: Outcome, cpu: float, target: int | None, memory: float) -> Outcome:
        """The outcome with another memory request, which decides the replicas only where it is a metric."""
        scaling = self.service.autoscaling
        if scaling is not None and scaling.memory is not None:
            return self._measured(cpu, target, memory)
        return replace(outcome, monthly=self._monthly(outcome.mean_replicas, cpu, memory))

    def _monthly(self, replicas: float, cpu: float, memory: float) -> Decimal:
        return Decimal(str(round(replicas * monthly(self.hourly, cpu, memory), 6)))

    def _settled(self, replicas: Sequence[int], cpu: float, target: int | None) -> list[float]:
        """Cores of a pod in each sample with the replicas that its load would have if it stood long enough: the way
        there is the limit's matter."""
        if target is None or not self._scales:
            return list(map(operator.truediv, self._loads.cpu, replicas))
        most, full = cpu * target / 100 * (1 + TOLERANCE), self.service.max_replicas
        return [
            cores / max(count, min(full, math.ceil(cores / most - 1e-9)))
            for cores, count in zip(self._loads.cpu, replicas, strict=True)
        ]

    @property
    def _scales(self) -> bool:
        return self.service.min_replicas < self.service.max_replicas

    def _serving(self, replicas: Sequence[int]) -> Iterator[int]:
        """Pods that answer while the newest are still on their way."""
        recent: deque[tuple[float, int]] = deque()
        now = 0.0
        for (seconds, *_), count in zip(self.usage.steps, replicas, strict=True):
            # Seen from the start of the sample: that is when its load comes.
            while len(recent) > 1 and recent[1][0] <= now - self.reaction:
                recent.popleft()
            yield min(count, recent[0][1]) if recent else count
            now += seconds
            recent.append((now, count))

    # --- what is safe

    def _cpu_floor(self, outcome: Outcome) -> float:
        return max(
            LEAST_CPU,
            self.usage.lower_cpu,
            outcome.cpu_need * (1 + self.rule.cpu_margin),
            self._cpu_top(outcome) / self.thresholds.max_cpu_ratio,
        )

    def _cpu_top(self, outcome: Outcome) -> float:
        return outcome.cpu_surge * (1 + self.rule.cpu_margin)

    def _memory_floor(self, outcome: Outcome) -> float:
        need = max(outcome.memory_peak * (1 + self.rule.memory_margin), self.usage.oom_memory * (1 + OOM_MARGIN))
        scaling = self.service.autoscaling
        if scaling is not None and scaling.memory is not None:
            # At the trigger it would add pods that bring nothing, since each needs the same memory again.
            need = max(need, outcome.memory_peak * (1 + self.rule.memory_margin) / (scaling.memory / 100))
        return max(LEAST_MEMORY, self.usage.lower_memory, need)

    def _has_headroom(self, outcome: Outcome, cpu: float, target: int | None) -> bool:
        if not self._scales or target is None:
            return True
        return outcome.peak_replicas < self.service.max_replicas and self._carries_peak(cpu, target)

    def _carries_peak(self, cpu: float, target: int | None) -> bool:
        """Whether all the pods together stay below their target at the peak and the margin."""
        if not self._scales or target is None:
            return True
        most = max(self._loads.cpu) * (1 + self.rule.cpu_margin)
        return most <= cpu * target / 100 * self.service.max_replicas * (1 + 1e-9)

    def _safe(self, plan: Plan, outcome: Outcome) -> bool:
        return not self._short_of(plan, outcome)

    def _short_of(self, plan: Plan, outcome: Outcome) -> str:
        requests, limits = plan.resources.requests, plan.resources.limits
        if float(requests.cpu.cores) < max(LEAST_CPU, outcome.cpu_need * (1 + self.rule.cpu_margin)) - 1e-9:
            return f"a pod needs {_milli(outcome.cpu_need)} of CPU and {self.rule.cpu_margin:.0%} more as margin"
        if float(limits.cpu.cores) < self._cpu_top(outcome) - 1e-9:
            return f"a pod uses up to {_milli(outcome.cpu_surge)} of CPU, and its limit leaves no margin"
        if requests.memory.bytes < self._memory_floor(outcome) - 1:
            return f"a pod uses up to {_mebi(outcome.memory_peak)} of memory" + (
                f" and was killed for it {self.usage.oom_kills} times" if self.usage.oom_kills else ""
            )
        if not self._has_headroom(outcome, float(requests.cpu.cores), plan.cpu_target):
            return f"at the peak the autoscaler stands at its maximum of {self.service.max_replicas}"
        ratios = (limits.cpu.cores / requests.cpu.cores, Decimal(limits.memory.bytes) / requests.memory.bytes)
        if ratios[0] > Decimal(str(self.thresholds.max_cpu_ratio)) or (
            ratios[1] > Decimal(str(self.thresholds.max_memory_ratio))
        ):
            return "its limits are further above the requests than the policy pack allows"
        return ""

    # --- the search

    def _cheapest(self, current: Plan) -> tuple[Plan, Outcome]:
        """The plan that costs least of those that are safe; of nearly equal ones that with the fewest pods."""
        target = self._target(current.cpu_target)
        found: list[tuple[float, float, Outcome]] = []
        for cpu in self._candidates(target):
            # What can be told without the simulation, which takes nearly all of the time.
            if self._least_cpu > cpu + 1e-9 or not self._carries_peak(cpu, target):
                continue
            if found and self._least_monthly(cpu) > float(min(outcome.monthly for _, _, outcome in found)) * NEAR:
                continue
            # Without a memory trigger first: how much memory a pod needs depends on how many there are.
            outcome = self._measured(cpu, target, 0, trigger=math.inf)
            if self._cpu_floor(outcome) > cpu + 1e-9:
                continue
            for memory in self._memory_sizes(outcome):
                outcome = self._priced(outcome, cpu, target, memory)
                if (
                    self._cpu_floor(outcome) <= cpu + 1e-9
                    and self._memory_floor(outcome) <= memory + 1
                    and self._has_headroom(outcome, cpu, target)
                ):
                    found.append((cpu, memory, outcome))
        # Not empty: at the largest candidate the fewest replicas carry the peak.
        least = float(min(outcome.monthly for _, _, outcome in found))
        near = [item for item in found if float(item[2].monthly) <= least * NEAR]
        cpu, memory, outcome = min(near, key=lambda item: (item[2].mean_replicas, item[2].monthly))
        return self._plan(current, cpu, memory, target, outcome), outcome

    @cached_property
    def _least_cpu(self) -> float:
        """Below this no request is safe, whatever the autoscaler does: with all of its pods at work."""
        need = percentile(self._loads.cpu, self._loads.minutes, self.rule.cpu_percentile)
        surge = max(self._loads.surges) / self.thresholds.max_cpu_ratio
        return max(need, surge) * (1 + self.rule.cpu_margin) / self.service.max_replicas

    def _least_monthly(self, cpu: float) -> float:
        """What no plan with this request costs less than: the fewest pods, with the memory that was seen."""
        memory = max(LEAST_MEMORY, self.usage.lower_memory, self._loads.pod_memory * (1 + self.rule.memory_margin))
        return self.service.min_replicas * monthly(self.hourly, cpu, memory)

    def _target(self, current: int | None) -> int | None:
        """Up to what the criticality allows; never down, which would only cost those who are content with it."""
        if current is None:
            return None
        allowed = min(self.rule.target, math.floor(self.thresholds.max_utilization))
        return max(current, allowed)

    def _candidates(self, target: int | None) -> Iterator[float]:
        """CPU requests from the floor up to one at which the fewest replicas carry the peak."""
        fewest = self.service.min_replicas
        peak, surge = max(self._loads.cpu), max(self._loads.surges)
        share = (target or 100) / 100
        top = (1 + self.rule.cpu_margin) * max(peak / share, surge / self.thresholds.max_cpu_ratio) / fewest
        top = cpu_step(max(top, LEAST_CPU, self.usage.lower_cpu))
        cpu = LEAST_CPU
        while cpu < top - 1e-9:
            yield cpu
            cpu = cpu_step(cpu + 0.0001)
        yield top

    def _memory_sizes(self, outcome: Outcome) -> Iterator[float]:
        floor = self._memory_floor(outcome)
        yield memory_step(floor)
        scaling = self.service.autoscaling
        if scaling is not None and scaling.memory is not None:
            # A pod's memory does not shrink with the load, so near its trigger the autoscaler never takes a pod away
            # again: ceil(replicas x ratio) < replicas only below 1 - 1/replicas. With this much it comes back to `min`.
            free = outcome.memory_peak / (scaling.memory / 100) / (1 - 1 / (scaling.min + 1))
            if free > floor:
                yield memory_step(free)

    def _plan(self, current: Plan, cpu: float, memory: float, target: int | None, outcome: Outcome) -> Plan:
        now = current.resources
        cpu_limit = min(float(now.limits.cpu.cores), _floored(cpu * self.thresholds.max_cpu_ratio, 0.005))
        cpu_limit = max(cpu_limit, cpu, math.ceil(self._cpu_top(outcome) * 1000 - 1e-6) / 1000)
        if now.limits.memory == now.requests.memory:
            memory_limit = memory  # on purpose: such a pod is evicted last
        else:
            most = _floored(memory * self.thresholds.max_memory_ratio, 4 * MIB)
            memory_limit = max(memory, min(float(now.limits.memory.bytes), most))
        resources = Resources(
            requests=Amounts(cpu=_cpu(cpu), memory=Bytes.of(round(memory))),
            limits=Amounts(cpu=_cpu(cpu_limit), memory=Bytes.of(round(memory_limit))),
        )
        # The same amount in other words (1 and 1000m) is no change.
        return Plan(resources=now if resources == now else resources, cpu_target=target)

    # --- risk

    def _risk(self, current: Plan, proposed: Plan, after: Outcome) -> tuple[str, tuple[str, ...]]:
        high, medium = list(self._high_risks()), list(self._medium_risks(current, proposed, after))
        level = "high" if high else "medium" if medium else "low"
        return level, (*high, *medium)

    def _high_risks(self) -> Iterator[str]:
        if self.usage.oom_kills:
            yield f"containers were killed for their memory {self.usage.oom_kills} times: look for a leak first"

    def _medium_risks(self, current: Plan, proposed: Plan, after: Outcome) -> Iterator[str]:
        days = self.usage.minutes / 60 / 24
        if days < 7:
            yield f"only {days:.1f} days of usage: no week with its weekend"
        for name in ("cpu", "memory"):
            old, new = (float(getattr(plan.resources.requests, name).value) for plan in (current, proposed))
            careful = self.service.criticality in (Criticality.CRITICAL, Criticality.HIGH)
            if careful and new < old / 2:
                yield f"less than half of the {name} for a service of criticality {self.service.criticality}"
        if after.cpu_surge > float(proposed.resources.requests.cpu.cores):
            yield (
                f"until the autoscaler has answered, a pod uses up to {_milli(after.cpu_surge)}, more than it "
                "requests; the limit covers it, a full node may not"
            )


# --- numbers ---------------------------------------------------------------------------------------------------------


def duration(text: str, option: str) -> float:
    """``90m``, ``24h`` or ``14d`` in minutes. Raises ``UserError`` naming `option` for anything else."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if found is None:
        raise UserError(f"{option}: found {text!r}; allowed: a duration such as 90m, 24h or 14d")
    return int(found[1]) * {"m": 1.0, "h": 60.0, "d": 24 * 60.0}[found[2]]


def percentile(values: Sequence[float], weights: Sequence[float], share: float) -> float:
    """The least value that covers `share` percent of the weight (the nearest-rank percentile, weighted)."""
    needed = sum(weights) * share / 100
    covered = 0.0
    for value, weight in sorted(zip(values, weights, strict=True)):
        covered += weight
        if covered >= needed * (1 - 1e-12):
            return value
    raise ValueError("no values")


def cpu_step(cores: float) -> float:
    """Up to a number that people would write: steps of 5m below 100m, 10m below 500m, 50m below 2, then 100m."""
    step = next((s for below, s in ((0.1, 0.005), (0.5, 0.01), (2, 0.05)) if cores <= below + 1e-9), 0.1)
    return round(math.ceil(cores / step - 1e-6) * step, 3)


def memory_step(size: float) -> float:
    """Up to steps of 4 MiB below 256 MiB, 16 MiB below 1 GiB, then 64 MiB."""
    step = next((s for below, s in ((256, 4), (1024, 16)) if size <= below * MIB), 64) * MIB
    return math.ceil(size / step - 1e-9) * step


def _floored(value: float, step: float) -> float:
    return math.floor(value / step + 1e-6) * step


def _cpu(cores: float) -> Cpu:
    return Cpu.of(Decimal(str(round(cores, 3))))


def _milli(cores: float) -> str:
    return f"{math.ceil(cores * 1000 - 1e-6)}m"


def _mebi(size: float) -> str:
    return f"{math.ceil(size / MIB)}Mi"
