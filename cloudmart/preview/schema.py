"""Strict validation of Kubernetes objects against the API of the target's version, offline.

The schemas are the API server's own OpenAPI definitions, turned into JSON Schema, in the data of the package
``kubernetes-validate`` (the strict variant: unknown fields are errors). OpenAPI leaves out what the API server checks
in code. The cheap and frequent part of that is added here to the definitions, so that it holds wherever a type is
used: the grammar of quantities, label keys and values, names, ports.

Custom kinds are checked against their definitions (CRDs) where a folder with those is given: fields, types and
grammars, not their rules between fields (CEL). A constraint's kind is defined by its template, among the objects.

Not checked, and said so in the result: custom kinds without a schema. A kind of Kubernetes' own groups that has none
does not exist in that version, which is an error. Not checked at all: everything that needs the cluster, such as
whether a referenced object exists.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema_rs

from cloudmart.errors import UserError
from cloudmart.preview.recorder import PropertyPath, Recorded, path_text
from cloudmart.settings.service import OLDEST_KUBERNETES

_BASE = "https://kubernetes.io/api/_definitions.json"
_CORE = "io.k8s.api.core.v1."
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."

# Grammars from k8s.io/apimachinery: pkg/api/resource (quantity) and pkg/util/validation (the others).
_QUANTITY = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$"
_DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_LABEL_VALUE = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
_LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$"
_ANNOTATION_KEY = _LABEL_KEY.replace("a-z0-9", "A-Za-z0-9")
# RBAC names may hold anything that can stand in a path.
_PATH_SEGMENT_KINDS = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
_DNS_LABEL_KINDS = {"Namespace", "Service"}
#: A kind whose definition says what a constraint of Gatekeeper may match.
_MATCHING = ("mutations.gatekeeper.sh/v1", "Assign")


@dataclass(frozen=True)
class SchemaError:
    """One fault of one object. ``path`` is the place in the object, e.g. ``spec.replicas``."""

    urn: str
    path: str
    message: str


@dataclass(frozen=True)
class SchemaResult:
    """``checked`` objects were validated; ``unchecked`` lists "apiVersion kind" of custom ones that have no schema.

    ``unfetched`` says that definitions of custom kinds were looked for where none are yet.
    """

    errors: list[SchemaError]
    checked: int
    unchecked: dict[str, int]
    unfetched: bool = False


def versions() -> list[str]:
    """Minor versions of Kubernetes that can be checked against, oldest first, e.g. ``["1.30", ..., "1.36"]``."""
    return sorted(version for version in _folders() if version >= OLDEST_KUBERNETES)


def definitions(version: str) -> dict[str, Any]:
    """The definitions of one version of the API by name, such as ``io.k8s.api.apps.v1.Deployment``, as they are checked
    here. References are ``#/$defs/<name>``. Raises :class:`UserError` for an unknown version."""
    found: dict[str, Any] = _definitions(_folder(version))["$defs"]
    return found


def validate(objects: Iterable[Recorded], version: str, definitions: Path | None = None) -> SchemaResult:
    """Check every Kubernetes object among ``objects``; ``version`` is a minor version such as ``1.36``.

    ``definitions`` is a folder of files ``*.yaml`` with one custom resource definition (as JSON) a line; it need not
    exist. Places that hold a secret or an unknown value are not judged. Raises :class:`UserError` for an unknown
    version.
    """
    schemas = _schemas(version)
    objects = list(objects)
    custom = _CustomSchemas(definitions, schemas, objects)
    errors: list[SchemaError] = []
    unchecked: dict[str, int] = {}
    checked = 0
    for recorded in objects:
        if not recorded.is_kubernetes_object:
            continue
        api_version, kind = recorded.api_version or "", recorded.kind or ""
        validator = schemas.validator(api_version, kind) or custom.validator(api_version, kind)
        if validator is None and _is_builtin(api_version):
            checked += 1
            errors.append(SchemaError(recorded.urn, "apiVersion", _not_served(api_version, kind, version)))
            continue
        if validator is None:
            key = f"{api_version} {kind}"
            unchecked[key] = unchecked.get(key, 0) + 1
            continue
        checked += 1
        errors.extend(_name_errors(recorded))
        if validator.is_valid(recorded.inputs):
            continue
        masked = {*recorded.secret_paths, *recorded.unknown_paths}
        for error in validator.iter_errors(recorded.inputs):
            path = tuple(error.instance_path)
            if path not in masked:
                errors.append(SchemaError(recorded.urn, path_text(path), _message(error)))
    unfetched = bool(unchecked) and definitions is not None and not definitions.is_dir()
    return SchemaResult(errors, checked, unchecked, unfetched)


def _is_builtin(api_version: str) -> bool:
    """Whether the group is one of Kubernetes itself: a custom group has a dot."""
    group = api_version.rpartition("/")[0]
    return "." not in group or group in _builtin_groups()


def _not_served(api_version: str, kind: str, version: str) -> str:
    return f"kind {kind} of {api_version}: Kubernetes {version} does not serve it"


class _Schemas:
    """The schemas of one version: definitions read once, each kind compiled on first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.registry = jsonschema_rs.Registry([(_BASE, _definitions(folder))])
        self._validators: dict[tuple[str, str], jsonschema_rs.Draft202012Validator | None] = {}

    def validator(self, api_version: str, kind: str) -> jsonschema_rs.Draft202012Validator | None:
        key = (api_version, kind)
        if key not in self._validators:
            self._validators[key] = self._compile(api_version, kind)
        return self._validators[key]

    def _compile(self, api_version: str, kind: str) -> jsonschema_rs.Draft202012Validator | None:
        # Files are named kind-group-version, with the first part of the group alone: deployment-apps-v1.json. Groups
        # of others can collide with that (networking.istio.io), so the schema itself has the last word.
        group, _, version = api_version.rpartition("/")
        parts = [kind.lower(), *([group.partition(".")[0]] if group else []), version]
        file = self._folder / ("-".join(parts) + ".json")
        if not re.fullmatch(r"[A-Za-z0-9]+", kind) or not re.fullmatch(r"[a-z0-9.-]*", group) or not file.is_file():
            return None
        if kind.endswith("List"):
            return None  # what the server answers with; nobody can create one
        schema = json.loads(file.read_bytes())
        declared = {"group": group, "kind": kind, "version": version}
        if declared not in schema.get("x-kubernetes-group-version-kind", []):
            return None
        return jsonschema_rs.Draft202012Validator(schema, registry=self.registry)


class _CustomSchemas:
    """The schemas of custom kinds: read when the first one is asked for."""

    def __init__(self, folder: Path | None, builtin: _Schemas, objects: Iterable[Recorded]) -> None:
        self._folder = folder
        self._objects = objects
        self._registry = builtin.registry
        self._validators: dict[tuple[str, str], jsonschema_rs.Draft202012Validator | None] = {}

    def validator(self, api_version: str, kind: str) -> jsonschema_rs.Draft202012Validator | None:
        key = (api_version, kind)
        if key not in self._validators:
            schema = self._definitions.get(key)
            self._validators[key] = None
            if schema is not None:
                validator = jsonschema_rs.Draft202012Validator(_of_object(schema), registry=self._registry)
                self._validators[key] = validator
        return self._validators[key]

    @functools.cached_property
    def _definitions(self) -> dict[tuple[str, str], dict[str, Any]]:
        if self._folder is None:
            return {}
        found = {}
        for file in sorted(self._folder.glob("*.yaml")):
            for line in file.read_text().splitlines():
                if line == "---":
                    continue
                spec = json.loads(line)["spec"]
                for version in spec["versions"]:
                    if version["served"]:
                        key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                        found[key] = version["schema"]["openAPIV3Schema"]
        matching = found.get(_MATCHING)
        return found if matching is None else found | _of_constraints(self._objects, matching)


def _of_constraints(objects: Iterable[Recorded], matching: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Definitions of constraints, as Gatekeeper makes them in the cluster.

    As ``constraint/pkg/client/crds/schema.go`` of open-policy-agent/frameworks does it. What a constraint may match is
    what the kind may that `matching` defines. A template with faults of its own defines nothing.
    """
    text = {"type": "string"}
    points = {"type": "array", "items": {"type": "object", "properties": {"name": text}}}
    scoped = {"type": "object", "properties": {"action": text, "enforcementPoints": points}}
    fixed = {
        "match": matching["properties"]["spec"]["properties"]["match"],
        "enforcementAction": text,
        "scopedEnforcementActions": {"type": "array", "items": scoped},
    }
    found = {}
    for one in objects:
        if one.kind != "ConstraintTemplate" or not (one.api_version or "").startswith("templates.gatekeeper.sh/"):
            continue
        with contextlib.suppress(AttributeError, LookupError, TypeError):
            crd = one.inputs["spec"]["crd"]["spec"]
            parameters = crd.get("validation", {}).get("openAPIV3Schema")
            properties = fixed | ({} if parameters is None else {"parameters": parameters})
            spec = {"type": "object", "properties": properties}
            key = ("constraints.gatekeeper.sh/v1beta1", crd["names"]["kind"])
            found[key] = {"type": "object", "properties": {"spec": spec}}
    return found


def _of_object(definition: dict[str, Any]) -> dict[str, Any]:
    """The schema of a custom object, whose first fields every kind has."""
    schema = _strict(definition)
    text = {"type": "string"}
    metadata = {"$ref": f"{_BASE}#/$defs/{_META}ObjectMeta"}
    schema["properties"] = schema.get("properties", {}) | {"apiVersion": text, "kind": text, "metadata": metadata}
    return schema


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """A structural schema of Kubernetes (OpenAPI 3.0) as a JSON Schema that refuses unknown fields.

    Only here do fields get known; below ``allOf``, ``anyOf``, ``oneOf`` and ``not`` are conditions on known fields.
    """
    result: dict[str, Any] = _condition(schema)
    for name in ("properties", "patternProperties"):
        if name in schema:
            result[name] = {key: _strict(value) for key, value in schema[name].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            result[name] = _strict(schema[name])
    closed = schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields")
    if closed and "additionalProperties" not in schema:
        result["additionalProperties"] = False
        if schema.get("x-kubernetes-embedded-resource"):
            result.setdefault("properties", {}).update({"apiVersion": {}, "kind": {}, "metadata": {}})
    if schema.get("x-kubernetes-int-or-string"):
        result["type"] = ["integer", "string"]
    if schema.get("nullable") and "type" in result:
        types = result["type"]
        result["type"] = [*(types if isinstance(types, list) else [types]), "null"]
        if "enum" in result:
            result["enum"] = [*result["enum"], None]
    return result


def _condition(schema: Any) -> Any:
    """What OpenAPI 3.0 says in another way than JSON Schema, at any depth."""
    if isinstance(schema, list):
        return [_condition(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {}
    for key, value in schema.items():
        if key in ("properties", "patternProperties"):
            result[key] = {name: _condition(item) for name, item in value.items()}
        elif key in ("enum", "required", "default", "example"):
            result[key] = value
        elif not key.startswith("x-kubernetes-"):
            result[key] = _condition(value)
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(result.get(exclusive), bool) and result.pop(exclusive):
            result[exclusive] = result.pop(bound)
    return result


@functools.cache
def _schemas(version: str) -> _Schemas:
    return _Schemas(_folder(version))


@functools.cache
def _builtin_groups() -> frozenset[str]:
    # Of the newest version: a group that came later is missing from the schemas of the versions before.
    newest = json.loads((_folder(versions()[-1]) / "_definitions.json").read_bytes())["$defs"].values()
    return frozenset(kind["group"] for found in newest for kind in found.get("x-kubernetes-group-version-kind", ()))


def _definitions(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "_definitions.json").read_bytes())
    _tighten(found["$defs"])
    return found


def _folder(version: str) -> Path:
    folders = _folders()
    if version not in folders:
        raise UserError(
            f"cluster.kubernetesVersion: found {version!r}, which has no schema; allowed: {', '.join(versions())}"
        )
    return folders[version]


@functools.cache
def _folders() -> dict[str, Path]:
    # Found, not imported: the package would load a second validator and an HTTP client, of no use here.
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise UserError("the package kubernetes-validate is not installed; run `make setup`")
    data = Path(spec.origin).parent / "kubernetes-json-schema"
    matches = ((re.fullmatch(r"v(\d+\.\d+)\.\d+-local-strict", folder.name), folder) for folder in data.iterdir())
    return {match[1]: folder for match, folder in matches if match}


def _tighten(definitions: dict[str, Any]) -> None:
    """Add what the API server checks in code, where a JSON Schema can say it."""
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {
        "type": ["string", "number", "null"],
        "pattern": _QUANTITY,
    }
    key = {"pattern": _LABEL_KEY, "maxLength": 317}
    label = {"type": ["string", "null"], "pattern": _LABEL_VALUE, "maxLength": 63}
    _refine(definitions, _META + "ObjectMeta", "labels", propertyNames=key, additionalProperties=label)
    _refine(
        definitions,
        _META + "ObjectMeta",
        "annotations",
        propertyNames={"pattern": _ANNOTATION_KEY},
    )
    _refine(definitions, _META + "ObjectMeta", "namespace", pattern=_DNS_LABEL, maxLength=63)
    _refine(definitions, _META + "LabelSelector", "matchLabels", propertyNames=key, additionalProperties=label)
    _refine(definitions, _CORE + "ServiceSpec", "selector", propertyNames=key, additionalProperties=label)
    for container in ("Container", "EphemeralContainer"):
        _refine(definitions, _CORE + container, "name", pattern=_DNS_LABEL, maxLength=63)
    _refine(definitions, _CORE + "Volume", "name", pattern=_DNS_LABEL, maxLength=63)
    _refine(definitions, _CORE + "ContainerPort", "containerPort", minimum=1, maximum=65535)
    _refine(definitions, _CORE + "ContainerPort", "name", pattern=_DNS_LABEL, maxLength=15)
    _refine(definitions, _CORE + "ServicePort", "port", minimum=1, maximum=65535)
    _refine(definitions, _CORE + "ServicePort", "name", pattern=_DNS_LABEL, maxLength=63)


def _refine(definitions: dict[str, Any], definition: str, prop: str, **constraints: Any) -> None:
    properties = definitions.get(definition, {}).get("properties", {})
    if prop in properties:  # older versions of Kubernetes lack some types
        properties[prop] = {**properties[prop], **constraints}


def _name_errors(recorded: Recorded) -> list[SchemaError]:
    """Rules for ``metadata.name`` differ by kind, so that they cannot stand in the shared definition."""
    path: PropertyPath = ("metadata", "name")
    name = recorded.object_name
    if name is None or path in recorded.unknown_paths or recorded.kind in _PATH_SEGMENT_KINDS:
        return []
    label = recorded.kind in _DNS_LABEL_KINDS
    pattern, longest = (_DNS_LABEL, 63) if label else (_DNS_SUBDOMAIN, 253)
    if recorded.kind == "Service" and not name[:1].isalpha():
        return [SchemaError(recorded.urn, path_text(path), f"{name!r}: a Service's name starts with a letter")]
    if len(name) <= longest and re.fullmatch(pattern, name):
        return []
    what = "a DNS label" if label else "a DNS subdomain"
    return [
        SchemaError(
            recorded.urn, path_text(path), f"{name!r} is not {what}: a-z, 0-9 and '-', at most {longest} characters"
        )
    ]


_GRAMMARS = {
    _QUANTITY: "a quantity such as 100m, 0.5, 128Mi or 1Gi",
    _DNS_LABEL: "a DNS label: a-z, 0-9 and '-', starting and ending with a letter or digit",
    _LABEL_VALUE: "a label value: A-Z, a-z, 0-9, '-', '_' and '.', starting and ending with a letter or digit",
    _LABEL_KEY: "a label key: an optional DNS prefix and '/', then A-Z, a-z, 0-9, '-', '_' and '.'",
}


def _message(error: jsonschema_rs.ValidationError) -> str:
    for pattern, meaning in _GRAMMARS.items():
        head, found, _ = error.message.partition(f' does not match "{pattern}"')
        if found:
            return f"{head} is not {meaning}"
    text = error.message
    return text if len(text) <= 300 else f"{text[:297]}..."


def gap(result: SchemaResult) -> str:
    """How many objects were not checked, and why; empty where all were."""
    count = sum(result.unchecked.values())
    if not count:
        return ""
    total = result.checked + count
    whose = "its kind" if count == 1 else "their kind" if len(result.unchecked) == 1 else "their kinds"
    objects = "object" if total == 1 else "objects"
    return f"{count} of {total} {objects} {'was' if count == 1 else 'were'} not checked: no schema of {whose} is here"


def summary(result: SchemaResult) -> Sequence[str]:
    """What was not checked, one line a kind, and what helps."""
    lines = [f"{count} x {kind}: no schema, not checked" for kind, count in sorted(result.unchecked.items())]
    if result.unfetched:
        count = sum(result.unchecked.values())
        objects = "1 object" if count == 1 else f"{count} objects"
        lines.append(f"{objects} of custom kinds not checked: `cloudmart local definitions` fetches their schemas once")
    return lines
