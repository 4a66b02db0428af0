"""Layers work alone, all together and in every pair: the program runs and the pack has nothing against it."""

from __future__ import annotations

import itertools

import pytest

from cloudmart.preview.policy import PACK, evaluate
from cloudmart.preview.run import read_policy_config
from cloudmart.preview.schema import validate
from cloudmart.settings import load, stacks
from cloudmart.settings.service import OLDEST_KUBERNETES
from tests import layers
from tests.conftest import ROOT
from tests.layers import Combination

STACKS = stacks(ROOT)
#: The recordings that tell what a layer leaves behind are tried with the fast tests.
BUSIEST = "prod"
busiest_first = pytest.mark.parametrize(
    "stack", [pytest.param(name, marks=[] if name == BUSIEST else [pytest.mark.slow]) for name in STACKS]
)


def check(stack: str, combination: Combination) -> None:
    recording = layers.recorded(stack, combination)
    config = read_policy_config(stack, PACK.parent)
    # Budgets are of the stack as it is; these are not.
    registry = list(load(stack, ROOT).cost_centers)
    assert evaluate(recording.resources, config, cost_centers=registry, budgets={}) == []
    for version in (OLDEST_KUBERNETES, load(stack, ROOT).cluster.kubernetes_version):
        assert validate(recording.resources, version).errors == [], version
    assert [resource.urn for resource in recording.resources if resource.leaks] == []
    urns = [(r.kind, r.namespace, r.object_name) for r in recording.resources if r.is_kubernetes_object]
    assert len(urns) == len(set(urns)), "two resources are one object"


@pytest.mark.slow
@pytest.mark.parametrize("combination", [layers.CORE, *layers.alone()], ids=layers.named)
@busiest_first
def test_a_layer_works_alone_on_top_of_the_core(stack: str, combination: Combination) -> None:
    check(stack, combination)


@pytest.mark.parametrize("combination", layers.everything(), ids=layers.named)
@busiest_first
def test_all_layers_work_together(stack: str, combination: Combination) -> None:
    check(stack, combination)


@pytest.mark.slow
@pytest.mark.parametrize("combination", layers.pairs(), ids=layers.named)
@pytest.mark.parametrize("stack", STACKS)
def test_every_pair_of_layers_works_together(stack: str, combination: Combination) -> None:
    check(stack, combination)


def test_the_generated_set_has_every_pair_of_choices() -> None:
    found = {pair for combination in layers.pairs() for pair in itertools.combinations(combination, 2)}
    for (one, its), (other, their) in itertools.combinations(layers.CHOICES.items(), 2):
        for choice, against in itertools.product(its, their):
            assert ((one, choice), (other, against)) in found


@pytest.mark.parametrize("combination", list(layers.alone()), ids=layers.named)
def test_a_layer_that_is_off_leaves_no_trace(combination: Combination) -> None:
    """Whatever only the layer brings is gone without it: its kinds, its namespace, its chart, its labels."""
    core = layers.recorded(BUSIEST, layers.CORE)
    with_it = layers.recorded(BUSIEST, combination)
    ((key, _),) = set(combination) - set(layers.CORE)
    own = {r.urn for r in with_it.resources} - {r.urn for r in core.resources}
    assert own or key == "data", "the layer makes nothing"
    text = str([(r.urn, r.inputs) for r in core.resources])
    section = getattr(load(BUSIEST, ROOT), {"verticalAutoscaling": "vertical_autoscaling"}.get(key, key))
    if key not in ("data", "admission"):
        assert f"'{section.namespace}'" not in text
    for group in (
        "istio",
        "konghq",
        "gateway.networking",
        "argoproj",
        "monitoring.coreos",
        "gatekeeper",
        "cnpg",
        "strimzi",
    ):
        assert group not in text
