"""JSON Schemas of the two kinds of YAML file, so that editors complete and check while one types."""

from __future__ import annotations

import copy
from typing import Any, Literal

from cloudmart.settings.load import PREFIX, SECRET_KEYS, STACK_KEYS
from cloudmart.settings.model import Declaration

_DRAFT = "https://json-schema.org/draft/2020-12/schema"

Document = Literal["catalog", "stack"]


def json_schema(document: Document) -> dict[str, Any]:
    """The schema of ``catalog.yaml`` or of ``Pulumi.<stack>.yaml``.

    A stack's file holds only what differs: nothing in it is required, and null takes a key of the catalog away. What
    only the merged whole can break (a limit below its request, an edge to nothing) is left to the command line.
    """
    schema = _closed(Declaration.model_json_schema(by_alias=True))
    if document == "catalog":
        return {"$schema": _DRAFT, **schema, "title": "CloudMart's catalog"}
    definitions = {name: _partial(part) for name, part in schema.pop("$defs").items()}
    properties = {f"{PREFIX}{name}": part for name, part in _partial(schema)["properties"].items()}
    secret = {"type": "object", "required": ["secure"], "description": "Set with `pulumi config set --secret`"}
    return {
        "$schema": _DRAFT,
        "title": "A stack of CloudMart",
        "type": "object",
        "$defs": definitions,
        "properties": {
            "config": {
                "type": "object",
                "properties": properties | {f"{PREFIX}{name}": secret for name in sorted(SECRET_KEYS)},
                # Other providers' configuration is theirs to check; an unknown key of ours is a mistake.
                "patternProperties": {f"^(?!{PREFIX})": {}},
                "additionalProperties": False,
            },
            **{key: {} for key in STACK_KEYS[1:]},
        },
        "additionalProperties": False,
    }


def _closed(schema: Any) -> Any:
    """The same, where keys that fit no pattern are errors: a mapping with a grammar for its keys is published open."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "patternProperties" in schema else {}
    return {key: _closed(part) for key, part in schema.items()} | closed


def _partial(schema: dict[str, Any]) -> dict[str, Any]:
    part = copy.deepcopy(schema)
    part.pop("required", None)
    if "properties" in part:
        part["properties"] = {name: _nullable(value) for name, value in part["properties"].items()}
    if isinstance(part.get("additionalProperties"), dict):
        part["additionalProperties"] = _nullable(part["additionalProperties"])
    if "patternProperties" in part:
        part["patternProperties"] = {name: _nullable(value) for name, value in part["patternProperties"].items()}
    return part


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    inner = _partial(schema)
    inner.pop("default", None)
    # What it is for stands outside, where editors look for it.
    said = {"description": inner.pop("description")} if "description" in inner else {}
    return {"anyOf": [inner, {"type": "null"}], **said}
