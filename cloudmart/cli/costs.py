"""``cloudmart cost`` with ``estimate`` and ``forecast``, and ``prices``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from cloudmart.cli._options import (
    DEBUG,
    OUT,
    ROOT,
    STACK,
    OneOf,
    allocations,
    asking,
    completing,
    examples,
    formats,
    stack_asked,
    stack_named,
)
from cloudmart.cli._output import print_or_write, print_tables, traceback
from cloudmart.errors import UserError

if TYPE_CHECKING:
    from cloudmart.finops.estimate import Estimate


@click.group("prices", epilog=examples("prices show --stack prod"))
def prices_group() -> None:
    """What a core, a GiB of memory, a volume and the rest cost."""


@prices_group.command(
    "show", epilog=examples("prices show  # OpenCost's default prices", "prices show --stack prod --format json")
)
@stack_named("With what this stack overrides. [default: OpenCost's default prices]")
@ROOT
@formats("text", "json")
def prices_show(stack: str | None, root: Path, format_: str) -> None:
    """Print the price book, its source, and the rates that its terms make."""
    from cloudmart.finops import estimate_report, prices
    from cloudmart.settings import load

    book = prices.load() if stack is None else prices.of_stack(load(stack, root).prices, root)
    others = {"json": lambda: estimate_report.book_json(book)}
    print_tables(estimate_report.book_document(book), others, format_, None)


@click.group(
    "cost",
    invoke_without_command=True,
    epilog=examples(
        "cost --stack prod --window 30d --by cost-center",
        "cost --url http://localhost:9090 --filter namespace=cloudmart --format csv --out cost.csv",
        "cost estimate --stack prod  # before it runs",
    ),
)
@asking
@stack_named(
    "Ask the cluster of this stack. [default: dev; outside a project the current context of kubectl] "
    "[env: CLOUDMART_STACK]"
)
@click.option(
    "--by",
    default="service",
    show_default=True,
    help="service, namespace, pod, controller, cost-center or label:NAME.",
)
@click.option("--filter", "filters", multiple=True, help="FIELD=VALUE[,VALUE], as namespace=shop; may be repeated.")
@click.option(
    "--idle",
    type=OneOf(["separate", "share", "hide"]),
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
    root: Path,
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
    stack = stack_asked(stack, context, url, root)
    client = allocations(stack, context, url, service, timeout, root)
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
    print_tables(cost_report.document(report), others, format_, out)


@cost_command.command(
    "estimate",
    epilog=examples(
        "cost estimate --stack prod --by cost-center", "cost estimate --explain order-service  # factor by factor"
    ),
)
@STACK
@ROOT
@click.option(
    "--by",
    type=OneOf(["service", "component", "namespace", "team", "cost-center"]),
    default="service",
    show_default=True,
    help="What to sum up by.",
)
@click.option(
    "--explain",
    metavar="NAME",
    shell_complete=completing(lambda settings: [*settings.services, *settings.stores]),
    help="Show the sum of this service, object or group, factor by factor.",
)
@formats("text", "json", "markdown")
@OUT
@DEBUG
def cost_estimate(
    stack: str, root: Path, by: str, explain: str | None, format_: str, out: Path | None, debug: bool
) -> None:
    """Show what a stack is estimated to cost in a month, from what it declares."""
    from cloudmart.finops import estimate_report, overhead
    from cloudmart.settings import load

    if explain is not None and format_ == "markdown":
        raise UserError("--explain: found --format markdown; allowed: text, json")
    with traceback(debug):
        found = _estimate(stack, root)
    if explain is not None:
        text = estimate_report.explanation if format_ == "text" else estimate_report.explanation_json
        print_or_write(text(found, explain), out)
        return
    settings = load(stack, root)
    shares, sharing = overhead.shared(found, settings), settings.prices.sharing
    document = estimate_report.document(found, stack, by, shares if by == "service" else None, sharing)
    others = {"json": lambda: estimate_report.as_json(found, stack, shares, sharing)}
    print_tables(document, others, format_, out)


@cost_command.command("forecast", epilog=examples("cost forecast --stack prod --window 7d"))
@STACK
@asking
@click.option(
    "--idle",
    type=OneOf(["separate", "share"]),
    default="separate",
    show_default=True,
    help="Whether the actual cost has a part of the capacity that nobody requested or used.",
)
@DEBUG
def cost_forecast(
    stack: str,
    window: str,
    context: str | None,
    url: str | None,
    service: str | None,
    timeout: float,
    format_: str,
    out: Path | None,
    root: Path,
    idle: Literal["separate", "share"],
    debug: bool,
) -> None:
    """Set the estimate of a stack beside what was billed for the same time, and say why they differ."""
    from datetime import UTC, datetime

    from cloudmart.finops import cost_report, forecast

    client = allocations(stack, context, url, service, timeout, root)
    span = client.window(window, datetime.now(UTC))
    with traceback(debug):
        estimate = _estimate(stack, root)
    compared = forecast.compare(client, span, estimate, idle=idle)
    others: dict[str, Callable[[], str]] = {
        "json": lambda: cost_report.forecast_json(compared),
        "csv": lambda: cost_report.forecast_csv(compared),
    }
    print_tables(cost_report.forecast_document(compared), others, format_, out)


def _estimate(stack: str, root: Path) -> Estimate:
    from cloudmart.finops.estimate import of_stack
    from cloudmart.preview.recorder import record, uncollected
    from cloudmart.settings import load

    with uncollected():
        return of_stack(record(stack, root).resources, load(stack, root), root)


def _payers(stack: str | None, root: Path) -> dict[tuple[str, str], str]:
    """Who pays for the services and stores of a stack."""
    from cloudmart.settings import load

    if stack is None:
        return {}
    settings = load(stack, root)
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
