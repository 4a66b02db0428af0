"""What holds for every object of every stack."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any

from cloudmart.preview.recorder import record
from cloudmart.settings import Bytes, Cpu
from tests.conftest import ROOT
from tests.evaluators.network import matches
from tests.stack.objects import COST, OWN, RECOMMENDED, Stack, single_stores

Json = Any


@single_stores
def test_every_object_pod_template_and_claim_template_has_all_labels(stack: Stack) -> None:
    seen = list(stack.labelled())
    missing = {what: sorted((RECOMMENDED | OWN | COST) - set(labels)) for what, labels in seen}
    assert {what: keys for what, keys in missing.items() if keys} == {}
    assert sum(what.endswith(", pod") for what, _ in seen) == 8
    assert sum(what.endswith(", claim") for what, _ in seen) == 3


def test_every_cost_label_names_a_registered_cost_center(stack: Stack) -> None:
    found = {labels["cost-center"] for _, labels in stack.labelled()}
    assert found
    assert found <= set(stack.settings.cost_centers)


def test_a_pod_has_the_labels_of_its_workload(stack: Stack) -> None:
    for found in stack.objects:
        if found.kind in ("Deployment", "StatefulSet"):
            template = found.inputs["spec"]["template"]["metadata"]["labels"]
            assert template == found.metadata["labels"], found.urn


@single_stores
def test_every_container_is_restricted_and_cannot_write_to_its_image(stack: Stack) -> None:
    checked = 0
    for pod in stack.pods():
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True, pod.workload
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, pod.workload
        assert not {"hostNetwork", "hostPID", "hostIPC"} & {key for key, value in pod.spec.items() if value}
        assert not any("hostPath" in volume for volume in pod.spec.get("volumes", []))
        for container in pod.containers:
            own, where = container["securityContext"], f"{pod.workload}, {container['name']}"
            assert own["allowPrivilegeEscalation"] is False, where
            assert own["capabilities"] == {"drop": ["ALL"]}, where
            assert own["readOnlyRootFilesystem"] is True, where
            assert own.get("privileged", False) is False, where
            assert own.get("runAsNonRoot", True) is True, where
            assert own.get("runAsUser", context.get("runAsUser")) != 0, where
            assert own.get("seccompProfile", context["seccompProfile"]) == {"type": "RuntimeDefault"}, where
            checked += 1
    assert checked >= 9  # five services, three stores, Kafka's init container


def test_no_pod_is_given_a_token_and_each_has_an_account_of_its_own(stack: Stack) -> None:
    accounts = stack.of("ServiceAccount")
    used = Counter(pod.spec["serviceAccountName"] for pod in stack.pods())
    assert set(used) == set(accounts)
    assert set(used.values()) == {1}
    assert all(pod.spec["automountServiceAccountToken"] is False for pod in stack.pods())
    assert all(account["automountServiceAccountToken"] is False for account in accounts.values())


def test_every_container_has_requests_and_limits(stack: Stack) -> None:
    for pod in stack.pods():
        for container in pod.containers:
            for kind in ("requests", "limits"):
                assert set(container["resources"][kind]) == {"cpu", "memory"}, f"{pod.workload}, {container['name']}"


def test_a_scaled_deployment_leaves_its_replicas_to_the_autoscaler(stack: Stack) -> None:
    scaled = {hpa["spec"]["scaleTargetRef"]["name"] for hpa in stack.of("HorizontalPodAutoscaler").values()}
    assert scaled
    for name in stack.of("Deployment"):
        ignored = stack.recorded("Deployment", name).ignore_changes
        assert ("spec.replicas" in ignored) == (name in scaled), name


def test_services_spread_over_zones_and_nodes_and_roll_without_loss(stack: Stack) -> None:
    for name, deployment in stack.of("Deployment").items():
        spec = deployment["spec"]
        pod = spec["template"]["spec"]
        spread = {c["topologyKey"]: c for c in pod["topologySpreadConstraints"]}
        assert set(spread) == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}, name
        for constraint in spread.values():
            assert constraint["maxSkew"] == 1
            assert matches(constraint["labelSelector"], spec["template"]["metadata"]["labels"]), name
        assert spec["strategy"]["type"] == "RollingUpdate"
        assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, name
        # Leave the endpoints first, then finish what is under way.
        (container,) = pod["containers"]
        pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert 0 < pause < pod["terminationGracePeriodSeconds"], name


def test_every_priority_class_that_a_pod_names_exists(stack: Stack) -> None:
    declared = stack.of("PriorityClass")
    named = {pod.workload: pod.spec.get("priorityClassName") for pod in stack.pods()}
    assert None not in named.values()
    assert set(named.values()) <= set(declared)
    value = {name: declared[str(named[name])]["value"] for name in named}
    # An outage of payments is lost revenue; mail can wait.
    assert value["Deployment payment-service"] > value["Deployment user-service"]
    assert value["Deployment user-service"] > value["Deployment notification-service"]
    assert not any(priority.get("globalDefault") for priority in declared.values())


@single_stores
def test_every_service_selects_one_workload_and_a_port_that_it_has(stack: Stack) -> None:
    checked = 0
    for name, service in stack.of("Service").items():
        if service["spec"].get("type") == "ExternalName":
            continue
        selector = {"matchLabels": service["spec"]["selector"]}
        (pod,) = [pod for pod in stack.pods() if matches(selector, pod.labels)]
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in pod.ports, f"{name}: {port['targetPort']}"
        checked += 1
    assert checked >= 11


def test_every_autoscaler_and_disruption_budget_belongs_to_one_workload(stack: Stack) -> None:
    for name, hpa in stack.of("HorizontalPodAutoscaler").items():
        target = hpa["spec"]["scaleTargetRef"]
        assert (target["apiVersion"], target["kind"]) == ("apps/v1", "Deployment"), name
        assert target["name"] in stack.of("Deployment"), name
    budgets = [
        [pod.workload for pod in stack.pods() if matches(budget["spec"]["selector"], pod.labels)]
        for budget in stack.of("PodDisruptionBudget").values()
    ]
    assert sorted(budgets) == sorted([f"Deployment {name}"] for name in stack.of("Deployment"))
    assert all(budget["spec"]["maxUnavailable"] == 1 for budget in stack.of("PodDisruptionBudget").values())


def test_a_workload_selects_its_own_pods_and_nobody_elses(stack: Stack) -> None:
    for found in stack.objects:
        if found.kind in ("Deployment", "StatefulSet"):
            selected = [pod.workload for pod in stack.pods() if matches(found.inputs["spec"]["selector"], pod.labels)]
            assert selected == [f"{found.kind} {found.object_name}"]


def test_everything_that_a_pod_refers_to_is_there(stack: Stack) -> None:
    maps, secrets = stack.of("ConfigMap"), stack.of("Secret")
    checked = 0
    for pod in stack.pods():
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
        (workload,) = [o for o in stack.objects if f"{o.kind} {o.object_name}" == pod.workload]
        volumes |= {claim["metadata"]["name"] for claim in workload.inputs["spec"].get("volumeClaimTemplates", [])}
        sources = [s for v in pod.spec.get("volumes", []) for s in (v, *v.get("projected", {}).get("sources", []))]
        for source in sources:
            if "configMap" in source:
                assert source["configMap"]["name"] in maps, pod.workload
                checked += 1
            if "secret" in source:
                name = source["secret"].get("name") or source["secret"]["secretName"]
                assert {item["key"] for item in source["secret"].get("items", [])} <= set(secrets[name]["stringData"])
        for container in pod.containers:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
            for origin in container.get("envFrom", []):
                assert origin["configMapRef"]["name"] in maps
            for variable in container.get("env", []):
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    assert reference["key"] in secrets[reference["name"]]["stringData"], pod.workload
                    checked += 1
    assert checked > 8


def _sum(containers: list[Json], kind: str, what: str) -> Decimal:
    amounts = [container["resources"][kind][what] for container in containers]
    if what == "cpu":
        return sum((Cpu(amount).cores for amount in amounts), Decimal(0))
    return Decimal(sum(Bytes(amount).bytes for amount in amounts))


def _proxy(stack: Stack, bound: str, what: str) -> Decimal:
    """What the mesh's injector puts beside every container."""
    mesh = stack.settings.mesh
    if not mesh.enabled or mesh.is_ambient:
        return Decimal(0)
    amount = getattr(getattr(mesh.proxy, bound), what)
    return Decimal(amount.cores if what == "cpu" else amount.bytes)


def _needed(stack: Stack, *, surge: bool) -> dict[str, Decimal]:
    """What the namespace uses with every service at its maximum, all of them rolling out at once if `surge`."""
    most = {
        hpa["spec"]["scaleTargetRef"]["name"]: hpa["spec"]["maxReplicas"]
        for hpa in stack.of("HorizontalPodAutoscaler").values()
    }
    total: defaultdict[str, Decimal] = defaultdict(Decimal)
    for kind in ("Deployment", "StatefulSet"):
        for name, workload in stack.of(kind).items():
            spec = workload["spec"]
            count = most.get(name, spec["replicas"]) if kind == "Deployment" else spec["replicas"]
            if surge and kind == "Deployment":
                extra = spec["strategy"]["rollingUpdate"]["maxSurge"]
                # Kubernetes rounds a percentage of surge up.
                count += math.ceil(count * int(extra.rstrip("%")) / 100)
            pod = spec["template"]["spec"]
            for bound in ("requests", "limits"):
                for what in ("cpu", "memory"):
                    amount = max(
                        _sum(pod["containers"], bound, what),
                        *(_sum([init], bound, what) for init in pod.get("initContainers", [])),
                        Decimal(0),
                    )
                    total[f"{bound}.{what}"] += count * (amount + _proxy(stack, bound, what))
            total["pods"] += count
            for claim in spec.get("volumeClaimTemplates", []):
                total["persistentvolumeclaims"] += spec["replicas"]
                total["requests.storage"] += Bytes(claim["spec"]["resources"]["requests"]["storage"]).bytes
    return dict(total)


def _hard(stack: Stack) -> dict[str, Decimal]:
    (quota,) = stack.of("ResourceQuota").values()
    hard = quota["spec"]["hard"]
    return {
        key: Cpu(value).cores
        if key.endswith("cpu")
        else Decimal(Bytes(value).bytes)
        if key.endswith(("memory", "storage"))
        else Decimal(value)
        for key, value in hard.items()
    }


@single_stores
def test_the_quota_holds_every_service_at_its_maximum_in_the_middle_of_a_rollout(stack: Stack) -> None:
    hard, needed = _hard(stack), _needed(stack, surge=True)
    assert {key: (amount, hard[key]) for key, amount in needed.items() if amount > hard[key]} == {}


@single_stores
def test_the_quota_is_no_larger_than_maxima_rollout_and_declared_headroom(stack: Stack) -> None:
    # A quota that allows anything is none.
    hard, needed = _hard(stack), _needed(stack, surge=True)
    room = stack.settings.namespace.headroom
    percent = {"cpu": room.cpu_percent, "memory": room.memory_percent}
    rounding = {"cpu": Decimal("0.001"), "memory": Decimal(2**20)}
    for bound in ("requests", "limits"):
        for what in ("cpu", "memory"):
            key = f"{bound}.{what}"
            assert hard[key] <= needed[key] * (100 + percent[what]) / 100 + rounding[what], key
    assert hard["persistentvolumeclaims"] == needed["persistentvolumeclaims"]
    assert hard["requests.storage"] == needed["requests.storage"]
    assert hard["services.loadbalancers"] == hard["services.nodeports"] == 0


def test_the_limit_range_admits_every_container(stack: Stack) -> None:
    (limits,) = stack.of("LimitRange").values()
    (item,) = limits["spec"]["limits"]
    assert item["type"] == "Container"
    for pod in stack.pods():
        for container in pod.containers:
            amounts = container["resources"]["limits"]
            assert Cpu(amounts["cpu"]) <= Cpu(item["max"]["cpu"]), pod.workload
            assert Bytes(amounts["memory"]) <= Bytes(item["max"]["memory"]), pod.workload
    assert Cpu(item["defaultRequest"]["cpu"]) <= Cpu(item["default"]["cpu"]) <= Cpu(item["max"]["cpu"])
    assert Bytes(item["defaultRequest"]["memory"]) <= Bytes(item["default"]["memory"]) <= Bytes(item["max"]["memory"])


def test_every_child_stands_under_its_component_and_the_chain_leads_to_the_platform(stack: Stack) -> None:
    by_urn = {found.urn: found for found in stack.recording.resources}
    for found in stack.recording.resources:
        if found.type.startswith("pulumi:providers:") or found.type == "cloudmart:platform:Platform":
            assert found.parent.split("::")[2] == "pulumi:pulumi:Stack"
            continue
        parent = by_urn[found.parent]
        assert not parent.custom, found.urn
        assert parent.type.startswith("cloudmart:"), found.urn
        while parent.type != "cloudmart:platform:Platform":
            parent = by_urn[parent.parent]
    for service in stack.settings.services:
        (component,) = [
            r
            for r in stack.recording.resources
            if r.type == "cloudmart:microservice:Microservice" and r.name == service
        ]
        own = {(r.kind, r.object_name) for r in stack.objects if r.parent == component.urn}
        # What recommends its requests is the autoscaling layer's.
        about = {
            (r.kind, r.object_name)
            for r in stack.objects
            if r.metadata["labels"]["app"] == service and r.kind != "VerticalPodAutoscaler"
        }
        assert own == about
        assert len(own) == 8


def test_every_object_goes_to_the_cluster_that_the_stack_names(stack: Stack) -> None:
    (provider,) = [r for r in stack.recording.resources if r.type == "pulumi:providers:kubernetes"]
    used = {r.provider.rsplit("::", 1)[0] for r in stack.recording.resources if r.type.startswith("kubernetes:")}
    assert used == {provider.urn}


def test_urns_and_object_names_are_unique(stack: Stack) -> None:
    urns = Counter(found.urn for found in stack.recording.resources)
    names = Counter((o.api_version, o.kind, o.namespace, o.object_name) for o in stack.objects)
    assert [urn for urn, count in urns.items() if count > 1] == []
    assert [name for name, count in names.items() if count > 1] == []


def test_a_second_run_registers_the_same_in_the_same_order(stack: Stack) -> None:
    again = record(stack.settings.stack, ROOT)
    assert again == stack.recording
    assert [r.secrets for r in again.resources] == [r.secrets for r in stack.recording.resources]


@single_stores
def test_what_holds_data_is_protected_where_the_stack_says_so_and_claims_outlive_it(stack: Stack) -> None:
    data = stack.settings.data
    sets = stack.of("StatefulSet")
    assert set(sets) == {"postgres", "redis", "kafka"}
    for name, workload in sets.items():
        protect = getattr(data, name).protect
        assert stack.recorded("StatefulSet", name).protect is protect
        assert workload["spec"]["persistentVolumeClaimRetentionPolicy"] == {
            "whenDeleted": "Retain",
            "whenScaled": "Retain",
        }
    assert stack.recorded("Namespace", "cloudmart").retain_on_delete is True


def test_outputs_say_where_everything_is(stack: Stack) -> None:
    outputs = stack.recording.outputs
    assert outputs["namespace"] == stack.settings.namespace.name
    assert outputs["serviceUrls"] == {name: f"http://{name}.cloudmart" for name in stack.of("Deployment")}
    assert outputs["hpaRanges"] == {
        hpa["spec"]["scaleTargetRef"]["name"]: {"min": hpa["spec"]["minReplicas"], "max": hpa["spec"]["maxReplicas"]}
        for hpa in stack.of("HorizontalPodAutoscaler").values()
    }
    assert set(outputs["storeEndpoints"]) == {"postgres", "redis", "kafka"}
    assert outputs["storeEndpoints"]["kafka"] == "kafka-service:9092"
    assert outputs["kubecostUrl"].startswith("http://kubecost-frontend.kubecost:9090")
    assert set(outputs["monthlyEstimateInputs"]) == set(stack.settings.services)
