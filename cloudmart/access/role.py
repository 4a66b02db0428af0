"""Permissions as objects of Kubernetes' RBAC: a Role for each namespace, a ClusterRole, and who they are bound to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cloudmart.access.permissions import Permission
from cloudmart.deploy.ownership import PREPARED
from cloudmart.drift.look import ADMISSION
from cloudmart.errors import UserError

_API = "rbac.authorization.k8s.io"
_CHANGES = ["CREATE", "UPDATE", "DELETE"]


@dataclass(frozen=True)
class Subject:
    """Whom the roles are bound to. `namespace` is a service account's."""

    kind: str
    name: str
    namespace: str = ""

    @classmethod
    def parse(cls, text: str) -> Subject:
        """From ``group:NAME``, ``user:NAME`` or ``serviceaccount:NAMESPACE/NAME``."""
        kind, _, name = text.partition(":")
        namespace, slash, account = name.partition("/")
        if kind in ("group", "user") and name.strip() and name.isprintable():
            return cls(kind.capitalize(), name)
        if kind == "serviceaccount" and slash and all(map(_is_label, (namespace, account))):
            return cls("ServiceAccount", account, namespace)
        raise UserError(f"--subject: found {text!r}; allowed: group:NAME, user:NAME or serviceaccount:NAMESPACE/NAME")

    def expression(self) -> str:
        """CEL that is true for a request of this subject."""
        name = f"system:serviceaccount:{self.namespace}:{self.name}" if self.kind == "ServiceAccount" else self.name
        text = json.dumps(name, ensure_ascii=False)
        user = "request.userInfo"
        return f"{text} in {user}.groups" if self.kind == "Group" else f"{user}.username == {text}"

    def manifest(self) -> dict[str, str]:
        """As it stands in a binding."""
        if self.kind == "ServiceAccount":
            return {"kind": self.kind, "name": self.name, "namespace": self.namespace}
        return {"apiGroup": _API, "kind": self.kind, "name": self.name}


def _is_label(text: str) -> bool:
    return text.replace("-", "").replace(".", "").isalnum() and text.isascii() and text == text.lower()


def objects(
    permissions: Iterable[Permission],
    stack: str,
    spaces: Iterable[str],
    subject: Subject | None,
    *,
    whose: str = "deployer",
) -> list[dict[str, Any]]:
    """The namespaces, which a deployer makes none of, then the roles, each followed by its binding to `subject`."""
    name = f"cloudmart-{stack}-{whose}"
    by_space: dict[str, list[Permission]] = {}
    for permission in permissions:
        by_space.setdefault(permission.namespace, []).append(permission)
    found: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space, "annotations": {PREPARED: stack}}}
        for space in sorted(spaces)
    ]
    for space, ours in sorted(by_space.items()):
        kind = "Role" if space else "ClusterRole"
        metadata = {"name": name, "namespace": space} if space else {"name": name}
        found.append({"apiVersion": f"{_API}/v1", "kind": kind, "metadata": metadata, "rules": rules(ours)})
        if subject is not None:
            found.append(
                {
                    "apiVersion": f"{_API}/v1",
                    "kind": f"{kind}Binding",
                    "metadata": dict(metadata),
                    "roleRef": {"apiGroup": _API, "kind": kind, "name": name},
                    "subjects": [subject.manifest()],
                }
            )
    return found


def trials_alone(stack: str, subject: Subject) -> list[dict[str, Any]]:
    """What refuses every change by `subject` that is no dry run: an admission policy and its binding.

    RBAC cannot tell a dry run from a change: who may try an object may change it, but for this. Policies of admission
    are judged by none, so the roles must give no right to those.
    """
    name = f"cloudmart-{stack}-reader"
    everything = {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": _CHANGES}
    return [
        {
            "apiVersion": f"{ADMISSION}/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [everything]},
                "matchConditions": [{"name": "the-reader", "expression": subject.expression()}],
                "validations": [
                    {
                        "expression": "has(request.dryRun) && request.dryRun",
                        "message": f"who reads stack {stack} may change nothing; allowed: a dry run",
                    }
                ],
            },
        },
        {
            "apiVersion": f"{ADMISSION}/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]


def rules(permissions: Iterable[Permission]) -> list[dict[str, list[str]]]:
    """The fewest rules that give exactly these permissions of one place, sorted."""
    names: dict[tuple[str, str, str], set[str]] = {}
    for one in permissions:
        names.setdefault((one.group, one.resource, one.verb), set()).add(one.name)
    verbs: dict[tuple[str, str, tuple[str, ...]], set[str]] = {}
    for (group, resource, verb), which in names.items():
        # Any name makes the rest superfluous.
        verbs.setdefault((group, resource, () if "" in which else tuple(sorted(which))), set()).add(verb)
    resources: dict[tuple[str, tuple[str, ...], tuple[str, ...]], set[str]] = {}
    for (group, resource, which_names), which_verbs in verbs.items():
        resources.setdefault((group, tuple(sorted(which_verbs)), which_names), set()).add(resource)
    return [
        {
            "apiGroups": [group],
            "resources": sorted(which),
            **({"resourceNames": list(which_names)} if which_names else {}),
            "verbs": list(which_verbs),
        }
        for (group, which_verbs, which_names), which in sorted(
            resources.items(), key=lambda found: (found[0][0], sorted(found[1]), found[0][1])
        )
    ]
