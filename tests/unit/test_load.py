"""The simulated load: the same seed the same day, shapes as the catalog describes them, spread over live pods only."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from cloudmart.cli import cli
from cloudmart.cli.local import local_load
from cloudmart.cluster import load as load_
from cloudmart.cluster.kubectl import Kubectl, KubectlError
from cloudmart.cluster.load import DAY, Driver, Load, Point, Profile, Shape, Timeline, demand, from_settings
from cloudmart.cluster.local import LocalCluster, Status
from cloudmart.errors import UserError
from cloudmart.finops.rightsize import from_run
from cloudmart.preview.recorder import HOME
from cloudmart.settings import Settings, load

MINUTES = range(0, DAY, 5)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load("dev", HOME)


@pytest.fixture(scope="module")
def profile(settings: Settings) -> Profile:
    return from_settings(settings)


def cpu(profile: Profile, name: str, seed: int = 1) -> list[float]:
    return [demand(profile, name, minute, seed)[0] for minute in MINUTES]


def shaped(shape: Shape, **more: Any) -> Profile:
    """A service that moves between one core and three, without noise."""
    one = Load.model_validate(
        {
            "shape": shape,
            "cpu": {"low": "1", "high": "3"},
            "memory": {"low": "100Mi", "high": "200Mi"},
            "noisePercent": 0,
        }
    )
    return Profile.model_validate({"services": {"shop": one}} | more)


# --- the load --------------------------------------------------------------------------------------------------------


def test_every_service_of_the_catalog_has_a_load_of_the_shape_that_its_traffic_names(
    settings: Settings, profile: Profile
) -> None:
    shapes = {"steady": Shape.STEADY, "high": Shape.WAVE, "bursts": Shape.BURST, "low": Shape.STEADY}
    assert {name: one.shape for name, one in profile.services.items()} == {
        name: shapes[service.traffic] for name, service in settings.services.items()
    }


def test_no_service_is_asked_for_more_than_it_declares(settings: Settings, profile: Profile) -> None:
    for name, service in settings.services.items():
        declared = float(service.resources.requests.cpu.cores) * service.replicas
        assert max(cpu(profile, name)) <= declared * 1.03
        memory = max(demand(profile, name, minute, 1)[1] for minute in MINUTES)
        assert memory <= service.resources.requests.memory.bytes


def test_the_same_seed_gives_the_same_day_and_another_seed_another(profile: Profile) -> None:
    for name in profile.services:
        assert cpu(profile, name, 7) == cpu(profile, name, 7)
        assert cpu(profile, name, 7) != cpu(profile, name, 8)


def test_a_moment_does_not_depend_on_what_was_asked_before(profile: Profile) -> None:
    alone = demand(profile, "order-service", 700, 1)
    assert [demand(profile, "order-service", minute, 1) for minute in MINUTES][140] == alone


def test_a_wave_is_low_at_four_in_the_morning_and_high_twelve_hours_later() -> None:
    wave = shaped(Shape.WAVE)
    assert demand(wave, "shop", 4 * 60, 1)[0] == pytest.approx(1)
    assert demand(wave, "shop", 16 * 60, 1)[0] == pytest.approx(3)


def test_a_ramp_climbs_all_day() -> None:
    found = cpu(shaped(Shape.RAMP), "shop")
    assert found == sorted(found)
    assert (found[0], round(found[-1], 1)) == (1, 3.0)


@pytest.mark.slow
def test_bursts_are_as_many_and_as_long_as_the_profile_says_and_within_its_hours() -> None:
    for seed in range(20):
        burst = shaped(Shape.BURST, sales=3, saleMinutes=60)
        high = [minute for minute in range(DAY) if demand(burst, "shop", minute, seed)[0] > 2]
        assert len(high) in range(3 * 60 - 3, 3 * 60 + 4)
        assert min(high) >= 8 * 60
        assert max(high) < 22 * 60


def test_orders_and_payments_have_their_sales_at_the_same_time(profile: Profile) -> None:
    def sale(name: str) -> list[bool]:
        found = cpu(profile, name)
        return [value > max(found) / 2 for value in found]

    assert sale("order-service") == sale("payment-service")
    assert any(sale("order-service"))


def test_memory_follows_the_load_within_its_bounds() -> None:
    ramp = shaped(Shape.RAMP)
    sizes = [demand(ramp, "shop", minute, 1)[1] for minute in MINUTES]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1] < 200 * 2**20) == (100 * 2**20, True)


@pytest.mark.parametrize(("text", "value"), [("60x", 60), ("1", 1), ("2.5x", 2.5)])
def test_speed_is_read_with_and_without_its_x(text: str, value: float) -> None:
    assert load_.speed(text) == value


@pytest.mark.parametrize("text", ["", "x", "0x", "-1x", "fast", "1e9x", "nan", "inf"])
def test_a_speed_that_is_none_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"--speed: found {text!r}; allowed: 1x to 2000x")):
        load_.speed(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "services:\n  shop: {shape: wavy, cpu: {low: 1, high: 1}, memory: {low: 1Mi, high: 1Mi}}",
            "2: services.shop.shape: found 'wavy' (did you mean 'wave'?); allowed: 'steady', 'wave', 'burst' or 'ramp'",
        ),
        (
            "services: {shop: {shape: wave, cpu: {low: 2, high: 1}, memory: {low: 1Mi, high: 1Mi}}}",
            "1: services.shop.cpu.low: found low 2 is above high 1; allowed: low up to high",
        ),
        (
            "services:\n  shop: {shape: wave, cpu: {low: 1, high: 1}}",
            "2: services.shop.memory: found nothing; allowed: this key is required",
        ),
        ("services: {}\nsales: 99", "2: sales: found 99; allowed: less than or equal to 14"),
        (
            "services: {}\nsale: 3",
            "2: sale: found an unknown key (did you mean 'sales'?); allowed: services, sales, saleMinutes",
        ),
        ("- a", "1: found a list; allowed: a mapping of keys to values"),
    ],
)
def test_a_wrong_profile_is_one_error_that_names_the_file_its_line_the_key_and_what_is_allowed(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "sale.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        load_.read_profile(tmp_path / "sale.yaml")
    assert str(error.value) == f"{tmp_path}/sale.yaml:{said}"


def _status(*, running: bool) -> Status:
    return Status(running=running, runtime="binary", info=None, components=(), nodes=())


_ONE = "{shape: steady, cpu: {low: 1, high: 1}, memory: {low: 1Mi, high: 1Mi}}"


@pytest.mark.parametrize(
    ("name", "said"), [("user-servce", "'user-servce' (did you mean 'user-service'?)"), ("postgres", "'postgres'")]
)
def test_a_service_of_a_profile_that_is_none_of_the_stack_is_told_with_its_file_and_line(
    settings: Settings, tmp_path: Path, name: str, said: str
) -> None:
    path = tmp_path / "sale.yaml"
    path.write_text(f"services:\n  order-service: {_ONE}\n  {name}: {_ONE}\n")
    with pytest.raises(UserError) as error:
        load_.read_profile(path, settings.services)
    assert str(error.value) == f"{path}:3: services: found {said}; allowed: {', '.join(settings.services)}"


@pytest.mark.parametrize("profile", [(), ("--profile", "catalog.yaml"), ("--profile", str(HOME / "catalog.yaml"))])
def test_the_project_s_own_catalog_is_the_load_that_follows_from_it(
    monkeypatch: pytest.MonkeyPatch, profile: tuple[str, ...]
) -> None:
    monkeypatch.chdir(HOME)
    monkeypatch.setattr(LocalCluster, "status", lambda _: _status(running=False))
    ended = CliRunner().invoke(cli, ["local", "load", "--root", str(HOME), *profile])
    assert "local cluster: not running" in str(ended.exception)


def test_a_profile_file_says_what_the_derived_one_says(tmp_path: Path, profile: Profile) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(json.dumps(profile.model_dump(mode="json", by_alias=True)))
    assert load_.read_profile(path) == profile


def test_the_pages_profile_is_one(tmp_path: Path) -> None:
    page = (HOME / "docs" / "rightsizing.md").read_text()
    (tmp_path / "sale.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    profile = load_.read_profile(tmp_path / "sale.yaml")
    assert profile.sale_minutes == 240
    assert cpu(profile, "order-service").count(max(cpu(profile, "order-service"))) >= 1


def test_the_pages_levels_are_the_ones_in_use(settings: Settings) -> None:
    page = (HOME / "docs" / "rightsizing.md").read_text()
    for name, found in from_settings(settings).services.items():
        service = settings.services[name]
        declared = float(service.resources.requests.cpu.cores) * service.replicas
        low, high = (round(float(amount.cores) / declared * 100) for amount in (found.cpu.low, found.cpu.high))
        row = [line for line in page.splitlines() if line.startswith(f"| {service.traffic} |")][-1]
        assert f"{low} to {high} %" in row or f"{low} %, and {high} %" in row


# --- driving ---------------------------------------------------------------------------------------------------------


def pod(name: str, app: str = "user-service", *, ready: bool = True, node: bool = True, gone: bool = False) -> Any:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": {"app": app}}
        | ({"deletionTimestamp": "2026-11-23T00:00:00Z"} if gone else {}),
        "spec": {
            "containers": [
                {
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "128Mi"},
                        "limits": {"cpu": "300m", "memory": "256Mi"},
                    }
                }
            ]
        }
        | ({"nodeName": "node-a"} if node else {}),
        "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


class FakeKubectl(Kubectl):
    """Answers with pods and keeps what was applied."""

    applied: list[list[dict[str, Any]]]
    pods: list[Any]
    fail: Callable[[], bool]

    def json(self, *args: str, stdin: str | None = None, timeout: float = 120) -> Any:
        return {"items": self.pods} if args[0] == "get" else {"serverVersion": {"gitVersion": "v1.36.0"}}

    def run(self, *args: str, stdin: str | None = None, timeout: float = 120) -> str:
        assert args[0] == "apply"
        if self.fail():
            raise KubectlError("kubectl apply: uid mismatch")
        self.applied.append(json.loads(stdin or "")["items"])
        return ""


def driver(settings: Settings, pods: list[Any], fail: Callable[[], bool] = lambda: False) -> tuple[Driver, FakeKubectl]:
    kubectl = FakeKubectl(path=Path("kubectl"))
    for name, value in {"pods": pods, "applied": [], "fail": fail}.items():
        object.__setattr__(kubectl, name, value)
    one = Load.model_validate(
        {
            "shape": "steady",
            "cpu": {"low": "1", "high": "1"},
            "memory": {"low": "1Gi", "high": "1Gi"},
            "noisePercent": 0,
        }
    )
    made = Driver(
        kubectl=kubectl,
        settings=settings,
        profile=Profile(services={"user-service": one}),
        price=lambda cores, size: cores * 100 + size / 2**30,
        currency="USD",
        tick=0.05,
    )
    return made, kubectl


def run(a_driver: Driver) -> Timeline:
    # A twentieth of a second is 20 minutes at this speed.
    return a_driver.run(speed=24000, seed=1, minutes=60, progress=lambda _: None)


def usage_of(items: list[dict[str, Any]]) -> dict[str, str | None]:
    return {item["metadata"]["name"]: item["metadata"]["annotations"].get(load_.USAGE_CPU) for item in items}


def test_a_services_load_is_spread_evenly_over_its_ready_pods(settings: Settings) -> None:
    made, kubectl = driver(settings, [pod("a"), pod("b"), pod("c", ready=False), pod("other", "postgres")])
    timeline = run(made)
    assert usage_of(kubectl.applied[0]) == dict.fromkeys("abc", "500000u")
    assert timeline.points[0].ready == 2


def test_pods_that_are_going_get_no_load_and_pods_without_a_node_cost_nothing(settings: Settings) -> None:
    made, kubectl = driver(settings, [pod("a"), pod("b", gone=True), pod("c", ready=False, node=False)])
    point = run(made).points[0]
    assert set(usage_of(kubectl.applied[0])) == {"a", "c"}
    assert (point.ready, point.pending, point.requested_cpu) == (1, 1, 0.1)
    assert point.monthly == pytest.approx(10 + 0.125)


def test_afterwards_the_pods_use_what_they_used_before(settings: Settings) -> None:
    made, kubectl = driver(settings, [pod("a")])
    run(made)
    assert usage_of(kubectl.applied[-1]) == {"a": None}


def test_the_load_is_taken_away_when_the_run_is_interrupted(settings: Settings) -> None:
    made, kubectl = driver(settings, [pod("a")])

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(load_.StoppedError) as stopped:
        made.run(speed=60, seed=1, begin=9 * 60, minutes=60, progress=interrupt)
    assert usage_of(kubectl.applied[-1]) == {"a": None}
    assert [point.minute for point in stopped.value.timeline.points] == [pytest.approx(9 * 60, abs=5)]


def _runs(monkeypatch: pytest.MonkeyPatch, run_: Callable[..., Timeline], out: Path) -> Result:
    monkeypatch.setattr(LocalCluster, "status", lambda _: _status(running=True))
    monkeypatch.setattr(Driver, "run", run_)
    return CliRunner().invoke(cli, ["local", "load", "--root", str(HOME), "--out", str(out)], standalone_mode=False)


def test_an_interrupted_run_keeps_what_it_has_seen_and_ends_as_interrupted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stopped(*_: object, **__: object) -> Timeline:
        raise load_.StoppedError(timeline(point(0), point(10))) from KeyboardInterrupt()

    ended = _runs(monkeypatch, stopped, tmp_path / "run.json")
    assert isinstance(ended.exception, click.Abort)
    assert len(load_.read_timeline(tmp_path / "run.json").points) == 2
    assert (tmp_path / "run.svg").exists()
    assert str(tmp_path / "run.json") in ended.output


def test_a_run_that_is_interrupted_before_it_has_seen_anything_leaves_no_empty_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stopped(*_: object, **__: object) -> Timeline:
        raise KeyboardInterrupt

    assert isinstance(_runs(monkeypatch, stopped, tmp_path / "run.json").exception, click.Abort)
    assert list(tmp_path.iterdir()) == []


def test_the_help_s_example_of_a_sale_has_one(profile: Profile) -> None:
    assert "--from 9 --hours 4" in (local_load.epilog or "")
    orders = [demand(profile, "order-service", 9 * 60 + minute, 1)[0] for minute in range(4 * 60)]
    assert max(orders) > 5 * min(orders)


def test_a_pod_that_goes_while_its_load_is_written_does_not_end_the_run(settings: Settings) -> None:
    answers = iter([True, False])
    made, kubectl = driver(settings, [pod("a")], lambda: next(answers, False))
    assert run(made).points
    assert kubectl.applied


def test_a_cluster_that_refuses_every_time_ends_the_run_with_what_it_says(settings: Settings) -> None:
    made, _ = driver(settings, [pod("a")], lambda: True)
    with pytest.raises(UserError, match="uid mismatch"):
        run(made)


def test_a_service_that_is_not_deployed_is_named_with_the_command_that_deploys_it(settings: Settings) -> None:
    made, _ = driver(settings, [pod("a", "postgres")])
    with pytest.raises(UserError, match=r"found no pods of user-service; `cloudmart up --stack dev` deploys them"):
        run(made)


# --- the timeline ----------------------------------------------------------------------------------------------------


def point(minute: float, **more: Any) -> Point:
    given = {
        "minute": minute,
        "service": "shop",
        "cpu": 0.2,
        "memory": 2.0 * 2**20,
        "ready": 2,
        "pending": 0,
        "least": 1,
        "most": 4,
        "requestedCpu": 0.5,
        "requestedMemory": 1.0,
        "cpuLimit": 0.1,
        "memoryLimit": 2.0**20,
        "monthly": 10.0,
    }
    return Point.model_validate(given | more)


def timeline(*points: Point) -> Timeline:
    return Timeline(stack="dev", seed=1, speed=60, kubernetes="v1", currency="USD", tick=10, points=points)


def test_averages_weigh_each_sample_by_how_long_it_stood() -> None:
    run_ = timeline(point(0, monthly=10), point(30, monthly=50))
    assert run_.monthly() == pytest.approx((10 * 30 + 50 * 10) / 40)


def test_usage_at_the_limit_is_within_it_and_above_is_not() -> None:
    assert point(0).within_limits
    assert not point(0, cpu=0.21).within_limits
    assert not point(0, memory=3.0 * 2**20).within_limits
    assert not point(0, ready=0).within_limits


def test_the_summary_says_bounds_maximum_and_what_the_peak_would_cost_all_day() -> None:
    (found,) = load_.summaries(timeline(point(0), point(10, ready=4, monthly=40, cpu=9.0), point(20)))
    assert (found.least, found.peak, found.over_limit, found.samples) == (2, 4, 1, 3)
    assert found.pinned == pytest.approx(1 / 3)
    assert found.requested == pytest.approx(20)
    assert found.at_peak == 40


def test_a_saved_timeline_reads_as_it_was(tmp_path: Path) -> None:
    run_ = timeline(point(0), point(10, ready=3))
    load_.save(run_, tmp_path / "new" / "run.json")
    assert load_.read_timeline(tmp_path / "new" / "run.json") == run_


def test_a_place_that_cannot_be_written_is_known_before_the_day_begins(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"run\.json: cannot be written: "):
        load_.prepare(tmp_path / "file" / "run.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"points": [{"minute": "x"}]}'])
def test_a_file_that_is_no_timeline_is_one_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json:(1:)? "):
        load_.read_timeline(tmp_path / "run.json")


def test_the_right_sizing_reads_a_timeline_as_totals_and_single_pods() -> None:
    (found,) = from_run(timeline(point(0), point(10, ready=4)))
    assert [sample.minutes for sample in found.samples] == [10, 10]
    assert [sample.peak_cpu for sample in found.samples] == [0.1, 0.05]
    assert found.speed == 60


def test_the_picture_is_svg_that_fetches_and_runs_nothing() -> None:
    picture = load_.replicas_chart(timeline(point(0), point(10, ready=4), point(20)))
    assert picture.lstrip().startswith("<?xml") or "<svg" in picture
    assert "<script" not in picture
    outside = set(re.findall(r"""(?:href|src|url)\s*[=(]\s*["']?(https?:[^"')]+)""", picture))
    assert outside == set()
