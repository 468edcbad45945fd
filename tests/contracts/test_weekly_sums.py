"""The report of a week is a fold over the books: every split of it adds up to what the ledger says was billed, exactly."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from books import Still, charge
from catalogues import Place
from hypothesis import given, settings
from hypothesis import strategies as st

from trainmaster.budget.budgets import ACCOUNT, Budget, Payer
from trainmaster.budget.idle_stops import note_stop
from trainmaster.budget.ledger import Ledger
from trainmaster.budget.metering import Meter, Metered, Meters, Reading
from trainmaster.catalog.catalogue import Catalogue
from trainmaster.errors import RefusedError
from trainmaster.reporting.weekly import WeeklyReport, weekly_report
from trainmaster.reporting.weekly_page import weekly_markdown
from trainmaster.reporting.weekly_pictures import weekly_pictures
from trainmaster.reporting.weeks import Week, WeeklyReportRequest
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
"""Of 2026-W47."""
RESOURCES = {
    "training": "arn:aws:sagemaker:us-east-1:123456789012:training-job/cats",
    "endpoints": "arn:aws:sagemaker:us-east-1:123456789012:endpoint/prices",
    "workspaces": "arn:aws:trainmaster:us-east-1:123456789012:workspace/notes-1b3c5d7e",
    "storage": "arn:aws:elasticfilesystem:us-east-1:123456789012:file-system/fs-1",
    "images": "arn:aws:codebuild:us-east-1:123456789012:project/trainmaster-image",
    "other": "arn:aws:s3:::elsewhere",
}
ANNA, BEN = uuid.UUID(int=1), uuid.UUID(int=2)
D, D0 = Decimal, Decimal(0)


@pytest.fixture
def clock() -> Still:
    return Still(MONDAY)


@pytest.fixture
def desk(catalogue_place: Place, clock: Still) -> Iterator[Desk]:
    catalogue = catalogue_place.open()
    yield desk_of(catalogue, clock, catalogue_place.state_dir)
    catalogue.close()


def desk_of(catalogue: Catalogue, clock: Still, folder: Path) -> Desk:
    def no_client(service: str) -> Any:
        raise AssertionError(f"{service} was asked for what the books know")

    return Desk(Settings(state_dir=folder), no_client, catalogue, Ledger(catalogue.database, clock))


def billed(desk: Desk, kind: str, dollars: str | Decimal, payer: Payer | None = None) -> None:
    key = f"{kind}-{uuid.uuid4()}"
    desk.ledger.adopt(charge(key, Decimal(dollars), payer, resource=RESOURCES[kind]))
    desk.ledger.settle(key, Decimal(dollars))


def monday_report(desk: Desk, **asked: Any) -> WeeklyReport:
    return weekly_report(desk, WeeklyReportRequest(**asked))


AMOUNTS = st.decimals("0.000001", "500", places=6)
PAYERS = st.sampled_from([Payer(), Payer(ANNA), Payer(BEN, "vision"), Payer(None, "speech")])
YEARS = count(2100)
"""Of each example one that nothing else is booked in: the books only grow."""
HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(sorted(RESOURCES)), AMOUNTS, PAYERS, st.integers(0, 30), st.sampled_from(["bill", "release", ""])
    ),
    max_size=12,
)  # fmt: skip


@given(happenings=HAPPENINGS)
@settings(max_examples=25)
def test_every_split_adds_up_to_what_the_ledger_has_exactly(catalogue_place: Place, happenings: list[Any]) -> None:
    """Whatever is reserved, billed and released, and whenever."""
    clock = Still(datetime(next(YEARS), 3, 1, tzinfo=UTC))
    catalogue = catalogue_place.open()
    desk = desk_of(catalogue, clock, catalogue_place.state_dir)
    for number, (kind, dollars, payer, hours, ending) in enumerate(happenings):
        key = f"{clock.moment.year}-{number}"
        desk.ledger.adopt(charge(key, dollars * 2, payer, resource=RESOURCES[kind]))
        clock.pass_(hours=hours)
        if ending == "bill":
            desk.ledger.settle(key, dollars)
        elif ending == "release":
            desk.ledger.release(key)
    clock.moment = datetime(clock.moment.year, 4, 10, tzinfo=UTC)
    in_books = sum((desk.ledger.standing(ACCOUNT, f"{clock.moment.year}-0{month}").settled for month in (3, 4)), D0)
    reports = []
    week = Week.last(clock.moment)
    while week.until > datetime(clock.moment.year, 3, 1, tzinfo=UTC):
        reports.append(weekly_report(desk, WeeklyReportRequest(week=week.name, top=50)))
        week = week.before
    assert sum((report.spent for report in reports), D0) == in_books
    for report in reports:
        for parts in (
            report.by_kind.values(),
            [one.spent for one in report.by_user],
            [amount for day in report.by_day.values() for amount in day.values()],
            [one.dollars for one in report.top],
        ):
            assert sum(parts, D0) == report.spent
    for later, earlier in pairwise(reports):
        assert later.before == earlier.spent == sum(later.before_by_day.values(), D0)
        assert later.before_by_kind == earlier.by_kind
    catalogue.close()


def test_the_month_so_far_is_what_counts_in_it_whenever_it_was_billed(desk: Desk, clock: Still) -> None:
    clock.moment = datetime(2027, 1, 31, 23, tzinfo=UTC)
    desk.ledger.adopt(charge("of-january", "10", resource=RESOURCES["training"]))
    clock.moment = datetime(2027, 2, 3, 12, tzinfo=UTC)
    desk.ledger.settle("of-january", D("10"))
    billed(desk, "training", "4.25")
    report = monday_report(desk)
    assert report.forecast is not None
    assert (report.forecast.month, report.forecast.billed) == ("2027-02", D("4.25"))
    assert [amount for amount in report.month_by_day.values() if amount] == [D("4.25")]
    assert len(report.month_by_day) == 3


def test_the_forecast_is_what_is_billed_what_runs_and_the_pace_of_jobs(desk: Desk, clock: Still) -> None:
    clock.moment = datetime(2028, 6, 21, tzinfo=UTC)  # ten days before its end
    billed(desk, "training", "14")
    billed(desk, "images", "7")
    billed(desk, "workspaces", "100")  # by the hour: it is no pace
    books = Meters(desk.ledger)
    there = books.start(Metered(RESOURCES["endpoints"], D("0.5"), "config"))
    books.look(there, reading=Reading(D("0.25"), D("0.5"), "all=1"))
    books.start(Metered(RESOURCES["workspaces"], D(9), "machine"))  # never seen there
    clock.pass_(days=5)
    expected = monday_report(desk).forecast
    assert expected is not None
    assert (expected.billed, expected.a_day, expected.by_the_job) == (121, 3, 15)
    assert expected.by_the_hour == D("0.25") * 24 * 10
    assert expected.total == 121 + 15 + 60
    for meter in books.running():
        books.end(meter)


def test_budgets_with_a_limit_stand_in_it_as_the_ledger_has_them(desk: Desk, clock: Still) -> None:
    clock.moment = datetime(2029, 5, 7, tzinfo=UTC)
    user = uuid.uuid4()
    desk.ledger.set_limit(Budget("user", str(user)), D("8.00"), set_by="a test")
    billed(desk, "training", "3", Payer(user))
    desk.ledger.reserve(charge("open", "1", Payer(user), resource=RESOURCES["training"]))
    [state] = [one for one in monday_report(desk).budgets if one.budget == f"user {user}"]
    assert (state.limit, state.settled, state.reserved, state.percent) == (8, 3, 1, 50)


def test_a_past_week_says_nothing_of_today_and_why(desk: Desk, clock: Still) -> None:
    clock.moment = datetime(2030, 5, 15, tzinfo=UTC)
    desk.ledger.set_limit(Budget("user", str(uuid.uuid4())), D("8.00"), set_by="a test")
    last = Week.last(clock.moment)
    assert monday_report(desk, week=last.name).forecast
    report = monday_report(desk, week=last.before.name)
    assert (report.forecast, report.budgets, report.month_by_day) == (None, [], {})
    assert "expected" not in report.sentence()
    assert "month" not in weekly_pictures(report)
    assert "this week is past" in weekly_markdown(report, {})


@pytest.mark.parametrize(
    ("asked", "said"),
    [("2026-W54", "There is no week 2026-W54"), ("2026-W48", "begins on 2026-11-23; ask for 2026-W47 or earlier")],
    ids=["no such week", "to come"],
)
def test_a_week_there_is_not_is_refused(desk: Desk, asked: str, said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        monday_report(desk, week=asked)


class TestSavedByStopping:
    """What nobody wanted, from when it was stopped."""

    def stopped(self, desk: Desk, resource: str, part: str = "machine", hourly: str = "2") -> Meter:
        books = Meters(desk.ledger)
        meter = books.start(Metered(resource, D(hourly), part, Payer(ANNA)), whatever=True)
        books.look(meter)
        [running] = books.running(resource)
        books.end(running)
        note_stop(desk.ledger, running, running.hourly_now, "idle")
        return running

    def test_until_it_is_started_again_and_only_in_the_week(self, desk: Desk, clock: Still) -> None:
        week = Week(datetime(2031, 3, 10, tzinfo=UTC))
        resource = f"{RESOURCES['workspaces']}-{uuid.uuid4()}"
        clock.moment = week.until - timedelta(hours=10)
        self.stopped(desk, resource)
        clock.pass_(hours=16)
        Meters(desk.ledger).start(Metered(resource, D("0.01"), "storage"), whatever=True)  # its files are no machine
        clock.pass_(hours=4)
        again = Meters(desk.ledger).start(Metered(resource, D(2), "machine"), whatever=True)
        clock.pass_(days=20)
        first, second = (
            [one for one in monday_report(desk, week=name).savings if resource.endswith(one.what.split()[1])]
            for name in (week.name, Week(week.until).name)
        )
        assert [(one.saved, one.hourly, one.reason) for one in first] == [(D(20), D(2), "idle")]
        assert [one.saved for one in second] == [D(20)]
        assert [one for one in Meters(desk.ledger).running(resource) if one.id == again.id]
        for meter in Meters(desk.ledger).running(resource):
            Meters(desk.ledger).end(meter)

    def test_for_seven_days_at_most_and_noted_twice_no_more(self, desk: Desk, clock: Still) -> None:
        week = Week(datetime(2032, 3, 8, tzinfo=UTC))
        resource = f"{RESOURCES['endpoints']}-{uuid.uuid4()}"
        clock.moment = week.since + timedelta(days=1)
        meter = self.stopped(desk, resource, "config")
        clock.pass_(seconds=30)
        note_stop(desk.ledger, meter, D(2), "idle")  # by another that looked at the same time
        clock.pass_(days=60)
        reports = [monday_report(desk, week=one.name) for one in (week, Week(week.until), Week(Week(week.until).until))]
        saved = [
            sum((one.saved for one in report.savings if one.what.endswith(resource[-36:])), D0) for report in reports
        ]
        assert sum(saved, D0) == 2 * 24 * 7 + D("0.016667")  # the thirty seconds until the second note are counted once
        assert saved[2] == 0
        assert reports[0].saved == sum((one.saved for one in reports[0].savings), D0)

    def test_and_nothing_yet_in_what_is_left_of_a_week_that_goes_on(self, desk: Desk, clock: Still) -> None:
        week = Week(datetime(2034, 3, 6, tzinfo=UTC))
        resource = f"{RESOURCES['endpoints']}-{uuid.uuid4()}"
        clock.moment = week.since
        self.stopped(desk, resource, "config")
        clock.pass_(hours=20)
        report = monday_report(desk, week=week.name)
        assert (report.saved, [one.saved for one in report.savings]) == (D(40), [D(40)])

    def test_of_what_was_made_smaller_until_it_grew_again(self, desk: Desk, clock: Still) -> None:
        week = Week(datetime(2033, 3, 7, tzinfo=UTC))
        resource, books = f"{RESOURCES['endpoints']}-{uuid.uuid4()}", Meters(desk.ledger)
        clock.moment = week.since
        meter = books.start(Metered(resource, D(3), "config"), whatever=True)
        books.look(meter, reading=Reading(D(3), D(3), "all=3"))
        clock.pass_(hours=1)
        note_stop(desk.ledger, meter, D(2), "idle")
        for hours, running in ((1, 1), (10, 1), (2, 2)):
            clock.pass_(hours=hours)
            books.look(meter, reading=Reading(D(running), D(3), f"all={running}"))
        clock.pass_(days=9)
        [saving] = [one for one in monday_report(desk, week=week.name).savings if one.what.endswith(resource[-36:])]
        assert saving.saved == 2 * 13
        for one in books.running(resource):
            books.end(one)
