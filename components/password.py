"""Generated passwords: made once, made anew when their rotation changes, and what changes with them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pulumi
import pulumi_random as random
from pulumi_kubernetes.core.v1 import Secret


def generated(name: str, rotations: Mapping[str, int], opts: pulumi.ResourceOptions) -> random.RandomPassword:
    """Letters and digits only: no file, URL or JAAS line that it goes into needs quoting; 32 of 62 make 190 bits.

    Never protected, whatever its store is: a store takes up another password at its start, and what is protected could
    neither be rotated nor go with a service that stops needing the store.
    """
    rotation = rotations.get(name)
    return random.RandomPassword(
        name,
        length=32,
        special=False,
        # Without keepers at first, so that one which was never rotated is what it was.
        keepers={"rotation": str(rotation)} if rotation else None,
        opts=opts,
    )


def checksum_of(password: random.RandomPassword, secret: Secret | None = None) -> pulumi.Output[str]:
    """Changes with a password, and gives nothing of it away.

    What takes it waits for `secret`, where the password stands: pods that started before that had changed would have
    the old password for good. None for what waits for the Secret anyway.
    """

    def digest(known: list[str]) -> str:
        return hashlib.sha256(known[0].encode()).hexdigest()

    # A digest of 190 random bits gives nothing away, and it has to stand in plain in the consumers' pod templates.
    waited = [secret.id] if secret is not None else []
    return pulumi.Output.unsecret(pulumi.Output.all(password.result, *waited).apply(digest))
