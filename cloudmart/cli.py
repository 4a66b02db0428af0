"""The ``cloudmart`` command. Thin: each function parses its options and calls one function of the package."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

import click

from cloudmart.errors import UserError

if TYPE_CHECKING:
    from cloudmart.cluster.local import ClusterInfo
    from cloudmart.finops.allocation import Client
    from cloudmart.finops.estimate import Estimate
    from cloudmart.finops.tables import Document
    from cloudmart.preview.run import Against

#: The checkout that this package belongs to.
CHECKOUT = Path(__file__).resolve().parents[1]


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


@local.command("load")
@click.option("--stack", "-s", required=True, help="The stack: Pulumi.<stack>.yaml; it must be up.")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the project, such as another checkout. [default: this repository]",
)
@click.option(
    "--profile",
    type=click.Path(dir_okay=False, path_type=Path),
    help="YAML file with the load of each service. [default: what follows from the catalog's `traffic`]",
)
@click.option("--speed", default="60x", show_default=True, help="How much faster than the clock the day passes.")
@click.option("--seed", default=1, show_default=True, help="The same seed, the same load.")
@click.option("--hours", type=click.FloatRange(0.1, 24 * 14), default=24, show_default=True, help="Of the load's time.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Timeline as JSON, and beside it a picture. [default: .local/load/<stack>.json]",
)
def local_load(
    stack: str, root: Path | None, profile: Path | None, speed: str, seed: int, hours: float, out: Path | None
) -> None:
    """Let a day of load pass over the simulated pods, and watch what the cluster makes of it."""
    from cloudmart.cluster import load as load_
    from cloudmart.cluster import toolchain
    from cloudmart.cluster.kubectl import Kubectl
    from cloudmart.cluster.local import LocalCluster
    from cloudmart.finops import prices
    from cloudmart.finops.rightsize import monthly
    from cloudmart.settings import load

    where = root or CHECKOUT
    factor = load_.speed(speed)
    settings = load(stack, where)
    book = prices.of_stack(settings.prices, where)
    found = load_.from_settings(settings) if profile is None else load_.read_profile(profile)
    cluster = LocalCluster(where)
    if not cluster.is_running():
        raise UserError("local cluster: not running; `cloudmart local start` starts it")
    driver = load_.Driver(
        kubectl=Kubectl(path=toolchain.kubectl(), kubeconfig=cluster.kubeconfig),
        settings=settings,
        profile=found,
        price=lambda cores, size: monthly(book.effective, cores, size),
        currency=book.currency,
    )
    for line in load_.slow_autoscalers(settings, factor):
        _say(line)
    file = out or where / ".local" / "load" / f"{stack}.json"
    load_.prepare(file)
    timeline = driver.run(speed=factor, seed=seed, minutes=hours * 60, progress=_say)
    load_.save(timeline, file)
    _write(picture := file.with_suffix(".svg"), load_.replicas_chart(timeline))
    load_.print_summary(timeline, sys.stdout)
    click.echo(f"{file}\n{picture}")


# --- offline preview -------------------------------------------------------------------------------------------------

_STACK = click.option("--stack", "-s", required=True, help="The stack: Pulumi.<stack>.yaml.")
_ROOT = click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the project, such as another checkout. [default: this repository]",
)
_DEBUG = click.option("--debug", is_flag=True, help="Show the traceback when the program itself fails.")


@cli.command("preview")
@_STACK
@_ROOT
@click.option("--format", "format_", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the report to this file.")
@click.option(
    "--policy-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Configuration of the policy pack. [default: policy/config/<stack>.json]",
)
@click.option("--base", metavar="REF", help="Compare with this branch, tag or commit: what changes, and what it costs.")
@click.option(
    "--against",
    metavar="state|FILE",
    help="Compare with what Pulumi has deployed: `state` asks the Pulumi CLI, a file is what `pulumi stack export` "
    "printed.",
)
@click.option(
    "--plan",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Price the plan that `pulumi preview --json` printed into this file.",
)
@_DEBUG
def preview_command(
    stack: str,
    root: Path | None,
    format_: str,
    out: Path | None,
    policy_config: Path | None,
    base: str | None,
    against: str | None,
    plan: Path | None,
    debug: bool,
) -> None:
    """Show what a stack declares, what is wrong with it and what it costs: no cluster, engine or network.

    Exit status: 0 clean, 1 mandatory policy violations or errors in objects, 2 bad input.
    """
    from cloudmart.preview import report, run

    with _traceback(debug):
        compared = _compared_with(stack, root, base, against, plan)
        result = run.preview(stack, root, policy_config=policy_config, against=compared)
    if format_ == "text" and out is None:
        report.print_text(result, sys.stdout)
    else:
        text = {"text": report.as_text, "json": report.as_json, "markdown": report.as_markdown}[format_](result)
        if out is None:
            sys.stdout.write(text)
        else:
            _write(out, text)
    sys.exit(result.exit_code)


def _compared_with(
    stack: str, root: Path | None, base: str | None, against: str | None, plan: Path | None
) -> Against | None:
    from cloudmart.preview import stored
    from cloudmart.preview.run import Against

    given = [f"--{name}" for name, value in (("base", base), ("against", against), ("plan", plan)) if value is not None]
    if len(given) > 1:
        raise UserError(f"preview: found {' and '.join(given)}; allowed: one of them")
    if base is not None:
        return Against(base=base)
    if plan is not None:
        return Against(plan=stored.read(plan, "--plan"), source=f"--plan {plan.name}")
    if against is None:
        return None
    if against != "state":
        file = Path(against)
        if not file.is_file():
            raise UserError(f"--against: found {against!r}, which is no file; allowed: state, or a file with a state")
        return Against(state=stored.read(file, "--against"), source=f"the state in {file.name}")
    from cloudmart.deploy.engine import Engine, NoCli, find_cli

    where = root or CHECKOUT
    command = find_cli(where)
    if isinstance(command, NoCli):
        raise UserError(
            f"--against state: {command.reason}; allowed: a file that `pulumi stack export` wrote elsewhere"
        )
    return Against(state=Engine(command, where, stack, kubeconfig=None).state(), source="Pulumi's state")


@cli.command("render")
@_STACK
@_ROOT
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the manifests.")
@_DEBUG
def render_command(stack: str, root: Path | None, out: Path, debug: bool) -> None:
    """Write a stack's manifests, one file an object, for GitOps; without Secrets, which hold values made elsewhere."""
    from cloudmart.preview import recorder, render

    with _traceback(debug):
        recording = recorder.record(stack, root)
    result = render.render(recording, out)
    for line in result.left_out:
        _say(f"left out: {line}")
    _say(f"{len(result.files)} files in {out}, {len(result.removed)} old ones removed")


@contextlib.contextmanager
def _traceback(wanted: bool) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        if wanted and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        raise


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UserError(f"--out {file}: cannot be written: {error.strerror}") from None


# --- prices ----------------------------------------------------------------------------------------------------------


@cli.group("prices")
def prices_group() -> None:
    """What a core, a GiB of memory, a volume and the rest cost."""


@prices_group.command("show")
@click.option("--stack", "-s", help="With what this stack overrides. [default: OpenCost's default prices]")
@_ROOT
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def prices_show(stack: str | None, root: Path | None, format_: str) -> None:
    """Print the price book, its source, and the rates that its terms make."""
    from cloudmart.finops import estimate_report, prices, tables
    from cloudmart.settings import load

    where = root or CHECKOUT
    book = prices.load() if stack is None else prices.of_stack(load(stack, where).prices, where)
    if format_ == "json":
        sys.stdout.write(estimate_report.book_json(book))
    else:
        tables.print_text(estimate_report.book_document(book), sys.stdout)


# --- configuration ---------------------------------------------------------------------------------------------------


@cli.group()
def config() -> None:
    """What the catalog and the stacks say, merged and checked."""


@config.command("show")
@_STACK
@_ROOT
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def config_show(stack: str, root: Path | None, format_: str) -> None:
    """Print the merged tree of a stack, and where each value came from."""
    from cloudmart.settings import load_with_origins
    from cloudmart.settings.show import leaves

    found = list(leaves(load_with_origins(stack, root or CHECKOUT)))
    if format_ == "json":
        click.echo(json.dumps([{"path": path, "value": value, "origin": str(o)} for path, value, o in found], indent=2))
        return
    width = max(len(path) for path, _, _ in found)
    for path, value, origin in found:
        click.echo(f"{path:<{width}}  {json.dumps(value, ensure_ascii=False)}  # {origin}")


@config.command("schema")
@click.argument("document", type=click.Choice(["catalog", "stack"]), default="catalog")
def config_schema(document: Literal["catalog", "stack"]) -> None:
    """Print the JSON Schema of catalog.yaml or of Pulumi.<stack>.yaml; schemas/ holds the committed copies."""
    from cloudmart.settings.schema import json_schema

    click.echo(json.dumps(json_schema(document), indent=2))


# --- deployment ------------------------------------------------------------------------------------------------------

_CONTEXT = click.option(
    "--context", "-c", help="Context of your kubeconfig. [default: the stack's own; without one, the local cluster]"
)


@cli.command("up")
@_STACK
@_CONTEXT
@_ROOT
@_DEBUG
def up_command(stack: str, context: str | None, root: Path | None, debug: bool) -> None:
    """Deploy a stack and wait until all of it is available.

    With a Pulumi CLI this is `pulumi up` with the policy pack. Without one, the program's objects are applied as they
    are, for trying out.
    """
    from rich.console import Console

    from cloudmart.cluster.local import SIMULATED
    from cloudmart.deploy import table, up

    with _traceback(debug):
        deployed = up.up(stack, context, root or CHECKOUT, _say)
    table.print_table(deployed, Console())
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
        click.echo(f"  pulumi -C .local/pulumi preview -s {stack}")
    click.echo(f"  make down STACK={stack}" + (f" CONTEXT={shlex.quote(context)}" if context else ""))


@cli.command("down")
@_STACK
@_CONTEXT
@_ROOT
@click.option("--delete-data", is_flag=True, help="Delete the namespace and the volume claims in it as well.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@_DEBUG
def down_command(stack: str, context: str | None, root: Path | None, delete_data: bool, yes: bool, debug: bool) -> None:
    """Take a stack away again. Data is kept unless --delete-data says otherwise."""
    from cloudmart.deploy import up

    where = root or CHECKOUT
    if not yes:
        what = f"Take stack {stack} away from {context or 'its cluster'}"
        if delete_data and (claims := up.data_at_risk(stack, context, where, _say)):
            what += f" and delete the data in {', '.join(claims)}"
        if not sys.stdin.isatty():
            raise UserError("down: found no terminal to ask at; allowed: --yes, which says that you mean it")
        click.confirm(what + "?", abort=True, err=True)
    with _traceback(debug):
        left = up.down(stack, context, where, _say, delete_data=delete_data)
    if left:
        click.echo(f"Kept: {', '.join(left)}. `cloudmart down --stack {stack} --delete-data` deletes them too.")


# --- what it cost ----------------------------------------------------------------------------------------------------

_FORMATS = click.Choice(["text", "json", "csv", "markdown", "html"])


def _asking(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say whom to ask for allocations, and for when."""
    for option in reversed(
        [
            click.option("--window", default="7d", show_default=True, help="30m, 24h, 7d, today, month, or START,END."),
            click.option("--context", "-c", help="Context of your kubeconfig, where no stack names the cluster."),
            click.option(
                "--url",
                envvar="CLOUDMART_COST_URL",
                help="Address of Kubecost or OpenCost; without it, the cluster's is found and asked through its API "
                "server.  [env: CLOUDMART_COST_URL]",
            ),
            click.option("--service", help="The Service to ask, NAMESPACE/NAME:PORT, where it is not found by itself."),
            click.option(
                "--timeout", type=click.FloatRange(1, 3600), default=60, show_default=True, help="Seconds for a page."
            ),
            click.option("--format", "format_", type=_FORMATS, default="text", show_default=True),
            click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file."),
            _ROOT,
        ]
    ):
        command = option(command)
    return command


@cli.group("cost", invoke_without_command=True)
@_asking
@click.option("--stack", "-s", help="Ask the cluster of this stack. [default: the current context of kubectl]")
@click.option(
    "--by",
    default="service",
    show_default=True,
    help="service, namespace, pod, controller, cost-center or label:NAME.",
)
@click.option("--filter", "filters", multiple=True, help="FIELD=VALUE[,VALUE], as namespace=shop; may be repeated.")
@click.option(
    "--idle",
    type=click.Choice(["separate", "share", "hide"]),
    default="separate",
    show_default=True,
    help="What becomes of capacity that nobody requested or used.",
)
@click.option("--share", multiple=True, help="A namespace whose cost all others bear; may be repeated.")
@click.option("--trend/--no-trend", default=True, show_default=True, help="Compare with the window before.")
@click.pass_context
def cost_command(
    ctx: click.Context,
    stack: str | None,
    window: str,
    by: str,
    filters: tuple[str, ...],
    idle: Literal["separate", "share", "hide"],
    share: tuple[str, ...],
    trend: bool,
    context: str | None,
    url: str | None,
    service: str | None,
    timeout: float,
    format_: str,
    out: Path | None,
    root: Path | None,
) -> None:
    """Show what ran and what it cost, from Kubecost or OpenCost."""
    from datetime import UTC, datetime

    from cloudmart.finops import actual, cost_report

    if ctx.invoked_subcommand is not None:
        given = [
            name for name in ctx.params if (source := ctx.get_parameter_source(name)) and source.name == "COMMANDLINE"
        ]
        if given:
            raise UserError(
                f"cost: found options before {ctx.invoked_subcommand}; allowed: behind it, where it has them"
            )
        return
    actual.grouping(by)
    wanted = _filters(filters)
    client = _allocations(stack, context, url, service, timeout, root)
    report = actual.report(
        client,
        client.window(window, datetime.now(UTC)),
        by,
        filters=wanted,
        idle=idle,
        share=share,
        trend=trend,
        payers=_payers(stack, root),
    )
    others: dict[str, Callable[[], str]] = {
        "json": lambda: cost_report.as_json(report),
        "csv": lambda: cost_report.csv_text(report),
    }
    _print_tables(cost_report.document(report), others, format_, out)


@cost_command.command("estimate")
@_STACK
@_ROOT
@click.option(
    "--by",
    type=click.Choice(["service", "component", "namespace", "team", "cost-center"]),
    default="service",
    show_default=True,
    help="What to sum up by.",
)
@click.option("--explain", metavar="NAME", help="Show the sum of this service, object or group, factor by factor.")
@click.option("--format", "format_", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@_DEBUG
def cost_estimate(
    stack: str, root: Path | None, by: str, explain: str | None, format_: str, out: Path | None, debug: bool
) -> None:
    """Show what a stack is estimated to cost in a month, from what it declares."""
    from cloudmart.finops import estimate_report, overhead, tables
    from cloudmart.settings import load

    if explain is not None and format_ == "markdown":
        raise UserError("--explain: found --format markdown; allowed: text, json")
    with _traceback(debug):
        found = _estimate(stack, root)
    if explain is not None:
        text = estimate_report.explanation if format_ == "text" else estimate_report.explanation_json
        _print_or_write(text(found, explain), out)
        return
    settings = load(stack, root or CHECKOUT)
    shares, sharing = overhead.shared(found, settings), settings.prices.sharing
    if format_ == "json":
        _print_or_write(estimate_report.as_json(found, stack, shares, sharing), out)
        return
    document = estimate_report.document(found, stack, by, shares if by == "service" else None, sharing)
    if format_ == "text" and out is None:
        tables.print_text(document, sys.stdout)
        return
    _print_or_write((tables.as_text if format_ == "text" else tables.as_markdown)(document), out)


@cost_command.command("forecast")
@_STACK
@_asking
@click.option(
    "--idle",
    type=click.Choice(["separate", "share"]),
    default="separate",
    show_default=True,
    help="Whether the actual cost has a part of the capacity that nobody requested or used.",
)
@_DEBUG
def cost_forecast(
    stack: str,
    window: str,
    context: str | None,
    url: str | None,
    service: str | None,
    timeout: float,
    format_: str,
    out: Path | None,
    root: Path | None,
    idle: Literal["separate", "share"],
    debug: bool,
) -> None:
    """Set the estimate of a stack beside what was billed for the same time, and say why they differ."""
    from datetime import UTC, datetime

    from cloudmart.finops import cost_report, forecast

    client = _allocations(stack, context, url, service, timeout, root)
    span = client.window(window, datetime.now(UTC))
    with _traceback(debug):
        estimate = _estimate(stack, root)
    compared = forecast.compare(client, span, estimate, idle=idle)
    others: dict[str, Callable[[], str]] = {
        "json": lambda: cost_report.forecast_json(compared),
        "csv": lambda: cost_report.forecast_csv(compared),
    }
    _print_tables(cost_report.forecast_document(compared), others, format_, out)


def _allocations(
    stack: str | None,
    context: str | None,
    url: str | None,
    service: str | None,
    timeout: float,
    root: Path | None,
) -> Client:
    """The Allocation API at an address, or of a stack's, a context's or kubectl's current cluster."""
    from cloudmart.cluster import toolchain
    from cloudmart.cluster.kubectl import Kubectl
    from cloudmart.cluster.local import LocalCluster
    from cloudmart.finops.allocation.client import Client
    from cloudmart.finops.allocation.discovery import discover
    from cloudmart.settings import load

    if url is not None:
        if service is not None:
            raise UserError("cost: found --url and --service; allowed: one of them")
        return Client.at(url, time_limit=timeout)
    kubeconfig = None
    if stack is not None and context is None:
        context = load(stack, root or CHECKOUT).cluster.context
        if context is None:
            info = LocalCluster(root or CHECKOUT).status()
            if not info.running or info.info is None:
                raise UserError(
                    f"stack {stack}: its cluster is the local one, which is not running; allowed: `cloudmart local "
                    "start`, --context or --url"
                )
            kubeconfig = info.info.kubeconfig
    kubectl = Kubectl(path=toolchain.kubectl(), kubeconfig=kubeconfig, context=context)
    return discover(kubectl, service, time_limit=timeout)


def _estimate(stack: str, root: Path | None) -> Estimate:
    from cloudmart.finops.estimate import of_stack
    from cloudmart.preview.recorder import record, uncollected
    from cloudmart.settings import load

    with uncollected():
        return of_stack(record(stack, root).resources, load(stack, root or CHECKOUT), root or CHECKOUT)


def _payers(stack: str | None, root: Path | None) -> dict[tuple[str, str], str]:
    """Who pays for the services and stores of a stack."""
    from cloudmart.settings import load

    if stack is None:
        return {}
    settings = load(stack, root or CHECKOUT)
    services = {name: settings.cost_center_of(service) for name, service in settings.services.items()}
    return {(settings.namespace.name, name): payer for name, payer in (services | settings.stores).items()}


def _filters(texts: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = "label:cost-center" if name == "cost-center" else name
        if not equals or not values:
            raise UserError(f"--filter: found {text!r}; allowed: FIELD=VALUE[,VALUE], as namespace=shop")
        found[name] = (*found.get(name, ()), *values.split(","))
    return found


def _print_tables(document: Document, others: Mapping[str, Callable[[], str]], format_: str, out: Path | None) -> None:
    """Tables as text, Markdown or HTML; `others` are the formats that are no tables."""
    from cloudmart.finops import tables

    if format_ == "text" and out is None:
        tables.print_text(document, sys.stdout)
        return
    makers = {"text": tables.as_text, "markdown": tables.as_markdown, "html": tables.as_html}
    _print_or_write(others[format_]() if format_ in others else makers[format_](document), out)


def _print_or_write(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
    else:
        _write(out, text)


# --- right-sizing ----------------------------------------------------------------------------------------------------


@cli.command("rightsize")
@_STACK
@_ROOT
@click.option(
    "--usage",
    "timeline",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A timeline that `cloudmart local load` wrote, instead of a cluster's usage.",
)
@click.option("--prometheus", help="URL of a Prometheus: single pods' peaks and memory kills, in steps of minutes.")
@click.option("--window", default="14d", show_default=True, help="Of the usage, up to now.")
@click.option("--url", envvar="CLOUDMART_COST_URL", help="Address of Kubecost or OpenCost. [env: CLOUDMART_COST_URL]")
@click.option("--service", help="The Service to ask, NAMESPACE/NAME:PORT, where it is not found by itself.")
@click.option("--context", "-c", help="Context of your kubeconfig, where no stack names the cluster.")
@click.option(
    "--vpa",
    type=click.File(encoding="utf-8"),
    help="What `kubectl get vpa --output=json` prints: nothing below its lower bounds is recommended.",
)
@click.option(
    "--min-data", default="24h", show_default=True, help="Below this much usage a service gets no recommendation."
)
@click.option("--write", is_flag=True, help="Write the changes into Pulumi.<stack>.yaml.")
@click.option("--format", "format_", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True)
@_DEBUG
def rightsize_command(
    stack: str,
    root: Path | None,
    timeline: Path | None,
    prometheus: str | None,
    window: str,
    url: str | None,
    service: str | None,
    context: str | None,
    vpa: TextIO | None,
    min_data: str,
    write: bool,
    format_: str,
    debug: bool,
) -> None:
    """Requests, limits and autoscaling targets from what was used, with what they save and risk.

    Usage comes from Kubecost or OpenCost, unless --prometheus or --usage names something else.

    Exit status: 0, also where there is nothing to change; 1 where the change breaks a policy or the quota, and is not
    written; 2 bad input.
    """
    from datetime import UTC, datetime

    from cloudmart.cluster import load as load_
    from cloudmart.finops import prometheus as prometheus_
    from cloudmart.finops import rightsize, tables
    from cloudmart.finops import usage as usage_
    from cloudmart.preview import rightsizing
    from cloudmart.settings import edit, load, stack_file

    where = root or CHECKOUT
    least = rightsize.duration(min_data, "--min-data")
    settings = load(stack, where)
    namespace = settings.namespace.name
    if timeline is not None:
        used = rightsize.from_run(load_.read_timeline(timeline))
    elif prometheus is not None:
        minutes = rightsize.duration(window, "--window")
        used = prometheus_.usage(prometheus, namespace, settings.services, minutes=minutes)
    else:
        client, now = _allocations(stack, context, url, service, 60, root), datetime.now(UTC)
        used = usage_.from_allocations(client, client.window(window, now), now, namespace, settings.services)
    if vpa is not None:
        used = rightsize.with_vpa(used, vpa.read(), f"--vpa {vpa.name}")
    with _traceback(debug):
        proposal = rightsizing.propose(stack, where, used, least_minutes=least)
    if format_ == "json":
        click.echo(rightsizing.as_json(proposal))
    elif format_ == "markdown":
        click.echo(rightsizing.as_markdown(proposal), nl=False)
    else:
        tables.print_text(rightsizing.document(proposal), sys.stdout)
        if proposal.diff and not write:
            click.echo("\n" + proposal.diff, nl=False)
    if proposal.refused:
        sys.exit(1)
    if write:
        written = edit.write(stack, where, proposal.changes)
        _say(f"{stack_file(stack)}: {'written' if written else 'nothing to change'}")


# --- the cost report -------------------------------------------------------------------------------------------------


@cli.command("report")
@_STACK
@_ROOT
@click.option("--base", help="Revision of git to compare with, such as origin/main.")
@click.option("--window", help="What ran in 24h, 7d, month or START,END, by the cluster's Kubecost or OpenCost.")
@click.option("--context", "-c", help="Context of your kubeconfig, where no stack names the cluster.")
@click.option("--url", envvar="CLOUDMART_COST_URL", help="Address of Kubecost or OpenCost. [env: CLOUDMART_COST_URL]")
@click.option("--service", help="The Service to ask, NAMESPACE/NAME:PORT, where it is not found by itself.")
@click.option(
    "--allocation",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A saved answer of the Allocation API, instead of asking one.",
)
@click.option(
    "--usage",
    "timeline",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A timeline that `cloudmart local load` wrote, for the right-sizing.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@click.option("--format", "format_", type=click.Choice(["html", "markdown"]), default="html", show_default=True)
@_DEBUG
def report_command(
    stack: str,
    root: Path | None,
    base: str | None,
    window: str | None,
    context: str | None,
    url: str | None,
    service: str | None,
    allocation: Path | None,
    timeline: Path | None,
    out: Path | None,
    format_: str,
    debug: bool,
) -> None:
    """One page on what a stack costs, or its summary for a pull request.

    Estimate, budgets and autoscaling always; the change with --base; efficiency, forecast against actual and
    right-sizing with --window, --context, --url, --service or --allocation.
    """
    from datetime import UTC, datetime

    from cloudmart.cluster import load as load_
    from cloudmart.finops import rightsize
    from cloudmart.finops.allocation.saved import Saved
    from cloudmart.report import html, markdown
    from cloudmart.report.gather import Source, gather
    from cloudmart.report.sections import content

    source = None
    if allocation is not None:
        if any((window, context, url, service)):
            raise UserError("report: found --allocation with --window, --context, --url or --service; allowed: alone")
        saved = Saved(allocation)
        source = Source(client=saved.client(), window=saved.window, name=f"file {allocation.name}")
    elif any((window, context, url, service)):
        client = _allocations(stack, context, url, service, 60, root)
        source = Source(client=client, window=client.window(window or "7d", datetime.now(UTC)))
    usage = None if timeline is None else rightsize.from_run(load_.read_timeline(timeline))
    with _traceback(debug):
        found = content(gather(stack, root, base=base, source=source, usage=usage))
    _print_or_write({"html": html.page, "markdown": markdown.summary}[format_](found), out)


def main() -> None:
    """Entry point: user errors become one message and their exit code, never a traceback."""
    try:
        cli.main(prog_name="cloudmart", standalone_mode=False)
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
