"""Room: quotas for what may still come, and the nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from cloudmart.cluster.amounts import amount, amounts, of_pod, shown
from cloudmart.cluster.live import Reference
from cloudmart.verify.check import Check, Finding, Stage, Status, count, finding, judged, skipped
from cloudmart.verify.state import Object, State, conditions, reason

#: Nodes are paid for by their size. Over all of them, below a fifth of CPU and of memory used, most of that money buys
#: nothing: fewer or smaller nodes would do.
IDLE_BELOW = Decimal("0.20")
#: On one node, above four fifths there is no room for a burst, and none for the pods of a node that is lost: three
#: nodes that stand in for each other have to stay below two thirds, five below four fifths.
FULL_ABOVE = Decimal("0.80")


def checks(state: State) -> Iterator[Check]:
    """Quotas, nodes, and how much of the nodes is used."""
    yield _quotas(state)
    yield _ready(state)
    yield _usage(state)


# --- quotas -----------------------------------------------------------------------------------------------------------


def _quotas(state: State) -> Check:
    name = "room for a rollout and for every autoscaler at its most"
    told, findings = [], []
    for reference, live in state.found("ResourceQuota"):
        if not _counts_ours(live):
            continue
        namespace = reference.namespace
        status = live.get("status") or {}
        hard, used = amounts(status.get("hard")), amounts(status.get("used"))
        if not hard:
            # The controller counts within seconds of a quota's making.
            findings.append(
                finding(
                    reference.label,
                    "is not counted yet",
                    state.kubectl("get", "quota", namespace=namespace),
                    Status.WARN,
                )
            )
            continue
        share = max(
            ((used.get(item, Decimal(0)) / most, item) for item, most in hard.items() if most and _scarce(item)),
            default=None,
        )
        whose = namespace if reference in state.expected.objects else f"{namespace}/{reference.name}, undeclared,"
        told.append(f"{whose} {share[0]:.0%} of {share[1]}" if share else f"{whose} without CPU or memory")
        findings += _too_small(state, reference, hard, used)
    if not told and not findings:
        return skipped(Stage.QUOTA, name, "no quota is there")
    return judged(Stage.QUOTA, name, f"most used: {', '.join(told)}", findings)


def _counts_ours(quota: Object) -> bool:
    """Whether it counts pods of a service: those run on, have requests, and are of no class that is the cluster's."""
    spec = quota.get("spec") or {}
    return not spec.get("scopeSelector") and set(spec.get("scopes") or ()) <= {"NotTerminating", "NotBestEffort"}


def _scarce(item: str) -> bool:
    # Claims are declared one by one, and their quota is exactly what they take.
    return item.endswith(("pods", "cpu", "memory"))


def _too_small(
    state: State, quota: Reference, hard: Mapping[str, Decimal], used: Mapping[str, Decimal]
) -> Iterator[Finding]:
    namespace, mend = quota.namespace, _mend(state, quota)
    free = {item: most - used.get(item, Decimal(0)) for item, most in hard.items()}
    # A rollout starts a pod of the new version before it ends one of the old.
    largest: dict[str, tuple[Decimal, str]] = {}
    growth: dict[str, Decimal] = {}
    for one, live in state.present("Deployment"):
        if one.reference.namespace != namespace:
            continue
        takes = _pod_of(state, live)
        for item, needed in takes.items():
            largest[item] = max(largest.get(item, (Decimal(0), "")), (needed, one.reference.name))
        more = _more(state, live)
        for item, needed in takes.items():
            growth[item] = growth.get(item, Decimal(0)) + more * needed
    for item in sorted(free.keys() & largest.keys()):
        needed, name = largest[item]
        if needed > free[item]:
            yield finding(
                quota.label,
                f"{item}: {shown(item, used.get(item, Decimal(0)))} of {shown(item, hard[item])} used, no room for one "
                f"more pod of {name} ({shown(item, needed)}): a rollout would be refused",
                mend,
            )
        elif growth[item] > free[item]:
            yield finding(
                quota.label,
                f"{item}: {shown(item, used.get(item, Decimal(0)))} of {shown(item, hard[item])} used, every "
                f"autoscaler at its most would take {shown(item, growth[item])} more",
                mend,
                Status.WARN,
            )


def _mend(state: State, quota: Reference) -> str:
    if quota not in state.expected.objects:
        delete = state.kubectl("delete", "resourcequota", quota.name, namespace=quota.namespace)
        return f"the stack does not declare it: {delete}"
    return (
        f"{state.put_back} puts the declared quota back; where it is the declared one, raise `namespace.headroom` in "
        f"Pulumi.{state.expected.settings.stack}.yaml, or delete what is not declared: "
        + state.kubectl("get", "pods", namespace=quota.namespace)
    )


def _pod_of(state: State, deployment: Object) -> dict[str, Decimal]:
    """What one of its pods takes; of a real one where there is one, as a mesh may have added a proxy."""
    wanted = deployment["spec"]["selector"].get("matchLabels") or {}
    for reference, pod in state.found("Pod"):
        labels = pod["metadata"].get("labels") or {}
        if reference.namespace == deployment["metadata"]["namespace"] and wanted.items() <= labels.items():
            return of_pod(pod["spec"])
    return of_pod(deployment["spec"]["template"]["spec"])


def _more(state: State, deployment: Object) -> int:
    """How many pods its autoscaler may still add."""
    metadata, replicas = deployment["metadata"], deployment["spec"].get("replicas", 1)
    for one, live in state.present("HorizontalPodAutoscaler"):
        target = live["spec"]["scaleTargetRef"]
        if one.reference.namespace == metadata["namespace"] and (target["kind"], target["name"]) == (
            deployment["kind"],
            metadata["name"],
        ):
            return max(int(live["spec"]["maxReplicas"]) - int(replicas), 0)
    return 0


# --- nodes ------------------------------------------------------------------------------------------------------------


def _ready(state: State) -> Check:
    if state.nodes.refused:
        return skipped(Stage.NODES, "ready", f"cannot be read: {state.nodes.refused}")
    findings, ready = [], 0
    for node in state.nodes.items:
        problems = list(_problems(state, node))
        ready += not any(problem.status is Status.FAIL for problem in problems)
        findings += problems
    if not state.nodes.items:
        findings.append(finding("nodes", "there is none", "add a node to the cluster"))
    return judged(Stage.NODES, "ready", f"{ready} of {count(len(state.nodes.items), 'node')}", findings)


def _problems(state: State, node: Object) -> Iterator[Finding]:
    name, found = node["metadata"]["name"], conditions(node)
    describe = state.kubectl("describe", "node", name)
    ready = found.get("Ready")
    if ready is None or ready["status"] != "True":
        yield finding(
            f"Node {name}",
            f"is not ready: {reason(ready) if ready else 'its kubelet has said nothing yet'}",
            f"{describe}; where its machine is gone, take it out: {state.kubectl('delete', 'node', name)}",
        )
    for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"):
        if (condition := found.get(kind)) and condition["status"] == "True":
            yield finding(f"Node {name}", f"{kind}: {reason(condition)}", f"{describe} shows what takes it")
    if node["spec"].get("unschedulable"):
        yield finding(
            f"Node {name}",
            "is cordoned: no new pod goes there",
            f"{state.kubectl('uncordon', name)}, when its maintenance is over",
            Status.WARN,
        )


def _usage(state: State) -> Check:
    name = "usage"
    if state.nodes.refused or not state.nodes.items:
        return skipped(Stage.NODES, name, "the nodes cannot be read" if state.nodes.refused else "there is no node")
    if state.node_usage.refused:
        return judged(
            Stage.NODES,
            name,
            "not known",
            [
                finding(
                    "metrics.k8s.io",
                    f"does not answer: {state.node_usage.refused}",
                    f"metrics come from metrics-server: {state.metrics_server}",
                )
            ],
        )
    used = {one["metadata"]["name"]: one["usage"] for one in state.node_usage.items}
    findings, told = [], []
    totals = {item: [Decimal(0), Decimal(0)] for item in ("cpu", "memory")}
    for node in state.nodes.items:
        node_name, there = node["metadata"]["name"], (node.get("status") or {}).get("allocatable") or {}
        if node_name not in used:
            if conditions(node).get("Ready", {}).get("status") == "True":
                findings.append(
                    finding(
                        f"Node {node_name}",
                        "has no metrics",
                        f"they come within a minute of its start; then {state.kubectl('top', 'nodes')}",
                        Status.WARN,
                    )
                )
            continue
        shares = []
        for item, total in totals.items():
            whole, part = amount(there.get(item, 0)), amount(used[node_name].get(item, 0))
            total[0] += part
            total[1] += whole
            share = part / whole if whole else Decimal(0)
            shares.append(f"{item} {share:.0%}")
            if share > FULL_ABOVE:
                findings.append(
                    finding(
                        f"Node {node_name}",
                        f"{item} {share:.0%} used: no room for a burst or for a lost node's pods",
                        "add a node, or move work: "
                        + state.kubectl("top", "pods", "--all-namespaces", f"--sort-by={item}"),
                        Status.WARN,
                    )
                )
        told.append(f"{node_name} {', '.join(shares)}")
    shares_of_all = [total[0] / total[1] for total in totals.values() if total[1]]
    # The local cluster's nodes have the size that they have, and cost nothing.
    if shares_of_all and max(shares_of_all) < IDLE_BELOW and not state.simulated:
        findings.append(
            finding(
                "nodes",
                f"less than {IDLE_BELOW:.0%} of their CPU and of their memory is used: most of their price "
                "buys nothing",
                "fewer or smaller nodes; `cloudmart rightsize` says what the stack needs",
                Status.WARN,
            )
        )
    return judged(Stage.NODES, name, "; ".join(told) or "not known", findings)
