"""`cloudmart drift` on a real API server: what people do to a stack by hand is found, named and mended.

All the damage is done at once, each to something else, and one look finds it; then the commands that it gives are run.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from cloudmart.cli import cli
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy import applyset, expected, kinds, up
from cloudmart.deploy.engine import NoCli
from cloudmart.deploy.expected import Expected, Way
from cloudmart.deploy.up import Target
from cloudmart.drift import report
from cloudmart.drift.finding import Finding, Kind
from cloudmart.drift.look import Drift, look
from cloudmart.errors import UserError
from cloudmart.preview.recorder import record
from cloudmart.settings import load
from tests.conftest import Project, copy_project

Json = Any

pytestmark = pytest.mark.cluster

SPACE = "cloudmart"
_UP = "cloudmart up --stack dev"
_SOMEBODY = "--field-manager=somebody"


@dataclass(frozen=True)
class Damage:
    """What somebody did with kubectl, and what must be said of it."""

    name: str
    command: tuple[str, ...]
    kind: Kind
    object: str
    path: str = ""
    #: Begin of the declared and the live value, where there is one.
    declared: str | None = None
    live: str | None = None
    mend: str = _UP
    stdin: str = ""


def patched(name: str, target: str, change: Json, path: str, **said: Any) -> Damage:
    """A strategic merge patch of an object of the shop's namespace, or of one that is cluster-wide."""
    kind, _, which = target.partition("/")
    space = SPACE if kind not in _CLUSTER_WIDE else ""
    label = f"{_KINDS[kind]} {f'{space}/' if space else ''}{which}"
    form = "merge" if isinstance(change, dict) else "json"
    arguments = ("patch", kind, which, f"--type={said.pop('form', form)}", f"--patch={json.dumps(change)}", _SOMEBODY)
    return Damage(name, arguments, said.pop("kind", Kind.CHANGED), label, path, **said)


_CLUSTER_WIDE = ("namespace", "validatingadmissionpolicybinding")
_KINDS = {
    "deployment": "Deployment",
    "statefulset": "StatefulSet",
    "service": "Service",
    "configmap": "ConfigMap",
    "secret": "Secret",
    "serviceaccount": "ServiceAccount",
    "hpa": "HorizontalPodAutoscaler",
    "pdb": "PodDisruptionBudget",
    "networkpolicy": "NetworkPolicy",
    "quota": "ResourceQuota",
    "limitrange": "LimitRange",
    "namespace": "Namespace",
    "pod": "Pod",
    "pvc": "PersistentVolumeClaim",
    "validatingadmissionpolicybinding": "ValidatingAdmissionPolicyBinding",
}


def deleted(name: str, target: str, **said: Any) -> Damage:
    """An object that was taken away."""
    kind, _, which = target.partition("/")
    space = SPACE if kind not in _CLUSTER_WIDE else ""
    label = f"{_KINDS[kind]} {f'{space}/' if space else ''}{which}"
    return Damage(name, ("delete", kind, which), Kind.MISSING, label, **said)


def in_pods(change: Json) -> Json:
    """A change of a pod template's spec."""
    return {"spec": {"template": {"spec": change}}}


def in_container(name: str, change: Json) -> Json:
    """A change of a container."""
    return in_pods({"containers": [{"name": name, **change}]})


def _made(item: Json) -> tuple[tuple[str, ...], str]:
    return ("create", "-f", "-", _SOMEBODY), json.dumps(item)


_ALLOW_ALL = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "allow-all"},
    "spec": {"podSelector": {}, "ingress": [{}], "egress": [{}], "policyTypes": ["Ingress", "Egress"]},
}
_ADMIN = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "RoleBinding",
    "metadata": {"name": "all-may-all"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}],
}
_RIGHTS = {
    **_ADMIN,
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "shop-may-all"},
    "subjects": [{"kind": "ServiceAccount", "name": "user-service", "namespace": SPACE}],
}
_SHELL = {
    "name": "shell",
    "image": "docker.io/nginxinc/nginx-unprivileged:1.0",
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}
_TEMPLATE = "spec.template.spec"
_STRATEGIC = {"form": "strategic"}
#: Looks like a secret: it must be nowhere in what is said.
_BAIT = "hunter2-hunter2-hunter2"

#: As Pod Security lets it in.
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_BY_HAND = {
    "metadata": {"labels": {"project": "cloudmart"}},
    "spec": {"containers": [{"name": "by-hand", "securityContext": _RESTRICTED}]},
}

DAMAGES = (
    patched("a cost label is changed", "deployment/user-service", {"metadata": {"labels": {"team": "other"}}},
            "metadata.labels.team", declared="platform", live="other"),
    patched("a cost label is taken away", "service/user-service", {"metadata": {"labels": {"cost-center": None}}},
            "metadata.labels.cost-center", declared="CC-", live=None),
    patched("a label is added", "service/product-service", {"metadata": {"labels": {"extra": "1"}}},
            "metadata.labels.extra", kind=Kind.ADDED, live="1", mend="patch service/product-service"),
    patched("an annotation is added", "service/order-service", {"metadata": {"annotations": {"own/er": "a~b"}}},
            "metadata.annotations.own/er", kind=Kind.ADDED, live="a~b", mend="patch service/order-service"),
    patched("a memory limit is raised", "deployment/product-service",
            in_container("product-service", {"resources": {"limits": {"memory": "2Gi"}}}),
            f"{_TEMPLATE}.containers[name=product-service].resources.limits.memory", live="2Gi", **_STRATEGIC),
    patched("an image is swapped", "deployment/order-service",
            in_container("order-service", {"image": "docker.io/nginxinc/nginx-unprivileged:1.0"}),
            f"{_TEMPLATE}.containers[name=order-service].image", live="docker.io/nginxinc/nginx-unprivileged:1.0",
            **_STRATEGIC),
    patched("a variable is added", "deployment/payment-service",
            in_container("payment-service", {"env": [{"name": "ADMIN_PASSWORD", "value": _BAIT}]}),
            f"{_TEMPLATE}.containers[name=payment-service].env[name=ADMIN_PASSWORD]", kind=Kind.ADDED, live="{",
            mend="patch deployment.apps/payment-service", **_STRATEGIC),
    patched("a variable is changed", "deployment/user-service",
            in_container("user-service", {"env": [{"name": "DB_HOST", "value": "elsewhere"}]}),
            f"{_TEMPLATE}.containers[name=user-service].env[name=DB_HOST].value", declared="postgres-service",
            live="elsewhere", **_STRATEGIC),
    patched("a container is added", "deployment/notification-service",
            in_container("miner", {"image": "docker.io/nginxinc/nginx-unprivileged:1.0"}),
            f"{_TEMPLATE}.containers[name=miner]", kind=Kind.ADDED, live="{",
            mend="patch deployment.apps/notification-service", **_STRATEGIC),
    patched("an annotation of pods is added", "deployment/notification-service",
            {"spec": {"template": {"metadata": {"annotations": {"sidecar.istio.io/inject": "false"}}}}},
            'spec.template.metadata.annotations["sidecar.istio.io/inject"]', kind=Kind.ADDED, live="false",
            mend="patch deployment.apps/notification-service"),
    patched("pods are bound to a node", "deployment/payment-service", in_pods({"nodeSelector": {"disk": "own"}}),
            f"{_TEMPLATE}.nodeSelector", kind=Kind.ADDED, live='{"disk": "own"}',
            mend="patch deployment.apps/payment-service"),
    patched("a probe is taken away", "deployment/product-service",
            [{"op": "remove", "path": "/spec/template/spec/containers/0/livenessProbe"}],
            f"{_TEMPLATE}.containers[name=product-service].livenessProbe", declared="{", live=None),
    patched("a container may write its root file system", "deployment/user-service",
            in_container("user-service", {"securityContext": {"readOnlyRootFilesystem": False}}),
            f"{_TEMPLATE}.containers[name=user-service].securityContext.readOnlyRootFilesystem", declared="true",
            live="false", **_STRATEGIC),
    patched("arguments are changed", "deployment/order-service",
            [{"op": "replace", "path": "/spec/template/spec/containers/0/args/0", "value": "sleep"}],
            f"{_TEMPLATE}.containers[name=order-service].args[0]", live="sleep"),
    patched("a store has no pod", "statefulset/redis", {"spec": {"replicas": 0}}, "spec.replicas", declared="1",
            live="0"),
    patched("the largest limit is raised", "limitrange/cloudmart-limits",
            [{"op": "replace", "path": "/spec/limits/0/max/memory", "value": "4Gi"}],
            "spec.limits[0].max.memory", live="4Gi"),
    patched("an autoscaler scales something else", "hpa/user-service-hpa",
            {"spec": {"scaleTargetRef": {"name": "nobody"}}}, "spec.scaleTargetRef.name", declared="user-service",
            live="nobody"),
    patched("an autoscaler may do less", "hpa/product-service-hpa", {"spec": {"maxReplicas": 2}}, "spec.maxReplicas",
            live="2"),
    patched("a network policy is widened", "networkpolicy/payment-service",
            [{"op": "add", "path": "/spec/egress/-", "value": {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}}],
            "spec.egress[", live='{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}'),
    deleted("a network policy is gone", "networkpolicy/redis"),
    deleted("the secret of a store is gone", "secret/redis-credentials"),
    patched("a password is changed", "secret/postgres-credentials",
            {"data": {"password": base64.b64encode(_BAIT.encode()).decode()}}, "data.password", declared="not shown",
            live="not shown"),
    deleted("a disruption budget is gone", "pdb/user-service-pdb"),
    patched("a disruption budget allows everything", "pdb/order-service-pdb",
            {"spec": {"minAvailable": None, "maxUnavailable": "100%"}}, "spec.maxUnavailable", live="100%",
            kind=Kind.CHANGED),
    patched("a setting is changed", "configmap/order-service-config", {"data": {"LOG_LEVEL": "by hand\x1b[2J"}},
            "data.LOG_LEVEL", live="by hand"),
    patched("a setting is added", "configmap/user-service-config", {"data": {"EXTRA": "1"}}, "data.EXTRA",
            kind=Kind.ADDED, live="1", mend="patch configmap/user-service-config"),
    patched("a service is let out", "service/notification-service", {"spec": {"externalIPs": ["203.0.113.7"]}},
            "spec.externalIPs", kind=Kind.ADDED, live='["203.0.113.7"]', mend="patch service/notification-service"),
    patched("callers stay with a pod", "service/order-service", {"spec": {"sessionAffinity": "ClientIP"}},
            "spec.sessionAffinity", kind=Kind.ADDED, live="ClientIP", mend="patch service/order-service"),
    patched("pods resolve names as their node does", "deployment/order-service", in_pods({"dnsPolicy": "Default"}),
            f"{_TEMPLATE}.dnsPolicy", kind=Kind.ADDED, live="Default", mend="patch deployment.apps/order-service"),
    patched("an autoscaler may not add pods", "hpa/order-service-hpa",
            {"spec": {"behavior": {"scaleUp": {"selectPolicy": "Disabled"}}}}, "spec.behavior.scaleUp.selectPolicy",
            kind=Kind.ADDED, live="Disabled", mend="patch horizontalpodautoscaler.autoscaling/order-service-hpa"),
    patched("settings can be changed no more", "configmap/payment-service-config", {"immutable": True}, "immutable",
            kind=Kind.ADDED, live="true", mend="delete configmap/payment-service-config"),
    deleted("a service is gone", "service/payment-service"),
    patched("a token is mounted", "serviceaccount/user-service", {"automountServiceAccountToken": True},
            "automountServiceAccountToken", declared="false", live="true"),
    patched("pod security is loosened", "namespace/cloudmart",
            {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}},
            'metadata.labels["pod-security.kubernetes.io/enforce"]', live="privileged"),
    Damage("a guard of admission is gone", (), Kind.MISSING,
           "ValidatingAdmissionPolicyBinding cloudmart-no-literal-secrets"),
    Damage("a policy lets everything in", *_made(_ALLOW_ALL)[:1], Kind.UNEXPECTED,
           f"NetworkPolicy {SPACE}/allow-all", live="not declared",
           mend="delete networkpolicy.networking.k8s.io/allow-all", stdin=_made(_ALLOW_ALL)[1]),
    Damage("everybody may do everything", *_made(_ADMIN)[:1], Kind.UNEXPECTED, f"RoleBinding {SPACE}/all-may-all",
           live="not declared", mend="delete rolebinding.rbac.authorization.k8s.io/all-may-all",
           stdin=_made(_ADMIN)[1]),
    Damage("a pod runs by hand",
           ("run", "by-hand", "--image=docker.io/nginxinc/nginx-unprivileged:1.0", "--field-manager=somebody",
            "--override-type=strategic", f"--overrides={json.dumps(_BY_HAND)}"),
           Kind.UNEXPECTED, f"Pod {SPACE}/by-hand", live="not declared", mend="delete pod/by-hand"),
    Damage("the shop may do everything in the cluster", *_made(_RIGHTS)[:1], Kind.UNEXPECTED,
           "ClusterRoleBinding shop-may-all", live="not declared",
           mend="delete clusterrolebinding.rbac.authorization.k8s.io/shop-may-all", stdin=_made(_RIGHTS)[1]),
    patched("a pod runs another image than its template says", "pod/postgres-0",
            {"spec": {"containers": [{"name": "postgres", "image": "docker.io/nginxinc/nginx-unprivileged:1.0"}]}},
            "spec.containers[name=postgres].image", declared="docker.io/library/postgres",
            live="docker.io/nginxinc/nginx-unprivileged:1.0", mend="delete pod/postgres-0", **_STRATEGIC),
    Damage("a pod has a container more",
           ("patch", "pod", "kafka-0", "--subresource=ephemeralcontainers", _SOMEBODY,
            f"--patch={json.dumps({'spec': {'ephemeralContainers': [_SHELL]}})}"),
           Kind.ADDED, f"Pod {SPACE}/kafka-0", "spec.ephemeralContainers[name=shell]", live="{",
           mend="delete pod/kafka-0"),
    patched("a cost label of a claim is changed", "pvc/data-kafka-0", {"metadata": {"labels": {"team": "other"}}},
            "metadata.labels.team", declared="platform", live="other",
            mend="label --overwrite persistentvolumeclaim/data-kafka-0"),
    # The last: it lets nothing more in.
    patched("the quota is lowered", "quota/cloudmart-quota", {"spec": {"hard": {"pods": "3"}}}, "spec.hard.pods",
            live="3"),
)  # fmt: skip


@dataclass
class Shop:
    """A copy of the project in the folder whose cluster runs, deployed."""

    cluster: LocalCluster
    project: Project
    said: list[str] = field(default_factory=list)

    @cached_property
    def expected(self) -> Expected:
        return expected.expected("dev", None, self.project.root, self.said.append)

    def look(self) -> Drift:
        return look(self.expected)


@pytest.fixture(scope="module")
def shop(cluster: LocalCluster) -> Iterator[Shop]:
    with pytest.MonkeyPatch.context() as patch:
        for module, function in ((up, "find_cli"), (expected, "present_cli")):
            patch.setattr(module, function, lambda *_: NoCli("no pulumi in this test"))
        # Nothing here asks whether pods are ready.
        patch.setattr(up, "wait_until_available", lambda *_: None)
        found = Shop(cluster, copy_project(cluster.root))
        up.up("dev", None, found.project.root, found.said.append)
        yield found


def test_a_healthy_stack_has_no_drift_and_the_command_says_only_that(shop: Shop) -> None:
    ended = CliRunner().invoke(cli, ["drift", "--stack", "dev", "--root", str(shop.project.root)])
    assert ended.exit_code == 0, ended.output
    count = len(shop.expected.objects)
    assert ended.stdout == f"stack dev: no drift; {count} declared objects compared\n"


def test_what_controllers_and_a_restart_do_is_no_drift(shop: Shop) -> None:
    shop.cluster.kubectl("rollout", "restart", "deployment/user-service", "-n", SPACE)
    shop.cluster.kubectl("scale", "deployment/product-service", "-n", SPACE, "--replicas=3")
    shop.cluster.kubectl("label", "pods", "-n", SPACE, "-l", "app=redis", "looked-at=yes")
    assert shop.look().findings == []


def test_who_may_deploy_but_not_list_sees_the_same_and_is_told_what_was_not_looked_for(shop: Shop) -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "drift-test"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "patch", "create"]}],
    }
    shop.cluster.kubectl("create", "-f", "-", stdin=json.dumps(role))
    shop.cluster.kubectl("create", "clusterrolebinding", "drift-test", "--clusterrole=drift-test", "--user=deployer")
    try:
        # Whom the API server takes for that user.
        config = yaml.safe_load(shop.cluster.kubeconfig.read_text())
        for user in config["users"]:
            user["user"]["as"] = "deployer"
        file = shop.project.root / "deployer.kubeconfig"
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(config))
        kubectl = Kubectl(path=_kubectl(), kubeconfig=file)
        as_deployer = replace(shop.expected, target=Target(kubectl=kubectl, local=True))
        found = look(as_deployer)
        assert found.findings == []
        assert "this user may not list them" in " ".join(found.notes)
        shop.cluster.kubectl("patch", "clusterrole", "drift-test", "--type=json", f"--patch={json.dumps(_READ_ONLY)}")
        with pytest.raises(UserError, match="cannot patch resource"):
            look(as_deployer)
    finally:
        shop.cluster.kubectl("delete", "clusterrole/drift-test", "clusterrolebinding/drift-test")


_READ_ONLY = [{"op": "replace", "path": "/rules/0/verbs", "value": ["get"]}]


@pytest.fixture(scope="module")
def damaged(shop: Shop) -> Drift:
    """One look after everything was damaged, the guards of admission first: they would not have let the rest in."""
    assert len({damage.name for damage in DAMAGES}) == len(DAMAGES)
    shop.cluster.kubectl("delete", "validatingadmissionpolicybindings", "-l", f"project={SPACE}")
    for damage in DAMAGES:
        do(shop.cluster, damage)
    return shop.look()


def do(cluster: LocalCluster, damage: Damage) -> None:
    """Damages; the guards of admission have been taken away."""
    space = () if damage.object.startswith("Namespace ") else ("-n", SPACE)
    while damage.command:
        try:
            cluster.kubectl(*damage.command, *space, stdin=damage.stdin or None)
            break
        except UserError as error:
            # It takes the API server a moment to notice.
            if "ValidatingAdmissionPolicy" not in str(error):
                raise
            time.sleep(0.2)


def _of(drift: Drift, damage: Damage) -> list[Finding]:
    return [
        one
        for one in drift.findings
        if one.object.label == damage.object
        and one.kind is damage.kind
        and (one.path == damage.path or (damage.path.endswith("[") and one.path.startswith(damage.path)))
    ]


def require_told(drift: Drift, damage: Damage) -> None:
    """One finding of it, which says what there was, what there is, by whom, and the mend."""
    found = _of(drift, damage)
    assert len(found) == 1, [one for one in drift.findings if one.object.label == damage.object]
    (one,) = found
    if damage.declared is not None:
        assert (one.declared or "").startswith(damage.declared)
    if damage.kind is not Kind.MISSING:
        assert (one.live is None) if damage.live is None else (one.live or "").startswith(damage.live)
    if one.live is not None and damage.kind is not Kind.MISSING:
        assert one.by == "somebody"
        assert one.when
    assert one.mend == damage.mend if damage.mend == _UP else damage.mend in one.mend


@pytest.mark.parametrize("damage", DAMAGES, ids=[damage.name for damage in DAMAGES])
def test_damage_is_found_with_its_field_its_author_and_its_mend(damaged: Drift, damage: Damage) -> None:
    require_told(damaged, damage)


#: What the API server changes along with a change.
OTHER_HALVES = {
    (f"PodDisruptionBudget {SPACE}/order-service-pdb", "spec.minAvailable"),
    (f"Service {SPACE}/notification-service", "spec.externalTrafficPolicy"),
    (f"Service {SPACE}/order-service", "spec.sessionAffinityConfig.clientIP.timeoutSeconds"),
}


def test_nothing_is_found_but_what_was_done(damaged: Drift) -> None:
    known = {id(one) for damage in DAMAGES for one in _of(damaged, damage)}
    rest = {
        (one.object.label, one.path)
        for one in damaged.findings
        if id(one) not in known and (one.kind is not Kind.MISSING or "AdmissionPolicyBinding" not in one.object.kind)
    }
    assert rest <= OTHER_HALVES


def test_no_format_shows_a_secret_or_moves_the_cursor(damaged: Drift, shop: Shop) -> None:
    ended = CliRunner().invoke(cli, ["drift", "--stack", "dev", "--root", str(shop.project.root)])
    assert ended.exit_code == 1, ended.output
    assert ended.stdout == report.as_text(damaged)
    assert len(json.loads(report.as_json(damaged))["findings"]) == len(damaged.findings)
    said = [ended.output, report.as_json(damaged), report.as_markdown(damaged)]
    assert "\x1b" not in "".join(said)
    items = json.loads(shop.cluster.kubectl("get", "secrets", "-n", SPACE, "-o", "json"))["items"]
    values = {value for item in items for key, value in (item.get("data") or {}).items() if key != "username"}
    for value in values:
        assert value not in "".join(said)
        assert base64.b64decode(value).decode() not in "".join(said)
    assert _BAIT not in "".join(said)


def test_the_commands_that_it_gives_put_everything_back(damaged: Drift, shop: Shop) -> None:
    assert _UP in {one.mend for one in damaged.findings}
    mend(damaged)
    assert all(one.mend == _UP for one in shop.look().findings)
    up.up("dev", None, shop.project.root, shop.said.append)
    assert shop.look().findings == []


def mend(drift: Drift) -> None:
    """Types the commands that it gives; all that is left to an `up` is put back by one."""
    for command in dict.fromkeys(one.mend.removesuffix(f" && {_UP}") for one in drift.findings):
        if command != _UP:
            subprocess.run(["sh", "-ec", command], check=True, capture_output=True, timeout=60)


def test_passwords_that_are_not_kept_any_more_are_saved_before_the_next_up(shop: Shop) -> None:
    kept = ("secret", "cloudmart-dev-generated", "-n", SPACE)
    before = json.loads(shop.cluster.kubectl("get", *kept, "-o", "json"))["data"]
    shop.cluster.kubectl("delete", *kept)
    (one,) = shop.look().findings
    assert (one.kind, one.object.name) == (Kind.MISSING, "cloudmart-dev-generated")
    subprocess.run(["sh", "-ec", one.mend], check=True, capture_output=True, timeout=60)
    assert json.loads(shop.cluster.kubectl("get", *kept, "-o", "json"))["data"] == before
    assert shop.look().findings == []


def test_what_is_as_the_api_server_would_have_it_is_no_drift_whoever_owns_it(shop: Shop) -> None:
    live = shop.cluster.kubectl("get", "deployment", "order-service", "-n", SPACE, "-o", "json")
    shop.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", _SOMEBODY, stdin=live)
    (one,) = shop.look().findings
    # No default: its controller writes it again.
    assert one.path == 'metadata.annotations["deployment.kubernetes.io/revision"]'
    subprocess.run(["sh", "-ec", one.mend], check=True, capture_output=True, timeout=60)
    assert shop.look().findings == []


def test_a_pod_of_a_deployment_is_compared_with_what_it_was_made_of(shop: Shop) -> None:
    pods = shop.cluster.kubectl("get", "pods", "-n", SPACE, "-l", "app=order-service", "-o", "name").split()
    image = "order-service=docker.io/nginxinc/nginx-unprivileged:1.0"
    # Whoever calls himself a controller is none that made the pod.
    time.sleep(3)
    shop.cluster.kubectl("set", "image", pods[0], image, "-n", SPACE, "--field-manager=kube-controller-manager")
    (one,) = shop.look().findings
    assert (one.kind, f"pod/{one.object.name}") == (Kind.CHANGED, pods[0])
    subprocess.run(["sh", "-ec", one.mend], check=True, capture_output=True, timeout=60)
    assert shop.look().findings == []


def test_rights_that_are_not_the_shop_s_are_none_of_its_drift(shop: Shop) -> None:
    name = "elsewhere-may-view"
    account = "--serviceaccount=elsewhere:user-service"
    shop.cluster.kubectl("create", "clusterrolebinding", name, "--clusterrole=view", account)
    try:
        assert shop.look().findings == []
    finally:
        shop.cluster.kubectl("delete", "clusterrolebinding", name)


def test_a_password_that_is_not_kept_is_put_back_beside_the_others_and_on_no_command_line(shop: Shop) -> None:
    kept = ("secret", "cloudmart-dev-generated", "-n", SPACE)
    before = json.loads(shop.cluster.kubectl("get", *kept, "-o", "json", "--show-managed-fields"))
    (lost,) = (key for key in before["data"] if ".redis-password." in key)
    take = json.dumps({"data": {lost: None}})
    shop.cluster.kubectl("patch", *kept, "--type=merge", f"--patch={take}")
    (one,) = shop.look().findings
    # A shell would have the values on the command line of what it starts.
    assert "$(" not in one.mend
    assert "delete" not in one.mend
    subprocess.run(["sh", "-ec", one.mend], check=True, capture_output=True, timeout=60)
    after = json.loads(shop.cluster.kubectl("get", *kept, "-o", "json", "--show-managed-fields"))
    assert after["data"] == before["data"]
    # How old the others are stays known.
    assert any(entry["time"] == before["metadata"]["creationTimestamp"] for entry in after["metadata"]["managedFields"])
    assert shop.look().findings == []
    shop.cluster.kubectl("delete", "secret", "redis-credentials", "-n", SPACE)
    shop.cluster.kubectl("patch", *kept, "--type=merge", f"--patch={take}")
    told = subprocess.run(["sh", "-ec", one.mend], check=False, capture_output=True, text=True, timeout=60)
    assert told.returncode != 0
    assert not any(value in told.stdout + told.stderr for value in before["data"].values())
    restore = json.dumps({"data": before["data"]})
    shop.cluster.kubectl("patch", *kept, "--type=merge", "--patch-file=/dev/stdin", stdin=restore)
    up.up("dev", None, shop.project.root, shop.said.append)
    assert shop.look().findings == []


def test_who_has_written_over_a_kept_password_is_named_and_not_the_secret_that_still_has_it(shop: Shop) -> None:
    kept = ("secret", "cloudmart-dev-generated", "-n", SPACE)
    before = json.loads(shop.cluster.kubectl("get", *kept, "-o", "json"))["data"]
    (key,) = (key for key in before if ".redis-password." in key)
    change = json.dumps({"data": {key: base64.b64encode(_BAIT.encode()).decode()}})
    shop.cluster.kubectl("patch", *kept, "--type=merge", f"--patch={change}", _SOMEBODY)
    (one,) = shop.look().findings
    assert (one.kind, one.object.name, one.by) == (Kind.CHANGED, "cloudmart-dev-generated", "somebody")
    assert key in one.path
    assert (one.declared, one.live) == ("not shown", "not shown")
    subprocess.run(["sh", "-ec", one.mend], check=True, capture_output=True, timeout=60)
    assert json.loads(shop.cluster.kubectl("get", *kept, "-o", "json"))["data"] == before
    assert shop.look().findings == []


def test_a_rotation_that_is_written_and_not_deployed_is_a_difference_and_no_loss(shop: Shop) -> None:
    shop.project.config(
        "dev", lambda config: config.update({"cloudmart:secrets": {"rotations": {"postgres-password": 1}}})
    )
    pending = look(expected.expected("dev", None, shop.project.root, shop.said.append))
    assert {one.object.name for one in pending.findings} == {"postgres-credentials", "postgres", "user-service"}
    assert {(one.kind, one.mend) for one in pending.findings} == {(Kind.CHANGED, _UP)}
    assert "rotation pending: the next up makes postgres-password anew" in pending.notes
    copy_project(shop.project.root)
    assert shop.look().findings == []


def test_passwords_that_no_secret_has_any_more_are_told_without_a_command_that_would_save_empty_ones(
    shop: Shop,
) -> None:
    gone = ["cloudmart-dev-generated", *(f"{store}-credentials" for store in ("postgres", "redis", "kafka"))]
    shop.cluster.kubectl("delete", "secret", *gone, "-n", SPACE)
    (one,) = [found for found in shop.look().findings if found.object.name == "cloudmart-dev-generated"]
    assert (one.kind, one.mend) == (Kind.MISSING, _UP)
    assert "no Secret has them" in (one.live or "")
    up.up("dev", None, shop.project.root, shop.said.append)
    assert shop.look().findings == []


def test_an_object_that_was_made_anew_in_another_shape_is_told_with_what_it_takes(shop: Shop) -> None:
    live = json.loads(shop.cluster.kubectl("get", "deployment", "user-service", "-n", SPACE, "-o", "json"))
    shop.cluster.kubectl("delete", "deployment", "user-service", "-n", SPACE)
    live["spec"]["selector"]["matchLabels"] = live["spec"]["template"]["metadata"]["labels"]
    live["metadata"] = {key: live["metadata"][key] for key in ("name", "namespace", "labels")}
    shop.cluster.kubectl("create", "-f", "-", _SOMEBODY, stdin=json.dumps(live))
    (one,) = [one for one in shop.look().findings if one.object.label == f"Deployment {SPACE}/user-service"]
    assert one.kind is Kind.REFUSED
    assert "immutable" in (one.live or "")
    first, _, then = one.mend.partition(" && ")
    assert then == _UP
    subprocess.run(["sh", "-ec", first], check=True, capture_output=True, timeout=60)
    (gone,) = shop.look().findings
    assert (gone.kind, gone.object, gone.mend) == (Kind.MISSING, one.object, _UP)


def test_what_an_earlier_up_made_and_nobody_declares_any_more_is_named(shop: Shop) -> None:
    shop.project.catalog(lambda catalog: catalog["services"].pop("notification-service"))
    shop.project.config("dev", lambda config: config["cloudmart:services"].pop("notification-service"))
    found = look(expected.expected("dev", None, shop.project.root, shop.said.append)).findings
    left = {one.object.label: one for one in found if one.kind is Kind.UNEXPECTED}
    assert f"Deployment {SPACE}/notification-service" in left
    assert {one.mend for one in left.values()} == {_UP}
    # What changes with it in others is the program's doing.
    assert {one.by for one in found if one.kind is Kind.CHANGED and one.live is not None} <= {"cloudmart"}
    copy_project(shop.project.root)


def test_loosened_mutual_tls_is_found(shop: Shop, crds: frozenset[str], namespace: str) -> None:
    if "istio" not in crds:
        pytest.skip("Istio's definitions cannot be had here")
    whole = record("prod")
    mesh = [one for one in whole.resources if one.kind in ("PeerAuthentication", "AuthorizationPolicy")]
    mesh = [replace(one, inputs=one.inputs | {"metadata": {**one.metadata, "namespace": namespace}}) for one in mesh]
    mesh = list({(one.kind, one.object_name): one for one in mesh}.values())
    assert {one.kind for one in mesh} == {"PeerAuthentication", "AuthorizationPolicy"}
    recording = replace(whole, resources=mesh)
    kubectl = Kubectl(path=_kubectl(), kubeconfig=shop.cluster.kubeconfig)
    settings = load("prod", shop.project.root)
    settings = settings.model_copy(update={"namespace": settings.namespace.model_copy(update={"name": namespace})})
    scopes = kinds.scopes(recording, kubectl)
    shop.cluster.kubectl("label", "namespace", namespace, f"{applyset.PART_OF}={applyset.set_id('prod', namespace)}")
    with applyset.lease(kubectl, namespace, "prod", "up", lambda _line: None) as lease:
        applyset.apply(recording, kubectl, namespace, scopes, lease)
    wanted = Expected(
        settings=settings,
        target=Target(kubectl=kubectl, local=True),
        way=Way.APPLY_SET,
        recording=recording,
        scopes=scopes,
    )
    assert look(wanted).findings == []
    strict = next(one.object_name for one in mesh if one.kind == "PeerAuthentication")
    loose = json.dumps({"spec": {"mtls": {"mode": "PERMISSIVE"}}})
    shop.cluster.kubectl(
        "patch", "peerauthentication", str(strict), "-n", namespace, "--type=merge", f"--patch={loose}"
    )
    policy = next(one.object_name for one in mesh if one.kind == "AuthorizationPolicy")
    shop.cluster.kubectl("delete", "authorizationpolicy", str(policy), "-n", namespace)
    found = {(one.kind, one.object.name, one.path, one.live) for one in look(wanted).findings}
    assert found == {
        (Kind.CHANGED, strict, "spec.mtls.mode", "PERMISSIVE"),
        (Kind.MISSING, policy, "", None),
    }


def test_a_local_cluster_that_does_not_run_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its cluster is the local one, which is not running"):
        expected.expected("dev", None, copy_project(tmp_path / "project", program=False).root, print)


def _kubectl() -> Path:
    from cloudmart.cluster import toolchain

    return toolchain.kubectl()
