"""Who callers are: the issuer of the tokens that the gateway and the mesh accept."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from cloudmart.settings.base import DnsLabel, MisfitError, Model, Text


class IdentitySettings(Model):
    """One issuer of JSON Web Tokens. Routes with ``auth: jwt`` accept its tokens and no others.

    The mesh fetches the issuer's keys itself, from `jwks_uri`, and checks signature, issuer, audience and time. The
    gateway fetches nothing: it checks signature, issuer and expiry with the one public key that it is given here, in
    `public_key_secret` or `public_key_pem`.
    """

    #: The claim `iss`.
    issuer: Annotated[str, Strict(), Field(min_length=1, max_length=255)]
    #: Where the issuer's public keys are.
    jwks_uri: Annotated[str, Strict(), Field(pattern=r"^https://[^\s]+$", max_length=500)]
    #: Values of the claim `aud` of which a token must have one; any where it is empty. Only the mesh checks it.
    audiences: tuple[Text, ...] = ()
    #: A Secret in the gateway's namespace that holds the key in Kong's form; see docs/layers/gateway.md.
    public_key_secret: DnsLabel | None = None
    #: The key itself. It is public: it may stand in a file.
    public_key_pem: (
        Annotated[
            str,
            Strict(),
            Field(
                pattern=r"^-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=\n]+\n-----END PUBLIC KEY-----\n?$", max_length=5000
            ),
        ]
        | None
    ) = None
    #: How the issuer signs, where `public_key_pem` is given; the Secret says it of its own key.
    algorithm: Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"] = (
        "RS256"
    )

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.public_key_secret is not None and self.public_key_pem is not None:
            raise MisfitError(
                "publicKeySecret and publicKeyPem are given; allowed: one of the two",
                ("publicKeyPem",),
                ("publicKeySecret",),
            )
        return self

    @property
    def has_public_key(self) -> bool:
        """Whether the gateway can check tokens."""
        return self.public_key_secret is not None or self.public_key_pem is not None
