"""Usage for the right-sizing, from an Allocation API and from Prometheus: the same figures, and one clear error."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
from click.testing import CliRunner

from cloudmart.cli import cli
from cloudmart.errors import UserError
from cloudmart.finops import prometheus
from cloudmart.finops.allocation.client import Client
from cloudmart.finops.usage import from_allocations
from tests.conftest import Project
from tests.unit.allocation_api import RECORDED_NOW, Reply, answer, entry, key, recorded, serving

NOW = datetime(2026, 11, 23, 12, 0, 30, tzinfo=UTC)
GIB = 2**30
SERVICES = ("user-service", "order-service")


def with_cluster(page: Callable[[dict[str, str]], Reply]) -> Callable[[dict[str, str]], Reply]:
    """Answers the question what there is data for as well: of all of it."""

    def reply(asked_: dict[str, str]) -> Reply:
        return answer({"one": entry(asked_["window"])}) if asked_["aggregate"] == "cluster" else page(asked_)

    return reply


def pods(*names: str, **figures: Any) -> Callable[[dict[str, str]], Reply]:
    """Answers every page with these pods of user-service, each using half a core and a GiB."""

    def page(asked_: dict[str, str]) -> Reply:
        return answer({key("cloudmart", "user-service", name): entry(asked_["window"], **figures) for name in names})

    return with_cluster(page)


def asked(client: Client, window: str) -> Any:
    found = from_allocations(client, client.window(window, NOW), NOW, "cloudmart", SERVICES)
    return {usage.service: usage for usage in found}


# --- the Allocation API ----------------------------------------------------------------------------------------------


def test_usage_is_the_sum_over_a_services_pods_hour_by_hour() -> None:
    with serving(pods("a", "b")) as api:
        found = asked(Client.at(f"{api.url}/allocation"), "24h")["user-service"]
    assert len(found.samples) == len(api.asked) / 2 in (24, 25)
    whole = found.samples[1]
    assert (whole.minutes, whole.replicas, whole.cpu, whole.memory) == (60, 2, 1.0, 2 * GIB)
    assert whole.peak_memory == GIB
    assert found.minutes == 24 * 60


def test_a_service_without_allocations_has_no_samples() -> None:
    with serving(pods("a")) as api:
        assert asked(Client.at(f"{api.url}/allocation"), "24h")["order-service"].samples == ()


def test_a_page_that_is_only_partly_covered_is_left_out_because_its_averages_are_too_low() -> None:
    def half(given: dict[str, str]) -> Reply:
        start, end = map(datetime.fromisoformat, given["window"].split(","))
        middle = (start + (end - start) / 2).isoformat().replace("+00:00", "Z")
        one = entry(given["window"], minutes=30) | {"end": middle}
        return answer({"one" if given["aggregate"] == "cluster" else key("cloudmart", "user-service"): one})

    with serving(half) as api:
        assert asked(Client.at(f"{api.url}/allocation"), "24h")["user-service"].samples == ()


def test_a_pod_that_ran_for_a_part_counts_as_that_part_and_its_diluted_cpu_does_not() -> None:
    def page(given: dict[str, str]) -> Reply:
        start = datetime.fromisoformat(given["window"].split(",")[0])
        late = {"start": (start + timedelta(minutes=30)).isoformat().replace("+00:00", "Z"), "minutes": 30}
        short = entry(given["window"], cpuCoreUsageAverage=0.25) | late
        return answer(
            {
                key("cloudmart", "user-service", "a"): entry(given["window"]),
                key("cloudmart", "user-service", "b"): short,
            }
        )

    with serving(with_cluster(page)) as api:
        whole = asked(Client.at(f"{api.url}/allocation"), "24h")["user-service"].samples[1]
    assert whole.replicas == 1.5
    assert whole.cpu == pytest.approx(0.75)


def test_peaks_of_the_api_are_kept_and_its_nulls_are_none() -> None:
    peaks = {"rawAllocationOnly": {"cpuCoreUsageMax": 0.9, "ramByteUsageMax": 3.0 * GIB}}
    with serving(pods("a", **peaks)) as api:
        found = asked(Client.at(f"{api.url}/allocation"), "24h")["user-service"].samples[1]
    assert (found.peak_cpu, found.peak_memory) == (0.9, 3 * GIB)
    with serving(pods("a", rawAllocationOnly=None)) as api:
        found = asked(Client.at(f"{api.url}/allocation"), "24h")["user-service"].samples[1]
    assert (found.peak_cpu, found.peak_memory) == (0, GIB)


def test_kubecost_is_asked_by_the_day_for_what_is_older_than_its_hours() -> None:
    with serving(pods("a"), path="/model/allocation") as api:
        found = asked(Client.at(f"{api.url}/model"), "14d")["user-service"]
    lengths = [sample.minutes for sample in found.samples]
    assert lengths.count(60) == 48
    assert lengths.count(24 * 60) == 12
    assert set(lengths) == {60, 24 * 60}


def test_an_api_that_does_not_answer_is_one_error() -> None:
    with serving(Reply(b"down", 404)) as api, pytest.raises(UserError, match="no Allocation API"):
        asked(Client.at(f"{api.url}/allocation"), "24h")


def test_a_real_opencosts_answer_gives_what_the_local_clusters_pods_used() -> None:
    with serving(with_cluster(lambda _: Reply(recorded("pods")))) as api:
        client = Client.at(f"{api.url}/allocation")
        window = client.window("2026-11-23T23:08:00Z,2026-11-23T23:11:00Z", RECORDED_NOW)
        names = ("user-service", "product-service", "payment-service")
        found = {u.service: u for u in from_allocations(client, window, RECORDED_NOW, "cloudmart", names)}
    # Half of the requests, which is what the local cluster's pods use: 100m/128Mi, 150m/256Mi, 100m/256Mi.
    for name, pods_, cpu, memory in (
        ("user-service", 2, 0.05, 64),
        ("product-service", 2, 0.075, 128),
        ("payment-service", 3, 0.05, 128),
    ):
        (sample,) = found[name].samples
        assert (sample.minutes, sample.replicas) == (3, pods_)
        assert sample.cpu == pytest.approx(pods_ * cpu)
        assert sample.memory == pytest.approx(pods_ * memory * 2**20)
        assert sample.peak_cpu == pytest.approx(cpu, rel=1e-3)


@pytest.mark.slow
def test_the_command_sizes_from_a_day_of_a_real_opencosts_answers(project: Project) -> None:
    def page(asked_: dict[str, str]) -> Reply:
        # The recorded three minutes, said of every hour.
        start, end = asked_["window"].split(",")
        text = recorded("pods").decode().replace("2026-11-23T23:08:00Z", start).replace("2026-11-23T23:11:00Z", end)
        minutes = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() / 60
        return Reply(re.sub(r'"minutes":\s*3\b', f'"minutes":{minutes:g}', text).encode())

    with serving(with_cluster(page)) as api:
        arguments = ["rightsize", "--stack", "dev", "--root", str(project.root), "--window", "25h", "--format", "json"]
        url = f"{api.url}/allocation"
        result = CliRunner().invoke(cli, [*arguments, "--url", url, "--write"], catch_exceptions=False)
        again = CliRunner().invoke(cli, [*arguments, "--url", url], catch_exceptions=False)
    assert result.exit_code == 0
    found = {entry_["service"]: entry_ for entry_ in json.loads(result.stdout)["services"]}
    # Two pods that use 50m each, at a target of 70 %: 100m x 0.05 / 0.7 / 2 pods, in steps of 5m.
    assert found["user-service"]["proposed"]["requests"]["cpu"] == "75m"
    assert found["user-service"]["source"] == "OpenCost averages"
    assert json.loads(again.stdout)["changes"] == []


# --- Prometheus ------------------------------------------------------------------------------------------------------


@contextmanager
def prometheus_server(reply: Callable[[str, dict[str, str]], tuple[int, Any]]) -> Iterator[str]:
    """A stand-in for Prometheus' HTTP API."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            given = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            status, body = reply(self.path.rsplit("/", 1)[1], {name: values[0] for name, values in given.items()})
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def series(values: list[float], start: float, step: float) -> Any:
    points = [[start + index * step, str(value)] for index, value in enumerate(values)]
    return {"status": "success", "data": {"result": [{"metric": {"service": "user-service"}, "values": points}]}}


def shop(path: str, given: dict[str, str]) -> tuple[int, Any]:
    query = given["query"]
    if path == "query":
        value = 256 * 2**20 if query.startswith("max by") else 3
        killed = {"metric": {"service": "user-service"}, "value": [0, str(value)]}
        return 200, {"status": "success", "data": {"result": [killed]}}
    start, step = float(given["start"]), float(given["step"])
    if query.startswith("count by"):
        return 200, series([2, 2, 3], start, step)
    per_pod = query.startswith("max by")
    values = [0.2, 0.3, 0.9] if "cpu_usage" in query else [2e8, 2e8, 3e8]
    return 200, series([value / 2 for value in values] if per_pod else values, start, step)


def test_prometheus_gives_totals_counts_peaks_and_kills() -> None:
    with prometheus_server(shop) as url:
        found, other = prometheus.usage(url, "cloudmart", SERVICES, minutes=60, now=1_000_000)
    assert [sample.replicas for sample in found.samples] == [2, 2, 3]
    assert [sample.cpu for sample in found.samples] == [0.2, 0.3, 0.9]
    assert found.samples[2].peak_cpu == 0.45
    assert found.samples[2].peak_memory == 1.5e8
    assert (found.oom_kills, found.oom_memory) == (3, 256 * 2**20)
    assert other.samples == ()


def test_two_weeks_are_asked_for_in_steps_that_prometheus_answers() -> None:
    asked_for: list[dict[str, str]] = []

    def reply(path: str, given: dict[str, str]) -> tuple[int, Any]:
        asked_for.append(given)
        return shop(path, given)

    with prometheus_server(reply) as url:
        prometheus.usage(url, "cloudmart", SERVICES, minutes=14 * 24 * 60, now=2_000_000)
    ranges = [given for given in asked_for if "step" in given]
    assert len(ranges) == 5
    for given in ranges:
        assert (float(given["end"]) - float(given["start"])) / float(given["step"]) <= 11_000


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, {"status": "error", "error": "parse error"}, "HTTP 400: parse error"),
        (502, b"<html>bad gateway</html>", "HTTP 502 and no JSON"),
        (200, [], "answers with an error"),
    ],
)
def test_a_prometheus_that_refuses_is_one_error_with_its_words(status: int, body: Any, said: str) -> None:
    with prometheus_server(lambda _path, _given: (status, body)) as url, pytest.raises(UserError, match=said):
        prometheus.usage(url, "cloudmart", SERVICES, minutes=60)


def test_a_prometheus_that_is_not_there_is_one_error() -> None:
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:1: cannot be reached"):
        prometheus.usage("http://127.0.0.1:1", "cloudmart", SERVICES, minutes=60)


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(UserError, match="--prometheus: found 'ftp://x'; allowed"):
        prometheus.usage("ftp://x", "cloudmart", SERVICES, minutes=60)
