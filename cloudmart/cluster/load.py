"""Simulated load: what services use over a day, spread over their live pods on the local cluster.

Pods of the local cluster run nothing. kwok reports for each the usage that its annotations name, metrics-server scrapes
it, and the real autoscalers, scheduler and quota react. This module writes those annotations, as a load balancer would
spread a service's total over the pods that are ready, and keeps a timeline of what the cluster made of it.

A day passes in minutes; the cluster's own clocks do not go faster. Metrics are 10 to 20 s old, and an autoscaler's
window of 300 s is five hours of a day at 60 times the speed: what is seen here is slower to react than the real thing.
"""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import pydantic
from pydantic import Field, Strict, model_validator

from cloudmart.cluster.kubectl import Kubectl, KubectlError
from cloudmart.errors import UserError, meant
from cloudmart.settings import Bytes, Cpu, Model, Settings
from cloudmart.settings.base import Count, FrozenMapping, MisfitError, ServiceName
from cloudmart.settings.problems import Origin, explained
from cloudmart.settings.service import Traffic
from cloudmart.settings.source import Path_, contents, parse_json, read, shown

DAY = 24 * 60
"""Minutes."""

USAGE_CPU, USAGE_MEMORY = "kwok.x-k8s.io/usage-cpu", "kwok.x-k8s.io/usage-memory"

_MANAGER = "cloudmart-load"
#: Bytes. Two weeks of five services, at the default speed, have 10 MiB.
_LARGEST_TIMELINE = 32 << 20
_MOST_PROBLEMS = 5

Progress = Callable[[str], None]
Price = Callable[[float, float], float]
"""Cores and bytes in, the price of a month of them out."""


class Shape(StrEnum):
    """How a load moves between its low and its high over a day."""

    STEADY = "steady"
    """Around the middle, with noise."""
    WAVE = "wave"
    """Low at four in the morning, high at four in the afternoon."""
    BURST = "burst"
    """Low, and high during sales; every service of this shape has the same sales."""
    RAMP = "ramp"
    """From low at midnight to high at the end of the day."""


class CpuRange(Model):
    """Cores of all pods of a service together."""

    low: Cpu
    high: Cpu

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise MisfitError(f"low {self.low} is above high {self.high}; allowed: low up to high", ("low",), ("high",))
        return self


class MemoryRange(Model):
    """Memory of each pod: at the low of the load, and at its high."""

    low: Bytes
    high: Bytes

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise MisfitError(f"low {self.low} is above high {self.high}; allowed: low up to high", ("low",), ("high",))
        return self


class Load(Model):
    """The load of one service."""

    shape: Shape
    cpu: CpuRange
    memory: MemoryRange
    #: Of the present value, up and down.
    noise_percent: Count = 3


class Profile(Model):
    """The load of a day. `sales` of `sale_minutes` each are spread over the hours from eight to twenty-two."""

    services: FrozenMapping[ServiceName, Load]
    sales: Annotated[int, Strict(), Field(ge=0, le=14)] = 2
    sale_minutes: Annotated[int, Strict(), Field(ge=1, le=DAY)] = 150


#: Share of what a service declares (replicas times CPU request; memory request of a pod) that it uses: low and high.
#: An assumption, and a busy one: fleets use 8 % of their CPU and 20 % of their memory on average (Cast AI, 2026 State
#: of Kubernetes Optimization report, clusters of 2025).
_LEVELS: Mapping[Traffic, tuple[Shape, tuple[float, float]]] = {
    Traffic.STEADY: (Shape.STEADY, (0.25, 0.35)),
    Traffic.HIGH: (Shape.WAVE, (0.15, 0.80)),
    Traffic.BURSTS: (Shape.BURST, (0.10, 1.00)),
    Traffic.LOW: (Shape.STEADY, (0.05, 0.10)),
}
_MEMORY_LEVEL = (0.40, 0.55)


def from_settings(settings: Settings) -> Profile:
    """The profile that follows from each service's `traffic` and what it declares."""
    services = {}
    for name, service in settings.services.items():
        shape, levels = _LEVELS[service.traffic]
        requests = service.resources.requests
        cpu = [float(requests.cpu.cores) * service.replicas * level for level in levels]
        memory = [requests.memory.bytes * level for level in _MEMORY_LEVEL]
        services[name] = Load(
            shape=shape,
            cpu=CpuRange(low=_cpu(cpu[0]), high=_cpu(cpu[1])),
            memory=MemoryRange(low=Bytes.of(round(memory[0])), high=Bytes.of(round(memory[1]))),
        )
    return Profile(services=services)


def read_profile(path: Path, known: Collection[str] | None = None) -> Profile:
    """A profile from a YAML file. Raises ``UserError`` naming file, key path, what was found and what is allowed.

    :param known: the services there are; None for any.
    """
    document = read(path, str(path))
    origins = {at: Origin(str(path), line) for at, line in document.lines.items()}
    profile = _validated(Profile, document.data, origins, path)
    for name in profile.services:
        if known is not None and name not in known:
            raise UserError(
                f"{origins['services', name]}: services: found {shown(name)}{meant(name, known)}; "
                f"allowed: {', '.join(known)}"
            )
    return profile


def demand(profile: Profile, name: str, minute: float, seed: int) -> tuple[float, float]:
    """What a service uses at a minute of the day: cores of all its pods, and bytes of each. Depends on nothing else."""
    load = profile.services[name]
    level = _level(profile, load.shape, minute % DAY, seed)
    noise = 1 + (2 * _noise(f"{seed}:{name}", minute) - 1) * load.noise_percent / 100
    low, high = float(load.cpu.low.cores), float(load.cpu.high.cores)
    cpu = (low + (high - low) * level) * noise
    memory = load.memory.low.bytes + (load.memory.high.bytes - load.memory.low.bytes) * level
    return cpu, memory


def _level(profile: Profile, shape: Shape, minute: float, seed: int) -> float:
    """Between 0 (low) and 1 (high)."""
    match shape:
        case Shape.STEADY:
            return 0.5
        case Shape.WAVE:
            return (1 - math.cos(2 * math.pi * (minute - 4 * 60) / DAY)) / 2
        case Shape.RAMP:
            return minute / DAY
        case Shape.BURST:
            return float(any(start <= minute < start + profile.sale_minutes for start in _sales(profile, seed)))


def _sales(profile: Profile, seed: int) -> list[float]:
    """When sales begin: one in each of equal parts of the time from eight to twenty-two."""
    chance = random.Random(f"{seed}:sales")  # noqa: S311 (nothing secret)
    part = 14 * 60 / max(profile.sales, 1)
    room = max(0.0, part - profile.sale_minutes)
    return [8 * 60 + index * part + chance.random() * room for index in range(profile.sales)]


def _noise(key: str, minute: float) -> float:
    """Between 0 and 1, moving slowly: a random value for every ten minutes, and straight lines in between."""
    step, share = divmod(minute / 10, 1)
    here, there = (random.Random(f"{key}:{int(step) + ahead}").random() for ahead in (0, 1))  # noqa: S311
    return here + (there - here) * share


# --- timeline --------------------------------------------------------------------------------------------------------


#: More than any cluster has of anything; sums of as many as fit into a file stay finite.
_Amount = Annotated[float, Strict(), Field(ge=0, le=1e18, allow_inf_nan=False)]


class Point(Model):
    """One service at one moment."""

    minute: _Amount
    service: str
    #: Cores of all pods; bytes of all pods.
    cpu: _Amount
    memory: _Amount
    #: Pods that are ready, and pods that no node has taken.
    ready: Count
    pending: Count
    #: The autoscaler's bounds, or the fixed number twice.
    least: Count
    most: Count
    #: Of all pods that hold a place on a node.
    requested_cpu: _Amount
    requested_memory: _Amount
    #: Of one pod; 0 for none.
    cpu_limit: _Amount
    memory_limit: _Amount
    #: A month of what is requested at this moment, in the price book's currency.
    monthly: _Amount

    @property
    def within_limits(self) -> bool:
        """Whether what each ready pod has to carry fits its limits."""
        if not self.ready:
            return False
        cpu = not self.cpu_limit or self.cpu / self.ready <= self.cpu_limit
        return cpu and (not self.memory_limit or self.memory / self.ready <= self.memory_limit)


class Timeline(Model):
    """A run: what it was made with, and a point for each service at each tick, in order."""

    stack: str
    seed: int
    #: Minutes of the day that pass in a minute.
    speed: Annotated[float, Strict(), Field(gt=0, le=1e6, allow_inf_nan=False)]
    kubernetes: str
    currency: str
    #: Minutes of the day between ticks, as it was meant; the points say how it was.
    tick: Annotated[float, Strict(), Field(gt=0, le=1e6, allow_inf_nan=False)]
    points: tuple[Point, ...]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        last: dict[str, float] = {}
        for point in self.points:
            if point.minute < last.get(point.service, 0):
                raise ValueError(f"minute {point.minute} of {shown(point.service)} behind a later one")
            last[point.service] = point.minute
        return self

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(point.service for point in self.points))

    def of(self, service: str) -> list[Point]:
        return [point for point in self.points if point.service == service]

    def monthly(self) -> float:
        """What is requested, averaged over the run, as the cost of a month."""
        return sum(self.mean(service, lambda point: point.monthly) for service in self.services)

    def mean(self, service: str, value: Callable[[Point], float]) -> float:
        """Average over the run's time of a value of one service."""
        points = self.of(service)
        weights = self.minutes_of(service)
        return sum(value(p) * w for p, w in zip(points, weights, strict=True)) / sum(weights)

    def minutes_of(self, service: str) -> list[float]:
        """How long each of a service's points stands: until the next one, the last for a tick."""
        minutes = [point.minute for point in self.of(service)]
        following = [*minutes[1:], minutes[-1] + self.tick] if minutes else []
        return [end - start for start, end in zip(minutes, following, strict=True)]


def prepare(path: Path) -> None:
    """Makes sure that a file can be written, before a day is spent on what goes into it. Raises ``UserError``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        path.touch()
        if new:  # a run that is given up would leave it, empty
            path.unlink()
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None


def save(timeline: Timeline, path: Path) -> None:
    """Writes a timeline as JSON. Raises ``UserError`` when the file cannot be written."""
    prepare(path)
    try:
        path.write_text(timeline.model_dump_json(by_alias=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None


def read_timeline(path: Path) -> Timeline:
    """A timeline that :func:`save` wrote. Raises ``UserError`` naming file, key path and what was found."""
    return _validated(Timeline, parse_json(contents(path, str(path), _LARGEST_TIMELINE), str(path)), {}, path)


_Model = TypeVar("_Model", bound=pydantic.BaseModel)


def _validated(model: type[_Model], data: Any, origins: Mapping[Path_, Origin], path: Path) -> _Model:
    try:
        return model.model_validate(data)
    except pydantic.ValidationError as error:
        lines = explained(error, model, data, origins, str(path), most=_MOST_PROBLEMS)
        raise UserError("\n".join(lines)) from None


def speed(text: str) -> float:
    """``60x`` as 60. Raises ``UserError`` for anything but a number from 1 to 2000, with or without the x."""
    try:
        value = float(text.removesuffix("x"))
    except ValueError:
        value = math.nan
    if not 1 <= value <= 2000:
        raise UserError(f"--speed: found {text!r}; allowed: 1x to 2000x")
    return value


def slow_autoscalers(settings: Settings, speed: float) -> Iterator[str]:
    """What to know before a compressed day: that autoscalers wait for hours of it before they scale down."""
    windows = [
        service.autoscaling.scale_down.window_seconds for service in settings.services.values() if service.autoscaling
    ]
    longest = max(windows, default=0)
    if longest * speed > 2 * 3600:
        yield (
            f"autoscalers wait up to {longest} s before they scale down, {longest * speed / 3600:.0f} h of a day that "
            f"passes {speed:g} times as fast: they may never do so"
        )


# --- driving ---------------------------------------------------------------------------------------------------------


class StoppedError(KeyboardInterrupt):
    """A run that was interrupted, with what it has seen until then; its cause is the interruption."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self.timeline = timeline


@dataclass(frozen=True, kw_only=True)
class Driver:
    """Drives one namespace of a cluster whose pods are simulated."""

    kubectl: Kubectl
    settings: Settings
    profile: Profile
    price: Price
    currency: str
    #: Seconds between ticks; metrics-server looks every 10.
    tick: float = 3.0

    def run(
        self,
        *,
        speed: float,
        seed: int,
        begin: float = 0,
        minutes: float = DAY,
        progress: Progress,
        warm_up: float = 0,
    ) -> Timeline:
        """Lets `minutes` of a day pass and says a line for every hour of it.

        :param begin: the minute of the day to begin at.
        :param warm_up: seconds for which the first minute's load stands before the day begins, so that the autoscalers
            start from where the night before would have left them.
        :raises UserError: a service of the profile has no pods, or the cluster does not answer.
        :raises StoppedError: it was interrupted after its first tick; the pods use again what they used before.
        """
        self._require_pods()
        version = self.kubectl.json("version")["serverVersion"]["gitVersion"]
        points: list[Point] = []
        try:
            end = time.monotonic() + warm_up
            while time.monotonic() < end:
                self._tick(begin, seed)
                time.sleep(max(0.0, min(self.tick, end - time.monotonic())))
            start, hour, number = time.monotonic(), -1, 0
            while (minute := begin + (time.monotonic() - start) / 60 * speed) < begin + minutes:
                here = self._tick(minute, seed)
                points += here
                if int(minute // 60) > hour:
                    hour = int(minute // 60)
                    progress(_line(minute, here))
                number += 1
                # Kept to the grid: a slow answer must not make the day longer.
                time.sleep(max(0.0, start + number * self.tick - time.monotonic()))
                number = max(number, int((time.monotonic() - start) / self.tick))
        except KeyboardInterrupt as interrupted:
            if points:
                raise StoppedError(self._timeline(points, speed, seed, version)) from interrupted
            raise
        finally:
            self._write({})
        return self._timeline(points, speed, seed, version)

    def _timeline(self, points: Sequence[Point], speed: float, seed: int, version: str) -> Timeline:
        return Timeline(
            stack=self.settings.stack,
            seed=seed,
            speed=speed,
            kubernetes=version,
            currency=self.currency,
            tick=self.tick / 60 * speed,
            points=tuple(points),
        )

    def _require_pods(self) -> None:
        found = {pod.service for pod in self._pods()}
        if missing := [name for name in self.profile.services if name not in found]:
            raise UserError(
                f"namespace {self.settings.namespace.name}: found no pods of {', '.join(missing)}; "
                f"`cloudmart up --stack {self.settings.stack}` deploys them"
            )

    def _tick(self, minute: float, seed: int) -> list[Point]:
        pods = self._pods()
        wanted: dict[str, tuple[float, float]] = {}
        points = []
        for name in self.profile.services:
            cpu, memory = demand(self.profile, name, minute, seed)
            own = [pod for pod in pods if pod.service == name]
            ready = [pod for pod in own if pod.ready]
            for pod in own:
                wanted[pod.name] = (cpu / max(len(ready), 1), memory)
            points.append(self._point(minute, name, cpu, memory, own))
        self._write(wanted, pods)
        return points

    def _point(self, minute: float, name: str, cpu: float, memory: float, pods: Sequence[_Pod]) -> Point:
        ready = sum(pod.ready for pod in pods)
        placed = [pod for pod in pods if pod.placed]
        requested_cpu = sum(pod.cpu_request for pod in placed)
        requested_memory = sum(pod.memory_request for pod in placed)
        service = self.settings.services[name]
        return Point(
            minute=minute,
            service=name,
            cpu=cpu,
            memory=memory * ready,
            ready=ready,
            pending=len(pods) - len(placed),
            least=service.min_replicas,
            most=service.max_replicas,
            requested_cpu=requested_cpu,
            requested_memory=requested_memory,
            cpu_limit=min((pod.cpu_limit for pod in pods), default=0),
            memory_limit=min((pod.memory_limit for pod in pods), default=0),
            monthly=self.price(requested_cpu, requested_memory),
        )

    def _pods(self) -> list[_Pod]:
        listed = self.kubectl.json("get", "pods", f"--namespace={self.settings.namespace.name}")
        return [
            _pod(item)
            for item in listed["items"]
            if item["metadata"].get("labels", {}).get("app") in self.profile.services
            and "deletionTimestamp" not in item["metadata"]
        ]

    def _write(self, wanted: Mapping[str, tuple[float, float]], pods: Sequence[_Pod] | None = None) -> None:
        """Sets the annotations of the pods named, and takes them from those that are not."""
        for attempt in range(5):
            pods = self._pods() if pods is None else pods
            objects = [
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {
                        "name": pod.name,
                        "namespace": self.settings.namespace.name,
                        # A pod that is gone is an error then, and not one to be made.
                        "uid": pod.uid,
                        "annotations": _annotations(*wanted[pod.name]) if pod.name in wanted else {},
                    },
                }
                for pod in pods
            ]
            if not objects:
                return
            try:
                self.kubectl.run(
                    "apply",
                    "--server-side",
                    "--force-conflicts",
                    "--validate=false",
                    f"--field-manager={_MANAGER}",
                    "--filename=-",
                    stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
                )
            except KubectlError:
                # Autoscalers take pods away at any time: whoever is left gets the load.
                if attempt == 4:
                    raise
                pods = None
            else:
                return


@dataclass(frozen=True, kw_only=True)
class _Pod:
    """What is read of a live pod; amounts are sums over its containers, in cores and bytes."""

    name: str
    uid: str
    service: str
    ready: bool
    placed: bool
    cpu_request: float
    memory_request: float
    cpu_limit: float
    memory_limit: float


def _pod(item: Mapping[str, Any]) -> _Pod:
    def total(kind: str, name: str) -> float:
        of = (container.get("resources", {}).get(kind, {}).get(name) for container in item["spec"]["containers"])
        return sum(float((Cpu if name == "cpu" else Bytes)(text).value) for text in of if text)

    conditions = {condition["type"]: condition["status"] for condition in item["status"].get("conditions", [])}
    return _Pod(
        name=item["metadata"]["name"],
        uid=item["metadata"]["uid"],
        service=item["metadata"]["labels"]["app"],
        ready=conditions.get("Ready") == "True",
        placed=bool(item["spec"].get("nodeName")),
        cpu_request=total("requests", "cpu"),
        memory_request=total("requests", "memory"),
        cpu_limit=total("limits", "cpu"),
        memory_limit=total("limits", "memory"),
    )


def _annotations(cpu: float, memory: float) -> dict[str, str]:
    # Microcores: a share of a small load is less than a millicore.
    return {USAGE_CPU: f"{max(1, round(cpu * 1e6))}u", USAGE_MEMORY: str(max(1, round(memory)))}


def _line(minute: float, points: Sequence[Point]) -> str:
    parts = [
        f"{point.service} {point.cpu * 1000:.0f}m on {point.ready}"
        + (f" ({point.pending} pending)" if point.pending else "")
        + (" at its maximum" if point.ready >= point.most > point.least else "")
        for point in points
    ]
    monthly = sum(point.monthly for point in points)
    return f"{int(minute // 60):02d}:{int(minute % 60):02d}  {monthly:7.2f} a month  " + ", ".join(parts)


def _cpu(cores: float) -> Cpu:
    return Cpu(f"{max(1, round(cores * 1000))}m")


# --- telling people --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One service over a run. Costs are of a month."""

    service: str
    least: int
    mean: float
    peak: int
    #: The most pods at a time that no node had taken.
    pending: int
    #: Share of the time at the autoscaler's maximum.
    pinned: float
    #: Samples at which a pod had to carry more than its limits allow, of how many.
    over_limit: int
    samples: int
    requested: float
    #: What the peak's replicas would cost all day.
    at_peak: float


def summaries(timeline: Timeline) -> list[Summary]:
    """A summary for each service, in the profile's order."""
    found = []
    for service in timeline.services:
        points = timeline.of(service)
        ready = [point.ready for point in points]
        found.append(
            Summary(
                service=service,
                least=min(ready),
                mean=timeline.mean(service, lambda point: point.ready),
                peak=max(ready),
                pending=max(point.pending for point in points),
                pinned=timeline.mean(service, lambda point: float(point.ready >= point.most > point.least)),
                over_limit=sum(not point.within_limits for point in points),
                samples=len(points),
                requested=timeline.mean(service, lambda point: point.monthly),
                at_peak=max(point.monthly for point in points),
            )
        )
    return found


def summary(timeline: Timeline) -> Mapping[str, Any]:
    """The run and its summaries, for ``--format json``."""
    return {
        "stack": timeline.stack,
        "kubernetes": timeline.kubernetes,
        "speed": timeline.speed,
        "seed": timeline.seed,
        "currency": timeline.currency,
        "services": [
            {
                "name": row.service,
                "pods": {"least": row.least, "mean": round(row.mean, 3), "peak": row.peak},
                "pending": row.pending,
                "atMaximum": round(row.pinned, 4),
                "overLimits": row.over_limit,
                "samples": row.samples,
                "monthly": round(row.requested, 4),
                "monthlyAtPeak": round(row.at_peak, 4),
            }
            for row in summaries(timeline)
        ],
    }


def chart(series: Mapping[str, Sequence[tuple[float, float]]], *, title: str, y_title: str) -> str:
    """An SVG of lines over the hours of a day, without scripts or anything from the network."""
    import pygal
    from pygal.style import CleanStyle

    picture = pygal.XY(
        style=CleanStyle(
            font_family="sans-serif",
            background="white",
            plot_background="white",
            guide_stroke_color="#dddddd",
            major_guide_stroke_color="#dddddd",
            # Told apart by people who see colours differently, too: Okabe and Ito's palette.
            colors=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
        ),
        title=title,
        x_title="hour of the day",
        y_title=y_title,
        js=(),
        dots_size=0,
        width=1000,
        height=500,
        explicit_size=True,
        include_x_axis=True,
        legend_at_bottom=True,
        truncate_legend=-1,
        range=(0, max((y for points in series.values() for _, y in points), default=1) * 1.05),
        x_labels=list(range(0, 25, 3)),
        xrange=(0, 24),
        no_prefix=True,
    )
    for name, points in series.items():
        picture.add(name, [(minute / 60, y) for minute, y in _stepped(points)], stroke_style={"width": 2.5})
    svg = picture.render(is_unicode=True)
    # What is left of its scripts is data for a tooltip library that nobody loads.
    return re.sub(r"<script.*?</script>", "", svg, flags=re.DOTALL)


def _stepped(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Levels with upright steps between them; what stays the same needs no points of its own."""
    last: tuple[float, float] | None = None
    for x, y in points:
        if last is None or y != last[1]:
            if last is not None:
                yield x, last[1]
            yield x, y
            last = x, y
    if points and last is not None and points[-1][0] != last[0]:
        yield points[-1][0], last[1]


def replicas_chart(timeline: Timeline) -> str:
    """An SVG of each service's ready replicas over the day."""
    series = {name: [(point.minute, float(point.ready)) for point in timeline.of(name)] for name in timeline.services}
    title = f"Ready replicas, stack {timeline.stack}, seed {timeline.seed}, {timeline.speed:g} times as fast"
    return chart(series, title=title, y_title="pods")
