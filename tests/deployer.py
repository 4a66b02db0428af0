"""An identity in a cluster that is allowed what a test says, and what `up` and `down` do as it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from cloudmart.access import role
from cloudmart.access.permissions import Permission, namespaces, needed, resource_of
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy import table, up
from cloudmart.deploy.engine import NoCli
from cloudmart.deploy.expected import Way
from cloudmart.errors import UserError
from cloudmart.preview.recorder import Recorded, Recording, record
from cloudmart.settings import load
from tests.cluster.conftest import empty
from tests.conftest import Project

Json = Any

STACK = "dev"
CONTEXT = "deployer"
HOME = "deployers"
_WAITED = {"Deployment", "StatefulSet"}


@dataclass
class Deployer:
    """A service account with a kubeconfig of its own, and the stack that it deploys."""

    cluster: LocalCluster
    project: Project
    kubeconfig: Path
    recording: Recording
    permissions: frozenset[Permission]
    #: What kubectl was refused while it waited.
    refused: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, cluster: LocalCluster, project: Project, way: Way) -> Deployer:
        """Makes the account, which is allowed nothing yet, on a cluster where nothing of the stack is."""
        recording = record(STACK, project.root)
        _empty(cluster, recording)
        cluster.kubectl("create", "namespace", HOME)
        cluster.kubectl("create", "serviceaccount", CONTEXT, f"--namespace={HOME}")
        token = cluster.kubectl("create", "token", CONTEXT, f"--namespace={HOME}", "--duration=24h").strip()
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        config["users"] = [{"name": CONTEXT, "user": {"token": token}}]
        (known,) = config["contexts"]
        config["contexts"] = [{"name": CONTEXT, "context": {"cluster": known["context"]["cluster"], "user": CONTEXT}}]
        config["current-context"] = CONTEXT
        kubeconfig = project.root / "deployer.kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(yaml.safe_dump(config))
        permissions = needed(recording, load(STACK, project.root), way).permissions
        return cls(cluster, project, kubeconfig, recording, permissions)

    def allow(self, permissions: Iterable[Permission], *, not_: Permission | None = None) -> None:
        """Gives exactly these, in the roles that `cloudmart access role` prints; returns once that is in force."""
        spaces = [str(one.object_name) for one in namespaces(self.recording)]
        subject = role.Subject("ServiceAccount", CONTEXT, HOME)
        found = role.objects(set(permissions) - {not_}, STACK, spaces, subject)
        text = "\n---\n".join(map(json.dumps, found))
        self.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)
        asked = not_ or max(permissions)
        deadline = time.monotonic() + 10
        while self._may(asked) is (not_ is not None):
            assert time.monotonic() < deadline, asked
            time.sleep(0.05)

    def _may(self, permission: Permission) -> bool:
        attributes = {
            "group": permission.group,
            "resource": permission.resource,
            "verb": permission.verb,
            "namespace": permission.namespace,
            "name": permission.name,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": f"system:serviceaccount:{HOME}:{CONTEXT}", "resourceAttributes": attributes},
        }
        said = self.cluster.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review))
        return bool(json.loads(said)["status"]["allowed"])

    @contextmanager
    def without_cli(self, recording: Recording | None = None, *, seconds: int = 60) -> Iterator[None]:
        """`up` and `down` in this process are this identity's, of this recording, wait so long, and find no CLI."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KUBECONFIG", str(self.kubeconfig))
            patch.setenv("CLOUDMART_READY_SECONDS", str(seconds))
            patch.setattr(up, "find_cli", lambda *_: NoCli("no pulumi in this test"))
            if recording is not None:
                patch.setattr(up, "record", lambda *_, **__: recording)
            self._overhear(patch)
            yield

    def _overhear(self, patch: pytest.MonkeyPatch) -> None:
        """Keeps what kubectl was refused while it waited: it goes on without, and sees late what it waits for."""
        follow = Kubectl.follow
        self.refused.clear()

        def overheard(kubectl: Kubectl, *args: str, line: Callable[[str], None], timeout: float) -> bool:
            def both(text: str) -> None:
                self.refused.extend([text] if "is forbidden" in text else [])
                line(text)

            return follow(kubectl, *args, line=both, timeout=timeout)

        patch.setattr(Kubectl, "follow", overheard)

    def up(self, *, refresh: bool = False) -> list[str]:
        """`cloudmart up`; what it said."""
        said: list[str] = []
        table.rows(up.up(STACK, CONTEXT, self.project.root, said.append, refresh=refresh))
        return said

    def up_again_and_down(self) -> None:
        """All that a deployer does: `up` twice, the second with a look at what is live, and `down`."""
        self.up()
        self.up(refresh=True)
        self.down()

    def down(self) -> list[str]:
        """`cloudmart down`; what it says is left."""
        return list(up.down(STACK, CONTEXT, self.project.root, lambda _: None, delete_data=False))

    def part_for(self, permission: Permission) -> Recording:
        """As little of the stack as needs this permission: the namespaces, and the first object of its kind."""
        declared = [one for one in self.recording.resources if one.is_kubernetes_object]
        kept = [one for one in declared if _is_of(one, permission)][:1]
        if not kept:
            # What is read of a workload's surroundings.
            kept = [one for one in declared if one.kind in _WAITED][:1]
        # A pod is made only where these are there.
        around = ("ServiceAccount", "PriorityClass") if any(one.kind in _WAITED for one in kept) else ()
        kept += [one for one in declared if one.kind in ("Namespace", *around)]
        return replace(self.recording, resources=[one for one in declared if one in kept])

    def fails_without(self, permission: Permission) -> str:
        """What fails when this one permission is missing; nothing where all goes well."""
        # Without a list or a watch, waiting ends only when its time is over.
        recording, seconds = self.part_for(permission), 15
        if permission.resource in ("pods", "replicasets"):
            # Read where a workload does not come up.
            recording, seconds = _changed(recording, _stuck), 1
        elif permission.verb == "watch":
            recording = _changed(recording, _slow)
        self.allow(self.permissions, not_=permission)
        # As before the first up: it is made once, and stays.
        home = load(STACK, self.project.root).namespace.name
        self.cluster.kubectl("delete", "leases", "--all", f"--namespace={home}")
        try:
            with self.without_cli(recording, seconds=seconds):
                self.up()
                self.up()
                self.down()
        except UserError as error:
            self._clear(recording)
            return str(error)
        return "".join(self.refused[:1])

    def _clear(self, recording: Recording) -> None:
        """What a run that failed has left would be there for the next one."""
        made = [one.inputs for one in recording.resources if one.kind != "Namespace"]
        text = "\n---\n".join(map(json.dumps, made))
        if made:
            self.cluster.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=text)

    def forget(self) -> None:
        """Takes the identity, its roles and what it deployed away."""
        name = f"cloudmart-{STACK}-deployer"
        self.cluster.kubectl("delete", "clusterrolebinding,clusterrole", name, "--ignore-not-found")
        _empty(self.cluster, self.recording)


def _empty(cluster: LocalCluster, recording: Recording) -> None:
    spaces = [str(one.object_name) for one in namespaces(recording)]
    cluster.kubectl("delete", "namespace", HOME, *spaces, "--ignore-not-found", timeout=120)
    empty(cluster)


def _is_of(one: Recorded, permission: Permission) -> bool:
    same = (permission.group, permission.resource) == resource_of(str(one.api_version), str(one.kind))
    return (
        same
        and (one.namespace or "") == (permission.namespace if one.kind != "Namespace" else "")
        and permission.name in ("", one.object_name)
    )


def _changed(recording: Recording, change: Callable[[Json], None]) -> Recording:
    """The same, with other workloads."""
    text = json.dumps([one.inputs for one in recording.resources])
    found = []
    for one, inputs in zip(recording.resources, json.loads(text), strict=True):
        if one.kind in _WAITED:
            change(inputs["spec"])
        found.append(replace(one, inputs=inputs))
    return replace(recording, resources=found)


def _stuck(spec: Json) -> None:
    """Pods that no node takes."""
    spec["template"]["spec"]["nodeSelector"] = {"nowhere": "yes"}


def _slow(spec: Json) -> None:
    """Not yet available at the first look."""
    if "serviceName" in spec:
        spec["replicas"] = 3  # one after the other
    else:
        spec["minReadySeconds"] = 5


def shuffled(permissions: Iterable[Permission], seed: int) -> list[Permission]:
    """The same in an order of this seed's."""
    found = sorted(permissions)
    Random(seed).shuffle(found)  # noqa: S311 - repeatable, which is the point
    return found


def without_charts(project: Project) -> Project:
    """The stack without what the Pulumi CLI alone can install."""
    project.config(STACK, lambda config: config.setdefault("cloudmart:kubecost", {}).update(enabled=False))
    return project
