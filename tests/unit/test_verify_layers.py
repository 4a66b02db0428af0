"""Checks of `cloudmart verify` for the layers around the shop, on a made-up cluster that holds what prod declares."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cloudmart.cluster.kubectl import Kubectl
from cloudmart.cluster.live import Reference
from cloudmart.deploy.expected import Expected, Way
from cloudmart.deploy.up import Target
from cloudmart.drift import finding
from cloudmart.finops import actual
from cloudmart.finops.allocation.windows import Window
from cloudmart.preview.recorder import record
from cloudmart.preview.render import manifests
from cloudmart.settings import load
from cloudmart.verify import costs, layers, mesh, objects, storage
from cloudmart.verify.check import Check, Finding, Status
from cloudmart.verify.state import State
from tests.conftest import ROOT

Json = dict[str, Any]
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
SPACE = "cloudmart"
_WIDE = ("Namespace", "PriorityClass", "GatewayClass", "ConstraintTemplate")
#: Their controllers always say something.
_SPEAKING = ("Cluster", "Kafka", "KafkaTopic", "KafkaUser", "GatewayClass", "Gateway", "Certificate")


@cache
def _expected() -> Expected:
    recording = record("prod", ROOT)
    kinds = {(one.object["apiVersion"], one.object["kind"]) for one in manifests(recording)}
    return Expected(
        settings=load("prod", ROOT),
        target=Target(kubectl=Kubectl(path=Path("kubectl"), context="c"), local=False),
        way=Way.PULUMI,
        recording=recording,
        scopes={key: key[1] not in _WIDE and not key[0].startswith("constraints.") for key in kinds},
    )


@cache
def pem(days: int) -> str:
    """A certificate that ends so many days after the time of these tests, and behind it one that has ended."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "api.cloudmart.example.com")])
    chain = ""
    for end in (NOW + timedelta(days=days), NOW - timedelta(days=900)):
        made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(NOW - timedelta(days=1000)).not_valid_after(end)
        chain += made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    return chain


def _said(kind: str, value: str, **more: str) -> Json:
    return {"conditions": [{"type": kind, "status": value, **more}]}


def _item(api_version: str, kind: str, namespace: str, name: str, **more: Any) -> tuple[Reference, Json]:
    item = {"apiVersion": api_version, "kind": kind, "metadata": {"namespace": namespace, "name": name}, **more}
    return Reference(api_version, kind, namespace, name), item


def _certificate(text: str) -> tuple[Reference, Json]:
    data = {"tls.crt": base64.b64encode(text.encode()).decode()}
    return _item("v1", "Secret", "gateway", "gateway-certificate", data=data)


def healthy() -> State:
    """Everything that is declared is there, and its controllers are content."""
    live: dict[Reference, Json] = {}
    for reference, one in _expected().objects.items():
        item: Json = copy.deepcopy(dict(one.object))
        if reference.kind in _SPEAKING:
            item["status"] = _said("Programmed" if reference.kind == "Gateway" else "Ready", "True")
        if reference.kind == "HTTPRoute":
            item["status"] = {"parents": [{"parentRef": {"name": "g"}, **_said("Accepted", "True")}]}
        if reference.kind == "Application":
            item["status"] = {"sync": {"status": "Synced"}, "health": {"status": "Healthy"}}
        live[reference] = item
    for release in _expected().releases:
        namespace, _, name = release.partition("/")
        made = {"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": namespace}
        reference, item = _item("apps/v1", "Deployment", namespace, f"of-{name}")
        item["metadata"]["annotations"] = made
        live[reference] = item
    for name in ("data-a", "data-b"):
        reference, item = _item("v1", "PersistentVolumeClaim", SPACE, name, spec={}, status={"phase": "Bound"})
        live[reference] = item
    proxied = {"initContainers": [{"name": "istio-proxy"}], "containers": [{"name": "c"}]}
    live.update([_item("v1", "Pod", SPACE, "user-service-0", spec=proxied), _certificate(pem(60))])
    return State(expected=_expected(), live=live, now=NOW)


def checks(state: State) -> list[Check]:
    return [
        *objects.checks(state),
        *storage.checks(state),
        *mesh.checks(state),
        *layers.entrance(state),
        *layers.layers(state),
    ]


def findings(state: State) -> list[Finding]:
    return [one for check in checks(state) for one in check.findings]


def find(state: State, kind: str, name: str = "") -> Any:
    """The first object of a kind, or the one with the name."""
    return next(item for ref, item in state.live.items() if ref.kind == kind and name in ("", ref.name))


def removed(kind: str, name: str = "") -> Callable[[State], State]:
    def remove(state: State) -> State:
        gone = next(ref for ref in state.live if ref.kind == kind and name in ("", ref.name))
        return replace(state, live={ref: item for ref, item in state.live.items() if ref != gone})

    return remove


def changed(kind: str, path: str, value: object, name: str = "") -> Callable[[State], State]:
    def change(state: State) -> State:
        item: Any = find(state, kind, name)
        *above, last = path.split(".")
        for part in above:
            item = item.setdefault(part, {})
        item[last] = value
        return state

    return change


def added(*item: Any, **more: Any) -> Callable[[State], State]:
    def add(state: State) -> State:
        return replace(state, live={**state.live, **dict([_item(*item, **more)])})

    return add


def certified(text: str) -> Callable[[State], State]:
    return lambda state: replace(state, live={**state.live, **dict([_certificate(text)])})


_ISTIO = "security.istio.io/v1"
_OPEN = [{"from": [{"source": {"notNamespaces": ["x"]}}]}]
_OF_PROXY = "see whether the controller runs"
BROKEN: list[tuple[str, Callable[[State], State], str, str, str, Status]] = [
    ("mTLS is loosened", changed("PeerAuthentication", "spec.mtls.mode", "PERMISSIVE"),
     "mTLS is strict", "mtls.mode is PERMISSIVE instead of STRICT", "cloudmart up", Status.FAIL),
    ("mTLS is gone", removed("PeerAuthentication"),
     "mTLS is strict", "callers without a certificate may be let in", "cloudmart up", Status.FAIL),
    ("mTLS is loosened beside",
     added(_ISTIO, "PeerAuthentication", SPACE, "plain", spec={"mtls": {"mode": "DISABLE"}}),
     "mTLS is strict", "mtls.mode DISABLE: plain connections", "delete peerauthentication", Status.FAIL),
    ("a port takes plain connections",
     added(_ISTIO, "PeerAuthentication", SPACE, "port", spec={"portLevelMtls": {"8080": {"mode": "PERMISSIVE"}}}),
     "mTLS is strict", "portLevelMtls.8080.mode PERMISSIVE", "delete peerauthentication", Status.FAIL),
    ("authorization is widened", changed("AuthorizationPolicy", "spec.rules", _OPEN),
     "authorization is in place", "says not what is declared", "cloudmart up", Status.FAIL),
    ("authorization is gone", removed("AuthorizationPolicy"),
     "authorization is in place", "is not there", "cloudmart up", Status.FAIL),
    ("authorization is widened beside", added(_ISTIO, "AuthorizationPolicy", SPACE, "all", spec={"rules": [{}]}),
     "authorization is in place", "lets in whom the declared ones do not", "delete authorizationpolicy", Status.FAIL),
    ("a pod without a proxy", changed("Pod", "spec.initContainers", []),
     "a proxy in every pod", "it has no proxy", "delete", Status.FAIL),
    ("a gateway that is not programmed",
     changed("Gateway", "status", _said("Programmed", "False", message="no address")),
     "gateway and routes are accepted", "Programmed is False: no address", "describe gateway", Status.FAIL),
    ("a listener without its certificate",
     changed("Gateway", "status", {"listeners": [{"name": "https", **_said("ResolvedRefs", "False", reason="R")}]}),
     "gateway and routes are accepted", "ResolvedRefs is False for listener https: R", "describe", Status.FAIL),
    ("a route that nobody takes",
     changed("HTTPRoute", "status", {"parents": [{"parentRef": {"name": "g"}, **_said("Accepted", "False")}]}),
     "gateway and routes are accepted", "Accepted is False at g", "describe httproute", Status.FAIL),
    ("a gateway without a controller", changed("Gateway", "status", {}),
     "gateway and routes are accepted", "its controller has said nothing", _OF_PROXY, Status.FAIL),
    ("a certificate that has ended", certified(pem(-1)),
     "certificates are valid", "expired on 2026-11-27", "renew it", Status.FAIL),
    ("a certificate that is renewed late", certified(pem(20)),
     "certificates are valid", "expires on 2026-12-18", "renew it", Status.WARN),
    ("no certificate", removed("Secret", "gateway-certificate"),
     "certificates are valid", "is not there; Gateway", "put the certificate there", Status.FAIL),
    ("no certificate in its Secret", certified("-----BEGIN PRIVATE KEY-----"),
     "certificates are valid", "no certificate in PEM", "put a certificate there", Status.FAIL),
    ("a certificate that cannot be issued",
     added("cert-manager.io/v1", "Certificate", "gateway", "c", spec={"secretName": "gateway-certificate"},
           status=_said("Ready", "False", message="order failed")),
     "certificates are valid", "cert-manager: order failed", "describe certificate", Status.WARN),
    ("a chart that has made nothing", removed("Deployment", "of-istiod"),
     "charts are installed", "nothing that it makes is there", "cloudmart up", Status.FAIL),
    ("a store that is not ready", changed("Cluster", "status", _said("Ready", "False", message="no primary")),
     "operators call them ready", "Ready is False: no primary", "describe cluster", Status.FAIL),
    ("a backup that stands still", changed("Cluster", "status", _said("ContinuousArchiving", "False", message="S3")),
     "operators call them ready", "ContinuousArchiving is False: S3", "describe cluster", Status.FAIL),
    ("a store without its operator", changed("Kafka", "status", {}),
     "operators call them ready", "its controller has said nothing", _OF_PROXY, Status.FAIL),
    ("a topic that its operator warns of", changed("KafkaTopic", "status", _said("Warning", "True", message="w")),
     "operators call them ready", "Warning is True: w", "describe kafkatopic", Status.WARN),
    ("a database that is not applied", changed("Database", "status", {"applied": False, "message": "no owner"}),
     "operators call them ready", "is not applied: no owner", "describe database", Status.FAIL),
    ("a constraint that is not enforced",
     changed("CloudmartProbes", "status", {"byPod": [{"errors": [{"message": "no template"}]}]}),
     "custom resources are in order", "is not enforced: no template", "describe cloudmartprobes", Status.FAIL),
    ("Argo CD is out of sync",
     changed("Application", "status.sync", {"status": "OutOfSync"}),
     "Argo CD is in sync and healthy", "is OutOfSync", "argocd app diff", Status.FAIL),
    ("Argo CD sees something unhealthy", changed("Application", "status.health", {"status": "Degraded"}),
     "Argo CD is in sync and healthy", "health is Degraded: no message", "mend what", Status.FAIL),
    ("Argo CD cannot read", changed("Application", "status.conditions", [{"type": "ComparisonError", "message": "m"}]),
     "Argo CD is in sync and healthy", "ComparisonError: m", "argocd app diff", Status.FAIL),
    ("a claim whose volume is gone", changed("PersistentVolumeClaim", "status.phase", "Lost"),
     "bound", "its volume is gone", "from a backup", Status.FAIL),
    ("a claim that somebody deletes", changed("PersistentVolumeClaim", "metadata.deletionTimestamp", "2026-11-28"),
     "bound", "it goes with its data", "save the data", Status.FAIL),
    ("a claim that waits for its pod to grow",
     changed("PersistentVolumeClaim", "status.conditions", [{"type": "FileSystemResizePending", "status": "True"}]),
     "bound", "FileSystemResizePending", "restart what mounts it", Status.WARN),
]  # fmt: skip


def test_healthy_layers_fail_and_warn_of_nothing_and_none_is_skipped() -> None:
    assert findings(healthy()) == []
    assert [check.name for check in checks(healthy()) if check.status is not Status.PASS] == []


@pytest.mark.parametrize(("change", "name", "seen", "mend", "status"), [one[1:] for one in BROKEN],
                         ids=[one[0] for one in BROKEN])  # fmt: skip
def test_what_is_broken_in_a_layer_is_told_with_its_mend(
    change: Callable[[State], State], name: str, seen: str, mend: str, status: Status
) -> None:
    state = change(healthy())
    (check,) = [check for check in checks(state) if check.name == name]
    told = [one for one in check.findings if seen in one.seen]
    assert told, check
    assert told[0].status is status
    assert all(word in told[0].mend for word in mend.split()), told[0].mend


def test_what_drift_finds_is_told_unless_it_is_of_something_else() -> None:
    state = healthy()
    service = next(ref for ref in state.live if ref.kind == "Service" and ref in state.expected.objects)
    gone = next(ref for ref in state.live if ref.kind == "NetworkPolicy")

    def drifted(kind: finding.Kind, reference: Reference, path: str) -> finding.Finding:
        return finding.Finding(kind=kind, object=reference, path=path, declared="a", live="b", by="me", mend="m")

    found = [
        drifted(finding.Kind.CHANGED, service, "spec.type"),
        drifted(finding.Kind.ADDED, service, "spec.externalIPs"),
        # Told as lost labels, as a missing object, and by nobody: it is not of this stack.
        drifted(finding.Kind.CHANGED, service, "metadata.labels.team"),
        drifted(finding.Kind.MISSING, gone, ""),
        drifted(finding.Kind.UNEXPECTED, Reference("v1", "Pod", SPACE, "p"), ""),
    ]
    state = replace(removed("NetworkPolicy", gone.name)(state), drift=found)
    (check,) = [check for check in objects.checks(state) if check.name == "as declared"]
    told = [(one.subject, one.seen, one.status, one.mend) for one in check.findings]
    assert told == [
        (service.label, "changed: spec.type: declared a, live b by me", Status.FAIL, "m"),
        (service.label, "added: spec.externalIPs: b by me", Status.WARN, "m"),
    ]


@pytest.mark.parametrize(
    ("kind", "path", "status"),
    [
        ("Deployment", "spec.template.spec.containers[name=miner]", Status.FAIL),
        ("Deployment", "spec.template.spec.initContainers[name=miner]", Status.FAIL),
        ("Pod", "spec.ephemeralContainers[name=miner]", Status.FAIL),
        ("Deployment", "spec.template.spec.containers[name=web].env[name=DEBUG]", Status.WARN),
        ("Deployment", "spec.template.spec.volumes[name=more]", Status.WARN),
    ],
)
def test_a_container_that_somebody_added_fails_where_another_field_only_warns(
    kind: str, path: str, status: Status
) -> None:
    state = healthy()
    reference = next(ref for ref in state.live if ref.kind == kind and ref.namespace == SPACE)
    added = finding.Finding(
        kind=finding.Kind.ADDED, object=reference, path=path, live="{...}", by="kubectl-edit", mend="m"
    )
    (check,) = [one for one in objects.checks(replace(state, drift=[added])) if one.name == "as declared"]
    assert [(one.subject, one.status) for one in check.findings] == [(reference.label, status)]


def test_who_may_not_compare_fields_is_told_so_and_not_that_all_is_well() -> None:
    state = replace(healthy(), drift_refused="Service shop/a: is forbidden")
    (check,) = [check for check in objects.checks(state) if check.name == "as declared"]
    assert (check.status, check.seen) == (Status.SKIPPED, "this user may not compare: Service shop/a: is forbidden")


def _day(cost: float, *, rows: bool = True) -> costs.Told:
    fields = {
        name: 0.0 for name, field in actual.Row.__dataclass_fields__.items() if field.default is field.default_factory
    }
    row = actual.Row(**{**fields, "name": SPACE, "cost": cost, "pods": 20.0})  # type: ignore[arg-type]
    found = actual.Report(
        window=Window(start=NOW - timedelta(days=1), end=NOW),
        covered_minutes=1440,
        source="Kubecost 3.x",
        by="namespace",
        rows=[row] if rows else [],
        total=row,
        idle_cost=None,
        namespaces=[],
        pods=[],
        over_provisioned=[],
        notes=[],
    )
    return costs.Told(found)


def test_an_address_that_the_user_names_and_nobody_answers_at_fails_where_no_kubecost_is_declared() -> None:
    told = costs.ask(healthy().expected.target.kubectl, SPACE, costs.at("http://127.0.0.1:9"))
    outputs = {name: value for name, value in healthy().expected.recording.outputs.items() if name != "kubecostUrl"}
    recording = replace(healthy().expected.recording, outputs=outputs)
    first, second = costs.checks(replace(healthy(), expected=replace(healthy().expected, recording=recording)), told)
    assert (first.status, second.status) == (Status.FAIL, Status.SKIPPED)
    assert "http://127.0.0.1:9: cannot be reached" in first.findings[0].seen
    assert "--url" in first.findings[0].mend


@pytest.mark.parametrize(
    ("told", "statuses", "seen", "mend"),
    [
        (_day(9.0), (Status.PASS, Status.PASS), "", ""),
        (costs.Told(refused="no answer"), (Status.FAIL, Status.SKIPPED), "no answer", "--url"),
        (_day(0.0, rows=False), (Status.WARN, Status.SKIPPED), "no allocations", "25 minutes"),
        (_day(900.0), (Status.PASS, Status.WARN), "more than the estimate", "cloudmart cost --stack prod"),
    ],
    ids=["as estimated", "nobody answers", "knows nothing of us", "costs far more than estimated"],
)
def test_a_cost_is_judged_by_what_kubecost_says(
    told: costs.Told, statuses: tuple[Status, Status], seen: str, mend: str
) -> None:
    found = list(costs.checks(healthy(), told))
    assert tuple(check.status for check in found) == statuses
    said = [one for check in found for one in check.findings]
    assert bool(said) is bool(seen)
    for one in said:
        assert seen in one.seen
        assert mend in one.mend
