"""The corpus of admission before the real API server: its own policies, and its own Pod Security admission."""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from cloudmart.cluster.local import LocalCluster
from cloudmart.errors import UserError
from cloudmart.preview.recorder import record
from cloudmart.preview.render import manifests
from cloudmart.settings.rules import RULES
from tests.conftest import Project, copy_project
from tests.policy.admission_corpus import CONFIG, POD_SECURITY, Case, cases

Json = Any

pytestmark = pytest.mark.cluster

SPACE = "cloudmart"
_KINDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
_POLICY = re.compile(r"ValidatingAdmissionPolicy '([a-z-]+)' with binding '([a-z-]+)'")


def _numbered(number: int, case: Case) -> Json:
    # A name of its own tells what the server says of which object.
    item = copy.deepcopy(case.object)
    item["metadata"]["name"] += f"-{number}"
    return item


CASES = {f"-{number}": case for number, case in enumerate(cases())}
OBJECTS = [_numbered(number, case) for number, case in enumerate(CASES.values())]
GOOD = next(case.object for case in CASES.values() if case.kind == "Deployment" and not case.breaks)
BAD = next(case.object for case in CASES.values() if case.kind == "Deployment" and case.breaks == {"probes"})


@dataclass(frozen=True)
class Server:
    """An API server with policies, and the project that they come from."""

    cluster: LocalCluster
    project: Project

    def enforce(self, config: Mapping[str, Any]) -> None:
        """Puts the policies of stack dev into the cluster, with another configuration of the pack."""
        (self.project.root / "policy" / "config" / "dev.json").write_text(json.dumps(config))
        found = [item.object for item in manifests(record("dev", self.project.root)) if item.recorded.kind in _KINDS]
        assert len(found) == 2 * len(RULES)
        self.cluster.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", stdin=_stream(found))

    def said(self, *items: Json, verb: Sequence[str] = ("create",)) -> list[str]:
        """What the server says against these objects in a dry run, one entry for each thing that it says."""
        command = [*verb, "--dry-run=server", "--validate=strict", "-f", "-"]
        # Alone, kubectl shows warnings only beside an error.
        poison = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "..", "namespace": SPACE}}
        with pytest.raises(UserError) as raised:
            self.cluster.kubectl(*command, stdin=_stream([*items, poison]))
        entries = re.split(
            r"\n(?=Warning: |Error from server|The )|: (?=Warning: |Error from server|The )", str(raised.value)
        )
        assert len([entry for entry in entries if 'ConfigMap ".."' in entry or '"..": ' in entry]) == 1, entries
        return [entry for entry in entries[1:] if '".."' not in entry]

    def verdicts(self) -> dict[str, set[tuple[str, str]]]:
        """By end of a case's name: each policy that found something against it, with what the server said. What the
        server refuses of itself stands under an empty name."""
        found: dict[str, set[tuple[str, str]]] = {end: set() for end in CASES}
        for entry in self.said(*OBJECTS):
            ends = re.findall(r"(?:shop|cloudmart-more|storefront)(-\d+)\b", entry)
            if ends:
                policy = _POLICY.search(entry)
                found[ends[0]].add((policy[1] if policy else "", entry))
        return found


def _stream(items: Sequence[Json]) -> str:
    return "\n---\n".join(json.dumps(item) for item in items)


def _eventually(holds: Callable[[], bool]) -> None:
    """Waits until the server has taken in policies that were just changed."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.3)


@pytest.fixture(scope="module")
def server(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Server:
    found = Server(cluster, copy_project(tmp_path_factory.mktemp("project")))
    found.project.config("dev", lambda config: config.update({"cloudmart:admission": {"enabled": True}}))
    labels = {"project": "cloudmart", "team": "platform", "cost-center": "CC-2001"}
    labels["pod-security.kubernetes.io/enforce"] = "restricted"
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE, "labels": labels}}
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(space))
    found.enforce(CONFIG)
    _eventually(lambda: {policy for said in found.verdicts().values() for policy, _ in said} >= _names(RULES))
    return found


def _names(rules: Any) -> set[str]:
    return {f"cloudmart-{rule}" for rule in rules}


def test_a_mandatory_rule_refuses_every_object_of_the_corpus_that_breaks_it_and_no_other(server: Server) -> None:
    verdicts = server.verdicts()
    for end, case in CASES.items():
        if case.server:
            assert any(case.server in text for _, text in verdicts[end]), case.name
            continue
        # A denial names one policy; which of several is the server's choice.
        denied = {policy for policy, text in verdicts[end] if "denied request" in text}
        assert len(denied) == min(len(case.breaks), 1), (case.name, verdicts[end])
        assert denied <= _names(case.breaks), case.name
        for _, text in verdicts[end]:
            if "denied request" in text:
                assert case.says.lower() in text.lower()
                assert " Mend: " in text


def test_the_servers_own_types_find_no_fault_with_any_expression(server: Server) -> None:
    def checked() -> list[Json]:
        items: list[Json] = json.loads(server.cluster.kubectl("get", _KINDS[0], "-o", "json"))["items"]
        return [item["status"]["typeChecking"] for item in items if "typeChecking" in item.get("status", {})]

    _eventually(lambda: len(checked()) == len(RULES))
    assert checked() == [{}] * len(RULES)


def test_what_controllers_make_is_left_to_the_template_that_was_judged(server: Server) -> None:
    def by(user: str, group: str) -> list[str]:
        return server.said(BAD, verb=("create", f"--as={user}", f"--as-group={group}", "--as-group=system:masters"))

    account = "system:serviceaccount:kube-system:deployment-controller"
    assert by(account, "system:serviceaccounts:kube-system") == []
    assert by("system:kube-controller-manager", "system:authenticated") == []
    assert "denied request" in by("system:serviceaccount:argocd:argocd", "system:serviceaccounts:argocd")[0]


def test_other_namespaces_and_those_of_layers_are_left_alone(server: Server, namespace: str) -> None:
    def within(space: str) -> list[str]:
        return server.said({**BAD, "metadata": {**BAD["metadata"], "namespace": space}})

    assert within(namespace) == []
    assert within("kube-system") == []
    labels = ("project=cloudmart", "team=platform", "cost-center=CC-2001")
    server.cluster.kubectl("label", "namespace", namespace, *labels)
    assert "denied request" in within(namespace)[0]


def test_who_holds_which_field_of_a_bad_object_may_be_rewritten_and_nothing_else_of_it(
    server: Server, namespace: str
) -> None:
    cluster = server.cluster
    bad = {**BAD, "metadata": {**BAD["metadata"], "namespace": namespace}}
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(bad))
    labels = ("project=cloudmart", "team=platform", "cost-center=CC-2001")
    cluster.kubectl("label", "namespace", namespace, *labels)
    another = {**bad, "metadata": {**bad["metadata"], "name": "another"}}
    _eventually(lambda: "denied request" in "".join(server.said(another)))
    named = (bad["kind"].lower(), bad["metadata"]["name"], "-n", namespace)
    # As Pulumi's provider does before every change.
    patch = json.dumps([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}])
    cluster.kubectl("patch", *named, "--type=json", f"--patch={patch}")
    for change in ({"labels": {"x": "y"}}, {"annotations": {"x": "y"}}):
        with pytest.raises(UserError, match="denied request"):
            cluster.kubectl("patch", *named, "--type=merge", f"--patch={json.dumps({'metadata': change})}")


def test_a_rollout_goes_on_where_the_pods_of_before_break_a_rule_by_now(server: Server, namespace: str) -> None:
    cluster = server.cluster
    old = json.loads(json.dumps(GOOD))
    old["metadata"]["namespace"] = namespace
    for labels in (old["metadata"]["labels"], old["spec"]["template"]["metadata"]["labels"]):
        labels["cost-center"] = "CC-9999"
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(old))
    ready = ("rollout", "status", "deployment/shop", "-n", namespace, "--timeout=60s")
    cluster.kubectl(*ready, timeout=70)
    cluster.kubectl("label", "namespace", namespace, "project=cloudmart", "team=platform", "cost-center=CC-2001")
    good = {**GOOD, "metadata": {**GOOD["metadata"], "namespace": namespace}}
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(good))
    # The ReplicaSet of before is scaled down by a controller, and its pods would be refused.
    cluster.kubectl(*ready, timeout=70)


def test_a_good_deployment_runs_and_cannot_be_made_worse(server: Server) -> None:
    cluster = server.cluster
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(GOOD))
    try:
        cluster.kubectl("rollout", "status", "deployment/shop", "-n", SPACE, "--timeout=60s", timeout=70)
        with pytest.raises(UserError, match=r"container 'app': image 'nginx:latest' has the moving tag 'latest'"):
            cluster.kubectl("set", "image", "deployment/shop", "app=nginx:latest", "-n", SPACE)
        cluster.kubectl("scale", "deployment/shop", "--replicas=3", "-n", SPACE)
    finally:
        cluster.kubectl("delete", "deployment/shop", "-n", SPACE)


def test_an_advisory_rule_warns_of_every_object_of_the_corpus_that_breaks_it_and_no_other(server: Server) -> None:
    rules = {rule: {**(CONFIG.get(rule) or {}), "enforcementLevel": "advisory"} for rule in RULES}
    server.enforce(rules)
    expected = {end: _names(case.breaks - POD_SECURITY) for end, case in CASES.items() if not case.server}

    def warned() -> dict[str, set[str]]:
        verdicts = server.verdicts()
        return {end: {name for name, text in verdicts[end] if text.startswith("Warning")} - {""} for end in expected}

    _eventually(lambda: warned() == expected)
