"""The layers around the shop: charts, what controllers say of their resources, certificates, GitOps."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime, timedelta

from cloudmart.cluster.live import Reference, release_of
from cloudmart.verify.check import Check, Finding, Stage, Status, count, finding, judged, skipped
from cloudmart.verify.resources import judge_all
from cloudmart.verify.state import State, reason
from cloudmart.verify.storage import STORE_GROUPS

#: A certificate of 90 days is renewed when a third is left. With fewer days than this, its renewal has failed for a
#: week, and there is time to mend that.
RENEWAL_LATE = timedelta(days=21)
_ENTRANCE_GROUPS = ("gateway.networking.k8s.io", "configuration.konghq.com")
_BUILT_IN = ("apps", "autoscaling", "batch", "policy")


def entrance(state: State) -> Iterator[Check]:
    """The gateway's own account of itself and of the routes, and what it identifies itself with."""
    found = [one for one in state.expected.objects if one.group in _ENTRANCE_GROUPS]
    if found:
        yield judge_all(state, Stage.ENTRANCE, "gateway and routes are accepted", found)
    else:
        yield skipped(Stage.ENTRANCE, "gateway and routes are accepted", "this stack has no gateway")
    yield _certificates(state)


def layers(state: State) -> Iterator[Check]:
    """What charts install, and the other custom resources."""
    yield _charts(state)
    rest = [
        one
        for one in state.expected.objects
        if one.group
        and one.group not in (*_BUILT_IN, *_ENTRANCE_GROUPS, *STORE_GROUPS, "argoproj.io")
        and (not one.group.endswith(".k8s.io") or one.group == "autoscaling.k8s.io")
    ]
    if rest:
        yield judge_all(state, Stage.LAYERS, "custom resources are in order", rest)
    else:
        yield skipped(Stage.LAYERS, "custom resources are in order", "this stack has no others")
    yield _delivered(state)


def _charts(state: State) -> Check:
    """A release by what it has made: Helm's own record holds the values of every revision, secrets included."""
    name = "charts are installed"
    releases = state.expected.releases
    findings = []
    for release in releases:
        namespace = release.partition("/")[0]
        if namespace in state.lost:
            continue
        made = {release_of(live) for _, live in state.found("Deployment", "StatefulSet", "DaemonSet")}
        if release not in made and _makes_workloads(state, release):
            findings.append(finding(f"release {release}", "nothing that it makes is there", state.put_back))
    if not releases:
        why = "; ".join(state.left_out) or "this stack has none"
        return skipped(Stage.LAYERS, name, why)
    return judged(Stage.LAYERS, name, f"{len(releases) - len(findings)} of {count(len(releases), 'release')}", findings)


def _makes_workloads(state: State, release: str) -> bool:
    # Istio's base is definitions only.
    return not str(state.expected.releases[release].inputs.get("chart", "")).rstrip("/").endswith("base")


def _certificates(state: State) -> Check:
    name = "certificates are valid"
    secrets = dict(_served_with(state))
    if not secrets:
        return skipped(Stage.ENTRANCE, name, "this stack declares none")
    findings, told = [], []
    for reference, user in secrets.items():
        live = state.live.get(reference)
        issued = _issue(state, reference)
        if live is None:
            why = f"; {issued}" if issued else ""
            findings.append(
                finding(
                    reference.label,
                    f"is not there; {user} serves with it{why}",
                    "put the certificate there, or see why its issuer does not: "
                    + state.kubectl("get", "certificate,certificaterequest,order", namespace=reference.namespace),
                )
            )
            continue
        try:
            pem = base64.b64decode((live.get("data") or {}).get("tls.crt") or "", validate=True).decode()
            until = _expires(pem)
        except ValueError as error:
            findings.append(
                finding(reference.label, f"tls.crt: {error}; {user} serves with it", "put a certificate there (PEM)")
            )
            continue
        left = until - state.now
        told.append(f"{reference.name} until {until:%Y-%m-%d}")
        if left <= RENEWAL_LATE:
            over = left <= timedelta(0)
            findings.append(
                finding(
                    reference.label,
                    f"{'expired' if over else 'expires'} on {until:%Y-%m-%d}" + (f"; {issued}" if issued else ""),
                    "renew it; where cert-manager does, see what keeps it: "
                    + state.kubectl("describe", "certificate", namespace=reference.namespace),
                    Status.FAIL if over else Status.WARN,
                )
            )
        elif issued:
            findings.append(
                finding(
                    reference.label,
                    issued,
                    state.kubectl("describe", "certificate", namespace=reference.namespace),
                    Status.WARN,
                )
            )
    return judged(Stage.ENTRANCE, name, ", ".join(told) or "none is there", findings)


def _expires(pem: str) -> datetime:
    """The end of the first certificate's validity: a chain begins with the one that is shown to callers."""
    from cryptography import x509  # only a stack with certificates takes the time to load it

    try:
        return x509.load_pem_x509_certificates(pem.encode())[0].not_valid_after_utc
    except ValueError:
        raise ValueError("no certificate in PEM") from None


def _served_with(state: State) -> Iterator[tuple[Reference, str]]:
    """Secrets with certificates, and who serves with each."""
    for one in state.declared("Gateway", group="gateway.networking.k8s.io"):
        for listener in one.object["spec"].get("listeners") or ():
            for used in (listener.get("tls") or {}).get("certificateRefs") or ():
                namespace = used.get("namespace") or one.reference.namespace
                yield Reference("v1", "Secret", namespace, used["name"]), one.reference.label
    for one in state.declared("Certificate", group="cert-manager.io"):
        yield Reference("v1", "Secret", one.reference.namespace, one.object["spec"]["secretName"]), one.reference.label
    for one in state.declared("Secret"):
        if one.object.get("type") == "kubernetes.io/tls":
            yield one.reference, "this stack"


def _issue(state: State, secret: Reference) -> str:
    """What cert-manager says of the certificate in a Secret, where it is not ready."""
    for reference, live in state.found("Certificate"):
        if reference.namespace == secret.namespace and live["spec"].get("secretName") == secret.name:
            for condition in (live.get("status") or {}).get("conditions") or ():
                if condition["type"] == "Ready" and condition["status"] != "True":
                    return f"cert-manager: {reason(condition)}"
    return ""


def _delivered(state: State) -> Check:
    name = "Argo CD is in sync and healthy"
    declared = list(state.declared("Application", group="argoproj.io"))
    if not declared:
        return skipped(Stage.DELIVERY, name, "GitOps is off in this stack")
    there = [(one.reference, live) for one, live in state.present("Application", group="argoproj.io")]
    if not there:
        return skipped(Stage.DELIVERY, name, "its Application is not there")
    if state.simulated and not any(live.get("status") for _, live in there):
        return skipped(Stage.DELIVERY, name, "pods are simulated here: no Argo CD looks at it")
    findings: list[Finding] = []
    told = []
    for reference, live in there:
        status = live.get("status") or {}
        sync, health = status.get("sync") or {}, status.get("health") or {}
        told.append(f"{sync.get('status', 'unknown')}, {health.get('status', 'unknown')}")
        see = f"argocd app diff {reference.name} shows it, argocd app sync {reference.name} brings it"
        if sync.get("status") != "Synced":
            differing = [one["name"] for one in status.get("resources") or () if one.get("status") == "OutOfSync"]
            which = f": {', '.join(differing[:5])}" if differing else ""
            findings.append(finding(reference.label, f"is {sync.get('status', 'not looked at')}{which}", see))
        if health.get("status") not in ("Healthy", "Progressing"):
            findings.append(
                finding(
                    reference.label,
                    f"health is {health.get('status', 'not known')}: {health.get('message', 'no message')}",
                    "mend what the checks above name",
                )
            )
        findings += [
            finding(reference.label, f"{one['type']}: {one.get('message', '')}", see)
            for one in status.get("conditions") or ()
            if str(one.get("type", "")).endswith("Error")
        ]
    return judged(Stage.DELIVERY, name, "; ".join(told), findings)
