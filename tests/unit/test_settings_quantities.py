"""Quantities: what is one, what it is worth, and how it is written."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from cloudmart.settings import Bytes, Cpu
from cloudmart.settings.quantities import Quantity

derandomized = settings(derandomize=True, deadline=None, database=None)


@pytest.mark.parametrize(
    ("text", "cores"),
    [("100m", "0.1"), ("0.5", "0.5"), ("2", "2"), ("1.5", "1.5"), ("0.001", "0.001"), ("1.000", "1"), ("1500m", "1.5")],
)
def test_a_cpu_quantity_is_worth_its_cores(text: str, cores: str) -> None:
    assert Cpu(text).cores == Decimal(cores)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("128Mi", 128 * 2**20),
        ("1Gi", 2**30),
        ("1.5Gi", 3 * 2**29),
        ("1Ki", 1024),
        ("1k", 1000),
        ("500M", 500_000_000),
        ("1G", 10**9),
        ("1T", 10**12),
        ("1Ti", 2**40),
        ("1P", 10**15),
        ("1Pi", 2**50),
        ("1E", 10**18),
        ("1Ei", 2**60),
        ("1024", 1024),
        ("0.5Ki", 512),
    ],
)
def test_a_size_is_worth_its_bytes(text: str, size: int) -> None:
    assert Bytes(text).bytes == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "100 m",
        "100M",
        "1u",
        "-1",
        "+1",
        "1e3",
        "1.",
        ".5",
        "m",
        "1Mi",
        "0x1",
        "1_000",
        "0.0001",
        "0.5m",
        "1m\n",
    ],
)
def test_text_outside_the_grammar_is_no_cpu_quantity(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a CPU quantity|finer than a millicore"):
        Cpu(text)


@pytest.mark.parametrize(
    "text", ["", "128m", "128mi", "128MB", "128MiB", "1K", "0.5", "0.1Ki", "-1Mi", "1 Gi", "Gi", "٣Mi"]
)
def test_text_outside_the_grammar_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a memory or storage quantity|a fraction of a byte"):
        Bytes(text)


def test_the_text_stays_as_it_was_written() -> None:
    assert [str(q) for q in (Cpu("1000m"), Cpu("1.0"), Bytes("1024Mi"))] == ["1000m", "1.0", "1024Mi"]


def test_quantities_are_equal_and_hash_by_value_but_never_across_kinds() -> None:
    assert Cpu("1") == Cpu("1000m")
    assert hash(Cpu("1")) == hash(Cpu("1000m"))
    assert Bytes("1Gi") == Bytes("1024Mi")
    assert Bytes("1G") != Bytes("1Gi")
    assert Cpu("1") != Bytes("1")
    assert Cpu("1") != "1"


def test_quantities_are_ordered_by_value_and_not_by_text() -> None:
    assert Cpu("900m") < Cpu("1") <= Cpu("1000m") < Cpu("1.5")
    assert Bytes("2Gi") > Bytes("1500Mi") >= Bytes("1500Mi")
    assert sorted([Bytes("1Gi"), Bytes("900Mi"), Bytes("1G")]) == [Bytes("900Mi"), Bytes("1G"), Bytes("1Gi")]


@pytest.mark.parametrize("quantity", [Cpu("1"), Bytes("1Gi")])
def test_a_quantity_cannot_be_changed(quantity: Quantity) -> None:
    with pytest.raises(AttributeError, match="immutable"):
        quantity.text = "2"
    with pytest.raises(AttributeError, match="immutable"):
        del quantity.value


@pytest.mark.parametrize(
    ("cores", "text"),
    [("0.1", "100m"), ("1", "1"), ("0.1001", "101m"), ("2.5", "2500m"), ("0", "0"), ("0.0000001", "1m")],
)
def test_cores_are_written_rounded_up_to_the_millicore(cores: str, text: str) -> None:
    assert str(Cpu.of(Decimal(cores))) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(2**20, "1Mi"), (2**20 + 1, "2Mi"), (1, "1Mi"), (2**30, "1Gi"), (3 * 2**29, "1536Mi"), (0, "0Gi")],
)
def test_bytes_are_written_rounded_up_to_the_mebibyte(size: int, text: str) -> None:
    assert str(Bytes.of(size)) == text


@derandomized
@given(st.decimals(min_value=0, max_value=10**6, places=7))
def test_written_cores_are_never_less_than_asked_and_at_most_a_millicore_more(cores: Decimal) -> None:
    assert 0 <= Cpu.of(cores).cores - cores < Decimal("0.001")


@derandomized
@given(st.integers(min_value=0, max_value=2**60))
def test_written_bytes_are_never_less_than_asked_and_at_most_a_mebibyte_more(size: int) -> None:
    assert 0 <= Bytes.of(size).bytes - size < 2**20


@pytest.mark.parametrize("kind", [Cpu, Bytes])
def test_any_text_is_a_quantity_or_a_value_error_and_the_published_pattern_agrees(kind: type[Quantity]) -> None:
    pattern = re.compile(TypeAdapter(kind).json_schema()["anyOf"][0]["pattern"])

    @derandomized
    @given(st.one_of(st.text(max_size=12), st.from_regex(r"\A[0-9]{1,20}(\.[0-9]{1,10})?[a-zA-Z]{0,2}\Z")))
    def holds(text: str) -> None:
        try:
            quantity = kind(text)
        except ValueError:
            return
        assert pattern.search(text)
        assert quantity.value >= 0

    holds()


@pytest.mark.parametrize(("value", "text"), [(1, "1"), (0.5, "0.5"), ("250m", "250m")])
def test_bare_yaml_numbers_are_quantities(value: object, text: str) -> None:
    assert str(TypeAdapter(Cpu).validate_python(value)) == text


@pytest.mark.parametrize("value", [True, None, [], {}, "100MB", -1, float("nan"), float("inf"), 1e30, 1e-9])
def test_what_is_no_quantity_is_refused_with_examples_of_what_is(value: object) -> None:
    with pytest.raises(ValidationError, match=r"should be a CPU quantity such as 100m, 0\.5, 2"):
        TypeAdapter(Cpu).validate_python(value)


def test_a_quantity_is_dumped_as_its_text() -> None:
    assert json.loads(TypeAdapter(Bytes).dump_json(Bytes("1Gi"))) == "1Gi"
