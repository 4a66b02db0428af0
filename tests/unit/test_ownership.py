"""A namespace that is nobody's of ours is neither written into nor deleted, by what kubectl says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cloudmart.cluster.kubectl import Kubectl
from cloudmart.deploy.ownership import PREPARED, refuse_foreign
from cloudmart.errors import UserError
from cloudmart.settings.service import STACK_OF

Json = Any
SHOP, KUBECOST = ("Namespace", "shop"), ("Namespace", "kubecost")


class Answering(Kubectl):
    """A kubectl that knows these objects."""

    def __init__(self, *live: Json, context: str | None = None) -> None:
        super().__init__(path=Path("kubectl"), context=context)
        object.__setattr__(self, "live", live)

    def json(self, *args: str, stdin: str | None = None, timeout: float = 120) -> Json:
        del stdin, timeout
        (verb, kind, *names), flag = args[:-1], args[-1]
        assert (verb, flag) == ("get", "--ignore-not-found")
        assert names, "without a name it lists them all"
        live = [one for one in getattr(self, "live") if one["kind"].lower() == kind]  # noqa: B009
        found = [one for one in live if one["metadata"]["name"] in names]
        # As kubectl does it: nothing, the one that was asked for, or a list.
        return None if not found else found[0] if len(names) == 1 else {"kind": "List", "items": found}


def space(name: str, labels: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None) -> Json:
    return {"kind": "Namespace", "metadata": {"name": name, "labels": labels, "annotations": annotations}}


def priority(name: str, stack: str | None) -> Json:
    annotations = {STACK_OF: stack} if stack else None
    return {"kind": "PriorityClass", "metadata": {"name": name, "annotations": annotations}}


OURS = space("shop", {"project": "cloudmart"})


@pytest.mark.parametrize(
    "live",
    [
        [],
        [OURS],
        [OURS, space("kubecost", {"project": "cloudmart", "team": "platform"})],
        [space("shop", {"project": "cloudmart"}, {STACK_OF: "dev"}), priority("shop-high", "dev")],
        [OURS, priority("shop-high", None)],
        [space("shop", annotations={PREPARED: "dev"})],
        [space("shop", annotations={PREPARED: "dev", STACK_OF: "prod"})],
        [space("others", {"project": "another"})],
    ],
    ids=[
        "none",
        "ours",
        "two of ours",
        "of the stack",
        "of a version before",
        "prepared",
        "handed over",
        "not asked about",
    ],
)
def test_what_is_the_stacks_is_gone_on_with(live: list[Json]) -> None:
    for names in ([], [SHOP], [SHOP, KUBECOST, ("PriorityClass", "shop-high")]):
        refuse_foreign(Answering(*live), names, project="cloudmart", stack="dev")


@pytest.mark.parametrize(
    "found",
    [
        space("kubecost"),
        space("kubecost", {"project": "another"}),
        space("kubecost", annotations={PREPARED: "prod"}),
    ],
    ids=["bare", "of another project", "prepared for another stack"],
)
@pytest.mark.parametrize("others", [[], [OURS]], ids=["alone", "beside ours"])
def test_a_namespace_of_somebody_else_is_refused_by_name_with_the_cure(found: Json, others: list[Json]) -> None:
    names = [("Namespace", one["metadata"]["name"]) for one in [*others, found]]
    with pytest.raises(UserError) as caught:
        refuse_foreign(Answering(*others, found, context="live"), names, project="cloudmart", stack="dev")
    assert str(caught.value) == (
        "namespace kubecost: found one that something else made; allowed: none, or one of this shop's. Choose another "
        "name; where it is meant for the shop: `kubectl --context live label namespace kubecost project=cloudmart`"
    )


def test_what_is_another_stacks_is_told_all_at_once_with_a_way_that_keeps_the_data() -> None:
    live = [space("shop", {"project": "cloudmart"}, {STACK_OF: "prod"}), priority("shop-high", "prod")]
    with pytest.raises(UserError) as caught:
        refuse_foreign(Answering(*live), [SHOP, ("PriorityClass", "shop-high")], project="cloudmart", stack="dev")
    assert str(caught.value).splitlines() == [
        "namespace shop: found one of stack prod; allowed: none, or one of stack dev. Give dev a `project` and a "
        "`namespace.name` of its own in Pulumi.dev.yaml; where it is dev's from now on, with all that it holds: "
        "`kubectl annotate namespace shop cloudmart/stack=dev --overwrite`",
        "PriorityClass shop-high: found one of stack prod; allowed: none, or one of stack dev. Give dev a `project` of "
        "its own in Pulumi.dev.yaml; where it is dev's from now on, with all that it holds: `kubectl annotate "
        "priorityclass shop-high cloudmart/stack=dev --overwrite`",
    ]


def test_what_the_stacks_state_holds_is_its_own_whatever_it_says_as_after_a_rename_of_the_stack() -> None:
    asked = []

    def held() -> frozenset[tuple[str, str]]:
        asked.append(True)
        return frozenset({SHOP, ("PriorityClass", "shop-high")})

    live = [space("shop", annotations={STACK_OF: "old"}), priority("shop-high", "old"), space("kubecost")]
    names = [SHOP, ("PriorityClass", "shop-high")]
    refuse_foreign(Answering(*live), names, project="cloudmart", stack="dev", held=held)
    assert asked
    with pytest.raises(UserError, match=r"^namespace kubecost: found one that something else made") as caught:
        refuse_foreign(Answering(*live), [*names, KUBECOST], project="cloudmart", stack="dev", held=held)
    assert "shop-high" not in str(caught.value)


def test_the_state_is_not_asked_for_where_all_is_well() -> None:
    def held() -> frozenset[tuple[str, str]]:
        raise AssertionError("asked")

    refuse_foreign(Answering(OURS), [SHOP], project="cloudmart", stack="dev", held=held)
