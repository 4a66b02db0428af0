"""Faults at random points of an `up` on the real engine; see test_faults.py for what holds after each."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from random import Random

import psutil
import pytest

from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy.expected import Way
from cloudmart.errors import UserError
from tests.cluster.conftest import say
from tests.conftest import copy_project
from tests.deployer import Deployer, shuffled, without_charts
from tests.pulumi.conftest import engine_home  # noqa: F401 (a fixture)
from tests.reliability import faults
from tests.reliability.conftest import Many
from tests.reliability.shop import Shop
from tests.reliability.test_faults import PART

WAY = "on the engine"
#: A run takes several times as long as without the CLI.
AT_MOST = 25
#: Several times as long as `up` twice and `down` take. Without the right to watch, the provider waits for objects that
#: are long gone.
_LONGEST_SECONDS = 180

pytestmark = pytest.mark.skipif(shutil.which("pulumi") is None, reason="no pulumi on PATH")


@pytest.fixture(scope="module")
def shop(cluster: LocalCluster, engine_home: None) -> Iterator[Shop]:  # noqa: F811 (the fixture above)
    found = Shop.at(cluster, with_cli=True)
    yield found
    if not cluster.is_running():
        cluster.start(say)
    found.empty()


def test_engine_killed_process(many: Many, shop: Shop) -> None:
    what = "the deploying process gets SIGKILL, alone or with all that it started"
    many(PART, what, WAY, lambda seed: faults.killed(shop, Random(seed)), at_most=AT_MOST)


def test_engine_killed_api_server(many: Many, shop: Shop) -> None:
    what = "kube-apiserver gets SIGKILL; back after up to 2 s, or not until the next `up`"
    run = lambda seed: faults.component_killed(shop, Random(seed), "kube-apiserver")  # noqa: E731
    many(PART, what, WAY, run, at_most=AT_MOST)


def test_engine_killed_etcd(many: Many, shop: Shop) -> None:
    what = "etcd gets SIGKILL; back after up to 2 s, or not until the next `up`"
    many(PART, what, WAY, lambda seed: faults.component_killed(shop, Random(seed), "etcd"), at_most=AT_MOST)


def test_engine_proxy(many: Many, shop: Shop) -> None:
    what = "429, 500, slow answers and cut connections from a proxy in front of the API server"
    shop.sound = False  # begins anew, by a context
    shop.context = shop.cluster.kubeconfig
    try:
        run = lambda seed: faults.proxied(shop, Random(seed), "429", "500", "slow", "cut")  # noqa: E731
        many(PART, what, WAY, run, at_most=AT_MOST)
    finally:
        shop.context, shop.sound = None, False


def test_engine_two_at_once(many: Many, shop: Shop) -> None:
    run = lambda seed: faults.twice_under_the_engine(shop, Random(seed))  # noqa: E731
    many(PART, "two `up` at once, of one checkout", WAY, run, at_most=AT_MOST)


def test_engine_full_disk(many: Many, shop: Shop) -> None:
    what = "the state on a file system (tmpfs) that is full, or that another process fills"
    many(PART, what, WAY, lambda seed: faults.full_disk_under_state(shop, Random(seed)), at_most=AT_MOST)


def test_engine_permission(many: Many, cluster: LocalCluster, engine_home: None) -> None:  # noqa: F811
    project = without_charts(copy_project(cluster.root))
    deployer = Deployer.of(cluster, project, Way.PULUMI)
    # Read for people alone, where a workload does not come up.
    every = [one for one in shuffled(deployer.permissions, 0) if one.verb != "list"]

    def run(seed: int) -> str:
        permission = every[(seed - 1) % len(every)]
        deployer.allow(deployer.permissions, not_=permission)
        said = ""
        try:
            with _ended_after(_LONGEST_SECONDS) as ended:
                deployer.up_again_and_down()
        except UserError as error:
            said = "not over in time" if ended.is_set() else str(error)
        finally:
            deployer.allow(deployer.permissions)
            deployer.down()
        assert any(words in said for words in ("forbidden", "timed out", "not over in time")), f"{permission}: {said}"
        return f"{permission.verb}: not over in time" if ended.is_set() else permission.verb

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(deployer.kubeconfig))
        deployer.allow(deployer.permissions)
        many("Permissions", f"one of {len(every)} permissions is missing", WAY, run, at_most=AT_MOST)
    deployer.forget()


@contextlib.contextmanager
def _ended_after(seconds: float) -> Iterator[threading.Event]:
    """Ends the engine that a block has started, should it run so long; the event says whether that was so."""
    ended = threading.Event()

    def end() -> None:
        ended.set()
        for child in psutil.Process().children(recursive=True):
            if child.name().startswith("pulumi"):
                child.kill()

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield ended
    finally:
        timer.cancel()
