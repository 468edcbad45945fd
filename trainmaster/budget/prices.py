"""What an hour of an instance costs. Prices are data: a dated file, each row with its source."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Literal

from trainmaster.errors import UnknownPriceError

Use = Literal["training", "hosting"]
STORAGE = "storage-gb-month"
HOURS_PER_MONTH = Decimal(730)
"""AWS's own figure for turning monthly prices into hourly ones."""


@dataclass(frozen=True)
class Price:
    """US dollars per hour of one instance, with `as_of` (ISO date) and the source of the figure."""

    item: str
    usd: Decimal
    as_of: str
    source: str


class PriceList:
    """Prices by region, use and instance type. An unknown one raises; there is no default and no guess."""

    def __init__(self, rows: Iterable[dict[str, str]]) -> None:
        self._prices: dict[tuple[str, str, str], Price] = {}
        for row in rows:
            key = (row["region"], row["use"], row["item"])
            if key in self._prices:
                raise ValueError(f"two prices for {key}")
            self._prices[key] = Price(row["item"], Decimal(row["usd"]), row["as_of"], row["source"])

    def instance(self, instance_type: str, use: Use, region: str) -> Price:
        """Raises UnknownPriceError, naming the types whose price is known."""
        price = self._prices.get((region, use, instance_type))
        if price is None or instance_type == STORAGE:
            raise UnknownPriceError(instance_type, use, region, self.instance_types(use, region))
        return price

    def storage_hour(self, gigabytes: int, region: str) -> Decimal:
        """US dollars per hour for a training volume of so many GB; raises UnknownPriceError."""
        price = self._prices.get((region, "training", STORAGE))
        if price is None:
            raise UnknownPriceError(STORAGE, "training", region, [])
        return price.usd * gigabytes / HOURS_PER_MONTH

    def instance_types(self, use: Use, region: str) -> list[str]:
        """The instance types with a known price, cheapest first."""
        known = [p for (r, u, item), p in self._prices.items() if (r, u) == (region, use) and item != STORAGE]
        return [price.item for price in sorted(known, key=lambda price: (price.usd, price.item))]


@cache
def shipped_prices() -> PriceList:
    """The prices in `prices.csv` beside this file."""
    with files("trainmaster.budget").joinpath("prices.csv").open(encoding="utf-8") as file:
        return PriceList(csv.DictReader(file))
