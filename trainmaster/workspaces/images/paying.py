"""What making an image costs: reserved before anything runs, billed by what ran, one reservation for each attempt."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_UP, Decimal

from trainmaster.budget.budgets import Payer
from trainmaster.budget.charge import Charge, Reservation
from trainmaster.budget.money import micro_up
from trainmaster.errors import NameConflictError
from trainmaster.training.desk import Desk


@dataclass(frozen=True)
class Cost:
    """US dollars an hour while it is made, and for how many minutes that can be at most, which AWS itself sees to."""

    hourly: Decimal
    most_minutes: int

    @property
    def worst(self) -> Decimal:
        return micro_up(self.hourly * self.most_minutes / 60)

    def bill(self, began: datetime, ended: datetime) -> Decimal:
        """For so long, in whole minutes as AWS counts them, and never more than what was reserved."""
        minutes = (Decimal(str((ended - began).total_seconds())) / 60).to_integral_value(ROUND_UP)
        return min(micro_up(self.hourly * max(minutes, Decimal(1)) / 60), self.worst)


def reserved(desk: Desk, key: str, resource: str, cost: Cost, payer: Payer) -> Reservation:
    """For one attempt at it: the one of this resource that is open, else the next. Raises OverBudgetError."""
    number = 1
    while (known := desk.ledger.find(f"{key}-{number}")) is not None and not _pays_for(known, resource):
        number += 1
    if known is not None:
        return known
    return desk.ledger.reserve(Charge(f"{key}-{number}", cost.worst, cost.hourly, resource, payer))


def _pays_for(known: Reservation, resource: str) -> bool:
    """The same image may be made in another region at the same time, which is paid for by itself."""
    return known.is_open and known.charge.resource == resource


def settled(desk: Desk, key: str, bill: Callable[[], Decimal]) -> None:
    """Billed, unless it is already; of several that bill a machine at the same moment the first is right."""
    known = desk.ledger.find(key)
    if known is not None and known.is_open:
        with suppress(NameConflictError):  # another has settled it since, a second earlier or later
            desk.ledger.settle(key, bill())
