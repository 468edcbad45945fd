"""What costs money by the hour until it is taken away: reserved a tranche of hours at a time, billed by the time it was there.

A meter runs from the reservation of its first tranche until it is ended. Its tranches are entries of the books like any other, their
keys made of what is paid for, the meter's number and the tranche's own; so whoever looks again, or twice at once, finds them there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from sqlalchemy import select

from trainmaster.budget.budgets import Payer, Standing, month_of
from trainmaster.budget.charge import Charge, Reservation
from trainmaster.budget.entries import NOTHING, Entries, over_budget
from trainmaster.budget.ledger import Ledger
from trainmaster.budget.money import rounded
from trainmaster.catalog.tables import budget_entries, budget_readings, budget_sightings
from trainmaster.errors import OverBudgetError

TRANCHE = timedelta(hours=6)
AHEAD = timedelta(hours=1)
"""How long before a tranche runs out the next one is reserved: enough for somebody to do something where it does not fit."""
_KEY = re.compile(r"(?P<name>.+)#(?P<run>\d+)\.(?P<number>\d+)")


@dataclass(frozen=True)
class Metered:
    """What is paid for by the hour: by its ARN, and the part of it that is meant; an endpoint has a meter for each configuration."""

    resource: str
    hourly: Decimal
    part: str = ""
    payer: Payer = field(default_factory=Payer)

    @property
    def name(self) -> str:
        return f"{self.resource}@{self.part}" if self.part else self.resource


@dataclass(frozen=True)
class Reading:
    """How much of the most that something can cost runs: US dollars an hour of both, and in words of what.

    `running` is without what is paid by use.
    """

    running: Decimal
    most: Decimal
    what: str = ""


Measured = Mapping[int, Decimal]
"""By number of a tranche, what was used in it besides the time, in US dollars."""


@dataclass(frozen=True)
class Meter:
    """One stay of something. `seen_at` is when it was first seen there: None while it may never have come to be.

    `first` and `last` are its tranches so far: all are as long as the first one, and each has the price of when it was booked.
    `open` are the numbers of those that are not billed yet; `readings` are how much of it ran from when on, oldest first.
    """

    name: str
    run: int
    first: Reservation
    last: Reservation
    seen_at: datetime | None
    open: tuple[int, ...] = (0,)
    readings: tuple[tuple[datetime, Reading], ...] = ()

    @property
    def id(self) -> str:
        return f"{self.name}#{self.run}"

    @property
    def resource(self) -> str:
        return self.first.charge.resource

    @property
    def part(self) -> str:
        return self.name.removeprefix(self.resource).removeprefix("@")

    @property
    def payer(self) -> Payer:
        return self.first.charge.payer

    @property
    def since(self) -> datetime:
        return self.first.reserved_at

    @property
    def hourly_now(self) -> Decimal:
        """What an hour of it costs as much of it as runs by the last reading, in US dollars; without what is paid by use."""
        hourly = self.last.charge.hourly
        if not self.readings:
            return hourly
        _, reading = self.readings[-1]
        return hourly if reading.running == reading.most else hourly * reading.running / reading.most

    def key(self, number: int) -> str:
        """Of a tranche."""
        return f"{self.id}.{number}"

    def charge(self, number: int, hourly: Decimal | None = None) -> Charge:
        """Of a tranche that is to be booked, at the last price known unless another is."""
        price = self.last.charge.hourly if hourly is None else hourly
        amount = price * self.first.seconds / 3600
        return Charge(self.key(number), amount, price, self.resource, self.payer)

    def begins(self, number: int) -> datetime:
        return self.since + number * self._length

    def month(self, number: int) -> str:
        """Which a tranche counts in, whenever it is booked: that in which it begins."""
        return month_of(self.begins(number))

    def runs_out(self, now: datetime) -> bool:
        """Whether a look books more hours: then it is worth knowing what they cost by now."""
        return now >= self.begins(_number(self.last.key) + 1) - AHEAD

    def number_at(self, moment: datetime) -> int:
        """Of the tranche that a point in time lies in."""
        return max((moment - self.since) // self._length, 0)

    def over(self, now: datetime) -> list[int]:
        """The tranches that a look bills, those not booked yet included."""
        current = self.number_at(now)
        return [number for number in self._unbilled(current) if number < current]

    def begun(self, now: datetime) -> list[int]:
        """The tranches that its end bills."""
        return [number for number in self._unbilled(self.number_at(now) + 1) if self.begins(number) < now]

    def _unbilled(self, before: int) -> list[int]:
        return sorted({*self.open, *range(max(self.open) + 1, before)})

    def bill(self, tranche: Reservation, until: datetime, used: Decimal = NOTHING) -> Decimal:
        """What a tranche cost that was there from its first sighting until then, as much of it as ran, and what was used besides; to
        the millionth of a dollar."""
        if self.seen_at is None:
            return NOTHING
        number = _number(tranche.key)
        begins, ends = max(self.seen_at, self.begins(number)), min(until, self.begins(number + 1))
        cost = sum((tranche.charge.hourly * share for share in self._shares(begins, ends)), NOTHING)
        return rounded(cost / (3600 * 10**6) + used)

    def _shares(self, begins: datetime, ends: datetime) -> Iterator[Decimal]:
        """Of each stretch of time its microseconds, by how much ran of the most. What ran before the first reading ran as at it."""
        changes = [at for at, _ in self.readings[1:] if begins < at < ends]
        for start, end in pairwise([begins, *changes, max(begins, ends)]):
            now = next((reading for at, reading in reversed(self.readings) if at <= start), None)
            reading = now or (self.readings[0][1] if self.readings else Reading(Decimal(1), Decimal(1)))
            microseconds = Decimal((end - start) // timedelta(microseconds=1))
            yield microseconds if reading.running == reading.most else microseconds * reading.running / reading.most

    @property
    def _length(self) -> timedelta:
        return timedelta(seconds=self.first.seconds)


@dataclass(frozen=True)
class Looked:
    """What a look changed. `exhausted` says which budget has too little left for the hours to come; `wanted` is their key."""

    meter: Meter
    settled: tuple[Reservation, ...] = ()
    reserved: tuple[Reservation, ...] = ()
    released: tuple[Reservation, ...] = ()
    exhausted: OverBudgetError | None = None
    wanted: str = ""
    ended: bool = False


class Meters:
    """Every call is one transaction of the ledger, safe to repeat and to race; times are the ledger's."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def start(self, metered: Metered, *, whatever: bool = False) -> Meter:
        """Reserve the first hours before it is made; where its meter runs already, that one.

        Raises OverBudgetError when they do not fit. `whatever`, of what is there already, counts them all the same.
        """
        if metered.hourly <= 0:
            raise ValueError(f"{metered.name}: ${metered.hourly} an hour")
        with self._ledger.writing() as entries:
            running = _running(entries, metered.resource, metered.name)
            if running:
                return running[0]
            run = 1 + max(_runs(entries, metered), default=0)
            hours = Decimal(TRANCHE // timedelta(seconds=1)) / 3600
            charge = Charge(
                f"{metered.name}#{run}.0", metered.hourly * hours, metered.hourly, metered.resource, metered.payer
            )
            if (short := entries.short(charge)) and not whatever:
                raise _refusal(charge, short)
            first = entries.book(charge)
            return Meter(metered.name, run, first, first, None)

    def running(self, resource: str = "") -> list[Meter]:
        """Those that have not ended, of one resource or of all, oldest first."""
        with self._ledger.reading() as entries:
            return _running(entries, resource)

    def changed_since(self, resource: str, moment: datetime) -> bool:
        """Whether hours of a resource were booked or first seen later than that: what was known of it then may be so no more."""
        column = budget_entries.c
        later = select(column.key).where(column.resource == resource, column.at > moment).limit(1)
        with self._ledger.reading() as entries:
            if entries.connection.execute(later).first():
                return True
            return any(meter.seen_at and meter.seen_at > moment for meter in _running(entries, resource))

    def look(
        self,
        meter: Meter,
        hourly: Decimal | None = None,
        *,
        reading: Reading | None = None,
        measured: Measured | None = None,
    ) -> Looked | None:
        """It is there: bill the hours that are over and reserve those that are about to begin. None when it was ended meanwhile.

        Hours that have begun are counted whether they fit or not, for they are being spent. `hourly` is what an hour of it costs
        now, in US dollars; where nobody can say, new hours are reserved at the price of the last ones. `reading` is how much of it runs
        from now on; `measured`, of what is paid by use, what was used: only tranches that are in it are billed.
        """
        with self._ledger.writing() as entries:
            found = _still_running(entries, meter)
            if found is None:
                return None
            meter = _read_off(entries, _sighted(entries, found), reading)
            now, current = entries.now, found.number_at(entries.now)
            reserved = [_book(entries, meter, number, hourly) for number in range(max(meter.open) + 1, current + 1)]
            billed = [number for number in meter.over(now) if measured is None or number in measured]
            settled = [_settle(entries, meter, number, now, measured) for number in billed]
            number = max(*meter.open, current) + 1
            due, exhausted = now >= meter.begins(number) - AHEAD, _exhausted(entries, meter, number, hourly)
            if due and not entries.short(meter.charge(number, hourly), meter.month(number)):
                reserved.append(_book(entries, meter, number, hourly))
            wanted = meter.key(number) if exhausted else ""
            return Looked(meter, tuple(settled), tuple(reserved), (), exhausted, wanted)

    def exhausted(self, resource: str) -> OverBudgetError | None:
        """Which budget lacks money for the hours of a resource, those due next or those that have begun. Books nothing."""
        with self._ledger.reading() as entries:
            for meter in _running(entries, resource):
                number = max(*meter.open, meter.number_at(entries.now)) + 1
                if found := _exhausted(entries, meter, number):
                    return found
        return None

    def end(self, meter: Meter, *, measured: Measured | None = None, gone_at: datetime | None = None) -> Looked | None:
        """It is gone: bill the time it was there, and release what was reserved beyond. None when it was ended before.

        What was never seen there costs nothing. `measured` is what was used in the tranches that have begun, of what is paid by use;
        `gone_at` is since when it is gone, where somebody knows that better than that it is by now; not before it was first seen.
        """
        with self._ledger.writing() as entries:
            found = _still_running(entries, meter)
            if found is None:
                return None
            until = _gone(found, gone_at, entries.now)
            unreserved = range(max(found.open) + 1, found.number_at(until) + 1) if found.seen_at else ()
            for number in unreserved:
                _book(entries, found, number)
            settled, released = list[Reservation](), list[Reservation]()
            for number in sorted({*found.open, *unreserved}):
                if found.seen_at and found.begins(number) < until:
                    settled.append(_settle(entries, found, number, until, measured))
                else:
                    released.append(_release(entries, found, number))
            return Looked(found, tuple(settled), (), tuple(released), ended=True)


def tranche_title(key: str) -> str:
    """For people, what a tranche's key stands for: *endpoint house-prices, hours 6 to 12* or *storage of workspace notes-1b3c5d7e, hours
    0 to 6*; any other key as it is."""
    named = _KEY.fullmatch(key)
    if not named:
        return key
    resource, _, part = named["name"].partition("@")
    thing = resource.rsplit(":", 1)[-1].replace("/", " ", 1)
    thing = f"{part} of {thing}" if thing.startswith("workspace ") else thing
    hours, number = TRANCHE // timedelta(hours=1), int(named["number"])
    return f"{thing}, hours {number * hours} to {(number + 1) * hours}"


def _number(key: str) -> int:
    named = _KEY.fullmatch(key)
    assert named is not None  # noqa: S101 - a key of ours
    return int(named["number"])


def _runs(entries: Entries, metered: Metered) -> list[int]:
    """The numbers of all the meters there were."""
    column = budget_entries.c
    first = (column.resource == metered.resource, column.kind == "reserved", column.key.endswith(".0"))
    keys = entries.connection.execute(select(column.key).where(*first)).scalars()
    named = [found for key in keys if (found := _KEY.fullmatch(key))]
    return [int(one["run"]) for one in named if one["name"] == metered.name]


def _running(entries: Entries, resource: str, name: str = "") -> list[Meter]:
    wanted = budget_entries.c.resource == resource if resource else budget_entries.c.key.contains("#")
    named = [found for one in entries.newest("reserved", wanted) if (found := _KEY.fullmatch(one.key))]
    ids = dict.fromkeys((one["name"], int(one["run"])) for one in named if name in ("", one["name"]))
    return [_meter(entries, *id_) for id_ in ids]


def _meter(entries: Entries, name: str, run: int) -> Meter:
    sighting = select(budget_sightings.c.at).where(budget_sightings.c.meter == f"{name}#{run}")
    seen_at = entries.connection.execute(sighting).scalar_one_or_none()
    first = entries.found(f"{name}#{run}.0")
    open_ = tuple(_open_tranches(entries, first.charge.resource, f"{name}#{run}"))
    last = entries.found(f"{name}#{run}.{max(open_)}")
    return Meter(name, run, first, last, seen_at, open_, _readings(entries, f"{name}#{run}"))


def _readings(entries: Entries, meter_id: str) -> tuple[tuple[datetime, Reading], ...]:
    column = budget_readings.c
    query = select(column.at, column.running, column.most, column.what).where(column.meter == meter_id)
    rows = entries.connection.execute(query.order_by(column.at))
    return tuple((row.at, Reading(row.running, row.most, row.what)) for row in rows)


def _read_off(entries: Entries, meter: Meter, reading: Reading | None) -> Meter:
    """The same with a reading that is another than the last one."""
    if reading is None or (meter.readings and meter.readings[-1][1] == reading):
        return meter
    entries.connection.execute(
        entries.database.insert(budget_readings)
        .values(meter=meter.id, at=entries.now, running=reading.running, most=reading.most, what=reading.what)
        .on_conflict_do_nothing()
    )
    return _meter(entries, meter.name, meter.run)


def _gone(meter: Meter, gone_at: datetime | None, now: datetime) -> datetime:
    believable = gone_at and meter.seen_at and gone_at >= meter.seen_at
    return min(now, gone_at) if gone_at and believable else now


def _still_running(entries: Entries, meter: Meter) -> Meter | None:
    return next((one for one in _running(entries, meter.resource, meter.name) if one.run == meter.run), None)


def _sighted(entries: Entries, meter: Meter) -> Meter:
    """The same, noted as really there."""
    if meter.seen_at is None:
        sighting = entries.database.insert(budget_sightings).values(meter=meter.id, at=entries.now)
        entries.connection.execute(sighting)
    return _meter(entries, meter.name, meter.run)


def _open_tranches(entries: Entries, resource: str, meter_id: str) -> list[int]:
    open_ = entries.newest("reserved", budget_entries.c.resource == resource)
    return [_number(one.key) for one in open_ if one.key.startswith(f"{meter_id}.")]


def _book(entries: Entries, meter: Meter, number: int, hourly: Decimal | None = None) -> Reservation:
    return entries.book(meter.charge(number, hourly), meter.month(number))


def _settle(
    entries: Entries, meter: Meter, number: int, until: datetime, measured: Measured | None = None
) -> Reservation:
    tranche = entries.found(meter.key(number))
    return entries.bill(tranche, meter.bill(tranche, until, (measured or {}).get(number, NOTHING)))


def _release(entries: Entries, meter: Meter, number: int) -> Reservation:
    known = entries.found(meter.key(number))
    entries.undo(known)
    return known


def _exhausted(entries: Entries, meter: Meter, number: int, hourly: Decimal | None = None) -> OverBudgetError | None:
    """Of the next tranche, where it is due and does not fit, or where what has begun has overdrawn a budget."""
    wanted = meter.charge(number, hourly)
    if entries.now >= meter.begins(number) - AHEAD and (short := entries.short(wanted, meter.month(number))):
        return _refusal(wanted, short)
    overdrawn = _overdrawn(entries, meter)
    return _refusal(wanted, overdrawn) if overdrawn else None


def _overdrawn(entries: Entries, meter: Meter) -> list[Standing]:
    standings = entries.standings(meter.payer.budgets(), entries.month)
    return [one for one in standings if one.balance is not None and one.balance < 0]


def _refusal(charge: Charge, short: Sequence[Standing]) -> OverBudgetError:
    return over_budget(charge, short, subject=tranche_title(charge.key))
