"""``cloudmart up`` and ``down``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from cloudmart.cli._options import DEBUG, ROOT, STACK, YES, context_named, examples, formats
from cloudmart.cli._output import confirm, interruptible, print_json, say, traceback

_CONTEXT = context_named("Context of your kubeconfig. [default: the stack's own; without one, the local cluster]")
_AGAIN = "the same command again goes on from what is done"


@click.command(
    "up",
    epilog=examples(
        "up  # stack dev, on the local cluster",
        "up --stack prod --context my-cluster",
        "up --refresh  # puts back what somebody has changed",
    ),
)
@STACK
@_CONTEXT
@click.option("--refresh", is_flag=True, help="Put back what somebody has changed in the cluster.")
@formats("text", "json")
@ROOT
@DEBUG
def up_command(stack: str, context: str | None, refresh: bool, format_: str, root: Path, debug: bool) -> None:
    """Deploy a stack and wait until all of it is available.

    With a Pulumi CLI this is `pulumi up` with the policy pack. Without one, the program's objects are applied as they
    are, for trying out.
    """
    from cloudmart.cluster.local import SIMULATED
    from cloudmart.deploy import table, up
    from cloudmart.finops import tables

    with traceback(debug), interruptible(_AGAIN):
        deployed = up.up(stack, context, root, say, refresh=refresh)
    if format_ == "json":
        print_json(table.data(deployed))
        return
    tables.print_table(table.table(table.rows(deployed), table.currency(deployed)), sys.stdout)
    kubectl = deployed.target.kubectl
    variables = dict(deployed.environment)
    if kubectl.kubeconfig is not None:
        variables["KUBECONFIG"] = str(kubectl.kubeconfig)
        click.echo(SIMULATED[0].upper() + SIMULATED[1:] + ".")
    click.echo("Next:")
    for name, value in sorted(variables.items()):
        click.echo(f"  export {name}={shlex.quote(value)}")
    in_context = f" --context {shlex.quote(kubectl.context)}" if kubectl.context else ""
    click.echo(f"  {shlex.quote(str(kubectl.path))}{in_context} -n {deployed.settings.namespace.name} get pods,hpa")
    if deployed.environment:
        click.echo(f"  pulumi -C .local/pulumi preview -s {stack}  # with Pulumi.{stack}.yaml as it was at this up")
    in_make = (root / "Makefile").is_file()
    down, named = (f"make down STACK={stack}", "CONTEXT=") if in_make else (f"cloudmart down -s {stack}", "-c ")
    click.echo(f"  {down}" + (f" {named}{shlex.quote(context)}" if context else ""))


@click.command("down", epilog=examples("down", "down --stack dev --delete-data --yes"))
@STACK
@_CONTEXT
@ROOT
@click.option("--delete-data", is_flag=True, help="Delete the namespace and the volume claims in it as well.")
@YES
@formats("text", "json")
@DEBUG
def down_command(
    stack: str, context: str | None, root: Path, delete_data: bool, yes: bool, format_: str, debug: bool
) -> None:
    """Take a stack away again. Data is kept unless --delete-data says otherwise."""
    from cloudmart.deploy import up

    if not yes:
        what = f"Take stack {stack} away from {context or 'its cluster'}"
        if delete_data and (claims := up.data_at_risk(stack, context, root, say)):
            what += f" and delete the data in {', '.join(claims)}"
        confirm("down", what, "--yes (YES=1 of make)")
    with traceback(debug), interruptible(_AGAIN):
        left = up.down(stack, context, root, say, delete_data=delete_data)
    if format_ == "json":
        print_json({"stack": stack, "kept": list(left)})
    elif left:
        click.echo(f"Kept: {', '.join(left)}. `cloudmart down --stack {stack} --delete-data` deletes them too.")
