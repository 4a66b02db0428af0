"""Whatever catalog is valid renders objects that are valid, that the policies pass, and that do not clash."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cloudmart.finops import prices
from cloudmart.preview.recorder import HOME, Recording, record
from cloudmart.preview.run import examine, read_policy_config
from cloudmart.settings import Settings, load
from tests.property.strategies import STORES, catalogs

#: But for what is asked of the stores' options: the catalog says whether they are protected.
PRODUCTION = {**read_policy_config("prod", HOME), "data-protected": "disabled"}
#: What stores outside the cluster need; nobody decrypts them here.
PASSWORDS = {f"cloudmart:{store}Password": {"secure": "v1:none"} for store in STORES}
BOOK = prices.load(prices.DEFAULT)

valid = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)


def declare(root: Path, catalog: dict[str, Any]) -> None:
    """Writes the catalog of a project with the one stack `any`, beside the real program."""
    # JSON is YAML in which every text is quoted.
    (root / "catalog.yaml").write_text(json.dumps(catalog, ensure_ascii=False, indent=1), encoding="utf-8")
    (root / "Pulumi.any.yaml").write_text(json.dumps({"config": PASSWORDS}), encoding="utf-8")
    for name in ("__main__.py", "Pulumi.yaml", "components", "policy"):
        if not (root / name).exists():
            (root / name).symlink_to(HOME / name)


def clashes(recording: Recording) -> list[object]:
    """Objects that would be one and the same in the cluster."""
    objects = [r for r in recording.resources if r.is_kubernetes_object]
    count = Counter((r.api_version, r.kind, r.namespace, r.object_name) for r in objects)
    return [key for key, times in count.items() if times > 1]


def duplicate_variables(recording: Recording) -> list[tuple[str, str]]:
    """Environment variables that a container has twice, which server-side apply refuses."""
    found = []
    for recorded in recording.resources:
        if recorded.kind in ("Deployment", "StatefulSet"):
            for container in recorded.inputs["spec"]["template"]["spec"]["containers"]:
                count = Counter(variable["name"] for variable in container.get("env", []))
                found += [(recorded.name, name) for name, times in count.items() if times > 1]
    return found


def selected_twice(recording: Recording) -> list[str]:
    """Pods that the selector of more than one workload fits: both would count them as their own."""
    apps = [
        r.inputs["spec"]["selector"]["matchLabels"]["app"]
        for r in recording.resources
        if r.kind in ("Deployment", "StatefulSet")
    ]
    return [app for app, times in Counter(apps).items() if times > 1]


def shows_every_service(recording: Recording, declared: Settings) -> bool:
    deployments = {r.object_name: r for r in recording.resources if r.kind == "Deployment"}
    autoscalers = {r.object_name for r in recording.resources if r.kind == "HorizontalPodAutoscaler"}
    return set(deployments) == set(declared.services) and autoscalers == {
        f"{name}-hpa" for name, service in declared.services.items() if service.autoscaling
    }


@pytest.mark.slow
@valid
@given(catalog=catalogs())
def test_any_valid_catalog_renders_valid_objects_that_the_policies_pass(
    catalog: dict[str, Any], tmp_path: Path
) -> None:
    declare(tmp_path, catalog)
    declared = load("any", tmp_path)
    recording = record("any", tmp_path)
    result = examine(recording, declared, PRODUCTION, BOOK)
    assert [(error.urn, error.path, error.message) for error in result.errors] == []
    assert [(violation.rule, violation.urn, violation.message) for violation in result.mandatory] == []
    assert clashes(recording) == []
    assert duplicate_variables(recording) == []
    assert selected_twice(recording) == []
    assert shows_every_service(recording, declared)
    assert result.exit_code == 0


@pytest.mark.slow
@settings(valid, max_examples=10)
@given(catalog=catalogs())
def test_recording_a_valid_catalog_twice_gives_the_same(catalog: dict[str, Any], tmp_path: Path) -> None:
    declare(tmp_path, catalog)
    first, second = record("any", tmp_path), record("any", tmp_path)
    assert first.resources == second.resources
    assert first.outputs == second.outputs


@pytest.mark.slow
@settings(valid, max_examples=20)
@given(catalog=catalogs(), data=st.data())
def test_moving_any_value_into_the_stacks_file_changes_nothing(
    catalog: dict[str, Any], data: st.DataObject, tmp_path: Path
) -> None:
    declare(tmp_path, catalog)
    whole = load("any", tmp_path)
    name = data.draw(st.sampled_from(sorted(catalog)))
    top = catalog.pop(name)
    kept: dict[str, Any] = {}
    moved: dict[str, Any] = {}
    for key, value in top.items() if isinstance(top, dict) else ():
        (kept if data.draw(st.booleans()) else moved)[key] = value
    declare(tmp_path, catalog | ({name: kept} if isinstance(top, dict) else {}))
    config = {"config": PASSWORDS | {f"cloudmart:{name}": moved if isinstance(top, dict) else top}}
    (tmp_path / "Pulumi.any.yaml").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
    split = load("any", tmp_path)
    assert split.model_dump() == whole.model_dump()


@pytest.mark.slow
def test_the_strategy_reaches_what_it_is_meant_to_reach() -> None:
    seen: Counter[str] = Counter()

    @settings(valid, max_examples=30, phases=[Phase.generate])
    @given(catalog=catalogs())
    def look(catalog: dict[str, Any]) -> None:
        services = catalog["services"].values()
        seen["many services"] += len(services) >= 4
        seen["edge to a service"] += any(need in catalog["services"] for s in services for need in s.get("needs", ()))
        seen["edge to a store"] += any(need in catalog["data"] for s in services for need in s.get("needs", ()))
        seen["edge to an external"] += any(
            need in catalog["externals"] for s in services for need in s.get("needs", ())
        )
        seen["external store"] += any(store.get("mode") == "external" for store in catalog["data"].values())
        seen["no store"] += not catalog["data"]
        seen["autoscaling"] += any("autoscaling" in s for s in services)
        seen["fixed replicas"] += any("autoscaling" not in s for s in services)
        seen["own image"] += any("image" in s for s in services)
        seen["kubecost"] += catalog["kubecost"]["enabled"]

    look()
    assert all(times >= 3 for times in seen.values()), seen


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["ratio", "registry"])
def test_what_production_forbids_is_a_violation_and_so_outside_the_strategy(tmp_path: Path, fault: str) -> None:
    catalog = yaml.safe_load((HOME / "catalog.yaml").read_text(encoding="utf-8"))
    service = catalog["services"]["user-service"]
    if fault == "ratio":
        service["resources"]["limits"]["memory"] = "8Gi"
    else:
        service["image"] = {"repository": "registry.example.com/shop/user", "tag": "1"}
    declare(tmp_path, catalog)
    result = examine(record("any", tmp_path), load("any", tmp_path), PRODUCTION, BOOK)
    assert {violation.rule for violation in result.mandatory} == {
        {"ratio": "limit-request-ratio", "registry": "image-registries"}[fault]
    }
