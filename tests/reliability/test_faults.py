"""Faults at random points of an `up` without the CLI: whatever happens, the next one mends it.

After each: every object as declared, none that is not, the secrets and the claims of before, and an error, where the
disturbed run ended with one, that names its cause in each line.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from cloudmart.cluster.local import LocalCluster
from tests.cluster.conftest import say
from tests.reliability import faults
from tests.reliability.conftest import Many
from tests.reliability.shop import Shop

PART = "Faults at random points of `up`"
WAY = "without the CLI"


@pytest.fixture(scope="module")
def shop(cluster: LocalCluster) -> Iterator[Shop]:
    found = Shop.at(cluster)
    yield found
    if not cluster.is_running():
        cluster.start(say)
    found.empty()


def test_killed_deploying_process(many: Many, shop: Shop) -> None:
    many(PART, "the deploying process gets SIGKILL", WAY, lambda seed: faults.killed(shop, Random(seed)))


def test_killed_api_server(many: Many, shop: Shop) -> None:
    many(
        PART,
        "kube-apiserver gets SIGKILL; back after up to 2 s, or not until the next `up`",
        WAY,
        lambda seed: faults.component_killed(shop, Random(seed), "kube-apiserver"),
    )


def test_killed_etcd(many: Many, shop: Shop) -> None:
    many(
        PART,
        "etcd gets SIGKILL; back after up to 2 s, or not until the next `up`",
        WAY,
        lambda seed: faults.component_killed(shop, Random(seed), "etcd"),
    )


def test_cut_connections(many: Many, shop: Shop) -> None:
    what = "watches and other answers of the API server cut off, by a proxy"
    many(PART, what, WAY, lambda seed: faults.proxied(shop, Random(seed), "cut"))


def test_refusing_proxy(many: Many, shop: Shop) -> None:
    what = "429, 500 and slow answers (up to 3 s) from a proxy in front of the API server"
    many(PART, what, WAY, lambda seed: faults.proxied(shop, Random(seed), "429", "500", "slow"))


def test_two_at_once(many: Many, shop: Shop) -> None:
    many(
        PART, "two `up` at once, of the same or of another catalog", WAY, lambda seed: faults.twice(shop, Random(seed))
    )


def test_full_disk(many: Many, shop: Shop) -> None:
    what = "no file can be written (limit of file sizes): by `up` and its kubectl, or by etcd from a random point on"
    many(PART, what, WAY, lambda seed: faults.full_disk(shop, Random(seed)))
