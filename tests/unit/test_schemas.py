"""The JSON Schemas that editors check the YAML files with: committed, current, and neither too strict nor too loose."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from cloudmart.preview.recorder import HOME
from cloudmart.settings import schema, stack_file, stacks
from cloudmart.settings.schema import Document
from tests.unit.settings_files import CATALOG

DOCUMENTS: tuple[Document, ...] = ("catalog", "stack")
FILES = [("catalog", "catalog.yaml"), *(("stack", stack_file(stack)) for stack in stacks(HOME))]


@cache
def json_schema(document: Document) -> dict[str, Any]:
    """Made once: that takes longer than all the checks."""
    return schema.json_schema(document)


def committed(document: str) -> Any:
    return json.loads((HOME / "schemas" / f"{document}.schema.json").read_text(encoding="utf-8"))


def valid(document: Document, tree: object) -> bool:
    return jsonschema_rs.is_valid(json_schema(document), tree)


def tree_of(file: str) -> Any:
    return yaml.safe_load((HOME / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_committed_schema_is_the_one_that_the_models_make(document: Document) -> None:
    assert committed(document) == json_schema(document), f"cloudmart config schema {document} > schemas/..."


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_schema_is_valid_json_schema_itself(document: Document) -> None:
    jsonschema_rs.meta.validate(json_schema(document))


@pytest.mark.parametrize(("document", "file"), FILES)
def test_the_repositorys_own_file_fits_its_schema(document: Document, file: str) -> None:
    errors = [error.message for error in jsonschema_rs.iter_errors(json_schema(document), tree_of(file))]
    assert errors == []


@pytest.mark.parametrize(("document", "file"), FILES)
def test_the_files_first_line_names_the_schema_that_is_there(document: Document, file: str) -> None:
    first = (HOME / file).read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema=schemas/{document}.schema.json"
    assert Path(HOME, first.partition("=")[2]).is_file()


def edited(tree: Any, path: str, value: object) -> Any:
    """A copy of `tree` with `value` at `path`; without the last key where the value is `...`."""
    tree = copy.deepcopy(tree)
    *parents, last = path.split("/")
    holder = tree
    for part in parents:
        holder = holder[part]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    return tree


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("project", ...),
        ("proyect", "x"),
        ("services/web/replicas", ...),
        ("services/web/replcas", 1),
        ("services/web/replicas", "2"),
        ("services/web/replicas", 0),
        ("services/web/cost_center", "CC-1"),
        ("services/web/needs", "api"),
        ("services/web/resources/limits/cpu", "100M"),
        ("services/web/resources/limits/memory", "1GB"),
        ("services/web/env/LOG_LEVEL", 3),
        ("services/web/env/no such name", "x"),
        ("services/Web", {}),
        ("services/web/criticality", "urgent"),
        ("data/mysql", {}),
        ("data/postgres", {"mode": "cluster"}),
        ("costCenters/CC-1/owner", ...),
    ],
)
def test_a_broken_catalog_does_not_fit_the_schema(path: str, value: object) -> None:
    tree = yaml.safe_load(CATALOG)
    assert valid("catalog", tree)
    assert not valid("catalog", edited(tree, path, value))


@pytest.mark.parametrize(
    "entry",
    [
        {"cloudmart:servics": {}},
        {"cloudmart:services": {"web": {"replcas": 1}}},
        {"cloudmart:services": {"web": {"replicas": "1"}}},
        {"cloudmart:services": {"Web": {}}},
        {"cloudmart:services": []},
        {"cloudmart:data": {"postgres": {"storage": {"size": "1GB"}}}},
        {"cloudmart:postgresPassword": "plain"},
    ],
)
def test_a_broken_stack_does_not_fit_the_schema(entry: dict[str, Any]) -> None:
    assert not valid("stack", {"config": entry})


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"cloudmart:services": {"web": None}},
        {"cloudmart:services": None},
        {"cloudmart:services": {"web": {"replicas": 1}}},
        {"cloudmart:services": {"web": {"autoscaling": None, "env": {"LOG_LEVEL": None}}}},
        {"cloudmart:services": {"web": {"resources": {"limits": {"cpu": 1}}}}},
        {"cloudmart:data": {"kafka": None}},
        {"cloudmart:postgresPassword": {"secure": "v1:x"}},
        {"kubernetes:context": "prod", "aws:tags": {"a": "b"}},
    ],
)
def test_a_stack_needs_to_say_only_what_differs_and_null_takes_away(entry: dict[str, Any]) -> None:
    errors = [error.message for error in jsonschema_rs.iter_errors(json_schema("stack"), {"config": entry})]
    assert errors == []
