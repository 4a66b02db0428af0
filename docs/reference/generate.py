"""Writes the reference: the settings from their models, the rules from the policy pack, the commands from click.

``make reference``. What a page says of a key, a rule or an option stands where it is defined, and is mended there.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter

from cloudmart.cli import cli
from cloudmart.settings import base
from cloudmart.settings.schema import json_schema
from policy.rules import POLICIES
from policy.rules._rule import About

HERE = Path(__file__).resolve().parent
Json = Mapping[str, Any]
_NOTE = "*Written by `make reference` from {}; do not edit.*"


def row(*cells: str) -> str:
    """A row of a table; what a cell holds cannot end it."""
    return "| " + " | ".join(re.sub(r"\s*\n\s*", " ", cell).replace("|", r"\|") or " " for cell in cells) + " |"


def table(*head: str) -> list[str]:
    return [row(*head), row(*("---" for _ in head))]


def code(value: object) -> str:
    """A value as YAML's flow style writes it, without what is null or empty in it."""
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{key}: {code(part)}" for key, part in value.items() if part not in (None, {}, [])) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(code(part) for part in value) + "]"
    plain = isinstance(value, str) and re.fullmatch(r"(?![\d.]+$)[\w/][\w./:-]*", value)
    return str(value) if plain else json.dumps(value)


# --- settings --------------------------------------------------------------------------------------------------------


def _aliases() -> dict[tuple[str, int | None], tuple[str, str]]:
    """The named kinds of text, and what each is, by pattern and greatest length."""
    lines = inspect.getsource(base).splitlines()
    found = {}
    for number, line in enumerate(lines):
        if (alias := re.match(r"(\w+) = Annotated\[str, ", line)) and lines[number - 1].startswith("#: "):
            schema = TypeAdapter(getattr(base, alias[1])).json_schema()
            if "pattern" in schema:
                found[schema["pattern"], schema.get("maxLength")] = (alias[1], lines[number - 1].removeprefix("#: "))
    return found


def _enums() -> dict[str, type[Enum]]:
    """The enumerations of the settings, by name."""
    modules = [module for name, module in sys.modules.items() if name.startswith("cloudmart.settings.")]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, Enum)
    }


class Settings:
    """The page of the settings, from the JSON Schema of the catalog."""

    def __init__(self) -> None:
        self.schema = json_schema("catalog")
        self.definitions: Mapping[str, Json] = self.schema["$defs"]
        self.aliases, self.enums = _aliases(), _enums()
        text = json.dumps(self.schema)
        uses = Counter(re.findall(r'"\$ref": "#/\$defs/(\w+)"', text))
        listed = re.findall(r'"items": {"\$ref": "#/\$defs/(\w+)"', text)
        #: Models that several keys have, or lists: they get a section of their own.
        self.shared = [
            name
            for name, part in sorted(self.definitions.items())
            if "properties" in part and (uses[name] > 1 or name in listed)
        ]
        self.named: set[str] = set()

    def page(self) -> Iterator[str]:
        yield "# Settings"
        yield _NOTE.format("the models in `cloudmart/settings/`")
        yield (
            "Every key of `catalog.yaml`. A stack's file has the same keys under `config`, each with `cloudmart:` "
            "before the first, and holds only what differs: `cloudmart:data: {postgres: {storage: {size: 1Gi}}}`. "
            "There `null` takes away what the catalog says. `cloudmart config show --stack dev` prints what came "
            "out, with the line of each value."
        )
        sections = []
        for key, part in self.schema["properties"].items():
            below, path = self.below(part)
            if below is None or below in self.shared:
                continue
            lines = [f"## {key}", self.said(self.definitions[below])]
            if path:
                lines.append(f"Keys of each `{key}.NAME`.")
            sections.append("\n\n".join([*lines, "\n".join(self.table(self.definitions[below]))]))
        top = table("key", "what it is", "allowed", "")
        for key, part in self.schema["properties"].items():
            below, _ = self.below(part)
            link = f"[`{key}`](#{key.lower()})" if below and below not in self.shared else f"`{key}`"
            needed = "required" if key in self.schema["required"] else ""
            top.append(row(link, self.what(part), self.allowed(part, link_only=True), needed))
        yield "\n".join(top)
        yield from sections
        yield "## Parts that several keys have"
        for name in self.shared:
            part = self.definitions[name]
            yield f"### {name}"
            yield self.said(part)
            yield "\n".join(self.table(part))
        yield "## Kinds of text"
        yield "\n".join(
            [
                *table("name", "what it is", "pattern"),
                *(
                    row(f"`{name}`", said, f"`{pattern}`" + (f", up to {length} characters" if length else ""))
                    for (pattern, length), (name, said) in sorted(self.aliases.items(), key=lambda alias: alias[1])
                    if name in self.named
                ),
            ]
        )

    def said(self, part: Json) -> str:
        return " ".join(str(part.get("description", "")).replace("``", "`").split())

    def what(self, part: Json) -> str:
        """What a key is: its own words, else the first sentence about its model."""
        name, _ = self.below(part)
        model_says = self.said(self.definitions[name]) if name else ""
        return self.said(part) or re.split(r"(?<=\.) ", model_says)[0]

    def below(self, part: Json) -> tuple[str | None, bool]:
        """The model that a key holds, if it holds one, and whether it holds several by name."""
        if "$ref" in part:
            name = str(part["$ref"]).rpartition("/")[2]
            return (name, False) if "properties" in self.definitions[name] else (None, False)
        for option in part.get("anyOf", ()):
            if found := self.below(option)[0]:
                return found, False
        for values in (*part.get("patternProperties", {}).values(), part.get("additionalProperties")):
            if isinstance(values, dict) and (found := self.below(values)[0]):
                return found, True
        return None, False

    def table(self, part: Json) -> list[str]:
        return [*table("key", "what it is", "allowed", "default"), *self.rows(part, "", None)]

    def rows(self, part: Json, prefix: str, given: Json | None) -> Iterator[str]:
        """The keys of a model, and below each those of the models that only it has.

        `given` is what the key above sets instead of the model's own defaults.
        """
        for key, value in part["properties"].items():
            name, several = self.below(value)
            default = (given or {}).get(key, value.get("default"))
            if name and name not in self.shared:
                nested = f"{prefix}{key}.NAME." if several else f"{prefix}{key}."
                if nullable := any(option == {"type": "null"} for option in value.get("anyOf", ())):
                    yield row(f"`{prefix}{key}`", self.what(value), "the keys below", "none")
                inner = default if isinstance(default, dict) and not several else None
                # Nothing below is there by itself where the key may be left out.
                yield from self.rows(self.definitions[name], nested, None if nullable else inner)
            else:
                shown = self.default(default, required=key in part.get("required", ()))
                yield row(f"`{prefix}{key}`", self.what(value), self.allowed(value), shown)

    def default(self, value: object, *, required: bool) -> str:
        if value is None and required:
            return "required"
        shown = code(value)
        return "none" if shown in ("null", "{}", "[]") else f"`{shown}`"

    def allowed(self, part: Json, *, link_only: bool = False) -> str:
        name, several = self.below(part)
        if name and (name in self.shared or link_only):
            link = f"[{name}](#{name.lower()})" if name in self.shared else "its keys"
            return f"{link} by name" if several else link
        return self._allowed(part)

    def _allowed(self, part: Json) -> str:
        if "$ref" in part:
            name = str(part["$ref"]).rpartition("/")[2]
            return self._enum(name) if "enum" in self.definitions[name] else f"[{name}](#{name.lower()})"
        if "enum" in part:
            return ", ".join(f"`{value}`" for value in part["enum"])
        if "const" in part:
            return f"`{part['const']}`"
        if "examples" in part:
            return "such as " + ", ".join(f"`{value}`" for value in part["examples"])
        if "anyOf" in part:
            # A number may be written as text too; once is enough.
            options = [self._allowed(option) for option in part["anyOf"] if option != {"type": "null"}]
            return " or ".join(dict.fromkeys(option for option in options if option != "text" or len(options) == 1))
        kind = part.get("type")
        if kind == "array":
            return "list of " + self._allowed(part["items"]) if "items" in part else "list"
        if kind == "object":
            values = [*part.get("patternProperties", {}).values(), part.get("additionalProperties")]
            inner = next((value for value in values if isinstance(value, dict)), None)
            return "by name: " + self._allowed(inner) if inner else "by name"
        if kind == "boolean":
            return "`true`, `false`"
        if kind in ("integer", "number"):
            return _bounds(part)
        if "pattern" in part:
            alias = self.aliases.get((part["pattern"], part.get("maxLength")))
            if alias:
                self.named.add(alias[0])
            return f"[{alias[0]}](#kinds-of-text)" if alias else f"`{part['pattern']}`"
        return "text"

    def _enum(self, name: str) -> str:
        said = base.comments(self.enums[name])
        return "; ".join(
            f"`{member.value}`" + (f" ({said[member.name].rstrip('.')})" if member.name in said else "")
            for member in self.enums[name]
        )


def _bounds(part: Json) -> str:
    low, high = part.get("minimum"), part.get("maximum")
    above, below = part.get("exclusiveMinimum", part.get("gt")), part.get("exclusiveMaximum", part.get("lt"))
    words = [
        f"{low} to {high}" if low is not None and high is not None else "",
        f"from {low}" if low is not None and high is None else "",
        f"above {above}" if above is not None else "",
        f"up to {high}" if high is not None and low is None else "",
        f"below {below}" if below is not None else "",
    ]
    return ", ".join(word for word in words if word) or "number"


# --- rules -----------------------------------------------------------------------------------------------------------


def policies() -> Iterator[str]:
    yield "# Rules of the policy pack"
    yield _NOTE.format("the metadata of the rules in `policy/`")
    yield (
        "One section a rule: why there is one, how to mend what breaks it, and the keys that it takes in "
        "`policy/config/<stack>.json`. [Policies](../policies.md) has the table of their levels by stack, and how "
        "the pack is run and configured. Every rule also takes `enforcementLevel` and `exempt`, patterns for "
        "`Kind/namespace/name` of objects that it leaves alone."
    )
    for rule in POLICIES:
        about = _about(rule)
        yield f"## {about.name}"
        yield about.title
        yield "\n".join(
            [
                *table("severity", "topic", "level unless configured"),
                row(about.severity.value, about.topic, about.level.value),
            ]
        )
        yield f"**Why:** {about.why}"
        yield f"**Mend:** {about.mend} [More]({about.url})"
        assert rule.config_schema is not None
        keys = {key: part for key, part in rule.config_schema.properties.items() if key != "exempt"}
        if keys:
            yield "\n".join([*table("key", "what it is", "default"), *(_key(key, part) for key, part in keys.items())])


def _about(rule: object) -> About:
    """The metadata that a rule was made of: the pack hands only a part of it to Pulumi."""
    check = next(value for name, value in vars(rule).items() if name.endswith("__validate"))
    about = inspect.getclosurevars(check).nonlocals["about"]
    assert isinstance(about, About)
    return about


def _key(key: str, part: Json) -> str:
    default = json.dumps(part["default"])
    # The table of the charts' components is long, and stands in the code.
    shown = f"`{default}`" if len(default) < 300 else "in `policy/rules/`"
    if key == "costCenters":
        shown = "those of the catalog"
    bounds = f" From {part['minimum']}." if "minimum" in part else ""
    return row(f"`{key}`", part["description"] + bounds, shown)


# --- commands --------------------------------------------------------------------------------------------------------


def commands() -> Iterator[str]:
    yield "# Commands"
    yield _NOTE.format("the commands themselves")
    yield (
        "What each says with `--help`. Exit status: 0 is success, 1 something found that should stop a "
        "merge or a deployment, 2 bad input or a source that cannot be asked."
    )
    root = click.Context(cli, info_name="cloudmart", **cli.context_settings)
    found = [row(f"[`{name}`](#{name.replace(' ', '-')})", _short(command)) for command, _, name in _walk(cli, root)]
    yield "\n".join([*table("command", "what it does"), *found])
    for command, context, name in _walk(cli, root):
        yield f"## {name}"
        yield from paragraphs(command.help or "")
        yield "```text\n" + " ".join(command.collect_usage_pieces(context)).join([f"{name} ", "\n```"])
        records = [record for p in command.params if (record := p.get_help_record(context))]
        if records:
            options = (row(f"`{option}`", _text(said)) for option, said in records)
            yield "\n".join([*table("option", "what it does"), *options])
        if command.epilog:
            yield from paragraphs(command.epilog)


def _walk(group: click.Group, context: click.Context) -> Iterator[tuple[click.Command, click.Context, str]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if command.hidden:
            continue
        below = click.Context(command, info_name=name, parent=context)
        yield command, below, below.command_path
        if isinstance(command, click.Group):
            yield from _walk(command, below)


def _short(command: click.Command) -> str:
    return _text((command.help or "").split("\n\n")[0])


def _text(said: str) -> str:
    """Words of a help text, with nothing in them that Markdown reads as a tag."""
    return re.sub(r"<(\w+)>", r"\\<\1>", " ".join(said.split()))


def paragraphs(said: str) -> Iterator[str]:
    """Paragraphs of a help text; those that click must not wrap (``\\b``) are examples."""
    for paragraph in inspect.cleandoc(said).split("\n\n"):
        if paragraph.startswith("\b"):
            lines = inspect.cleandoc(paragraph.removeprefix("\b\n")).splitlines()
            if lines[0].endswith(":"):
                yield lines.pop(0)
            yield "\n".join(["```console", *(line.strip() for line in lines), "```"])
        else:
            yield _text(paragraph)


PAGES: Mapping[str, Callable[[], Iterator[str]]] = {
    "settings.md": lambda: Settings().page(),
    "policies.md": policies,
    "cli.md": commands,
}


def main() -> None:
    for name, page in PAGES.items():
        (HERE / name).write_text(render(page), encoding="utf-8")


def render(page: Callable[[], Iterator[str]]) -> str:
    return "\n\n".join(part for part in page() if part) + "\n"


if __name__ == "__main__":
    main()
