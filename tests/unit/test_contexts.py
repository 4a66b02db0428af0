"""Which context of a kubeconfig a command goes to, and what it says where there is none of that name."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import yaml

from cloudmart.cluster import contexts, toolchain
from cloudmart.deploy import up
from cloudmart.errors import UserError
from tests.unit.settings_files import CATALOG, MARK, changed, marked_line, write


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


OWN = "config:\n  cloudmart:cluster: {{context: {}}} " + MARK + "\n"


def test_what_is_given_counts_before_the_stacks_own_and_neither_is_the_local_cluster(tmp_path: Path) -> None:
    write(tmp_path)
    assert contexts.in_context("dev", tmp_path, None) is None
    write(tmp_path, stack=OWN.format("live one"))
    given, own = (contexts.in_context("dev", tmp_path, asked) for asked in ("staging", None))
    assert given is not None
    assert own is not None
    assert (given.context, own.context) == ("staging", "live one")


def test_an_unknown_context_is_one_error_with_its_place_and_those_that_there_are(tmp_path: Path) -> None:
    inherited = changed('kubernetesVersion: "1.36"', 'kubernetesVersion: "1.36", context: stagin')
    for given, catalog, stack, where in (
        ("stagin", CATALOG, "config: {}\n", "--context"),
        (None, CATALOG, OWN.format("stagin"), f"Pulumi.dev.yaml:{marked_line(OWN)}: cluster.context"),
        (None, inherited, "config: {}\n", "catalog.yaml:2: cluster.context"),
    ):
        with pytest.raises(UserError) as caught:
            contexts.in_context("dev", write(tmp_path, catalog, stack), given)
        assert str(caught.value) == (
            f"{where}: found 'stagin' (did you mean 'staging'?); allowed: a context of your kubeconfig, which has "
            "staging, live one"
        )


def test_nothing_is_downloaded_for_a_context_that_there_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "find_cli", lambda *_: pytest.fail("a CLI was asked for"))
    root, said = write(tmp_path), list[str]()
    for act in (up.up, partial(up.down, delete_data=False)):
        with pytest.raises(UserError, match=r"^--context: found 'stagin' \(did you mean 'staging'\?\)"):
            act("dev", "stagin", root, said.append)
    assert said == []
