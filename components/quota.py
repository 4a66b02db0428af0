"""What the namespace may use: the services' maxima, what a rollout needs on top, the stores, and headroom."""

from __future__ import annotations

import math
from decimal import Decimal

from cloudmart.settings import Bytes, Cpu, Resources, Service, Settings
from cloudmart.settings.data import Store
from components.microservice import MAX_SURGE_PERCENT

#: Pods that an operator may start by hand beside the declared ones: a shell, a job.
_SPARE_PODS = 5


def _grown(value: Decimal, percent: int) -> Decimal:
    return value * (100 + percent) / 100


def _containers(settings: Settings) -> list[tuple[int, Resources]]:
    """Every container that can run at once: how often at most, and what each takes."""
    found = [(_in_a_rollout(service), service.resources) for service in settings.services.values()]
    for store in _stores(settings):
        found += store.containers
    return found


def _in_a_rollout(service: Service) -> int:
    """How many pods a service has at its maximum, in the middle of a rollout."""
    return service.max_replicas + math.ceil(service.max_replicas * MAX_SURGE_PERCENT / 100)


def _of_the_mesh(settings: Settings, pods: int) -> list[tuple[int, Resources]]:
    """What the mesh adds: a proxy in each of the pods, or in ambient mode those in front of all services, twice while
    they are replaced."""
    mesh = settings.mesh
    if not mesh.enabled:
        return []
    return [(2 * mesh.waypoint.replicas, mesh.waypoint)] if mesh.is_ambient else [(pods, mesh.proxy)]


def _stores(settings: Settings) -> list[Store]:
    data = settings.data
    return [store for store in (data.postgres, data.redis, data.kafka) if store]


def quota(settings: Settings) -> dict[str, str]:
    """``hard`` of the ResourceQuota. Load balancers and node ports are zero: nothing in this namespace is exposed."""
    room = settings.namespace.headroom
    containers = _containers(settings)
    pods = sum(_in_a_rollout(service) for service in settings.services.values())
    pods += sum(store.pods for store in _stores(settings))
    added = _of_the_mesh(settings, pods)
    cpu = {kind: Decimal(0) for kind in ("requests", "limits")}
    memory = dict(cpu)
    for count, resources in [*containers, *added]:
        for kind in cpu:
            cpu[kind] += count * getattr(resources, kind).cpu.cores
            memory[kind] += count * getattr(resources, kind).memory.bytes
    claims = [claim.bytes for store in _stores(settings) for claim in store.claims]
    hard = {f"{kind}.cpu": str(Cpu.of(_grown(cpu[kind], room.cpu_percent))) for kind in cpu}
    hard |= {f"{kind}.memory": str(Bytes.of(_grown(memory[kind], room.memory_percent))) for kind in memory}
    return hard | {
        "pods": str(pods + _SPARE_PODS + sum(count for count, _ in added if settings.mesh.is_ambient)),
        "persistentvolumeclaims": str(len(claims)),
        "requests.storage": str(Bytes.of(sum(claims))),
        "services.loadbalancers": "0",
        "services.nodeports": "0",
    }


def limit_range(settings: Settings) -> dict[str, dict[str, str]]:
    """Per container: what one gets that says nothing (the least that any declares), and the most that one may have."""
    room = settings.namespace.headroom
    declared = [resources for _, resources in _containers(settings)]
    if not declared:
        return {}
    largest = [*declared, *(resources for _, resources in _of_the_mesh(settings, 0))]
    return {
        "default_request": {
            "cpu": str(min(resources.requests.cpu for resources in declared)),
            "memory": str(min(resources.requests.memory for resources in declared)),
        },
        "default": {
            "cpu": str(min(resources.limits.cpu for resources in declared)),
            "memory": str(min(resources.limits.memory for resources in declared)),
        },
        "max": {
            "cpu": str(Cpu.of(_grown(max(resources.limits.cpu.cores for resources in largest), room.cpu_percent))),
            "memory": str(Bytes.of(_grown(Decimal(max(r.limits.memory.bytes for r in largest)), room.memory_percent))),
        },
    }
