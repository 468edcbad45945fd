"""An approver's word for one charge: it raises what is short by what is missing, and no longer than the charge needs it."""

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

from trainmaster.budget.budgets import ACCOUNT, Budget, Payer
from trainmaster.budget.charge import Allowance
from trainmaster.budget.ledger import Ledger
from trainmaster.errors import OverBudgetError

ANNA = uuid.UUID(int=1)
VISION = Budget("team", "vision")
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


def limit(ledger: Ledger, budget: Budget, amount: str, month: str = "") -> None:
    ledger.set_limit(budget, D(amount), set_by="a test", month=month)


def allow(ledger: Ledger, key: str, amount: str, up_to: str, payer: Payer | None = None) -> None:
    ledger.reserve(charge(key, amount, payer), allowance=Allowance(D(up_to), "Olga"))


class TestAllowances:
    def test_short_budgets_are_raised_by_the_cents_that_are_missing_and_no_others(self, ledger: Ledger) -> None:
        limit(ledger, ACCOUNT, "100.00")
        limit(ledger, VISION, "10.00")
        limit(ledger, user(ANNA), "5.00")
        ledger.reserve(charge("first", "4.001", Payer(ANNA, "vision")))
        big = charge("big", "8.0005", Payer(ANNA, "vision"))
        ledger.reserve(big, allowance=Allowance(D("8.0005"), "Olga"))
        standings = {one.budget: (one.limit, one.allowed, one.balance) for one in ledger.standings()}
        assert standings == {
            ACCOUNT: (D("100.00"), 0, D("87.998500")),
            VISION: (D("12.01"), D("2.01"), D("0.008500")),
            user(ANNA): (D("12.01"), D("7.01"), D("0.008500")),
        }
        assert ledger.reserve(big, allowance=Allowance(D(100), "Olga")).key == "big"
        assert ledger.standing(VISION).allowed == D("2.01")

    @pytest.mark.parametrize("up_to", ["0", "5.99", "NaN"])
    def test_more_than_was_allowed_is_refused_as_without_a_word(self, ledger: Ledger, up_to: str) -> None:
        limit(ledger, ACCOUNT, "5.00")
        with pytest.raises(OverBudgetError, match=r"job would cost \$6\.00; \$5\.00 of November 2026's \$5\.00"):
            ledger.reserve(charge("job", "6"), allowance=Allowance(D(up_to), "Olga"))
        assert ledger.standing(ACCOUNT).limit == D("5.00")
        assert [one.what for one in ledger.history()] == ["limit"]

    def test_what_fits_needs_no_word_and_uses_none(self, ledger: Ledger) -> None:
        limit(ledger, ACCOUNT, "5.00")
        ledger.reserve(charge("job", "5"), allowance=Allowance(D(9), "Olga"))
        assert ledger.standing(ACCOUNT).allowed == 0

    def test_an_overdrawn_budget_is_raised_by_no_more_than_was_allowed(self, ledger: Ledger) -> None:
        limit(ledger, ACCOUNT, "5.00")
        ledger.adopt(charge("found running", "7"))
        with pytest.raises(OverBudgetError) as refused:
            allow(ledger, "job", "3", up_to="4.99")
        assert str(refused.value) == (
            "job would cost $3.00; of November 2026's $5.00 of the account $7.00 is committed, so that $5.00 more would have to"
            " be allowed for it, not $4.99. Please allow $5.00, or have the budget raised: trainmaster budget set 10.00"
            " --account."
        )
        assert ledger.standing(ACCOUNT).limit == 5
        allow(ledger, "job", "3", up_to="5")
        assert (ledger.standing(ACCOUNT).limit, ledger.standing(ACCOUNT).balance) == (10, 0)

    def test_what_was_allowed_in_parts_of_a_cent_is_not_exceeded_by_rounding(self, ledger: Ledger) -> None:
        limit(ledger, ACCOUNT, "0")
        allow(ledger, "job", "3.333333", up_to="3.333333")
        assert (ledger.standing(ACCOUNT).limit, ledger.standing(ACCOUNT).balance) == (D("3.333333"), 0)

    def test_the_next_month_falls_back_to_what_held_before(self, ledger: Ledger, clock: Clock) -> None:
        limit(ledger, ACCOUNT, "5.00")
        limit(ledger, ACCOUNT, "7.00", month="2027-01")
        for key in ("one", "two"):
            ledger.reserve(charge(key, "6"), allowance=Allowance(D(6), "Olga"))
        months = ["2026-11", "2026-12", "2027-01"]
        assert [ledger.standing(ACCOUNT, month).limit for month in months] == [12, 5, 7]
        clock.moment = datetime(2026, 12, 1, tzinfo=UTC)
        with pytest.raises(OverBudgetError, match=r"\$5\.00 of December 2026's \$5\.00"):
            ledger.reserve(charge("three", "6"))
        ledger.settle("one", D(1))  # in November, where it was reserved
        assert ledger.standing(ACCOUNT, "2026-11").balance == 4  # of the dollar allowed for it nothing was needed

    def test_a_limit_set_afterwards_has_what_is_still_allowed_on_top_in_that_month(self, ledger: Ledger) -> None:
        limit(ledger, ACCOUNT, "5.00")
        for key in ("billed", "released", "open"):
            allow(ledger, key, "4", up_to="4")
        ledger.settle("billed", D(4))
        ledger.release("released")
        limit(ledger, ACCOUNT, "8.00")
        months = ["2026-11", "2026-12"]
        assert [ledger.standing(ACCOUNT, month).limit for month in months] == [12, 8]
        limit(ledger, ACCOUNT, "9.00")
        limit(ledger, ACCOUNT, "20.00", month="2026-12")
        assert [ledger.standing(ACCOUNT, month).limit for month in months] == [13, 20]
        ledger.release("open")
        assert [ledger.standing(ACCOUNT, month).limit for month in months] == [9, 20]
        assert [(one.what, one.amount, one.subject) for one in ledger.history() if one.what == "carried"] == [
            ("carried", 4, "Olga, for open")
        ] * 2

    def test_what_is_still_allowed_outlives_a_limit_that_was_taken_away(self, ledger: Ledger) -> None:
        limit(ledger, ACCOUNT, "5.00")
        allow(ledger, "job", "9", up_to="9")
        ledger.set_limit(ACCOUNT, None, set_by="a test")
        limit(ledger, ACCOUNT, "6.00")
        assert (ledger.standing(ACCOUNT).limit, ledger.standing(ACCOUNT).allowed) == (10, 4)

    def test_what_is_released_leaves_no_more_to_spend_than_there_was_before(self, ledger: Ledger) -> None:
        limit(ledger, ACCOUNT, "50.00")
        limit(ledger, user(ANNA), "60.00")
        ledger.reserve(charge("full", "50", Payer(ANNA)))
        allow(ledger, "big", "20", up_to="20", payer=Payer(ANNA))
        assert [one.limit for one in ledger.standings()] == [70, 70]
        ledger.release("big")
        assert [(one.limit, one.left) for one in ledger.standings()] == [(50, 0), (60, 10)]
        with pytest.raises(OverBudgetError):
            ledger.reserve(charge("unasked", "20"))
        allow(ledger, "big", "20", up_to="20", payer=Payer(ANNA))
        assert [one.limit for one in ledger.standings()] == [70, 70]
        told = [(one.what, one.amount, one.subject) for one in ledger.history(budget=ACCOUNT)]
        assert told.count(("allowed", 20, "Olga, for big")) == 2
        assert told.count(("unused", 20, "Olga, for big")) == 1

    @pytest.mark.parametrize(
        ("bill", "limits"),
        [("20", [70, 65]), ("25", [70, 65]), ("19.995", [70, 65]), ("12", [62, 57]), ("4", [54, 50]), ("0", [50, 50])],
    )
    def test_of_what_was_allowed_stays_what_the_bill_needed(self, ledger: Ledger, bill: str, limits: list[int]) -> None:
        limit(ledger, ACCOUNT, "50.00")
        limit(ledger, user(ANNA), "50.00")
        ledger.reserve(charge("full", "45", Payer(ANNA)))
        ledger.reserve(charge("another's", "5"))
        allow(ledger, "big", "20", up_to="20", payer=Payer(ANNA))
        for _ in range(2):
            ledger.settle("big", D(bill))
            assert [one.limit for one in ledger.standings()] == limits

    def test_what_was_billed_after_all_has_no_allowance_any_more(self, ledger: Ledger) -> None:
        limit(ledger, ACCOUNT, "5.00")
        allow(ledger, "job", "9", up_to="9")
        ledger.release("job")
        ledger.settle("job", D(8))
        assert (ledger.standing(ACCOUNT).limit, ledger.standing(ACCOUNT).balance) == (5, -3)

    def test_what_was_not_used_comes_back_to_the_month_it_was_allowed_in(self, ledger: Ledger, clock: Clock) -> None:
        limit(ledger, ACCOUNT, "5.00")
        allow(ledger, "job", "9", up_to="9")
        clock.moment = datetime(2026, 12, 2, tzinfo=UTC)
        limit(ledger, ACCOUNT, "6.00")
        ledger.settle("job", D(7))
        assert [ledger.standing(ACCOUNT, month).limit for month in ("2026-11", "2026-12")] == [7, 6]

    def test_the_history_says_who_allowed_how_much_for_what(self, ledger: Ledger) -> None:
        limit(ledger, user(ANNA), "5.00")
        ledger.reserve(charge("job", "6", Payer(ANNA)), allowance=Allowance(D(6), "Olga"))
        told = [(one.what, one.amount, one.subject, one.of) for one in ledger.history(budget=user(ANNA))]
        assert sorted(told[:2]) == [
            ("allowed", D("1.00"), "Olga, for job", [user(ANNA)]),
            ("reserved", 6, "job", [ACCOUNT, user(ANNA)]),
        ]
        assert ledger.history("2026-12") == []
