"""Kubernetes manifests out of a recording: for files in a repository (GitOps), and for the apply path.

A rendered folder holds one file an object, ``<namespace or _cluster>/<kind>-<name>.yaml``, the same bytes on every run,
and ``kustomization.yaml``, which lists them in the order in which they can be made. Argo CD reads that order from
annotations, which the files alone have (:mod:`cloudmart.preview.waves`).

It holds no Secret: Secrets made by the program have values that are generated or encrypted, and a manifest without them
would overwrite the real ones. Digests of such values, which roll pods when a password changes, stay out for the same
reason: whoever knows the value sets them, and it is their field alone. Those Secrets, and Helm releases, which are no
objects, are listed in ``.cloudmart-render.json`` together with the files that were written; the next render removes the
ones that are no longer made.
"""

from __future__ import annotations

import base64
import binascii
import copy
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cloudmart.errors import UserError
from cloudmart.preview import waves
from cloudmart.preview.recorder import Recorded, Recording, path_text
from cloudmart.settings.source import contents as contents_of
from cloudmart.settings.source import parse_json

MARKER = ".cloudmart-render.json"
"""Its presence says that a folder belongs to ``cloudmart render``."""

KUSTOMIZATION = "kustomization.yaml"

_HEADER = "# By cloudmart render: every file, in the order in which they can be applied.\n"
_REPLICAS = "spec.replicas"


@dataclass(frozen=True)
class Manifest:
    """An object as it goes to the API server, and the registration that it came from."""

    object: dict[str, Any]
    recorded: Recorded

    @property
    def holds_secrets(self) -> bool:
        return bool(self.recorded.secrets)

    @property
    def label(self) -> str:
        """For messages: ``Secret shop/postgres``."""
        namespace = f"{self.recorded.namespace}/" if self.recorded.namespace else ""
        return f"{self.recorded.kind} {namespace}{self.recorded.object_name}"


@dataclass(frozen=True)
class Rendered:
    """What one render did: paths are relative to the folder, with forward slashes, sorted."""

    files: tuple[str, ...]
    removed: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Checked:
    """How a folder differs from what a render would write: by path, the object, or for what is too much the reason.
    ``files`` is how many files of objects there should be."""

    stale: Mapping[str, str]
    missing: Mapping[str, str]
    superfluous: Mapping[str, str]
    files: int

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.stale or self.missing or self.superfluous)

    @property
    def foreign(self) -> Sequence[str]:
        """What is too much, and stays when it is rendered anew."""
        return [name for name, why in self.superfluous.items() if why == _FOREIGN]


def manifests(recording: Recording, *, templates: bool = False) -> list[Manifest]:
    """One manifest for each Kubernetes object of the recording, in its order.

    Secret values are masked, or with ``templates`` are what the program passed, with sentinels for values that do not
    exist yet: give those to :func:`substitute` before they go anywhere.

    ``spec.replicas`` is left out where the program ignores changes to it: it belongs to an autoscaler, which whoever
    applies the manifest again must not fight. Other ignored inputs keep their declared value, their first one.

    Raises :class:`UserError` for objects without an explicit name and for values that only a real provider knows.
    """
    result = []
    for recorded in recording.resources:
        if not recorded.is_kubernetes_object:
            continue
        if recorded.object_name is None:
            raise UserError(f"{recorded.urn}: metadata.name: found nothing; a manifest needs an explicit name")
        if recorded.unknown_paths:
            where = ", ".join(path_text(path) for path in recorded.unknown_paths)
            raise UserError(f"{recorded.urn}: {where}: known only once it is deployed; a manifest cannot hold it")
        inputs = copy.deepcopy(recorded.inputs)
        if templates:
            for path, template in recorded.secrets.items():
                here: Any = inputs
                for part in path[:-1]:
                    here = here[part]
                here[path[-1]] = template
        if _REPLICAS in recorded.ignore_changes and isinstance(inputs.get("spec"), dict):
            inputs["spec"].pop("replicas", None)
        result.append(Manifest(inputs, recorded))
    return result


def substitute(manifest: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """A copy of ``manifest`` with each sentinel (a key of ``Recording.generated``) replaced by its real value.

    Sentinels may stand inside longer text, and inside the base64 of a Secret's ``data``. Keys of ``values`` that do not
    occur do no harm.
    """
    if not values:
        return copy.deepcopy(dict(manifest))
    pattern = re.compile("|".join(re.escape(key) for key in sorted(values, key=len, reverse=True)))

    def replaced(value: Any) -> Any:
        match value:
            case str():
                return pattern.sub(lambda found: values[found[0]], value)
            case dict():
                return {key: replaced(item) for key, item in value.items()}
            case list():
                return [replaced(item) for item in value]
        return value

    def encoded(value: Any) -> Any:
        try:
            text = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, TypeError, ValueError):
            return value
        return base64.b64encode(replaced(text).encode()).decode()

    result: dict[str, Any] = replaced(manifest)
    if manifest.get("kind") == "Secret" and isinstance(manifest.get("data"), dict):
        result["data"] = {key: encoded(value) for key, value in manifest["data"].items()}
    return result


def render(recording: Recording, out: Path) -> Rendered:
    """Write the manifests of ``recording`` below ``out``; see the module's description.

    ``out`` is made if need be. Raises :class:`UserError` when it holds files and no render made it, before anything is
    written, and for an object that is no Secret and holds a secret value.
    """
    previous = _previous_files(out)
    folder = _folder(recording)
    _refuse_ways_out(out, {*folder.labels, *previous})
    removed = sorted(set(previous) - set(folder.labels))
    try:
        for name, content in folder.contents.items():
            target = out / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        for name in removed:
            _remove(out, name)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {error.strerror}") from None
    return Rendered(tuple(sorted(folder.labels)), tuple(removed), folder.left_out)


def check(recording: Recording, out: Path) -> Checked:
    """Compare what stands below ``out`` with what :func:`render` would write there; nothing is written.

    Raises :class:`UserError` as `render` does, and for what cannot be read.
    """
    previous = _previous_files(out)
    folder = _folder(recording)
    _refuse_ways_out(out, {*folder.labels, *previous})
    stale, missing = {}, {}
    try:
        for name, content in sorted(folder.contents.items()):
            file = out / name
            label = folder.labels.get(name) or _OF_THE_FOLDER[name]
            if not file.is_file():
                missing[name] = label
            # Its size first: what anybody committed need not be read whole.
            elif file.stat().st_size != len(content) or file.read_bytes() != content:
                stale[name] = label
        found = set(_applied(out))
    except OSError as error:
        raise UserError(f"--out {out}: cannot be read: {error.strerror}") from None
    superfluous = {
        name: "no longer made" if name in previous else _FOREIGN for name in sorted(found - set(folder.labels))
    }
    return Checked(stale, missing, superfluous, len(folder.labels))


_FOREIGN = "no render wrote it, so none removes it"
_OF_THE_FOLDER = {MARKER: "what was rendered and left out", KUSTOMIZATION: "the order of the files"}


def _applied(out: Path) -> Iterator[str]:
    """What in `out` somebody could apply: manifests in folders, which the Application reads (components/gitops.py), and
    links, which are followed to nowhere here."""
    for folder, folders, files in os.walk(out):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        manifests_ = [name for name in files if here != out and name.endswith((".yaml", ".yml", ".json"))]
        yield from ((here / name).relative_to(out).as_posix() for name in links + manifests_)


@dataclass(frozen=True)
class _Folder:
    """What a rendered folder holds: its files' bytes by path, the objects' labels by path, and what is left out."""

    contents: dict[str, bytes]
    labels: dict[str, str]
    left_out: tuple[str, ...]


def _folder(recording: Recording) -> _Folder:
    written: dict[str, Manifest] = {}
    left_out = []
    objects = []
    for manifest in manifests(recording):
        if not manifest.holds_secrets:
            objects.append(manifest)
        elif manifest.recorded.kind == "Secret":
            left_out.append(f"{manifest.label}: holds secret values")
        else:
            where = path_text(next(iter(manifest.recorded.secrets)))
            raise UserError(f"{manifest.label}: {where}: found a secret value; it belongs in a Secret, by reference")
    left_out += [
        f"{recorded.type.rsplit(':', 1)[-1]} {recorded.name}: is not an object of the API"
        for recorded in recording.resources
        if recorded.type.startswith("kubernetes:") and recorded.custom and not recorded.is_kubernetes_object
    ]
    left_out.sort()

    names = Counter(_file_name(m) for m in objects)
    for manifest in objects:
        name = _file_name(manifest)
        # Kinds of the same name in two API groups.
        written[_file_name(manifest, with_group=True) if names[name] > 1 else name] = manifest
    if len(written) < len(objects):
        twice = next(name for name, count in Counter(m.label for m in objects).items() if count > 1)
        raise UserError(f"{twice}: declared twice; one object, one declaration")

    digests = {hashlib.sha256(sentinel.encode()).hexdigest() for sentinel in recording.generated}
    wave = waves.waves(recording)
    contents = {}
    for name, manifest in written.items():
        item, one = _without(digests, manifest.object), manifest.recorded
        if added := waves.marks(one, wave[one.urn]):
            # What the program itself says has the last word.
            item["metadata"]["annotations"] = added | (item["metadata"].get("annotations") or {})
        contents[name] = to_yaml(item).encode()
    contents[KUSTOMIZATION] = _kustomization(
        sorted(written, key=lambda name: (wave[written[name].recorded.urn], name))
    ).encode()
    marker = {"stack": recording.stack, "files": sorted(written), "leftOut": left_out}
    contents[MARKER] = (json.dumps(marker, indent=2) + "\n").encode()
    return _Folder(contents, {name: manifest.label for name, manifest in written.items()}, tuple(left_out))


def _kustomization(names: Sequence[str]) -> str:
    return _HEADER + to_yaml(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": list(names),
            "sortOptions": {"order": "fifo"},
        }
    )


def _refuse_ways_out(out: Path, names: Set[str]) -> None:
    """A folder may come from anybody's repository: what stands in it must not lead writing, or deleting, elsewhere."""
    for name in sorted(names):
        folder, file = (out / name).parent, out / name
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise UserError(f"--out {out}: found a link or a file where the folder {folder.name} is; allowed: a folder")
        _refuse_no_file(out, file)
    order = out / KUSTOMIZATION
    _refuse_no_file(out, order)
    if order.exists():
        with order.open("rb") as there:
            if there.read(len(_HEADER)) != _HEADER.encode():
                raise UserError(f"--out {out}: found a {KUSTOMIZATION} that no render wrote; allowed: a folder without")


def _refuse_no_file(out: Path, file: Path) -> None:
    if file.is_symlink() or (file.exists() and not file.is_file()):
        name = file.relative_to(out).as_posix()
        raise UserError(f"--out {out}: found a link or a folder where {name} is; allowed: a plain file")


def _without(values: Set[str], data: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without the keys, at any depth, whose value is one of `values`."""
    return {
        key: _without(values, value) if isinstance(value, dict) else value
        for key, value in data.items()
        if not (isinstance(value, str) and value in values)
    }


def to_yaml(data: Mapping[str, Any]) -> str:
    """YAML with sorted keys that YAML 1.1 and 1.2 readers understand alike."""
    text: str = yaml.dump(
        data, Dumper=_Dumper, sort_keys=True, default_flow_style=False, allow_unicode=True, width=1000
    )
    return text


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Labels that several objects share are written out each time."""
        return True


# What one reader takes for a number, boolean, date or null and another for text: y, 1e3, 0o14, 1_000, 12:30.
_AMBIGUOUS = re.compile(r"[-+.0-9~=<].*|y|n|yes|no|on|off|true|false|null|", re.IGNORECASE | re.DOTALL)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else "'" if _AMBIGUOUS.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _file_name(manifest: Manifest, *, with_group: bool = False) -> str:
    recorded = manifest.recorded
    kind = (recorded.kind or "").lower()
    if with_group:
        kind += "." + ((recorded.api_version or "").rpartition("/")[0] or "core")
    folder = _safe(recorded.namespace) if recorded.namespace else "_cluster"
    return f"{folder}/{_safe(kind)}-{_safe(recorded.object_name or '')}.yaml"


def _safe(name: str) -> str:
    """The name where it is one that the API server admits; else what is safe of it, made unique again."""
    if re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,200}[a-z0-9])?", name) and ".." not in name:
        return name
    kept = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:100]
    return f"{kept or 'name'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _previous_files(out: Path) -> Sequence[str]:
    """The files that the last render into ``out`` wrote; nothing for a new or empty folder."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is a file; give a folder")
    if not out.exists() or not any(out.iterdir()):
        return ()
    marker = out / MARKER
    if marker.is_symlink() or not marker.is_file():
        raise UserError(f"--out {out}: holds files that no render wrote; give a new folder, or an empty one")
    try:
        found = parse_json(contents_of(marker, MARKER), MARKER)
    except UserError as error:
        raise UserError(f"--out {out}: {MARKER} is damaged ({error}); give a new folder, or empty this one") from None
    files = found.get("files") if isinstance(found, dict) else None
    if not isinstance(files, list) or not all(isinstance(name, str) and _FILE.fullmatch(name) for name in files):
        raise UserError(f"--out {out}: {MARKER} is damaged; give a new folder, or empty this one")
    return files


# The shape of what _file_name makes: one folder, no way up.
_FILE = re.compile(r"[a-z0-9_][a-z0-9.-]*/[a-z0-9][a-z0-9.-]*\.yaml")


def _remove(out: Path, name: str) -> None:
    file = out / name
    file.unlink(missing_ok=True)
    if file.parent.is_dir() and not any(file.parent.iterdir()):
        file.parent.rmdir()
