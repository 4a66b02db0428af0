"""A chart that cannot be had: told before anything is changed in an environment, left out on the local cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloudmart.cluster.charts import ChartUnreachable
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.deploy import up
from cloudmart.deploy.engine import NoCli
from cloudmart.deploy.up import Target
from cloudmart.errors import UserError
from cloudmart.preview.recorder import record
from cloudmart.settings import load

CHECKOUT = Path(__file__).resolve().parents[2]


class Reached(Exception):  # noqa: N818 - a mark, not an error
    """The cluster would have been changed now."""


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(chart: object, *_: object, **__: object) -> None:
        raise ChartUnreachable(f"chart {chart}: does not answer; set cloudmart:kubecost.chart.path")

    monkeypatch.setattr("cloudmart.deploy.up.check_chart", refuse)


@pytest.fixture
def deploys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a cluster nor an engine: whoever gets as far as changing something is stopped there."""

    def reached(*_: object, **__: object) -> Any:
        raise Reached

    monkeypatch.setattr("cloudmart.deploy.applyset.apply", reached)
    monkeypatch.setattr("cloudmart.deploy.applyset.was_applied", lambda *_: False)
    monkeypatch.setattr("cloudmart.deploy.room.until_rolled_out", lambda *_: {})
    monkeypatch.setattr(up, "_engine", reached)


def going_to(monkeypatch: pytest.MonkeyPatch, *, local: bool, cli: object) -> None:
    monkeypatch.setattr(up, "target_of", lambda *_: Target(kubectl=Kubectl(path=Path("kubectl")), local=local))
    monkeypatch.setattr(up, "find_cli", lambda *_: cli)


@pytest.mark.usefixtures("unreachable", "deploys")
def test_an_environment_without_the_chart_is_an_error_before_anything_is_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    going_to(monkeypatch, local=False, cli=object())
    with pytest.raises(ChartUnreachable, match=r"chart kubecost 3\.\d+\.\d+: does not answer; set cloudmart:kubecost"):
        up.up("prod", "mine", CHECKOUT, lambda _line: None)


@pytest.mark.usefixtures("unreachable", "deploys")
def test_the_local_cluster_goes_on_without_the_layer_and_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    going_to(monkeypatch, local=True, cli=object())
    lines: list[str] = []
    with pytest.raises(Reached):
        up.up("dev", None, CHECKOUT, lines.append)
    assert [line for line in lines if "kubecost" in line] == [line for line in lines if "left out" in line]
    assert len([line for line in lines if line.startswith("kubecost is left out: chart kubecost")]) == 1


@pytest.mark.usefixtures("deploys")
def test_an_environment_with_helm_releases_needs_the_cli_and_is_told_before_anything_is_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    going_to(monkeypatch, local=False, cli=NoCli("no pulumi on PATH"))
    with pytest.raises(UserError, match=r"kubecost: found a layer that is on, but Helm releases need the Pulumi CLI"):
        up.up("prod", "mine", CHECKOUT, lambda _line: None)


@pytest.mark.slow
def test_releases_take_over_what_the_local_cluster_knows_already_and_nothing_of_an_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cloudmart.deploy.up.check_chart", lambda *_, **__: None)
    monkeypatch.setattr("cloudmart.deploy.up.check_manifest", lambda *_, **__: None)
    settings = load("prod", CHECKOUT)
    for local in (True, False):
        target = Target(kubectl=Kubectl(path=Path("kubectl")), local=local)
        overrides = up.left_out(settings, target, CHECKOUT, object(), lambda _line: None)  # type: ignore[arg-type]
        releases = [r for r in record("prod", CHECKOUT, overrides=overrides).resources if r.type.endswith(":Release")]
        shops = [r for r in releases if r.inputs["namespace"] == settings.namespace.name]
        assert len(releases) > 8
        assert {r.inputs.get("takeOwnership", False) for r in releases if r not in shops} == {local}


def test_a_store_whose_operator_cannot_be_had_runs_as_a_single_one_and_one_line_says_so() -> None:
    target = up.Target(kubectl=Kubectl(path=Path("kubectl")), local=True)
    lines: list[str] = []
    overrides = up.left_out(load("prod", CHECKOUT), target, CHECKOUT, NoCli("no pulumi on PATH"), lines.append)
    for key, store in (
        ("operators.cloudnativePg", "postgres"),
        ("operators.strimzi", "kafka"),
        ("data.redis.cluster", "redis"),
    ):
        said = f"{key} is left out, and {store} runs as a single one: chart "
        assert len([line for line in lines if line.startswith(said)]) == 1
        assert overrides["cloudmart:data"][store]["mode"] == "single"
