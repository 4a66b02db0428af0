"""A small project on disk that is valid, and a way to break one thing in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudmart.errors import UserError
from cloudmart.settings import Loaded, load_with_origins

CATALOG = """\
project: shop
cluster: {kubernetesVersion: "1.36"}
namespace:
  name: shop
  team: platform
  costCenter: CC-1
costCenters:
  CC-1: {name: Shop, owner: platform}
  CC-2: {name: Tools, owner: platform}
placeholderImage: {repository: docker.io/nginxinc/nginx-unprivileged, tag: "1.30"}
services:
  web:
    description: Pages
    criticality: high
    traffic: steady
    replicas: 2
    resources:
      requests: {cpu: 100m, memory: 128Mi}
      limits: {cpu: 300m, memory: 256Mi}
    autoscaling: {min: 1, max: 4, cpu: 70}
    needs: [api, postgres]
    env: {LOG_LEVEL: info}
  api:
    description: Answers
    criticality: standard
    traffic: low
    replicas: 1
    resources:
      requests: {cpu: 50m, memory: 64Mi}
      limits: {cpu: 100m, memory: 64Mi}
    needs: [mail]
externals:
  mail: {description: Mail provider, host: mail.example.com}
data:
  postgres: {}
kubecost: {enabled: false}
"""

#: The comment that marks the line which a message must name.
MARK = "# !"


def write(root: Path, catalog: str = CATALOG, stack: str = "config: {}\n") -> Path:
    """A project with the stack `dev`."""
    (root / "catalog.yaml").write_text(catalog, encoding="utf-8")
    (root / "Pulumi.dev.yaml").write_text(stack, encoding="utf-8")
    return root


def changed(old: str, new: str, text: str = CATALOG) -> str:
    """`text` with its only occurrence of `old` replaced."""
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
    return text.replace(old, new)


def marked_line(text: str) -> int:
    """The number of the line that carries `MARK`."""
    (number,) = (number for number, line in enumerate(text.splitlines(), 1) if MARK in line)
    return number


def loaded(root: Path, engine_config: dict[str, str] | None = None) -> Loaded:
    return load_with_origins("dev", root, engine_config)


def problems(root: Path, engine_config: dict[str, str] | None = None) -> list[str]:
    """The lines of the error that loading the project raises."""
    with pytest.raises(UserError) as caught:
        loaded(root, engine_config)
    assert caught.value.exit_code == 2
    return str(caught.value).split("\n")
