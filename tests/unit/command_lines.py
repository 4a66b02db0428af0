"""Command lines that a page or a help text shows."""

from __future__ import annotations

from unittest.mock import patch

import click

from cloudmart.cli import cli


# Which folders there are is another matter: a page's earlier commands make some.
@patch("cloudmart.cli._options.require_place", lambda *_: None)
def parsed(words: list[str], *, complete: bool) -> None:
    """Has click read a command line, and run nothing. Prose may leave out what is required."""
    command: click.Command = cli
    parent = None
    while True:
        try:
            context = command.make_context(command.name, words, parent=parent)
        except click.exceptions.NoArgsIsHelpError:
            return
        except click.MissingParameter:
            if complete:
                raise
            return
        words = [*context._protected_args, *context.args]  # where click keeps a group's subcommand
        if not isinstance(command, click.Group) or not words:
            return
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command, parent = found, context
