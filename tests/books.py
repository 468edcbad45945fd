"""Ledgers for tests: on SQLite and on PostgreSQL, on a clock of the test's own, and charges to put in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from catalogues import Place

from trainmaster.budget.budgets import Budget, Payer
from trainmaster.budget.charge import Charge
from trainmaster.budget.ledger import Ledger
from trainmaster.catalog.database import Database, open_database

ARN = "arn:aws:sagemaker:us-east-1:123456789012:training-job/"


@dataclass
class Clock:
    """Time as the test says, a second further at each look."""

    moment: datetime = field(default_factory=lambda: datetime(2026, 11, 21, 12, tzinfo=UTC))

    def __call__(self) -> datetime:
        self.moment += timedelta(seconds=1)
        return self.moment


class Still(Clock):
    """Stands still unless it is moved."""

    def __call__(self) -> datetime:
        return self.moment

    def pass_(self, **time: float) -> None:
        self.moment += timedelta(**time)


def database_at(place: Place) -> Database:
    return open_database(place.url, place.state_dir)


def charge(key: str, amount: str | Decimal, payer: Payer | None = None, **changed: Any) -> Charge:
    values = {"hourly": Decimal("0.115"), "resource": ARN + key, "payer": payer or Payer()}
    return Charge(key, Decimal(amount), **{**values, **changed})


def user(user_id: UUID) -> Budget:
    return Budget("user", str(user_id))


def balance(ledger: Ledger, budget: Budget, month: str = "") -> tuple[Decimal, Decimal]:
    """What is settled and what is reserved."""
    standing = ledger.standing(budget, month)
    return standing.settled, standing.reserved
