"""What a refresh changes, whether that is believable, and how it is kept."""

from __future__ import annotations

import csv
import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from tempfile import NamedTemporaryFile

from trainmaster.budget.prices import COLUMNS, STORAGE, Price, PriceList, Use, prices_in
from trainmaster.errors import NotConfiguredError

LARGE_FACTOR = 2
"""AWS has never changed a price by more at once; a parser that reads the wrong line has."""
LARGE_LOSS = 0.5
"""Of the types known before, more of which do not vanish at once."""


@dataclass(frozen=True)
class Change:
    """A price before and after; None where there is none."""

    item: str
    old: Price | None
    new: Price | None

    @property
    def factor(self) -> Decimal | None:
        """How many times the old price the new one is; None unless there are both."""
        return self.new.usd / self.old.usd if self.old and self.new else None

    @property
    def is_large(self) -> bool:
        """More than LARGE_FACTOR either way, or a volume nobody prices any more, without which nothing can be trained."""
        if self.factor is not None:
            return not Decimal(1) / LARGE_FACTOR <= self.factor <= LARGE_FACTOR
        return self.new is None and self.item == STORAGE

    def __str__(self) -> str:
        if self.new is None:
            return f"gone     {self.item:<22} was ${self.old.usd if self.old else '?'}"
        if self.old is None:
            return f"new      {self.item:<22} ${self.new.usd}"
        return f"changed  {self.item:<22} ${self.old.usd} → ${self.new.usd}"


@dataclass(frozen=True)
class Refresh:
    """What AWS offers for one use in one region, against what was known."""

    use: Use
    region: str
    prices: list[Price]
    changes: list[Change]
    known_before: int

    @classmethod
    def of(cls, use: Use, region: str, known: PriceList, prices: list[Price]) -> Refresh:
        old = {price.item: price for price in known.of(use, region)}
        new = {price.item: price for price in prices}
        changes = [
            Change(item, old.get(item), new.get(item))
            for item in sorted(old.keys() | new.keys())
            if item not in old or item not in new or old[item].usd != new[item].usd
        ]
        return cls(use, region, prices, changes, len(old))

    @property
    def doubts(self) -> list[str]:
        """Why somebody should look before these prices are taken; empty when nothing is extraordinary."""
        doubts = [str(change) for change in self.changes if change.is_large]
        gone = sum(change.new is None for change in self.changes)
        if gone > LARGE_LOSS * self.known_before:
            doubts.append(f"{gone} of the {self.known_before} prices known for {self.use} in {self.region} are gone")
        return doubts


def keep(refreshed: Path, refreshes: Sequence[Refresh]) -> None:
    """Write them into the file of refreshed prices, in place of what it said of the same uses and regions.

    Whole or not at all, and one after the other when several do so at once. Raises NotConfiguredError when the file that is
    there cannot be read, or none can be written.
    """
    try:
        refreshed.parent.mkdir(parents=True, exist_ok=True)
        with refreshed.with_name(f".{refreshed.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            anew = {(refresh.region, refresh.use) for refresh in refreshes}
            before = prices_in(refreshed) if refreshed.exists() else PriceList([])
            prices = [price for price in before if (price.region, price.use) not in anew]
            prices += [price for refresh in refreshes for price in refresh.prices]
            _replace(refreshed, sorted(prices, key=lambda price: (price.region, price.use, price.usd, price.item)))
    except OSError as error:
        raise NotConfiguredError(
            f"The prices cannot be written: {error}. Name a file that can be in TRAINMASTER_PRICES_FILE."
        ) from error


def _replace(path: Path, prices: Sequence[Price]) -> None:
    with NamedTemporaryFile(
        "w", encoding="utf-8", newline="", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        try:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(price.row() for price in prices)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)  # workers of other users read it; it holds nothing in confidence
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
