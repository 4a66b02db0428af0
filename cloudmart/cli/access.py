"""``cloudmart access``: who must be allowed what, to deploy a stack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloudmart.cli._options import DEBUG, OUT, ROOT, STACK, OneOf, examples, formats
from cloudmart.cli._output import print_or_write, say, traceback
from cloudmart.errors import UserError

if TYPE_CHECKING:
    from cloudmart.access.role import Subject
    from cloudmart.deploy.expected import Way
    from cloudmart.preview.recorder import Recording
    from cloudmart.settings import Settings


@click.group("access", epilog=examples("access role --subject group:deployers | kubectl apply -f -"))
def access_group() -> None:
    """Who must be allowed what in the cluster."""


@access_group.command(
    "role",
    epilog=examples(
        "access role --subject group:deployers  # for `up` with the Pulumi CLI",
        "access role --stack dev --subject serviceaccount:ci/deployer --out roles.yaml",
        "access role --stack prod --for verify --subject group:deployers",
        "access role --stack prod --for read --subject user:nightly",
    ),
)
@STACK
@click.option(
    "--for",
    "purpose",
    type=OneOf(["deploy", "verify", "read"]),
    default="deploy",
    show_default=True,
    help="For `up` and `down`; for `verify` and `cost`; or for `drift` besides, with a policy that refuses every "
    "change, which needs --subject.",
)
@click.option(
    "--way",
    type=OneOf(["pulumi", "applyset"]),
    help="To deploy: with the Pulumi CLI, or without it. [default: pulumi]",
)
@click.option(
    "--subject",
    metavar="KIND:NAME",
    help="Bind the roles to group:NAME, user:NAME or serviceaccount:NAMESPACE/NAME. [default: no bindings]",
)
@ROOT
@formats("yaml", "json")
@OUT
@DEBUG
def role_command(
    stack: str,
    purpose: str,
    way: str | None,
    subject: str | None,
    root: Path,
    format_: str,
    out: Path | None,
    debug: bool,
) -> None:
    """Print the least roles with which a stack is deployed, verified or looked at, for an administrator to apply.

    Those to deploy, for `up` and `down`, bring the stack's namespaces: who may deploy to one need not be allowed to
    make any.

    With --for verify, those with which `verify` and `cost` work: the deployer of a pipeline needs them too. Whoever has
    them may read the Secrets of the stack's namespaces. With --for read, `drift` as well: the API server lets only
    those try an object who may change it, so an admission policy comes with them that lets this subject try and not
    change.
    """
    from cloudmart.access import permissions, role
    from cloudmart.deploy.expected import Way
    from cloudmart.preview.recorder import record
    from cloudmart.preview.render import to_yaml
    from cloudmart.settings import load

    if way is not None and purpose != "deploy":
        raise UserError(f"--way {way}: found --for {purpose}, which deploys in no way; allowed: with --for deploy")
    bound = role.Subject.parse(subject) if subject is not None else None
    settings = load(stack, root)
    with traceback(debug):
        recording = record(stack, root)
    if purpose == "verify":
        found = role.objects(permissions.verifying(recording, settings), stack, (), bound, whose="verifier")
    elif purpose == "read":
        if bound is None:
            raise UserError("--for read: found no --subject; allowed: the one whose changes are to be refused")
        wanted = permissions.reading(recording, settings)
        found = [*role.trials_alone(stack, bound), *role.objects(wanted, stack, (), bound, whose="reader")]
    else:
        found = _deployers(recording, settings, Way(way or "pulumi"), bound)
    if format_ == "json":
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": found}, indent=2) + "\n"
    else:
        text = "---\n".join(map(to_yaml, found))
    print_or_write(text, out)


def _deployers(recording: Recording, settings: Settings, way: Way, bound: Subject | None) -> list[dict[str, Any]]:
    from cloudmart.access import permissions, role
    from cloudmart.deploy.expected import Way

    releases = [one for one in recording.resources if one.type == "kubernetes:helm.sh/v3:Release"]
    if way is Way.APPLY_SET and releases:
        names = ", ".join(one.name for one in releases)
        raise UserError(
            f"--way applyset: stack {recording.stack} has Helm releases ({names}), which need the Pulumi CLI; "
            "allowed: --way pulumi, or a stack without them"
        )
    needed = permissions.needed(recording, settings, way)
    spaces = [str(one.object_name) for one in permissions.namespaces(recording)]
    for remark in needed.remarks:
        say(f"note: {remark}")
    return role.objects(needed.permissions, recording.stack, spaces, bound)
