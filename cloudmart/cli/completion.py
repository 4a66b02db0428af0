"""``cloudmart completion``."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from cloudmart.cli._options import OneOf, examples
from cloudmart.errors import UserError

_SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    epilog=examples(
        "completion bash > ~/.local/share/bash-completion/completions/cloudmart",
        "completion zsh > ~/.zfunc/_cloudmart  # a folder of your fpath",
        "completion fish > ~/.config/fish/completions/cloudmart.fish",
    ),
)
@click.argument("shell", type=OneOf(_SHELLS), required=False)
@click.pass_context
def completion_command(ctx: click.Context, shell: str | None) -> None:
    """Print the script that lets a shell complete commands, options, stacks and services. SHELL is yours by default."""
    if shell is None:
        shell = Path(os.environ.get("SHELL", "")).name
        if shell not in _SHELLS:
            raise UserError(f"SHELL: found {shell!r}; allowed: {', '.join(_SHELLS)}, or its name behind `completion`")
    found = get_completion_class(shell)
    if found is None:
        raise UserError(f"completion: found {shell!r}; allowed: {', '.join(_SHELLS)}")
    click.echo(found(ctx.find_root().command, {}, "cloudmart", "_CLOUDMART_COMPLETE").source())
