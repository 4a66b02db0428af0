"""Rules on requests and limits."""

from __future__ import annotations

import pytest

from tests.policy.objects import POD_KINDS, broken, pod_spec, workload


@pytest.mark.parametrize("kind", POD_KINDS)
@pytest.mark.parametrize("rule", ["cpu-memory-requests", "memory-limits", "limit-request-ratio"])
def test_a_workload_of_any_kind_with_requests_and_limits_passes(rule: str, kind: str) -> None:
    assert broken(rule, workload(kind)) == []


@pytest.mark.parametrize("kind", POD_KINDS)
def test_a_container_without_a_request_is_found_in_every_kind_of_workload(kind: str) -> None:
    place = f"{pod_spec(kind)}.containers.0.resources.requests"
    [message] = broken("cpu-memory-requests", workload(kind).without(f"{place}.cpu"))
    assert f"{kind} cloudmart/user-service, container 'app': no cpu request" in message
    [message] = broken("cpu-memory-requests", workload(kind).without(place))
    assert "no cpu and memory request" in message


@pytest.mark.parametrize("zero", ["0", 0, 0.0, "0m", "0Mi", "0e3"])
@pytest.mark.parametrize("resource", ["cpu", "memory"])
def test_a_request_of_zero_is_none(resource: str, zero: object) -> None:
    found = workload().with_(f"spec.template.spec.containers.0.resources.requests.{resource}", zero)
    [message] = broken("cpu-memory-requests", found)
    assert f"container 'app': no {resource} request" in message


@pytest.mark.parametrize("written", ["1m", "lots", "", True])
def test_what_is_no_quantity_is_left_to_the_schema_check(written: object) -> None:
    found = workload().with_("spec.template.spec.containers.0.resources.requests.cpu", written)
    assert broken("cpu-memory-requests", found) == []


@pytest.mark.parametrize("rule", ["cpu-memory-requests", "memory-limits"])
def test_an_init_container_needs_them_as_well(rule: str) -> None:
    [message] = broken(rule, workload().with_("spec.template.spec.initContainers", [{"name": "migrate"}]))
    assert "init container 'migrate'" in message


def test_every_api_version_of_a_kind_is_checked() -> None:
    found = workload().without("spec.template.spec.containers.0.resources")
    for token in ("kubernetes:apps/v1beta1:Deployment", "kubernetes:extensions/v1beta1:Deployment"):
        assert broken("memory-limits", type(found)(token, found.name, found.inputs))
    other = type(found)("kubernetes:example.com/v1:Deployment", found.name, found.inputs)
    assert broken("memory-limits", other) == []


def test_a_missing_memory_limit_is_found() -> None:
    [message] = broken("memory-limits", workload().without("spec.template.spec.containers.0.resources.limits.memory"))
    assert "container 'app': no memory limit" in message
    assert "Mend: set resources.limits.memory" in message


@pytest.mark.parametrize(
    "path",
    [
        "spec",
        "spec.template.spec",
        "spec.template.spec.containers",
        "spec.template.spec.containers.0",
        "spec.template.spec.containers.0.resources",
        "spec.template.spec.containers.0.resources.requests",
        "spec.template.spec.containers.0.resources.requests.cpu",
    ],
)
@pytest.mark.parametrize("rule", ["cpu-memory-requests", "memory-limits", "limit-request-ratio"])
def test_what_preview_cannot_know_is_no_violation(rule: str, path: str) -> None:
    assert broken(rule, workload().unknown(path)) == []


def test_an_unknown_container_does_not_hide_the_next_one() -> None:
    found = workload().with_("spec.template.spec.containers", ["[unknown]", {"name": "bare"}])
    found = type(found)(found.type, found.name, found.inputs, [("spec", "template", "spec", "containers", 0)])
    [message] = broken("memory-limits", found)
    assert "'bare'" in message


@pytest.mark.parametrize(("cpu", "problem"), [("500m", None), ("501m", "5.01 times"), ("50m", "below the request")])
def test_a_cpu_limit_stays_within_the_ratio(cpu: str, problem: str | None) -> None:
    messages = broken(
        "limit-request-ratio", workload().with_("spec.template.spec.containers.0.resources.limits.cpu", cpu)
    )
    assert [problem in message for message in messages if problem] == ([True] if problem else [])
    assert bool(messages) == bool(problem)


def test_the_ratios_are_configurable() -> None:
    assert broken("limit-request-ratio", workload(), maxCpuRatio=3) == []
    [message] = broken("limit-request-ratio", workload(), maxCpuRatio=2, maxMemoryRatio=2)
    assert "cpu limit 300m is 3 times the request 100m (at most 2 times)" in message
    [message] = broken("limit-request-ratio", workload(), maxMemoryRatio=1.5)
    assert "memory limit 256Mi is 2 times the request 128Mi (at most 1.5 times)" in message


@pytest.mark.parametrize("written", [0.1, 2, "0.1"])
def test_quantities_may_be_numbers(written: object) -> None:
    found = workload().with_("spec.template.spec.containers.0.resources.requests.cpu", written)
    assert len(broken("limit-request-ratio", found)) == (written == 2)


@pytest.mark.parametrize("written", ["lots", "0", ""])
def test_a_quantity_that_makes_no_ratio_is_left_to_the_schema_check(written: str) -> None:
    assert (
        broken(
            "limit-request-ratio", workload().with_("spec.template.spec.containers.0.resources.requests.cpu", written)
        )
        == []
    )
