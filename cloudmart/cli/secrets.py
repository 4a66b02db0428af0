"""``cloudmart secrets``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cloudmart.cli._options import DEBUG, OUT, ROOT, STACK, YES, completing, context_named, examples, formats
from cloudmart.cli._output import confirm, interruptible, print_json, print_tables, say, traceback
from cloudmart.errors import UserError

if TYPE_CHECKING:
    from cloudmart.cluster.kubectl import Kubectl
    from cloudmart.settings import Settings

_CONTEXT = context_named("Context of your kubeconfig. [default: the stack's own; without one, the local cluster]")


@click.group("secrets", epilog=examples("secrets list", "secrets rotate postgres-password"))
def secrets_group() -> None:
    """Which secrets there are and who reads them; make one anew. Never a value."""


@secrets_group.command("list", epilog=examples("secrets list", "secrets list --stack prod --format json"))
@STACK
@_CONTEXT
@ROOT
@formats("text", "json", "markdown")
@OUT
@DEBUG
def list_command(stack: str, context: str | None, root: Path, format_: str, out: Path | None, debug: bool) -> None:
    """List a stack's secrets: where each comes from, where it stands, who reads it, how old it is.

    Ages are those of the values in the cluster; without a cluster to ask there are none.
    """
    from datetime import UTC, datetime

    from cloudmart.preview.recorder import record
    from cloudmart.secrets import age, report
    from cloudmart.secrets import inventory as inventory_
    from cloudmart.settings import load

    settings = load(stack, root)
    with traceback(debug):
        found = inventory_.inventory(record(stack, root), settings)
    made: dict[str, datetime] = {}
    try:
        kubectl = _cluster(settings, context, root)
        if kubectl is None:
            say("ages are left out: the local cluster is not running")
        else:
            made = age.made(stack, root, kubectl, settings.namespace.name, found)
    except UserError as error:
        if context is not None:
            raise
        say(f"ages are left out: {error}")
    listed = report.document(stack, found, made, datetime.now(UTC))
    others = {"json": lambda: json.dumps(report.data(stack, found, made, datetime.now(UTC)), indent=2) + "\n"}
    print_tables(listed, others, format_, out)


@secrets_group.command(
    "rotate",
    epilog=examples(
        "secrets rotate postgres-password",
        "secrets rotate postgres-password --stack prod --write-only --yes  # for the next up",
    ),
)
@click.argument("name", shell_complete=completing(lambda settings: settings.passwords))
@STACK
@_CONTEXT
@ROOT
@YES
@click.option("--write-only", is_flag=True, help="Only write it into Pulumi.<stack>.yaml; the next up does it.")
@formats("text", "json")
@DEBUG
def rotate_command(
    name: str,
    stack: str,
    context: str | None,
    root: Path,
    yes: bool,
    write_only: bool,
    format_: str,
    debug: bool,
) -> None:
    """Make the generated secret NAME anew, and restart what reads it.

    The rotation is counted in Pulumi.<stack>.yaml, for Git; then this is `cloudmart up`. Says first what it does.
    """
    from cloudmart.deploy import up
    from cloudmart.secrets import rotation
    from cloudmart.settings import load

    with traceback(debug):
        planned = rotation.plan(stack, root, name)
    if format_ == "json":
        print_json(rotation.document(planned))
    else:
        click.echo("\n".join(rotation.lines(planned)))
    if not yes:
        confirm("secrets rotate", "Write it" if write_only else "Do it")
    rotation.write(planned, root)
    say(f"Pulumi.{stack}.yaml: rotation {planned.rotation} of {name} is written; commit it")
    if write_only:
        return
    # The same again would be one rotation more.
    goes_on = f"the rotation stands in Pulumi.{stack}.yaml: `cloudmart up --stack {stack}` goes on with it"
    with traceback(debug), interruptible(goes_on):
        try:
            before = None
            if not planned.generated:
                before = rotation.fetches(planned, up.target_of(load(stack, root), context, root, say).kubectl)
            deployed = up.up(stack, context, root, say)
        except UserError:
            say(goes_on)
            raise
        if before is not None:
            rotation.wait_until_fetched(planned, deployed.target.kubectl, before)
        elif not planned.generated:
            say("whether the value was fetched is not known: this cluster has no External Secrets")
    say(f"rotated {name}")


def _cluster(settings: Settings, context: str | None, root: Path) -> Kubectl | None:
    """The cluster that `up` would go to; None where that is the local one and it does not run."""
    from cloudmart.cluster import toolchain
    from cloudmart.cluster.contexts import in_context
    from cloudmart.cluster.kubectl import Kubectl
    from cloudmart.cluster.local import LocalCluster

    kubectl = in_context(settings.stack, root, context)
    if kubectl is not None:
        return kubectl
    info = LocalCluster(root).status()
    if not info.running or info.info is None:
        return None
    return Kubectl(path=toolchain.kubectl(), kubeconfig=info.info.kubeconfig)
