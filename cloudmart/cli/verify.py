"""``cloudmart verify``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from cloudmart.cli._options import DEBUG, OUT, ROOT, STACK, URL, context_named, examples, formats
from cloudmart.cli._output import print_or_write, say, traceback

_UNITS = {"s": 1, "m": 60, "h": 3600}


def _seconds(_: click.Context, option: click.Parameter, text: str | None) -> float:
    """Seconds of ``90s``, ``5m`` or ``1h``."""
    if text is None:
        return 0
    found = re.fullmatch(r"([0-9]{1,5})([smh])", text, re.ASCII)
    if found is None:
        raise click.BadParameter(
            f"found {text!r}; allowed: a number with its unit, such as 90s, 5m or 1h", param=option
        )
    return float(int(found[1]) * _UNITS[found[2]])


@click.command("verify", epilog=examples("verify", "verify --stack prod --wait 5m --format junit --out verify.xml"))
@STACK
@context_named("Context of your kubeconfig. [default: the stack's own; without one, the local cluster]")
@click.option("--wait", callback=_seconds, metavar="TIME", help="Look again upon each change, for up to 90s, 5m or 1h.")
@URL
@formats("text", "json", "junit", "markdown")
@OUT
@ROOT
@DEBUG
def verify_command(
    stack: str,
    context: str | None,
    wait: float,
    url: str | None,
    format_: str,
    out: Path | None,
    root: Path,
    debug: bool,
) -> None:
    """Check that what is deployed works, in the order in which to mend it; change nothing.

    Exit code 0 when nothing fails (warnings are for people), 1 when some check fails.
    """
    from cloudmart.finops import terminal
    from cloudmart.verify import report
    from cloudmart.verify.run import verify

    with traceback(debug):
        found = verify(stack, context, root, say, url=url, wait=wait)
    makers = {
        "text": report.as_text,
        "json": lambda found: report.as_json(found) + "\n",
        "junit": report.as_junit,
        "markdown": report.as_markdown,
    }
    if format_ == "text" and out is None:
        terminal.print_lines(report.lines(found), sys.stdout)
    else:
        print_or_write(makers[format_](found), out)
    sys.exit(found.exit_code)
