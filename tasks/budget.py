"""The telling of how budgets stand."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Thread
from uuid import UUID, uuid5

from prefect import get_run_logger
from prefect.events import emit_event
from prefect.events.worker import EventsWorker

from trainmaster.budget.budgets import Budget, Crossing
from trainmaster.budget.ledger import Ledger
from trainmaster.budget.metering import tranche_title
from trainmaster.budget.money import shown

SENDING_SECONDS = 30.0
_EXHAUSTED = UUID("a3a6c1c6-6a55-4b0b-8c51-8f1d3e0f7d10")


def tell_standing(ledger: Ledger, key: str) -> None:
    """Log how the limited budgets of a charge stand, and send an event for each threshold that is reached for the first time."""
    reservation = ledger.find(key)
    if reservation is None:
        return
    amount = shown(reservation.charge.amount)
    booked = (
        f"{shown(reservation.bill)} billed for" if reservation.bill is not None else f"{amount} {reservation.state} for"
    )
    budgets = reservation.charge.payer.budgets()
    standings = [ledger.standing(budget, reservation.month) for budget in budgets]
    limited = [standing.sentence() for standing in standings if standing.limit is not None]
    get_run_logger().info(
        "%s %s. %s.", booked, tranche_title(key), "; ".join(limited) or "Its budgets have no monthly limits"
    )
    tell_crossed(ledger, budgets, reservation.month)


def tell_crossed(ledger: Ledger, budgets: Sequence[Budget], month: str) -> None:
    """One event, `trainmaster.budget.reached-80-percent` for example, for each threshold nobody was told of yet; the log says each
    budget's highest.

    Whoever dies before Prefect has it leaves it to the next one; it has the same id then, and Prefect takes it once.
    """
    crossings = ledger.crossed(budgets, month)
    highest = {crossing.standing.budget: crossing for crossing in sorted(crossings, key=lambda one: one.percent)}
    for crossing in highest.values():
        get_run_logger().warning("%s", crossing.sentence())
    for crossing in crossings:
        _emit(crossing)
    if crossings and _all_sent():
        ledger.told(crossings)


def tell_exhausted(key: str, subject: str, sentence: str) -> None:
    """An event, `trainmaster.budget.exhausted`, for hours that no budget has money for: once, however often it is told."""
    get_run_logger().warning("%s", sentence)
    emit_event(
        "trainmaster.budget.exhausted",
        id=uuid5(_EXHAUSTED, key),
        resource={"prefect.resource.id": f"trainmaster.{subject.replace(' ', '.')}", "prefect.resource.name": subject},
        payload={"job": subject, "sentence": sentence},
    )


def _emit(crossing: Crossing) -> None:
    now = crossing.standing
    emit_event(
        f"trainmaster.budget.reached-{crossing.percent}-percent",
        id=crossing.id,
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


def _all_sent() -> bool:
    """Whether Prefect's server has every event of this process; it is waited for in vain at most so long."""
    waiting = Thread(target=EventsWorker.instance().wait_until_empty, daemon=True)  # which by itself may wait for ever
    waiting.start()
    waiting.join(SENDING_SECONDS)
    return not waiting.is_alive()
