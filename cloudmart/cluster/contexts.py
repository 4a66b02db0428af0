"""Which context of the user's kubeconfig a command goes to."""

from __future__ import annotations

from pathlib import Path

from cloudmart.cluster import toolchain
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.errors import UserError, meant
from cloudmart.settings import load_with_origins

#: So many are listed.
_MOST = 20


def in_context(stack: str, root: Path, given: str | None) -> Kubectl | None:
    """kubectl in the context that was `given` on the command line, else in the stack's own; None without either: it is
    the local cluster then.

    Raises ``UserError`` for a context that the kubeconfig does not have.
    """
    context, where = given, "--context"
    if context is None:
        loaded = load_with_origins(stack, root)
        context = loaded.settings.cluster.context
        where = f"{loaded.origin_of(('cluster', 'context'))}: cluster.context"
    if context is None:
        return None
    path = toolchain.kubectl()
    known = Kubectl(path=path).run("config", "get-contexts", "-o", "name").splitlines()
    if context not in known:
        shown = ", ".join(known[:_MOST]) or "none"
        more = f" and {len(known) - _MOST} more" if len(known) > _MOST else ""
        raise UserError(
            f"{where}: found {context!r}{meant(context, known)}; allowed: a context of your kubeconfig, which has "
            f"{shown}{more}"
        )
    return Kubectl(path=path, context=context)
