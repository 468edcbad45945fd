"""Serverless endpoints are priced by GB and second, from dated data; a region without a price is refused."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from trainmaster.budget.serverless import serverless_price, shipped_serverless_prices
from trainmaster.errors import UnknownPriceError


def test_each_price_has_a_source_and_a_date_that_has_been() -> None:
    prices = shipped_serverless_prices().values()
    assert prices
    for price in prices:
        assert price.source
        assert date(2024, 1, 1) <= date.fromisoformat(price.as_of) <= datetime.now(UTC).date()
        assert 0 < price.usd < Decimal("0.001")


def test_twice_the_memory_or_twice_the_time_costs_twice_as_much() -> None:
    price = serverless_price("us-east-1")
    assert price.seconds(1024, Decimal(100)) == Decimal("0.002")
    assert price.seconds(2048, Decimal(100)) == price.seconds(1024, Decimal(200)) == Decimal("0.004")


def test_an_hour_costs_at_most_what_all_places_taken_all_the_time_do() -> None:
    assert serverless_price("us-east-1").busy_hour(2048, 5) == Decimal("0.72")


def test_a_region_without_a_price_is_refused_by_name() -> None:
    with pytest.raises(UnknownPriceError, match=r"serverless.*mars-1.*serverless in us-east-1"):
        serverless_price("mars-1")
