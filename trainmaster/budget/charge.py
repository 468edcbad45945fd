"""What something may cost at worst and who pays, before it is launched; and what the ledger knows of it afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import Literal

from trainmaster.budget.budgets import Payer
from trainmaster.budget.money import micro_up

State = Literal["reserved", "settled", "released"]


@dataclass(frozen=True)
class Charge:
    """What is to be reserved. `key` names it once and for all: a job's name. Amounts are US dollars.

    `resource` is the ARN of what is paid for: where to ask whether it was ever made. `hourly` prices its billable hours.
    """

    key: str
    amount: Decimal
    hourly: Decimal
    resource: str
    payer: Payer = field(default_factory=Payer)


@dataclass(frozen=True)
class Allowance:
    """Somebody's word that one charge may exceed the monthly budgets: of how many US dollars at most, and who said so.

    No budget is raised by more than that either, also where it is overdrawn already.
    """

    up_to: Decimal
    by: str

    def covers(self, amount: Decimal) -> bool:
        """Whether so much was allowed."""
        return self.up_to.is_finite() and micro_up(amount) <= self.up_to


@dataclass(frozen=True)
class Reservation:
    """A charge as the ledger has it: how it stands, and in which month it counts, whenever it is settled."""

    charge: Charge
    month: str
    reserved_at: datetime
    state: State
    bill: Decimal | None
    """None until it is settled."""
    position: int
    """Of its newest entry."""

    @property
    def key(self) -> str:
        return self.charge.key

    @property
    def is_open(self) -> bool:
        return self.state == "reserved"

    @property
    def stands(self) -> bool:
        """Whether the key is taken: reserved or billed, and not released."""
        return self.state != "released"

    @property
    def seconds(self) -> int:
        """How long it pays for, at the rate it was reserved at: what a launch goes on with when prices have changed since."""
        hourly = self.charge.hourly
        return int((self.charge.amount * 3600 / hourly).to_integral_value(ROUND_DOWN)) if hourly else 0

    @property
    def excess(self) -> Decimal:
        """By how much the bill is above what was reserved."""
        return max((self.bill or Decimal(0)) - self.charge.amount, Decimal(0))
