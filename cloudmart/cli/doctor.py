"""``cloudmart doctor``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cloudmart.cli._options import DEBUG, OUT, ROOT, STACK, context_named, examples, formats
from cloudmart.cli._output import print_or_write, traceback


@click.command("doctor", epilog=examples("doctor", "doctor --stack prod --context my-cluster --format json"))
@STACK
@context_named("Context of your kubeconfig. [default: the stack's own; without one, the local cluster]")
@formats("text", "json")
@OUT
@ROOT
@DEBUG
def doctor_command(stack: str, context: str | None, format_: str, out: Path | None, root: Path, debug: bool) -> None:
    """Say whether this machine, the project and the stack's cluster have what `up` needs; change nothing.

    Exit code 0 when nothing fails (warnings are for people), 1 when some check fails, 2 on bad input.
    """
    from cloudmart.doctor import report
    from cloudmart.doctor.run import examine
    from cloudmart.finops import terminal

    with traceback(debug):
        found = examine(stack, context, root)
    if format_ == "text" and out is None:
        terminal.print_lines(report.lines(found), sys.stdout)
    else:
        print_or_write((report.as_json if format_ == "json" else report.as_text)(found), out)
    sys.exit(found.exit_code)
