"""Which permissions of a deployer's roles could go: each is taken away alone, and something has to fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy.expected import Way
from tests.conftest import copy_project
from tests.deployer import Deployer, shuffled, without_charts
from tests.reliability.conftest import Many

PART = "Permissions"


@pytest.fixture(scope="module")
def deployer(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployer]:
    project = without_charts(copy_project(Path(tmp_path_factory.mktemp("access")) / "project", program=False))
    found = Deployer.of(cluster, project, Way.APPLY_SET)
    found.allow(found.permissions)
    with found.without_cli():
        found.up()
        found.down()
    yield found
    found.forget()


def test_permission(many: Many, deployer: Deployer) -> None:
    every = shuffled(deployer.permissions, 0)

    def run(seed: int) -> str:
        permission = every[(seed - 1) % len(every)]
        said = deployer.fails_without(permission)
        assert "forbidden" in said or "timed out" in said, f"{permission}: {said or 'nothing fails'}"
        return permission.verb

    many(PART, f"one of {len(every)} permissions is missing", "without the CLI", run, at_most=len(every))
