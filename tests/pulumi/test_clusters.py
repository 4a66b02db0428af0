"""Which cluster a stack belongs to: another way to the same one is the same, and one that has lost the shop is told.

One story, told in order: what one test leaves is what the next finds.
"""

from __future__ import annotations

import pytest

from cloudmart.deploy import up
from cloudmart.errors import UserError
from tests.pulumi.shop import OWN, SPACE, Shop


def test_another_address_of_the_same_cluster_replaces_nothing(shop: Shop) -> None:
    shop.up("dev")
    before = shop.held()
    other = shop.cluster.root / "other.kubeconfig"
    other.write_text(shop.cluster.kubeconfig.read_text().replace("https://127.0.0.1:", "https://localhost:"))
    other.chmod(0o600)
    shop.environment["KUBECONFIG"] = str(other)
    ended = shop.pulumi("up", "--stack", "dev", "--yes", "--skip-preview")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 updated" in ended.stdout, "the provider, which keeps the address"
    assert "replaced" not in ended.stdout, ended.stdout
    assert "deleted" not in ended.stdout, ended.stdout
    assert shop.held() == before


def test_a_local_cluster_that_has_lost_the_shop_gets_it_anew_with_the_passwords_of_before(shop: Shop) -> None:
    before = shop.passwords()
    shop.cluster.kubectl("delete", "namespace", SPACE)
    _, lines = shop.up("dev")
    assert any("is gone from the local cluster" in line for line in lines)
    assert shop.passwords() == before
    _, lines = shop.up("dev")
    assert not [line for line in lines if line.startswith(("created ", "changed ", "replaced "))]


def test_another_stack_of_the_same_namespace_is_stopped_before_anything_is_made(shop: Shop) -> None:
    before = shop.held()
    with pytest.raises(UserError, match=f"namespace {SPACE}: found one of stack dev; allowed: none"):
        shop.up("prod")
    with pytest.raises(UserError, match=f"namespace {SPACE}: found one of stack dev; allowed: none"):
        shop.down("prod", delete_data=True)
    assert shop.held() == before


def test_a_cluster_that_has_lost_the_shop_stops_an_up_by_context_before_anything_is_made(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.cluster.kubectl("delete", "namespace", SPACE)
    monkeypatch.setenv("KUBECONFIG", str(shop.cluster.kubeconfig))
    with pytest.raises(UserError, match=f"namespace {SPACE}: found none in this cluster.* --refresh"):
        up.up("dev", shop.cluster.kubectl("config", "current-context").strip(), shop.project.root, shop.said.append)
    assert SPACE not in shop.names("namespaces")


def test_a_namespace_that_something_else_made_is_neither_taken_over_nor_deleted(shop: Shop) -> None:
    shop.cluster.kubectl("create", "namespace", "theirs")
    shop.project.config("dev", lambda config: config.setdefault("cloudmart:namespace", {}).update(name="theirs"))
    with pytest.raises(UserError, match="namespace theirs: found one that something else made; allowed: none"):
        shop.up("dev")
    with pytest.raises(UserError, match="namespace theirs: found one that something else made; allowed: none"):
        shop.down("dev", delete_data=True)
    (theirs,) = [one for one in shop.get("namespaces") if one["metadata"]["name"] == "theirs"]
    assert theirs["metadata"]["labels"] == {"kubernetes.io/metadata.name": "theirs"}
    assert set(shop.held("theirs")) <= OWN
