"""Kinds that a cluster does not serve: what is said, and what becomes of their objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cloudmart.cluster.kubectl import Kubectl, KubectlError
from cloudmart.deploy import kinds
from cloudmart.errors import UserError
from cloudmart.preview.recorder import Recorded, Recording


def recorded(api_version: str, kind: str, name: str, **metadata: Any) -> Recorded:
    inputs = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **metadata}}
    return Recorded(
        urn=f"urn:{kind}:{name}",
        type=f"kubernetes:{api_version}:{kind}",
        name=name,
        inputs=inputs,
        parent="",
        custom=True,
    )


def recording(*resources: Recorded) -> Recording:
    return Recording(project="shop", stack="dev", root=Path(), resources=list(resources), outputs={}, generated={})


PROGRAM = recording(
    recorded("v1", "ConfigMap", "settings", namespace="shop"),
    recorded("mesh.example.com/v1", "Door", "front"),
    recorded("mesh.example.com/v1", "Door", "back"),
    recorded("mesh.example.com/v1beta1", "Key", "k"),
    recorded("fruit.example.com/v1", "Apple", "a"),
    recorded("fruit.example.com/v1", "Orchard", "o"),
)


@pytest.fixture
def kubectl(tmp_path: Path) -> Kubectl:
    """A server with ConfigMaps and Apples (and a subresource of theirs), and nothing of the group mesh.example.com."""
    served = {
        "/api/v1": [("configmaps", "ConfigMap", True)],
        "/apis/fruit.example.com/v1": [("apples", "Apple", True), ("apples/status", "Apple", True)],
    }
    script = "#!/bin/sh\nfor path; do :; done\ncase $path in\n"
    for path, resources in served.items():
        answer = {"resources": [{"name": n, "kind": kind, "namespaced": space} for n, kind, space in resources]}
        script += f"{path}) echo '{json.dumps(answer)}';;\n"
    script += "/apis/broken/v1) echo 'Error from server (InternalError): no' >&2; exit 1;;\n"
    script += "*) echo 'Error from server (NotFound): the server could not find it' >&2; exit 1;;\nesac\n"
    program = tmp_path / "kubectl"
    program.write_text(script)
    program.chmod(0o755)
    return Kubectl(path=program, context="mine")


def test_the_local_cluster_goes_on_without_them_and_says_so_once_an_api_group(kubectl: Kubectl) -> None:
    lines: list[str] = []
    kept, scopes = kinds.served_part(PROGRAM, kubectl, local=True, progress=lines.append)
    assert [resource.name for resource in kept.resources] == ["settings", "a"]
    assert scopes == {("v1", "ConfigMap"): True, ("fruit.example.com/v1", "Apple"): True}
    assert [line.partition(";")[0] for line in lines] == [
        "left out: the local cluster does not serve fruit.example.com: 1 x Orchard v1",
        "left out: the local cluster does not serve mesh.example.com: 2 x Door v1, 1 x Key v1beta1",
    ]
    assert all("`cloudmart local start`" in line for line in lines)


def test_any_other_cluster_is_an_error_with_the_same_lines(kubectl: Kubectl) -> None:
    lines: list[str] = []
    with pytest.raises(UserError) as raised:
        kinds.served_part(PROGRAM, kubectl, local=False, progress=lines.append)
    assert [line.partition(";")[0] for line in str(raised.value).splitlines()] == [
        "context mine does not serve fruit.example.com: 1 x Orchard v1",
        "context mine does not serve mesh.example.com: 2 x Door v1, 1 x Key v1beta1",
    ]
    assert lines == []


def test_a_program_whose_kinds_are_all_there_is_left_as_it_is(kubectl: Kubectl) -> None:
    whole = recording(*(resource for resource in PROGRAM.resources if resource.kind in ("ConfigMap", "Apple")))
    lines: list[str] = []
    assert kinds.served_part(whole, kubectl, local=False, progress=lines.append)[0] is whole
    assert lines == []


def test_a_cluster_is_taught_kinds_only_where_the_program_has_objects_of_kinds_that_it_does_not_serve(
    kubectl: Kubectl,
) -> None:
    whole = recording(*(resource for resource in PROGRAM.resources if resource.kind in ("ConfigMap", "Apple")))
    taught: list[str] = []

    def teach() -> None:
        taught.append("once")
        script = kubectl.path.read_text()
        kubectl.path.write_text(script.replace('"kind": "Apple"', '"kind": "Orchard"', 1))

    kinds.served_part(whole, kubectl, local=True, progress=lambda _: None, teach=teach)
    assert taught == []
    orchard = recording(recorded("fruit.example.com/v1", "Orchard", "o"))
    assert kinds.served_part(orchard, kubectl, local=True, progress=lambda _: None, teach=teach)[0] == orchard
    assert taught == ["once"]


def test_a_server_that_fails_to_answer_is_not_taken_for_one_without_the_kind(kubectl: Kubectl) -> None:
    with pytest.raises(KubectlError, match="InternalError"):
        kinds.served_part(recording(recorded("broken/v1", "X", "x")), kubectl, local=True, progress=lambda _: None)
