"""Generated passwords: made once, made anew when their rotation changes, and what changes with them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pulumi
import pulumi_random as random


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


def checksum_of(password: random.RandomPassword) -> pulumi.Output[str]:
    """Changes with a password, and gives nothing of it away."""
    # A digest of 190 random bits gives nothing away, and it has to stand in plain in the consumers' pod templates.
    return pulumi.Output.unsecret(password.result.apply(lambda p: hashlib.sha256(p.encode()).hexdigest()))
