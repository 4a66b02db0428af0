"""What whoever deploys a stack, or looks at it, must be allowed: one verb on one resource in one place at a time.

Derived from the recording: which kinds in which namespaces, and the names of what is cluster-wide. The verbs are those
that each way of deploying was seen to use, and that it fails without (`docs/access.md`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cloudmart.cluster.live import Reference
from cloudmart.deploy import applyset, lease
from cloudmart.deploy.expected import Way
from cloudmart.drift.look import ADMISSION, ALSO, ALSO_CLUSTER_WIDE
from cloudmart.finops.helm import Charts
from cloudmart.preview.recorder import Recorded, Recording
from cloudmart.settings import Settings
from cloudmart.verify.state import places


@dataclass(frozen=True, order=True)
class Permission:
    """One verb on one resource. `namespace` is empty for cluster-wide, `group` for the core's, `name` for any."""

    namespace: str
    group: str
    resource: str
    verb: str
    name: str = ""


@dataclass(frozen=True)
class Needed:
    """Permissions, and in one sentence each what cannot be given as little as one would like."""

    permissions: frozenset[Permission]
    remarks: tuple[str, ...]


#: What `up` shows at its end, and reads where a workload does not come up; `down` names the claims that are left.
_SHOWN = (
    ("apps", "deployments", "list"),
    ("apps", "deployments", "watch"),
    ("apps", "statefulsets", "list"),
    ("apps", "statefulsets", "watch"),
    ("autoscaling", "horizontalpodautoscalers", "list"),
    ("apps", "replicasets", "list"),
    ("", "pods", "list"),
    ("", "persistentvolumeclaims", "list"),
)
#: What the engine's provider watches while it waits for an object of the kind.
_AWAITED = {
    "Deployment": (
        ("apps", "replicasets", "watch"),
        ("", "pods", "watch"),
        ("", "persistentvolumeclaims", "watch"),
    ),
    "StatefulSet": (("", "pods", "watch"), ("", "persistentvolumeclaims", "watch")),
}
_CLUSTER_WIDE = {
    "APIService",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "IngressClass",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "Namespace",
    "PersistentVolume",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
}
_METRICS = "metrics.k8s.io"
_RBAC = "rbac.authorization.k8s.io"
# Gatekeeper makes the definitions of constraints, and names their resources as their kinds.
_SAME_NAME = {"constraints.gatekeeper.sh"}


def resource_of(api_version: str, kind: str) -> tuple[str, str]:
    """API group and plural of a kind: by the rule that Kubernetes itself guesses by, but ``gateways``."""
    group, lower = api_version.rpartition("/")[0], kind.lower()
    if group in _SAME_NAME or lower.endswith("endpoints"):
        return group, lower
    if lower.endswith(("s", "x")):
        return group, f"{lower}es"
    if lower.endswith("y") and lower[-2] not in "aeiou":
        return group, f"{lower[:-1]}ies"
    return group, f"{lower}s"


def namespaces(recording: Recording) -> list[Recorded]:
    """The namespaces that the stack declares."""
    return [one for one in recording.resources if one.is_kubernetes_object and one.kind == "Namespace"]


def needed(recording: Recording, settings: Settings, way: Way) -> Needed:
    """What `up` and `down` of a stack need, the namespaces being there already; not what deletes the data."""
    home = settings.namespace.name
    declared = [one for one in recording.resources if one.is_kubernetes_object]
    if way is Way.APPLY_SET:
        found = set(_by_applyset(declared, recording.stack, home))
        remarks: list[str] = []
    else:
        found = set(_by_engine(declared))
        releases = [one for one in recording.resources if one.type == "kubernetes:helm.sh/v3:Release"]
        remarks = []
        for release in releases:
            more, said = _of_release(release, Charts(recording.root))
            found |= more
            remarks += said
    for space in {str(one.namespace) for one in declared if one.kind in ("Deployment", "StatefulSet")}:
        found |= {Permission(space, *shown) for shown in _SHOWN if shown[1] != "persistentvolumeclaims"}
    found.add(Permission(home, "", "persistentvolumeclaims", "list"))
    return Needed(frozenset(found), tuple(remarks))


def verifying(recording: Recording, settings: Settings) -> frozenset[Permission]:
    """What `verify` needs, also to wait, and `cost`: to list and watch. What it may not see it skips, but for these."""
    found = set[Permission]()
    for api_version, kind, space in places(_references(recording)):
        group, resource = resource_of(api_version, kind)
        found |= {Permission(space, group, resource, verb) for verb in ("list", "watch")}
    found |= {Permission("", group, "nodes", "list") for group in ("", _METRICS)}
    spaces = {str(one.object_name) for one in namespaces(recording)}
    found |= {Permission(space, _METRICS, "pods", "list") for space in spaces}
    # To find out who brought the stack: by an ApplySet, whose parent is a Secret.
    found.add(Permission(settings.namespace.name, "", "secrets", "get", applyset.parent_name(recording.stack)))
    # To find Kubecost's Service, whose API is asked through the API server.
    found.add(Permission("", "", "services", "list"))
    if settings.kubecost.enabled:
        found.add(Permission(settings.kubecost.namespace, "", "services/proxy", "get"))
    return frozenset(found)


def reading(recording: Recording, settings: Settings) -> frozenset[Permission]:
    """What `drift` needs, and `verify`: to get and list, and to patch, which is how an object is tried in a dry run.

    That a patch is no more than a trial is for :func:`cloudmart.access.role.trials_alone` to see to.
    """
    home = settings.namespace.name
    objects = _references(recording)
    spaces = {home, *(one.namespace for one in objects if one.namespace)}
    listed = {(home, *resource_of(*kind)) for kind in ALSO}
    listed |= {("", *resource_of(*kind)) for kind in ALSO_CLUSTER_WIDE}
    found = set(verifying(recording, settings))
    for one in objects:
        group, resource = resource_of(one.api_version, one.kind)
        name = "" if one.namespace else one.name
        # Who may patch a policy of admission could undo the one that lets him try alone: none is asked about it.
        verbs = ("get",) if group == ADMISSION else ("get", "patch")
        found |= {Permission(one.namespace, group, resource, verb, name) for verb in verbs}
        listed |= {(space, group, resource) for space in (spaces if one.namespace else ("",))}
    for release in recording.resources:
        if release.type == "kubernetes:helm.sh/v3:Release":
            listed.add((release.namespace or "default", "", "secrets"))
    found |= {Permission(space, group, resource, "list") for space, group, resource in listed}
    found.add(Permission(home, "", "secrets", "get"))
    return frozenset(found)


def _references(recording: Recording) -> list[Reference]:
    return [
        Reference(str(one.api_version), str(one.kind), str(one.namespace or ""), str(one.object_name))
        for one in recording.resources
        if one.is_kubernetes_object
    ]


def _by_applyset(declared: Iterable[Recorded], stack: str, home: str) -> Iterator[Permission]:
    spaces = {home}
    for one in declared:
        group, resource = resource_of(str(one.api_version), str(one.kind))
        name, space = str(one.object_name), str(one.namespace or "")
        if one.kind == "Namespace":
            for verb in ("get", "patch", *(() if name == home else ("delete",))):
                yield Permission("", group, resource, verb, name)
            yield Permission("", group, resource, "list")
        elif space:
            spaces.add(space)
            for verb in ("get", "create", "patch", "list", "delete"):
                yield Permission(space, group, resource, verb)
        else:
            # Server-side apply says the name when it creates; lists of pruning say none.
            for verb in ("get", "create", "patch", "delete"):
                yield Permission("", group, resource, verb, name)
            yield Permission("", group, resource, "list")
    # A run holds the lease, which is given back and never deleted.
    yield Permission(home, lease.GROUP, "leases", "create")
    for verb in ("get", "update"):
        yield Permission(home, lease.GROUP, "leases", verb, applyset.parent_name(stack))
    for space in spaces:  # the set's parent
        for verb in ("get", "create", "patch"):
            yield Permission(space, "", "secrets", verb, "" if space == home else applyset.parent_name(stack))


def _by_engine(declared: Iterable[Recorded]) -> Iterator[Permission]:
    for one in declared:
        group, resource = resource_of(str(one.api_version), str(one.kind))
        name, space = str(one.object_name), str(one.namespace or "")
        verbs = ["get", "create", "patch", *([] if one.retain_on_delete else ["delete"])]
        if one.kind == "Namespace":
            # Not in a Role of the namespace: that goes with it, while the engine waits for it to be gone.
            verbs.remove("create")
        for verb in verbs:
            yield Permission(space, group, resource, verb, "" if space else name)
        if one.kind == "Namespace" and one.retain_on_delete:
            continue
        yield Permission(space, group, resource, "watch")
        for awaited in _AWAITED.get(str(one.kind), ()):
            yield Permission(space, *awaited)
        yield Permission(space, "", "events", "watch")


# --- Helm releases ---------------------------------------------------------------------------------------------------


def _of_release(release: Recorded, charts: Charts) -> tuple[set[Permission], list[str]]:
    space = release.namespace or "default"
    found = {Permission(space, "", "secrets", verb) for verb in ("get", "list", "create", "update", "delete")}
    label = f"Helm release {space}/{release.inputs.get('name') or release.name}"
    rendered = charts.render(release.name, release.inputs, whole=True)
    if isinstance(rendered, str):
        return found, [f"{label}: what its chart makes is not in these roles: {rendered}"]
    remarks = []
    for item in rendered.objects:
        found |= set(_of_charts_object(item, space))
    powers = sorted({item["kind"] for item in rendered.objects if item["kind"] in ("ClusterRole", "Role")})
    if powers:
        remarks.append(
            f"{label}: its chart makes objects of kind {' and '.join(powers)}; `escalate` and `bind` on them are in "
            "these roles, and let their holder give themselves any right there is. Have an administrator install it, "
            "or trust the deployer as one"
        )
    return found, remarks


def _of_charts_object(item: Mapping[str, Any], home: str) -> Iterator[Permission]:
    group, resource = resource_of(item["apiVersion"], item["kind"])
    metadata = item.get("metadata", {})
    name = str(metadata.get("name", ""))
    space = "" if item["kind"] in _CLUSTER_WIDE else str(metadata.get("namespace") or home)
    hook = "helm.sh/hook" in (metadata.get("annotations") or {})
    # Helm creates by POST, which says no name before the object is there.
    yield Permission(space, group, resource, "create")
    for verb in ("get", "patch", "delete", *(("list", "watch") if hook else ())):
        yield Permission(space, group, resource, verb, "" if hook or space else name)
    if item["kind"] == "Deployment":
        yield Permission(space, "apps", "replicasets", "list")
    if item["kind"] in ("ClusterRole", "Role"):
        yield Permission(space, group, resource, "escalate", name)
    if item["kind"] in ("ClusterRoleBinding", "RoleBinding"):
        bound = item["roleRef"]
        of_role = "" if bound["kind"] == "ClusterRole" else space
        _, roles = resource_of(f"{_RBAC}/v1", bound["kind"])
        yield Permission(of_role, _RBAC, roles, "bind", bound["name"])
