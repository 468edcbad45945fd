"""The books as one transaction sees them: what they say, and what it adds to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, func, insert, select

from trainmaster.budget.budgets import Budget, Payer, Standing, month_name, month_of
from trainmaster.budget.charge import Allowance, Charge, Reservation, State
from trainmaster.budget.money import CENT, MICRO, micro_down, micro_up, rounded_up, shown
from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import budget_allowances, budget_entries, budget_limits
from trainmaster.errors import OverBudgetError

Cheaper = Callable[[Decimal], Sequence[str]]
"""From so many dollars to what they would pay for instead."""
NOTHING = Decimal(0)


@dataclass(frozen=True)
class Held:
    """What a charge has of what it was allowed beyond a limit, in US dollars, and who allowed it."""

    key: str
    amount: Decimal
    by: str


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
        entries, allowances = budget_entries.c, budget_allowances.c
        total = self.database.total
        query = select(total(entries.settled), total(entries.reserved)).where(entries.month == month)
        settled, reserved = self.connection.execute(counted(query, budget)).one()
        limit = self.limit_in(budget, month)
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

    def short(self, charge: Charge, month: str = "") -> list[Standing]:
        """The budgets that have less left in a month, this one unless said, than a charge needs, the tightest first."""
        amount = micro_up(charge.amount)
        standings = self.standings(charge.payer.budgets(), month or self.month)
        short = [(one.left, one) for one in standings if one.left is not None and one.left < amount]
        return [one for _, one in sorted(short, key=lambda each: each[0])]

    def book(self, charge: Charge, month: str = "") -> Reservation:
        """Reserve it in a month, this one unless said, whether it fits or not."""
        amount = micro_up(charge.amount)
        if amount < 0:
            raise ValueError(f"{charge.key}: a reservation of ${amount}")
        self.append("reserved", charge, month or self.month, reserved=amount)
        return self.found(charge.key)

    def bill(self, known: Reservation, bill: Decimal) -> Reservation:
        """Put a bill in the place of what is reserved, if it still is."""
        open_ = known.charge.amount if known.is_open else NOTHING
        self.append("settled", known.charge, known.month, reserved=-open_, settled=bill)
        self._take_back(known, max(open_ - bill, NOTHING))
        return self.found(known.key)

    def undo(self, known: Reservation) -> None:
        """Release what is reserved."""
        self.append("released", known.charge, known.month, reserved=-known.charge.amount)
        self._take_back(known, None)

    def allow(self, charge: Charge, short: Sequence[Standing], allowance: Allowance) -> None:
        """Raise the limits of these budgets, in this month alone, by the cents that are missing for a charge."""
        for standing in short:
            more = min(rounded_up(missing(charge, standing)), micro_down(allowance.up_to))
            self._add_allowance(standing.budget, standing.month, charge.key, more, allowance.by)

    def carry(self, budget: Budget, month: str, before: Row[Any] | None) -> None:
        """Allow beyond the limit that was set last what was allowed beyond the one before it for charges that are still open."""
        for one in self._held(budget, month, before):
            known = self.find(one.key)
            if known and known.is_open:
                self._add_allowance(budget, month, one.key, one.amount, one.by)

    def limit_in(self, budget: Budget, month: str) -> Row[Any] | None:
        """The limit that holds in a month; None while none was ever set."""
        limits = budget_limits.c
        newest = (
            select(budget_limits)
            .where(limits.budget == budget.code, limits.month <= month)
            .order_by(limits.month.desc(), limits.position.desc())
            .limit(1)
        )
        return self.connection.execute(newest).one_or_none()

    def _take_back(self, known: Reservation, unused: Decimal | None) -> None:
        """Of what a charge was allowed beyond its budgets, all but what it needed of it, in whole cents; all when None.

        A charge needs what its budgets had left before what it was allowed.
        """
        for budget in known.charge.payer.budgets():
            for one in self._held(budget, known.month, self.limit_in(budget, known.month), known.key):
                less = one.amount if unused is None or unused >= one.amount else unused.quantize(CENT, ROUND_DOWN)
                if less:
                    self._add_allowance(budget, known.month, known.key, -less, one.by)

    def _held(self, budget: Budget, month: str, limit: Row[Any] | None, key: str = "") -> list[Held]:
        """What charges, or one of them, have of what they were allowed beyond a limit."""
        if limit is None:
            return []
        allowed = budget_allowances.c
        beyond = [allowed.budget == budget.code, allowed.month == month, allowed.limit_position == limit.position]
        query = select(budget_allowances).where(*beyond, *([allowed.key == key] if key else []))
        held = dict[str, Held]()
        for row in self.connection.execute(query.order_by(allowed.position)):
            so_far = held[row.key].amount if row.key in held else NOTHING
            held[row.key] = Held(row.key, so_far + row.amount, row.set_by)
        return [one for one in held.values() if one.amount]

    def _add_allowance(self, budget: Budget, month: str, key: str, amount: Decimal, by: str) -> None:
        limit = self.limit_in(budget, month)
        assert limit is not None  # noqa: S101 - it is exceeded
        self.connection.execute(
            insert(budget_allowances).values(
                position=self.next_position(budget_allowances),
                budget=budget.code,
                month=month,
                limit_position=limit.position,
                amount=amount,
                key=key,
                set_by=by,
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


def missing(charge: Charge, standing: Standing) -> Decimal:
    """By how much a budget with a limit would have to be raised for a charge; of one that is overdrawn, more than it costs."""
    assert standing.balance is not None  # noqa: S101 - what has no limit is not short
    return micro_up(charge.amount) - standing.balance


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
        f"have the budget raised: {short[0].raised_for(charge.amount)}",
        stands=short[0].sentence(),
    )


def over_allowance(charge: Charge, short: Sequence[Standing], allowance: Allowance) -> OverBudgetError:
    """What says that a budget is overdrawn by more than an approver took on beyond the charge itself."""
    worst = max(short, key=lambda standing: missing(charge, standing))
    needed = f"${rounded_up(missing(charge, worst))}"
    return OverBudgetError(
        charge.key,
        shown(micro_up(charge.amount)),
        worst.left or NOTHING,
        [],
        f"allow {needed}, or have the budget raised: {worst.raised_for(charge.amount)}",
        stands=f"of {month_name(worst.month)}'s {shown(worst.limit or NOTHING)} of {worst.budget} {shown(worst.committed)} is committed, so that"
        f" {needed} more would have to be allowed for it, not {shown(allowance.up_to)}",
    )


def counted(query: Select[tuple[Decimal, Decimal]], budget: Budget) -> Select[tuple[Decimal, Decimal]]:
    """Of the entries a query asks for, those that count against a budget."""
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
