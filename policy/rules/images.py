"""Container images: which version runs, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

from ._kubernetes import UNKNOWN, Object
from ._rule import Config, Finding, object_rule


class Reference(NamedTuple):
    """An image reference with what the container runtime fills in: ``docker.io/library`` where no registry is named."""

    repository: str
    tag: str
    digest: str


@lru_cache(maxsize=4096)
def parse(image: str) -> Reference:
    """Splits an image reference."""
    rest, _, digest = image.partition("@")
    path, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        path, tag = rest, ""  # no colon, or that of the registry's port
    first, slash, _ = path.partition("/")
    if not slash:
        path = f"docker.io/library/{path}"
    elif "." not in first and ":" not in first and first != "localhost":
        path = f"docker.io/{path}"
    return Reference(path, tag, digest)


def _pinned(found: Object, config: Config) -> Iterator[Finding]:
    for container in found.containers:
        image = container.body.get("image")
        if image is UNKNOWN:
            continue
        if not image:
            yield Finding("no image", container.where)
            continue
        reference = parse(str(image))
        if reference.digest:
            continue
        if any(fnmatchcase(reference.repository, pattern) for pattern in config["digestRequired"]):
            yield Finding(f"image '{image}' has no digest", container.where, mend="add @sha256:... of the image.")
        elif not reference.tag:
            yield Finding(f"image '{image}' has no tag, which means latest", container.where)
        elif reference.tag in config["forbiddenTags"]:
            yield Finding(f"image '{image}' has the moving tag '{reference.tag}'", container.where)


def _registry(found: Object, config: Config) -> Iterator[Finding]:
    for container in found.containers:
        image = container.body.get("image")
        if image is UNKNOWN or not image:
            continue
        repository = parse(str(image)).repository
        if not any(f"{repository}/".startswith(f"{prefix.rstrip('/')}/") for prefix in config["allowed"]):
            yield Finding(f"image '{image}' comes from '{repository}'", container.where)


POLICIES = [
    object_rule("image-pinned", _pinned),
    object_rule("image-registries", _registry, patches=True),
]
