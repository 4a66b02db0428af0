"""The real engine, on a cluster of these tests' own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudmart.cluster import crds
from cloudmart.cluster.local import LocalCluster

# The same fixtures as in the folder of the cluster's own tests; they make another cluster for this one.
from tests.cluster.conftest import cluster, home, pytest_collection_finish, say, shared  # noqa: F401
from tests.conftest import ROOT, copy_project
from tests.pulumi.shop import Shop

#: Which projects' definitions the real chart of each name brings, of those that can be had from registries.
_KINDS_OF_CHARTS = {
    "base": "istio",
    "argo-cd": "argo-cd",
    "gatekeeper": "gatekeeper",
    "kube-prometheus-stack": "prometheus-operator",
    "vertical-pod-autoscaler": "vpa",
    "strimzi-kafka-operator": "strimzi",
}

_MISSING = shutil.which("pulumi") is None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.pulumi)
            item.add_marker(pytest.mark.skipif(_MISSING, reason="no pulumi on PATH"))


def copy_charts(target: Path) -> None:
    """The charts that stand in for the real ones, each with the definitions that the real one would bring."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "tests" / "charts", target)
    definitions = crds.ensure(say)
    for chart, project in _KINDS_OF_CHARTS.items():
        (target / chart / "crds").mkdir(exist_ok=True)
        shutil.copy(definitions / f"{project}.yaml", target / chart / "crds")


@pytest.fixture(scope="session")
def engine_home(home: Path) -> Iterator[None]:  # noqa: F811 (the fixture above)
    """A Pulumi home of the tests' own: no login of the user's, the user's plugins."""
    users = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    own = home / "pulumi-home"
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    if (users / "plugins").is_dir():
        (own / "plugins").symlink_to(users / "plugins", target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PULUMI_") or name == "KUBECONFIG"]:
            patch.delenv(name)
        patch.setenv("PULUMI_HOME", str(own))
        patch.setenv("PULUMI_SKIP_UPDATE_CHECK", "true")
        yield


@pytest.fixture(scope="module")
def shop(cluster: LocalCluster, engine_home: None) -> Shop:  # noqa: F811
    """A copy of the project in the cluster's folder, the charts beside it, no state, and a cluster made anew for it."""
    cluster.reset(say)
    for old in ("state", "pulumi"):
        shutil.rmtree(cluster.root / ".local" / old, ignore_errors=True)
    project = copy_project(cluster.root)
    copy_charts(cluster.root / "charts")
    found = Shop(cluster, project)
    found.use_own_charts()
    return found
