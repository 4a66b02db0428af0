"""Writes a new project: a catalog with one service, two stacks, the program, the policy pack, what to install."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from cloudmart.errors import UserError, meant
from cloudmart.settings import load, stacks
from cloudmart.settings.edit import NOT_PLAIN, service_text
from cloudmart.settings.schema import json_schema

_FILES = Path(__file__).parent / "files"
#: As CloudMart's own catalog has them; a test holds them together.
KUBERNETES = "1.36"
PLACEHOLDER = {"repository": "docker.io/nginxinc/nginx-unprivileged", "tag": "1.30.4-alpine-slim"}
STORES = ("postgres", "redis", "kafka")


@dataclass(frozen=True, kw_only=True)
class Shop:
    """What one has to say of a new shop. `service` is its first one's entry in the catalog."""

    name: str
    team: str
    cost_center: str
    service_name: str
    service: Mapping[str, Any]

    @property
    def stores(self) -> Sequence[str]:
        """Those that the service needs."""
        return [store for store in STORES if store in self.service.get("needs", ())]

    @property
    def topics(self) -> Sequence[str]:
        """Those that the service writes or reads."""
        topics = self.service.get("topics", {})
        return list(dict.fromkeys([*topics.get("produces", ()), *topics.get("consumes", ())]))


def write(shop: Shop, folder: Path) -> Sequence[str]:
    """Writes the files of a shop to a folder that is not there, or empty; names them, sorted.

    Nothing is left where something cannot be written or a stack would not load. Raises ``UserError``.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"--out {folder}: found {'files in it' if folder.is_dir() else 'a file'}; allowed: a new folder"
        )
    for need in shop.service.get("needs", ()):
        if need not in STORES:
            raise UserError(f"--need: found {need!r}{meant(need, STORES)}; allowed: {', '.join(STORES)}")
    files = texts(shop)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as made:
            for name, text in files.items():
                place = Path(made, name)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text, encoding="utf-8", newline="\n")
            for stack in stacks(Path(made)):
                load(stack, Path(made))
            for name in {name.partition("/")[0] for name in files}:
                folder.mkdir(exist_ok=True)
                shutil.move(Path(made, name), folder / name)
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be written: {error.strerror}") from None
    return sorted(files)


def texts(shop: Shop) -> Mapping[str, str]:
    """The files by path, with forward slashes."""
    environment = jinja2.Environment(  # noqa: S701 (YAML and Python; what goes in was checked)
        loader=jinja2.FileSystemLoader(_FILES), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["scalar"] = _scalar
    entry = service_text(shop.service_name, shop.service).rstrip()
    values = {
        "name": shop.name,
        "title": shop.name.replace("-", " ").capitalize(),
        "team": shop.team,
        "cost_center": shop.cost_center,
        "kubernetes": KUBERNETES,
        "image": PLACEHOLDER,
        "service": "\n".join(f"  {line}" if line else "" for line in entry.splitlines()),
        "stores": shop.stores,
        "topics": shop.topics,
        "requirement": requirement(),
    }
    found = {
        # A name with a dot in front is none that packaging takes along.
        name.removesuffix(".jinja").replace("gitignore", ".gitignore"): environment.get_template(name).render(values)
        for name in environment.list_templates(extensions=["jinja"])
    }
    for document in ("catalog", "stack"):
        found[f"schemas/{document}.schema.json"] = json.dumps(json_schema(document), indent=2) + "\n"
    return found


def _scalar(text: str) -> str:
    """As YAML, in quotes where it would be read as something else."""
    style = '"' if NOT_PLAIN.fullmatch(text) else None
    return str(yaml.safe_dump(text, width=1 << 16, default_style=style)).removesuffix("...\n").rstrip("\n")


def requirement() -> str:
    """How this package was installed, for pip: from Git at a commit, from a folder, or by its version."""
    distribution = importlib.metadata.distribution("cloudmart")
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        url, source = str(origin.get("url", "")), origin.get("vcs_info")
    except (OSError, ValueError, AttributeError):
        url, source = "", None
    if source and re.fullmatch(r"[a-z]+", source.get("vcs", "")):
        return f"cloudmart @ {source['vcs']}+{url}@{source['commit_id']}"
    if url.startswith("file://"):
        return f"cloudmart @ {url}"
    return f"cloudmart=={distribution.version}"
