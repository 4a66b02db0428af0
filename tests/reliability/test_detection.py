"""Each kind of damage alone on a healthy stack: found, named, mended by the command that is given; then silence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudmart.cluster import crds
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy import expected, up
from cloudmart.deploy.engine import NoCli
from tests.cluster.test_drift import DAMAGES, OTHER_HALVES, SPACE, Shop, do, mend, require_told
from tests.conftest import copy_project
from tests.reliability.conftest import Many


@pytest.fixture
def shop(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    for module, function in ((up, "find_cli"), (expected, "present_cli")):
        monkeypatch.setattr(module, function, lambda *_: NoCli("no pulumi in this test"))
    monkeypatch.setattr(crds, "install", lambda *_: [])
    found = Shop(cluster, copy_project(cluster.root, program=False))
    up.up("dev", None, found.project.root, found.said.append)
    yield found
    up.down("dev", None, found.project.root, found.said.append, delete_data=True)


def test_detection(many: Many, shop: Shop) -> None:
    def run(seed: int) -> str:
        damage = DAMAGES[(seed - 1) % len(DAMAGES)]
        if (left := shop.look()).findings:  # by a run that failed
            mend(left)
            up.up("dev", None, shop.project.root, shop.said.append)
        assert shop.look().findings == [], "a healthy stack"
        # They would not have let most of it in.
        shop.cluster.kubectl("delete", "validatingadmissionpolicybindings", "-l", f"project={SPACE}")
        do(shop.cluster, damage)
        drift = shop.look()
        require_told(drift, damage)
        rest = {
            (one.object.label, one.path)
            for one in drift.findings
            if one.object.kind != "ValidatingAdmissionPolicyBinding"
        }
        assert rest <= {(damage.object, damage.path), *OTHER_HALVES} or damage.path.endswith("[")
        mend(drift)
        up.up("dev", None, shop.project.root, shop.said.append)
        assert shop.look().findings == [], "a mended stack"
        return damage.kind.value

    what = (
        f"one of {len(DAMAGES)} kinds of damage, alone: `drift` names it, its command puts it back, then it is silent"
    )
    many("Detection", what, "without the CLI", run, at_most=len(DAMAGES))
