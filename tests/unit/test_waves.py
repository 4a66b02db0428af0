"""In which order what is rendered can be made: waves for Argo CD, and the kustomization."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudmart.cluster import toolchain
from cloudmart.preview.recorder import Recorded, Recording, record
from cloudmart.preview.render import KUSTOMIZATION, render
from cloudmart.preview.waves import marks, waves
from cloudmart.settings import stacks
from tests import layers
from tests.conftest import ROOT

WAVE = "argocd.argoproj.io/sync-wave"
OPTIONS = "argocd.argoproj.io/sync-options"

COMBINATIONS = [layers.CORE, *layers.alone(), *layers.everything()]


@cache
def recorded(stack: str, secrets: str = "generated") -> Recording:
    given: dict[str, Any] = {"cloudmart:gitops": {"enabled": True}}
    if secrets == "external":
        given["cloudmart:secrets"] = {"external": {"store": {"name": "vault"}}}
    return record(stack, ROOT, overrides=given)


def objects(recording: Recording) -> list[tuple[int, Recorded]]:
    """Every object that is rendered, with its wave."""
    found = waves(recording)
    return [(found[one.urn], one) for one in recording.resources if one.is_kubernetes_object and not one.secrets]


def of_kind(recording: Recording, *kinds: str) -> set[int]:
    return {wave for wave, one in objects(recording) if one.kind in kinds}


def wrong_way_round(recording: Recording) -> list[tuple[str, str]]:
    """What is not made after all that it depends on in the program, through what is not rendered as well."""
    made = {one.urn: wave for wave, one in objects(recording)}
    by_urn = {one.urn: one for one in recording.resources}

    @cache
    def needed(urn: str) -> frozenset[str]:
        direct = [other for other in by_urn[urn].dependencies if other in by_urn]
        return frozenset(
            target for other in direct for target in ({other} if other in made else needed(other)) if target in made
        )

    return [
        (by_urn[urn].name, by_urn[other].name) for urn in made for other in needed(urn) if not made[other] < made[urn]
    ]


@pytest.mark.parametrize("combination", COMBINATIONS, ids=layers.named)
def test_whatever_layers_are_on_nothing_comes_before_what_it_depends_on(combination: layers.Combination) -> None:
    recording = layers.recorded("prod", combination)
    assert wrong_way_round(recording) == []
    # A store's VPA only recommends.
    data = {
        wave
        for wave, one in objects(recording)
        if one.metadata["labels"]["tier"] == "data" and one.kind != "VerticalPodAutoscaler"
    }
    services = {wave for wave, one in objects(recording) if one.kind == "Deployment"}
    assert max(data) < min(services)


@pytest.mark.parametrize("secrets", ["generated", "external"])
@pytest.mark.parametrize("stack", stacks(ROOT))
def test_ground_then_guards_then_stores_then_services_then_what_looks_at_them(stack: str, secrets: str) -> None:
    recording = recorded(stack, secrets)
    assert wrong_way_round(recording) == []
    stores = of_kind(recording, "StatefulSet", "Cluster", "Kafka", "KafkaUser", "Database")
    order = [
        of_kind(recording, "Namespace", "PriorityClass"),
        of_kind(recording, "ResourceQuota", "NetworkPolicy", "ServiceAccount", "AuthorizationPolicy", "ExternalSecret")
        # The entrance's own are made with it, and nobody waits for them.
        - {wave for wave, one in objects(recording) if one.namespace == "gateway"},
        stores,
        of_kind(recording, "Deployment"),
        of_kind(recording, "HorizontalPodAutoscaler", "VerticalPodAutoscaler", "HTTPRoute", "Gateway"),
    ]
    assert all(order)
    assert [max(earlier) < min(later) for earlier, later in pairwise(order)] == [True] * 4


def test_a_constraint_comes_after_its_template_and_is_not_tried_out_before() -> None:
    recording = recorded("prod")
    found = waves(recording)
    constraints = [one for one in recording.resources if (one.api_version or "").startswith("constraints.")]
    assert constraints
    assert max(of_kind(recording, "ConstraintTemplate")) < min(found[one.urn] for one in constraints)
    assert {marks(one, 12)[OPTIONS] for one in constraints} == {"SkipDryRunOnMissingResource=true"}
    others = [one for one in recording.resources if one not in constraints]
    assert not any(OPTIONS in marks(one, 12) for one in others)


def read(folder: Path) -> tuple[list[str], list[Mapping[str, Any]]]:
    """The files of a kustomization in their order, and their objects."""
    names = yaml.safe_load((folder / KUSTOMIZATION).read_text())["resources"]
    return names, [yaml.safe_load((folder / name).read_text()) for name in names]


@pytest.mark.parametrize("stack", stacks(ROOT))
def test_the_kustomization_lists_every_file_once_in_the_order_of_the_waves(stack: str, tmp_path: Path) -> None:
    result = render(recorded(stack), tmp_path)
    names, items = read(tmp_path)
    assert sorted(names) == list(result.files)
    made = [int(item["metadata"].get("annotations", {}).get(WAVE, 0)) for item in items]
    assert made == sorted(made)
    assert len(set(made)) > 4


@pytest.mark.slow
@pytest.mark.parametrize("stack", stacks(ROOT))
def test_kustomize_makes_the_same_objects_in_that_order(stack: str, tmp_path: Path) -> None:
    built = toolchain.cache_directory() / "tools" / toolchain.identity() / "bin" / "kubectl"
    kubectl = shutil.which("kubectl") or built
    if not Path(kubectl).is_file():
        pytest.skip("no kubectl on PATH, and none built yet")
    render(recorded(stack), tmp_path)
    done = subprocess.run([kubectl, "kustomize", tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert list(yaml.safe_load_all(done.stdout)) == read(tmp_path)[1]


def test_what_the_program_says_of_waves_has_the_last_word(tmp_path: Path) -> None:
    metadata = {"name": "web", "namespace": "shop", "annotations": {WAVE: "-5", "note": "mine"}}
    inputs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    one = Recorded(
        urn="urn:web", type="kubernetes:core/v1:ConfigMap", name="web", inputs=inputs, parent="", custom=True
    )
    render(Recording("shop", "dev", Path(), [one], {}, {}), tmp_path)
    (item,) = read(tmp_path)[1]
    assert item["metadata"]["annotations"] == {WAVE: "-5", "note": "mine"}
    assert inputs["metadata"] == {"name": "web", "namespace": "shop", "annotations": {WAVE: "-5", "note": "mine"}}
