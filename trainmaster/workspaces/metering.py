"""What workspaces cost by the hour, in the books: machine and storage reserved before they are made, and billed until they are gone.

A machine is paid for from when it is first seen starting until it is seen stopped; storage until it is deleted. What costs nothing has
no meter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, get_args

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.budget.charge import Charge, Reservation
from trainmaster.budget.entries import NOTHING, over_budget
from trainmaster.budget.metering import TRANCHE, Looked, Meter, Metered, Meters, Reading
from trainmaster.budget.money import micro_up, shown
from trainmaster.errors import OverBudgetError, TrainmasterError, UnknownPriceError
from trainmaster.training.desk import Desk
from trainmaster.workspaces.kinds import Seen
from trainmaster.workspaces.rates import Rates, rates_of
from trainmaster.workspaces.seeing import see_workspaces
from trainmaster.workspaces.workspace import BILLABLE, Workspace

Part = Literal["machine", "storage"]
PARTS: tuple[Part, ...] = get_args(Part)
Finding = Literal["metered", "reserved", "settled", "adopted", "ended", "released", "exhausted", "waiting", "failed"]
"""Reserved, settled: its next or last hours, just now. Adopted: it is there and nobody had reserved hours for it. Ended: it is gone, and
billed until now. Released: it never came to be. Waiting: it may be about to. Failed: could not be looked at."""
UNEVENTFUL: frozenset[Finding] = frozenset({"metered", "waiting"})
GIVE_UP = timedelta(minutes=30)
"""After so long a workspace that hours were reserved for and nothing was made of is not being made any more."""
_ALL = Decimal(1)


@dataclass(frozen=True)
class WorkspaceHours:
    """What was found of the hours of a part of a workspace, and the newest of what was booked for it just now."""

    workspace: str
    part: str
    finding: Finding
    booked: Reservation | None = None
    why: str = ""
    wanted: str = ""
    """Of hours no budget has money for: their key."""

    def row(self) -> dict[str, str]:
        """For a table of what was reconciled."""
        amount = shown(self.booked.charge.amount) if self.booked else ""
        billed = shown(self.booked.bill) if self.booked and self.booked.bill is not None else ""
        job = f"workspace {self.workspace} ({self.part})"
        return {"job": job, "what": self.finding, "why": self.why, "reserved": amount, "billed": billed}


def reserve(desk: Desk, workspace: Workspace) -> None:
    """The first hours of its machine and of its storage, unless they are reserved already; before anything is made or started.

    Raises OverBudgetError when they do not fit together; then nothing more is reserved than was before.
    """
    books, started = Meters(desk.ledger), list[Meter]()
    running = books.running(workspace.resource)
    before = {meter.id for meter in running}
    short = _short(desk, workspace, {meter.part for meter in running})
    if short and before == {meter.id for meter in books.running(workspace.resource)}:  # nobody reserved them meanwhile
        raise short
    try:
        for part in PARTS:
            if metered := _metered(workspace, part):
                started.append(books.start(metered))
    except BaseException:
        for meter in started:
            if meter.id not in before:
                books.end(meter)
        raise


def shortfall(desk: Desk, workspace: Workspace, seen: Seen | None) -> OverBudgetError | None:
    """What `reserve` would refuse it with, by the books of now; None where its first hours fit. Books nothing."""
    counted = {meter.part for meter in Meters(desk.ledger).running(workspace.resource)}
    if seen is None or seen.status not in BILLABLE:
        counted -= {"machine"}
    return _short(desk, workspace, counted, NOTHING if "machine" in counted else unused(desk, workspace))


def _short(
    desk: Desk, workspace: Workspace, counted: Collection[str], left_over: Decimal = NOTHING
) -> OverBudgetError | None:
    """What the first hours of all its parts but those that are `counted` lack together, besides what is left over."""
    lacking = [metered.hourly for part in PARTS if part not in counted and (metered := _metered(workspace, part))]
    hours = Decimal(TRANCHE // timedelta(seconds=1)) / 3600
    hourly = sum(lacking, NOTHING)
    needed = sum((micro_up(one * hours) for one in lacking), NOTHING) - left_over
    if needed <= 0:
        return None
    charge = Charge(workspace.slug, needed, hourly, workspace.resource, workspace.payer)
    with desk.ledger.reading() as entries:
        short = entries.short(charge)
    return over_budget(charge, short, subject=f"Workspace {workspace.name}, for {hours:g} hours,") if short else None


def see(desk: Desk, workspace: Workspace, seen: Seen, *, asked_at: datetime | None = None) -> list[WorkspaceHours]:
    """Bring its hours to what AWS says of it now: from the first sighting on it is billed, what was taken away is billed until then.

    Where AWS could not be asked, or nothing is made yet, nothing changes. What runs and nobody reserved hours for is counted
    all the same, and what runs on another machine than it was reserved for at what that costs. `asked_at` is when AWS was asked, of
    whoever asked of many: where others have booked hours of it since, nothing changes either.
    """
    if seen.status == "unknown":
        return [WorkspaceHours(workspace.name, "all", "failed", why=seen.detail)]
    there = _there(seen)
    if asked_at and Meters(desk.ledger).changed_since(workspace.resource, asked_at):
        return []
    running = Meters(desk.ledger).running(workspace.resource)
    gone = [_gone(desk, workspace, meter, seen) for meter in running if meter.part not in there]
    by_part = {meter.part: meter for meter in running}
    return [*gone, *(hours for part in there for hours in _seen(desk, workspace, seen, part, by_part.get(part)))]


def end(desk: Desk, workspace: Workspace, *, storage: bool) -> list[WorkspaceHours]:
    """Its machine is gone, and with `storage` all of it: bill it until now, and release what was reserved beyond."""
    running = Meters(desk.ledger).running(workspace.resource)
    return [_ended(desk, meter) for meter in running if storage or meter.part != "storage"]


def unused(desk: Desk, workspace: Workspace) -> Decimal:
    """US dollars of this month that are reserved for its machine's hours to come, and are left again once it stops."""
    machines = [meter for meter in Meters(desk.ledger).running(workspace.resource) if meter.part == "machine"]
    with desk.ledger.reading() as entries:
        open_ = [(meter, entries.found(meter.key(number))) for meter in machines for number in meter.open]
        return sum(
            (one.charge.amount - meter.bill(one, entries.now) for meter, one in open_ if one.month == entries.month),
            NOTHING,
        )


def meter_workspaces(desk: Desk) -> Iterator[WorkspaceHours]:
    """The hours of every workspace of the desk's account and region, as AWS describes them now.

    Any number of these may run at once. What fails for one workspace is a finding, and the others are looked at all the same.
    """
    asked_at = desk.ledger.now()
    meters = [meter for meter in Meters(desk.ledger).running() if meter.resource.startswith(_here(desk))]
    rows = desk.catalogue.workspaces.all(account=desk.account, region=desk.settings.region)
    known = {workspace.resource for workspace in rows}
    # Its row is written before its meter is started, so what has a meter and no row has been deleted.
    yield from (_ended(desk, meter) for meter in meters if meter.resource not in known)
    seen = see_workspaces(desk, rows)
    for workspace in rows:
        try:
            yield from see(desk, workspace, seen[workspace.id], asked_at=asked_at)
        except (ClientError, BotoCoreError, TrainmasterError) as error:
            yield WorkspaceHours(workspace.name, "all", "failed", why=str(error))


def regions_with_workspaces(desk: Desk) -> list[str]:
    """Where workspaces are that are not deleted, or that hours, of theirs or of files they shared, are still reserved for."""
    resources = [meter.resource for meter in Meters(desk.ledger).running()]
    paid = {arn.split(":")[3] for arn in resources if any(kind in arn for kind in (":workspace/", ":file-system/"))}
    return sorted(paid | {workspace.region for workspace in desk.catalogue.workspaces.all()})


def _there(seen: Seen) -> tuple[Part, ...]:
    """What of it is paid for."""
    if seen.status in BILLABLE:
        return PARTS
    return ("storage",) if seen.has_files else ()


def _gone(desk: Desk, workspace: Workspace, meter: Meter, seen: Seen) -> WorkspaceHours:
    """Somebody who reserved hours just now is about to make what they are for: those are waited for, and released in the end."""
    if meter.seen_at is None and meter.since >= desk.ledger.now() - GIVE_UP:
        return WorkspaceHours(workspace.name, meter.part, "waiting")
    return _ended(desk, meter, seen.since if seen.status == "stopped" else None)


def _seen(desk: Desk, workspace: Workspace, seen: Seen, part: Part, running: Meter | None) -> Iterator[WorkspaceHours]:
    """What is there of it: a machine that was exchanged for another begins a stay of its own."""
    kind = (seen.instance_type or workspace.instance_type) if part == "machine" else ""
    hourly = _hourly_now(desk, workspace, part, kind)
    metered = _metered(workspace, part, hourly)
    if metered is None:
        return
    books = Meters(desk.ledger)
    if running and part == "machine" and running.readings and running.readings[-1][1].what != kind:
        yield _ended(desk, running)
        running = None
    meter = running or books.start(metered, whatever=True)
    looked = books.look(meter, hourly, reading=Reading(_ALL, _ALL, kind))
    if running is None:
        yield WorkspaceHours(workspace.name, part, "adopted", meter.first, "nobody had reserved hours for it")
    elif looked:
        yield told(workspace.name, looked)


def _hourly_now(desk: Desk, workspace: Workspace, part: Part, instance_type: str) -> Decimal | None:
    """What an hour of a part costs by now; None where nobody can say any more."""
    try:
        rates: Rates = rates_of(desk.prices, workspace, workspace.region, instance_type=instance_type)
    except UnknownPriceError:
        return None
    return rates.running if part == "machine" else rates.storage


def _metered(workspace: Workspace, part: Part, hourly: Decimal | None = None) -> Metered | None:
    """At its row's price where no other is known; None for what costs nothing."""
    agreed = workspace.hourly_cost if part == "machine" else workspace.storage_hourly_cost
    price = agreed if hourly is None else hourly
    return Metered(workspace.resource, price, part, workspace.payer) if price else None


def _ended(desk: Desk, meter: Meter, gone_at: datetime | None = None) -> WorkspaceHours:
    looked = Meters(desk.ledger).end(meter, gone_at=gone_at)
    return told(_name(meter), looked) if looked else WorkspaceHours(_name(meter), meter.part, "metered")


def told(name: str, looked: Looked, *, part: str = "") -> WorkspaceHours:
    """What a look found."""
    part = part or looked.meter.part
    if looked.exhausted:
        booked = (looked.reserved or looked.settled or (None,))[-1]
        return WorkspaceHours(name, part, "exhausted", booked, str(looked.exhausted), looked.wanted)
    if looked.settled:
        return WorkspaceHours(name, part, "ended" if looked.ended else "settled", looked.settled[-1])
    if looked.released:
        return WorkspaceHours(name, part, "released", looked.released[-1], "it never came to be")
    return WorkspaceHours(name, part, "reserved" if looked.reserved else "metered", (looked.reserved or (None,))[-1])


def _here(desk: Desk) -> str:
    return f"arn:aws:trainmaster:{desk.settings.region}:{desk.account}:workspace/"


def _name(meter: Meter) -> str:
    """Of its slug."""
    return meter.resource.rsplit("/", 1)[1].rpartition("-")[0]
