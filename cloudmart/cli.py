"""The ``cloudmart`` command. Thin: each function parses its options and calls one function of the package."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Literal

import click

from cloudmart.errors import UserError

if TYPE_CHECKING:
    from cloudmart.cluster.local import ClusterInfo


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cloudmart")
def cli() -> None:
    """CloudMart: microservices on Kubernetes with Pulumi, and what they cost."""


# --- local cluster ---------------------------------------------------------------------------------------------------


@cli.group()
def local() -> None:
    """The local cluster: a real Kubernetes API with simulated pods."""


_RUNTIME = click.option(
    "--runtime",
    type=click.Choice(["binary", "kind"]),
    default="binary",
    show_default=True,
    help="binary: processes on this machine, pods simulated. kind: containers with real pods; needs Docker or Podman.",
)


@local.command("start")
@_RUNTIME
def local_start(runtime: Literal["binary", "kind"]) -> None:
    """Make the cluster or start it again; does nothing where it runs."""
    from cloudmart.cluster.local import LocalCluster

    _show_cluster(LocalCluster().start(_say, runtime), runtime)


@local.command("stop")
def local_stop() -> None:
    """Stop the cluster; what it holds stays."""
    from cloudmart.cluster.local import LocalCluster

    LocalCluster().stop()


@local.command("reset")
@_RUNTIME
def local_reset(runtime: Literal["binary", "kind"]) -> None:
    """Delete the cluster with everything it holds and make it anew."""
    from cloudmart.cluster.local import LocalCluster

    _show_cluster(LocalCluster().reset(_say, runtime), runtime)


@local.command("status")
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def local_status(format_: str) -> None:
    """Say what runs and where."""
    from cloudmart.cluster.local import LocalCluster

    status = LocalCluster().status()
    if format_ == "json":
        click.echo(json.dumps(status.as_json(), indent=2))
        return
    click.echo("running" if status.running else "not running: `cloudmart local start` starts it")
    if status.info is not None:
        click.echo(f"  server      {status.info.server} ({status.info.version})")
        click.echo(f"  kubeconfig  {status.info.kubeconfig}")
        click.echo(f"  nodes       {', '.join(status.nodes)}")
    for component in status.components:
        ports = ", ".join(map(str, component.ports))
        click.echo(f"  {'up  ' if component.pid is not None else 'DOWN'}  {component.name} (port {ports})")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _show_cluster(info: ClusterInfo, runtime: str) -> None:
    from cloudmart.cluster.local import SIMULATED

    click.echo(f"Kubernetes {info.version} at {info.server}")
    if runtime == "binary":
        click.echo(SIMULATED[0].upper() + SIMULATED[1:] + ".")
    click.echo(f"export KUBECONFIG={info.kubeconfig}")


def main() -> None:
    """Entry point: user errors become one message and their exit code, never a traceback."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
