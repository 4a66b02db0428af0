"""The ``cloudmart`` command. Thin: each function parses its options and calls one function of the package."""

from __future__ import annotations

import sys

import click

from cloudmart.errors import UserError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cloudmart")
def cli() -> None:
    """CloudMart: microservices on Kubernetes with Pulumi, and what they cost."""


# --- local cluster ---------------------------------------------------------------------------------------------------


@cli.group()
def local() -> None:
    """The local cluster: a real Kubernetes API with simulated pods."""


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
