"""Whatever was deployed: a second look finds nothing to do, neither `drift` nor another `up`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from cloudmart.cluster import crds
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy import expected, up
from cloudmart.deploy.engine import NoCli
from cloudmart.drift.look import look
from tests.cluster.conftest import empty
from tests.property.strategies import catalogs
from tests.property.test_valid_catalogs import declare
from tests.reliability.conftest import Many

PART = "Second look: after `up`, `drift` and another `up` find nothing to do"
STACK = "any"


@pytest.fixture
def root(cluster: LocalCluster) -> Iterator[Path]:
    """The folder whose cluster runs; without a CLI, and nothing there is waited for: pods are not looked at."""
    with pytest.MonkeyPatch.context() as patch:
        for module, function in ((up, "find_cli"), (expected, "present_cli")):
            patch.setattr(module, function, lambda *_: NoCli("no pulumi in this test"))
        patch.setattr(up, "wait_until_available", lambda *_: None)
        # No layer of a generated catalog is of a custom kind, and their first start takes long.
        patch.setattr(crds, "install", lambda *_: [])
        yield cluster.root


def generated(seed: int) -> dict[str, Any]:
    """A valid catalog, another one for each seed."""
    found: list[dict[str, Any]] = []

    @seeded(seed)
    @settings(
        max_examples=4, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(catalogs())
    def collect(catalog: dict[str, Any]) -> None:
        found.append(catalog)

    collect()
    return found[-1]  # the first is the simplest one there is, whatever the seed


def test_second_look_at_generated_catalogs(many: Many, root: Path, cluster: LocalCluster) -> None:
    def run(seed: int) -> str:
        catalog = generated(seed)
        unique = f"look-{seed}-{Random(seed).randrange(16**4):04x}"
        catalog["namespace"]["name"], catalog["kubecost"]["namespace"] = unique, f"{unique}-kubecost"
        for store in catalog["data"].values():
            # Without the CLI nobody decrypts the password of a store outside the cluster.
            if store.get("mode") == "external":
                del store["mode"], store["external"]
        declare(root, catalog)
        try:
            deployed = up.up(STACK, None, root, lambda _line: None)
            found = look(expected.expected(STACK, None, root, lambda _line: None))
            assert found.findings == []
            lines: list[str] = []
            up.up(STACK, None, root, lines.append)
            done = [line for line in lines if line.startswith(("created ", "changed ", "removed "))]
            # Nothing waits for the autoscalers here: the first replicas that they choose may come in between.
            assert [line for line in done if not line.startswith("changed Deployment ")] == []
        finally:
            empty(cluster, unique, wait=False)
        size = sum(one.is_kubernetes_object for one in deployed.recording.resources)
        return f"{size // 50 * 50} to {size // 50 * 50 + 49} objects"

    many(PART, "generated catalogs", "without the CLI", run)
