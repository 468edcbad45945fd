"""The telling of how budgets stand."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import get_run_logger
from prefect.events import emit_event

from trainmaster.budget.budgets import Budget, Crossing
from trainmaster.budget.ledger import Ledger
from trainmaster.budget.money import shown


def tell_standing(ledger: Ledger, key: str) -> None:
    """Log how the limited budgets of a charge stand, and send an event for each threshold that is reached for the first time."""
    reservation = ledger.find(key)
    if reservation is None:
        return
    amount = shown(reservation.charge.amount)
    booked = f"{shown(reservation.bill)} billed for" if reservation.bill is not None else f"{amount} reserved for"
    budgets = reservation.charge.payer.budgets()
    standings = [ledger.standing(budget, reservation.month) for budget in budgets]
    limited = [standing.sentence() for standing in standings if standing.limit is not None]
    get_run_logger().info("%s %s. %s.", booked, key, "; ".join(limited) or "Its budgets have no monthly limits")
    tell_crossed(ledger, budgets, reservation.month)


def tell_crossed(ledger: Ledger, budgets: Sequence[Budget], month: str) -> None:
    """One event, `trainmaster.budget.reached-80-percent` for example, for each threshold nobody was told of yet."""
    for crossing in ledger.crossed(budgets, month):
        get_run_logger().warning("%s", crossing.sentence())
        _emit(crossing)


def _emit(crossing: Crossing) -> None:
    now = crossing.standing
    emit_event(
        f"trainmaster.budget.reached-{crossing.percent}-percent",
        resource={
            "prefect.resource.id": f"trainmaster.budget.{now.budget.code}",
            "prefect.resource.name": str(now.budget),
            "trainmaster.month": now.month,
        },
        payload={
            "percent": crossing.percent,
            "limit": str(now.limit),
            "settled": str(now.settled),
            "reserved": str(now.reserved),
            "sentence": crossing.sentence(),
        },
    )
