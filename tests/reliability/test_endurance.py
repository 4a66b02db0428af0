"""Many `up` in one process, with random edits of the catalog between them, on one cluster: nothing piles up."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import psutil
import pytest

from cloudmart.cluster import crds
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy import up
from cloudmart.deploy.engine import NoCli
from tests.reliability import edits
from tests.reliability.conftest import Many
from tests.reliability.shop import SPACE, STACK, Shop

#: Cycles until caches are filled and every kind of edit has been imported for.
_WARM = 10


@dataclass(frozen=True)
class Weight:
    """What could pile up, after one cycle."""

    memory_mib: float
    open_files: int
    threads: int
    children: int
    temporary_files: int
    #: Files of the project's folder, the cluster's own left out.
    project_files: int
    #: Bytes of the Secrets that the way without the CLI keeps its books in, field managers included.
    books: int
    #: Old ReplicaSets a Deployment, at most.
    old_versions: int

    @classmethod
    def now(cls, shop: Shop, temporary: Path) -> Weight:
        # A recording leaves its garbage to a later collection (`recorder.uncollected`), which a command that ends after
        # it never needs: what piles up is what stays then.
        gc.collect()
        process = psutil.Process()
        root = shop.project.root
        own = [path for path in root.rglob("*") if root / ".local" / "cluster" not in path.parents]
        names = f"cloudmart-{STACK}", f"cloudmart-{STACK}-generated"
        books = shop.kubectl.run(
            "get", "secrets", *names, f"--namespace={SPACE}", "--show-managed-fields", "--ignore-not-found", "-o=json"
        )
        sets = shop.kubectl.json("get", "replicasets", f"--namespace={SPACE}")["items"]
        owners = [item["metadata"]["ownerReferences"][0]["name"] for item in sets]
        return cls(
            memory_mib=process.memory_info().rss / 2**20,
            open_files=process.num_fds(),
            threads=process.num_threads(),
            children=len(process.children()),
            temporary_files=sum(1 for path in temporary.rglob("*") if path.is_file()),
            project_files=len(own),
            books=len(books),
            old_versions=max(owners.count(owner) for owner in set(owners)) - 1,
        )


@pytest.fixture
def shop(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setattr(up, "find_cli", lambda *_: NoCli("no Pulumi CLI in this test"))
    monkeypatch.setattr(crds, "install", lambda *_: [])
    found = Shop.at(cluster)
    found.empty()
    yield found
    found.empty()


def test_endurance(many: Many, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setitem(os.environ, "TMPDIR", str(tmp_path))
    weights: list[Weight] = []
    first = edits.catalog(Random(0))

    def cycle(seed: int) -> None:
        shop.declare(edits.edited(first, Random(seed)))
        up.up(STACK, None, shop.project.root, lambda _: None)
        shop.look()
        weights.append(Weight.now(shop, tmp_path))

    def grown() -> str:
        before, after = (asdict(weights[index]) for index in (min(_WARM, len(weights)) - 1, -1))
        return "; ".join(f"{name.replace('_', ' ')} {before[name]:.0f} to {after[name]:.0f}" for name in before)

    many("Endurance", "`up` cycles with random edits of the catalog", "without the CLI", cycle, note=grown)
    before, after = weights[min(_WARM, len(weights)) - 1], weights[-1]
    cycles = max(1, len(weights) - _WARM)
    assert after.memory_mib - before.memory_mib < 20 + 0.1 * cycles, grown()
    assert after.open_files <= before.open_files + 2, grown()
    assert after.threads <= before.threads + 2, grown()
    assert after.children <= before.children, grown()
    assert after.temporary_files <= before.temporary_files, grown()
    assert after.project_files <= before.project_files, grown()
    assert after.books < before.books + 1000, grown()
    assert after.old_versions <= 10, grown()  # what Kubernetes keeps of itself
