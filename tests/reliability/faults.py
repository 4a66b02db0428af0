"""What goes wrong in a run: each function is one fault at a random point, the next `up`, and the look afterwards."""

from __future__ import annotations

import resource
import time
from random import Random

from tests.reliability import edits
from tests.reliability.proxy import Proxy
from tests.reliability.shop import Deploying, Ended, Limits, Shop, cause, component, kill

#: Words of which an error has one when the API server cannot be reached, or goes away in the middle of an answer.
UNREACHABLE = (
    "refused",
    "reset",
    "stream error",
    "EOF",
    "unable to connect",
    "connection lost",
    "etcdserver",
    "timeout",
    "timed out",
    "not ready",
    "no answer",
    "broke off its answer",
    "broken pipe",
    "shutting down",
    "ServiceUnavailable",
    "unavailable",
)


def mend(shop: Shop, ended: Ended, *words: str) -> str:
    """The next `up` goes through and the shop is as declared. What the disturbed one said of its cause, in short."""
    said = f'"{cause(ended.error, words)}"' if ended.code > 0 else "went through"
    shop.up()
    shop.look()
    return said


def killed(shop: Shop, random: Random) -> str:
    """SIGKILL, to the process alone (its kubectl lives on) or to its whole group."""
    shop.begin(random)
    run = shop.start()
    point = sleep(run, random.uniform(0, shop.span))
    run.kill(group=random.random() < 0.5)
    ended = run.wait()
    if shop.with_cli:
        run.settle()  # the engine that lives on holds the lock
    mend(shop, ended)
    if run.settle():
        shop.look()
    if ended.code == 0:
        return "over before"
    return f"in the {_third(point / shop.span)} third of {shop.span:.0f} s"


def component_killed(shop: Shop, random: Random, name: str) -> str:
    """SIGKILL for a component of the control plane; it comes back soon, or the next `up` has to see to it."""
    shop.begin(random)
    run = shop.start()
    sleep(run, random.uniform(0.1, shop.span))
    again = kill(shop.cluster, name)
    if random.random() < 0.5:
        time.sleep(random.uniform(0, 2))
        again()
    return mend(shop, run.wait(), *UNREACHABLE)


def proxied(shop: Shop, random: Random, *what: str) -> str:
    """The API server through a proxy that spoils a part of the answers; the next `up` goes without it.

    An `up` of one changed service is some twenty requests under the engine, which asks about nothing else, and some
    sixty without: a smaller part would often meet none.
    """
    shop.begin(random)
    proxy = Proxy(shop.cluster, random, what, share=random.choice((0.1, 0.2, 0.4)))
    with proxy.serving():
        kubeconfig = proxy.kubeconfig(shop.cluster.directory / "proxy.kubeconfig")
        # Every run of the engine goes by the same context: another one would be another provider.
        arguments = () if shop.context else ("--context", f"kwok-{shop.cluster.name}")
        ended = shop.start(*arguments, environment={"KUBECONFIG": str(kubeconfig)}).wait()
    # What kubectl, and the engine's provider, make of an answer of 500 without a Status.
    words = ("said by the proxy", "too many requests", "InternalError", "an error on the server")
    said = mend(shop, ended, *words, *UNREACHABLE)
    return said if proxy.met else "met nothing"


def twice_under_the_engine(shop: Shop, random: Random) -> str:
    """Two at once, of one checkout: the backend lets one through at a time."""
    shop.begin(random)
    first = shop.start()
    time.sleep(random.uniform(0, shop.span))
    second = shop.start()
    ended = [first.wait(), second.wait()]
    assert min(one.code for one in ended) == 0, ended
    for one in ended:
        if one.code > 0:
            cause(one.error, ["another update under way"])
    return mend(shop, max(ended, key=lambda one: one.code), "another update under way")


def full_disk_under_state(shop: Shop, random: Random) -> str:
    """No file can be written, or the state lies on a file system with hardly any room, or somebody fills that up."""
    shop.begin(random)
    state = shop.project.root / ".local" / "state"
    state.mkdir(parents=True, exist_ok=True)
    chosen = random.random()
    if chosen < 0.1:
        limits, how = Limits(file_bytes=random.choice((0, 4096))), "no file"
    elif chosen < 0.2:
        limits, how = Limits(folder=state, free=random.randrange(0, 2**25)), "from the start"
    else:
        after, kept_full = random.uniform(0, shop.span), random.random() < 0.5
        limits = Limits(folder=state, free=2**26, full_after=after, kept_full=kept_full)
        how = "filled up and kept full" if kept_full else "filled up once"
    ended = shop.start(limits=limits).wait()
    limits.put_back()
    return f"{how}: {mend(shop, ended, 'no space left', 'file too large')}"


def twice(shop: Shop, random: Random) -> str:
    """Two at once, the second a little later; now and then it deploys another state of the catalog."""
    shop.begin(random)
    other = shop.with_catalog(edits.edited(shop.catalog, random) if random.random() < 0.5 else shop.catalog)
    first = shop.start()
    time.sleep(random.uniform(0, shop.span / 2))
    # From another checkout, for which this cluster is one of a kubeconfig.
    kubeconfig = {"KUBECONFIG": str(shop.cluster.kubeconfig)}
    second = shop.start("--context", f"kwok-{shop.cluster.name}", environment=kubeconfig, root=other)
    ended = [first.wait(), second.wait()]
    assert min(one.code for one in ended) == 0, ended
    return mend(shop, max(ended, key=lambda one: one.code), "another up under way")


def full_disk(shop: Shop, random: Random) -> str:
    """No file can be written any more: by the deploying process and its kubectl, or by the cluster's etcd."""
    shop.begin(random)
    if random.random() < 0.5:
        ended = shop.start(limits=Limits(file_bytes=random.choice((0, 4096)))).wait()
        return "process: " + mend(shop, ended, "file too large", "no space")
    run = shop.start()
    sleep(run, random.uniform(0, shop.span))
    etcd = component(shop.cluster, "etcd")
    assert etcd is not None
    resource.prlimit(etcd.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    ended = run.wait()
    # Whoever has made room again starts what has stopped; here the etcd that still runs is the full disk.
    if etcd.is_running():
        etcd.kill()
    return "etcd: " + mend(shop, ended, *UNREACHABLE)


def sleep(run: Deploying, seconds: float) -> float:
    """Until so many seconds after the run began, or until it is over; how many it were."""
    while run.is_alive and time.monotonic() - run.started < seconds:
        time.sleep(0.01)
    return time.monotonic() - run.started


def _third(share: float) -> str:
    return ("first", "second", "last")[min(2, int(3 * share))]
