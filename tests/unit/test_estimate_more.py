"""The estimate beyond pods and volumes: load, pools, egress, charts, who pays, and where each figure comes from."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cloudmart.errors import UserError
from cloudmart.finops import estimate_report, prices
from cloudmart.finops.estimate import DIMENSIONS, NONE, Estimate, Range, estimate, of_stack
from cloudmart.finops.helm import Charts
from cloudmart.finops.overhead import shared
from cloudmart.preview.recorder import HOME, Recorded, record
from cloudmart.settings import load, stacks
from cloudmart.settings.prices import PriceSettings
from tests.unit.settings_files import changed, loaded, write
from tests.unit.test_estimate import CPU, DISK, RAM, claim, container, deployment, recorded, scaler, template

CHART = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: made
spec:
  replicas: 2
  template:
    metadata: {labels: {cost-center: CC-7, app.kubernetes.io/component: engine}}
    spec:
      containers: [{name: a, resources: {requests: {cpu: "1", memory: 1Gi}}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: disk}
spec: {resources: {requests: {storage: 10Gi}}}
"""


def book(**settings: object) -> prices.PriceBook:
    return prices.of_stack(PriceSettings.model_validate(settings), Path())


def release(**inputs: Any) -> Recorded:
    values = {"resources": {"requests": {"cpu": "3"}}}
    made = {"chart": "charts/thing", "namespace": "things", "values": values, **inputs}
    return Recorded("urn:r", "kubernetes:helm.sh/v3:Release", "thing", made, parent="", custom=True)


@pytest.fixture
def helm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `helm` on PATH that keeps its arguments and prints a chart."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "helm"
    (tmp_path / "rendered.yaml").write_text(CHART)
    script.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat > {tmp_path}/values\ncat {tmp_path}/rendered.yaml\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    (tmp_path / "charts" / "thing").mkdir(parents=True)
    return tmp_path


def test_a_known_load_is_what_is_expected_within_the_autoscalers_bounds() -> None:
    objects = [deployment("web", template(container("1")), 3), scaler("web", 2, 8)]
    for load_, expected in ((Decimal("2.5"), Decimal("2.5")), (Decimal(1), 2), (Decimal(20), 8)):
        found = estimate(objects, prices.load(), load={"web": load_})
        assert found.monthly == Range(2 * CPU, expected * CPU, 8 * CPU)
    fixed = estimate(objects[:1], prices.load(), load={"web": Decimal(9)})
    assert fixed.monthly == Range.exactly(3 * CPU)
    assert "load of web: not counted, no autoscaler scales it" in fixed.notes


def test_a_pod_pays_the_pool_that_its_node_selector_names() -> None:
    pools = {"batch": {"selector": {"pool": "batch"}, "cpu": "0.01"}}
    on_pool = deployment("job", template(container("1"), nodeSelector={"pool": "batch"}))
    elsewhere = deployment("web", template(container("1"), nodeSelector={"pool": "other"}))
    found = estimate([on_pool, elsewhere], book(pools=pools))
    assert found.by_service == {"job": Range.exactly(Decimal("7.3")), "web": Range.exactly(CPU)}


def test_volumes_pay_by_class_and_ephemeral_ones_for_each_pod() -> None:
    fast = claim("10Gi")
    fast["spec"]["storageClassName"] = "fast"
    found = estimate(
        [
            recorded("PersistentVolumeClaim", "c", fast),
            deployment(
                "web",
                template(container("1"), volumes=[{"name": "s", "ephemeral": {"volumeClaimTemplate": claim("5Gi")}}]),
                3,
            ),
        ],
        book(storageClasses={"fast": "0.001"}),
    )
    assert found.by_service["data"] == Range.exactly(Decimal("7.3"))
    assert found.by_service["web"] == Range.exactly(3 * (CPU + 5 * DISK))


def test_egress_is_paid_by_the_gib_and_once() -> None:
    found = estimate(
        [deployment("web", template(container("1"), labels={"cost-center": "CC-1"}), 5)],
        prices.load(),
        egress={"web": Decimal(100), "gone": Decimal(1)},
    )
    assert found.monthly == Range.exactly(5 * CPU + 12)
    assert found.by_cost_center == {"CC-1": found.monthly}
    assert "egress of gone: not priced, nothing that runs is called so" in found.notes


def test_numbers_as_the_engine_sends_them_are_the_same_numbers() -> None:
    objects = [deployment("web", template(container("1")), 3), scaler("web", 2, 8)]
    objects[0].inputs["spec"]["replicas"] = 3.0
    objects[1].inputs["spec"] |= {"minReplicas": 2.0, "maxReplicas": 8.0}
    assert estimate(objects, prices.load()).monthly == Range(2 * CPU, 3 * CPU, 8 * CPU)


def test_a_release_is_priced_from_its_rendered_chart_where_helm_and_chart_are_here(helm: Path) -> None:
    namespace = recorded("Namespace", "things", {"metadata": {"name": "things", "labels": {"cost-center": "CC-1"}}})
    found = estimate([namespace, release()], prices.load(), charts=Charts(helm))
    assert found.by_service == {"thing": Range.exactly(2 * CPU + 2 * RAM + 10 * DISK)}
    assert found.by_cost_center == {"CC-1": Range.exactly(10 * DISK), "CC-7": Range.exactly(2 * CPU + 2 * RAM)}
    assert {line.urn for line in found.lines} == {"urn:r"}
    assert found.notes == ("Helm release thing: priced from its rendered chart, thing",)
    assert "template thing" in (helm / "arguments").read_text()
    assert "--namespace things --no-hooks" in (helm / "arguments").read_text()
    assert (helm / "values").read_text() == '{"resources": {"requests": {"cpu": "3"}}}'


def test_a_release_is_priced_from_its_values_where_the_chart_is_not_here_and_says_why(
    helm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noted(**inputs: Any) -> str:
        found = estimate([release(**inputs)], prices.load(), charts=Charts(helm))
        assert found.monthly == Range.exactly(3 * CPU)
        return found.notes[0]

    assert "from the values declared here, not from the chart's own: the chart nowhere is not" in noted(chart="nowhere")
    (helm / "bin" / "helm").write_text("#!/bin/sh\ncat > /dev/null\necho 'Error: it is broken' >&2\nexit 1\n")
    assert "helm cannot render it (it is broken)" in noted(name="other-values")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "helm is not on PATH" in noted()


def test_a_chart_that_helm_has_fetched_before_is_taken_from_its_cache(
    helm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELM_CACHE_HOME", str(helm / "cache"))
    (helm / "cache" / "repository").mkdir(parents=True)
    (helm / "cache" / "repository" / "remote-1.2.3.tgz").write_text("")
    found = estimate([release(chart="remote", version="1.2.3")], prices.load(), charts=Charts(helm))
    assert found.notes == ("Helm release thing: priced from its rendered chart, remote-1.2.3.tgz",)


@cache
def resources_of(stack: str) -> Sequence[Recorded]:
    """The resources of a stack of this repository."""
    return tuple(record(stack).resources)


@pytest.mark.slow
@pytest.mark.parametrize("stack", stacks(HOME))
def test_every_grouping_of_a_stack_adds_up_to_its_total(stack: str) -> None:
    found = of_stack(resources_of(stack), load(stack, HOME), HOME)
    for dimension in DIMENSIONS:
        assert sum(found.by(dimension).values(), Range()) == found.monthly
        assert NONE not in found.by(dimension), dimension
    assert set(found.by("component")) >= {"microservice", "database", "cache", "broker"}


@pytest.mark.parametrize("stack", stacks(HOME))
def test_sharing_the_platform_out_keeps_the_sum(stack: str) -> None:
    settings = load(stack, HOME)
    found = of_stack(resources_of(stack), settings, HOME)
    shares = shared(found, settings)
    assert list(shares) == list(settings.services)
    total = sum((share.total for share in shares.values()), Range())
    for bound in ("min", "expected", "max"):
        assert round(getattr(total, bound) - getattr(found.monthly, bound), 18) == 0


def test_a_store_is_borne_by_those_who_need_it_and_the_rest_by_all(tmp_path: Path) -> None:
    parts = [
        deployment("web", template(container("3"), labels={"app": "web"})),
        deployment("api", template(container("1"), labels={"app": "api"})),
        deployment("postgres", template(container("2"), labels={"app": "postgres"})),
        deployment("kubecost", template(container("8"), labels={"app": "kubecost"})),
    ]
    found = estimate(parts, prices.load())
    settings = loaded(write(tmp_path)).settings
    shares = shared(found, settings)  # only web needs postgres
    assert shares["web"].platform == Range.exactly(2 * CPU + 6 * CPU)
    assert shares["api"].platform == Range.exactly(2 * CPU)
    even = loaded(write(tmp_path, stack="config:\n  cloudmart:prices: {sharing: even}\n")).settings
    assert shared(found, even)["api"].platform == Range.exactly(4 * CPU)
    both = loaded(write(tmp_path, changed("needs: [mail]", "needs: [mail, postgres]"))).settings
    assert round(shared(found, both)["api"].platform.expected - (CPU / 2 + 2 * CPU), 15) == 0


@pytest.fixture(scope="module")
def priced() -> Estimate:
    init = [{"name": "migrate", "resources": {"requests": {"cpu": "2"}}}]
    return estimate(
        [
            deployment("web", template(container("100m", "128Mi"), container("50m"), labels={"app": "web"}), 2),
            scaler("web", 1, 4),
            deployment("db", template(container("1"), initContainers=init)),
        ],
        book(committedUseDiscount=50),
    )


def test_an_explanation_is_the_sum_factor_by_factor(priced: Estimate) -> None:
    lines = estimate_report.explanation(priced, "web").splitlines()
    assert lines[0] == "service web: 3.85 (1.92 to 7.70) USD a month"
    assert "    cpu: 0.15 core x 2 pods (1 to 4) x 0.0158055/h x 730 h = 3.46 (1.73 to 6.92)" in lines
    assert "      0.1 c + 0.05 c" in lines
    assert "      price: 0.031611 on demand less 50 % for the commitment = 0.0158055" in lines[3:6]
    assert "      2 init container migrate, with the sidecars before it" in estimate_report.explanation(priced, "db")


def test_the_lines_of_an_explanation_multiply_and_add_up(priced: Estimate) -> None:
    _, lines = estimate_report.explain(priced, "web")
    assert sum(line.monthly.expected for line in lines) == priced.by_service["web"].expected
    for line in priced.lines:
        assert sum(size for _, size in line.parts) == line.quantity
        assert line.monthly.max == line.count.max * line.quantity * line.price * line.hours


def test_a_name_that_costs_nothing_is_an_error_with_the_nearest_one(priced: Estimate) -> None:
    with pytest.raises(UserError, match=r"--explain: found 'wep' \(did you mean 'web'\?\); allowed: .*db"):
        estimate_report.explain(priced, "wep")
