"""How a stack's file and the engine's configuration go over the catalog, and where values come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudmart.preview.recorder import HOME
from cloudmart.settings import Bytes, Settings, TargetKind, load, stacks
from cloudmart.settings.show import leaves
from tests.unit.settings_files import CATALOG, MARK, loaded, marked_line, problems, write


def with_stack(root: Path, stack: str) -> Settings:
    return loaded(write(root, stack=stack)).settings


def test_mappings_are_merged_key_by_key_at_every_depth(tmp_path: Path) -> None:
    web = with_stack(
        tmp_path, "config:\n  cloudmart:services:\n    web: {resources: {limits: {memory: 512Mi}}, env: {EXTRA: x}}\n"
    ).services["web"]
    assert str(web.resources.limits.memory) == "512Mi"
    assert str(web.resources.limits.cpu) == "300m"
    assert str(web.resources.requests.memory) == "128Mi"
    assert dict(web.env) == {"LOG_LEVEL": "info", "EXTRA": "x"}


def test_a_stack_can_add_a_service_of_its_own(tmp_path: Path) -> None:
    service = yaml.safe_load(CATALOG)["services"]["api"]
    settings = with_stack(tmp_path, yaml.safe_dump({"config": {"cloudmart:services": {"canary": service}}}))
    assert list(settings.services) == ["web", "api", "canary"]


def test_a_list_is_replaced_and_not_merged(tmp_path: Path) -> None:
    settings = with_stack(tmp_path, "config: {cloudmart:services: {web: {needs: [postgres]}}}\n")
    assert settings.services["web"].needs == ("postgres",)


@pytest.mark.parametrize(
    ("stack", "gone"),
    [
        ("{cloudmart:services: {web: null}}", lambda settings: "web" not in settings.services),
        (
            "{cloudmart:services: {web: {autoscaling: null}}}",
            lambda settings: settings.services["web"].autoscaling is None,
        ),
        ("{cloudmart:services: {web: {env: {LOG_LEVEL: ~}}}}", lambda settings: not settings.services["web"].env),
        (
            "{cloudmart:services: {web: {needs: [api]}}, cloudmart:data: {postgres: }}",
            lambda settings: settings.data.postgres is None,
        ),
        (
            "{cloudmart:services: {web: {autoscaling: {cpu: null, memory: 80}}}}",
            lambda settings: (
                (settings.services["web"].autoscaling.cpu, settings.services["web"].autoscaling.memory) == (None, 80)
            ),
        ),
    ],
)
def test_null_takes_away_what_the_catalog_has(tmp_path: Path, stack: str, gone: Any) -> None:
    assert not gone(loaded(write(tmp_path)).settings)
    assert gone(with_stack(tmp_path, f"config: {stack}\n"))


def test_a_key_that_is_taken_away_and_required_is_an_error_at_the_line_that_took_it(tmp_path: Path) -> None:
    stack = f"config:\n  cloudmart:services:\n    web:\n      replicas: null {MARK}\n"
    assert problems(write(tmp_path, stack=stack)) == [
        f"Pulumi.dev.yaml:{marked_line(stack)}: services.web.replicas: found nothing; allowed: this key is required"
    ]


def test_part_of_a_default_keeps_the_rest_of_that_default(tmp_path: Path) -> None:
    default = loaded(write(tmp_path)).settings.data.postgres
    part = with_stack(
        tmp_path, "config: {cloudmart:data: {postgres: {resources: {limits: {memory: 2Gi}}}}}\n"
    ).data.postgres
    assert default is not None
    assert part is not None
    assert part.resources.limits.memory == Bytes("2Gi")
    assert part.resources.limits.cpu == default.resources.limits.cpu
    assert part.resources.requests == default.resources.requests


def test_other_providers_configuration_is_left_alone(tmp_path: Path) -> None:
    plain = loaded(write(tmp_path)).settings
    assert with_stack(tmp_path, "config: {kubernetes:context: prod, aws:region: eu-west-1}\n") == plain


def test_an_empty_stack_file_changes_nothing(tmp_path: Path) -> None:
    assert with_stack(tmp_path, "") == with_stack(tmp_path, "config:\n") == with_stack(tmp_path, "config: {}\n")


def test_an_encrypted_secret_is_allowed_and_enters_no_setting(tmp_path: Path) -> None:
    settings = with_stack(tmp_path, "config: {cloudmart:postgresPassword: {secure: v1:abc:c2VjcmV0}}\n")
    assert "c2VjcmV0" not in settings.model_dump_json()
    assert settings == loaded(write(tmp_path)).settings


# --- the engine's word ---------------------------------------------------------------------------------------------


def test_the_engines_configuration_wins_over_the_file(tmp_path: Path) -> None:
    root = write(tmp_path, stack="config: {cloudmart:services: {web: {replicas: 3}}}\n")
    found = loaded(root, {"cloudmart:services": json.dumps({"web": {"replicas": 4}})})
    assert found.settings.services["web"].replicas == 4
    assert str(found.origin_of(("services", "web", "replicas"))) == "Pulumi config"


def test_what_the_engine_does_not_say_is_not_this_runs_configuration(tmp_path: Path) -> None:
    root = write(tmp_path, stack="config: {cloudmart:services: {web: {replicas: 3}}}\n")
    assert loaded(root, {"other:key": "1"}).settings.services["web"].replicas == 2


def test_what_the_engine_and_the_file_agree_on_keeps_the_files_line(tmp_path: Path) -> None:
    stack = f"config:\n  cloudmart:services:\n    web:\n      replicas: 3 {MARK}\n"
    found = loaded(write(tmp_path, stack=stack), {"cloudmart:services": json.dumps({"web": {"replicas": 3}})})
    assert str(found.origin_of(("services", "web", "replicas"))) == f"Pulumi.dev.yaml:{marked_line(stack)}"


def test_text_that_reads_as_a_number_stays_text_under_the_engine(tmp_path: Path) -> None:
    root = write(tmp_path, stack='config: {cloudmart:project: "123"}\n')
    assert loaded(root, {"cloudmart:project": "123"}).settings.project == "123"


def test_an_error_in_the_engines_configuration_says_so(tmp_path: Path) -> None:
    config = {"cloudmart:services": json.dumps({"web": {"replicas": "many"}})}
    assert problems(write(tmp_path), config) == [
        "Pulumi config: services.web.replicas: found 'many'; allowed: a valid integer"
    ]


def test_an_unknown_key_of_the_engine_is_an_error(tmp_path: Path) -> None:
    (problem,) = problems(write(tmp_path), {"cloudmart:servics": "{}"})
    assert problem.startswith(
        "Pulumi config: cloudmart:servics: found an unknown key (did you mean 'services'?); allowed: project, cluster,"
    )


def test_the_engine_needs_no_stack_file(tmp_path: Path) -> None:
    (write(tmp_path) / "Pulumi.dev.yaml").unlink()
    assert loaded(tmp_path, {"cloudmart:project": "other"}).settings.project == "other"


# --- origins ---------------------------------------------------------------------------------------------------------


def test_every_value_knows_its_file_and_line(tmp_path: Path) -> None:
    stack = "config:\n  cloudmart:services:\n    web:\n      replicas: 3\n      needs: [api]\n"
    found = loaded(write(tmp_path, stack=stack))
    origins = {path: str(origin) for path, _, origin in leaves(found)}
    lines = CATALOG.splitlines()
    assert origins["services.web.replicas"] == "Pulumi.dev.yaml:4"
    assert origins["services.web.needs[0]"] == "Pulumi.dev.yaml:5"
    assert origins["services.api.needs[0]"] == f"catalog.yaml:{lines.index('    needs: [mail]') + 1}"
    assert origins["services.web.description"] == f"catalog.yaml:{lines.index('    description: Pages') + 1}"
    assert origins["services.web.containerPort"] == "default"
    assert origins["data.postgres.image.repository"] == "default"


def test_a_shorter_list_leaves_no_origin_of_the_longer_one(tmp_path: Path) -> None:
    found = loaded(write(tmp_path, stack="config: {cloudmart:services: {web: {needs: [api]}}}\n"))
    assert ("services", "web", "needs", 1) not in found.origins


def test_what_a_stack_switches_off_comes_from_the_stack(tmp_path: Path) -> None:
    found = loaded(write(tmp_path, stack="config:\n  cloudmart:services:\n    web: {autoscaling: null}\n"))
    origins = {path: str(origin) for path, _, origin in leaves(found)}
    assert origins["services.web.autoscaling"] == "Pulumi.dev.yaml:3"


def test_the_leaves_are_the_whole_tree_and_nothing_else(tmp_path: Path) -> None:
    found = loaded(write(tmp_path))
    paths = [path for path, _, _ in leaves(found)]
    assert len(paths) == len(set(paths))
    assert {path.split(".")[0] for path in paths} == set(found.settings.model_dump(by_alias=True)) - {"stack"}


# --- the tree --------------------------------------------------------------------------------------------------------


def test_the_tree_cannot_be_changed(tmp_path: Path) -> None:
    settings = loaded(write(tmp_path)).settings
    web = settings.services["web"]
    for holder, name in (
        (settings, "project"),
        (web, "replicas"),
        (web.resources.limits, "cpu"),
        (settings.data, "kafka"),
    ):
        with pytest.raises(ValueError, match="frozen"):
            setattr(holder, name, None)
    for mapping in (settings.services, settings.cost_centers, settings.externals, web.env, settings.cluster.dns_labels):
        with pytest.raises(TypeError, match="does not support item"):
            mapping["new"] = None  # type: ignore[index]
        assert not hasattr(mapping, "__delitem__")
    assert isinstance(web.needs, tuple)


def test_edges_say_who_calls_whom_and_what_kind_it_is(tmp_path: Path) -> None:
    settings = loaded(write(tmp_path)).settings
    assert [(edge.caller, edge.target, edge.kind) for edge in settings.edges] == [
        ("web", "api", TargetKind.SERVICE),
        ("web", "postgres", TargetKind.STORE),
        ("api", "mail", TargetKind.EXTERNAL),
    ]
    assert settings.callers_of("api") == ("web",)
    assert settings.callers_of("web") == ()


def test_cost_center_and_team_come_from_the_namespace_unless_a_service_has_its_own(tmp_path: Path) -> None:
    settings = with_stack(tmp_path, "config: {cloudmart:services: {web: {costCenter: CC-2, team: shop}}}\n")
    web, api = settings.services["web"], settings.services["api"]
    assert (settings.cost_center_of(web), settings.team_of(web)) == ("CC-2", "shop")
    assert (settings.cost_center_of(api), settings.team_of(api)) == ("CC-1", "platform")


def test_replicas_range_over_the_autoscaler_or_stay_fixed(tmp_path: Path) -> None:
    settings = loaded(write(tmp_path)).settings
    assert [(s.min_replicas, s.max_replicas) for s in settings.services.values()] == [(1, 4), (1, 1)]


def test_a_needed_store_must_be_switched_off_with_its_edges(tmp_path: Path) -> None:
    stack = "config: {cloudmart:data: {postgres: null}}\n"
    assert "services.web.needs[1]: found 'postgres'" in problems(write(tmp_path, stack=stack))[0]


# --- the repository's own files --------------------------------------------------------------------------------------

#: As the issue gives them: replicas, requests, limits, range, targets, needs.
GIVEN = {
    "user-service": (2, "100m", "128Mi", "300m", "256Mi", 2, 8, 70, 80, ("postgres",)),
    "product-service": (3, "150m", "256Mi", "500m", "512Mi", 2, 10, 70, None, ("redis",)),
    "order-service": (2, "100m", "128Mi", "300m", "256Mi", 1, 6, 70, None, ("kafka", "payment-service")),
}


@pytest.mark.parametrize("stack", stacks(HOME))
@pytest.mark.parametrize("name", GIVEN)
def test_every_stack_declares_the_given_values_of_a_service(stack: str, name: str) -> None:
    service = load(stack, HOME).services[name]
    scaling, resources = service.autoscaling, service.resources
    assert scaling is not None
    assert (
        service.replicas,
        str(resources.requests.cpu),
        str(resources.requests.memory),
        str(resources.limits.cpu),
        str(resources.limits.memory),
        scaling.min,
        scaling.max,
        scaling.cpu,
        scaling.memory,
        service.needs,
    ) == GIVEN[name]
    assert (service.container_port, service.tier, service.version) == (8080, "backend", "v1")
    assert service.liveness.model_dump(include={"path", "initial_delay_seconds", "period_seconds"}) == {
        "path": "/health",
        "initial_delay_seconds": 30,
        "period_seconds": 10,
    }
    assert service.readiness.model_dump(include={"path", "initial_delay_seconds", "period_seconds"}) == {
        "path": "/ready",
        "initial_delay_seconds": 10,
        "period_seconds": 5,
    }


@pytest.mark.parametrize("stack", stacks(HOME))
def test_every_stack_has_the_five_services_and_the_given_namespace(stack: str) -> None:
    settings = load(stack, HOME)
    assert set(settings.services) == {*GIVEN, "payment-service", "notification-service"}
    assert settings.services["payment-service"].needs == ("payment-api",)
    assert settings.services["notification-service"].needs == ("kafka",)
    namespace = settings.namespace
    assert (settings.project, namespace.name, namespace.team, namespace.cost_center) == (
        "cloudmart",
        "cloudmart",
        "platform",
        "CC-2001",
    )


def test_user_service_scales_down_slowly_and_up_at_once() -> None:
    scaling = load("dev", HOME).services["user-service"].autoscaling
    assert scaling is not None
    down, up = scaling.scale_down, scaling.scale_up
    assert (down.window_seconds, down.percent, down.period_seconds) == (300, 50, 60)
    assert (up.window_seconds, up.percent, up.period_seconds) == (0, 100, 30)
