"""The authority on money: what was reserved, billed and released, never changed and never deleted; balances are folds over it.

A writer waits until no other writes, sees all that those before it did, and is in whole or not at all. So however many
processes race for the last dollars, no budget is promised twice; and since there is one thing to wait for, none waits for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import Connection, Row, Select, Table, func, insert, select

from trainmaster.budget.budgets import ACCOUNT, Budget, Crossing, Payer, Standing, month_name, month_of
from trainmaster.budget.charge import Charge, Reservation, State
from trainmaster.budget.history import Happening, history
from trainmaster.budget.money import CENT, MICRO, micro_up, rounded, shown
from trainmaster.catalog.database import Database, open_database
from trainmaster.catalog.tables import budget_crossings, budget_entries, budget_limits
from trainmaster.errors import NameConflictError, OverBudgetError, RefusedError, UnknownChoiceError

Cheaper = Callable[[Decimal], Sequence[str]]
"""From so many dollars to what they would pay for instead."""
NOTHING = Decimal(0)


def nothing_cheaper(_left: Decimal) -> Sequence[str]:
    """Of what comes in one size."""
    return []


class Ledger:
    """Every call is one transaction, safe to repeat and to race. Amounts are exact to the millionth of a US dollar.

    `clock` is the database's unless a test gives another.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime] | None = None) -> None:
        self._database, self._clock = database, clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def reserve(self, charge: Charge, cheaper: Cheaper = nothing_cheaper) -> Reservation:
        """Set the charge aside in every budget of its payer; the first reservation again when the key has one that stands.

        Raises OverBudgetError when a budget has less left, naming what `cheaper` finds to fit; NameConflictError when the key
        stands for another amount. A key that was released is reserved anew.
        """
        with self._writing() as (connection, now):
            known = self._standing_reservation(connection, charge.key)
            if known and known.charge.amount != micro_up(charge.amount):
                raise NameConflictError(
                    f"{charge.key} is {known.state} at {shown(known.charge.amount)} in the ledger, not at"
                    f" {shown(micro_up(charge.amount))}. If it was never launched, the flow reconcile releases it within the hour;"
                    " or choose another attempt."
                )
            if known:
                return known
            self._require_left(connection, charge, month_of(now), cheaper)
            return self._book(connection, charge, now)

    def adopt(self, charge: Charge) -> Reservation:
        """As `reserve`, for what is running already: it is counted whether it fits or not, and one that stands is left as it is."""
        with self._writing() as (connection, now):
            return self._standing_reservation(connection, charge.key) or self._book(connection, charge, now)

    def settle(self, key: str, bill: Decimal) -> Reservation:
        """Put the bill in the place of the reservation, in the month it was reserved in, also when it is higher.

        What was released is billed all the same: it ran after all. The same bill again changes nothing. Raises
        NameConflictError for another bill than the one booked, UnknownChoiceError for a key never reserved.
        """
        bill = rounded(bill)
        if bill < 0:
            raise ValueError(f"{key}: a bill of ${bill}")
        with self._writing() as (connection, now):
            known = self._find(connection, key)
            if known is None:
                raise UnknownChoiceError(f"The ledger has no reservation {key!r} to settle.")
            if known.bill is not None:
                if known.bill != bill:
                    raise NameConflictError(
                        f"{key} is settled at {shown(known.bill)} in the ledger, not {shown(bill)}."
                    )
                return known
            open_ = known.charge.amount if known.is_open else NOTHING
            self._append(connection, "settled", known.charge, known.month, now, reserved=-open_, settled=bill)
            return self._found(connection, key)

    def release(self, key: str, position: int | None = None) -> bool:
        """Undo an open reservation; False when there is none, or not that of `position` any more."""
        with self._writing() as (connection, now):
            known = self._find(connection, key)
            if known is None or not known.is_open or position not in {None, known.position}:
                return False
            self._append(connection, "released", known.charge, known.month, now, reserved=-known.charge.amount)
            return True

    def now(self) -> datetime:
        """The time by which entries are dated."""
        with self._database.reading() as connection:
            return self._now(connection)

    def find(self, key: str) -> Reservation | None:
        """What is known of a key, whatever became of it."""
        with self._database.reading() as connection:
            return self._find(connection, key)

    def open_reservations(self) -> list[Reservation]:
        """All that is reserved and neither settled nor released, oldest first."""
        return self._newest("reserved", since=None)

    def released_since(self, moment: datetime) -> list[Reservation]:
        """What was released after a point in time and not reserved again, oldest first."""
        return self._newest("released", since=moment)

    def set_limit(self, budget: Budget, amount: Decimal | None, *, set_by: str, month: str = "") -> Standing:
        """What the budget allows from a month on, this one unless said; None takes the limit away.

        Raises RefusedError for a month that is over and for an amount that is not one of whole cents.
        """
        if amount is not None and not (amount.is_finite() and amount >= 0 and amount == amount.quantize(CENT)):
            raise RefusedError(f"A budget of {amount} cannot be set; give US dollars in whole cents, 0 or more.")
        with self._writing() as (connection, now):
            month = month or month_of(now)
            if month < month_of(now):
                raise RefusedError(f"{month_name(month)} is over; set a budget from {month_name(month_of(now))} on.")
            position = self._next_position(connection, budget_limits)
            values = {"budget": budget.code, "month": month, "set_by": set_by, "at": now}
            cents = None if amount is None else amount.quantize(CENT)
            connection.execute(insert(budget_limits).values(position=position, amount=cents, **values))
            return self._standing(connection, budget, month)

    def standing(self, budget: Budget, month: str = "") -> Standing:
        """One budget in a month, this one unless said."""
        with self._database.reading() as connection:
            return self._standing(connection, budget, month or month_of(self._now(connection)))

    def standings(self, month: str = "") -> list[Standing]:
        """Every budget that has a limit in a month or was charged in it; the account's first."""
        with self._database.reading() as connection:
            month = month or month_of(self._now(connection))
            entries = budget_entries.c
            limited = connection.execute(
                select(budget_limits.c.budget).where(budget_limits.c.month <= month).distinct()
            ).scalars()
            payers = connection.execute(
                select(entries.user_id, entries.team).where(entries.month == month).distinct()
            ).all()
            budgets = {ACCOUNT, *map(Budget.read, limited)}
            for user_id, team in payers:
                budgets |= {*Payer(user_id, team or "").budgets()}
            return [self._standing(connection, budget, month) for budget in sorted(budgets)]

    def history(self, month: str = "", budget: Budget | None = None, *, limit: int = 50) -> list[Happening]:
        """What happened in a month, this one unless said, to one budget or to all; newest first."""
        with self._database.reading() as connection:
            month = month or month_of(self._now(connection))
        return history(self._database, month, budget, limit=limit)

    def crossed(self, budgets: Sequence[Budget], month: str) -> list[Crossing]:
        """The thresholds these budgets have reached that nobody was told of; whoever gets one here is the only one, and tells."""
        with self._database.reading() as connection:
            standings = [self._standing(connection, budget, month) for budget in budgets]
        if not any(standing.passed() for standing in standings):
            return []
        with self._writing() as (connection, now):
            return [
                Crossing(standing, percent)
                for standing in standings
                for percent in standing.passed()
                if self._is_first(connection, standing, percent, now)
            ]

    def _is_first(self, connection: Connection, standing: Standing, percent: int, now: datetime) -> bool:
        statement = self._database.insert(budget_crossings).values(
            budget=standing.budget.code,
            month=standing.month,
            percent=percent,
            committed=standing.committed,
            amount=standing.limit,
            at=now,
        )
        noted = connection.execute(statement.on_conflict_do_nothing().returning(budget_crossings.c.percent))
        return noted.first() is not None

    @contextmanager
    def _writing(self) -> Iterator[tuple[Connection, datetime]]:
        with self._database.writing_in_turn("ledger") as connection:
            yield connection, self._now(connection)

    def _now(self, connection: Connection) -> datetime:
        return self._clock() if self._clock else self._database.now(connection)

    def _require_left(self, connection: Connection, charge: Charge, month: str, cheaper: Cheaper) -> None:
        amount = micro_up(charge.amount)
        standings = [self._standing(connection, budget, month) for budget in charge.payer.budgets()]
        short = [(one.left, one) for one in standings if one.left is not None and one.left < amount]
        if short:
            left, tightest = min(short, key=lambda one: one[0])
            raise OverBudgetError(
                charge.key,
                shown(amount),
                left,
                list(cheaper(left)),
                "have the budget raised: trainmaster budget set",
                stands=tightest.sentence(),
            )

    def _book(self, connection: Connection, charge: Charge, now: datetime) -> Reservation:
        amount = micro_up(charge.amount)
        if amount < 0:
            raise ValueError(f"{charge.key}: a reservation of ${amount}")
        self._append(connection, "reserved", charge, month_of(now), now, reserved=amount)
        return self._found(connection, charge.key)

    def _append(
        self,
        connection: Connection,
        kind: State,
        charge: Charge,
        month: str,
        now: datetime,
        *,
        reserved: Decimal = NOTHING,
        settled: Decimal = NOTHING,
    ) -> None:
        connection.execute(
            insert(budget_entries).values(
                position=self._next_position(connection, budget_entries),
                kind=kind,
                key=charge.key,
                resource=charge.resource,
                user_id=charge.payer.user_id,
                team=charge.payer.team or None,
                month=month,
                reserved=reserved,
                settled=settled,
                hourly=charge.hourly,
                at=now,
            )
        )

    @staticmethod
    def _next_position(connection: Connection, table: Table) -> int:
        last = connection.execute(select(func.max(table.c.position))).scalar_one()
        return int(last or 0) + 1

    def _standing_reservation(self, connection: Connection, key: str) -> Reservation | None:
        known = self._find(connection, key)
        return known if known and known.state != "released" else None

    def _found(self, connection: Connection, key: str) -> Reservation:
        found = self._find(connection, key)
        assert found is not None  # noqa: S101 - its entry was written in this transaction
        return found

    @staticmethod
    def _find(connection: Connection, key: str) -> Reservation | None:
        entries = budget_entries.c
        query = select(budget_entries).where(entries.key == key).order_by(entries.position)
        return _read(connection.execute(query).all())

    def _newest(self, state: State, since: datetime | None) -> list[Reservation]:
        """Reservations by the kind of their newest entry."""
        entries, later = budget_entries.c, budget_entries.alias()
        newest = ~select(later.c.key).where(later.c.key == entries.key, later.c.position > entries.position).exists()
        keys = select(entries.key).where(entries.kind == state, newest)
        if since is not None:
            keys = keys.where(entries.at > since)
        query = select(budget_entries).where(entries.key.in_(keys)).order_by(entries.key, entries.position)
        with self._database.reading() as connection:
            by_key = groupby(connection.execute(query), key=lambda entry: str(entry.key))
            found = [reservation for _, of_it in by_key if (reservation := _read(list(of_it)))]
        return sorted(found, key=lambda reservation: reservation.reserved_at)

    def _standing(self, connection: Connection, budget: Budget, month: str) -> Standing:
        total, entries = self._database.total, budget_entries.c
        query = select(total(entries.settled), total(entries.reserved)).where(entries.month == month)
        settled, reserved = connection.execute(_of(query, budget)).one()
        limits = budget_limits.c
        limit = connection.execute(
            select(limits.amount)
            .where(limits.budget == budget.code, limits.month <= month)
            .order_by(limits.month.desc(), limits.position.desc())
            .limit(1)
        ).scalar_one_or_none()
        return Standing(budget, month, limit, settled, reserved)


def open_ledger(url: str | SecretStr | None, state_dir: Path) -> Ledger:
    """The ledger in the catalogue's database. Raises NotConfiguredError. Close it by leaving its `with` block."""
    return Ledger(open_database(url, state_dir))


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
