"""Which images a stack runs: those of its objects, of what its operators start, and of its charts' values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from policy.rules import POLICIES
from policy.rules.images import Reference, parse
from tests.stack.objects import Stack


def images(value: Any, where: str = "") -> Iterator[tuple[str, Reference]]:
    """Every image that is named at any depth: by one text, or as charts' values have it, with the tag apart."""
    if isinstance(value, dict):
        for key, below in value.items():
            place = f"{where}.{key}"
            if key in ("image", "imageName") and isinstance(below, str):
                tag, digest = value.get("tag"), value.get("digest")
                apart = f"{below}:{tag}" if tag else below
                yield place, parse(f"{apart}@{digest}" if digest else apart)
            elif key == "repository" and ({"tag", "digest"} & value.keys()):
                tag, digest = value.get("tag"), value.get("digest")
                yield where, parse(f"{below}{f':{tag}' if tag else ''}{f'@{digest}' if digest else ''}")
            else:
                yield from images(below, place)
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from images(below, f"{where}[{number}]")


def moving(reference: Reference, config: dict[str, Any]) -> bool:
    """Whether the policy of this stack lets somebody else decide what runs."""
    needs_digest = any(fnmatchcase(reference.repository, pattern) for pattern in config["digestRequired"])
    if needs_digest or not reference.tag:
        return not reference.digest
    return reference.tag in config["forbiddenTags"]


def config_of(stack: Stack, root: Path) -> dict[str, Any]:
    """The settings of `image-pinned` in a stack: its own over the defaults."""
    (rule,) = (policy for policy in POLICIES if policy.name == "image-pinned")
    assert rule.config_schema is not None
    defaults = {key: schema["default"] for key, schema in rule.config_schema.properties.items()}
    file = root / "policy" / "config" / f"{stack.settings.stack}.json"
    own = json.loads(file.read_text()).get("image-pinned") if file.is_file() else None
    found: dict[str, Any] = defaults | (own if isinstance(own, dict) else {})  # else it is only a level
    return found


def test_every_image_of_a_stack_names_one_version(stack: Stack) -> None:
    config = config_of(stack, stack.recording.root)
    found = {
        f"{one.name}{place}": reference
        for one in stack.recording.resources
        if one.type.startswith("kubernetes:")
        for place, reference in images(one.inputs)
    }
    assert {place for place, reference in found.items() if moving(reference, config)} == set()
    assert len(found) >= 8


def test_an_image_that_moves_is_found_wherever_it_stands() -> None:
    config = {"digestRequired": ["docker.io/library/*"], "forbiddenTags": ["latest"]}
    digest = "sha256:" + "0" * 64
    values = {
        "a": {"image": {"repository": "ghcr.io/x/a", "tag": "latest"}},
        "b": {"image": "ghcr.io/x/b", "tag": "1.2"},
        "c": [{"image": "nginx:1.27"}, {"image": f"nginx:1.27@{digest}"}],
        "d": {"image": {"repository": "ghcr.io/x/d", "tag": ""}},
        "e": {"imageName": "ghcr.io/x/e"},
    }
    assert [place for place, reference in images(values) if moving(reference, config)] == [
        ".a.image",
        ".c[0].image",
        ".d.image",
        ".e.imageName",
    ]
