"""A small shop whose catalog is edited at random, by seed: each edit is one that a team makes."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

Json = Any

#: What services may be called; each needs only what stands before it.
NAMES = ("accounts", "search", "baskets", "billing", "mail")
STORES = ("postgres", "redis")


def catalog(random: Random) -> Json:
    """Two or three services and two stores with a password and a claim each; no charts, so that a run takes seconds."""
    chosen = sorted(random.sample(range(len(NAMES)), random.choice((2, 3))))
    found: Json = {
        "project": "cloudmart",
        "cluster": {"kubernetesVersion": "1.36"},
        "namespace": {"name": "cloudmart", "team": "platform", "costCenter": "CC-1"},
        "costCenters": {"CC-1": {"name": "Shop", "owner": "platform"}, "CC-2": {"name": "Tools", "owner": "platform"}},
        "placeholderImage": {"repository": "docker.io/nginxinc/nginx-unprivileged", "tag": "1.30.4"},
        "services": {},
        "data": {store: {} for store in STORES},
        "kubecost": {"enabled": False},
    }
    for number in chosen:
        _add(found["services"], NAMES[number], random)
    return found


def edit(found: Json, random: Random) -> list[str]:
    """Changes a catalog in one to three ways; what was done."""
    done = []
    for _ in range(random.randint(1, 3)):
        services: Json = found["services"]
        name = random.choice(sorted(services))
        service = services[name]
        missing = [name for name in NAMES if name not in services]
        what = random.choice(("add", "remove", "needs", "replicas", "image", "env", "size", "label"))
        if what == "add" and missing:
            name = random.choice(missing)
            _add(services, name, random)
        elif what == "remove" and len(services) > 1:
            del services[name]
            for other in services.values():
                other["needs"] = [need for need in other["needs"] if need != name]
        elif what == "needs":
            service["needs"] = _needs(services, name, random)
        elif what == "replicas":
            _scale(service, random)
        elif what == "image":
            service["image"] = {"repository": f"docker.io/library/{name}", "tag": f"{random.randint(1, 9)}.0"}
        elif what == "env":
            service["env"] = {f"FEATURE_{random.choice('XYZ')}": str(random.randint(0, 99))}
        elif what == "size":
            service["resources"] = _resources(random)
        elif what == "label":
            service["costCenter"] = random.choice(("CC-1", "CC-2"))
        done.append(f"{what} {name}")
    return done


def edited(found: Json, random: Random) -> Json:
    """A copy with edits."""
    another = copy.deepcopy(found)
    edit(another, random)
    return another


def _add(services: Json, name: str, random: Random) -> None:
    service: Json = {
        "description": name,
        "criticality": "standard",
        "traffic": "steady",
        "resources": _resources(random),
        "needs": _needs(services, name, random),
    }
    _scale(service, random)
    services[name] = service


def _needs(services: Json, name: str, random: Random) -> list[str]:
    before = [other for other in NAMES[: NAMES.index(name)] if other in services]
    return random.sample([*before, *STORES], random.randint(0, 2))


def _scale(service: Json, random: Random) -> None:
    service["replicas"] = random.randint(1, 2)  # each replica of a rollout takes five seconds
    service.pop("autoscaling", None)
    if random.random() < 0.5:
        service["autoscaling"] = {"min": service["replicas"], "max": service["replicas"] + 3, "cpu": 70}


def _resources(random: Random) -> Json:
    cpu, memory = random.choice((20, 50, 100)), random.choice((32, 64, 128))
    return {
        "requests": {"cpu": f"{cpu}m", "memory": f"{memory}Mi"},
        "limits": {"cpu": f"{3 * cpu}m", "memory": f"{memory}Mi"},
    }
