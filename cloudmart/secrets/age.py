"""When each generated value was made, by whoever keeps it: the engine's state, or the Secret of the way without one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cloudmart.cluster.kubectl import Kubectl
from cloudmart.deploy import applyset, generated
from cloudmart.deploy.engine import Engine, NoCli, present_cli
from cloudmart.errors import UserError
from cloudmart.secrets.inventory import Secret

_PASSWORD = "random:index/randomPassword:RandomPassword"  # noqa: S105 - a type token


def made(stack: str, root: Path, kubectl: Kubectl, namespace: str, secrets: Iterable[Secret]) -> dict[str, datetime]:
    """By the name of a generated secret: when its value was made. What was never deployed is missing.

    Raises ``UserError`` when the stack was deployed by the engine and its state cannot be read.
    """
    if applyset.was_applied(kubectl, namespace):
        name = generated.name_of(stack)
        kept = kubectl.json(
            "get", "secret", name, f"--namespace={namespace}", "--ignore-not-found", "--show-managed-fields"
        )
        times = _times_of_keys(kept or {})
        keys = {one.name: generated.key_of(one.sentinel) for one in secrets if one.sentinel}
        return {name: times[key] for name, key in keys.items() if key in times}
    if not kubectl.run("get", "namespace", namespace, "--ignore-not-found", "-o", "name"):
        return {}
    cli = present_cli(root)
    if isinstance(cli, NoCli):
        raise UserError(f"{cli.reason}: what Pulumi deployed cannot be read without it")
    state = Engine(cli=cli, root=root, stack=stack, kubeconfig=kubectl.kubeconfig).state()
    return {
        resource["urn"].rsplit("::", 1)[-1]: datetime.fromisoformat(resource["created"])
        for resource in state.get("deployment", {}).get("resources", [])
        if resource["type"] == _PASSWORD and "created" in resource
    }


def _times_of_keys(kept: Mapping[str, Any]) -> dict[str, datetime]:
    """Each run that made a value owns its key alone, and the API server notes when.

    One that was put back is older than that, and has no time.
    """
    return {
        field.removeprefix("f:"): datetime.fromisoformat(entry["time"])
        for entry in kept.get("metadata", {}).get("managedFields", [])
        if generated.is_keeper(entry["manager"]) and entry["manager"] != generated.RESTORER
        for field in entry.get("fieldsV1", {}).get("f:data", {})
        if field != "."
    }
