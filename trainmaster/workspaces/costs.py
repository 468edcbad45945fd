"""What a workspace costs, by what is paid for, and what it came to so far."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import select

from trainmaster.budget.entries import NOTHING, Entries
from trainmaster.budget.metering import Meters
from trainmaster.catalog.tables import budget_entries
from trainmaster.training.desk import Desk
from trainmaster.workspaces.rates import FREE, Rates
from trainmaster.workspaces.workspace import Workspace


@dataclass(frozen=True)
class Costs:
    """In US dollars: what an hour costs, and what this month came to until now, of what is gone and what goes on."""

    hourly: Rates
    spent_this_month: Decimal
    reserved: Decimal
    """For hours to come."""


def costs_of(desk: Desk, workspace: Workspace) -> Costs:
    """By the books, whatever AWS says just now."""
    running = Meters(desk.ledger).running(workspace.resource)
    with desk.ledger.reading() as entries:
        spent, reserved = _billed(entries, workspace.resource), NOTHING
        for meter in running:
            for tranche in (entries.found(meter.key(number)) for number in meter.open):
                so_far = meter.bill(tranche, entries.now)
                spent += so_far if tranche.month == entries.month else NOTHING
                reserved += max(tranche.charge.amount - so_far, NOTHING)
    return Costs(hourly_rates(workspace), spent, reserved)


def hourly_rates(workspace: Workspace) -> Rates:
    """As its row has them: those it was opened at."""
    if workspace.service_type == "sagemaker_canvas":
        return Rates(FREE, workspace.hourly_cost, workspace.storage_hourly_cost)
    return Rates(workspace.hourly_cost, FREE, workspace.storage_hourly_cost)


def _billed(entries: Entries, resource: str) -> Decimal:
    column = budget_entries.c
    query = select(column.settled).where(column.resource == resource, column.month == entries.month)
    return sum(entries.connection.execute(query).scalars(), NOTHING)
