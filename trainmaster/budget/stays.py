"""What was paid for by the hour, from when to when, and what it came to: of what is gone, and of what goes on."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, select

from trainmaster.budget.entries import NOTHING
from trainmaster.budget.ledger import Ledger
from trainmaster.budget.metering import Meter, Meters
from trainmaster.catalog.tables import budget_entries, budget_sightings


@dataclass(frozen=True)
class Stay:
    """One stay of a part of something, as an endpoint's on one configuration. `ended_at` is None while it goes on; `cost` is US
    dollars, until now where it goes on, but of what is paid by use only what is billed."""

    part: str
    began_at: datetime
    ended_at: datetime | None
    cost: Decimal


def stays_of(ledger: Ledger, resource: str) -> list[Stay]:
    """Every stay there was of a resource, by its ARN, oldest first. What never came to be was none."""
    going_on = {meter.id: meter for meter in Meters(ledger).running(resource)}
    column, by_meter = budget_entries.c, defaultdict[str, list[Row[Any]]](list)
    with ledger.reading() as entries:
        query = select(column.key, column.kind, column.settled, column.at).where(column.resource == resource)
        for entry in entries.connection.execute(query.order_by(column.position)):
            by_meter[entry.key.rpartition(".")[0]].append(entry)
        sightings = select(budget_sightings).where(budget_sightings.c.meter.in_(by_meter))
        seen = {row.meter: row.at for row in entries.connection.execute(sightings)}
        open_ = {
            meter_id: [entries.found(meter.key(number)) for number in meter.open]
            for meter_id, meter in going_on.items()
        }
    stays = []
    for meter_id, began_at in seen.items():
        meter, of_it = going_on.get(meter_id), by_meter[meter_id]
        cost = sum((entry.settled for entry in of_it), NOTHING)
        cost += sum((meter.bill(one, entries.now) for one in open_[meter_id]), NOTHING) if meter else NOTHING
        stays.append(Stay(_part(meter_id, resource), began_at, _ended(meter, of_it), cost))
    return sorted(stays, key=lambda stay: stay.began_at)


def _ended(meter: Meter | None, entries: list[Row[Any]]) -> datetime | None:
    return None if meter else max((entry.at for entry in entries if entry.kind == "settled"), default=entries[-1].at)


def _part(meter_id: str, resource: str) -> str:
    return meter_id.rpartition("#")[0].removeprefix(resource).removeprefix("@")
