"""The roles of `cloudmart access role`, and an identity that has nothing else, on a real API server.

Here a few permissions are taken away, by a seed; ``make reliability ONLY=test_permission`` takes away each in turn.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
import yaml
from click.testing import CliRunner

from cloudmart.access import held
from cloudmart.access.permissions import resource_of
from cloudmart.cli import cli
from cloudmart.cluster import toolchain
from cloudmart.cluster.discovery import served
from cloudmart.cluster.kubectl import Kubectl, KubectlError
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy.expected import Way, expected
from cloudmart.drift import look as drift
from cloudmart.drift.finding import Kind
from cloudmart.drift.look import Drift
from cloudmart.errors import UserError
from cloudmart.preview.recorder import record
from cloudmart.settings import stacks
from cloudmart.verify.check import Status
from cloudmart.verify.run import verify
from tests.conftest import ROOT, copy_project
from tests.deployer import CONTEXT, HOME, STACK, Deployer, shuffled, without_charts

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


@pytest.fixture
def reader(deployer: Deployer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubectl]:
    """A kubectl as somebody who has the role for reading and nothing else, as `CONTEXT` of the user's kubeconfig."""
    cluster, root = deployer.cluster, deployer.project.root
    cluster.kubectl("create", "serviceaccount", "reader", f"--namespace={HOME}")
    config = yaml.safe_load(deployer.kubeconfig.read_text())
    token = cluster.kubectl("create", "token", "reader", f"--namespace={HOME}").strip()
    config["users"][0]["user"]["token"] = token
    kubeconfig = root / "reader.kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(yaml.safe_dump(config))
    deployer.allow(deployer.permissions)  # the namespaces come with them
    give(deployer, "read", f"serviceaccount:{HOME}/reader")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    kubectl = Kubectl(path=toolchain.kubectl(), kubeconfig=kubeconfig)
    yield kubectl
    kinds = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"
    cluster.kubectl("delete", kinds, f"cloudmart-{STACK}-reader", "--ignore-not-found")


def give(deployer: Deployer, purpose: str, subject: str) -> None:
    """Applies what `cloudmart access role` prints."""
    words = ["--stack", STACK, "--for", purpose, "--subject", subject, "--root", str(deployer.project.root)]
    printed = CliRunner().invoke(cli, ["access", "role", *words, "--format", "json"])
    assert printed.exit_code == 0, printed.output
    deployer.cluster.kubectl("apply", "--server-side", "-f", "-", stdin=printed.stdout)


def require_verified(deployer: Deployer, lines: list[str]) -> None:
    """`verify` finds nothing wrong, and all that it looks at may be seen."""
    found = verify(STACK, CONTEXT, deployer.project.root, lines.append, wait=60)
    assert [check for check in found.checks if check.status is Status.FAIL] == []
    assert "orbidden" not in " ".join([*lines, *map(str, found.checks)])


def test_a_deployer_who_may_verify_too_deploys_and_verifies(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployer.allow(deployer.permissions)
    give(deployer, "verify", f"serviceaccount:{HOME}/{CONTEXT}")
    with deployer.without_cli():
        deployer.up()
        require_verified(deployer, [])
        deployer.down()
    deployer.cluster.kubectl("delete", "clusterroles,clusterrolebindings", f"cloudmart-{STACK}-verifier")


def test_who_may_read_finds_drift_and_changes_nothing(deployer: Deployer, reader: Kubectl) -> None:
    with deployer.without_cli():
        deployer.up()

    def look() -> Drift:
        return drift.look(expected(STACK, CONTEXT, deployer.project.root, print))

    def patch(tier: str, *more: str) -> str:
        """What the API server says to it; with "backend" nothing changes."""
        change = json.dumps({"metadata": {"labels": {"tier": tier}}})
        try:
            return reader.run(
                "patch", "service/user-service", "--namespace=cloudmart", "--type=merge", f"-p={change}", *more
            )
        except KubectlError as error:
            return str(error)

    # A policy of admission is in force some time after it is there.
    deadline = time.monotonic() + 30
    while f"who reads stack {STACK} may change nothing; allowed: a dry run" not in patch("backend"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert "patched" in patch("other", "--dry-run=server")
    with pytest.raises(KubectlError, match="cannot delete"):
        reader.run("delete", "service/user-service", "--namespace=cloudmart", "--dry-run=server")
    require_verified(deployer, [])
    change = '-p={"metadata":{"labels":{"a":"b"}}}'
    for kind in ("validatingadmissionpolicies", "validatingadmissionpolicybindings"):
        with pytest.raises(KubectlError, match="cannot patch"):  # which no policy would refuse
            reader.run("patch", kind, "cloudmart-probes", "--type=merge", change)
    found = look()
    assert found.findings == []
    assert [*found.notes] == [
        "not compared beyond being there, because this user may not try them: "
        "ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding"
    ]
    deployer.cluster.kubectl("label", "service/user-service", "--namespace=cloudmart", "tier=other", "--overwrite")
    deployer.cluster.kubectl("create", "configmap", "by-hand", "--namespace=cloudmart")
    assert {(one.kind, one.object.name) for one in look().findings} == {
        (Kind.CHANGED, "user-service"),
        (Kind.UNEXPECTED, "by-hand"),
    }
