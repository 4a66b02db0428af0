"""Which context of the user's kubeconfig a command goes to."""

from __future__ import annotations

from cloudmart.cluster import toolchain
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.errors import UserError, meant


def in_context(stack: str, given: str | None, own: str | None) -> Kubectl | None:
    """kubectl in the context that was `given` on the command line, else in the stack's `own`; None where neither is,
    which means the local cluster.

    Raises ``UserError`` for a context that the kubeconfig does not have.
    """
    context = given or own
    if context is None:
        return None
    path = toolchain.kubectl()
    known = Kubectl(path=path).run("config", "get-contexts", "-o", "name").splitlines()
    if context not in known:
        where = "--context" if given else f"Pulumi.{stack}.yaml: config.cloudmart:cluster.context"
        raise UserError(
            f"{where}: found {context!r}{meant(context, known)}; allowed: a context of your kubeconfig, which has "
            f"{', '.join(known) or 'none'}"
        )
    return Kubectl(path=path, context=context)
