"""The authority on money: what was reserved, billed and released, never changed and never deleted; balances are folds over it.

A writer waits until no other writes, sees all that those before it did, and is in whole or not at all. So however many
processes race for the last dollars, no budget is promised twice; and since there is one thing to wait for, none waits for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Self

from pydantic import SecretStr
from sqlalchemy import Connection, insert, select, update

from trainmaster.budget.budgets import ACCOUNT, Budget, Crossing, Payer, Standing, month_name
from trainmaster.budget.charge import Allowance, Charge, Reservation
from trainmaster.budget.entries import NOTHING, Cheaper, Entries, missing, nothing_cheaper, over_allowance, over_budget
from trainmaster.budget.history import Happening, history
from trainmaster.budget.money import CENT, micro_up, rounded, shown
from trainmaster.catalog.database import Database, open_database
from trainmaster.catalog.tables import budget_crossings, budget_entries, budget_limits, budget_tellings
from trainmaster.errors import NameConflictError, RefusedError, UnknownChoiceError

__all__ = ["NOTHING", "Cheaper", "Ledger", "nothing_cheaper", "open_ledger"]

TELLING = timedelta(minutes=10)
"""Whoever was handed a threshold and has not said by then that people were told is taken for dead."""


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

    @contextmanager
    def reading(self) -> Iterator[Entries]:
        """The books as they are now."""
        with self._database.reading() as connection:
            yield Entries(self._database, connection, self._now(connection))

    @contextmanager
    def writing(self) -> Iterator[Entries]:
        """The books with nobody else writing in them; what is added when the block ends is there, or nothing when it raises."""
        with self._database.writing_in_turn("ledger") as connection:
            yield Entries(self._database, connection, self._now(connection))

    def _now(self, connection: Connection) -> datetime:
        return self._clock() if self._clock else self._database.now(connection)

    def reserve(
        self, charge: Charge, cheaper: Cheaper = nothing_cheaper, allowance: Allowance | None = None
    ) -> Reservation:
        """Set the charge aside in every budget of its payer; the first reservation again when the key has one that stands.

        Where budgets have less left, an allowance of at least the whole amount raises them by what is missing, in whole cents, in
        this month alone and never by more than was allowed; what the charge turns out not to need of it is taken back. Raises
        OverBudgetError without one, naming what `cheaper` finds to fit; NameConflictError when the key stands for another amount
        or another resource: `find` says for which. A key that was released is reserved anew.
        """
        with self.writing() as entries:
            known = entries.standing_reservation(charge.key)
            if known:
                _require_same(known, charge)
                return known
            if short := entries.short(charge):
                if allowance is None or not allowance.covers(charge.amount):
                    raise over_budget(charge, short, cheaper)
                if any(missing(charge, one) > allowance.up_to for one in short):
                    raise over_allowance(charge, short, allowance)
                entries.allow(charge, short, allowance)
            return entries.book(charge)

    def adopt(self, charge: Charge) -> Reservation:
        """As `reserve`, for what is running already: it is counted whether it fits or not, and one that stands is left as it is."""
        with self.writing() as entries:
            return entries.standing_reservation(charge.key) or entries.book(charge)

    def settle(self, key: str, bill: Decimal) -> Reservation:
        """Put the bill in the place of the reservation, in the month it was reserved in, also when it is higher.

        What was released is billed all the same: it ran after all. The same bill again changes nothing. Raises
        NameConflictError for another bill than the one booked, UnknownChoiceError for a key never reserved.
        """
        bill = rounded(bill)
        if bill < 0:
            raise ValueError(f"{key}: a bill of ${bill}")
        with self.writing() as entries:
            known = entries.find(key)
            if known is None:
                raise UnknownChoiceError(f"The ledger has no reservation {key!r} to settle.")
            if known.bill is None:
                return entries.bill(known, bill)
            if known.bill != bill:
                raise NameConflictError(f"{key} is settled at {shown(known.bill)} in the ledger, not {shown(bill)}.")
            return known

    def release(self, key: str, position: int | None = None) -> bool:
        """Undo an open reservation; False when there is none, or not that of `position` any more."""
        with self.writing() as entries:
            known = entries.find(key)
            if known is None or not known.is_open or position not in {None, known.position}:
                return False
            entries.undo(known)
            return True

    def now(self) -> datetime:
        """The time by which entries are dated."""
        with self.reading() as entries:
            return entries.now

    def find(self, key: str) -> Reservation | None:
        """What is known of a key, whatever became of it."""
        with self.reading() as entries:
            return entries.find(key)

    def open_reservations(self) -> list[Reservation]:
        """All that is reserved and neither settled nor released, oldest first."""
        with self.reading() as entries:
            return entries.newest("reserved")

    def released_since(self, moment: datetime) -> list[Reservation]:
        """What was released after a point in time and not reserved again, oldest first."""
        with self.reading() as entries:
            return entries.newest("released", budget_entries.c.at > moment)

    def set_limit(self, budget: Budget, amount: Decimal | None, *, set_by: str, month: str = "") -> Standing:
        """What the budget allows from a month on, this one unless said; None takes the limit away.

        What single charges were allowed beyond the limit there was goes with it once they are billed; of those that are open it
        stays on top of this one, for they are still to be paid. Raises RefusedError for a month that is over and for an amount
        that is not one of whole cents.
        """
        if amount is not None and not (amount.is_finite() and amount >= 0 and amount == amount.quantize(CENT)):
            raise RefusedError(f"A budget of {amount} cannot be set; give US dollars in whole cents, 0 or more.")
        with self.writing() as entries:
            month = month or entries.month
            if month < entries.month:
                raise RefusedError(f"{month_name(month)} is over; set a budget from {month_name(entries.month)} on.")
            position, before = entries.next_position(budget_limits), entries.limit_in(budget, month)
            values = {"budget": budget.code, "month": month, "set_by": set_by, "at": entries.now}
            cents = None if amount is None else amount.quantize(CENT)
            entries.connection.execute(insert(budget_limits).values(position=position, amount=cents, **values))
            entries.carry(budget, month, before)
            return entries.standing(budget, month)

    def standing(self, budget: Budget, month: str = "") -> Standing:
        """One budget in a month, this one unless said."""
        with self.reading() as entries:
            return entries.standing(budget, month or entries.month)

    def standings(self, month: str = "") -> list[Standing]:
        """Every budget that has a limit in a month or was charged in it; the account's first."""
        with self.reading() as entries:
            month = month or entries.month
            charged, limits = budget_entries.c, budget_limits.c
            limited = entries.connection.execute(
                select(limits.budget).where(limits.month <= month).distinct()
            ).scalars()
            payers = entries.connection.execute(
                select(charged.user_id, charged.team).where(charged.month == month).distinct()
            ).all()
            budgets = {ACCOUNT, *map(Budget.read, limited)}
            for user_id, team in payers:
                budgets |= {*Payer(user_id, team or "").budgets()}
            return entries.standings(sorted(budgets), month)

    def history(self, month: str = "", budget: Budget | None = None, *, limit: int = 50) -> list[Happening]:
        """What happened in a month, this one unless said, to one budget or to all; newest first."""
        with self.reading() as entries:
            month = month or entries.month
        return history(self._database, month, budget, limit=limit)

    def crossed(self, budgets: Sequence[Budget], month: str) -> list[Crossing]:
        """The thresholds these budgets have reached that nobody was told of. Whoever gets one here tells, and then says `told`.

        It is handed to one caller alone, unless that one has not said so within ten minutes.
        """
        with self.reading() as entries:
            if not any(self._untold(entries, one) for one in entries.standings(budgets, month)):
                return []
        with self.writing() as entries:
            crossings = [one for each in entries.standings(budgets, month) for one in self._untold(entries, each)]
            for crossing in crossings:
                self._hand_out(entries, crossing)
            return crossings

    def told(self, crossings: Sequence[Crossing]) -> None:
        """People know of these thresholds: nobody else is to tell them."""
        tellings = budget_tellings.c
        with self.writing() as entries:
            for crossing in crossings:
                of_it = (
                    tellings.budget == crossing.standing.budget.code,
                    tellings.month == crossing.standing.month,
                    tellings.percent == crossing.percent,
                    tellings.told_at.is_(None),
                )
                entries.connection.execute(update(budget_tellings).where(*of_it).values(told_at=entries.now))

    @staticmethod
    def _untold(entries: Entries, standing: Standing) -> list[Crossing]:
        """Those nobody was handed, and those handed to somebody who never said `told`."""
        passed = standing.passed()
        if not passed:
            return []
        crossings, tellings = budget_crossings.c, budget_tellings.c
        of_it = (crossings.budget == standing.budget.code, crossings.month == standing.month)
        handed = set(entries.connection.execute(select(crossings.percent).where(*of_it)).scalars())
        late = (
            tellings.budget == standing.budget.code,
            tellings.month == standing.month,
            tellings.told_at.is_(None),
            tellings.handed_at < entries.now - TELLING,
        )
        lost = set(entries.connection.execute(select(tellings.percent).where(*late)).scalars())
        return [Crossing(standing, percent) for percent in passed if percent not in handed or percent in lost]

    def _hand_out(self, entries: Entries, crossing: Crossing) -> None:
        standing = crossing.standing
        key = {"budget": standing.budget.code, "month": standing.month, "percent": crossing.percent}
        noted = {"committed": standing.committed, "amount": standing.limit, "at": entries.now}
        insert_ = self._database.insert
        entries.connection.execute(insert_(budget_crossings).values(**key, **noted).on_conflict_do_nothing())
        handed = insert_(budget_tellings).values(**key, handed_at=entries.now)
        by_key = list(budget_tellings.primary_key)
        entries.connection.execute(handed.on_conflict_do_update(index_elements=by_key, set_={"handed_at": entries.now}))


def _require_same(known: Reservation, charge: Charge) -> None:
    if known.charge.resource != charge.resource:
        raise NameConflictError(
            f"{charge.key} is {known.state} in the ledger for {known.charge.resource}, not for {charge.resource}."
            " Choose another name, or another attempt."
        )
    if known.charge.amount != micro_up(charge.amount):
        raise NameConflictError(
            f"{charge.key} is {known.state} at {shown(known.charge.amount)} in the ledger, not at"
            f" {shown(micro_up(charge.amount))}. If it was never launched, the flow reconcile releases it within the hour;"
            " or choose another attempt."
        )


def open_ledger(url: str | SecretStr | None, state_dir: Path) -> Ledger:
    """The ledger in the catalogue's database. Raises NotConfiguredError. Close it by leaving its `with` block."""
    return Ledger(open_database(url, state_dir))
