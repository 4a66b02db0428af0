"""CloudMart itself, every stack of it, under the pack."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache

import pytest

from cloudmart.preview.policy import PACK, evaluate, read_config
from cloudmart.preview.recorder import Recorded, record
from cloudmart.settings import stacks

STACKS = stacks(PACK.parent)


@lru_cache
def _recorded(stack: str) -> tuple[Recorded, ...]:
    return tuple(record(stack).resources)


@pytest.mark.parametrize("stack", STACKS)
def test_the_stack_passes_every_rule_at_its_strictest(stack: str) -> None:
    config = read_config(PACK / "config" / f"{stack}.json")
    assert evaluate(_recorded(stack), config) == []
    assert evaluate(_recorded(stack), {"all": "mandatory"}) == []


_EVERYWHERE = [
    ("PodDisruptionBudget", "disruption-budget"),
    ("ResourceQuota", "namespace-guards"),
    ("NetworkPolicy", "namespace-guards"),
    ("Deployment", "no-orphans"),
]
#: What the stores are.
_STORES = {"dev": ["StatefulSet"], "prod": ["Cluster", "Pooler", "Kafka"]}


@pytest.mark.parametrize(
    ("stack", "kind", "rule"),
    [
        *((stack, *case) for stack in STACKS for case in _EVERYWHERE),
        *((stack, kind, "no-orphans") for stack, kinds in _STORES.items() for kind in kinds),
    ],
)
def test_the_stack_without_one_kind_of_object_does_not_pass(stack: str, kind: str, rule: str) -> None:
    rest = [found for found in _recorded(stack) if not found.type.endswith(f":{kind}")]
    assert len(rest) < len(_recorded(stack))
    assert rule in {violation.rule for violation in evaluate(rest, {"all": "mandatory"})}


def test_the_pack_costs_less_than_a_third_of_a_millisecond_a_resource() -> None:
    resources = _recorded(STACKS[0])
    evaluate(resources, {"all": "mandatory"})  # loads the pack
    started = time.process_time()
    evaluate(resources, {"all": "mandatory"})
    assert (time.process_time() - started) / len(resources) < 0.0003


@pytest.mark.parametrize("name", ["postgres", "redis", "broker", "kafka"])
def test_prod_does_not_pass_without_the_protection_of_one_store(name: str) -> None:
    config = read_config(PACK / "config" / "prod.json")
    loose = [replace(found, protect=found.protect and found.name != name) for found in _recorded("prod")]
    broken = {(said.rule, said.level, said.urn.rsplit("::", 1)[-1]) for said in evaluate(loose, config)}
    assert broken == {("data-protected", "mandatory", name)}
