"""Which context of a kubeconfig a command goes to, and what it says where there is none of that name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cloudmart.cluster import contexts, toolchain
from cloudmart.errors import UserError


@pytest.fixture(autouse=True)
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with two contexts, and a kubectl that reads nothing else of it."""
    file = tmp_path / "config"
    named = [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in ("staging", "live one")]
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "contexts": named}))
    tool = tmp_path / "kubectl"
    tool.write_text("#!/bin/sh\nsed -n 's/^  name: //p' \"$KUBECONFIG\"\n")
    tool.chmod(0o755)
    monkeypatch.setenv("KUBECONFIG", str(file))
    monkeypatch.setattr(toolchain, "kubectl", lambda: tool)


def test_what_is_given_counts_before_the_stacks_own_and_neither_is_the_local_cluster() -> None:
    given, own = contexts.in_context("dev", "staging", "live one"), contexts.in_context("dev", None, "live one")
    assert given is not None
    assert own is not None
    assert (given.context, own.context) == ("staging", "live one")
    assert contexts.in_context("dev", None, None) is None


@pytest.mark.parametrize(
    ("given", "own", "where"),
    [("stagin", None, "--context"), (None, "stagin", "Pulumi.dev.yaml: config.cloudmart:cluster.context")],
)
def test_an_unknown_context_is_one_error_with_its_place_and_those_that_there_are(
    given: str | None, own: str | None, where: str
) -> None:
    with pytest.raises(UserError) as caught:
        contexts.in_context("dev", given, own)
    assert str(caught.value) == (
        f"{where}: found 'stagin' (did you mean 'staging'?); allowed: a context of your kubeconfig, which has staging, "
        "live one"
    )
