"""Rotations, one after the other: each makes one password anew for exactly its readers, and none is ever to be seen."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy import up
from cloudmart.deploy.engine import NoCli
from tests.cluster.test_secrets import NAMES, Shop
from tests.conftest import copy_project
from tests.leaks import Watch, files, forms, held
from tests.reliability.conftest import Many

#: By password, the apps whose pods read it.
READERS = {
    "postgres-password": {"postgres", "user-service"},
    "postgres-superuser-password": {"postgres"},
    "redis-password": {"redis", "product-service"},
    "kafka-password": {"kafka", "order-service", "notification-service"},
}


@pytest.fixture(scope="module")
def shop(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    temporary = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(up, "find_cli", lambda *_: NoCli("no pulumi in this test"))
        patch.setenv("TMPDIR", str(temporary))
        patch.setattr(tempfile, "tempdir", None)
        found = Shop(cluster, copy_project(cluster.root), Watch(temporary))
        ended = found.cloudmart("up", "--stack", "dev")
        assert ended.exit_code == 0, ended.output
        yield found


def test_rotations(many: Many, shop: Shop, tmp_path: Path) -> None:
    assert set(READERS) == NAMES

    def run(seed: int) -> str:
        name = Random(seed).choice(sorted(READERS))
        values, pods = shop.values(), shop.pods()
        ended = shop.cloudmart("secrets", "rotate", name, "--stack", "dev", "--yes")
        assert ended.exit_code == 0, ended.output
        shop.cloudmart("preview", "--stack", "dev", "--format", Random(seed).choice(["text", "json", "markdown"]))
        shop.cloudmart("render", "--stack", "dev", "--out", str(tmp_path / "rendered"))
        after, now = shop.values(), shop.pods()
        assert {key for key, value in after.items() if values[key] != value} == {name}
        assert {app for app, uids in now.items() if not uids & pods[app]} == READERS[name]
        _nowhere(shop, tmp_path)
        return name

    many(
        "Secrets",
        "a password made anew: another value, its readers' pods replaced and no others; every value so far searched "
        "for in outputs, command lines, environments, temporary files, the project's files and all objects but Secrets",
        "without the CLI",
        run,
        note=lambda: (
            f"{len(shop.ever)} values in {sum(len(forms(value)) for value in shop.ever)} forms, in "
            f"{len(shop.said)} outputs and {len(shop.watch.processes)} command lines and environments"
        ),
    )


def _nowhere(shop: Shop, written: Path) -> None:
    """No value that there has been can be found."""
    assert shop.watch.processes
    assert held(shop.ever, shop.watch.seen) == []
    assert held(shop.ever, "\n".join(shop.said)) == []
    root = shop.project.root
    for folder in (written, root):
        for path, content in files(folder, but=[root / ".venv", shop.cluster.directory]):
            assert held(shop.ever, content) == [], path
    kinds = "configmaps,deployments,statefulsets,pods,replicasets,controllerrevisions,events,services"
    objects = shop.cluster.kubectl("get", kinds, "--all-namespaces", "-o", "json", "--show-managed-fields")
    assert held(shop.ever, objects) == []
