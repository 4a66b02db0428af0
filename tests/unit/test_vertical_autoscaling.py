"""The VPA layer: recommendations for every workload, and nothing that changes a pod."""

from __future__ import annotations

from functools import lru_cache

import pytest

from cloudmart.preview.recorder import Recorded, Recording, record
from cloudmart.settings.vertical_autoscaling import VerticalAutoscalingSettings
from components.vertical_autoscaling import values

STACKS = ("dev", "prod")
LABELS = {"app": "x", "project": "shop", "team": "core", "cost-center": "CC-1"}


@lru_cache
def recorded(stack: str, *, on: bool) -> Recording:
    return record(stack, overrides={"cloudmart:verticalAutoscaling": {"enabled": on}})


def of_kind(recording: Recording, kind: str) -> dict[str, Recorded]:
    return {str(r.object_name): r for r in recording.resources if r.is_kubernetes_object and r.kind == kind}


@pytest.mark.slow
@pytest.mark.parametrize("stack", STACKS)
def test_every_deployment_and_stateful_set_of_ours_gets_a_recommendation_and_none_is_applied(stack: str) -> None:
    recording = recorded(stack, on=True)
    workloads = {(kind, name) for kind in ("Deployment", "StatefulSet") for name in of_kind(recording, kind)}
    found = of_kind(recording, "VerticalPodAutoscaler")
    targets = {(vpa.inputs["spec"]["targetRef"]["kind"], name) for name, vpa in found.items()}
    assert targets == workloads
    for name, vpa in found.items():
        spec = vpa.inputs["spec"]
        assert vpa.api_version == "autoscaling.k8s.io/v1"
        assert spec["targetRef"] == {"apiVersion": "apps/v1", "kind": spec["targetRef"]["kind"], "name": name}
        assert spec["updatePolicy"] == {"updateMode": "Off"}


@pytest.mark.parametrize("stack", STACKS)
def test_the_kind_is_there_before_its_objects(stack: str) -> None:
    recording = recorded(stack, on=True)
    (release,) = (r for r in recording.resources if r.type.endswith(":Release") and r.name == "vpa")
    for vpa in of_kind(recording, "VerticalPodAutoscaler").values():
        assert release.urn in vpa.dependencies


@pytest.mark.slow
@pytest.mark.parametrize("stack", STACKS)
def test_off_it_leaves_no_trace(stack: str) -> None:
    off = recorded(stack, on=False).resources
    assert "VerticalPodAutoscaler" not in {r.kind for r in off}
    assert "vertical-pod-autoscaler" not in str([(r.urn, r.inputs) for r in off])


def test_the_parts_of_the_chart_that_change_pods_are_off() -> None:
    made = values(VerticalAutoscalingSettings(), LABELS)
    assert made["admissionController"] == {"enabled": False}
    assert made["updater"] == {"enabled": False}


def test_the_recommender_has_its_resources_and_says_who_pays() -> None:
    made = values(VerticalAutoscalingSettings(), LABELS)["recommender"]
    assert made["resources"] == {
        "requests": {"cpu": "50m", "memory": "256Mi"},
        "limits": {"cpu": "200m", "memory": "512Mi"},
    }
    assert made["podLabels"] == {"project": "shop", "team": "core", "cost-center": "CC-1"}


def test_a_small_service_can_be_told_to_be_small() -> None:
    settings = VerticalAutoscalingSettings.model_validate({"smallest": {"cpu": "5m", "memory": "16Mi"}})
    assert values(settings, LABELS)["recommender"]["extraArgs"] == [
        "--pod-recommendation-min-cpu-millicores=5",
        "--pod-recommendation-min-memory-mb=16",
    ]


@pytest.mark.parametrize(("replicas", "guarded"), [(1, False), (2, True)])
def test_a_disruption_budget_is_there_only_where_it_leaves_room_for_a_drain(replicas: int, guarded: bool) -> None:
    settings = VerticalAutoscalingSettings.model_validate({"recommender": {"replicas": replicas}})
    assert values(settings, LABELS)["recommender"]["podDisruptionBudget"] == {"enabled": guarded}
