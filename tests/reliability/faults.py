"""What goes wrong in a run: each function is one fault at a random point, the next `up`, and the look afterwards."""

from __future__ import annotations

import time
from random import Random

from tests.reliability.shop import Deploying, Ended, Shop, kill, one_line

#: Words of which an error has one when the API server cannot be reached, or goes away in the middle of an answer.
UNREACHABLE = (
    "refused",
    "reset",
    "EOF",
    "unable to connect",
    "connection lost",
    "etcdserver",
    "timeout",
    "timed out",
    "not ready",
    "no answer",
    "broken pipe",
    "shutting down",
    "ServiceUnavailable",
    "unavailable",
)


def mend(shop: Shop, ended: Ended | None, *words: str) -> str:
    """The next `up` goes through and the shop is as declared. What the disturbed one said of its cause, in short."""
    if ended is not None and ended.code > 0:
        one_line(ended.error, *words)
    shop.up()
    shop.look()
    if ended is None or ended.code < 0:
        return ""
    return "went through" if ended.code == 0 else "failed and named it"


def killed(shop: Shop, random: Random) -> str:
    """SIGKILL, to the process alone (its kubectl lives on) or to its whole group."""
    shop.begin(random)
    run = shop.start()
    point = sleep(run, random.uniform(0, shop.usual))
    run.kill(group=random.random() < 0.5)
    ended = run.wait()
    mend(shop, ended)
    run.settle()
    shop.look()
    return "over before" if ended.code == 0 else f"in the {_third(point / shop.usual)} third"


def component_killed(shop: Shop, random: Random, name: str) -> str:
    """SIGKILL for a component of the control plane; it comes back soon, or the next `up` has to see to it."""
    shop.begin(random)
    run = shop.start()
    sleep(run, random.uniform(0.1, shop.usual))
    again = kill(shop.cluster, name)
    if random.random() < 0.5:
        time.sleep(random.uniform(0, 2))
        again()
    return mend(shop, run.wait(), *UNREACHABLE)


def sleep(run: Deploying, seconds: float) -> float:
    """Until so many seconds after the run began, or until it is over; how many it were."""
    while run.is_alive and time.monotonic() - run.started < seconds:
        time.sleep(0.01)
    return time.monotonic() - run.started


def _third(share: float) -> str:
    return ("first", "second", "last")[min(2, int(3 * share))]
