"""What was stopped or made smaller because nobody wanted it, and what that saved: counted from the moment it was stopped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select

from trainmaster.budget.entries import NOTHING, Entries
from trainmaster.budget.ledger import Ledger
from trainmaster.budget.metering import Meter
from trainmaster.budget.money import rounded
from trainmaster.catalog.tables import budget_entries, budget_readings, idle_stops

LONGEST = timedelta(days=7)
METHOD = (
    "What an hour of it cost when it was stopped, for the hours of this week that it stayed stopped: until somebody started it again,"
    " and for at most seven days, for by then somebody would have stopped it anyway. What was made smaller counts by what it cost less."
)


@dataclass(frozen=True)
class Stopped:
    """One thing that was stopped: US dollars an hour that it cost less, and for how long it stayed so, as far as it is counted."""

    resource: str
    user_id: UUID | None
    team: str
    reason: str
    at: datetime
    until: datetime
    hourly: Decimal

    def saved(self, since: datetime, until: datetime) -> Decimal:
        """US dollars, in the time between these."""
        length = min(self.until, until) - max(self.at, since)
        return rounded(self.hourly * Decimal(max(length, timedelta(0)) // timedelta(microseconds=1)) / (3600 * 10**6))


def note_stop(ledger: Ledger, meter: Meter, hourly: Decimal, reason: str) -> None:
    """What a meter counts was stopped just now, and costs so many US dollars an hour less; noted once for each moment."""
    if hourly <= 0:
        return
    with ledger.writing() as entries:
        values = {"meter": meter.id, "at": entries.now, "resource": meter.resource, "hourly": hourly, "reason": reason}
        row = entries.database.insert(idle_stops).values(
            **values, user_id=meter.payer.user_id, team=meter.payer.team or None
        )
        entries.connection.execute(row.on_conflict_do_nothing())


def stopped_between(ledger: Ledger, since: datetime, until: datetime) -> list[Stopped]:
    """Everything whose stop saved something between these, oldest first. Of one that was stopped twice in a row no time counts twice."""
    column = idle_stops.c
    query = select(idle_stops).where(column.at >= since - LONGEST, column.at < until).order_by(column.at)
    with ledger.reading() as entries:
        by_resource = defaultdict[str, list[Row[Any]]](list)
        for row in entries.connection.execute(query):
            by_resource[row.resource].append(row)
        found = [one for resource, rows in by_resource.items() for one in _ended(entries, resource, rows, until)]
    return sorted((one for one in found if one.saved(since, until)), key=lambda one: one.at)


def _ended(entries: Entries, resource: str, rows: Sequence[Row[Any]], until: datetime) -> Iterator[Stopped]:  # fmt: skip
    starts = sorted(_starts(entries, resource))
    by_meter = defaultdict[str, list[Row[Any]]](list)
    for row in rows:
        by_meter[row.meter].append(row)
    for of_meter in by_meter.values():
        again = [row.at for row in of_meter[1:]] + [until]
        growths = list(_growths(entries, of_meter[0].meter))
        for row, next_at in zip(of_meter, again, strict=True):
            started = [at for at in [*starts, *growths] if at > row.at]
            ends = min(next_at, row.at + LONGEST, *started)
            yield Stopped(resource, row.user_id, row.team or "", row.reason, row.at, ends, row.hourly)


def _starts(entries: Entries, resource: str) -> Iterator[datetime]:
    """When hours of it were reserved anew; those of files say nothing of it."""
    column = budget_entries.c
    query = select(column.key, column.at).where(
        column.resource == resource, column.kind == "reserved", column.key.endswith(".0")
    )
    for row in entries.connection.execute(query):
        if "@storage#" not in row.key:
            yield row.at


def _growths(entries: Entries, meter: str) -> Iterator[datetime]:
    """When more of it ran than before."""
    column = budget_readings.c
    readings = entries.connection.execute(
        select(column.at, column.running).where(column.meter == meter).order_by(column.at)
    )
    for before, after in pairwise(readings.all()):
        if after.running > before.running:
            yield after.at


def saved_in_all(stops: Sequence[Stopped], since: datetime, until: datetime) -> Decimal:
    """US dollars."""
    return sum((one.saved(since, until) for one in stops), NOTHING)
