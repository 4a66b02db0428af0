"""The rules of the pack, joined. `POLICIES` starts nothing; making a ``PolicyPack`` of it starts a server."""

from __future__ import annotations

from pulumi_policy import Policy

from . import (
    autoscaling,
    budget,
    disruption,
    exposure,
    helm,
    images,
    labels,
    pod_security,
    probes,
    resources,
    secrets,
    stack,
    stateful,
)

# For whoever calls the rules without the engine.
from ._kubernetes import Plain as Plain
from ._kubernetes import plain as plain

POLICIES: list[Policy] = [
    policy
    for topic in (
        resources,
        labels,
        budget,
        images,
        probes,
        pod_security,
        secrets,
        exposure,
        autoscaling,
        disruption,
        helm,
        stateful,
        stack,
    )
    for policy in topic.POLICIES
]
