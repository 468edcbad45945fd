"""The books as one transaction sees them: what they say, and what it adds to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, func, insert, select

from trainmaster.budget.budgets import Budget, Payer, Standing, month_of
from trainmaster.budget.charge import Allowance, Charge, Reservation, State
from trainmaster.budget.money import MICRO, micro_up, rounded_up, shown
from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import budget_allowances, budget_entries, budget_limits
from trainmaster.errors import OverBudgetError

Cheaper = Callable[[Decimal], Sequence[str]]
"""From so many dollars to what they would pay for instead."""
NOTHING = Decimal(0)


def nothing_cheaper(_left: Decimal) -> Sequence[str]:
    """Of what comes in one size."""
    return []


@dataclass(frozen=True)
class Entries:
    """Adding is for a transaction that no other is beside. `now` is when it began, by the clock entries are dated with."""

    database: Database
    connection: Connection
    now: datetime

    @property
    def month(self) -> str:
        return month_of(self.now)

    def find(self, key: str) -> Reservation | None:
        """What is known of a key, whatever became of it."""
        entries = budget_entries.c
        query = select(budget_entries).where(entries.key == key).order_by(entries.position)
        return _read(self.connection.execute(query).all())

    def found(self, key: str) -> Reservation:
        """Of a key that was written in this transaction."""
        found = self.find(key)
        assert found is not None  # noqa: S101
        return found

    def standing_reservation(self, key: str) -> Reservation | None:
        """What is reserved or billed by a key; None when it never was, or was released."""
        known = self.find(key)
        return known if known and known.stands else None

    def newest(self, state: State, *wanted: ColumnElement[bool]) -> list[Reservation]:
        """Reservations by the kind of their newest entry and what else it must be, oldest first."""
        entries, later = budget_entries.c, budget_entries.alias()
        newest = ~select(later.c.key).where(later.c.key == entries.key, later.c.position > entries.position).exists()
        keys = select(entries.key).where(entries.kind == state, newest, *wanted)
        query = select(budget_entries).where(entries.key.in_(keys)).order_by(entries.key, entries.position)
        by_key = groupby(self.connection.execute(query), key=lambda entry: str(entry.key))
        found = [reservation for _, of_it in by_key if (reservation := _read(list(of_it)))]
        return sorted(found, key=lambda reservation: reservation.reserved_at)

    def standing(self, budget: Budget, month: str) -> Standing:
        """One budget in one month."""
        entries, limits, allowances = budget_entries.c, budget_limits.c, budget_allowances.c
        total = self.database.total
        query = select(total(entries.settled), total(entries.reserved)).where(entries.month == month)
        settled, reserved = self.connection.execute(_of(query, budget)).one()
        newest = (
            select(limits.amount, limits.position)
            .where(limits.budget == budget.code, limits.month <= month)
            .order_by(limits.month.desc(), limits.position.desc())
            .limit(1)
        )
        limit = self.connection.execute(newest).one_or_none()
        if limit is None or limit.amount is None:
            return Standing(budget, month, None, settled, reserved)
        # What was allowed beyond another limit than this one is gone with it.
        beyond = select(total(allowances.amount)).where(
            allowances.budget == budget.code, allowances.month == month, allowances.limit_position == limit.position
        )
        allowed = self.connection.execute(beyond).scalar_one()
        return Standing(budget, month, limit.amount + allowed, settled, reserved, allowed)

    def standings(self, budgets: Iterable[Budget], month: str) -> list[Standing]:
        return [self.standing(budget, month) for budget in budgets]

    def short(self, charge: Charge) -> list[Standing]:
        """The budgets that have less left in this month than a charge needs, the tightest first."""
        amount = micro_up(charge.amount)
        standings = self.standings(charge.payer.budgets(), self.month)
        short = [(one.left, one) for one in standings if one.left is not None and one.left < amount]
        return [one for _, one in sorted(short, key=lambda each: each[0])]

    def book(self, charge: Charge) -> Reservation:
        """Reserve it in this month, whether it fits or not."""
        amount = micro_up(charge.amount)
        if amount < 0:
            raise ValueError(f"{charge.key}: a reservation of ${amount}")
        self.append("reserved", charge, self.month, reserved=amount)
        return self.found(charge.key)

    def bill(self, known: Reservation, bill: Decimal) -> Reservation:
        """Put a bill in the place of what is reserved, if it still is."""
        open_ = known.charge.amount if known.is_open else NOTHING
        self.append("settled", known.charge, known.month, reserved=-open_, settled=bill)
        return self.found(known.key)

    def undo(self, known: Reservation) -> None:
        """Release what is reserved."""
        self.append("released", known.charge, known.month, reserved=-known.charge.amount)

    def allow(self, charge: Charge, short: Sequence[Standing], allowance: Allowance) -> None:
        """Raise the limits of these budgets, in this month alone, by the cents that are missing for a charge."""
        limits = budget_limits.c
        for standing in short:
            assert standing.balance is not None  # noqa: S101 - what has no limit is not short
            newest = (
                select(limits.position)
                .where(limits.budget == standing.budget.code, limits.month <= standing.month)
                .order_by(limits.month.desc(), limits.position.desc())
                .limit(1)
            )
            self.connection.execute(
                insert(budget_allowances).values(
                    position=self.next_position(budget_allowances),
                    budget=standing.budget.code,
                    month=standing.month,
                    limit_position=self.connection.execute(newest).scalar_one(),
                    amount=rounded_up(micro_up(charge.amount) - standing.balance),
                    key=charge.key,
                    set_by=allowance.by,
                    at=self.now,
                )
            )

    def append(
        self, kind: State, charge: Charge, month: str, *, reserved: Decimal = NOTHING, settled: Decimal = NOTHING
    ) -> None:
        """Add an entry after the last."""
        self.connection.execute(
            insert(budget_entries).values(
                position=self.next_position(budget_entries),
                kind=kind,
                key=charge.key,
                resource=charge.resource,
                user_id=charge.payer.user_id,
                team=charge.payer.team or None,
                month=month,
                reserved=reserved,
                settled=settled,
                hourly=charge.hourly,
                at=self.now,
            )
        )

    def next_position(self, table: Table) -> int:
        last = self.connection.execute(select(func.max(table.c.position))).scalar_one()
        return int(last or 0) + 1


def over_budget(
    charge: Charge, short: Sequence[Standing], cheaper: Cheaper = nothing_cheaper, *, subject: str = ""
) -> OverBudgetError:
    """What says that a charge does not fit, by the tightest of its budgets."""
    left = short[0].left or NOTHING
    return OverBudgetError(
        subject or charge.key,
        shown(micro_up(charge.amount)),
        left,
        list(cheaper(left)),
        "have the budget raised: trainmaster budget set",
        stands=short[0].sentence(),
    )


def _of(query: Select[Decimal, Decimal], budget: Budget) -> Select[Decimal, Decimal]:
    if budget.scope == "user":
        return query.where(budget_entries.c.user_id == UUID(budget.owner))
    return query.where(budget_entries.c.team == budget.owner) if budget.scope == "team" else query


def _read(entries: Sequence[Row[Any]]) -> Reservation | None:
    """From all entries of one key, oldest first, to how it stands."""
    if not entries:
        return None
    first = [entry for entry in entries if entry.kind == "reserved"][-1]
    newest = entries[-1]
    payer = Payer(first.user_id, first.team or "")
    charge = Charge(first.key, first.reserved.quantize(MICRO), first.hourly, first.resource, payer)
    bill = newest.settled.quantize(MICRO) if newest.kind == "settled" else None
    return Reservation(charge, first.month, first.at, newest.kind, bill, newest.position)
