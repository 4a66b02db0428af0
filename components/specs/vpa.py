"""``autoscaling.k8s.io/v1``: VerticalPodAutoscaler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from components.custom import CustomKind, Spec

VERTICAL_POD_AUTOSCALER = CustomKind("autoscaling.k8s.io/v1", "VerticalPodAutoscaler")


@dataclass(frozen=True, kw_only=True)
class TargetRef(Spec):
    """The workload that is watched."""

    api_version: str
    kind: str
    name: str


@dataclass(frozen=True, kw_only=True)
class UpdatePolicy(Spec):
    """What happens with a recommendation; ``Off`` is nothing."""

    update_mode: Literal["Off"] = "Off"


@dataclass(frozen=True, kw_only=True)
class ContainerResourcePolicy(Spec):
    """What is recommended for a container; the name ``*`` is every one that has no policy of its own."""

    container_name: str
    mode: Literal["Auto", "Off"]
    controlled_resources: Sequence[str] | None = None
    controlled_values: Literal["RequestsOnly", "RequestsAndLimits"] | None = None


@dataclass(frozen=True, kw_only=True)
class ResourcePolicy(Spec):
    container_policies: Sequence[ContainerResourcePolicy]


@dataclass(frozen=True, kw_only=True)
class VerticalPodAutoscalerSpec(Spec):
    target_ref: TargetRef
    update_policy: UpdatePolicy
    resource_policy: ResourcePolicy
