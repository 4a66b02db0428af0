"""Price books: terms by hand, what a stack overrides, and every mistake in one."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from cloudmart.errors import UserError
from cloudmart.finops import estimate_report, prices
from cloudmart.finops.tables import as_text
from cloudmart.settings.prices import PriceSettings
from tests.unit.settings_files import loaded, problems, write

CPU, RAM, SPOT_CPU = Decimal("0.031611"), Decimal("0.004237"), Decimal("0.006655")


def of(**settings: object) -> prices.PriceBook:
    return prices.of_stack(PriceSettings.model_validate(settings, by_alias=True), Path())


def test_without_settings_a_stack_pays_opencosts_default_prices() -> None:
    book = of()
    assert book == prices.load()
    assert (book.compute("cpu", None).amount, book.compute("memory", None).amount) == (CPU, RAM)
    assert book.source.startswith("https://")


def test_a_commitment_takes_its_percent_off_cpu_and_memory_alone() -> None:
    book = of(committedUseDiscount=28)
    assert book.compute("cpu", None).amount == CPU * Decimal("0.72")
    assert book.compute("memory", None).amount == RAM * Decimal("0.72")
    assert book.storage(None).amount == prices.load().hourly.storage


def test_spot_hours_cost_the_spot_price_and_no_commitment_is_taken_off_them() -> None:
    book = of(spotShare=25, committedUseDiscount=10)
    assert book.compute("cpu", None).amount == CPU * Decimal("0.9") * Decimal("0.75") + SPOT_CPU * Decimal("0.25")
    assert of(spotShare=100, committedUseDiscount=10).compute("cpu", None).amount == SPOT_CPU


def test_the_region_multiplies_everything() -> None:
    book = of(regionMultiplier="1.2", hourly={"loadBalancer": "0.025"})
    assert book.compute("cpu", None).amount == CPU * Decimal("1.2")
    assert book.storage(None).amount == prices.load().hourly.storage * Decimal("1.2")
    assert book.balancer().amount == Decimal("0.03")
    assert book.transfer().amount == Decimal("0.144")


def test_a_pool_has_terms_of_its_own_and_the_stacks_for_what_it_leaves_out() -> None:
    pools = {
        "batch": {"selector": {"pool": "batch"}, "spotShare": 100},
        "big": {"selector": {"pool": "big", "size": "xl"}, "cpu": "0.05"},
    }
    book = of(pools=pools, regionMultiplier=2, spotShare=50)
    assert book.pool_of({"pool": "batch", "zone": "a"}) == "batch"
    assert book.pool_of({"pool": "big"}) is None
    assert book.compute("cpu", "batch").amount == SPOT_CPU * 2
    assert book.compute("cpu", "big").amount == (Decimal("0.05") + SPOT_CPU) / 2 * 2
    assert book.compute("memory", "big").amount == book.compute("memory", None).amount


def test_a_storage_class_has_its_price_and_an_unknown_one_the_general() -> None:
    book = of(storageClasses={"fast": "0.0002"})
    assert book.storage("fast").amount == Decimal("0.0002")
    assert book.storage("slow") == book.storage(None)


def test_how_a_rate_came_about_names_every_factor() -> None:
    book = of(spotShare=20, committedUseDiscount=28, regionMultiplier="1.1")
    how = book.compute("cpu", None).how
    for part in ("0.031611 on demand", "28 %", "20 % of 0.006655 spot", "x 1.1 in this region"):
        assert part in how


def test_a_stacks_book_is_a_file_of_the_project_and_its_overrides_win(tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text(
        "name: Ours\nsource: the contract\ncurrency: EUR\nspotShare: 10\n"
        "hourly: {cpu: 0.02, memory: 0.003, storage: 0.0001, loadBalancer: 0.02, spotCpu: 0.01, spotMemory: 0.001}\n"
        "storageClasses: {fast: 0.0003, slow: 0.00005}\n"
    )
    settings = PriceSettings.model_validate(
        {"book": "ours.yaml", "spotShare": 0, "hourly": {"memory": "0.004"}, "storageClasses": {"fast": "0.0004"}}
    )
    book = prices.of_stack(settings, tmp_path)
    assert (book.currency, book.name) == ("EUR", "Ours")
    assert book.compute("cpu", None).amount == Decimal("0.02")
    assert book.compute("memory", None).amount == Decimal("0.004")
    assert book.storage("fast").amount == Decimal("0.0004")
    assert book.storage("slow").amount == Decimal("0.00005")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"book": "none.yaml"}, r"^none.yaml: no such file"),
        ({"book": "nospot.yaml", "spotShare": 5}, r"spotShare: found 5 and no spot prices; allowed: hourly.spotCpu"),
        (
            {"book": "nospot.yaml", "pools": {"p": {"selector": {"a": "b"}, "spotShare": 5}}},
            r"pools.p.spotShare: found 5",
        ),
    ],
)
def test_what_the_book_lacks_is_an_error_that_names_it(
    tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    (tmp_path / "nospot.yaml").write_text(
        "name: n\nsource: s\ncurrency: EUR\nhourly: {cpu: 1, memory: 1, storage: 1, loadBalancer: 1}\n"
    )
    with pytest.raises(UserError, match=message):
        prices.of_stack(PriceSettings.model_validate(settings), tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cloudmart:prices: {spotShare: 101}", r"prices.spotShare: found 101"),
        ("cloudmart:prices: {regionMultiplier: 0}", r"prices.regionMultiplier: found 0"),
        ("cloudmart:prices: {regionMultiplier: true}", r"prices.regionMultiplier: found true; allowed: a number"),
        ("cloudmart:prices: {book: ../../etc}", r"prices.book: found '../../etc'"),
        ("cloudmart:prices: {load: {web: {average: 2, day: [{replicas: 1, hours: 24}]}}}", r"allowed: one of the two"),
        ("cloudmart:prices: {load: {web: {day: [{replicas: 1, hours: 23}]}}}", r"a day of 23 hours"),
        ("cloudmart:prices: {load: {wep: {average: 2}}}", r"found 'wep' \(did you mean 'web'\?\); allowed: web, api"),
        ("cloudmart:prices: {egressGib: {mail: 2}}", r"found 'mail'.*allowed: web, api, postgres"),
        ("cloudmart:budgets: {CC-9: {monthly: 2}}", r"found 'CC-9'.*allowed: CC-1, CC-2, stack"),
        ("cloudmart:budgets: {CC-1: {monthly: 0}}", r"budgets.CC-1.monthly: found 0"),
        (
            "cloudmart:budgets: {CC-1: {monthly: 1, basis: min}}",
            r"budgets.CC-1.basis: found 'min'; allowed: 'expected' or",
        ),
        ("cloudmart:budgets: {CC-1: {warnAt: 50}}", r"budgets.CC-1.monthly: found nothing; allowed: this key is req"),
    ],
)
def test_a_mistake_in_prices_or_budgets_names_file_line_and_key(tmp_path: Path, line: str, message: str) -> None:
    (found,) = problems(write(tmp_path, stack=f"config:\n  {line}\n"))
    assert found.startswith("Pulumi.dev.yaml:2: ")
    assert re.search(message, found), found


def test_a_day_of_load_is_its_average_and_prices_keep_every_digit(tmp_path: Path) -> None:
    stack = (
        "config:\n  cloudmart:prices:\n    hourly: {storage: 0.00005479452}\n"
        "    load: {web: {day: [{replicas: 1, hours: 18}, {replicas: 4, hours: 6}]}}\n"
    )
    settings = loaded(write(tmp_path, stack=stack)).settings
    assert settings.prices.load["web"].replicas == Decimal("1.75")
    assert settings.prices.hourly.storage == Decimal("0.00005479452")


def test_the_book_is_shown_with_its_source_currency_and_months() -> None:
    text = as_text(estimate_report.book_document(of(pools={"batch": {"selector": {"a": "b"}, "spotShare": 100}})))
    for part in ("USD", "opencost", "0.031611", "23.0760", "pool batch", "0.006655"):
        assert part in text
