"""What workspaces cost by the hour, in the books: machine and storage reserved before they are made, and billed until they are gone.

A machine is paid for from when it is first seen starting until it is seen stopped; storage until it is deleted. What costs nothing has
no meter.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, get_args

from trainmaster.budget.metering import Meter, Metered, Meters
from trainmaster.training.desk import Desk
from trainmaster.workspaces.kinds import Seen
from trainmaster.workspaces.workspace import BILLABLE, Workspace

Part = Literal["machine", "storage"]
PARTS: tuple[Part, ...] = get_args(Part)


def reserve(desk: Desk, workspace: Workspace) -> None:
    """The first hours of its machine and of its storage, unless they are reserved already; before anything is made or started.

    Raises OverBudgetError when either does not fit; then nothing more is reserved than was before.
    """
    books, started = Meters(desk.ledger), list[Meter]()
    before = {meter.id for meter in books.running(workspace.resource)}
    try:
        for part in PARTS:
            if metered := _metered(workspace, part):
                started.append(books.start(metered))
    except BaseException:
        for meter in started:
            if meter.id not in before:
                books.end(meter)
        raise


def see(desk: Desk, workspace: Workspace, seen: Seen) -> None:
    """Bring its hours to what AWS says of it now: from the first sighting on it is billed, what was taken away is billed until now.

    Where AWS could not be asked, or nothing is made yet, nothing changes. What runs and nobody reserved hours for is counted
    all the same.
    """
    if seen.status in {"unknown", "pending"}:
        return
    if seen.status in {"deleted", "missing"}:
        end(desk, workspace, storage=True)
        return
    there: set[Part] = {"machine", "storage"} if seen.status in BILLABLE else {"storage"}
    if "machine" not in there:
        end(desk, workspace, storage=False)
    books = Meters(desk.ledger)
    for part in PARTS:
        if part in there and (metered := _metered(workspace, part)):
            books.look(books.start(metered, whatever=True), metered.hourly)


def end(desk: Desk, workspace: Workspace, *, storage: bool) -> None:
    """Its machine is gone, and with `storage` all of it: bill it until now, and release what was reserved beyond."""
    books = Meters(desk.ledger)
    for meter in books.running(workspace.resource):
        if storage or meter.part != "storage":
            books.end(meter)


def _metered(workspace: Workspace, part: Part) -> Metered | None:
    hourly: Decimal = workspace.hourly_cost if part == "machine" else workspace.storage_hourly_cost
    return Metered(workspace.resource, hourly, part, workspace.payer) if hourly else None
