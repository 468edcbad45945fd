"""What happened to the budgets, in people's order: every entry of the books, every limit set or exceeded, every threshold passed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, select

from trainmaster.budget.budgets import Budget, Payer
from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import budget_allowances, budget_crossings, budget_entries, budget_limits


@dataclass(frozen=True)
class Happening:
    """One thing that happened. `amount` is in US dollars, None for a limit taken away; `of` says whose budgets it touched."""

    at: datetime
    what: str
    amount: Decimal | None
    subject: str
    of: list[Budget]
    month: str


def history(database: Database, month: str, budget: Budget | None = None, *, limit: int = 50) -> list[Happening]:
    """The newest happenings that concern a month, of one budget or of all, newest first."""
    entries, limits, allowances, crossings = budget_entries, budget_limits, budget_allowances, budget_crossings
    with database.reading() as connection:
        rows = connection.execute(select(entries).where(entries.c.month == month).order_by(entries.c.position)).all()
        found = [_of_entry(row) for row in rows]
        rows = connection.execute(select(limits).where(limits.c.month == month).order_by(limits.c.position)).all()
        found += [Happening(row.at, "limit", row.amount, row.set_by, [Budget.read(row.budget)], month) for row in rows]
        rows = connection.execute(
            select(allowances).where(allowances.c.month == month).order_by(allowances.c.position)
        ).all()
        found += _of_allowances(rows)
        rows = connection.execute(select(crossings).where(crossings.c.month == month)).all()
        found += [
            Happening(row.at, "passed", row.committed, f"{row.percent} %", [Budget.read(row.budget)], month)
            for row in rows
        ]
    touching = [one for one in found if budget is None or budget in one.of]
    return sorted(touching, key=lambda one: one.at, reverse=True)[:limit]


def _of_allowances(rows: Sequence[Row[Any]]) -> Iterator[Happening]:
    """Allowed; not used, and taken back; or carried over to another limit, while what it was allowed for is still open."""
    held = dict[tuple[str, str], tuple[int, Decimal]]()
    for row in rows:
        limit, beyond = held.get((row.budget, row.key), (row.limit_position, Decimal(0)))
        moved = limit != row.limit_position
        what = "unused" if row.amount < 0 else "carried" if moved and beyond else "allowed"
        held[row.budget, row.key] = (row.limit_position, row.amount if moved else beyond + row.amount)
        subject = f"{row.set_by}, for {row.key}"
        yield Happening(row.at, what, abs(row.amount), subject, [Budget.read(row.budget)], row.month)


def _of_entry(row: Row[Any]) -> Happening:
    amount = {"reserved": row.reserved, "settled": row.settled, "released": -row.reserved}[row.kind]
    return Happening(row.at, row.kind, amount, row.key, Payer(row.user_id, row.team or "").budgets(), row.month)
