"""Local clusters of the tests' own, in ``.local/e2e/``, apart from the one that people use."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from cloudmart.cluster import crds as crds_
from cloudmart.cluster import toolchain
from cloudmart.cluster.local import CHECKOUT, LocalCluster
from cloudmart.errors import UserError


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def pytest_collection_finish(session: pytest.Session) -> None:
    # Before the first test, because a cold build takes longer than any test may.
    wanted = any(item.get_closest_marker("cluster") for item in session.items)
    if wanted and not session.config.option.collectonly:
        capture = session.config.pluginmanager.getplugin("capturemanager")
        try:
            with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
                toolchain.ensure(say)
        except UserError as error:
            raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A directory for this session's clusters; sessions and parallel workers at the same time have one each."""
    base = CHECKOUT / ".local" / "e2e"
    base.mkdir(parents=True, exist_ok=True)
    for number in itertools.count():
        with (base / f"{number}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield base / str(number)
            return


@pytest.fixture(scope="session")
def shared(home: Path) -> Iterator[LocalCluster]:
    """A cluster for the whole session."""
    local = LocalCluster(home / "shared")
    local.reset(say)
    yield local
    local.stop()  # not deleted: its logs may be needed


@pytest.fixture(scope="module")
def cluster(shared: LocalCluster) -> LocalCluster:
    """The session's cluster without a shop in it: use ``cluster.kubeconfig`` and ``cluster.kubectl(...)``.

    Emptied before each file, and not by those that fill it: which files share a process, and in what order, is chance.
    """
    empty(shared)
    return shared


def empty(cluster: LocalCluster, project: str = "cloudmart", *, wait: bool = True) -> None:
    """Takes a shop away with its namespaces, its data, and what it has cluster-wide. `wait`: until it is gone."""
    selected = ("-l", f"project={project}", "--ignore-not-found")
    guards = "validatingadmissionpolicybindings,validatingadmissionpolicies"
    guarded = cluster.kubectl("delete", guards, *selected, timeout=60)
    # A namespace is looked at again after half of the time that its pods have to stop, and a claim waits for its pod.
    everywhere = (*selected, "--all-namespaces")
    cluster.kubectl("delete", "deployments,statefulsets", *everywhere, "--wait=false", timeout=60)
    cluster.kubectl("delete", "pods", *everywhere, "--grace-period=0", "--force", "--wait=false", timeout=60)
    cluster.kubectl("delete", "persistentvolumeclaims", *everywhere, f"--wait={str(wait).lower()}", timeout=60)
    cluster.kubectl("delete", "namespaces,priorityclasses", *selected, f"--wait={str(wait).lower()}", timeout=180)
    if guarded and wait:
        time.sleep(2)  # the API server looks once a second which policies there are


@pytest.fixture(scope="session")
def crds(shared: LocalCluster) -> frozenset[str]:
    """``cluster`` knows the custom kinds of these projects (``istio``, ...): all but those that cannot be had here.

    A test that needs one says ``if "strimzi" not in crds: pytest.skip(...)``, or lets the API server refuse the kind.
    """
    missing = crds_.install(shared, say)
    return frozenset(project.name for project in crds_.PROJECTS) - set(missing)


@pytest.fixture
def namespace(cluster: LocalCluster) -> Iterator[str]:
    """A fresh namespace in ``cluster``, deleted afterwards."""
    name = f"test-{uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
