"""``cloudmart drift``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cloudmart.cli._options import DEBUG, OUT, ROOT, STACK, context_named, examples, formats
from cloudmart.cli._output import print_or_write, say, traceback


@click.command(
    "drift",
    epilog=examples(
        "drift",
        "drift --stack prod --format markdown --out drift.md",
        "drift --controller my-operator  # whose additions are no drift",
    ),
)
@STACK
@context_named("Context of your kubeconfig. [default: the stack's own; without one, the local cluster]")
@click.option(
    "--controller",
    "controllers",
    multiple=True,
    metavar="MANAGER",
    help="A field manager whose additions are no drift, besides those of known controllers; may be repeated.",
)
@formats("text", "json", "markdown")
@OUT
@ROOT
@DEBUG
def drift_command(
    stack: str,
    context: str | None,
    controllers: tuple[str, ...],
    format_: str,
    out: Path | None,
    root: Path,
    debug: bool,
) -> None:
    """Compare what is live with what is declared, field by field; change nothing.

    Says who changed what and when, and the command that puts it back. Exit code 0 without drift, 1 with some.
    """
    from cloudmart.deploy.expected import expected
    from cloudmart.drift import report
    from cloudmart.drift.look import look

    with traceback(debug):
        found = look(expected(stack, context, root, say), controllers)
    makers = {"text": report.as_text, "json": report.as_json, "markdown": report.as_markdown}
    print_or_write(makers[format_](found), out)
    sys.exit(found.exit_code)
