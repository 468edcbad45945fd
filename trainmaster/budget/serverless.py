"""What serverless endpoints cost: by the GB of memory and the second that requests take. Dated data with its source."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files

from trainmaster.errors import UnknownPriceError

MB_PER_GB = 1024
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class ServerlessPrice:
    """US dollars per GB and second of one region, as of an ISO date, by the source named."""

    region: str
    usd: Decimal
    as_of: str
    source: str

    def seconds(self, memory_mb: int, seconds: Decimal) -> Decimal:
        """US dollars for so many seconds of requests."""
        return self.usd * memory_mb * seconds / MB_PER_GB

    def busy_hour(self, memory_mb: int, concurrency: int) -> Decimal:
        """The most an hour can cost, in US dollars: every place taken all the time."""
        return self.seconds(memory_mb, Decimal(SECONDS_PER_HOUR) * concurrency)


def serverless_price(region: str) -> ServerlessPrice:
    """Raises UnknownPriceError for a region nobody has a price of."""
    known = shipped_serverless_prices()
    if region not in known:
        raise UnknownPriceError("serverless", "hosting", region, [f"serverless in {each}" for each in sorted(known)])
    return known[region]


@cache
def shipped_serverless_prices() -> dict[str, ServerlessPrice]:
    """By region, those in `serverless.csv` beside this file."""
    with files("trainmaster.budget").joinpath("serverless.csv").open(encoding="utf-8") as file:
        return {
            row["region"]: ServerlessPrice(
                row["region"], Decimal(row["usd"]), date.fromisoformat(row["as_of"]).isoformat(), row["source"]
            )
            for row in csv.DictReader(file)
        }
