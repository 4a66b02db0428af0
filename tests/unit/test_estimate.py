"""The monthly estimate: every figure against a calculation by hand at OpenCost's default prices."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cloudmart.errors import UserError
from cloudmart.finops import prices
from cloudmart.finops.estimate import NONE, Estimate, Range, estimate
from cloudmart.preview.recorder import Recorded

CPU = Decimal("0.031611") * 730
"""A core for a month."""
RAM = Decimal("0.004237") * 730
"""A GiB of memory for a month."""
DISK = Decimal("0.00005479452") * 730
"""A GiB of storage for a month."""


def recorded(kind: str, name: str, inputs: dict[str, Any], labels: dict[str, str] | None = None) -> Recorded:
    metadata = {"name": name, "namespace": "shop", "labels": labels or {}}
    return Recorded(
        urn=f"urn:{kind}:{name}",
        type=f"kubernetes:x:{kind}",
        name=name,
        inputs={"apiVersion": "v1", "kind": kind, "metadata": metadata, **inputs},
        parent="",
        custom=True,
    )


def container(cpu: str | None = None, memory: str | None = None, **more: Any) -> dict[str, Any]:
    requests = {k: v for k, v in (("cpu", cpu), ("memory", memory)) if v}
    return {"name": "c", "resources": {"requests": requests}, **more}


def template(*containers: dict[str, Any], labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": labels or {}}, "spec": {"containers": list(containers), **spec}}


def deployment(name: str, pod: dict[str, Any], replicas: int | None = 1) -> Recorded:
    return recorded(
        "Deployment", name, {"spec": {"template": pod} | ({} if replicas is None else {"replicas": replicas})}
    )


def scaler(target: str, least: int | None, most: int, kind: str = "Deployment") -> Recorded:
    spec = {"scaleTargetRef": {"kind": kind, "name": target}, "maxReplicas": most}
    return recorded(
        "HorizontalPodAutoscaler", f"{target}-hpa", {"spec": spec | ({"minReplicas": least} if least else {})}
    )


def claim(size: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "metadata": {"name": "data", "labels": labels or {}},
        "spec": {"resources": {"requests": {"storage": size}}},
    }


def priced(*resources: Recorded, nodes: int | None = None) -> Estimate:
    return estimate(resources, prices.load(), nodes=nodes)


def test_a_deployment_costs_its_requests_times_its_replicas_for_730_hours() -> None:
    result = priced(deployment("web", template(container("100m", "128Mi")), 2))
    assert result.monthly == Range.exactly(2 * (CPU / 10 + RAM / 8))
    assert round(result.monthly.expected, 2) == Decimal("5.39")
    assert [(line.item, line.quantity, line.unit) for line in result.lines] == [
        ("cpu", Decimal("0.1"), "core"),
        ("memory", Decimal("0.125"), "GiB"),
    ]


def test_an_autoscaler_makes_the_range_and_the_declared_replicas_are_expected() -> None:
    pod = template(container("1"))
    result = priced(deployment("web", pod, 3), scaler("web", 2, 8))
    assert result.monthly == Range(2 * CPU, 3 * CPU, 8 * CPU)
    assert priced(deployment("web", pod, None), scaler("web", 2, 8)).monthly.expected == 2 * CPU
    assert priced(deployment("web", pod, 20), scaler("web", None, 8)).monthly == Range(CPU, 8 * CPU, 8 * CPU)


def test_an_autoscaler_of_another_kind_or_name_changes_nothing() -> None:
    pod = template(container("1"))
    others = (scaler("other", 2, 8), scaler("web", 2, 8, kind="StatefulSet"))
    assert priced(deployment("web", pod, 3), *others).monthly == Range.exactly(3 * CPU)


@pytest.mark.parametrize(
    ("init", "cores"),
    [
        ([], "0.3"),
        ([container("200m")], "0.3"),
        ([container("2"), container("1")], "2"),
        ([container("50m", restartPolicy="Always")], "0.35"),
        ([container("100m", restartPolicy="Always"), container("2")], "2.1"),
        ([container("2"), container("100m", restartPolicy="Always")], "2"),
    ],
)
def test_init_containers_count_as_the_scheduler_counts_them(init: list[dict[str, Any]], cores: str) -> None:
    pod = template(container("100m"), container("200m"), initContainers=init)
    assert priced(deployment("web", pod)).lines[0].quantity == Decimal(cores)


def test_a_limit_without_a_request_is_the_request_and_overhead_is_added() -> None:
    pod = template({"name": "c", "resources": {"limits": {"cpu": "1"}}}, overhead={"cpu": "250m"})
    assert priced(deployment("web", pod)).monthly == Range.exactly(CPU * Decimal("1.25"))


def test_requests_of_the_whole_pod_replace_those_of_its_containers() -> None:
    pod = template(container("1"), resources={"requests": {"cpu": "2"}})
    assert priced(deployment("web", pod)).monthly == Range.exactly(2 * CPU)


def test_volumes_of_a_stateful_set_are_paid_for_each_replica() -> None:
    spec = {"replicas": 3, "template": template(container("1")), "volumeClaimTemplates": [claim("10Gi"), claim("1Gi")]}
    result = priced(recorded("StatefulSet", "db", {"spec": spec}))
    assert result.monthly == Range.exactly(3 * (CPU + 11 * DISK))


def test_a_claim_of_its_own_is_paid_once() -> None:
    assert priced(recorded("PersistentVolumeClaim", "c", claim("5Gi"))).monthly == Range.exactly(5 * DISK)


def test_a_daemon_set_is_paid_on_every_node_and_an_assumed_number_is_said() -> None:
    agent = recorded("DaemonSet", "agent", {"spec": {"template": template(container("1"))}})
    known, assumed = priced(agent, nodes=7), priced(agent)
    assert (known.monthly, known.notes) == (Range.exactly(7 * CPU), ())
    assert assumed.monthly == Range.exactly(3 * CPU)
    assert "3 nodes, which is an assumption" in assumed.notes[0]


def test_the_label_nearest_to_the_pod_says_who_pays() -> None:
    namespace = recorded("Namespace", "shop", {"metadata": {"name": "shop", "labels": {"cost-center": "CC-N"}}})
    pod = container("1")
    by_namespace = deployment("a", template(pod))
    by_object = recorded("Deployment", "b", {"spec": {"template": template(pod)}}, {"cost-center": "CC-O", "app": "bb"})
    by_pod = recorded(
        "Deployment",
        "c",
        {"spec": {"template": template(pod, labels={"cost-center": "CC-P", "app": "cc"})}},
        {"cost-center": "CC-O", "app": "bb"},
    )
    result = priced(by_pod, by_object, by_namespace, namespace)
    assert result.by_cost_center == {"CC-N": Range.exactly(CPU), "CC-O": Range.exactly(CPU), "CC-P": Range.exactly(CPU)}
    assert list(result.by_service) == ["a", "bb", "cc"]
    assert result.by_namespace == {"shop": Range.exactly(3 * CPU)}
    assert list(priced(by_namespace).by_cost_center) == [NONE]


def test_groups_add_up_to_the_total() -> None:
    result = priced(
        deployment("a", template(container("1", "1Gi"))),
        deployment("b", template(container("300m", "70M")), 3),
        scaler("b", 1, 9),
        recorded("PersistentVolumeClaim", "c", claim("7Gi", {"cost-center": "X"})),
    )
    for groups in (result.by_service, result.by_cost_center, result.by_namespace):
        assert sum(groups.values(), Range()) == result.monthly


def test_a_helm_release_is_priced_from_its_declared_values_and_says_so() -> None:
    values = {
        "aggregator": {
            "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "8"}},
            "dbStorage": {"storageRequest": "32Gi"},
        },
        "server": {"replicas": 3, "resources": {"requests": {"cpu": "2"}}, "persistentVolume": {"size": "1Gi"}},
        "off": {"enabled": False, "resources": {"requests": {"cpu": "100"}}, "size": "100Gi"},
        "networkCosts": {"enabled": True, "resources": {"requests": {"cpu": "50m"}}},
    }
    release = Recorded(
        urn="urn:r",
        type="kubernetes:helm.sh/v3:Release",
        name="kubecost",
        inputs={"chart": "./charts/kubecost", "namespace": "costs", "values": values},
        parent="",
        custom=True,
    )
    namespace = recorded("Namespace", "costs", {"metadata": {"name": "costs", "labels": {"cost-center": "CC-1"}}})
    result = priced(release, namespace, nodes=4)
    expected = (1 + 6 + 4 * Decimal("0.05")) * CPU + 2 * RAM + (32 + 3) * DISK
    assert result.by_service == {"kubecost": Range.exactly(expected)}
    assert list(result.by_cost_center) == ["CC-1"]
    assert any("from the values declared here" in note for note in result.notes)


def test_what_cannot_be_priced_is_noted_and_not_dropped_in_silence() -> None:
    gpu = {"name": "c", "resources": {"requests": {"cpu": "lots", "nvidia.com/gpu": 1}}}
    notes = priced(
        deployment("ai", template(gpu)),
        recorded("CronJob", "nightly", {}),
        recorded("Service", "edge", {"spec": {"type": "LoadBalancer"}}),
    ).notes
    for part in ("ai: cpu: 'lots'", "nvidia.com/gpu", "ai: requests nothing", "CronJob nightly", "load balancers cost"):
        assert any(part in note for note in notes), part


def test_a_load_balancer_has_its_price_where_the_book_gives_one(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    text = prices.DEFAULT.read_text().replace('loadBalancer: "0"', 'loadBalancer: "0.025"')
    file.write_text(text)
    balancer = recorded("Service", "edge", {"spec": {"type": "LoadBalancer"}})
    assert estimate([balancer], prices.load(file)).monthly == Range.exactly(Decimal("18.25"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('cpu: "0.031611"', 'cpu: "-1"', r"ours.yaml: hourly.cpu: .*found '-1'"),
        ('cpu: "0.031611"', 'gpu: "1"', r"hourly.gpu"),
        ("currency: USD", "currency: dollars", r"currency: .*'dollars'"),
        ("hourly:", "hourly: [", r"not valid YAML"),
    ],
)
def test_a_bad_price_book_is_an_error_that_names_the_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text(prices.DEFAULT.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        prices.load(file)


@pytest.mark.parametrize(
    ("namespace_labels", "pod_labels", "annotations", "cores"),
    [
        ({"istio-injection": "enabled"}, {}, {}, "0.2"),
        ({"istio.io/rev": "stable"}, {}, {}, "0.2"),
        ({"istio.io/rev": "stable", "istio-injection": "disabled"}, {}, {}, "0.1"),
        ({"istio-injection": "enabled"}, {"sidecar.istio.io/inject": "false"}, {}, "0.1"),
        ({}, {"sidecar.istio.io/inject": "true"}, {}, "0.2"),
        ({"istio-injection": "enabled"}, {}, {"sidecar.istio.io/proxyCPU": "250m"}, "0.35"),
        ({"istio-injection": "enabled"}, {}, {"sidecar.istio.io/proxyMemory": "1Gi"}, "0.1"),
        ({"istio.io/dataplane-mode": "ambient"}, {}, {}, "0.1"),
        ({}, {}, {}, "0.1"),
    ],
)
def test_the_proxy_of_a_mesh_is_paid_where_the_injector_adds_one(
    namespace_labels: dict[str, str], pod_labels: dict[str, str], annotations: dict[str, str], cores: str
) -> None:
    space = recorded("Namespace", "shop", {"metadata": {"name": "shop", "labels": namespace_labels}})
    pod = template(container("100m"), labels=pod_labels)
    pod["metadata"]["annotations"] = annotations
    total = priced(space, deployment("web", pod))
    assert sum(line.quantity for line in total.lines if line.item == "cpu") == Decimal(cores)


def test_a_pod_on_the_hosts_network_gets_no_proxy() -> None:
    pod = template(container("100m"), labels={"sidecar.istio.io/inject": "true"}, hostNetwork=True)
    assert [line.quantity for line in priced(deployment("web", pod)).lines] == [Decimal("0.1")]


@pytest.mark.parametrize(("namespace_labels", "proxies"), [({"istio-injection": "enabled"}, 3), ({}, 0)])
def test_the_proxies_of_a_charts_pods_are_paid_where_only_its_values_are_known(
    namespace_labels: dict[str, str], proxies: int
) -> None:
    """One a pod, wherever in the values a number of pods stands; none where the part is off."""
    space = recorded("Namespace", "edge", {"metadata": {"name": "edge", "labels": namespace_labels}})
    values = {
        "controller": {"replicaCount": 1, "ingressController": {"resources": {"requests": {"cpu": "100m"}}}},
        "gateway": {"replicaCount": 2, "resources": {"requests": {"cpu": "150m"}}, "manager": {"enabled": False}},
        "waf": {"enabled": False, "replicaCount": 9},
    }
    inputs = {"chart": "ingress", "namespace": "edge", "values": values}
    total = priced(space, Recorded("urn:kong", "kubernetes:helm.sh/v3:Release", "kong", inputs, parent="", custom=True))
    assert sum(line.quantity * line.count.max for line in total.lines if line.item == "cpu") == (
        Decimal("0.4") + proxies * Decimal("0.1")
    )
