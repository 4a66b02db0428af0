"""``cloudmart report``."""

from __future__ import annotations

from pathlib import Path

import click

from cloudmart.cli._options import (
    CONTEXT,
    DEBUG,
    OUT,
    ROOT,
    SERVICE,
    STACK,
    URL,
    allocations,
    examples,
    formats,
    usage_file,
)
from cloudmart.cli._output import print_or_write, traceback
from cloudmart.errors import UserError


@click.command(
    "report",
    epilog=examples(
        "report --stack prod --out report.html", "report --stack prod --base main --window 7d --out report.html"
    ),
)
@STACK
@ROOT
@click.option("--base", help="Revision of git to compare with, such as origin/main.")
@click.option("--window", help="What ran in 24h, 7d, month or START,END, by the cluster's Kubecost or OpenCost.")
@CONTEXT
@URL
@SERVICE
@click.option(
    "--allocation",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A saved answer of the Allocation API, instead of asking one.",
)
@usage_file("A timeline that `cloudmart local load` wrote, for the right-sizing.")
@OUT
@formats("html", "markdown")
@DEBUG
def report_command(
    stack: str,
    root: Path,
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

    from cloudmart.cluster import crds
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
        client = allocations(stack, context, url, service, 60, root)
        source = Source(client=client, window=client.window(window or "7d", datetime.now(UTC)))
    usage = None if timeline is None else rightsize.from_run(load_.read_timeline(timeline))
    with traceback(debug):
        found = content(gather(stack, root, base=base, source=source, usage=usage, definitions=crds.folder()))
    print_or_write({"html": html.page, "markdown": markdown.summary}[format_](found), out)
