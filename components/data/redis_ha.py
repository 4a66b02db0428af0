"""Redis with replicas and failover: the values of chart ``redis-ha``, and who may talk to whom.

A Sentinel beside each replica watches all of them; when most find the master gone they promote a replica. HAProxy asks
each replica what it is, once a second, and sends clients to the master: they know one name and need no Sentinel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs
from pulumi_kubernetes.networking.v1 import (
    NetworkPolicyEgressRuleArgs,
    NetworkPolicyIngressRuleArgs,
    NetworkPolicyPeerArgs,
    NetworkPolicyPortArgs,
    NetworkPolicySpecArgs,
)

from cloudmart.settings import Image, Party
from cloudmart.settings.data import RedisSettings
from components import network
from components.data.cloudnative_pg import OUT_OF_THE_MESH
from components.labels import cost_labels
from components.layer import resources

_SENTINEL = 26379
#: The official image's own user, whose files the claims hold in mode `single` as well.
_USER = 999
_HAPROXY_USER = 99
_SECURITY = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _image(image: Image) -> dict[str, str]:
    """The chart takes a repository and a tag, and joins them with a colon: a digest goes behind the tag."""
    repository, _, rest = image.reference.rpartition("/")
    name, _, tag = rest.partition(":")
    return {"repository": f"{repository}/{name}", "tag": tag}


def redis_ha_values(
    name: str,
    settings: RedisSettings,
    labels: Mapping[str, str],
    *,
    secret: str,
    key: str,
    priority_class: pulumi.Input[str] | None,
    checksum: pulumi.Input[str],
) -> dict[str, Any]:
    """Values of chart ``redis-ha``. The password is `key` of the Secret `secret`."""
    of, metrics = settings.cluster, settings.exporter.enabled
    component = "app.kubernetes.io/component"
    payer, small = cost_labels(labels), resources(of.sentinel)
    about = {**payer, component: labels[component]}
    restart = {"checksum/credentials": checksum}
    values: dict[str, Any] = {
        "nameOverride": name,
        "fullnameOverride": name,
        "global": {"priorityClassName": priority_class or ""},
        "image": _image(settings.image),
        "imagePullSecrets": [{"name": secret} for secret in settings.image.pull_secrets],
        "replicas": of.replicas,
        # The chart writes them into its template as they are: without quotes of its own, `false` would be no text.
        "labels": {**about, **{key: f'"{value}"' for key, value in OUT_OF_THE_MESH.items()}},
        "auth": True,
        "existingSecret": secret,
        "authKey": key,
        "rbac": {"create": False},
        "serviceAccount": {"create": True, "name": name, "automountToken": False},
        "securityContext": {"runAsUser": _USER, "runAsGroup": _USER, "fsGroup": _USER, "runAsNonRoot": True},
        "containerSecurityContext": {**_SECURITY, "runAsUser": _USER},
        "redis": {
            "port": settings.server_port,
            "resources": resources(settings.resources),
            "podAnnotations": restart,
            # The shop's cache may be emptied by its own service.
            "disableCommands": [],
            "config": {
                # The same as in mode `single`: the append-only file is the persistence.
                "appendonly": "yes",
                "appendfsync": "everysec",
                "save": '""',
                "maxmemory": f"{settings.max_memory}mb",
                "maxmemory-policy": settings.eviction.value,
                "tcp-keepalive": 60,
                # A master that has lost its replicas takes no writes, which would be gone once they have a new one.
                "min-replicas-to-write": 1,
                "min-replicas-max-lag": 5,
            },
        },
        "sentinel": {"port": _SENTINEL, "quorum": of.replicas // 2 + 1, "resources": small},
        "splitBrainDetection": {"resources": small},
        "init": {"resources": small},
        # Two replicas on one node would go together.
        "hardAntiAffinity": True,
        "topologySpreadConstraints": {
            "enabled": True,
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "ScheduleAnyway",
        },
        "podDisruptionBudget": {"maxUnavailable": 1},
        "persistentVolume": {
            "enabled": True,
            "size": str(settings.storage.size),
            "storageClass": settings.storage.storage_class,
            "labels": payer,
        },
        "haproxy": {
            "enabled": True,
            "replicas": of.proxy.replicas,
            "image": _image(of.proxy.image),
            "imagePullSecrets": [{"name": secret} for secret in of.proxy.image.pull_secrets],
            "labels": about,
            "resources": resources(of.proxy),
            "init": {"resources": resources(of.proxy)},
            "serviceAccount": {"create": True, "automountToken": False},
            "hardAntiAffinity": False,
            "podDisruptionBudget": {"maxUnavailable": 1},
            "metrics": {"enabled": metrics},
            "podAnnotations": {
                **restart,
                # In the mesh its callers are checked; the replicas behind it are not in the mesh.
                "traffic.sidecar.istio.io/excludeOutboundPorts": f"{settings.server_port},{_SENTINEL}",
            },
            "securityContext": {"runAsUser": _HAPROXY_USER, "fsGroup": _HAPROXY_USER, "runAsNonRoot": True},
            "containerSecurityContext": _SECURITY,
        },
    }
    if metrics:
        exporter = settings.exporter.image
        image = _image(exporter)
        values["exporter"] = {
            "enabled": True,
            "image": image["repository"],
            "tag": image["tag"],
            "port": settings.metrics_port,
            "resources": resources(settings.exporter.resources),
        }
    return values


def replicas_selector(name: str) -> LabelSelectorArgs:
    """The replicas with their Sentinels; not the proxy."""
    return LabelSelectorArgs(match_labels={"app": name, "release": name})


def _ports(*numbers: int) -> list[NetworkPolicyPortArgs]:
    return [port for number in numbers for port in network.tcp(number)]


def proxy_policy(
    name: str,
    settings: RedisSettings,
    callers: Sequence[Party],
    scrapers: Sequence[tuple[Party, int]],
    home: str,
    mesh_ports: Sequence[int] = (),
) -> NetworkPolicySpecArgs:
    """The declared callers come in; what they want is with the replicas."""
    replicas = NetworkPolicyPeerArgs(pod_selector=replicas_selector(name))
    return NetworkPolicySpecArgs(
        pod_selector=LabelSelectorArgs(match_labels=dict(settings.pod_labels(name))),
        policy_types=["Ingress", "Egress"],
        ingress=[
            *network.ingress_from(callers, [settings.server_port, *mesh_ports], home),
            *network.ingress_of_scrapers(scrapers, home),
        ],
        egress=[NetworkPolicyEgressRuleArgs(to=[replicas], ports=_ports(settings.server_port, _SENTINEL))],
    )


def replicas_policy(
    name: str, settings: RedisSettings, scrapers: Sequence[tuple[Party, int]], home: str
) -> NetworkPolicySpecArgs:
    """The replicas among each other, and the proxy; no service."""
    replicas = NetworkPolicyPeerArgs(pod_selector=replicas_selector(name))
    ports = _ports(settings.server_port, _SENTINEL)
    return NetworkPolicySpecArgs(
        pod_selector=replicas_selector(name),
        policy_types=["Ingress", "Egress"],
        ingress=[
            NetworkPolicyIngressRuleArgs(from_=[replicas, network.pods(settings.pod_labels(name))], ports=ports),
            *network.ingress_of_scrapers([(party, settings.metrics_port) for party, _ in scrapers], home),
        ],
        egress=[NetworkPolicyEgressRuleArgs(to=[replicas], ports=ports)],
    )
