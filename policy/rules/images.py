"""Container images: which version runs, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

from pulumi_policy import Severity

from ._kubernetes import UNKNOWN, WORKLOADS, Object
from ._rule import About, Config, Finding, resource_rule

_URL = "https://kubernetes.io/docs/concepts/containers/images/"


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
    resource_rule(
        About(
            name="image-pinned",
            title="Every image names one version: a tag that does not move, or a digest.",
            topic="images",
            severity=Severity.HIGH,
            why="A moving tag runs different code on different nodes, and cannot be rolled back.",
            mend="name a version, best with its digest.",
            url=_URL,
        ),
        WORKLOADS,
        _pinned,
        {
            "forbiddenTags": {
                "type": "array",
                "items": {"type": "string"},
                "default": ["latest", "stable", "edge", "nightly", "main", "master"],
                "description": "Tags that move.",
            },
            "digestRequired": {
                "type": "array",
                "items": {"type": "string"},
                "default": [],
                "description": "Patterns of repositories, registry included, whose images need a digest. `*` is all.",
            },
        },
    ),
    resource_rule(
        About(
            name="image-registries",
            title="Every image comes from an allowed registry.",
            topic="images",
            severity=Severity.HIGH,
            why="Anyone can publish to a public registry; these are the places that somebody answers for.",
            mend="use an image from an allowed place, or add its place to `allowed` of this rule.",
            url=_URL,
        ),
        WORKLOADS,
        _registry,
        {
            "allowed": {
                "type": "array",
                "items": {"type": "string"},
                "default": ["docker.io", "ghcr.io", "quay.io", "registry.k8s.io", "public.ecr.aws"],
                "description": "Registries, or registries with a path.",
            }
        },
    ),
]
