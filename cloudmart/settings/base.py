"""What every part of the settings tree is made of: the model base, scalars, images and resources."""

from __future__ import annotations

import functools
import inspect
import ipaddress
import itertools
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    Strict,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from cloudmart.errors import printable
from cloudmart.settings.quantities import Bytes, Cpu, Quantity

K = TypeVar("K")
V = TypeVar("V")

#: A mapping that stays as it was validated: a frozen model would still let its dicts be changed.
FrozenMapping = Annotated[
    Mapping[K, V],
    AfterValidator(lambda value: MappingProxyType(dict(value))),
    PlainSerializer(lambda value: dict(value)),
]


class MisfitError(ValueError):
    """Values of a model that do not go together. `keys` are their paths below it, the likeliest culprit first."""

    def __init__(self, message: str, *keys: tuple[str | int, ...]) -> None:
        super().__init__(message)
        self.keys = keys


def _within(smallest: Quantity, largest: Quantity) -> AfterValidator:
    # Outside lie slips of the keyboard (`memory: 128`) and sums that are no quantity any more.
    def check(value: Quantity) -> Quantity:
        if not smallest <= value <= largest:
            raise ValueError(f"{value}; allowed: {smallest} to {largest}")
        return value

    return AfterValidator(check)


#: CPU of one container.
ContainerCpu = Annotated[Cpu, _within(Cpu("1m"), Cpu("1000"))]
#: Memory of one container.
ContainerMemory = Annotated[Bytes, _within(Bytes("1Mi"), Bytes("64Ti"))]
#: Size of one volume.
VolumeSize = Annotated[Bytes, _within(Bytes("1Mi"), Bytes("1Pi"))]

#: Whole numbers as YAML writes them: `true` and "3" are mistakes here, not numbers.
Count = Annotated[int, Strict(), Field(ge=0, le=10_000)]
Positive = Annotated[int, Strict(), Field(ge=1, le=10_000)]
Port = Annotated[int, Strict(), Field(ge=1, le=65_535)]
Seconds = Annotated[int, Strict(), Field(ge=0, le=86_400)]
Percent = Annotated[int, Strict(), Field(ge=1, le=100)]
Flag = Annotated[bool, Strict()]

_DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"

#: RFC 1123 label, as names of namespaces must be.
DnsLabel = Annotated[str, Strict(), Field(pattern=_DNS_LABEL, max_length=63)]


def _not_the_clusters(value: str) -> str:
    if value == "default" or value.startswith("kube-"):
        raise ValueError(f"{value!r}, which is the cluster's own; allowed: a namespace for this alone")
    return value


#: A namespace that the stack makes, labels and closes.
OwnNamespace = Annotated[
    DnsLabel, AfterValidator(_not_the_clusters), Field(json_schema_extra={"not": {"pattern": "^(default$|kube-)"}})
]
SERVICE_NAME = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
#: RFC 1035 label, as names of Services must be; short enough for what is appended to it.
ServiceName = Annotated[str, Strict(), Field(pattern=SERVICE_NAME, max_length=40)]
#: Prefix of names, and part of label values beside a service's name: 40 + 1 + 22 is what a label value may have.
ProjectName = Annotated[str, Strict(), Field(pattern=_DNS_LABEL, max_length=22)]
#: A value that a Kubernetes label may have.
LabelValue = Annotated[str, Strict(), Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=63)]
#: A host name, without scheme or port.
HostName = Annotated[str, Strict(), Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
#: The name of an environment variable.
EnvName = Annotated[str, Strict(), Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]


def _one_line(value: str) -> str:
    if "\n" in value or printable(value) != value:
        raise ValueError(f"{value[:40]!r}; allowed: one line of text, without control characters")
    return value


#: One line of text.
Text = Annotated[str, Strict(), Field(min_length=1, max_length=500), AfterValidator(_one_line)]


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(f"{value!r}: {error}; allowed: a range such as 203.0.113.0/24 or 2001:db8::/32") from None


#: A range of addresses in CIDR notation.
Cidr = Annotated[str, Strict(), Field(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$"), AfterValidator(_network)]
#: The same, or one address: it becomes the range that holds it alone.
AddressOrCidr = Annotated[str, Strict(), Field(pattern=r"^[0-9a-fA-F.:]+(/[0-9]{1,3})?$"), AfterValidator(_network)]


@functools.cache
def comments(of: type) -> dict[str, str]:
    """The `#:` comments above the attributes of a class and of those that it inherits from, by the attribute's name."""
    found: dict[str, str] = {}
    for cls in reversed(of.__mro__):
        if not cls.__module__.startswith("cloudmart."):
            continue
        lines = inspect.getsource(cls).splitlines()
        for number, line in enumerate(lines):
            if attribute := re.match(r"    (\w+)(: | = )", line):
                above = itertools.takewhile(lambda text: text.startswith("    #:"), reversed(lines[:number]))
                text = " ".join(part.removeprefix("    #:").strip() for part in reversed([*above]))
                found |= {attribute[1]: text} if text else {}
    return found


class Model(BaseModel):
    """Base of the tree: immutable, and nothing unknown gets in. Keys are camelCase in YAML, snake_case in Python."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        # What stands above a field in the code is what an editor shows while one types.
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in comments(cls).items():
            if (field := cls.model_fields.get(name)) and (key := field.alias or name) in properties:
                properties[key]["description"] = text
        return schema

    @model_validator(mode="before")
    @classmethod
    def _merge_over_defaults(cls, given: Any) -> Any:
        # So that `storage: {size: 1Gi}` changes the size and keeps the rest of what the model says of storage.
        if not isinstance(given, dict):
            return given
        merged = dict(given)
        for name, field in cls.model_fields.items():
            key = field.alias or name
            if isinstance(field.default, BaseModel) and isinstance(part := given.get(key), dict):
                merged[key] = _over(field.default.model_dump(by_alias=True, exclude_unset=True), part)
        return merged


def _over(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in given.items():
        below = merged.get(key)
        merged[key] = _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


class Amounts(Model):
    """CPU in cores and memory in bytes."""

    #: Cores.
    cpu: ContainerCpu
    #: Bytes.
    memory: ContainerMemory


class Resources(Model):
    """What a container asks for (`requests`) and may never pass (`limits`)."""

    #: What the scheduler reserves, and what is paid for.
    requests: Amounts
    #: What the container may never pass.
    limits: Amounts

    @model_validator(mode="after")
    def _limits_cover_requests(self) -> Self:
        for name in ("cpu", "memory"):
            request, limit = getattr(self.requests, name), getattr(self.limits, name)
            if limit < request:
                raise MisfitError(
                    f"limits.{name} {limit} is below requests.{name} {request}; allowed: {request} or more",
                    ("limits", name),
                    ("requests", name),
                )
        return self


#: As the container runtimes read it: a host with its port, and a path; a tag is no part of it.
_PART = r"[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{{1,5}})?/)?{_PART}(/{_PART})*$"


def _not_moving(value: str) -> str:
    if value == "latest":
        raise ValueError(f"{value!r}, which moves; allowed: a tag that names one version, or a digest")
    return value


Tag = Annotated[
    str, Strict(), Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=128), AfterValidator(_not_moving)
]


class Image(Model):
    """A container image. `digest`, where given, wins over `tag`: it cannot be moved."""

    #: Registry and path.
    repository: Annotated[str, Strict(), Field(pattern=_REPOSITORY, max_length=255)]
    #: One version; not `latest`.
    tag: Tag | None = None
    #: `sha256:…`, which wins over the tag.
    digest: Annotated[str, Strict(), Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    #: Secrets of the namespace that the registry asks for.
    pull_secrets: tuple[DnsLabel, ...] = ()

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.tag is None and self.digest is None:
            raise MisfitError(
                "neither tag nor digest is given; allowed: a tag, a digest or both", ("tag",), ("digest",)
            )
        return self

    @property
    def reference(self) -> str:
        """``repository[:tag][@digest]``, as a container's ``image`` wants it."""
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")
