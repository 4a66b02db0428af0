"""``cloudmart rightsize``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cloudmart.cli._options import CONTEXT, DEBUG, ROOT, SERVICE, STACK, URL, allocations, examples, formats, usage_file
from cloudmart.cli._output import say, traceback
from cloudmart.errors import printable


@click.command(
    "rightsize",
    epilog=examples(
        "rightsize --stack prod",
        "rightsize --stack prod --window 30d --write",
        "rightsize --usage .local/load/dev.json  # of `cloudmart local load`",
    ),
)
@STACK
@ROOT
@usage_file("A timeline that `cloudmart local load` wrote, instead of a cluster's usage.")
@click.option("--prometheus", help="URL of a Prometheus: single pods' peaks and memory kills, in steps of minutes.")
@click.option("--window", default="14d", show_default=True, help="Of the usage, up to now.")
@URL
@SERVICE
@CONTEXT
@click.option(
    "--vpa",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="What `kubectl get vpa --output=json` prints: nothing below its lower bounds is recommended.",
)
@click.option(
    "--min-data", default="24h", show_default=True, help="Below this much usage a service gets no recommendation."
)
@click.option("--write", is_flag=True, help="Write the changes into Pulumi.<stack>.yaml.")
@formats("text", "json", "markdown")
@DEBUG
def rightsize_command(
    stack: str,
    root: Path,
    timeline: Path | None,
    prometheus: str | None,
    window: str,
    url: str | None,
    service: str | None,
    context: str | None,
    vpa: Path | None,
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
    from cloudmart.settings.source import contents

    least = rightsize.duration(min_data, "--min-data")
    settings = load(stack, root)
    namespace = settings.namespace.name
    if timeline is not None:
        used = rightsize.from_run(load_.read_timeline(timeline))
    elif prometheus is not None:
        minutes = rightsize.duration(window, "--window")
        used = prometheus_.usage(prometheus, namespace, settings.services, minutes=minutes)
    else:
        client, now = allocations(stack, context, url, service, 60, root), datetime.now(UTC)
        used = usage_.from_allocations(client, client.window(window, now), now, namespace, settings.services)
    if vpa is not None:
        source = f"--vpa {vpa}"
        # What one types into a pipe, or a file.
        content = sys.stdin.buffer.read() if str(vpa) == "-" else contents(vpa, source, 32 << 20)
        used = rightsize.with_vpa(used, content, source)
    with traceback(debug):
        proposal = rightsizing.propose(stack, root, used, least_minutes=least)
    if format_ == "json":
        click.echo(rightsizing.as_json(proposal))
    elif format_ == "markdown":
        click.echo(printable(rightsizing.as_markdown(proposal)), nl=False)
    else:
        tables.print_text(rightsizing.document(proposal), sys.stdout)
        if proposal.diff and not write:
            click.echo("\n" + printable(proposal.diff), nl=False)
    if proposal.refused:
        sys.exit(1)
    if write:
        written = edit.write(stack, root, proposal.changes)
        say(f"{stack_file(stack)}: {'written' if written else 'nothing to change'}")
