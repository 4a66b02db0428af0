"""``cloudmart local``: the local cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from cloudmart.cli._options import ROOT, STACK, YES, OneOf, examples, formats
from cloudmart.cli._output import confirm, print_json, refuse_inputs, say, write
from cloudmart.errors import UserError

if TYPE_CHECKING:
    from cloudmart.cluster.load import Timeline
    from cloudmart.cluster.local import ClusterInfo, LocalCluster
    from cloudmart.finops.tables import Table


@click.group(epilog=examples("local start", "local status"))
def local() -> None:
    """The local cluster: a real Kubernetes API with simulated pods."""


_RUNTIME = click.option(
    "--runtime",
    type=OneOf(["binary", "kind"]),
    default="binary",
    show_default=True,
    help="binary: processes on this machine, pods simulated. kind: containers with real pods; needs Docker or Podman.",
)


@local.command("start", epilog=examples("local start", "local start --runtime kind  # with real pods"))
@_RUNTIME
@ROOT
@formats("text", "json")
def local_start(root: Path, runtime: Literal["binary", "kind"], format_: str) -> None:
    """Make the cluster or start it again; where it runs, only what was deleted of its own comes back."""
    from cloudmart.cluster import crds
    from cloudmart.cluster.local import LocalCluster

    info = (cluster := LocalCluster(root)).start(say, runtime)
    crds.install(cluster, say, wait=False)
    _show_cluster(cluster, info, runtime, format_)


@local.command("definitions", epilog=examples("local definitions  # in a pipeline, before `preview`"))
@formats("text", "json")
def local_definitions(format_: str) -> None:
    """Fetch the definitions of custom kinds, which `preview` checks objects against, without a cluster.

    `start` does the same. Nothing is fetched where they are; prints the folder.
    """
    from cloudmart.cluster import crds

    folder = crds.ensure(say)
    if format_ == "json":
        print_json({"folder": str(folder)})
    else:
        click.echo(folder)


@local.command("stop", epilog=examples("local stop"))
@ROOT
@formats("text", "json")
def local_stop(root: Path, format_: str) -> None:
    """Stop the cluster; what it holds stays."""
    from cloudmart.cluster.local import LocalCluster

    (cluster := LocalCluster(root)).stop()
    if format_ == "json":
        print_json(cluster.status().as_json())


@local.command("reset", epilog=examples("local reset", "local reset --yes"))
@_RUNTIME
@ROOT
@YES
@formats("text", "json")
def local_reset(root: Path, runtime: Literal["binary", "kind"], yes: bool, format_: str) -> None:
    """Delete the cluster with everything it holds and make it anew."""
    from cloudmart.cluster import crds
    from cloudmart.cluster.local import LocalCluster

    cluster = LocalCluster(root)
    if not yes and cluster.directory.exists():
        confirm("local reset", "Delete the local cluster with everything in it, the stores' data too")
    info = cluster.reset(say, runtime)
    crds.install(cluster, say, wait=False)
    _show_cluster(cluster, info, runtime, format_)


@local.command("status", epilog=examples("local status", "local status --format json"))
@ROOT
@formats("text", "json")
def local_status(root: Path, format_: str) -> None:
    """Say what runs and where.

    Exit status: 0 running, 1 not running, or not whole.
    """
    from cloudmart.cluster.local import LocalCluster

    status = LocalCluster(root).status()
    if format_ == "json":
        print_json(status.as_json())
        sys.exit(0 if status.running else 1)
    click.echo("running" if status.running else f"{status.trouble}: `cloudmart local start` starts it")
    if status.info is not None:
        click.echo(f"  server      {status.info.server} ({status.info.version})")
        click.echo(f"  kubeconfig  {status.info.kubeconfig}")
        click.echo(f"  nodes       {', '.join(status.nodes)}")
    for component in status.components:
        ports = ", ".join(map(str, component.ports))
        click.echo(f"  {'up  ' if component.pid is not None else 'DOWN'}  {component.name} (port {ports})")
    sys.exit(0 if status.running else 1)


def _show_cluster(cluster: LocalCluster, info: ClusterInfo, runtime: str, format_: str) -> None:
    from cloudmart.cluster.local import SIMULATED

    if format_ == "json":
        print_json(cluster.status().as_json())
        return
    click.echo(f"Kubernetes {info.version} at {info.server}")
    if runtime == "binary":
        click.echo(SIMULATED[0].upper() + SIMULATED[1:] + ".")
    click.echo(f"export KUBECONFIG={info.kubeconfig}")


@local.command(
    "load",
    epilog=examples(
        "local load  # a day in 24 minutes", "local load --from 9 --hours 4 --speed 120x --out run.json  # with a sale"
    ),
)
@STACK
@ROOT
@click.option(
    "--profile",
    type=click.Path(dir_okay=False, path_type=Path),
    help="YAML file with the load of each service. [default: catalog.yaml: what follows from each service's `traffic`]",
)
@click.option("--speed", default="60x", show_default=True, help="How much faster than the clock the day passes.")
@click.option("--seed", default=1, show_default=True, help="The same seed, the same load.")
@click.option("--from", "begin", type=click.IntRange(0, 23), default=0, show_default=True, help="Hour to begin at.")
@click.option("--hours", type=click.FloatRange(0.1, 24 * 14), default=24, show_default=True, help="Of the load's time.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Timeline as JSON, and beside it a picture. [default: .local/load/<stack>.json]",
)
@formats("text", "json")
def local_load(
    stack: str,
    root: Path,
    profile: Path | None,
    speed: str,
    seed: int,
    begin: int,
    hours: float,
    out: Path | None,
    format_: str,
) -> None:
    """Let a day of load pass over the simulated pods of a stack that is up, and watch what the cluster makes of it.

    Ctrl-C ends it early, with what was seen until then.
    """
    from cloudmart.cluster import load as load_
    from cloudmart.cluster import toolchain
    from cloudmart.cluster.kubectl import Kubectl
    from cloudmart.cluster.local import LocalCluster
    from cloudmart.finops import prices, tables
    from cloudmart.finops.rightsize import monthly
    from cloudmart.settings import load
    from cloudmart.settings.load import CATALOG

    factor = load_.speed(speed)
    settings = load(stack, root)
    book = prices.of_stack(settings.prices, root)
    if profile is None or profile.resolve() == (root / CATALOG).resolve():
        found = load_.from_settings(settings)
    else:
        found = load_.read_profile(profile, settings.services)
    cluster = LocalCluster(root)
    if not (status := cluster.status()).running:
        raise UserError(f"local cluster: {status.trouble}; `cloudmart local start` starts it")
    driver = load_.Driver(
        kubectl=Kubectl(path=toolchain.kubectl(), kubeconfig=cluster.kubeconfig),
        settings=settings,
        profile=found,
        price=lambda cores, size: monthly(book.effective, cores, size),
        currency=book.currency,
    )
    for line in load_.slow_autoscalers(settings, factor):
        say(line)
    file = out or root / ".local" / "load" / f"{stack}.json"
    refuse_inputs(file)
    load_.prepare(file)
    stopped: load_.StoppedError | None = None
    try:
        timeline = driver.run(speed=factor, seed=seed, begin=begin * 60, minutes=hours * 60, progress=say)
    except load_.StoppedError as error:
        timeline, stopped = error.timeline, error
    load_.save(timeline, file)
    write(picture := file.with_suffix(".svg"), load_.replicas_chart(timeline))
    if format_ == "json":
        print_json({**load_.summary(timeline), "timeline": str(file), "picture": str(picture)})
    else:
        tables.print_table(_summaries(timeline), sys.stdout)
        click.echo(f"{file}\n{picture}")
    if stopped is not None:
        raise stopped.__cause__ or stopped


def _summaries(timeline: Timeline) -> Table:
    from cloudmart.cluster.load import summaries
    from cloudmart.finops.tables import Column, Table

    found = summaries(timeline)
    return Table(
        "",
        (
            Column("service", number=False),
            Column("pods least/mean/peak"),
            Column("pending", rank=2),
            Column("at maximum", rank=1),
            Column("over limits", rank=1),
            Column(f"{timeline.currency} a month"),
            Column("fixed at the peak", rank=1),
        ),
        [
            (
                row.service,
                f"{row.least}/{row.mean:.1f}/{row.peak}",
                str(row.pending),
                f"{row.pinned:.0%}",
                f"{row.over_limit} of {row.samples}",
                f"{row.requested:.2f}",
                f"{row.at_peak:.2f}",
            )
            for row in found
        ],
        (
            "all of these",
            *[""] * 4,
            f"{sum(row.requested for row in found):.2f}",
            f"{sum(row.at_peak for row in found):.2f}",
        ),
    )
