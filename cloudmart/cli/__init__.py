"""The ``cloudmart`` command. Thin: each function parses its options and calls one function of the package.

What a command needs it imports when it runs: ``--help`` and ``config show`` answer without loading Pulumi.
"""

from __future__ import annotations

import atexit
import gc
import io
import signal
import sys

import click

from cloudmart.cli import (
    access,
    completion,
    config,
    costs,
    deploy,
    doctor,
    drift,
    graph,
    init,
    local,
    preview,
    report,
    rightsize,
    secrets,
    verify,
)
from cloudmart.cli._options import examples
from cloudmart.errors import UserError, message


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=examples(
        "doctor  # is everything there?",
        "preview --stack prod  # what is declared, what is wrong with it, what it costs",
        "up  # stack dev on the local cluster",
    ),
)
@click.version_option(package_name="cloudmart")
def cli() -> None:
    """CloudMart: microservices on Kubernetes with Pulumi, and what they cost."""


for _command in (
    access.access_group,
    completion.completion_command,
    config.config,
    costs.cost_command,
    costs.prices_group,
    deploy.down_command,
    deploy.up_command,
    doctor.doctor_command,
    drift.drift_command,
    graph.graph,
    init.init,
    local.local,
    preview.preview_command,
    preview.render_command,
    report.report_command,
    rightsize.rightsize_command,
    secrets.secrets_group,
    verify.verify_command,
):
    cli.add_command(_command)


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM, which CI systems send to a job that is cancelled: taken as Ctrl-C: what is held is given back."""


def _terminated(*_: object) -> None:
    from cloudmart.deploy.processes import interrupt_children

    interrupt_children()
    raise _TerminatedError


def _said(error: click.ClickException) -> str:
    """A bad value as the one line of every other error; a wrong call with the usage, which is what is allowed."""
    if isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter) and error.param:
        return f"error: {max(error.param.opts, key=len)}: {error.message}"
    error.show(said := io.StringIO())
    return said.getvalue().rstrip("\n")


def main() -> None:
    """Entry point: user errors become one message and their exit code, never a traceback."""
    # What a command imports it needs until its end. Looking through it for garbage, again and again and once more at
    # the exit, took a third of the time of `preview --stack dev`.
    gc.set_threshold(1_000_000)
    atexit.register(gc.freeze)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        cli.main(prog_name="cloudmart", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.Abort as aborted:
        if isinstance(aborted.__cause__, KeyboardInterrupt):
            click.echo("; ".join(["interrupted", *getattr(aborted.__cause__, "__notes__", ())]), err=True)
        sys.exit(128 + (signal.SIGTERM if isinstance(aborted.__cause__, _TerminatedError) else signal.SIGINT))
    except click.ClickException as error:
        click.echo(message(_said(error)), err=True)
        sys.exit(2)
    except UserError as error:
        click.echo(message(f"error: {error}"), err=True)
        sys.exit(error.exit_code)
