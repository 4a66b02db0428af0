"""Passwords: generated once, and anew when their rotation changes; or kept elsewhere, and only named here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_random as random
from pulumi_kubernetes.core.v1 import Secret
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from cloudmart.settings.secrets import ExternalSecrets, SecretSettings
from components.custom import CustomObject
from components.specs import external_secrets as specs


@dataclass(frozen=True, kw_only=True)
class Password:
    """One password, as a Secret's values can be made of it."""

    name: str
    #: The password; where it is kept elsewhere, what stands for it in a template.
    value: pulumi.Input[str]
    #: Changes with it.
    mark: pulumi.Input[str]


def generated(name: str, settings: SecretSettings, opts: pulumi.ResourceOptions) -> Password:
    """Letters and digits only: no file, URL or JAAS line that it goes into needs quoting; 32 of 62 make 190 bits.

    Never protected, whatever its store is: a store takes up another password at its start, and what is protected could
    neither be rotated nor go with a service that stops needing the store.
    """
    rotation = settings.rotations.get(name)
    if settings.external is not None:
        value = f"{{{{ .{_variable(name)} }}}}"
        return Password(name=name, value=value, mark=f"{value} {rotation or 0}")
    made = random.RandomPassword(
        name,
        length=32,
        special=False,
        # Without keepers at first, so that one which was never rotated is what it was.
        keepers={"rotation": str(rotation)} if rotation else None,
        opts=opts,
    )
    return Password(name=name, value=made.result, mark=made.result)


def credentials(
    metadata: ObjectMetaArgs,
    data: Mapping[str, pulumi.Input[str]],
    passwords: Sequence[Password],
    settings: SecretSettings,
    opts: pulumi.ResourceOptions,
    *,
    type_: str = "Opaque",
) -> pulumi.CustomResource:
    """The Secret of this name with these values, which are made of `passwords`; or the ExternalSecret that has it
    made."""
    name = str(metadata.name)
    if settings.external is None:
        return Secret(name, metadata=metadata, type=type_, string_data=dict(data), opts=opts)
    rotations = {one.name: settings.rotations[one.name] for one in passwords if one.name in settings.rotations}
    if rotations:
        # A change of the object has the values fetched.
        metadata.annotations = {"cloudmart/rotations": ",".join(f"{key}={count}" for key, count in rotations.items())}
    return CustomObject(
        name,
        specs.EXTERNAL_SECRET,
        metadata=metadata,
        spec=_external(name, metadata, data, passwords, settings.external, type_),
        opts=opts,
    )


def _external(
    name: str,
    metadata: ObjectMetaArgs,
    data: Mapping[str, pulumi.Input[str]],
    passwords: Sequence[Password],
    settings: ExternalSecrets,
    type_: str,
) -> specs.ExternalSecret:
    labels = metadata.labels
    assert isinstance(labels, Mapping)  # noqa: S101 - for the type checker: an Output could be one too
    return specs.ExternalSecret(
        secret_store_ref=specs.StoreRef(name=settings.store.name, kind=settings.store.kind),
        target=specs.Target(
            name=name,
            template=specs.Template(type_=type_, metadata=specs.TemplateMetadata(labels=dict(labels)), data=data),
        ),
        data=[
            specs.Datum(
                secret_key=_variable(one.name),
                remote_ref=specs.RemoteRef(key=f"{settings.prefix}{one.name}", property=settings.property),
            )
            for one in passwords
        ],
    )


def _variable(name: str) -> str:
    """As a template can name it."""
    return name.replace("-", "_")


def checksum_of(password: Password, secret: pulumi.CustomResource | None = None) -> pulumi.Output[str]:
    """Changes with a password, and gives nothing of it away.

    What takes it waits for `secret`, where the password stands: pods that started before that had changed would have
    the old password for good. None for what waits for the Secret anyway.
    """

    def digest(known: list[str]) -> str:
        return hashlib.sha256(known[0].encode()).hexdigest()

    # A digest of 190 random bits gives nothing away, and it has to stand in plain in the consumers' pod templates.
    waited = [secret.id] if secret is not None else []
    return pulumi.Output.unsecret(pulumi.Output.all(password.mark, *waited).apply(digest))
