"""`up` without the CLI when something goes wrong: a bad image, and one seeded fault of three kinds.

`make reliability` does the same many times, and what takes longer (docs/reliability.md). One story, told in order.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from cloudmart.cluster.local import LocalCluster
from cloudmart.errors import UserError
from tests.reliability import edits, faults
from tests.reliability.shop import SPACE, Shop, cause

Json = Any

pytestmark = pytest.mark.cluster

BROKEN = "docker.io/library/accounts:0.0-broken"


@pytest.fixture(scope="module")
def shop(cluster: LocalCluster) -> Iterator[Shop]:
    yield Shop.at(cluster)
    if not cluster.is_running():
        cluster.start(lambda _: None)


def pods(shop: Shop) -> list[Json]:
    items: list[Json] = shop.kubectl.json("get", "pods", f"--namespace={SPACE}", "--selector=app=accounts")["items"]
    return items


@contextlib.contextmanager
def unpulled(shop: Shop) -> Iterator[None]:
    """Gives pods with the broken image the status that a kubelet gives them; kwok has started them."""
    over = threading.Event()
    waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{BROKEN}": not found'}

    def run() -> None:
        done: set[str] = set()
        while not over.wait(0.2):
            with contextlib.suppress(UserError):
                for pod in pods(shop):
                    name, (container, *_) = pod["metadata"]["name"], pod["spec"]["containers"]
                    if container["image"] != BROKEN or name in done or "podIP" not in pod["status"]:
                        continue
                    state = {"name": container["name"], "image": BROKEN, "imageID": "", "restartCount": 0}
                    status = {
                        "phase": "Pending",
                        "conditions": [{"type": "Ready", "status": "False"}],
                        "containerStatuses": [state | {"ready": False, "state": {"waiting": waiting}}],
                    }
                    patch = json.dumps({"status": status})
                    where = ("pod", name, f"--namespace={SPACE}", "--subresource=status")
                    shop.kubectl.run("patch", *where, "--type=strategic", f"--patch={patch}")
                    done.add(name)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_bad_image_leaves_the_old_version_serving_and_up_says_which_pod_and_why(shop: Shop) -> None:
    catalog = edits.catalog(Random(1))
    catalog["services"] = {"accounts": catalog["services"].popitem()[1] | {"replicas": 1, "needs": ["postgres"]}}
    catalog["services"]["accounts"].pop("autoscaling", None)
    shop.declare(catalog)
    shop.up()
    shop.look()
    before = {pod["metadata"]["uid"] for pod in pods(shop)}
    repository, _, tag = BROKEN.rpartition(":")
    catalog["services"]["accounts"]["image"] = {"repository": repository, "tag": tag}
    shop.declare(catalog)
    with unpulled(shop):
        ended = shop.start(environment={"CLOUDMART_READY_SECONDS": "6"}).wait(60)
        new = [pod for pod in pods(shop) if pod["spec"]["containers"][0]["image"] == BROKEN]
    assert ended.code == 2
    cause(ended.error, ["ImagePullBackOff"])
    (pod,) = [one["metadata"]["name"] for one in new]
    assert ended.error.startswith(f"Deployment {SPACE}/accounts is not available (no time left): pod {pod}, container ")
    assert f"see that {BROKEN} is there and may be pulled, or set another in catalog.yaml" in ended.error
    assert ended.error.endswith("the version before goes on serving with 1 pods")
    slices = shop.kubectl.json(
        "get", "endpointslices", f"--namespace={SPACE}", "--selector=kubernetes.io/service-name=accounts"
    )["items"]
    serving = {
        endpoint["targetRef"]["uid"]
        for item in slices
        for endpoint in item["endpoints"] or []
        if endpoint["conditions"]["ready"]
    }
    assert serving == before


def test_the_next_good_up_repairs_it(shop: Shop) -> None:
    shop.catalog["services"]["accounts"].pop("image")
    shop.declare(shop.catalog)
    shop.up()
    shop.look()
    assert BROKEN not in {pod["spec"]["containers"][0]["image"] for pod in pods(shop)}


def test_a_deploying_process_that_is_killed_is_followed_by_one_that_finishes(shop: Shop) -> None:
    faults.killed(shop, Random(4))


@pytest.mark.nightly
def test_an_api_server_that_is_killed_is_named_and_the_next_up_finishes(shop: Shop) -> None:
    faults.component_killed(shop, Random(8), "kube-apiserver")


@pytest.mark.nightly
def test_an_api_server_that_refuses_and_dawdles_is_named_and_the_next_up_finishes(shop: Shop) -> None:
    faults.proxied(shop, Random(6), "429", "500", "slow", "cut")
