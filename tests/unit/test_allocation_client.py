"""The client: what is sent, what it survives, and what it says when there is nothing to survive."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloudmart.errors import UserError
from cloudmart.finops.allocation.client import Client, Http, Kind, Query, ServiceProxy
from cloudmart.finops.allocation.discovery import discover
from cloudmart.finops.allocation.windows import HOUR, Window
from tests.unit.allocation_api import RECORDED_NOW, Api, Reply, answer, entry, recorded, serving

NOW = datetime(2026, 11, 23, 22, 45, 31, tzinfo=UTC)
WINDOW = Window.parse("2026-11-23T20:52:00Z,2026-11-23T20:55:00Z", NOW)
DAY_SPAN = "2026-11-22T00:00:00Z,2026-11-23T00:00:00Z"
DAY = Window.parse(DAY_SPAN, NOW)


def client(api: Api, kind: Kind = Kind.OPENCOST, time_limit: float = 30) -> tuple[Client, list[float]]:
    """A client that does not really wait, and the waits that it would have made."""
    waits: list[float] = []
    return Client(Http(api.url), (kind,), time_limit, waits.append), waits


def query(window: Window = WINDOW, **changes: Any) -> Query:
    return Query(**{"window": window, "aggregate": ("namespace",), **changes})


def refusal(*replies: Reply, **changes: Any) -> str:
    with serving(*replies) as api, pytest.raises(UserError) as caught:
        list(client(api)[0].pages(query(**changes)))
    assert "Traceback" not in str(caught.value)
    assert len(str(caught.value)) < 700
    return str(caught.value)


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_the_window_is_sent_as_rfc_3339_times_of_whole_minutes() -> None:
    with serving(Reply(recorded("idle"))) as api:
        list(client(api)[0].pages(query()))
    assert api.asked == [
        {
            "window": "2026-11-23T20:52:00Z,2026-11-23T20:55:00Z",
            "aggregate": "namespace",
            "includeIdle": "false",
            "resolution": "1m",
        }
    ]


def test_the_plus_between_filters_is_sent_escaped_because_it_means_and() -> None:
    with serving(Reply(recorded("idle")), path="/model/allocation") as api:
        filters = {"namespace": ("shop", "other"), "label:cost-center": ("CC-1",), "controller": ("deployment:web",)}
        with pytest.raises(UserError):
            list(client(api, Kind.KUBECOST_3)[0].pages(query(filters=filters)))
    assert "%2Blabel%5Bcost_center%5D" in api.lines[0]
    assert api.asked[0]["filter"] == 'namespace:"shop","other"+label[cost_center]:"CC-1"+controllerName:"web"'
    assert api.asked[0]["aggregate"] == "namespace,label:cost_center,controller"


def test_kubecost_is_asked_at_its_own_path_for_one_set_without_shared_idle() -> None:
    with serving(answer({"shop": entry(DAY_SPAN)}), path="/model/allocation") as api:
        list(client(api, Kind.KUBECOST_3)[0].pages(query(DAY, idle=True)))
    assert api.asked[0] | {"idle": "true", "shareIdle": "false", "accumulate": "true"} == api.asked[0]


def test_a_long_window_is_asked_for_day_by_day() -> None:
    def reply(parameters: dict[str, str]) -> Reply:
        return answer({"shop": entry(parameters["window"])})

    with serving(reply) as api:
        pages = client(api)[0].pages(query(Window.parse("7d", NOW)))
        next(pages)
        assert len(api.asked) == 1  # nothing is fetched before it is wanted, so memory holds one page
        rest = list(pages)
    assert len(rest) == 7
    assert all(end > start for start, end in (asked["window"].split(",") for asked in api.asked))
    assert "resolution" not in api.asked[1]


# --- traps of the real API -------------------------------------------------------------------------------------------


def test_a_recorded_answer_reads_as_what_ran() -> None:
    with serving(Reply(recorded("controller"))) as api:
        (page,) = client(api)[0].pages(query(aggregate=("controller",)))
    found = {one.key[0]: one for one in page.allocations}
    burst = found["deployment:burst"]
    assert page.covered == 3
    assert burst.cpu_request_core_hours == pytest.approx(0.1 * 3 / 60)
    assert burst.cpu_usage_core_hours == pytest.approx(0.4 * 3 / 60)
    assert burst.cpu_core_hours == pytest.approx(0.01221)  # the greater of both
    assert burst.memory_request_gib_hours == pytest.approx(0.125 * 3 / 60)
    assert burst.cpu_peak_cores == pytest.approx(0.4, abs=1e-4)
    assert found["deployment:worker"].storage_gib_hours == pytest.approx(10 * 3 / 60)
    assert found["deployment:worker"].cost == pytest.approx(0.00203)


def test_an_unknown_aggregate_that_is_answered_with_an_empty_key_is_an_error() -> None:
    assert "does not aggregate by namespace" in refusal(Reply(recorded("unknown-aggregate")))
    assert "does not aggregate by namespace,pod" in refusal(answer({"shop": {}}), aggregate=("namespace", "pod"))


def test_an_ignored_filter_is_applied_here() -> None:
    with serving(Reply(recorded("filter-ignored"))) as api:
        (page,) = client(api)[0].pages(query(filters={"namespace": ("other",)}))
    assert page.covered == 3
    assert api.asked[0]["filter"] == 'namespace:"other"'
    assert b'"cloudmart"' in recorded("filter-ignored")  # it was ignored
    assert [one.key for one in page.allocations] == [("other",)]


def test_idle_capacity_is_nobodys_and_goes_where_there_is_a_filter() -> None:
    with serving(Reply(recorded("idle"))) as api:
        (page,) = client(api)[0].pages(query(idle=True))
        (filtered,) = client(api)[0].pages(query(idle=True, filters={"namespace": ("other",)}))
    assert [one.cost for one in page.allocations if one.is_idle] == [pytest.approx(0.02312)]
    assert [one.key for one in filtered.allocations] == [("other",)]


def test_the_minutes_with_data_do_not_depend_on_the_filter() -> None:
    def reply(parameters: dict[str, str]) -> Reply:
        if parameters["aggregate"] == "cluster":
            assert "filter" not in parameters
            return answer({"lab": entry(DAY_SPAN)})
        # As Kubecost answers, which heeds filters: one short-lived pod.
        return answer({"job": entry("2026-11-22T03:00:00Z,2026-11-22T04:00:00Z")})

    with serving(reply) as api:
        (page,) = client(api)[0].pages(query(DAY, filters={"namespace": ("job",)}))
    assert page.covered == 24 * 60


def test_a_label_that_looks_like_idle_capacity_does_not_hide_a_cost() -> None:
    with serving(answer({"a__idle__b": entry(DAY_SPAN), "cluster/__idle__": entry(DAY_SPAN)})) as api:
        (page,) = client(api)[0].pages(query(DAY))
    assert [one.key for one in page.allocations] == [("a__idle__b",)]


def test_a_bad_window_is_told_in_the_words_before_the_json() -> None:
    message = refusal(Reply(recorded("error-window"), 400))
    assert message.endswith("answers with an error (HTTP 400: Invalid 'window' parameter: illegal window: bogus)")


def test_a_prometheus_that_is_down_is_asked_again_and_then_named_in_a_line() -> None:
    message = refusal(Reply(recorded("error-prom-down"), 500))
    assert "HTTP 500: Error: error computing allocations" in message
    assert message.endswith("its Prometheus does not answer")


def test_an_error_with_status_200_is_an_error() -> None:
    assert "answers with an error: no data" in refusal(Reply(b'{"code":500,"message":"no data"}'))


def test_an_empty_window_is_an_empty_page() -> None:
    with serving(Reply(recorded("empty-window"))) as api:
        (page,) = client(api)[0].pages(query())
    assert (page.covered, list(page.allocations)) == (0, [])


def test_a_window_with_data_in_part_says_how_much_and_does_not_trust_the_cpu_usage() -> None:
    window = Window.parse("2026-11-23T20:00:00Z,2026-11-23T21:00:00Z", NOW)
    with serving(Reply(recorded("default-1h"))) as api:
        (page,) = client(api)[0].pages(query(window))
    assert page.covered == 8
    assert not any(one.whole for one in page.allocations)
    cloudmart = page.allocations[0]
    # 1.1 cores were used for four minutes: spread over the hour, and billed for eight minutes.
    assert cloudmart.cpu_usage_core_hours == pytest.approx(1.1 * 4 / 60 * 8 / 60, abs=1e-4)
    assert cloudmart.memory_usage_gib_hours == pytest.approx(2 * 8 / 60)


def test_null_figures_are_not_known_and_never_nought_of_usage() -> None:
    nulls = entry(DAY_SPAN, cpuCoreUsageAverage=None, ramByteUsageAverage=None, cpuCost=None, networkCost=None)
    with serving(answer({"shop": nulls, "gone": None})) as api:
        (page,) = client(api)[0].pages(query(DAY))
    (one,) = page.allocations
    assert one.cpu_usage_core_hours is None
    assert one.memory_usage_gib_hours is None
    assert (one.cpu_cost, one.network_cost) == (0, 0)
    assert one.memory_cost > 0


def test_unmounted_and_unallocated_entries_are_told_apart() -> None:
    steps = {"__unmounted__/__unallocated__": entry(DAY_SPAN), "shop/__unallocated__": entry(DAY_SPAN)}
    with serving(answer(steps)) as api:
        (page,) = client(api)[0].pages(query(DAY, aggregate=("namespace", "label:app")))
    assert [one.is_unmounted for one in page.allocations] == [True, False]
    assert page.allocations[1].key == ("shop", "__unallocated__")


def test_several_sets_in_one_answer_all_count() -> None:
    first, second = "2026-11-22T00:00:00Z,2026-11-22T12:00:00Z", "2026-11-22T12:00:00Z,2026-11-23T00:00:00Z"
    with serving(answer({"shop": entry(first)}, {"shop": entry(second)})) as api:
        (page,) = client(api)[0].pages(query(DAY))
    assert page.covered == 24 * 60
    assert sum(one.cpu_core_hours for one in page.allocations) == pytest.approx(24)
    assert all(one.whole for one in page.allocations)


def test_labels_that_older_versions_answer_with_their_name_read_the_same() -> None:
    with serving(answer({"app=web": entry(DAY_SPAN)})) as api:
        (page,) = client(api)[0].pages(query(DAY, aggregate=("label:app",)))
    assert page.allocations[0].key == ("web",)


# --- trouble ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Reply(b"", 503), Reply(b"", 429), Reply(b"", 500), Reply(hang=True)])
def test_what_may_pass_is_asked_again_with_growing_waits(fault: Reply) -> None:
    with serving(fault, fault, Reply(recorded("idle"))) as api:
        asking, waits = client(api)
        assert len(list(asking.pages(query()))) == 1
    assert waits == [0.5, 1.0]


def test_the_server_may_ask_for_patience_but_not_for_hours() -> None:
    slow = [Reply(b"", 429, {"Retry-After": "3"}), Reply(b"", 429, {"Retry-After": "86400"})]
    with serving(*slow, Reply(recorded("idle"))) as api:
        asking, waits = client(api)
        list(asking.pages(query()))
    assert waits == [3.0, 10.0]


def test_what_will_not_pass_is_asked_once() -> None:
    with serving(Reply(recorded("error-window"), 400)) as api:
        asking, waits = client(api)
        with pytest.raises(UserError):
            list(asking.pages(query()))
    assert (len(api.asked), waits) == (1, [])


def test_after_four_attempts_it_gives_up() -> None:
    with serving(Reply(b"busy", 503)) as api:
        asking, waits = client(api)
        with pytest.raises(
            UserError, match=r"not ready \(HTTP 503: busy\); after an installation the first data takes"
        ):
            list(asking.pages(query()))
    assert len(api.asked) == 4
    assert waits == [0.5, 1.0, 2.0]


def test_the_time_limit_holds_over_all_attempts() -> None:
    with serving(Reply(b"", 503)) as api:
        asking = Client(Http(api.url), (Kind.OPENCOST,), time_limit=1)
        started = time.monotonic()
        with pytest.raises(UserError, match="not ready"):
            list(asking.pages(query()))
    assert time.monotonic() - started < 2


def test_a_server_that_drips_does_not_keep_us(monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    class Dripping:
        headers: dict[str, str] = {}  # noqa: RUF012
        status_code = 200

        def __enter__(self) -> Dripping:
            return self

        def __exit__(self, *args: object) -> None:
            pass

        def iter_content(self, size: int) -> Any:
            while True:
                time.sleep(0.01)
                yield b" "

    session = requests.Session()
    monkeypatch.setattr(session, "request", lambda *args, **kwargs: Dripping())
    with pytest.raises(UserError, match="no whole answer within"):
        Http("http://127.0.0.1:9", session).get("/allocation", 0.1)


def test_an_answer_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudmart.finops.allocation.client.LARGEST_BODY", 2**20)
    assert "more than 1 MiB; ask for fewer pods with a filter" in refusal(Reply(b" " * 2**21))


def test_nobody_there_is_one_short_message() -> None:
    with serving() as api:
        url = api.url
    with pytest.raises(UserError, match=r"cannot be reached \(Connection refused\)$"):
        list(Client(Http(url), (Kind.OPENCOST,), 1).pages(query()))


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(b"<html>sign in</html>"), "does not answer with JSON of its own: a web page"),
        (Reply(b"[]"), "does not answer with JSON of its own"),
        (Reply(b""), "does not answer with JSON of its own: nothing"),
        (Reply(b'{"code":200,"data":null}'), "answers without data"),
        (Reply(b'{"code":200,"data":[{"shop":{"cpuCost":"much"}}]}'), "data.0.shop.cpuCost"),
        (Reply(b'{"code":200,"data":{"shop":{}}}'), "cannot be read: data"),
        (Reply(b"denied", 403), r"access is denied (HTTP 403: denied)"),
        (Reply(b"gone", 404), "no Allocation API at /allocation (HTTP 404: gone)"),
        (Reply(b"\xff\xfe\x1b[2J", 400), "HTTP 400"),
    ],
)
def test_whatever_else_is_answered_is_one_clear_message(reply: Reply, message: str) -> None:
    said = refusal(reply)
    assert message in said
    assert said.isprintable()


# --- which API -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "suffix", "kind"),
    [
        ("/allocation", "", Kind.OPENCOST),
        ("/allocation", "/allocation", Kind.OPENCOST),
        ("/model/allocation", "", Kind.KUBECOST),
        ("/model/allocation", "/model/", Kind.KUBECOST),
        ("/model/allocation", "/model/allocation", Kind.KUBECOST),
    ],
)
def test_the_api_behind_an_address_is_found_by_asking(path: str, suffix: str, kind: Kind) -> None:
    with serving(Reply(recorded("default-today")), path=path) as api:
        found = Client.at(api.url + suffix)
        assert found.kind is kind
        assert len(list(found.pages(query()))) == 1


def test_an_address_without_the_api_says_where_it_was_looked_for() -> None:
    with (
        serving(path="/elsewhere") as api,
        pytest.raises(UserError, match="no Allocation API at /model/allocation or /al"),
    ):
        _ = Client.at(api.url).kind


@pytest.mark.parametrize("url", ["localhost:9090", "ftp://x", "http://", "http://x?y=1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="url: found"):
        Client.at(url)


def test_a_password_in_the_address_is_not_shown() -> None:
    with pytest.raises(UserError) as caught:
        list(Client(Http("http://me:hush@127.0.0.1:1"), (Kind.OPENCOST,), 1).pages(query()))
    assert "hush" not in str(caught.value)


def test_kubecost_is_asked_for_whole_hours_or_days_and_opencost_for_minutes() -> None:
    with serving() as api:
        kubecost, opencost = client(api, Kind.KUBECOST_2)[0], client(api)[0]
        assert str(kubecost.window("7d", NOW)) == "2026-11-16T00:00:00Z,2026-11-23T00:00:00Z"
        assert str(kubecost.window("24h", NOW)) == "2026-11-22T22:00:00Z,2026-11-23T22:00:00Z"
        assert str(opencost.window("24h", NOW)) == "2026-11-22T22:44:00Z,2026-11-23T22:44:00Z"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aggregate": ()}, "found nothing"),
        ({"aggregate": ("nonsense",)}, "found 'nonsense'; allowed: cluster, node"),
        ({"aggregate": ("label:",)}, "found 'label:'"),
        ({"filters": {"namespace": ('a"+pod:"b',)}}, "filter namespace: found"),
    ],
)
def test_a_query_that_the_api_cannot_answer_is_not_sent(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        query(**changes)


# --- through the API server ------------------------------------------------------------------------------------------


class Kubectl:
    """Answers as kubectl does; the texts of errors are those of Kubernetes 1.36."""

    def __init__(self, services: list[dict[str, Any]], raw: Callable[[str], str] | None = None) -> None:
        self.services = services
        self.raw = raw
        self.calls: list[tuple[str, ...]] = []

    def run(self, *args: str, timeout: float = 120) -> str:
        self.calls.append(args)
        if args[:2] == ("get", "services"):
            return json.dumps({"items": self.services})
        assert self.raw is not None
        return self.raw(args[-1])


def service(namespace: str, name: str, *ports: int, labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"ports": [{"port": port} for port in ports]},
    }


KUBECOST_3 = service("costs", "spend-frontend", 9090, labels={"app": "kubecost", "helm.sh/chart": "kubecost-3.2.1"})
KUBECOST_2 = service("kubecost", "kubecost-cost-analyzer", 9003, 9090)
OPENCOST = service("monitoring", "opencost", 9003, 9090)
OTHERS = [service("shop", "web-frontend", 9090), service("shop", "opencost", 80), service("shop", "x")]


@pytest.mark.parametrize(
    ("services", "where", "kind"),
    [
        ([*OTHERS, KUBECOST_3], "costs/spend-frontend:9090", Kind.KUBECOST_3),
        ([*OTHERS, KUBECOST_2], "kubecost/kubecost-cost-analyzer:9090", Kind.KUBECOST_2),
        ([*OTHERS, OPENCOST], "monitoring/opencost:9003", Kind.OPENCOST),
        ([OPENCOST, KUBECOST_2, KUBECOST_3], "costs/spend-frontend:9090", Kind.KUBECOST_3),
    ],
)
def test_the_api_of_a_cluster_is_found_in_any_namespace(services: list[dict[str, Any]], where: str, kind: Kind) -> None:
    found = discover(Kubectl(services))
    assert found.transport.where == f"service {where}"
    assert found.kind is kind


def test_a_cluster_without_the_api_says_what_was_looked_for() -> None:
    with pytest.raises(UserError, match=r"found no Service <release>-frontend:9090 of Kubecost 3\.x"):
        discover(Kubectl(OTHERS))


def test_two_of_the_same_kind_are_a_question() -> None:
    other = service("b", "opencost", 9003)
    with pytest.raises(UserError, match=r"several Services of OpenCost: b/opencost:9003, monitoring/opencost:9003"):
        discover(Kubectl([OPENCOST, other]))


def test_a_given_service_is_taken_without_looking() -> None:
    kubectl = Kubectl([])
    assert discover(kubectl, "a/opencost").transport.where == "service a/opencost:9003"
    assert discover(kubectl, "a/b-cost-analyzer").kind is Kind.KUBECOST_2
    assert discover(kubectl, "a/b:1234").transport.where == "service a/b:1234"
    assert kubectl.calls == []
    with pytest.raises(UserError, match="service: found 'nothing'"):
        discover(kubectl, "nothing")


def test_a_cluster_is_asked_through_the_api_servers_proxy() -> None:
    kubectl = Kubectl([OPENCOST], lambda path: recorded("idle").decode())
    (page,) = discover(kubectl).pages(query())
    assert len(page.allocations) == 2
    verb, flag, path = kubectl.calls[-1]
    assert (verb, flag) == ("get", "--raw")
    assert path.startswith("/api/v1/namespaces/monitoring/services/opencost:9003/proxy/allocation?window=2026-11-23T20")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            'Error from server (ServiceUnavailable): no endpoints available for service "opencost:9003"',
            "not ready (HTTP 503",
        ),
        ('Error from server (NotFound): services "opencost" not found', "no Allocation API at /allocation"),
        (
            "Error from server (BadRequest): the server rejected our request for an unknown reason",
            "(HTTP 400: the server rejected our request for an unknown reason; kubectl does not pass on what it says",
        ),
        (
            'Error from server (InternalError): an error on the server ("unknown") has prevented the request from '
            "succeeding",
            "(HTTP 500: an error on the server",
        ),
        ('Error from server (Forbidden): services "opencost" is forbidden', "access is denied"),
        ("The connection to the server 127.0.0.1:6443 was refused", "refused"),
    ],
)
def test_what_kubectl_says_is_understood(said: str, message: str) -> None:
    def fail(path: str) -> str:
        raise UserError(f"kubectl get: {said}")

    asking = Client(ServiceProxy(Kubectl([], fail), "m", "opencost", 9003), (Kind.OPENCOST,), 30, lambda seconds: None)
    with pytest.raises(UserError) as caught:
        list(asking.pages(query()))
    assert message in str(caught.value)
    assert "service m/opencost:9003" in str(caught.value)


def test_pages_may_be_smaller_than_a_day() -> None:
    with serving(Reply(recorded("empty-window"))) as api:
        span = Window(RECORDED_NOW - timedelta(hours=3, minutes=12), RECORDED_NOW)
        assert len(list(client(api)[0].pages(query(span, step=HOUR)))) == 4
