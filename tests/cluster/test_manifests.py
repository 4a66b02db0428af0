"""Every manifest of every stack before the real API server: strict decoding, validation, admission.

Of Kubernetes' own kinds, with the stores in mode `single`, so that every pod is one of the program's own. The layers'
kinds, and what operators are told, are tried with their definitions in `test_layers.py`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from cloudmart.cluster.local import LocalCluster
from cloudmart.errors import UserError
from cloudmart.preview.recorder import record
from cloudmart.preview.render import manifests, substitute
from cloudmart.settings import stacks
from tests.conftest import ROOT

Json = Any

pytestmark = pytest.mark.cluster

#: What admission of the rest asks for; these are made in earnest.
_FIRST = ("PriorityClass", "Namespace", "ServiceAccount", "ResourceQuota", "LimitRange")


_SINGLE_STORES = {"cloudmart:data": {store: {"mode": "single"} for store in ("postgres", "redis", "kafka")}}


def _is_kubernetes_own(item: Json) -> bool:
    """By its group: without a dot, or one that the API server brings."""
    group = item["apiVersion"].rpartition("/")[0]
    return "." not in group or group in _OWN_GROUPS


_OWN_GROUPS = {
    "admissionregistration.k8s.io",
    "networking.k8s.io",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
}


@dataclass(frozen=True)
class Rendered:
    """The objects of a stack, and the cluster that holds those which the others need."""

    cluster: LocalCluster
    objects: list[Json]

    def named(self, kind: str) -> list[Json]:
        """Objects of a kind."""
        return [item for item in self.objects if item["kind"] == kind]

    def create(self, *items: Json, dry: bool = True) -> str:
        """Strict `create`, by default a server-side dry run."""
        dry_run = ["--dry-run=server"] if dry else []
        text = "\n---\n".join(json.dumps(item) for item in items)
        return self.cluster.kubectl("create", *dry_run, "--validate=strict", "-f", "-", stdin=text)

    def pods(self) -> Iterator[Json]:
        """The pod of each workload as an object of its own: no controller would say that its admission fails."""
        for item in [*self.named("Deployment"), *self.named("StatefulSet")]:
            template = copy.deepcopy(item["spec"]["template"])
            for claim in item["spec"].get("volumeClaimTemplates", []):
                name = claim["metadata"]["name"]
                volume = {"name": name, "persistentVolumeClaim": {"claimName": f"{name}-{item['metadata']['name']}-0"}}
                template["spec"].setdefault("volumes", []).append(volume)
            names = {key: item["metadata"][key] for key in ("name", "namespace")}
            yield {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], **names}}


@pytest.fixture(scope="module", params=stacks(ROOT))
def rendered(request: pytest.FixtureRequest, cluster: LocalCluster) -> Iterator[Rendered]:
    recording = record(request.param, ROOT, overrides=_SINGLE_STORES)
    values = dict.fromkeys(recording.generated, "not-a-real-password")
    objects = [substitute(manifest.object, values) for manifest in manifests(recording, templates=True)]
    objects = [item for item in objects if _is_kubernetes_own(item)]
    found = Rendered(cluster, objects)
    try:
        for kind in _FIRST:
            found.create(*found.named(kind), dry=False)
        # The quota counts from its first status on.
        for quota in found.named("ResourceQuota"):
            name, namespace = quota["metadata"]["name"], quota["metadata"]["namespace"]
            wait = ("wait", f"resourcequota/{name}", "-n", namespace, "--for=jsonpath={.status.hard.pods}")
            cluster.kubectl(*wait, "--timeout=30s")
        yield found
    finally:
        for kind in ("Namespace", "PriorityClass"):
            names = [item["metadata"]["name"] for item in found.named(kind)]
            cluster.kubectl("delete", kind, *names, "--ignore-not-found", timeout=120)


def test_every_object_is_created_under_strict_validation(rendered: Rendered) -> None:
    rest = [item for item in rendered.objects if item["kind"] not in _FIRST]
    answered = rendered.create(*rest).splitlines()
    assert len(answered) == len(rest) > 50
    assert all(line.endswith(" created (server dry run)") for line in answered)


def test_every_object_is_applied_server_side(rendered: Rendered) -> None:
    text = "\n---\n".join(json.dumps(item) for item in rendered.objects)
    apply = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "-f", "-")
    answered = rendered.cluster.kubectl(*apply, stdin=text).splitlines()
    assert len(answered) == len(rendered.objects)
    assert all(line.endswith(" serverside-applied (server dry run)") for line in answered)


def test_every_pod_template_is_admitted_as_a_pod(rendered: Rendered) -> None:
    pods = list(rendered.pods())
    assert len(pods) == 8
    assert len(rendered.create(*pods).splitlines()) == 8


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            lambda pod: pod["spec"]["containers"][0]["securityContext"].update(allowPrivilegeEscalation=True),
            "violates PodSecurity",
        ),
        (lambda pod: pod["spec"].update(hostNetwork=True), "violates PodSecurity"),
        (lambda pod: pod["spec"].update(priorityClassName="nobody"), "no PriorityClass with name nobody"),
        (lambda pod: pod["spec"].update(replicas=2), "unknown field"),
        (
            lambda pod: pod["spec"]["containers"][0]["resources"]["limits"].update(cpu="500"),
            "maximum cpu usage per Container|exceeded quota",
        ),
    ],
)
def test_the_guard_rails_refuse_a_pod_that_does_not_keep_to_them(rendered: Rendered, edit: Any, said: str) -> None:
    pod = next(rendered.pods())
    edit(pod)
    with pytest.raises(UserError, match=said):
        rendered.create(pod)
