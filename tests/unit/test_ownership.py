"""A namespace that is nobody's of ours is neither written into nor deleted, by what kubectl says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cloudmart.cluster.kubectl import Kubectl
from cloudmart.deploy.ownership import PREPARED, refuse_foreign, refuse_shared
from cloudmart.errors import UserError
from cloudmart.preview.recorder import Recorded, Recording
from cloudmart.settings.service import STACK_OF

Json = Any


class Answering(Kubectl):
    """A kubectl that knows these namespaces."""

    def __init__(self, *live: Json) -> None:
        super().__init__(path=Path("kubectl"))
        object.__setattr__(self, "live", live)

    def json(self, *args: str, stdin: str | None = None, timeout: float = 120) -> Json:
        del stdin, timeout
        assert args[0] == "get"
        found = [one for one in getattr(self, "live") if one["metadata"]["name"] in args]  # noqa: B009
        # As kubectl does it: nothing, the one that was asked for, or a list.
        return None if not found else found[0] if len(args) == 4 else {"kind": "List", "items": found}


def space(name: str, labels: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None) -> Json:
    return {"kind": "Namespace", "metadata": {"name": name, "labels": labels, "annotations": annotations}}


OURS = space("shop", {"project": "cloudmart"})


@pytest.mark.parametrize(
    "live",
    [
        [],
        [OURS],
        [OURS, space("kubecost", {"project": "cloudmart", "team": "platform"})],
        [space("shop", {"project": "cloudmart"}, {STACK_OF: "dev"})],
        [space("shop", annotations={PREPARED: "dev"})],
        [space("others", {"project": "another"})],
    ],
    ids=["none", "ours", "two of ours", "of the stack", "prepared for the stack", "not asked about"],
)
def test_a_namespace_of_ours_is_gone_on_with(live: list[Json]) -> None:
    for names in (["shop"], ["shop", "kubecost"]):
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
    names = [one["metadata"]["name"] for one in [*others, found]]
    with pytest.raises(UserError) as caught:
        refuse_foreign(Answering(*others, found), names, project="cloudmart", stack="dev")
    assert str(caught.value) == (
        "namespace kubecost: found one that something else made; allowed: none, or one of this shop's. Choose another "
        "name; where it is meant for the shop, `kubectl label namespace kubecost project=cloudmart`"
    )


def test_a_namespace_of_another_stack_is_refused_and_named_whatever_its_labels_say() -> None:
    found = space("shop", {"project": "cloudmart"}, {STACK_OF: "prod"})
    with pytest.raises(UserError) as caught:
        refuse_foreign(Answering(found), ["shop"], project="cloudmart", stack="dev")
    assert str(caught.value) == (
        "namespace shop: found one of stack prod; allowed: none, or one of stack dev. Give dev a `project` and a "
        "`namespace.name` of its own in Pulumi.dev.yaml, or take the other away with its data first: `cloudmart down "
        "--stack prod --delete-data`"
    )


def test_priority_classes_of_another_stack_of_the_same_project_are_left_to_it() -> None:
    inputs = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "shop-high"}}
    of = "kubernetes:scheduling.k8s.io/v1:PriorityClass"
    recording = Recording("shop", "dev", Path(), [Recorded("urn", of, "shop-high", inputs, "", custom=True)], {}, {})
    for live in ([], [space("shop-high")], [space("shop-high", annotations={STACK_OF: "dev"})]):
        refuse_shared(Answering(*live), recording)
    with pytest.raises(UserError, match="PriorityClass shop-high: found one of stack prod, which has the same project"):
        refuse_shared(Answering(space("shop-high", annotations={STACK_OF: "prod"})), recording)


def test_a_namespace_in_the_stacks_state_is_ours_whatever_became_of_its_labels() -> None:
    asked = []

    def known() -> frozenset[str]:
        asked.append(True)
        return frozenset({"shop"})

    refuse_foreign(Answering(space("shop")), ["shop"], project="cloudmart", stack="dev", known=known)
    assert asked
    with pytest.raises(UserError, match="namespace kubecost: found one"):
        refuse_foreign(
            Answering(space("shop"), space("kubecost")),
            ["shop", "kubecost"],
            project="cloudmart",
            stack="dev",
            known=known,
        )
