"""Whatever catalog is valid, the real API server admits what it renders, and every pod as a bare Pod too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from cloudmart.cluster.local import LocalCluster
from cloudmart.preview.recorder import record
from cloudmart.preview.render import manifests, substitute
from tests.cluster.test_manifests import _FIRST, Rendered
from tests.property.strategies import catalogs
from tests.property.test_valid_catalogs import declare

pytestmark = [pytest.mark.cluster, pytest.mark.nightly, pytest.mark.timeout(900)]


@contextmanager
def guarded(cluster: LocalCluster, objects: list[Any]) -> Iterator[Rendered]:
    """The objects, of which those that admission of the others asks for are made in earnest, and deleted afterwards."""
    found = Rendered(cluster, objects)
    try:
        for kind in _FIRST:
            if items := found.named(kind):
                found.create(*items, dry=False)
        for quota in found.named("ResourceQuota"):
            name, namespace = quota["metadata"]["name"], quota["metadata"]["namespace"]
            wait = ("wait", f"resourcequota/{name}", "-n", namespace, "--for=jsonpath={.status.hard.pods}")
            cluster.kubectl(*wait, "--timeout=30s")
        yield found
    finally:
        for kind in ("PriorityClass", "Namespace"):
            names = [item["metadata"]["name"] for item in found.named(kind)]
            cluster.kubectl("delete", kind, *names, "--ignore-not-found", "--wait=false")


def sent(cluster: LocalCluster, objects: list[Any], *verb: str) -> list[str]:
    """What a strict server-side dry run says, a line an object."""
    # Not escaped: kubectl reads YAML here, which knows no surrogate pairs.
    text = "\n---\n".join(json.dumps(item, ensure_ascii=False) for item in objects)
    return cluster.kubectl(*verb, "--dry-run=server", "--validate=strict", "-f", "-", stdin=text).splitlines()


@settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=12,
    # An example takes seconds: shrinking one would take longer than the session.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(catalog=catalogs())
def test_the_api_server_admits_every_object_of_any_valid_catalog(
    catalog: dict[str, Any], tmp_path: Path, cluster: LocalCluster
) -> None:
    # Names of their own: the namespace of an earlier example may still be on its way out.
    unique = uuid4().hex[:8]
    catalog["namespace"]["name"], catalog["kubecost"]["namespace"] = f"any-{unique}", f"any-{unique}-kubecost"
    declare(tmp_path, catalog)
    recording = record("any", tmp_path)
    values = dict.fromkeys(recording.generated, "not-a-real-password")
    objects = [substitute(manifest.object, values) for manifest in manifests(recording, templates=True)]
    with guarded(cluster, objects) as made:
        rest = [item for item in objects if item["kind"] not in _FIRST]
        assert len(sent(cluster, rest, "create")) == len(rest)
        # Server-side apply is stricter about lists: the same key twice is an error.
        assert len(sent(cluster, objects, "apply", "--server-side", "--force-conflicts")) == len(objects)
        pods = list(made.pods())
        stores = [store for store in catalog["data"].values() if store.get("mode") != "external"]
        assert len(pods) == len(catalog["services"]) + len(stores)
        assert len(sent(cluster, pods, "create")) == len(pods)
