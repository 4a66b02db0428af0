"""The VerticalPodAutoscaler, in recommend mode only.

HPAs own the number of pods by the same CPU and memory that a VPA would resize: the two would chase each other. So
nothing here changes a pod: recommendations are for people, and for `cloudmart rightsize`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from cloudmart.settings.vertical_autoscaling import VerticalAutoscalingSettings
from components.custom import CustomObject
from components.labels import Labels, cost_labels
from components.layer import API_SERVER_PORTS, ChartLayer, LayerArgs, layer_labels, resources, to_ports
from components.specs import vpa

RELEASE = "vpa"


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A workload that gets recommendations, and its own labels."""

    kind: Literal["Deployment", "StatefulSet"]
    name: str
    labels: Labels


@dataclass(frozen=True, kw_only=True)
class VerticalAutoscalingArgs(LayerArgs[VerticalAutoscalingSettings]):
    """`home` is the namespace of what is watched."""

    home: pulumi.Input[str]
    watched: Sequence[Watched]


class VerticalAutoscaling(ChartLayer):
    """``cloudmart:vertical_autoscaling:VerticalAutoscaling``

    GuardedNamespace; NetworkPolicy ``allow-api-server``; Helm Release ``vpa``; a VerticalPodAutoscaler for each
    workload, of its name.
    """

    def __init__(self, name: str, args: VerticalAutoscalingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:vertical_autoscaling:VerticalAutoscaling", name, None, opts)
        settings = args.settings
        chart = settings.chart_of("chart")
        labels = layer_labels(
            args.labels, settings, app="vertical-pod-autoscaler", component="autoscaling", version=chart.version
        )
        # Pods and their usage are asked of the API server alone.
        policies = {"allow-api-server": to_ports(API_SERVER_PORTS)}
        self._guard(name, settings, labels, args.cluster, policies)
        release = self._release(RELEASE, settings, chart, values(settings, labels.metadata))
        for workload in args.watched:
            CustomObject(
                f"{workload.name}-vpa",
                vpa.VERTICAL_POD_AUTOSCALER,
                metadata=ObjectMetaArgs(name=workload.name, namespace=args.home, labels=workload.labels.metadata),
                spec=_spec(workload),
                # The release brings the kind.
                opts=pulumi.ResourceOptions(parent=self, depends_on=[release]),
            )
        self.register_outputs({"namespace": self.namespace})


def _spec(workload: Watched) -> vpa.VerticalPodAutoscalerSpec:
    return vpa.VerticalPodAutoscalerSpec(
        target_ref=vpa.TargetRef(api_version="apps/v1", kind=workload.kind, name=workload.name),
        update_policy=vpa.UpdatePolicy(),
        resource_policy=vpa.ResourcePolicy(
            container_policies=[
                vpa.ContainerResourcePolicy(
                    container_name="*",
                    mode="Auto",  # "recommend"; that nobody applies it is the update policy's to say
                    controlled_resources=["cpu", "memory"],
                    controlled_values="RequestsOnly",
                ),
                # The mesh's proxy is sized for the whole mesh at once.
                vpa.ContainerResourcePolicy(container_name="istio-proxy", mode="Off"),
            ]
        ),
    )


def values(settings: VerticalAutoscalingSettings, labels: Mapping[str, str]) -> dict[str, Any]:
    """Values of chart ``vertical-pod-autoscaler``: without the parts that change pods, so without a webhook."""
    smallest, recommender = settings.smallest, settings.recommender
    return {
        "commonLabels": cost_labels(labels),
        "containerSecurityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "admissionController": {"enabled": False},
        "updater": {"enabled": False},
        "recommender": {
            "replicas": recommender.replicas,
            "resources": resources(recommender),
            "podLabels": cost_labels(labels),
            # Of one pod, it would block every drain of its node.
            "podDisruptionBudget": {"enabled": recommender.replicas > 1},
            "extraArgs": [
                f"--pod-recommendation-min-cpu-millicores={float(smallest.cpu.cores * 1000):g}",
                f"--pod-recommendation-min-memory-mb={smallest.memory.bytes / 2**20:g}",
            ],
        },
    }
