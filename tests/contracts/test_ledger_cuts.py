"""What a lowered limit wants stopped, from real books: jobs of before, for what was cut; and nothing where nobody cut a budget."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from books import Clock, charge, database_at, user
from catalogues import Place
from postgres import Postgres

from trainmaster.budget.budgets import ACCOUNT, Payer
from trainmaster.budget.charge import Allowance
from trainmaster.budget.ledger import Ledger
from trainmaster.budget.metering import Metered, Meters
from trainmaster.training.overdrawing import overdrawn_by, overdrawn_now

ANNA = uuid.UUID(int=1)
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
    return Clock()


@pytest.fixture
def ledger(place: Place, clock: Clock) -> Iterator[Ledger]:
    with Ledger(database_at(place), clock) as opened:
        yield opened


def limit(ledger: Ledger, amount: str | None, month: str = "") -> None:
    ledger.set_limit(ACCOUNT, None if amount is None else D(amount), set_by="a test", month=month)


def reserve(ledger: Ledger, **amounts: str) -> None:
    for key, amount in amounts.items():
        ledger.reserve(charge(key, amount, Payer(ANNA)))


def stopped(ledger: Ledger) -> set[str]:
    """The same whether one looks at all jobs or at each."""
    reservations = ledger.open_reservations()
    chosen = set(overdrawn_now(ledger, reservations))
    assert chosen == {one.key for one in reservations if overdrawn_by(ledger, one)}
    return chosen


class TestNobodyCutABudget:
    @pytest.mark.parametrize("before", [None, "500"])
    def test_a_bill_above_its_reservation_stops_nobody_else(self, ledger: Ledger, before: str | None) -> None:
        limit(ledger, before)
        reserve(ledger, older="20")
        limit(ledger, "50")  # a cut, and everything fits all the same
        reserve(ledger, newest="30")
        ledger.settle("older", D("20.01"))
        assert ledger.standing(ACCOUNT).balance == D("-0.01")
        assert stopped(ledger) == set()

    def test_hours_of_an_endpoint_that_have_begun_stop_no_job(self, ledger: Ledger) -> None:
        limit(ledger, "50")
        reserve(ledger, newest="50")
        arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/houses"
        Meters(ledger).start(Metered(arn, D("0.115"), "houses-ab12", Payer(ANNA)), whatever=True)
        assert ledger.standing(ACCOUNT).balance == D("-0.69")
        assert stopped(ledger) == set()

    def test_a_limit_that_is_raised_while_more_is_allowed_stops_nobody(self, ledger: Ledger) -> None:
        limit(ledger, "50")
        reserve(ledger, full="50")
        ledger.reserve(charge("big", "20"), allowance=Allowance(D(20), "Olga"))
        limit(ledger, "60")
        assert ledger.standing(ACCOUNT).balance == 10
        assert stopped(ledger) == set()

    def test_a_limit_that_is_raised_after_what_was_allowed_is_billed_stops_nobody(self, ledger: Ledger) -> None:
        limit(ledger, "50")
        reserve(ledger, full="50")
        ledger.reserve(charge("big", "20"), allowance=Allowance(D(20), "Olga"))
        ledger.settle("big", D(20))
        limit(ledger, "60")
        assert ledger.standing(ACCOUNT).balance == -10
        assert stopped(ledger) == set()

    def test_what_was_found_running_after_a_cut_is_not_what_was_cut(self, ledger: Ledger) -> None:
        limit(ledger, "50")
        reserve(ledger, older="20")
        limit(ledger, "20")
        ledger.adopt(charge("found running", "30"))
        assert ledger.standing(ACCOUNT).balance == -30
        assert stopped(ledger) == set()


class TestCuts:
    def test_the_newest_of_before_are_stopped_for_what_is_missing(self, ledger: Ledger) -> None:
        limit(ledger, "50")
        reserve(ledger, first="20", second="20", third="5")
        limit(ledger, "30")
        assert stopped(ledger) == {"third", "second"}
        ledger.settle("second", D(12))  # it freed 8 of the 15, and third will free 5
        assert stopped(ledger) == {"third", "first"}
        ledger.settle("third", D(0))
        assert stopped(ledger) == {"first"}
        ledger.settle("first", D(18))
        assert (ledger.standing(ACCOUNT).balance, stopped(ledger)) == (0, set())

    def test_a_first_limit_cuts_what_had_none(self, ledger: Ledger) -> None:
        reserve(ledger, first="20", second="20")
        limit(ledger, "39.99")
        assert stopped(ledger) == {"second"}

    def test_for_bills_that_overdrew_it_before_and_since_nothing_more_is_stopped(self, ledger: Ledger) -> None:
        limit(ledger, "50")
        reserve(ledger, dear="10", dearer="10", first="10", second="10", third="10")
        ledger.settle("dear", D(25))
        limit(ledger, "45")
        assert ledger.standing(ACCOUNT).balance == -20
        assert stopped(ledger) == {"third"}
        ledger.settle("dearer", D(25))
        assert stopped(ledger) == {"third"}
        ledger.settle("third", D("5.01"))
        assert stopped(ledger) == {"second"}  # a cent of the five is still to be freed
        ledger.settle("second", D(9))
        assert (ledger.standing(ACCOUNT).balance, stopped(ledger)) == (D("-29.01"), set())

    def test_what_was_reserved_after_a_cut_is_not_stopped_for_it(self, ledger: Ledger) -> None:
        limit(ledger, "50")
        reserve(ledger, first="20", second="25")
        limit(ledger, "40")
        ledger.adopt(charge("found since", "3"))
        assert stopped(ledger) == {"second"}

    def test_one_that_an_approver_took_on_with_another_job_stops_nobody(self, ledger: Ledger) -> None:
        limit(ledger, "50")
        reserve(ledger, first="20", second="25")
        limit(ledger, "40")
        ledger.reserve(charge("allowed since", "3"), allowance=Allowance(D(8), "Olga"))
        assert (ledger.standing(ACCOUNT).balance, stopped(ledger)) == (0, set())

    def test_a_cut_that_was_taken_back_stops_nobody_and_one_of_several_those_before_it(self, ledger: Ledger) -> None:
        limit(ledger, "50")
        reserve(ledger, first="30")
        limit(ledger, "20")
        limit(ledger, "40")
        assert stopped(ledger) == set()
        reserve(ledger, second="10")
        limit(ledger, "39")
        assert stopped(ledger) == {"second"}
        limit(ledger, "25")
        assert stopped(ledger) == {"second", "first"}
        limit(ledger, "50")
        assert stopped(ledger) == set()

    def test_what_an_allowance_gives_back_pays_for_no_cut(self, ledger: Ledger) -> None:
        limit(ledger, "50")
        reserve(ledger, full="50")
        ledger.reserve(charge("big", "20"), allowance=Allowance(D(20), "Olga"))
        limit(ledger, "40")
        assert (ledger.standing(ACCOUNT).balance, stopped(ledger)) == (-10, {"big"})
        ledger.settle("big", D(12))
        assert (ledger.standing(ACCOUNT).balance, stopped(ledger)) == (-10, {"full"})

    def test_each_month_is_cut_by_itself(self, ledger: Ledger, clock: Clock) -> None:
        limit(ledger, "50")
        reserve(ledger, november="40")
        limit(ledger, "10", month="2026-12")
        assert stopped(ledger) == set()
        clock.moment = datetime(2026, 12, 2, tzinfo=UTC)
        reserve(ledger, december="10")
        limit(ledger, "5")
        assert stopped(ledger) == {"december"}

    def test_a_users_cut_stops_that_users_jobs(self, ledger: Ledger) -> None:
        ledger.set_limit(user(ANNA), D(30), set_by="a test")
        reserve(ledger, hers="10")
        ledger.reserve(charge("another's", "10"))
        ledger.set_limit(user(ANNA), D(5), set_by="a test")
        assert stopped(ledger) == {"hers"}
