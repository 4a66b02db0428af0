"""Options that several commands take, and whom those of costs ask."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

from cloudmart.cli._output import is_project, require_place
from cloudmart.errors import UserError, meant

if TYPE_CHECKING:
    from cloudmart.cluster.kubectl import Kubectl
    from cloudmart.finops.allocation import Client
    from cloudmart.settings import Settings

_Command: TypeAlias = Callable[..., None]
_Completion: TypeAlias = Callable[[click.Context, click.Parameter, str], list[str]]
_Option: TypeAlias = Callable[[_Command], _Command]

#: The checkout that this package belongs to.
CHECKOUT = Path(__file__).resolve().parents[2]


def project() -> Path:
    """The project that a command is about where no ``--root`` says so: the one at or above the current folder, else
    the checkout, else (where the package is installed) the current folder."""
    here = Path.cwd().resolve()
    places = (here, *here.parents, CHECKOUT)
    return next((one for one in places if is_project(one)), here)


class OneOf(click.Choice[str]):
    """One word of a few; another one is told as a mistake in a file is."""

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:
        del ctx
        return f"found {str(value)!r}{meant(str(value), self.choices)}; allowed: {', '.join(self.choices)}"


_FILE = click.Path(dir_okay=False, path_type=Path)
_STACK, _STACK_VARIABLE = "dev", "CLOUDMART_STACK"


def complete_stacks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """For a shell: the stacks of the project."""
    del param
    from cloudmart.settings import stacks

    return [name for name in stacks(ctx.params.get("root") or project()) if name.startswith(incomplete)]


def completing(names: Callable[[Settings], Iterable[str]]) -> _Completion:
    """For a shell: names from the settings of the stack that the command line says, else of any that loads."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        del param
        from cloudmart.settings import load, stacks

        root, stack = ctx.params.get("root") or project(), ctx.params.get("stack")
        for one in [stack] if stack else stacks(root):
            with contextlib.suppress(UserError):  # nobody wants to read an error instead of a word
                return [name for name in names(load(one, root)) if name.startswith(incomplete)]
        return []

    return complete


def stack_named(help_: str, *, default: str | None = None) -> _Option:
    return click.option(
        "--stack",
        "-s",
        default=default,
        show_default=True,
        envvar=_STACK_VARIABLE if default else None,
        shell_complete=complete_stacks,
        help=help_,
    )


def context_named(help_: str) -> _Option:
    return click.option("--context", "-c", help=help_)


def formats(*names: str) -> _Option:
    """The formats of a command's output; the first is the default."""
    return click.option("--format", "format_", type=OneOf(names), default=names[0], show_default=True)


def out_file(help_: str) -> _Option:
    return click.option("--out", type=_FILE, callback=_with_a_place, help=help_)


def _with_a_place(_ctx: click.Context, _option: click.Parameter, file: Path | None) -> Path | None:
    if file is not None:
        require_place(file)
    return file


def usage_file(help_: str) -> _Option:
    return click.option("--usage", "timeline", type=_FILE, help=help_)


def _url(help_: str) -> _Option:
    return click.option("--url", envvar="CLOUDMART_COST_URL", help=help_ + "[env: CLOUDMART_COST_URL]")


def examples(*lines: str) -> str:
    """The end of a command's help: command lines without the program's name, each with what it is for after ``#``."""
    parts = [line.partition("  # ") for line in lines]
    width = max((len(line) for line, _, what in parts if what), default=0)
    shown = [f"  cloudmart {line:<{width}}  # {what}" if what else f"  cloudmart {line}" for line, _, what in parts]
    return "\n".join(["\b", "Examples:", *shown])  # \b: click leaves the lines as they are


STACK = stack_named(f"The stack: Pulumi.<stack>.yaml. [env: {_STACK_VARIABLE}]", default=_STACK)
YES = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
ROOT = click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    default=project,
    help="Folder of the project. [default: the one at or above the current folder, else this repository]",
)
OUT = out_file("Write to this file.")
DEBUG = click.option("--debug", is_flag=True, help="Show the traceback when the program itself fails.")
CONTEXT = context_named("Context of your kubeconfig. [default: the stack's own; without one, the local cluster]")
URL = _url("Address of Kubecost or OpenCost. ")
SERVICE = click.option("--service", help="The Service to ask, NAMESPACE/NAME:PORT, where it is not found by itself.")


def asking(command: _Command) -> _Command:
    """The options that say whom to ask for allocations, and for when."""
    options: list[_Option] = [
        click.option("--window", default="7d", show_default=True, help="30m, 24h, 7d, today, month, or START,END."),
        CONTEXT,
        _url("Address of Kubecost or OpenCost; without it, the cluster's is found and asked through its API server.  "),
        SERVICE,
        click.option(
            "--timeout", type=click.FloatRange(1, 3600), default=60, show_default=True, help="Seconds for a page."
        ),
        formats("text", "json", "csv", "markdown", "html"),
        OUT,
        ROOT,
    ]
    for option in reversed(options):
        command = option(command)
    return command


def stack_asked(stack: str | None, context: str | None, url: str | None, root: Path) -> str | None:
    """The stack whose cluster a command asks that also asks clusters of no stack: in a project the one that the other
    commands take, unless the command line names a cluster; None is that cluster, or kubectl's current one."""
    if stack is not None or context is not None or url is not None or not is_project(root):
        return stack
    return os.environ.get(_STACK_VARIABLE) or _STACK


def allocations(
    stack: str | None,
    context: str | None,
    url: str | None,
    service: str | None,
    timeout: float,
    root: Path,
) -> Client:
    """The Allocation API at an address, or of a stack's, a context's or kubectl's current cluster."""
    from cloudmart.cluster.kubectl import KubectlError
    from cloudmart.finops.allocation.client import Client
    from cloudmart.finops.allocation.discovery import discover

    if url is not None:
        if service is not None:
            raise UserError("cost: found --url and --service; allowed: one of them")
        return Client.at(url, time_limit=timeout)
    kubectl = _cluster_asked(stack, context, root)
    try:
        return discover(kubectl, service, time_limit=timeout)
    except KubectlError as error:
        if stack is not None or context is not None:
            raise
        raise UserError(
            f"kubectl's current context: {error}; allowed: one that answers, --context, --url, or --stack in a project"
        ) from None


def _cluster_asked(stack: str | None, context: str | None, root: Path) -> Kubectl:
    from cloudmart.cluster import toolchain
    from cloudmart.cluster.contexts import in_context
    from cloudmart.cluster.kubectl import Kubectl
    from cloudmart.cluster.local import LocalCluster

    if stack is None and context is None:
        return Kubectl(path=toolchain.kubectl())
    if (kubectl := in_context(stack or "", root, context)) is not None:
        return kubectl
    local = LocalCluster(root).status()
    if not local.running or local.info is None:
        raise UserError(
            f"stack {stack}: its cluster is the local one, which is {local.trouble}; allowed: `cloudmart local "
            "start`, another --stack, --context or --url"
        )
    return Kubectl(path=toolchain.kubectl(), kubeconfig=local.info.kubeconfig)
