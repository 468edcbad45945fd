"""What is paid by the hour, on both databases: whatever looks at it, dies on the way and tries again, each hour is billed once."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest
from books import Clock, database_at, user
from catalogues import Place, at_once
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from postgres import Postgres
from sqlalchemy import Connection

from trainmaster.budget.budgets import ACCOUNT, Payer, month_of
from trainmaster.budget.ledger import Ledger
from trainmaster.budget.metering import Looked, Meter, Metered, Meters, Reading, tranche_title
from trainmaster.catalog.database import Database
from trainmaster.errors import OverBudgetError

ANNA = uuid.UUID(int=1)
ARN = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/houses"
HOURLY = Decimal("0.115")
TRANCHE_COST = Decimal("0.69")
D = Decimal


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield Place(None, tmp_path)
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    url = postgres.migrated()
    yield Place(url, tmp_path)
    postgres.drop(url)


@pytest.fixture
def clock() -> Clock:
    return Still()


class Still(Clock):
    """Stands still unless it is moved."""

    def __call__(self) -> datetime:
        return self.moment


@pytest.fixture
def ledger(place: Place, clock: Clock) -> Iterator[Ledger]:
    with Ledger(database_at(place), clock) as opened:
        yield opened


@pytest.fixture
def meters(ledger: Ledger) -> Meters:
    return Meters(ledger)


def endpoint(part: str = "houses-ab12", hourly: Decimal = HOURLY) -> Metered:
    return Metered(ARN, hourly, part, Payer(ANNA))


def hours(clock: Clock, count: float) -> None:
    clock.moment += timedelta(hours=count)


def looked(meters: Meters, meter: Meter) -> Looked:
    found = meters.look(meter)
    assert found
    return found


def looked_measured(meters: Meters, meter: Meter, measured: dict[int, Decimal]) -> list[Decimal | None]:
    found = meters.look(meter, measured=measured)
    assert found
    return [one.bill for one in found.settled]


def bills(ledger: Ledger) -> Decimal:
    return ledger.standing(ACCOUNT, "2026-11").settled


class TestStarting:
    def test_the_first_hours_are_reserved_before_anything_is_made(self, meters: Meters, ledger: Ledger) -> None:
        meter = meters.start(endpoint())
        assert ledger.standing(user(ANNA)).reserved == TRANCHE_COST
        assert (meter.resource, meter.part, meter.payer, meter.seen_at) == (ARN, "houses-ab12", Payer(ANNA), None)
        assert meters.start(endpoint()) == meter
        assert meters.running() == meters.running(ARN) == [meter]
        assert ledger.standing(ACCOUNT).reserved == TRANCHE_COST

    def test_what_does_not_fit_is_refused_in_peoples_words(self, meters: Meters, ledger: Ledger) -> None:
        ledger.set_limit(user(ANNA), D("0.68"), set_by="a test")
        with pytest.raises(
            OverBudgetError,
            match=r"endpoint houses, hours 0 to 6 would cost \$0\.69; \$0\.68 of November 2026's \$0\.68 of user",
        ):
            meters.start(endpoint())
        assert meters.running() == []
        assert meters.start(endpoint(), whatever=True).run == 1
        assert ledger.standing(user(ANNA)).balance == D("-0.01")

    def test_another_configuration_has_a_meter_of_its_own(self, meters: Meters, ledger: Ledger) -> None:
        old, new = meters.start(endpoint()), meters.start(endpoint("houses-cd34", D(1)))
        assert [one.part for one in meters.running(ARN)] == ["houses-ab12", "houses-cd34"]
        assert ledger.standing(ACCOUNT).reserved == D("6.69")
        for meter in (old, new):
            meters.look(meter)
        assert meters.end(old)
        assert [one.part for one in meters.running()] == ["houses-cd34"]

    def test_the_same_again_later_is_a_new_meter(self, meters: Meters, clock: Clock) -> None:
        first = meters.start(endpoint())
        meters.look(first)
        meters.end(first)
        hours(clock, 1)
        again = meters.start(endpoint())
        assert (again.run, again.since) == (2, clock.moment)
        assert meters.look(first) is None
        assert meters.end(first) is None
        assert meters.running() == [again]

    def test_what_is_free_cannot_be_metered(self, meters: Meters) -> None:
        with pytest.raises(ValueError, match="an hour"):
            meters.start(endpoint(hourly=D(0)))

    def test_many_that_start_it_at_once_reserve_it_once(self, place: Place, ledger: Ledger) -> None:
        def start(_: int) -> Meter:
            with Ledger(database_at(place)) as opened:
                return Meters(opened).start(endpoint())

        assert len(set(at_once(8, start))) == 1
        assert len(ledger.open_reservations()) == 1


class TestLooking:
    def test_the_next_hours_are_reserved_before_the_last_run_out_and_those_over_are_billed(
        self, meters: Meters, ledger: Ledger, clock: Clock
    ) -> None:
        meter = meters.start(endpoint())
        assert looked(meters, meter).reserved == ()
        hours(clock, 4.9)
        assert looked(meters, meter).reserved == ()
        hours(clock, 0.2)
        assert [one.key for one in looked(meters, meter).reserved] == [f"{ARN}@houses-ab12#1.1"]
        assert looked(meters, meter).reserved == ()
        assert bills(ledger) == 0
        hours(clock, 1)
        [settled] = looked(meters, meter).settled
        assert (settled.key, settled.bill) == (f"{ARN}@houses-ab12#1.0", TRANCHE_COST)
        assert looked(meters, meter).settled == ()
        assert (bills(ledger), ledger.standing(ACCOUNT).reserved) == (TRANCHE_COST, TRANCHE_COST)

    def test_hours_nobody_looked_in_are_billed_all_the_same(self, meters: Meters, ledger: Ledger, clock: Clock) -> None:
        meter = meters.start(endpoint())
        meters.look(meter)
        hours(clock, 50)
        found = looked(meters, meter)
        assert [one.bill for one in found.settled] == [TRANCHE_COST] * 8
        assert bills(ledger) == 8 * TRANCHE_COST
        assert ledger.standing(ACCOUNT).reserved == TRANCHE_COST  # the ninth, which has begun

    def test_hours_before_it_was_first_seen_cost_nothing(self, meters: Meters, clock: Clock) -> None:
        meter = meters.start(endpoint())
        hours(clock, 0.25)
        meters.look(meter)
        hours(clock, 6)
        assert [one.bill for one in looked(meters, meter).settled] == [HOURLY * D("5.75")]

    def test_hours_that_do_not_fit_are_told_of_at_each_look_and_counted_when_they_have_begun(
        self, meters: Meters, ledger: Ledger, clock: Clock
    ) -> None:
        ledger.set_limit(user(ANNA), D("1.00"), set_by="a test")
        meter = meters.start(endpoint())
        meters.look(meter)
        hours(clock, 5.5)
        for _ in range(2):
            found = looked(meters, meter)
            assert (found.reserved, found.wanted) == ((), f"{ARN}@houses-ab12#1.1")
            assert "endpoint houses, hours 6 to 12 would cost $0.69; $0.31 of" in str(found.exhausted)
        hours(clock, 1)
        found = looked(meters, meter)
        assert [one.key for one in found.reserved] == [f"{ARN}@houses-ab12#1.1"]
        assert "hours 12 to 18" in str(found.exhausted)
        assert ledger.standing(user(ANNA)).balance == 1 - 2 * TRANCHE_COST
        ledger.set_limit(user(ANNA), D("5.00"), set_by="a test")
        assert looked(meters, meter).exhausted is None

    def test_a_budget_that_is_overdrawn_is_told_of_whatever_hour_it_is(self, meters: Meters, ledger: Ledger) -> None:
        meter = meters.start(endpoint())
        assert looked(meters, meter).exhausted is None
        ledger.set_limit(user(ANNA), D("0.10"), set_by="a test")
        assert looked(meters, meter).exhausted

    def test_many_that_look_at_once_bill_and_reserve_once(self, place: Place, ledger: Ledger, clock: Clock) -> None:
        meter = Meters(ledger).start(endpoint())
        Meters(ledger).look(meter)
        hours(clock, 29.5)

        def look(number: int) -> int:
            with Ledger(database_at(place), Still(clock.moment)) as opened:
                seen = Meters(opened).look(meter) if number % 4 else Meters(opened).end(meter)
                return len(seen.settled) if seen else 0

        assert sum(at_once(8, look)) == 5
        assert Meters(ledger).running() == []
        assert bills(ledger) == (HOURLY * D("29.5")).quantize(D("0.000001"))
        assert ledger.open_reservations() == []


class TestReadings:
    """How much of it ran when: half of what it can cost at most, and so on."""

    def test_only_what_ran_is_billed(self, meters: Meters, ledger: Ledger, clock: Clock) -> None:
        meter = meters.start(endpoint())
        meters.look(meter, reading=Reading(D(2), D(2), "v=2"))
        hours(clock, 2)
        meters.look(meter, reading=Reading(D(1), D(2), "v=1"))
        hours(clock, 3)
        meters.look(meter, reading=Reading(D(3), D(2), "v=3"))
        hours(clock, 5)
        meters.end(meter)
        assert bills(ledger) == HOURLY * (2 + D("1.5") + D("7.5"))

    def test_what_ran_before_it_was_first_read_ran_as_it_was_read(
        self, meters: Meters, ledger: Ledger, clock: Clock
    ) -> None:
        meter = meters.start(endpoint())
        meters.look(meter)
        hours(clock, 1)
        meters.look(meter, reading=Reading(D(1), D(2), "v=1"))
        hours(clock, 1)
        meters.end(meter)
        assert bills(ledger) == HOURLY

    def test_the_same_reading_is_kept_once(self, meters: Meters, clock: Clock) -> None:
        meter = meters.start(endpoint())
        for count in (1, 1, 2, 2, 1):
            meters.look(meter, reading=Reading(D(count), D(2), f"v={count}"))
            hours(clock, 0.1)
        [running] = meters.running()
        assert [reading.what for _, reading in running.readings] == ["v=1", "v=2", "v=1"]

    def test_of_what_is_paid_by_use_only_hours_that_were_measured_are_billed(
        self, meters: Meters, ledger: Ledger, clock: Clock
    ) -> None:
        meter = meters.start(endpoint())
        nothing = Reading(D(0), HOURLY, "v=2048 MB")
        meters.look(meter, reading=nothing)
        hours(clock, 14)
        [running] = meters.running()
        assert (running.over(clock.moment), running.begun(clock.moment)) == ([0, 1], [0, 1, 2])
        assert looked_measured(meters, meter, {0: D("0.01")}) == [D("0.01")]
        assert looked_measured(meters, meter, {}) == []
        [running] = meters.running()
        assert running.over(clock.moment) == [1]
        ended = meters.end(meter, measured={1: D("0.02"), 2: D("0.03")})
        assert ended
        assert [one.bill for one in ended.settled] == [D("0.02"), D("0.03")]
        assert bills(ledger) == D("0.06")


class TestEnding:
    def test_the_last_hours_are_billed_for_the_time_it_was_there(
        self, meters: Meters, ledger: Ledger, clock: Clock
    ) -> None:
        meter = meters.start(endpoint())
        meters.look(meter)
        hours(clock, 5.5)
        meters.look(meter)
        found = meters.end(meter)
        assert found
        assert [one.bill for one in found.settled] == [HOURLY * D("5.5")]
        assert [one.key for one in found.released] == [f"{ARN}@houses-ab12#1.1"]
        assert (bills(ledger), ledger.standing(ACCOUNT).reserved, meters.running()) == (HOURLY * D("5.5"), 0, [])

    def test_what_never_came_to_be_costs_nothing(self, meters: Meters, ledger: Ledger, clock: Clock) -> None:
        meter = meters.start(endpoint())
        hours(clock, 20)
        found = meters.end(meter)
        assert found
        assert (found.settled, len(found.released)) == ((), 1)
        assert (bills(ledger), ledger.standing(ACCOUNT).reserved) == (0, 0)

    def test_what_was_found_gone_long_after_the_last_look_is_billed_until_then(
        self, meters: Meters, ledger: Ledger, clock: Clock
    ) -> None:
        meter = meters.start(endpoint())
        meters.look(meter)
        hours(clock, 20)
        meters.end(meter)
        assert bills(ledger) == HOURLY * 20

    def test_hours_count_in_the_month_they_begin_in_whenever_they_are_reserved(
        self, meters: Meters, ledger: Ledger, clock: Clock
    ) -> None:
        ledger.set_limit(user(ANNA), D("0.68"), set_by="a test", month="2026-12")
        clock.moment = datetime(2026, 11, 30, 18, 30, tzinfo=UTC)
        meter = meters.start(endpoint())
        meters.look(meter)
        hours(clock, 5.25)  # 23:45, and the next begin at 00:30
        exhausted = looked(meters, meter).exhausted
        assert "$0.68 of December 2026's $0.68 of user" in str(exhausted)
        ledger.set_limit(user(ANNA), D("0.69"), set_by="a test", month="2026-12")
        [reserved] = looked(meters, meter).reserved
        assert (reserved.month, ledger.standing(user(ANNA), "2026-12").left) == ("2026-12", 0)
        assert ledger.standing(ACCOUNT, "2026-11").committed == TRANCHE_COST
        hours(clock, 24)  # hours nobody looked in
        meters.look(meter)
        committed = [ledger.standing(ACCOUNT, month).committed for month in ("2026-11", "2026-12")]
        assert committed == [TRANCHE_COST, 4 * TRANCHE_COST]

    def test_hours_nobody_looked_in_count_in_the_month_that_is_over_by_then(
        self, meters: Meters, ledger: Ledger, clock: Clock
    ) -> None:
        clock.moment = datetime(2026, 11, 30, 10, tzinfo=UTC)
        meter = meters.start(endpoint())
        meters.look(meter)
        hours(clock, 15)  # 01:00 in December, in the hours from 22:00 on
        meters.end(meter)
        settled = [ledger.standing(ACCOUNT, month).settled for month in ("2026-11", "2026-12")]
        assert settled == [15 * HOURLY, 0]


class TestPrices:
    def test_hours_are_booked_at_the_price_there_is_then_and_billed_at_it(
        self, meters: Meters, ledger: Ledger, clock: Clock
    ) -> None:
        meter = meters.start(endpoint())
        meters.look(meter, D(9))  # nothing is booked: what is reserved keeps its price
        hours(clock, 5.5)
        found = meters.look(meter, D("0.2"))
        assert found
        [reserved] = found.reserved
        assert (reserved.charge.hourly, reserved.charge.amount) == (D("0.2"), D("1.2"))
        hours(clock, 6)
        [unpriced] = looked(meters, meter).reserved  # by one that does not know: the last price anybody knew
        assert unpriced.charge.hourly == D("0.2")
        hours(clock, 2.5)
        meters.end(meter)
        assert bills(ledger) == 6 * HOURLY + 8 * D("0.2")

    def test_a_price_that_rose_is_asked_of_the_budget(self, meters: Meters, ledger: Ledger, clock: Clock) -> None:
        ledger.set_limit(user(ANNA), D("1.50"), set_by="a test")
        meter = meters.start(endpoint())
        meters.look(meter)
        hours(clock, 5.5)
        found = meters.look(meter, D("0.2"))
        assert found
        assert "hours 6 to 12 would cost $1.20; $0.81 of" in str(found.exhausted)

    def test_it_is_said_when_hours_are_about_to_be_booked(self, meters: Meters, clock: Clock) -> None:
        meter = meters.start(endpoint())
        meters.look(meter)
        hours(clock, 4.9)
        [running] = meters.running()
        assert not running.runs_out(clock.moment)
        hours(clock, 0.2)
        assert running.runs_out(clock.moment)
        [reserved] = looked(meters, meter).reserved
        [running] = meters.running()
        assert (running.last, running.runs_out(clock.moment)) == (reserved, False)


def test_keys_are_named_for_people() -> None:
    assert tranche_title(f"{ARN}@houses-ab12#3.2") == "endpoint houses, hours 12 to 18"
    assert tranche_title("arn:aws:ec2:us-east-1:1:instance/i-1#1.0") == "instance i-1, hours 0 to 6"
    for other in ("house-prices-0a1b2c3d4e-1", "", "a#b"):
        assert tranche_title(other) == other


class CrashedError(Exception):
    """The process died before its transaction was committed."""


class Crashing:
    """A database whose every writing transaction dies at its very end."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @contextmanager
    def writing_in_turn(self, name: str) -> Iterator[Connection]:
        with self._database.writing_in_turn(name) as connection:
            yield connection
            raise CrashedError


class Hours(RuleBasedStateMachine):
    """One endpoint, made, looked at, found gone, made again, at any hours and by processes that die on the way."""

    database: ClassVar[Database]

    def __init__(self) -> None:
        super().__init__()
        self.clock = Still()
        self.ledger = Ledger(self.database, self.clock)
        self.hourly = HOURLY
        self.resource = f"{ARN}-{uuid.uuid4().hex}"
        self.meter: Meter | None = None
        self.seen_at: datetime | None = None
        self.over: list[tuple[Meter, datetime | None, datetime]] = []
        """Meters that have ended, each with when it was first seen and when it was gone."""

    @initialize(cents=st.none() | st.integers(0, 800), hourly=st.decimals("0.05", "40", places=7))
    def begin(self, cents: int | None, hourly: Decimal) -> None:
        self.hourly = hourly
        self.payer = Payer(uuid.uuid4())
        self.ledger.set_limit(user(self.payer.user_id), None if cents is None else D(cents) / 10, set_by="a test")

    def _perhaps_crashing(self, crash: bool, call: Callable[[Meters], Any]) -> Any:
        if crash:
            with pytest.raises((CrashedError, OverBudgetError)):
                call(Meters(Ledger(Crashing(self.database), self.clock)))  # type: ignore[arg-type]
        return call(Meters(self.ledger))

    @rule(minutes=st.integers(1, 1000))
    def wait(self, minutes: int) -> None:
        self.clock.moment += timedelta(minutes=minutes)

    @rule(crash=st.booleans(), whatever=st.booleans())
    def start(self, crash: bool, whatever: bool) -> None:
        metered = Metered(self.resource, self.hourly, "config", self.payer)
        try:
            meter = self._perhaps_crashing(crash, lambda meters: meters.start(metered, whatever=whatever))
        except OverBudgetError:
            assert not whatever
            assert self.meter is None
            return
        if self.meter is None:
            assert meter.run == len(self.over) + 1
            self.meter, self.seen_at = meter, None
        assert meter.id == self.meter.id

    @rule(crash=st.booleans(), again=st.booleans(), price=st.none() | st.decimals("0.05", "40", places=7))
    def look(self, crash: bool, again: bool, price: Decimal | None) -> None:
        for gone, _, _ in self.over[-2:]:
            assert Meters(self.ledger).look(gone) is None
        if self.meter is None:
            return
        meter, known = self.meter, self._tranches(self.meter)[-1].charge.hourly
        found = self._perhaps_crashing(crash, lambda meters: meters.look(meter, price))
        assert found
        assert {one.charge.hourly for one in found.reserved} <= {price or known}
        self.seen_at = self.seen_at or self.clock.moment
        standing = self.ledger.standing(user(self.payer.user_id))
        if found.reserved and standing.balance is not None and standing.balance < 0:
            assert found.exhausted
        if again:
            once_more = Meters(self.ledger).look(meter, price)
            assert once_more
            assert (once_more.settled, once_more.reserved) == ((), ())

    @rule(crash=st.booleans())
    def end(self, crash: bool) -> None:
        if self.meter is None:
            return
        meter = self.meter
        assert self._perhaps_crashing(crash, lambda meters: meters.end(meter))
        self.over.append((meter, self.seen_at, self.clock.moment))
        self.meter = self.seen_at = None

    def _tranches(self, meter: Meter) -> list[Any]:
        found, number = [], 0
        while reservation := self.ledger.find(f"{meter.id}.{number}"):
            found.append(reservation)
            number += 1
        return found

    @staticmethod
    def _cost(meter: Meter, tranches: list[Any], seen_at: datetime | None, until: datetime) -> Decimal:
        """Of the time it was there, each hour at the price of its tranche."""
        cost = D(0)
        for number, one in enumerate(tranches):
            begins, ends = meter.begins(number), meter.begins(number + 1)
            there = min(until, ends) - max(seen_at or until, begins)
            cost += one.charge.hourly * max(there // timedelta(seconds=1), 0) / 3600
        return cost

    @invariant()
    def what_has_ended_is_billed_for_its_hours_and_nothing_of_it_is_open(self) -> None:
        for meter, seen_at, gone_at in self.over[-2:]:
            tranches = self._tranches(meter)
            cost = self._cost(meter, tranches, seen_at, gone_at)
            assert not any(one.is_open for one in tranches)
            billed = sum((one.bill or 0 for one in tranches), D(0))
            assert abs(billed - cost) <= len(tranches) * D("0.000001")

    @invariant()
    def what_runs_is_billed_for_the_tranches_that_are_over(self) -> None:
        if self.meter is None:
            assert Meters(self.ledger).running(self.resource) == []
            return
        assert [one.id for one in Meters(self.ledger).running(self.resource)] == [self.meter.id]
        tranches = self._tranches(self.meter)
        settled = [one for one in tranches if one.bill is not None]
        assert [one.is_open for one in tranches] == [False] * len(settled) + [True] * (len(tranches) - len(settled))
        if settled:
            assert self.seen_at
            cost = self._cost(self.meter, settled, self.seen_at, self.meter.begins(len(settled)))
            assert abs(sum((one.bill or 0 for one in settled), D(0)) - cost) <= len(settled) * D("0.000001")

    @invariant()
    def the_books_add_up(self) -> None:
        if not hasattr(self, "payer"):
            return
        meters = [meter for meter, _, _ in self.over] + ([self.meter] if self.meter else [])
        tranches = [one for meter in meters for one in self._tranches(meter)]
        numbered = [(meter, number, one) for meter in meters for number, one in enumerate(self._tranches(meter))]
        assert all(one.month == month_of(meter.begins(number)) for meter, number, one in numbered)
        for month in {one.month for one in tranches}:
            mine = [one for one in tranches if one.month == month]
            standing = self.ledger.standing(user(self.payer.user_id), month)
            assert standing.reserved == sum((one.charge.amount for one in mine if one.is_open), D(0))
            assert standing.settled == sum((one.bill or 0 for one in mine), D(0))
            if standing.limit is not None:
                assert standing.balance == standing.limit - standing.committed


@pytest.mark.parametrize(("kind", "examples"), [("sqlite", 12), ("postgresql", 4)])
def test_any_interleaving_of_looks_crashes_and_retries_bills_each_hour_once(
    kind: str, examples: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    postgres: Postgres | None = request.getfixturevalue("postgres") if kind == "postgresql" else None
    url = postgres.migrated() if postgres else None
    Hours.database = database_at(Place(url, tmp_path))
    run_state_machine_as_test(
        Hours,
        settings=settings(
            max_examples=examples, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    Hours.database.close()
    if postgres and url:
        postgres.drop(url)
