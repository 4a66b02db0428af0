"""What `up` would have in the cluster, for those who look whether it is there: nothing is started or changed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from cloudmart.cluster import toolchain
from cloudmart.cluster.contexts import in_context
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.cluster.live import Reference
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy import applyset, kinds, up
from cloudmart.deploy.engine import NoCli, present_cli
from cloudmart.deploy.kinds import Scopes
from cloudmart.deploy.up import Progress, Target
from cloudmart.errors import UserError
from cloudmart.preview.recorder import Recorded, Recording, record
from cloudmart.preview.render import Manifest, manifests
from cloudmart.settings import Settings, load


class Way(StrEnum):
    """Who brought the stack to its cluster."""

    APPLY_SET = "applyset"
    PULUMI = "pulumi"


@dataclass(frozen=True)
class Declared:
    """An object as it should be in the cluster, its namespace filled in; values of Secrets are masked."""

    reference: Reference
    object: Mapping[str, Any]
    recorded: Recorded


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A stack, where it should be, and what it is made of."""

    settings: Settings
    target: Target
    way: Way
    #: With what this cluster cannot have left out, as `up` does it.
    recording: Recording
    #: The kinds that the cluster serves.
    scopes: Scopes

    def up(self, context: str | None) -> str:
        """The command that deploys settings that were changed; `context` is said where it is not the stack's own."""
        words = ["cloudmart", "up", "--stack", self.settings.stack, *(("--context", context) if context else ())]
        return shlex.join(words)

    def put_back(self, context: str | None) -> str:
        """The command that makes live objects as declared again: by itself the engine compares with its state."""
        return self.up(context) + (" --refresh" if self.way is Way.PULUMI else "")

    @cached_property
    def objects(self) -> Mapping[Reference, Declared]:
        """Every object that the program declares. What Helm releases make is not among them: see `releases`."""
        found = (declared(manifest, self.settings, self.scopes) for manifest in manifests(self.recording))
        return {one.reference: one for one in found}

    @cached_property
    def releases(self) -> Mapping[str, Recorded]:
        """``namespace/name`` to each Helm release; :func:`cloudmart.cluster.live.release_of` finds its objects."""
        return {
            f"{one.namespace or 'default'}/{one.inputs.get('name') or one.name}": one
            for one in self.recording.resources
            if one.type == "kubernetes:helm.sh/v3:Release"
        }


def declared(manifest: Manifest, settings: Settings, scopes: Scopes) -> Declared:
    """The object with its namespace said; a kind that the cluster does not serve stays as the program has it."""
    known = (manifest.object["apiVersion"], manifest.object["kind"]) in scopes
    placed = applyset.placed(manifest.object, settings.namespace.name, scopes) if known else manifest.object
    return Declared(Reference.to(placed), placed, manifest.recorded)


def expected(stack: str, context: str | None, root: Path, progress: Progress) -> Expected:
    """What `up` would have in the stack's cluster: `context`, else the stack's own, else the local cluster.

    `progress` is told what the local cluster has to do without. Raises ``UserError`` for bad settings, and for a
    cluster that does not answer; the local one must be running.
    """
    settings = load(stack, root)
    target = target_of(settings, context, root)
    way = _way(settings, target, root)
    # What `up` could do without, not what this machine could; no other environment is left without a layer.
    cli = NoCli("not there at its up") if way is Way.APPLY_SET else None
    overrides = up.left_out(settings, target, root, cli, progress) if target.local else {}
    if context is not None:
        overrides["cloudmart:cluster"] = {"context": context}
    recording = record(stack, root, overrides=overrides)
    if way is Way.APPLY_SET and target.local:
        recording, scopes = kinds.served_part(recording, target.kubectl, local=True, progress=progress)
    else:
        scopes = kinds.scopes(recording, target.kubectl)
    return Expected(settings=settings, target=target, way=way, recording=recording, scopes=scopes)


def target_of(settings: Settings, context: str | None, root: Path) -> Target:
    """The cluster in which to look. Raises ``UserError`` when it is the local one and that is not running."""
    kubectl = in_context(settings.stack, root, context)
    if kubectl is not None:
        return Target(kubectl=kubectl, local=False)
    status = LocalCluster(root).status()
    if (info := status.info) is None:
        raise UserError(
            f"stack {settings.stack}: its cluster is the local one, which is {status.trouble}; allowed: one that "
            f"answers (`cloudmart up --stack {settings.stack}` starts it), or --context"
        )
    return Target(kubectl=Kubectl(path=toolchain.kubectl(), kubeconfig=info.kubeconfig), local=True)


def _way(settings: Settings, target: Target, root: Path) -> Way:
    if applyset.was_applied(target.kubectl, settings.namespace.name):
        return Way.APPLY_SET
    there = target.kubectl.run("get", "namespace", settings.namespace.name, "--ignore-not-found", "-o", "name")
    # Where nothing is deployed, the way that `up` would take, less that it may download a CLI.
    return Way.APPLY_SET if not there and isinstance(present_cli(root), NoCli) else Way.PULUMI
