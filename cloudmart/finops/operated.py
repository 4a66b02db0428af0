"""What operators make of their own kinds, as the workloads that it amounts to: an estimate can price those.

Only the kinds that this project uses, and of them only what costs money: pods, their requests, and volumes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

_Object = Mapping[str, Any]
#: Objects by kind, namespace and name.
Others = Mapping[tuple[str, str, str], _Object]


def workloads(item: _Object, others: Others) -> Iterator[dict[str, Any]] | None:
    """The StatefulSets and Deployments that an object stands for; None where it is none of these kinds.

    `others` are the objects that it may refer to. What is missing in it is left out, as it would be in a workload.
    """
    group = str(item.get("apiVersion")).partition("/")[0]
    make = _KINDS.get((group, str(item.get("kind"))))
    return make(item, others) if make else None


def _cluster(item: _Object, others: Others) -> Iterator[dict[str, Any]]:
    """CloudNativePG: the instances, each with the container of a plugin that makes backups."""
    spec, metadata = _map(item, "spec"), _map(item, "metadata")
    containers = [("postgres", _map(spec, "resources"))]
    for plugin in _list(spec, "plugins"):
        name = _map(plugin, "parameters").get("barmanObjectName")
        store = others.get(("ObjectStore", str(metadata.get("namespace")), str(name)), {})
        sidecar = _map(_map(store, "spec"), "instanceSidecarConfiguration")
        containers.append((str(plugin.get("name")), _map(sidecar, "resources")))
    volumes = {
        name: volume
        for name, key in (("data", "storage"), ("wal", "walStorage"))
        if (volume := _map(spec, key)).get("size")
    }
    yield _workload(item, spec.get("instances"), containers, volumes, _map(_map(spec, "inheritedMetadata"), "labels"))


def _pooler(item: _Object, _others: Others) -> Iterator[dict[str, Any]]:
    """CloudNativePG: PgBouncer, by its own pod template."""
    spec = _map(item, "spec")
    replicas = spec.get("instances")
    yield {**item, "kind": "Deployment", "spec": {"replicas": replicas, "template": _map(spec, "template")}}


def _node_pool(item: _Object, _others: Others) -> Iterator[dict[str, Any]]:
    """Strimzi: Kafka's nodes."""
    spec = _map(item, "spec")
    volumes = {f"data-{volume.get('id')}": volume for volume in _list(_map(spec, "storage"), "volumes")}
    yield _workload(item, spec.get("replicas"), [("kafka", _map(spec, "resources"))], volumes)


def _kafka(item: _Object, _others: Others) -> Iterator[dict[str, Any]]:
    """Strimzi: the entity operator and the exporter, a pod each; the nodes are in pools."""
    spec = _map(item, "spec")
    entity = _map(spec, "entityOperator")
    operators = [
        (key, _map(_map(entity, key), "resources")) for key in ("topicOperator", "userOperator") if key in entity
    ]
    exporter = _map(spec, "kafkaExporter")
    exporters = [("kafkaExporter", _map(exporter, "resources"))] if "kafkaExporter" in spec else []
    for part, containers in ((entity, operators), (exporter, exporters)):
        if containers:
            labels = _map(_map(_map(_map(part, "template"), "pod"), "metadata"), "labels")
            yield _workload(item, 1, containers, {}, labels)


_KINDS: dict[tuple[str, str], Callable[[_Object, Others], Iterator[dict[str, Any]]]] = {
    ("postgresql.cnpg.io", "Cluster"): _cluster,
    ("postgresql.cnpg.io", "Pooler"): _pooler,
    ("kafka.strimzi.io", "KafkaNodePool"): _node_pool,
    ("kafka.strimzi.io", "Kafka"): _kafka,
}


def _workload(
    item: _Object,
    replicas: Any,
    containers: Iterable[tuple[str, _Object]],
    volumes: Mapping[str, _Object],
    labels: _Object | None = None,
) -> dict[str, Any]:
    """A StatefulSet; `volumes` by name, with `size` and the class under one of the operators' names for it."""
    own = _map(_map(item, "metadata"), "labels")
    return {
        **item,
        "kind": "StatefulSet",
        "spec": {
            "replicas": replicas,
            "template": {
                "metadata": {"labels": {**own, **(labels or {})}},
                "spec": {"containers": [{"name": name, "resources": resources} for name, resources in containers]},
            },
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": name, "labels": own},
                    "spec": {
                        "storageClassName": volume.get("storageClass") or volume.get("class"),
                        "resources": {"requests": {"storage": volume.get("size")}},
                    },
                }
                for name, volume in volumes.items()
            ],
        },
    }


def _map(parent: _Object, key: str) -> _Object:
    value = parent.get(key)
    return value if isinstance(value, Mapping) else {}


def _list(parent: _Object, key: str) -> list[_Object]:
    value = parent.get(key)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
