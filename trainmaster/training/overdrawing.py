"""Which jobs a monthly budget wants stopped whose limit was cut below what it had promised: the newest of those before the cut first,
no more than needed and for no more than was cut. Where a bill or begun hours overdrew it, nobody's job is stopped for that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trainmaster.budget.budgets import Standing, month_name
from trainmaster.budget.charge import Reservation
from trainmaster.budget.cuts import Overdraft, overdrafts
from trainmaster.budget.ledger import NOTHING, Ledger
from trainmaster.budget.money import shown


def is_of_job(reservation: Reservation) -> bool:
    """Whether it is a training job that is paid for, and not an endpoint."""
    return ":training-job/" in reservation.charge.resource


def overdrawn(over: Iterable[Overdraft], reservations: Sequence[Reservation]) -> dict[str, str]:
    """Pure: why a job is to be stopped, by its name.

    A job stopped frees at most what is reserved for it. So more may have to be stopped when its bill is in: the next look says.
    """
    chosen: dict[str, str] = {}
    newest_first = sorted(
        (one for one in reservations if one.is_open and is_of_job(one)),
        key=lambda one: one.position,
        reverse=True,
    )
    account_last = sorted(over, key=lambda one: one.standing.budget, reverse=True)  # others' stops help it too
    for overdraft in account_last:
        standing = overdraft.standing
        counted = [
            one for one in newest_first if one.month == standing.month and standing.budget in one.charge.payer.budgets()
        ]
        freed = sum((one.charge.amount for one in counted if one.key in chosen), NOTHING)
        for reservation in counted:
            if reservation.key not in chosen and freed < overdraft.owed_by(reservation.reserved_at):
                freed += reservation.charge.amount
                chosen[reservation.key] = _why(standing)
    return chosen


def _why(standing: Standing) -> str:
    return (
        f"{shown(standing.committed)} of {standing.budget} is spent or promised for {month_name(standing.month)},"
        f" {shown(standing.limit or NOTHING)} is allowed since its limit was lowered, and what was reserved last goes first"
    )


def overdrawn_now(ledger: Ledger, reservations: Sequence[Reservation]) -> dict[str, str]:
    """Of all that is reserved, in whichever months it counts."""
    return overdrawn(overdrafts(ledger, sorted({one.month for one in reservations})), reservations)


def overdrawn_by(ledger: Ledger, reservation: Reservation | None) -> str:
    """Why this job is to be stopped; "" while it is not."""
    if reservation is None or not reservation.is_open:
        return ""
    standings = [ledger.standing(budget, reservation.month) for budget in reservation.charge.payer.budgets()]
    if all(standing.balance is None or standing.balance >= 0 for standing in standings):
        return ""
    return overdrawn_now(ledger, ledger.open_reservations()).get(reservation.key, "")
