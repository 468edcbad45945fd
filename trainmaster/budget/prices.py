"""What an hour of an instance, of a session or of storage costs. Prices are data: dated files, each row with its source; the newer file wins."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

from trainmaster.errors import NotConfiguredError, UnknownPriceError

Use = Literal["training", "hosting", "studio", "ec2", "canvas", "efs", "build"]
USES: tuple[Use, ...] = get_args(Use)
STORAGE = "storage-gb-month"
SESSION = "Session-Hrs"
"""As AWS calls an hour in which somebody is logged into Canvas, which has no instance types."""
BUILDER = "g1.large"
"""As AWS calls the machine of CodeBuild that container images are made on; AWS prices its minutes, we keep the hour of them."""
COLUMNS = ("region", "use", "item", "usd", "as_of", "source")
HOURS_PER_MONTH = Decimal(672)
"""Of the shortest month. AWS divides a monthly price by the month at hand, so an hour never costs more than this says:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ebs-volume-types.html and EBS's pricing examples."""


@dataclass(frozen=True)
class Price:
    """US dollars per hour of one instance, SESSION or BUILDER (of STORAGE: per GB and month), as of an ISO date, by the source named."""

    region: str
    use: Use
    item: str
    usd: Decimal
    as_of: str
    source: str

    @classmethod
    def of(cls, row: Mapping[str, str | None]) -> Price:
        """Raises ValueError, saying what is wrong with the row."""
        region, use, item, usd, as_of, source = ((row.get(column) or "").strip() for column in COLUMNS)
        if not (region and item and source):
            raise ValueError("region, item and source must be given")
        if use not in USES:
            raise ValueError(f"use is {use!r}, none of {', '.join(USES)}")
        try:
            dollars = Decimal(usd)
        except InvalidOperation:
            raise ValueError(f"usd is {usd!r}, no number") from None
        if not (dollars.is_finite() and dollars > 0):
            raise ValueError(f"usd is {usd}, not above 0")
        return cls(region, use, item, dollars, date.fromisoformat(as_of).isoformat(), source)

    def row(self) -> dict[str, str]:
        return {
            "region": self.region,
            "use": self.use,
            "item": self.item,
            "usd": f"{self.usd:f}",
            "as_of": self.as_of,
            "source": self.source,
        }


class PriceList:
    """Prices by region, use and item. An unknown one raises; there is no default and no guess."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._prices: dict[tuple[str, Use, str], Price] = {}
        for price in prices:
            key = (price.region, price.use, price.item)
            if key in self._prices:
                raise ValueError(f"two prices for {' '.join(key)}")
            self._prices[key] = price

    def __iter__(self) -> Iterator[Price]:
        return iter(self._prices.values())

    def instance(self, instance_type: str, use: Use, region: str) -> Price:
        """Raises UnknownPriceError, naming types whose price is known."""
        price = self._prices.get((region, use, instance_type))
        if price is None or instance_type == STORAGE:
            raise UnknownPriceError(instance_type, use, region, self.instance_types(use, region))
        return price

    def storage_hour(self, gigabytes: int, region: str, use: Use = "training") -> Decimal:
        """US dollars per hour, at most, for a volume of so many GB, of training or another use; raises UnknownPriceError."""
        price = self._prices.get((region, use, STORAGE))
        if price is None:
            raise UnknownPriceError(STORAGE, use, region, self.instance_types(use, region))
        return price.usd * gigabytes / HOURS_PER_MONTH

    def instance_types(self, use: Use, region: str) -> list[str]:
        """The instance types with a known price, cheapest first."""
        known = [price for price in self.of(use, region) if price.item != STORAGE]
        return [price.item for price in sorted(known, key=lambda price: (price.usd, price.item))]

    def of(self, use: Use, region: str) -> list[Price]:
        """Those of one use in one region, storage too."""
        return [price for price in self if (price.region, price.use) == (region, use)]

    def under(self, newer: PriceList) -> PriceList:
        """Both together. Where both know a use in a region, all of it is of the one with the newer prices, `newer` on a tie:
        a type that AWS does not list any more has no price, rather than an old one."""
        ours = self._newest()
        taken = {key for key, day in newer._newest().items() if day >= ours.get(key, "")}
        kept = (price for price in self if (price.region, price.use) not in taken)
        laid_over = (price for price in newer if (price.region, price.use) in taken)
        return PriceList([*kept, *laid_over])

    def _newest(self) -> dict[tuple[str, Use], str]:
        newest: dict[tuple[str, Use], str] = {}
        for price in self:
            key = (price.region, price.use)
            newest[key] = max(newest.get(key, ""), price.as_of)
        return newest


def read_prices(lines: Iterable[str]) -> PriceList:
    """Those of a CSV file with the columns COLUMNS. Raises ValueError with the line that is wrong."""
    reader = csv.DictReader(lines)
    if lacking := set(COLUMNS) - set(reader.fieldnames or ()):
        raise ValueError(f"line 1 lacks {', '.join(sorted(lacking))}")
    prices = []
    for row in reader:
        try:
            prices.append(Price.of(row))
        except ValueError as error:
            raise ValueError(f"line {reader.line_num}: {error}") from None
    return PriceList(prices)


@cache
def shipped_prices() -> PriceList:
    """The prices in `prices.csv` beside this file."""
    with files("trainmaster.budget").joinpath("prices.csv").open(encoding="utf-8") as file:
        return read_prices(file)


def known_prices(refreshed: Path) -> PriceList:
    """The shipped prices, and over them those of the file `trainmaster prices refresh` writes, if it is there.

    Raises NotConfiguredError when that file cannot be read: what it would have said is not guessed.
    """
    try:
        about = refreshed.stat()
    except FileNotFoundError:
        return shipped_prices()
    except OSError as error:
        raise _unreadable(refreshed, error) from error
    return _layered(refreshed, (about.st_ino, about.st_mtime_ns, about.st_size))


@lru_cache(maxsize=8)
def _layered(refreshed: Path, _version: tuple[int, int, int]) -> PriceList:
    return shipped_prices().under(prices_in(refreshed))


def prices_in(path: Path) -> PriceList:
    """Those of a file; raises NotConfiguredError, saying what is wrong with it."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return read_prices(file)
    except (OSError, ValueError, csv.Error) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> NotConfiguredError:
    return NotConfiguredError(
        f"The prices in {path} cannot be read: {error}. Remove the file, or mend it; `trainmaster prices refresh` writes it anew."
    )
