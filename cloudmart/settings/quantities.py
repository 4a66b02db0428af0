"""Kubernetes quantities as values that can be compared, added and priced.

Grammar and suffixes: ``k8s.io/apimachinery/pkg/api/resource`` (Quantity). The text is kept as it was written, because
that is what stands in the manifest; comparison is by value.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

_DECIMAL = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1)}
_LARGE = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_NUMBER = r"(?:[0-9]{1,18}(?:\.[0-9]{1,9})?)"


class Quantity:
    """An amount in base units (cores or bytes) and the text that says so.

    Ordered and hashed by value, so ``Cpu("1") == Cpu("1000m")``. Raises ``ValueError`` for text outside the grammar.
    """

    __slots__ = ("text", "value")

    pattern: ClassVar[re.Pattern[str]]
    suffixes: ClassVar[dict[str, Decimal]]
    kind: ClassVar[str]
    examples: ClassVar[tuple[str, ...]]

    text: str
    value: Decimal

    def __init__(self, text: str) -> None:
        match = self.pattern.fullmatch(text)
        if match is None:
            raise ValueError(f"not a {self.kind}")
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "value", Decimal(match[1]) * self.suffixes[match[2]])

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.value == self.value

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.value))

    def __lt__(self, other: Self) -> bool:
        return self.value < other.value

    def __le__(self, other: Self) -> bool:
        return self.value <= other.value

    def __gt__(self, other: Self) -> bool:
        return self.value > other.value

    def __ge__(self, other: Self) -> bool:
        return self.value >= other.value

    @classmethod
    def _validate(cls, value: Any) -> Self:
        if isinstance(value, cls):
            return value
        # A bare number is what YAML makes of `cpu: 1` or `cpu: 0.5`.
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            try:
                return cls(str(value))
            except ValueError:
                pass
        raise PydanticCustomError(
            "quantity",
            "Input should be a {kind} such as {examples}",
            {"kind": cls.kind, "examples": ", ".join(cls.examples)},
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "anyOf": [{"type": "string", "pattern": f"^{cls.pattern.pattern}$"}, {"type": "number", "minimum": 0}],
            "examples": list(cls.examples),
        }


class Cpu(Quantity):
    """CPU time in cores, to the millicore: the API server rejects anything finer in a container's resources."""

    __slots__ = ()
    pattern = re.compile(rf"({_NUMBER})(m?)")
    suffixes: ClassVar[dict[str, Decimal]] = {"m": _DECIMAL["m"], "": _DECIMAL[""]}
    kind = "CPU quantity"
    examples = ("100m", "0.5", "2")

    def __init__(self, text: str) -> None:
        super().__init__(text)
        if self.value * 1000 != int(self.value * 1000):
            raise ValueError("finer than a millicore")

    @property
    def cores(self) -> Decimal:
        """Cores."""
        return self.value

    @classmethod
    def of(cls, cores: Decimal) -> Self:
        """The quantity of so many cores, rounded up to the millicore, in the usual notation."""
        millicores = int((cores * 1000).to_integral_value(ROUND_CEILING))
        return cls(f"{millicores}m" if millicores % 1000 else str(millicores // 1000))


class Bytes(Quantity):
    """Memory or storage in whole bytes."""

    __slots__ = ()
    pattern = re.compile(rf"({_NUMBER})(Ki|Mi|Gi|Ti|Pi|Ei|k|M|G|T|P|E|)")
    suffixes: ClassVar[dict[str, Decimal]] = {
        "": Decimal(1),
        **{k: Decimal(v) for k, v in (_LARGE | _BINARY).items()},
    }
    kind = "memory or storage quantity"
    examples = ("128Mi", "1Gi", "500M")

    def __init__(self, text: str) -> None:
        super().__init__(text)
        if self.value != int(self.value):
            raise ValueError("a fraction of a byte")

    @property
    def bytes(self) -> int:
        """Bytes."""
        return int(self.value)

    @classmethod
    def of(cls, size: Decimal | int) -> Self:
        """The quantity of so many bytes, rounded up to the MiB, in the usual notation."""
        mebibytes = int((Decimal(size) / 2**20).to_integral_value(ROUND_CEILING))
        return cls(f"{mebibytes}Mi" if mebibytes % 1024 else f"{mebibytes // 1024}Gi")
