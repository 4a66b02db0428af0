"""Who callers are: the issuer of the tokens that the gateway and the mesh accept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from cloudmart.settings.base import Model, Text


class IdentitySettings(Model):
    """One issuer of JSON Web Tokens. Routes with ``auth: jwt`` accept its tokens and no others."""

    #: The claim `iss`.
    issuer: Annotated[str, Strict(), Field(min_length=1, max_length=255)]
    #: Where the issuer's public keys are.
    jwks_uri: Annotated[str, Strict(), Field(pattern=r"^https://[^\s]+$", max_length=500)]
    #: Values of the claim `aud` of which a token must have one; any where it is empty.
    audiences: tuple[Text, ...] = ()
