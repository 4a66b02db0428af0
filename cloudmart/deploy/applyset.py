"""The way without a Pulumi CLI: what the program recorded goes to the cluster by server-side apply.

Pruning is kubectl's ApplySet: each namespace has one, whose parent is a Secret in that namespace, so what is no longer
declared is found by its label and removed. What is cluster-wide, by the API server's word, is in the shop's. It is for
trying out: there is no state, no history and no policy at `up`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cloudmart.cluster.discovery import served_kinds
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.deploy import generated, ownership
from cloudmart.deploy.kinds import Scopes
from cloudmart.deploy.lease import Lease
from cloudmart.errors import UserError
from cloudmart.preview.recorder import Recording
from cloudmart.preview.render import Manifest, manifests, substitute

_ENABLE = {"KUBECTL_APPLYSET": "true"}
FIELD_MANAGER = "cloudmart"
"""Who has applied an object, among those who have written to it."""
PART_OF = "applyset.kubernetes.io/part-of"
"""The label of an ApplySet's members; its value is `set_id`."""
_ID = "applyset.kubernetes.io/id"
_KINDS = "applyset.kubernetes.io/contains-group-kinds"
_AUTOSCALER = "HorizontalPodAutoscaler.autoscaling"
#: On the parent in the shop's namespace: the other namespaces that have a set. To look for sets everywhere would take
#: the right to read every Secret in the cluster.
_NAMESPACES = "cloudmart/applyset-namespaces"

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What a run made, changed and removed, by name; `unchanged` is a count.

    Names are ``Kind namespace/name``, or ``Kind name`` for what is cluster-wide; what was removed is named as kubectl
    names it.
    """

    created: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: int


def lease(kubectl: Kubectl, namespace: str, stack: str, command: str, progress: Progress) -> Lease:
    """What `apply` and `remove` take before they change anything; it is given back when its ``with`` block ends."""
    return Lease(kubectl, namespace, parent_name(stack), stack=stack, command=command, progress=progress)


def apply(recording: Recording, kubectl: Kubectl, namespace: str, scopes: Scopes, lease: Lease) -> Applied:
    """Brings the cluster to what was recorded. `namespace` is the shop's: its ApplySet holds the cluster-wide objects.

    `scopes` says of every recorded kind whether its objects stand in a namespace.

    May be repeated after any failure: it converges. Raises ``UserError`` for what the API server refuses, and before
    anything is changed when the namespace is there and was not made this way, or somebody else holds the lease.
    """
    found = manifests(recording, templates=True)
    _refuse_foreign(kubectl, namespace, recording.stack)
    classes = ownership.declared(recording, "PriorityClass")
    ownership.refuse_foreign(kubectl, classes, project=recording.project, stack=recording.stack)
    spaces = [manifest for manifest in found if manifest.recorded.kind == "Namespace"]
    # The lease is in the shop's namespace; no other is made without it.
    made = _create_missing(kubectl, (space for space in spaces if space.recorded.object_name == namespace))
    lease.take()
    made |= _create_missing(kubectl, (space for space in spaces if space.recorded.object_name != namespace))
    values, superseded = generated.values(kubectl, recording, found, namespace)
    objects = [sent(substitute(manifest.object, values), namespace, scopes) for manifest in found]
    live = {name: item for name, item in _live(kubectl, objects).items() if name not in made}
    declared = {_name(item): item for item in objects}
    before = {name: _digest(item, declared[name]) for name, item in live.items()}
    if superseded:
        _require_accepted(kubectl, objects)
    _keep_replicas(kubectl, live, objects)
    members = _apply_sets(kubectl, objects, namespace, recording.stack, lease)
    applied = _live(kubectl, objects)
    _start_with_declared_replicas(kubectl, applied, zip(objects, found, strict=True))
    generated.forget(kubectl, recording.stack, namespace, superseded)
    after = {name: _digest(item, declared[name]) for name, item in applied.items()}
    return Applied(
        created=tuple(name for name in after if name not in before),
        changed=tuple(name for name in after if name in before and before[name] != after[name]),
        removed=members,
        unchanged=sum(before.get(name) == version for name, version in after.items()),
    )


def remove(recording: Recording, kubectl: Kubectl, namespace: str, lease: Lease, *, delete_data: bool) -> Applied:
    """Takes away everything but what is retained (the namespace and the volume claims in it), or that as well."""
    if kubectl.run("get", "namespace", namespace, "--ignore-not-found", "-o", "name") == "":
        return Applied(created=(), changed=(), removed=(), unchanged=0)
    _refuse_foreign(kubectl, namespace, recording.stack)
    lease.take()
    kept = [
        manifest.object
        for manifest in manifests(recording)
        if manifest.recorded.kind == "Namespace" and manifest.recorded.object_name == namespace
    ]
    removed = _apply_sets(kubectl, kept, namespace, recording.stack, lease)
    if delete_data:
        kubectl.run("delete", "namespace", namespace, "--wait=true", timeout=300)
        removed = (*removed, f"Namespace {namespace}")
    return Applied(created=(), changed=(), removed=removed, unchanged=len(kept))


def was_applied(kubectl: Kubectl, namespace: str) -> bool:
    """Whether the namespace was made this way, and not by Pulumi or anybody else."""
    found = kubectl.json("get", "namespace", namespace, "--ignore-not-found")
    return found is not None and PART_OF in found["metadata"].get("labels", {})


def _refuse_foreign(kubectl: Kubectl, namespace: str, stack: str) -> None:
    found = kubectl.json("get", "namespace", namespace, "--ignore-not-found", "--show-managed-fields")
    if found is None:
        return
    part_of = found["metadata"].get("labels", {}).get(PART_OF)
    if other := ownership.of_another_stack(found, stack):
        raise UserError(ownership.refusal(kubectl, "Namespace", namespace, stack, other))
    if part_of not in (None, set_id(stack, namespace)) and not ownership.is_prepared(found, stack):
        raise UserError(
            f"namespace {namespace}: found one in an ApplySet of another stack or of somebody's; allowed: none, or one "
            f"of stack {stack}. Give {stack} a `project` and a `namespace.name` of its own in Pulumi.{stack}.yaml"
        )
    if part_of or ownership.is_prepared(found, stack):
        return
    # A run that was killed right after it had made the namespace left it empty.
    if FIELD_MANAGER in {entry["manager"] for entry in found["metadata"].get("managedFields", [])}:
        return
    raise UserError(
        f"namespace {namespace}: found one that something else made; allowed: none, or one made this way. "
        "If Pulumi made it, put the Pulumi CLI on PATH and run again"
    )


def _create_missing(kubectl: Kubectl, spaces: Iterable[Manifest]) -> set[str]:
    # The parent of an ApplySet is in the namespace, so the namespace comes first; only when it is not there, because a
    # second apply without the ApplySet's label would take that label away.
    made = set()
    for manifest in spaces:
        name = str(manifest.recorded.object_name)
        if not kubectl.run("get", "namespace", name, "--ignore-not-found", "-o", "name"):
            # Applied, not created: what was created keeps each of its fields for good.
            kubectl.run(
                "apply", "--server-side", f"--field-manager={FIELD_MANAGER}", "-f", "-", stdin=_yaml(manifest.object)
            )
            made.add(f"Namespace {name}")
    return made


def _apply_sets(
    kubectl: Kubectl, objects: Iterable[Mapping[str, Any]], namespace: str, stack: str, lease: Lease
) -> tuple[str, ...]:
    """One ApplySet a namespace, the shop's (with everything cluster-wide) first; names of what was pruned."""
    groups: dict[str, list[Mapping[str, Any]]] = {namespace: []}
    for item in objects:
        groups.setdefault(item["metadata"].get("namespace", namespace), []).append(item)
    recorded = _recorded_namespaces(kubectl, namespace, stack)
    first = _remove_first(kubectl, groups, {*groups, *recorded}, stack)
    tool = Kubectl(path=kubectl.path, kubeconfig=kubectl.kubeconfig, context=kubectl.context, env=_ENABLE)
    removed: list[str] = []
    for space, members in groups.items():
        lease.require()
        output = tool.run(
            "apply",
            "--server-side",
            "--force-conflicts",
            f"--field-manager={FIELD_MANAGER}",
            f"--namespace={space}",
            f"--applyset=secret/{parent_name(stack)}",
            "--prune",
            "-f",
            "-",
            stdin="\n---\n".join(_yaml(member) for member in members),
            timeout=600,
        )
        removed += [line.removesuffix(" pruned") for line in output.splitlines() if line.endswith(" pruned")]
        others = set(groups) - {namespace}
        if space == namespace and others != recorded:
            # Before any of those sets is made, and after those that are gone.
            named = f"{_NAMESPACES}={','.join(sorted(others))}"
            kubectl.run("annotate", "secret", parent_name(stack), f"--namespace={namespace}", "--overwrite", named)
    return (*first, *removed)


def parent_name(stack: str) -> str:
    """Name of the Secret that is the parent of a stack's ApplySet in a namespace."""
    return f"cloudmart-{stack}"


def _recorded_namespaces(kubectl: Kubectl, namespace: str, stack: str) -> set[str]:
    parent = kubectl.json("get", "secret", parent_name(stack), f"--namespace={namespace}", "--ignore-not-found")
    named = parent["metadata"].get("annotations", {}).get(_NAMESPACES, "") if parent else ""
    return set(named.split(",")) - {""}


def _remove_first(
    kubectl: Kubectl, groups: Mapping[str, Collection[Mapping[str, Any]]], sets: Iterable[str], stack: str
) -> tuple[str, ...]:
    """What kubectl prunes never, or too late, of the stack's ApplySets: all of one in a namespace where nothing is
    declared any more, and autoscalers. And where only the namespace is left, all the rest: kubectl prunes no more than
    five objects a second.

    `sets` are the namespaces that may have one.
    """
    name = parent_name(stack)
    removed: list[str] = []
    for space in sorted(sets):
        parent = kubectl.json("get", "secret", name, f"--namespace={space}", "--ignore-not-found")
        if parent is None:
            continue
        metadata = parent["metadata"]
        named = metadata.get("annotations", {}).get(_KINDS, "")
        kinds = _still_served(kubectl, named)
        if kinds != named:
            kubectl.run("annotate", "secret", name, f"--namespace={space}", "--overwrite", f"{_KINDS}={kinds}")
        members = f"--selector={PART_OF}={metadata['labels'][_ID]}"
        if space in groups:
            if _AUTOSCALER in kinds.split(","):
                removed += _remove_autoscalers(kubectl, space, members, groups[space])
            rest = ",".join(kind for kind in kinds.split(",") if kind not in ("Namespace", _AUTOSCALER, ""))
            if rest and all(item["kind"] == "Namespace" for item in groups[space]):
                output = kubectl.run(
                    "delete", rest, f"--namespace={space}", members, "--ignore-not-found", "--wait=false", "-o", "name"
                )
                removed += output.split()
            continue
        if kinds:
            output = kubectl.run(
                "delete", kinds, f"--namespace={space}", members, "--ignore-not-found", "-o", "name", timeout=300
            )
            removed += output.split()
        kubectl.run("delete", "secret", name, f"--namespace={space}", "--ignore-not-found")
    return tuple(removed)


def _remove_autoscalers(
    kubectl: Kubectl, space: str, members: str, declared: Iterable[Mapping[str, Any]]
) -> Iterable[str]:
    """Those that are not declared any more: pruned after the rest is applied, one would put back its own minimum of
    replicas in between, over what is declared from now on."""
    wanted = {item["metadata"]["name"] for item in declared if item["kind"] == "HorizontalPodAutoscaler"}
    listed = kubectl.run("get", _AUTOSCALER, f"--namespace={space}", members, "-o", "name").split()
    gone = [found for found in listed if found.rpartition("/")[2] not in wanted]
    if gone:
        # They are gone at once. To wait for it would take the right to watch them.
        kubectl.run("delete", *gone, f"--namespace={space}", "--ignore-not-found", "--wait=false")
    return gone


def _still_served(kubectl: Kubectl, kinds: str) -> str:
    """An ApplySet's kinds without those whose definition is gone, and their objects with it.

    kubectl prunes nothing as long as a set names a kind that it cannot find.
    """
    named = kinds.split(",")
    # Only groups with a dot can be somebody's own.
    custom = {kind for kind in named if "." in kind.partition(".")[2]}
    lost = custom - served_kinds(kubectl.run, {kind.partition(".")[2] for kind in custom}) if custom else set()
    return ",".join(kind for kind in named if kind not in lost)


def _keep_replicas(kubectl: Kubectl, live: Mapping[str, Any], objects: Iterable[Mapping[str, Any]]) -> None:
    """Gives the replicas of Deployments that get an autoscaler to another manager, as many as there are.

    A field that is declared no more and that nobody else holds goes back to its default: to one pod, until the
    autoscaler's next look.
    """
    kept = []
    for item in objects:
        found = live.get(_name(item))
        if item["kind"] != "Deployment" or "replicas" in item["spec"] or found is None:
            continue
        if _held(entry for entry in found["metadata"]["managedFields"] if entry["manager"] == FIELD_MANAGER):
            kept.append((item, found["spec"]["replicas"]))
    _set_replicas(kubectl, kept)


def _start_with_declared_replicas(
    kubectl: Kubectl, live: Mapping[str, Any], objects: Iterable[tuple[Mapping[str, Any], Manifest]]
) -> None:
    """Gives Deployments that have an autoscaler, and whose replicas nobody has set yet, those that are declared: it
    first looks at them after some seconds, and until then there would be one pod."""
    _set_replicas(
        kubectl,
        [
            (item, manifest.recorded.inputs["spec"]["replicas"])
            for item, manifest in objects
            if item["kind"] == "Deployment" and "replicas" not in item["spec"]
            if "replicas" in manifest.recorded.inputs["spec"]
            if (there := live.get(_name(item))) is not None and not _held(there["metadata"]["managedFields"])
        ],
    )


def _held(managed: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the replicas are a field of any of these managers."""
    return any("f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {}) for entry in managed)


def _set_replicas(kubectl: Kubectl, wanted: Iterable[tuple[Mapping[str, Any], int]]) -> None:
    """As another manager than that of the rest, which must not hold what is an autoscaler's."""
    found = [
        {key: item[key] for key in ("apiVersion", "kind")}
        | {"metadata": _identity(item), "spec": {"replicas": replicas}}
        for item, replicas in wanted
    ]
    if found:
        manager = f"--field-manager={FIELD_MANAGER}-replicas"
        text = "\n---\n".join(map(_yaml, found))
        kubectl.run("apply", "--server-side", "--force-conflicts", manager, "-f", "-", stdin=text)


def _live(kubectl: Kubectl, objects: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Each object that is there, by its name for people."""
    text = "\n---\n".join(
        json.dumps({k: item[k] for k in ("apiVersion", "kind")} | {"metadata": _identity(item)}) for item in objects
    )
    return {_name(item): item for item in kubectl.items("get", "-f", "-", "--show-managed-fields", stdin=text)}


def _name(item: Mapping[str, Any]) -> str:
    metadata = item["metadata"]
    prefix = f"{metadata['namespace']}/" if "namespace" in metadata else ""
    return f"{item['kind']} {prefix}{metadata['name']}"


def _digest(item: Mapping[str, Any], declared: Mapping[str, Any]) -> str:
    # What people declare: without what controllers write all the time, and the bookkeeping of who wrote it.
    bookkeeping = ("resourceVersion", "generation", "managedFields")
    metadata = {key: value for key, value in item["metadata"].items() if key not in bookkeeping}
    content = {key: value for key, value in item.items() if key != "status"} | {"metadata": metadata}
    if "replicas" in item.get("spec", {}) and "replicas" not in declared["spec"]:
        # An autoscaler's, which may move them at any moment.
        content["spec"] = {key: value for key, value in item["spec"].items() if key != "replicas"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _yaml(item: Mapping[str, Any]) -> str:
    # kubectl reads a stream of several documents as YAML, which has no such escape as JSON's surrogate pairs.
    return json.dumps(item, ensure_ascii=False)


def _identity(item: Mapping[str, Any]) -> dict[str, str]:
    return {key: item["metadata"][key] for key in ("name", "namespace") if key in item["metadata"]}


def set_id(stack: str, namespace: str) -> str:
    """What the members of a stack's ApplySet in a namespace are labelled with.

    By the specification (KEP-3659): the parent's name, namespace, kind and group, hashed.
    """
    digest = hashlib.sha256(f"{parent_name(stack)}.{namespace}.Secret.".encode()).digest()
    return f"applyset-{base64.urlsafe_b64encode(digest).decode().rstrip('=')}-v1"


def sent(item: dict[str, Any], namespace: str, scopes: Scopes) -> dict[str, Any]:
    """The object, less the ApplySet's label, as it goes to the API server; `item` may be changed."""
    return placed(generated.with_data(item), namespace, scopes)


def placed(item: dict[str, Any], namespace: str, scopes: Scopes) -> dict[str, Any]:
    """The object with its namespace said, and without one where its kind has none: that decides its ApplySet."""
    metadata = {key: value for key, value in item["metadata"].items() if key != "namespace"}
    if scopes[item["apiVersion"], item["kind"]]:
        metadata["namespace"] = item["metadata"].get("namespace", namespace)
    return item | {"metadata": metadata}


def _require_accepted(kubectl: Kubectl, objects: Iterable[Mapping[str, Any]]) -> None:
    """Asks the API server whether it takes the Secrets as they are to be.

    kubectl goes on with the rest when one object is refused: pods would restart for a new value, find the old one, and
    keep it when the Secret changes later.
    """
    secrets_ = [item for item in objects if item["kind"] == "Secret"]
    kubectl.run(
        "apply",
        "--server-side",
        "--force-conflicts",
        f"--field-manager={FIELD_MANAGER}",
        "--dry-run=server",
        "-f",
        "-",
        stdin="\n---\n".join(_yaml(item) for item in secrets_),
    )
