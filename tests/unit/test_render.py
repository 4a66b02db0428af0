"""Rendering: manifests for files and for the apply path, out of a recording."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudmart.errors import UserError
from cloudmart.preview.recorder import SECRET, PropertyPath, Recorded, Recording
from cloudmart.preview.render import KUSTOMIZATION, MARKER, check, manifests, render, substitute, to_yaml

SENTINEL = "cloudmart-generated.db.01234567.result."


def recorded(kind: str, name: str | None, namespace: str | None = "shop", **more: Any) -> Recorded:
    metadata = {k: v for k, v in (("name", name), ("namespace", namespace)) if v is not None}
    inputs = {"apiVersion": more.pop("api_version", "v1"), "kind": kind, "metadata": metadata, **more.pop("inputs", {})}
    urn = f"urn:{kind}:{name}"
    return Recorded(
        urn=urn, type=f"kubernetes:x:{kind}", name=name or "", inputs=inputs, parent="", custom=True, **more
    )


def recording(*resources: Recorded) -> Recording:
    return Recording("shop", "dev", Path(), list(resources), {}, {})


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


CONFIG = recorded("ConfigMap", "web", inputs={"data": {"B": "1", "A": "x"}})
NAMESPACE = recorded("Namespace", "shop", None)
SECRET_OBJECT = recorded(
    "Secret", "db", inputs={"stringData": {"p": SECRET}}, secrets={("stringData", "p"): f"a-{SENTINEL}-b"}
)
RELEASE = Recorded(
    urn="urn:r", type="kubernetes:helm.sh/v3:Release", name="kubecost", inputs={}, parent="", custom=True
)


def test_one_file_an_object_by_namespace_and_kind_with_the_same_bytes_every_time(tmp_path: Path) -> None:
    result = render(recording(CONFIG, NAMESPACE), tmp_path / "a")
    render(recording(NAMESPACE, CONFIG), tmp_path / "b")
    assert result.files == ("_cluster/namespace-shop.yaml", "shop/configmap-web.yaml")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert (tmp_path / "a/shop/configmap-web.yaml").read_bytes() == (
        b"apiVersion: v1\ndata:\n  A: x\n  B: '1'\nkind: ConfigMap\nmetadata:\n"
        b"  annotations:\n    argocd.argoproj.io/sync-wave: '10'\n  name: web\n  namespace: shop\n"
    )


def test_secrets_and_releases_are_left_out_and_listed(tmp_path: Path) -> None:
    result = render(recording(SECRET_OBJECT, RELEASE, CONFIG), tmp_path)
    assert result.left_out == ("Release kubecost: is not an object of the API", "Secret shop/db: holds secret values")
    assert json.loads((tmp_path / MARKER).read_text())["leftOut"] == list(result.left_out)
    written = b"".join(tree(tmp_path).values())
    assert SENTINEL.encode() not in written
    assert SECRET.encode() not in written


def test_a_secret_value_outside_of_a_secret_stops_the_render_before_anything_is_written(tmp_path: Path) -> None:
    bad = recorded("ConfigMap", "bad", inputs={"data": {"p": SECRET}}, secrets={("data", "p"): "x"})
    with pytest.raises(UserError, match=r"ConfigMap shop/bad: data.p: found a secret value"):
        render(recording(CONFIG, bad), tmp_path)
    assert tree(tmp_path) == {}


def test_a_replica_count_that_an_autoscaler_owns_is_left_out_and_no_other_ignored_input() -> None:
    inputs = {"spec": {"replicas": 2, "paused": False}}
    owned = recorded("Deployment", "a", inputs=inputs, ignore_changes=("spec.replicas", "spec.paused"))
    fixed = recorded("Deployment", "b", inputs=inputs)
    first, second = manifests(recording(owned, fixed))
    assert first.object["spec"] == {"paused": False}
    assert second.object["spec"] == inputs["spec"]
    assert owned.inputs["spec"] == inputs["spec"], "the recording itself must not change"


def test_the_apply_path_gets_templates_and_puts_generated_values_into_them() -> None:
    (masked,) = manifests(recording(SECRET_OBJECT))
    assert masked.object["stringData"] == {"p": SECRET}
    (template,) = manifests(recording(SECRET_OBJECT), templates=True)
    real = substitute(template.object, {SENTINEL: "pa$$\\1", "cloudmart-generated.other.00000000.result.": "no"})
    assert real["stringData"] == {"p": "a-pa$$\\1-b"}
    assert template.object["stringData"] == {"p": f"a-{SENTINEL}-b"}


def test_generated_values_are_also_found_inside_of_base64() -> None:
    encoded = base64.b64encode(f"x{SENTINEL}".encode()).decode()
    real = substitute({"kind": "Secret", "data": {"a": encoded, "b": "%%", "c": 1}}, {SENTINEL: "y"})
    assert base64.b64decode(real["data"]["a"]) == b"xy"
    assert (real["data"]["b"], real["data"]["c"]) == ("%%", 1)


def test_the_next_render_removes_what_is_no_longer_made_and_nothing_else(tmp_path: Path) -> None:
    render(recording(CONFIG, NAMESPACE), tmp_path)
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "shop/own.yaml").write_text("mine")
    result = render(recording(NAMESPACE), tmp_path)
    assert result.removed == ("shop/configmap-web.yaml",)
    assert set(tree(tmp_path)) == {MARKER, KUSTOMIZATION, "README.md", "shop/own.yaml", "_cluster/namespace-shop.yaml"}


def test_a_folder_with_files_of_others_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds files that no render wrote"):
        render(recording(CONFIG), tmp_path)
    assert set(tree(tmp_path)) == {"notes.txt"}


@pytest.mark.parametrize("marker", ["", "{}", '{"files": ["../../outside.yaml"]}', '{"files": ["/etc/passwd"]}'])
def test_a_tampered_list_of_files_removes_nothing(tmp_path: Path, marker: str) -> None:
    folder = tmp_path / "a/b"
    folder.mkdir(parents=True)
    (tmp_path / "outside.yaml").write_text("mine")
    (folder / MARKER).write_text(marker)
    with pytest.raises(UserError, match="is damaged"):
        render(recording(CONFIG), folder)
    assert (tmp_path / "outside.yaml").exists()


@pytest.mark.parametrize("name", ["../../escape", "/etc/passwd", "..", "system:node", "A"])
def test_no_name_leads_out_of_the_folder_or_onto_another_file(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    result = render(recording(recorded("ClusterRole", name, None), recorded("ConfigMap", "c", name)), out)
    assert len(result.files) == 2
    assert all((out / file).resolve().is_relative_to(out.resolve()) for file in result.files)
    assert all(file.count("/") == 1 for file in result.files)
    assert set(tree(tmp_path)) == {f"out/{file}" for file in (*result.files, MARKER, KUSTOMIZATION)}
    render(recording(), out)  # names that were made safe are accepted back
    assert set(tree(out)) == {MARKER, KUSTOMIZATION}


def test_the_same_kind_and_name_in_two_api_groups_are_two_files(tmp_path: Path) -> None:
    mine = recorded("Service", "web")
    theirs = recorded("Service", "web", api_version="serving.knative.dev/v1")
    files = render(recording(mine, theirs), tmp_path).files
    assert files == ("shop/service.core-web.yaml", "shop/service.serving.knative.dev-web.yaml")


def test_an_object_declared_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ConfigMap shop/web: declared twice"):
        render(recording(CONFIG, CONFIG), tmp_path)


@pytest.mark.parametrize(
    ("name", "unknown", "message"),
    [(None, (), "metadata.name: found nothing"), ("a", (("data", "ip"),), "data.ip: known only once it is deployed")],
)
def test_what_cannot_be_a_manifest_is_an_error(
    name: str | None, unknown: tuple[PropertyPath, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        manifests(recording(recorded("ConfigMap", name, unknown_paths=unknown)))


@pytest.mark.parametrize(
    "text", ["y", "No", "1e3", "0o14", "1_000", "12:30:45", "", "~", "null", "a: b", "#x", "ü", "a\nb\n"]
)
def test_text_stays_text_for_every_reader(text: str) -> None:
    written = to_yaml({"k": text, text: "v"})
    assert yaml.safe_load(written) == {"k": text, text: "v"}
    if text not in ("a: b", "#x", "ü", "a\nb\n"):
        assert f"k: '{text}'" in written


def test_a_check_names_what_is_stale_missing_and_superfluous_and_writes_nothing(tmp_path: Path) -> None:
    render(recording(CONFIG, NAMESPACE), tmp_path)
    assert check(recording(CONFIG, NAMESPACE), tmp_path).same
    (tmp_path / "README.md").write_text("mine")
    assert check(recording(CONFIG, NAMESPACE), tmp_path).same, "nobody applies it"
    (tmp_path / "shop/deep").mkdir()
    (tmp_path / "shop/deep/own.yaml").write_text("kind: ClusterRole")
    (tmp_path / "elsewhere").symlink_to("/")
    before = tree(tmp_path / "shop")
    changed = recorded("ConfigMap", "web", inputs={"data": {"A": "x", "B": "2"}})
    found = check(recording(changed, recorded("Service", "web")), tmp_path)
    assert found.stale == {
        MARKER: "what was rendered and left out",
        KUSTOMIZATION: "the order of the files",
        "shop/configmap-web.yaml": "ConfigMap shop/web",
    }
    assert found.missing == {"shop/service-web.yaml": "Service shop/web"}
    assert found.superfluous == {
        "_cluster/namespace-shop.yaml": "no longer made",
        "elsewhere": "no render wrote it, so none removes it",
        "shop/deep/own.yaml": "no render wrote it, so none removes it",
    }
    assert found.foreign == ["elsewhere", "shop/deep/own.yaml"]
    assert not found.same
    assert tree(tmp_path / "shop") == before


def test_a_check_sees_a_change_of_one_byte_that_leaves_the_size(tmp_path: Path) -> None:
    render(recording(CONFIG), tmp_path)
    file = tmp_path / "shop/configmap-web.yaml"
    file.write_bytes(file.read_bytes().replace(b"'1'", b"'2'"))
    assert set(check(recording(CONFIG), tmp_path).stale) == {"shop/configmap-web.yaml"}


def test_a_check_of_a_folder_that_is_not_there_misses_everything_and_makes_none(tmp_path: Path) -> None:
    found = check(recording(CONFIG), tmp_path / "new")
    assert set(found.missing) == {MARKER, KUSTOMIZATION, "shop/configmap-web.yaml"}
    assert not (tmp_path / "new").exists()


def test_a_check_follows_no_link_out_of_the_folder(tmp_path: Path) -> None:
    render(recording(CONFIG), tmp_path / "out")
    (tmp_path / "out/shop").rename(tmp_path / "moved")
    (tmp_path / "out/shop").symlink_to(tmp_path / "moved")
    with pytest.raises(UserError, match="found a link or a file where the folder shop is"):
        check(recording(CONFIG), tmp_path / "out")


def test_a_kustomization_of_somebody_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    render(recording(CONFIG), tmp_path)
    (tmp_path / KUSTOMIZATION).write_text("resources: [mine.yaml]\n")
    for act in (render, check):
        with pytest.raises(UserError, match=r"found a kustomization\.yaml that no render wrote"):
            act(recording(CONFIG), tmp_path)
    assert (tmp_path / KUSTOMIZATION).read_text() == "resources: [mine.yaml]\n"


def test_a_folder_may_be_a_link_and_its_kustomization_may_not(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    render(recording(CONFIG), tmp_path / "link")
    (tmp_path / "outside").write_bytes((tmp_path / "real" / KUSTOMIZATION).read_bytes())
    (tmp_path / "real" / KUSTOMIZATION).unlink()
    (tmp_path / "real" / KUSTOMIZATION).symlink_to("../outside")
    with pytest.raises(UserError, match=r"found a link or a folder where kustomization\.yaml is"):
        render(recording(CONFIG), tmp_path / "link")
