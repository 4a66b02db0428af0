"""One `up` at a time without the CLI: who gets the Lease, who is refused it, and when it is given back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cloudmart.cluster.kubectl import Kubectl, KubectlError
from cloudmart.deploy import lease as lease_
from cloudmart.deploy import processes
from cloudmart.deploy.lease import SECONDS, Lease
from cloudmart.errors import UserError

Json = Any

ONE = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/cloudmart-dev"
ELSEWHERE = "another machine"


@dataclass(frozen=True, kw_only=True)
class Server(Kubectl):
    """An API server that knows one Lease, and counts its versions."""

    path: Path = Path("kubectl")
    live: dict[str, Json] = field(default_factory=dict)
    #: Called before each call, with its verb.
    disturbed: list[Callable[[str], None]] = field(default_factory=list)
    #: Verbs whose answer gets lost, once each.
    cut: list[str] = field(default_factory=list)

    def run(self, *args: str, stdin: str | None = None, timeout: float = 120) -> str:
        assert timeout <= 10
        verb, _, where = args[:3]
        assert where == (ONE if verb != "create" else ONE.rpartition("/")[0])
        for what in self.disturbed:
            what(verb)
        found = self.live.get(ONE)
        if verb == "get":
            if found is None:
                raise KubectlError("kubectl get: Error from server (NotFound): leases not found")
            return json.dumps(found)
        given = json.loads(stdin or "")
        if verb == "create" and found is not None:
            raise KubectlError("kubectl create: Error from server (AlreadyExists): it is there")
        if verb == "replace" and (found is None or self.version != given["metadata"]["resourceVersion"]):
            raise KubectlError("kubectl replace: Error from server (Conflict): it has been modified")
        self.write(given)
        if verb in self.cut:
            self.cut.remove(verb)
            raise KubectlError(f"kubectl {verb}: EOF")
        return ""

    @property
    def version(self) -> str:
        return str(self.live[ONE]["metadata"]["resourceVersion"])

    @property
    def holder(self) -> str:
        """Empty where it is free."""
        return str(self.live[ONE]["spec"].get("holderIdentity", ""))

    def write(self, given: Json) -> None:
        version = int(self.version) + 1 if ONE in self.live else 1
        self.live[ONE] = given | {"metadata": given["metadata"] | {"resourceVersion": str(version)}}

    def held(self, *, machine: str, pid: int, since: float = 17, renewed: float = 2) -> None:
        """Somebody has held it since so many seconds ago, and renewed it so many ago."""
        now = datetime.now(UTC)
        annotations = {"cloudmart/machine": machine, "cloudmart/process": f"{pid}", "cloudmart/command": "down"}
        spec = {
            "holderIdentity": f"ada@elsewhere, process {pid}:0badcafe",
            "leaseDurationSeconds": SECONDS,
            "acquireTime": (now - timedelta(seconds=since)).isoformat(),
            "renewTime": (now - timedelta(seconds=renewed)).isoformat(),
        }
        self.write({"metadata": {"name": "cloudmart-dev", "annotations": annotations}, "spec": spec})


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def lease(server: Server, said: list[str]) -> Lease:
    return Lease(server, "shop", "cloudmart-dev", stack="dev", command="up", progress=said.append)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """One that is alive, and began just now."""
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield started
    started.kill()
    started.wait()


def within(seconds: float, what: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_it_says_who_holds_it_and_is_free_afterwards(server: Server, lease: Lease, said: list[str]) -> None:
    for _ in range(2):  # made, and found
        with lease_.Lease(server, "shop", "cloudmart-dev", stack="dev", command="up", progress=said.append) as held:
            held.take()
            assert re.fullmatch(rf".+@.+, process {os.getpid()}:[0-9a-f]{{8}}", server.holder)
            assert server.live[ONE]["metadata"]["annotations"]["cloudmart/command"] == "up"
            held.require()
        assert server.holder == ""
    assert said == []


def test_the_second_run_ends_at_once_with_who_holds_it_since_when_and_until_when(server: Server, lease: Lease) -> None:
    server.held(machine=ELSEWHERE, pid=4711)
    version = server.version
    with pytest.raises(UserError) as raised, lease:
        lease.take()
    since = server.live[ONE]["spec"]["acquireTime"].replace("T", " ").partition(".")[0]
    assert str(raised.value) == (
        f"stack dev: found another down under way (ada@elsewhere, process 4711, since {since} UTC); allowed: one at a "
        "time. If that one was killed, its lease expires by itself in 28 s: run again then"
    )
    assert server.version == version


def test_a_living_process_of_this_machine_keeps_it(
    server: Server, lease: Lease, process: subprocess.Popen[bytes]
) -> None:
    server.held(machine=processes.machine(), pid=process.pid, since=-1)  # since after that process began
    with pytest.raises(UserError, match="found another down under way"), lease:
        lease.take()


def test_one_that_was_killed_on_this_machine_is_followed_at_once(server: Server, lease: Lease, said: list[str]) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    server.held(machine=processes.machine(), pid=gone.pid)
    with lease:
        lease.take()
        assert f"process {os.getpid()}:" in server.holder
    assert len(said) == 1
    assert said[0].startswith(f"the last down did not end by itself (ada@elsewhere, process {gone.pid}, since ")


def test_a_number_that_another_process_has_by_now_holds_nothing(
    server: Server, lease: Lease, process: subprocess.Popen[bytes]
) -> None:
    server.held(machine=processes.machine(), pid=process.pid, since=3600)
    with lease:
        lease.take()
        assert f"process {os.getpid()}:" in server.holder


def test_an_earlier_run_of_this_process_that_could_not_give_it_back_does_not_stop_the_next(
    server: Server, lease: Lease
) -> None:
    server.held(machine=processes.machine(), pid=os.getpid())
    with lease:
        lease.take()
        assert not server.holder.startswith("ada")


def test_a_process_number_of_another_machine_says_nothing(server: Server, lease: Lease) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    server.held(machine=ELSEWHERE, pid=gone.pid)
    with pytest.raises(UserError, match="found another down under way"), lease:
        lease.take()


def test_an_expired_one_is_taken_over_unless_it_shows_that_only_the_clocks_differ(
    server: Server, lease: Lease, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.held(machine=ELSEWHERE, pid=4711, since=900, renewed=300)
    monkeypatch.setattr(time, "sleep", lambda _: server.held(machine=ELSEWHERE, pid=4711, since=900, renewed=295))
    with pytest.raises(UserError, match=r"found another down .* its lease expires by itself in 30 s"), lease:
        lease.take()
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with lease:
        lease.take()
        assert f"process {os.getpid()}:" in server.holder
    assert slept == [11]
    assert said[0].startswith("waiting 11 s for a sign of life of another down (ada@elsewhere, process 4711, since ")


def test_who_writes_between_look_and_write_has_it(server: Server, lease: Lease) -> None:
    def quicker(verb: str) -> None:
        if verb == "create" and ONE not in server.live:
            server.held(machine=ELSEWHERE, pid=4711)

    server.disturbed.append(quicker)
    with pytest.raises(UserError, match="found another down under way"), lease:
        lease.take()
    assert server.holder.startswith("ada@")


def test_a_lease_that_says_nothing_usable_is_free(server: Server, lease: Lease) -> None:
    server.write({"metadata": {"name": "cloudmart-dev"}, "spec": {"holderIdentity": "x", "renewTime": "yesterday"}})
    with lease:
        lease.take()
        assert server.holder != "x"


@pytest.mark.parametrize("error", [UserError, KeyboardInterrupt, SystemExit])
def test_it_is_given_back_however_the_run_ends(server: Server, lease: Lease, error: type[BaseException]) -> None:
    with pytest.raises(error), lease:  # noqa: PT012
        lease.take()
        raise error
    assert server.holder == ""


def test_it_is_given_back_where_the_answer_to_taking_it_got_lost(server: Server, lease: Lease) -> None:
    server.cut.append("create")
    with pytest.raises(KubectlError, match="EOF"), lease:
        lease.take()
    assert server.holder == ""


def test_it_is_renewed_while_the_run_goes_on_though_the_api_server_is_away_now_and_then(
    server: Server, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_, "_RENEWED", 0.01)
    calls = []

    def away(verb: str) -> None:
        calls.append(verb)
        if len(calls) % 3 == 0:
            raise KubectlError(f"kubectl {verb}: connection refused")

    with lease:
        lease.take()
        first = server.live[ONE]["spec"]
        server.disturbed.append(away)
        assert within(10, lambda: int(server.version) > 5)
        server.disturbed.clear()
        now = server.live[ONE]["spec"]
        assert {key for key in now if now[key] != first[key]} == {"renewTime"}
        lease.require()


def test_a_run_whose_lease_somebody_has_taken_over_goes_no_further_and_leaves_it_alone(
    server: Server, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_, "_RENEWED", 0.01)

    def stopped() -> bool:
        try:
            lease.require()
        except UserError as error:
            return "found that another run has taken over" in str(error)
        return False

    with lease:
        lease.take()
        server.held(machine=ELSEWHERE, pid=4711)
        assert within(10, stopped)
    assert server.holder.startswith("ada@")


def test_what_keeps_it_from_being_given_back_is_told_and_missing_rights_are_an_error(
    server: Server, lease: Lease, said: list[str]
) -> None:
    def refused(verb: str) -> None:
        if verb == "replace":
            raise KubectlError("kubectl replace: Error from server (Forbidden): may not update leases")

    with pytest.raises(KubectlError, match="may not update leases"), lease:  # noqa: PT012
        lease.take()
        server.disturbed.append(refused)
    assert said == []
    server.disturbed[:] = []

    def away(verb: str) -> None:
        raise KubectlError("kubectl get: connection refused")

    again = Lease(server, "shop", "cloudmart-dev", stack="dev", command="up", progress=said.append)
    with again:
        again.take()
        server.disturbed.append(away)
    assert said[-1] == "the lease cloudmart-dev could not be given back: kubectl get: connection refused"


def test_a_run_that_never_took_it_asks_nothing(server: Server, lease: Lease) -> None:
    def asked(verb: str) -> None:
        raise AssertionError(verb)

    server.disturbed.append(asked)
    with lease:
        pass
