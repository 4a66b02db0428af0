"""CloudMart under the engine, as the tests look at it."""

from __future__ import annotations

import base64
import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy import up
from cloudmart.settings import load, stacks
from tests.conftest import Project

Json = Any
Ended = subprocess.CompletedProcess[str]

SPACE = "cloudmart"
_KINDS = (
    "serviceaccounts,configmaps,secrets,services,deployments,statefulsets,horizontalpodautoscalers,"
    "poddisruptionbudgets,networkpolicies,resourcequotas,limitranges,persistentvolumeclaims,pods"
)
#: What every namespace has of itself.
OWN = {"ServiceAccount default", "ConfigMap kube-root-ca.crt"}


@dataclass
class Shop:
    """A project, its cluster, and all that its runs said."""

    cluster: LocalCluster
    project: Project
    said: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def use_own_charts(self) -> None:
        """Every layer from its chart beside the project."""
        for stack in stacks(self.project.root):
            settings = load(stack, self.project.root)
            for key, chart in settings.charts.items():
                self.project.config(stack, functools.partial(_take, key=key, chart=chart.name))

    def up(self, stack: str, *, refresh: bool = False) -> tuple[up.Deployed, list[str]]:
        """`cloudmart up` in this process; what it said."""
        lines: list[str] = []
        try:
            deployed = up.up(stack, None, self.project.root, lines.append, refresh=refresh)
        finally:
            self.said += lines
        self.environment = dict(deployed.environment)
        return deployed, lines

    def down(self, stack: str, *, delete_data: bool = False) -> list[str]:
        """`cloudmart down` in this process; what it says is left."""
        return list(up.down(stack, None, self.project.root, self.said.append, delete_data=delete_data))

    def cloudmart(self, *arguments: str) -> Ended:
        """The command as people run it."""
        return self.run([sys.executable, "-m", "cloudmart.cli", *arguments, "--root", str(self.project.root)], {})

    def pulumi(self, *arguments: str) -> Ended:
        """Plain Pulumi, with what `up` told people to export, in the folder that it named."""
        folder = str(self.project.root / ".local" / "pulumi")
        return self.run(["pulumi", "-C", folder, *arguments, "--non-interactive"], self.environment)

    def run(self, command: list[str], environment: Mapping[str, str]) -> Ended:
        """One command in the project's folder, with these variables besides the test's own."""
        ended = subprocess.run(
            command,
            env={**os.environ, **environment},
            cwd=self.project.root,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        self.said += [ended.stdout, ended.stderr]
        return ended

    def get(self, *arguments: str) -> list[Json]:
        """The items of a list."""
        items: list[Json] = json.loads(self.cluster.kubectl("get", *arguments, "-o", "json"))["items"]
        return items

    def held(self, namespace: str = SPACE) -> dict[str, str]:
        """Everything in a namespace, ``Kind name`` to uid."""
        found = self.get(_KINDS, "-n", namespace)
        return {f"{item['kind']} {item['metadata']['name']}": item["metadata"]["uid"] for item in found}

    def names(self, kind: str) -> set[str]:
        """Names of cluster-wide objects."""
        return {item["metadata"]["name"] for item in self.get(kind)}

    def passwords(self) -> set[str]:
        """Every secret value of the stores, as files and variables hold it."""
        return {
            base64.b64decode(value).decode().strip()
            for item in self.get("secrets", "-n", SPACE, "--field-selector=type=Opaque")
            for key, value in (item.get("data") or {}).items()
            if key != "username"
        }


def _take(config: Json, *, key: str, chart: str) -> None:
    """Writes into a stack's configuration that the chart of a layer is the one beside the project."""
    top, *below = key.split(".")
    part = config.setdefault(f"cloudmart:{top}", {})
    for step in below:
        part = part.setdefault(step, {})
    part["path"] = f"charts/{chart}"
