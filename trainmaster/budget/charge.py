"""What something may cost at worst and who pays, before it is launched; and what the ledger knows of it afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from trainmaster.budget.budgets import Payer

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
    def excess(self) -> Decimal:
        """By how much the bill is above what was reserved."""
        return max((self.bill or Decimal(0)) - self.charge.amount, Decimal(0))
