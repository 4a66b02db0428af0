"""``cloudmart config``: what the catalog and the stacks say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

from cloudmart.cli._options import ROOT, STACK, OneOf, examples, formats
from cloudmart.cli._output import print_json
from cloudmart.errors import printable


@click.group(epilog=examples("config show --stack prod", "config schema stack"))
def config() -> None:
    """What the catalog and the stacks say, merged and checked."""


@config.command("show", epilog=examples("config show", "config show --stack prod --format json"))
@STACK
@ROOT
@formats("text", "json")
def config_show(stack: str, root: Path, format_: str) -> None:
    """Print the merged tree of a stack, and where each value came from."""
    from cloudmart.settings import load_with_origins
    from cloudmart.settings.show import leaves

    found = list(leaves(load_with_origins(stack, root)))
    if format_ == "json":
        print_json([{"path": path, "value": value, "origin": str(o)} for path, value, o in found])
        return
    width = max(len(path) for path, _, _ in found)
    for path, value, origin in found:
        click.echo(printable(f"{path:<{width}}  {json.dumps(value, ensure_ascii=False)}  # {origin}"))


@config.command("schema", epilog=examples("config schema > schemas/catalog.schema.json", "config schema preview"))
@click.argument("document", type=OneOf(["catalog", "stack", "preview"]), default="catalog")
def config_schema(document: Literal["catalog", "stack", "preview"]) -> None:
    """Print the JSON Schema of catalog.yaml, of Pulumi.<stack>.yaml or of the JSON that `cloudmart preview` prints.

    schemas/ holds the committed copies.
    """
    if document == "preview":
        from cloudmart.preview.document import json_schema as of_preview

        print_json(of_preview())
        return
    from cloudmart.settings.schema import json_schema

    print_json(json_schema(document))
