"""The roles of `cloudmart access role` for the Pulumi CLI: with them the engine can do all it has to, and no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudmart.deploy import up
from cloudmart.deploy.expected import Way
from cloudmart.errors import UserError
from tests.deployer import CONTEXT, STACK, Deployer, shuffled, without_charts
from tests.pulumi.shop import OWN, Shop

SEED = 1


@pytest.fixture(scope="module")
def deployer(shop: Shop) -> Iterator[Deployer]:
    found = Deployer.of(shop.cluster, without_charts(shop.project), Way.PULUMI)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(found.kubeconfig))
        yield found
    found.forget()


def test_without_the_roles_nothing_is_deployed(deployer: Deployer) -> None:
    with pytest.raises(UserError, match="is forbidden"):
        deployer.up()


def test_with_the_roles_up_works_again_and_again_and_destroy_takes_it_away(deployer: Deployer, shop: Shop) -> None:
    deployer.allow(deployer.permissions)
    deployer.up()
    shop.environment = dict(up.up(STACK, CONTEXT, shop.project.root, lambda _: None).environment)
    refreshed = shop.pulumi("refresh", "--stack", STACK, "--yes")
    assert refreshed.returncode == 0, refreshed.stdout + refreshed.stderr
    deployer.down()
    assert {name for name in shop.held() if not name.startswith("PersistentVolumeClaim ")} == OWN, "claims are kept"


@pytest.mark.nightly
def test_without_any_one_permission_something_fails(deployer: Deployer) -> None:
    picked = {one.verb: one for one in shuffled(deployer.permissions, SEED)}
    for verb in ("get", "create", "patch", "delete"):
        deployer.allow(deployer.permissions, not_=picked[verb])
        try:
            with pytest.raises(UserError, match="forbidden"):
                deployer.up_again_and_down()
        finally:
            deployer.allow(deployer.permissions)
            deployer.down()
