"""The commands that mend what is not as declared."""

from __future__ import annotations

import shlex

from cloudmart.cluster.live import Reference
from cloudmart.deploy.expected import Expected


def up(expected: Expected) -> str:
    """The one that makes live objects as declared again."""
    return expected.put_back(expected.target.kubectl.context)


def kubectl(expected: Expected, verb: str, what: str, reference: Reference, *more: str) -> str:
    """One on an object; `what` is how kubectl is told which."""
    where = [f"--namespace={reference.namespace}"] if reference.namespace else []
    return shlex.join([*expected.target.kubectl.command, *verb.split(), what, *where, *more])
