"""The roles of `cloudmart access role`, and an identity that has nothing else, on a real API server.

Here a few permissions are taken away, by a seed; ``make reliability ONLY=test_permission`` takes away each in turn.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cloudmart.access import held
from cloudmart.access.permissions import resource_of
from cloudmart.cluster import toolchain
from cloudmart.cluster.discovery import served
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy.expected import Way
from cloudmart.errors import UserError
from cloudmart.preview.recorder import record
from cloudmart.settings import stacks
from tests.conftest import ROOT, copy_project
from tests.deployer import Deployer, shuffled, without_charts

pytestmark = pytest.mark.cluster

SEED = 1


@pytest.fixture(scope="module")
def deployer(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployer]:
    project = without_charts(copy_project(tmp_path_factory.mktemp("access") / "project", program=False))
    found = Deployer.of(cluster, project, Way.APPLY_SET)
    yield found
    found.forget()


def test_without_the_roles_nothing_is_deployed(deployer: Deployer) -> None:
    with deployer.without_cli(), pytest.raises(UserError, match="is forbidden"):
        deployer.up()


def test_with_the_roles_up_works_twice_and_down_takes_all_of_it_away(deployer: Deployer) -> None:
    deployer.allow(deployer.permissions)
    with deployer.without_cli():
        first, second = deployer.up(), deployer.up()
        left = deployer.down()
    declared = [one for one in deployer.recording.resources if one.is_kubernetes_object]
    assert f"{len(declared) - 1} created" in " ".join(first), "all but the namespace, which came with the roles"
    assert f" 0 changed, 0 removed, {len(declared)} unchanged" in " ".join(second)
    assert deployer.refused == []
    assert left == ["namespace cloudmart", "claim data-kafka-0", "claim data-postgres-0", "claim data-redis-0"]
    kinds = "deployments,statefulsets,services,horizontalpodautoscalers,poddisruptionbudgets,networkpolicies"
    held = json.loads(deployer.cluster.kubectl("get", kinds, "--namespace=cloudmart", "-o", "json"))["items"]
    assert held == []


def test_without_any_one_permission_something_fails(deployer: Deployer) -> None:
    picked = {one.verb: one for one in shuffled(deployer.permissions, SEED)}
    for verb in ("get", "create", "patch"):  # those that fail at once
        assert "is forbidden" in deployer.fails_without(picked[verb]), picked[verb]


def test_what_an_identity_lacks_is_what_it_was_not_given(deployer: Deployer) -> None:
    kubectl = Kubectl(path=toolchain.kubectl(), kubeconfig=deployer.kubeconfig)
    wide = next(one for one in shuffled(deployer.permissions, SEED) if not one.namespace)
    inside = next(one for one in shuffled(deployer.permissions, SEED) if one.namespace)
    for taken in (wide, inside):
        deployer.allow(deployer.permissions, not_=taken)
        assert held.missing(lambda *args, stdin: kubectl.run(*args, stdin=stdin), deployer.permissions) == [taken]
    assert held.user(lambda *args, stdin: kubectl.run(*args, stdin=stdin)).startswith("system:serviceaccount:")


def test_resources_are_named_as_the_api_server_names_them(cluster: LocalCluster, crds: frozenset[str]) -> None:
    kinds = {
        (str(one.api_version), str(one.kind))
        for stack in stacks(ROOT)
        for one in record(stack, ROOT).resources
        if one.is_kubernetes_object
    }
    known = served(cluster.kubectl, {api_version for api_version, _ in kinds})
    wrong = []
    for api_version, kind in sorted(kinds & known.keys()):
        path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        resources = json.loads(cluster.kubectl("get", "--raw", path))["resources"]
        names = {one["name"] for one in resources if one["kind"] == kind and "/" not in one["name"]}
        if resource_of(api_version, kind)[1] not in names:
            wrong.append((api_version, kind, names))
    assert wrong == []
    assert len(kinds & known.keys()) >= 14 + len(crds)
