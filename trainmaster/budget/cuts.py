"""Where a limit was set below what had been promised of it: by how much it still is, and since when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select

from trainmaster.budget.budgets import Budget, Standing
from trainmaster.budget.entries import NOTHING, Entries, counted
from trainmaster.budget.ledger import Ledger
from trainmaster.catalog.tables import budget_allowances, budget_entries, budget_limits

UNLIMITED = Decimal("Infinity")


@dataclass(frozen=True)
class Cut:
    """When a limit was lowered, and how many US dollars of what was promised before are still to be freed because of it."""

    at: datetime
    owed: Decimal


@dataclass(frozen=True)
class Overdraft:
    """A budget that has less than it promised, and the cuts that brought it there: none, where bills or begun hours did."""

    standing: Standing
    cuts: tuple[Cut, ...] = ()

    def owed_by(self, reserved_at: datetime) -> Decimal:
        """How much a charge reserved then, and those before it, may be asked to free: nothing when no limit was lowered since."""
        missing = -(self.standing.balance or NOTHING)
        return max(
            min(missing, max((cut.owed for cut in self.cuts if cut.at >= reserved_at), default=NOTHING)), NOTHING
        )


def overdrafts(ledger: Ledger, months: Iterable[str]) -> list[Overdraft]:
    """Every budget that is overdrawn in one of these months."""
    standings = [standing for month in months for standing in ledger.standings(month)]
    over = [standing for standing in standings if standing.balance is not None and standing.balance < 0]
    if not over:
        return []
    with ledger.reading() as entries:
        now = [entries.standing(one.budget, one.month) for one in over]
        return [Overdraft(one, tuple(_cuts(entries, one))) for one in now]


def _cuts(entries: Entries, standing: Standing) -> Iterator[Cut]:
    """Of a limit lowered several times, a cut for each height it came down from to what it is now, the latest first."""
    limits = list(_limits(entries, standing.budget, standing.month))
    if standing.limit is None or not limits:
        return
    _, now = limits[-1]
    highest = now
    for number in reversed(range(len(limits))):
        at, before = limits[number][0], limits[number - 1][1] if number else UNLIMITED
        if before > highest:
            highest = before
            owed = _owed(entries, standing, at, before - now)
            if owed > 0:
                yield Cut(at, owed)


def _limits(entries: Entries, budget: Budget, month: str) -> Iterator[tuple[datetime, Decimal]]:
    """What was to hold in a month, since when, in the order it was said."""
    column = budget_limits.c
    of_it = (column.budget == budget.code, column.month <= month)
    holding = ""
    for row in entries.connection.execute(select(budget_limits).where(*of_it).order_by(column.position)):
        if row.month >= holding:
            holding = row.month
            yield row.at, UNLIMITED if row.amount is None else row.amount


def _owed(entries: Entries, standing: Standing, at: datetime, less: Decimal) -> Decimal:
    """What was too much when the limit was lowered by so much, less what was freed since of what was promised before.

    Bills above their reservations, and hours that began since, are not in it.
    """
    total, entry, allowed = entries.database.total, budget_entries.c, budget_allowances.c
    promised = select(total(entry.settled), total(entry.reserved)).where(entry.month == standing.month, entry.at <= at)
    committed = sum(entries.connection.execute(counted(promised, standing.budget)).one(), NOTHING)
    of_it = (allowed.budget == standing.budget.code, allowed.month == standing.month, allowed.at > at)
    rows = entries.connection.execute(select(allowed.amount).where(*of_it)).scalars()
    taken_back = sum(
        (-amount for amount in rows if amount < 0), NOTHING
    )  # it went from the limit, and was freed as well
    too_much = committed - (standing.limit or NOTHING) - taken_back
    return min(less, too_much) - (_freed(entries, standing, at) - taken_back)


def _freed(entries: Entries, standing: Standing, at: datetime) -> Decimal:
    """By how much bills and releases since then were below what had been reserved before."""
    entry, first = budget_entries.c, budget_entries.alias()
    before = select(first.c.key).where(first.c.key == entry.key, first.c.kind == "reserved", first.c.at <= at).exists()
    later = select(entry.settled, entry.reserved).where(
        entry.month == standing.month, entry.at > at, entry.kind != "reserved", before
    )
    rows = entries.connection.execute(counted(later, standing.budget))
    return sum((max(-(settled + reserved), NOTHING) for settled, reserved in rows), NOTHING)
