"""Prices are data with a source; an unknown one is refused, never guessed."""

from decimal import Decimal

import pytest

from trainmaster.budget.prices import PriceList, Use, shipped_prices
from trainmaster.errors import UnknownPriceError

ROW = {
    "region": "us-east-1",
    "use": "training",
    "item": "ml.m5.large",
    "usd": "0.115",
    "as_of": "2026-11-21",
    "source": "a table",
}


@pytest.mark.parametrize("use", ["training", "hosting"])
def test_every_shipped_price_is_positive_and_names_its_source(use: Use) -> None:
    types = shipped_prices().instance_types(use, "us-east-1")
    prices = [shipped_prices().instance(kind, use, "us-east-1") for kind in types]
    assert len(prices) > 10
    assert all(Decimal("0.01") < price.usd < 200 and price.source and price.as_of.startswith("20") for price in prices)


def test_types_are_listed_cheapest_first_without_storage() -> None:
    types = shipped_prices().instance_types("training", "us-east-1")
    costs = [shipped_prices().instance(kind, "training", "us-east-1").usd for kind in types]
    assert costs == sorted(costs)
    assert all(kind.startswith("ml.") for kind in types)


@pytest.mark.parametrize(
    ("kind", "region"), [("ml.nope.large", "us-east-1"), ("ml.m5.large", "mars-1"), ("storage-gb-month", "us-east-1")]
)
def test_an_unknown_price_is_refused_by_name(kind: str, region: str) -> None:
    with pytest.raises(UnknownPriceError, match=f"{kind}.*{region}"):
        shipped_prices().instance(kind, "training", region)


def test_an_unknown_storage_price_is_refused_too() -> None:
    with pytest.raises(UnknownPriceError, match="storage"):
        PriceList([ROW]).storage_hour(30, "us-east-1")


def test_two_prices_for_one_thing_are_an_error_in_the_data() -> None:
    with pytest.raises(ValueError, match="two prices"):
        PriceList([ROW, {**ROW, "usd": "0.1"}])
