"""The books, on both databases: what is promised is counted once, what is billed is booked as it is, and nothing is forgotten."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from books import Clock, balance, charge, database_at, user
from catalogues import Place, at_once
from postgres import Postgres
from sqlalchemy import insert, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from trainmaster.budget.budgets import ACCOUNT, Budget, Payer
from trainmaster.budget.charge import Allowance
from trainmaster.budget.ledger import Ledger
from trainmaster.catalog.database import Database
from trainmaster.catalog.tables import budget_readings, budget_sightings
from trainmaster.errors import NameConflictError, NotConfiguredError, OverBudgetError, RefusedError, UnknownChoiceError

ANNA, BEN = uuid.UUID(int=1), uuid.UUID(int=2)
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
def database(place: Place) -> Iterator[Database]:
    opened = database_at(place)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(database: Database, clock: Clock) -> Ledger:
    return Ledger(database, clock)


def limit(ledger: Ledger, budget: Budget, amount: str | None, month: str = "") -> None:
    ledger.set_limit(budget, None if amount is None else D(amount), set_by="a test", month=month)


class TestReserving:
    def test_a_reservation_counts_against_the_account_the_team_and_the_user(self, ledger: Ledger) -> None:
        ledger.reserve(charge("job", "3.10", Payer(ANNA, "vision")))
        for budget in (ACCOUNT, VISION, user(ANNA)):
            assert balance(ledger, budget) == (0, D("3.10"))
        assert balance(ledger, user(BEN)) == (0, 0)
        assert balance(ledger, Budget("team", "speech")) == (0, 0)

    @pytest.mark.parametrize("tightest", [ACCOUNT, VISION, user(ANNA)], ids=str)
    def test_the_tightest_budget_decides_and_is_named_with_both_amounts(self, ledger: Ledger, tightest: Budget) -> None:
        for budget in (ACCOUNT, VISION, user(ANNA)):
            limit(ledger, budget, "10.00" if budget == tightest else "20.00")
        ledger.reserve(charge("first", "4.50", Payer(ANNA, "vision")))
        with pytest.raises(OverBudgetError) as refused:
            ledger.reserve(charge("second", "5.51", Payer(ANNA, "vision")), lambda left: [f"something for ${left}"])
        assert refused.value.approved == D("5.50")
        assert str(refused.value) == (
            f"second would cost $5.51; $5.50 of November 2026's $10.00 of {tightest} is left."
            f" Choose something for ${refused.value.approved}, or have the budget raised: trainmaster budget set 10.01"
            f" --{tightest.scope} {tightest.owner}".rstrip()
            + "."
        )
        assert ledger.find("second") is None
        ledger.reserve(charge("third", "5.50", Payer(ANNA, "vision")))

    def test_where_no_budget_is_set_everything_fits_and_is_counted_all_the_same(self, ledger: Ledger) -> None:
        ledger.reserve(charge("job", "999999.99", Payer(ANNA)))
        standing = ledger.standing(user(ANNA))
        assert (standing.limit, standing.left, standing.reserved) == (None, None, D("999999.99"))

    def test_a_budget_of_nothing_lets_nothing_be_spent(self, ledger: Ledger) -> None:
        limit(ledger, user(ANNA), "0")
        with pytest.raises(OverBudgetError, match=r"\$0 of November 2026's \$0 of user"):
            ledger.reserve(charge("job", "0.000001", Payer(ANNA)))
        ledger.reserve(charge("free", "0", Payer(ANNA)))

    def test_the_same_key_and_amount_again_is_the_first_reservation(self, ledger: Ledger, clock: Clock) -> None:
        limit(ledger, ACCOUNT, "5.00")
        first = ledger.reserve(charge("job", "3", Payer(ANNA)))
        clock.moment += timedelta(days=40)
        assert ledger.reserve(charge("job", "3.000", Payer(BEN))) == first
        assert balance(ledger, ACCOUNT, "2026-11") == (0, 3)

    @pytest.mark.parametrize("settled", [False, True])
    def test_the_same_key_at_another_amount_is_a_conflict(self, ledger: Ledger, settled: bool) -> None:
        ledger.reserve(charge("job", "3"))
        if settled:
            ledger.settle("job", D(1))
        with pytest.raises(
            NameConflictError, match=r"job is (reserved|settled) at \$3.00 in the ledger, not at \$3.01"
        ):
            ledger.reserve(charge("job", "3.01"))

    def test_what_is_reserved_is_rounded_up_to_the_millionth_and_kept_exactly(self, ledger: Ledger) -> None:
        exact = D(1) / 3
        kept = ledger.reserve(charge("job", exact, hourly=exact))
        assert (kept.charge.amount, kept.charge.hourly) == (D("0.333334"), exact)
        for number in range(300):
            ledger.reserve(charge(f"dime-{number}", "0.1"))
        assert balance(ledger, ACCOUNT) == (0, D("30.333334"))

    def test_what_runs_already_is_counted_whether_it_fits_or_not(self, ledger: Ledger) -> None:
        limit(ledger, ACCOUNT, "1.00")
        adopted = ledger.adopt(charge("job", "3"))
        assert ledger.adopt(charge("job", "7")) == adopted
        standing = ledger.standing(ACCOUNT)
        assert (standing.reserved, standing.balance, standing.left) == (3, -2, 0)


class TestSettling:
    def test_the_bill_takes_the_place_of_the_reservation(self, ledger: Ledger) -> None:
        limit(ledger, user(ANNA), "5.00")
        ledger.reserve(charge("job", "5", Payer(ANNA)))
        settled = ledger.settle("job", D("0.0000336"))
        assert (settled.state, settled.bill, settled.excess) == ("settled", D("0.000034"), 0)
        assert balance(ledger, user(ANNA)) == (D("0.000034"), 0)
        assert ledger.standing(user(ANNA)).left == D("4.999966")
        assert ledger.open_reservations() == []

    def test_a_bill_above_the_reservation_is_booked_as_it_is(self, ledger: Ledger) -> None:
        limit(ledger, ACCOUNT, "5.00")
        ledger.reserve(charge("job", "5"))
        assert ledger.settle("job", D("7.25")).excess == D("2.25")
        assert ledger.standing(ACCOUNT).balance == D("-2.25")
        with pytest.raises(OverBudgetError, match=r"November 2026's \$5.00 of the account is overdrawn: \$7.25"):
            ledger.reserve(charge("next", "0.01"))

    def test_the_same_bill_again_changes_nothing_and_another_is_a_conflict(self, ledger: Ledger) -> None:
        ledger.reserve(charge("job", "5"))
        settled = ledger.settle("job", D("1.5"))
        assert ledger.settle("job", D("1.50")) == settled
        with pytest.raises(NameConflictError, match=r"settled at \$1.50 in the ledger, not \$1.51"):
            ledger.settle("job", D("1.51"))
        assert balance(ledger, ACCOUNT) == (D("1.5"), 0)

    def test_what_was_reserved_in_one_month_is_billed_to_it_in_the_next(self, ledger: Ledger, clock: Clock) -> None:
        limit(ledger, ACCOUNT, "5.00")
        ledger.reserve(charge("long", "5"))
        clock.moment = datetime(2026, 12, 2, tzinfo=UTC)
        ledger.reserve(charge("new", "5"))
        ledger.settle("long", D(4))
        assert balance(ledger, ACCOUNT, "2026-11") == (4, 0)
        assert balance(ledger, ACCOUNT, "2026-12") == (0, 5)

    def test_what_was_given_up_and_ran_after_all_is_billed(self, ledger: Ledger) -> None:
        ledger.reserve(charge("job", "5"))
        ledger.release("job")
        assert ledger.settle("job", D(2)).state == "settled"
        assert balance(ledger, ACCOUNT) == (2, 0)

    def test_a_key_never_reserved_cannot_be_settled(self, ledger: Ledger) -> None:
        with pytest.raises(UnknownChoiceError, match="no reservation 'job'"):
            ledger.settle("job", D(1))
        with pytest.raises(ValueError, match="a bill of"):
            ledger.settle("job", D(-1))


class TestReleasing:
    def test_what_is_released_can_be_spent_on_something_else(self, ledger: Ledger) -> None:
        limit(ledger, ACCOUNT, "5.00")
        ledger.reserve(charge("job", "5"))
        assert ledger.release("job")
        assert not ledger.release("job")
        ledger.reserve(charge("other", "5"))

    def test_a_released_key_is_reserved_anew_in_the_month_it_is_and_at_the_price_it_has(
        self, ledger: Ledger, clock: Clock
    ) -> None:
        ledger.reserve(charge("job", "5"))
        ledger.release("job")
        clock.moment = datetime(2026, 12, 1, tzinfo=UTC)
        again = ledger.reserve(charge("job", "6"))
        assert (again.month, again.charge.amount) == ("2026-12", 6)
        assert balance(ledger, ACCOUNT, "2026-11") == (0, 0)

    def test_only_an_open_reservation_is_undone_and_only_the_one_that_was_meant(self, ledger: Ledger) -> None:
        assert not ledger.release("never")
        first = ledger.reserve(charge("job", "5"))
        ledger.release("job")
        ledger.reserve(charge("job", "5"))
        assert not ledger.release("job", first.position)
        ledger.settle("job", D(1))
        assert not ledger.release("job")
        assert balance(ledger, ACCOUNT) == (1, 0)

    def test_open_and_lately_released_reservations_are_listed(self, ledger: Ledger, clock: Clock) -> None:
        for key in ("open", "settled", "released", "again"):
            ledger.reserve(charge(key, "1", Payer(ANNA, "vision")))
        ledger.settle("settled", D(1))
        ledger.release("released")
        ledger.release("again")
        before = clock.moment - timedelta(seconds=10)
        ledger.reserve(charge("again", "1"))
        assert [one.key for one in ledger.open_reservations()] == ["open", "again"]
        assert ledger.open_reservations()[0].charge == charge("open", "1", Payer(ANNA, "vision"))
        assert [one.key for one in ledger.released_since(before)] == ["released"]
        assert ledger.released_since(clock.moment) == []


class TestLimits:
    def test_a_limit_holds_from_its_month_until_a_later_one(self, ledger: Ledger) -> None:
        limit(ledger, ACCOUNT, "80", month="2027-02")
        limit(ledger, ACCOUNT, "50")
        limit(ledger, ACCOUNT, "60")
        limit(ledger, ACCOUNT, None, month="2027-04")
        months = ["2026-10", "2026-11", "2027-01", "2027-02", "2027-03", "2027-04"]
        limits = [ledger.standing(ACCOUNT, month).limit for month in months]
        assert limits == [None, D(60), D(60), D(80), D(80), None]

    @pytest.mark.parametrize("amount", ["-1", "0.001", "NaN", "Infinity"])
    def test_an_amount_that_is_none_is_refused(self, ledger: Ledger, amount: str) -> None:
        with pytest.raises(RefusedError, match="whole cents"):
            limit(ledger, ACCOUNT, amount)

    def test_the_books_of_a_month_that_is_over_stay_as_they_are(self, ledger: Ledger) -> None:
        with pytest.raises(RefusedError, match="October 2026 is over; set a budget from November 2026 on"):
            limit(ledger, ACCOUNT, "5", month="2026-10")

    def test_a_lowered_limit_stops_new_reservations_and_leaves_old_ones(self, ledger: Ledger) -> None:
        limit(ledger, ACCOUNT, "10")
        ledger.reserve(charge("job", "8"))
        limit(ledger, ACCOUNT, "5")
        assert (ledger.standing(ACCOUNT).balance, ledger.standing(ACCOUNT).left) == (-3, 0)
        with pytest.raises(OverBudgetError):
            ledger.reserve(charge("next", "0.01"))
        ledger.settle("job", D(2))
        ledger.reserve(charge("next", "3"))

    def test_every_budget_with_a_limit_or_a_charge_is_shown(self, ledger: Ledger) -> None:
        limit(ledger, VISION, "10")
        ledger.reserve(charge("job", "8", Payer(ANNA, "speech")))
        budgets = [str(standing.budget) for standing in ledger.standings()]
        assert budgets == ["the account", "team speech", "team vision", f"user {ANNA}"]

    def test_the_history_tells_everything_newest_first(self, ledger: Ledger) -> None:
        limit(ledger, VISION, "10")
        ledger.reserve(charge("one", "8", Payer(ANNA, "vision")))
        ledger.crossed([VISION], "2026-11")
        ledger.settle("one", D(3))
        ledger.reserve(charge("two", "1", Payer(BEN)))
        ledger.release("two")
        told = [(one.what, one.amount, one.subject) for one in ledger.history()]
        assert told[:3] == [("released", 1, "two"), ("reserved", 1, "two"), ("settled", 3, "one")]
        assert sorted(told[3:5]) == [("passed", 8, "50 %"), ("passed", 8, "80 %")]
        assert told[5:] == [("reserved", 8, "one"), ("limit", 10, "a test")]
        assert [one.subject for one in ledger.history(budget=user(BEN))] == ["two", "two"]
        assert len(ledger.history(limit=2)) == 2
        assert ledger.history("2026-10") == []


class TestAttachingAgain:
    def test_a_reservation_says_how_long_it_pays_for_at_its_own_rate(self, ledger: Ledger) -> None:
        hourly = D("1.408") + 30 * D("0.14") / 730
        for seconds in (1, 300, 3599, 86_400, 28 * 86_400):
            kept = ledger.reserve(charge(f"job-{seconds}", hourly * seconds / 3600, hourly=hourly))
            assert ledger.find(kept.key) == kept
            assert (kept.seconds, kept.stands) == (seconds, True)
        assert ledger.reserve(charge("free", "0", hourly=D(0))).seconds == 0

    def test_a_key_of_another_resource_is_a_conflict_also_at_the_same_amount(self, ledger: Ledger) -> None:
        ledger.reserve(charge("job", "3"))
        elsewhere = charge("job", "3", resource="arn:aws:sagemaker:us-east-1:210987654321:training-job/job")
        with pytest.raises(NameConflictError, match=r"for arn:.*:123456789012:.*, not for arn:.*:210987654321:"):
            ledger.reserve(elsewhere)

    def test_what_was_released_no_longer_stands(self, ledger: Ledger) -> None:
        ledger.reserve(charge("job", "3"))
        ledger.release("job")
        found = ledger.find("job")
        assert found
        assert not found.stands


class TestThresholds:
    def test_one_handed_to_a_process_that_died_is_handed_out_again_and_no_other_is(
        self, ledger: Ledger, database: Database, clock: Clock
    ) -> None:
        limit(ledger, ACCOUNT, "10")
        ledger.reserve(charge("job", "8"))
        first, second = ledger.crossed([ACCOUNT], "2026-11")
        ledger.told([first])
        assert ledger.crossed([ACCOUNT], "2026-11") == []
        clock.moment += timedelta(minutes=11)
        [again] = Ledger(database, clock).crossed([ACCOUNT], "2026-11")
        assert (again.percent, again.id) == (second.percent, second.id)
        assert ledger.crossed([ACCOUNT], "2026-11") == []
        ledger.told([again])
        ledger.told([again])
        clock.moment += timedelta(days=2)
        assert ledger.crossed([ACCOUNT], "2026-11") == []
        assert [one.what for one in ledger.history()].count("passed") == 2

    def test_one_that_is_no_longer_reached_is_told_of_when_it_is_again(self, ledger: Ledger, clock: Clock) -> None:
        limit(ledger, ACCOUNT, "10")
        ledger.reserve(charge("job", "5"))
        assert ledger.crossed([ACCOUNT], "2026-11")
        ledger.settle("job", D(1))
        clock.moment += timedelta(minutes=11)
        assert ledger.crossed([ACCOUNT], "2026-11") == []
        ledger.reserve(charge("next", "4"))
        assert [one.percent for one in ledger.crossed([ACCOUNT], "2026-11")] == [50]

    def test_of_many_that_look_after_a_teller_died_one_tells(self, ledger: Ledger, place: Place, clock: Clock) -> None:
        limit(ledger, ACCOUNT, "10")
        ledger.reserve(charge("job", "10"))
        assert len(ledger.crossed([ACCOUNT], "2026-11")) == 4
        later = clock.moment + timedelta(minutes=11)

        def look(_: int) -> list[int]:
            with Ledger(database_at(place), Clock(later)) as opened:
                return [one.percent for one in opened.crossed([ACCOUNT], "2026-11")]

        handed = [percent for percents in at_once(8, look) for percent in percents]
        assert sorted(handed) == [50, 80, 90, 100]

    def test_ids_are_of_budget_month_and_percent_alone(self, ledger: Ledger) -> None:
        limit(ledger, ACCOUNT, "10")
        limit(ledger, VISION, "10")
        ledger.reserve(charge("job", "10", Payer(None, "vision")))
        ids = {one.id for one in ledger.crossed([ACCOUNT, VISION], "2026-11")}
        assert len(ids) == 8

    def test_each_is_handed_out_once_a_month_and_budget(self, ledger: Ledger, clock: Clock) -> None:
        limit(ledger, ACCOUNT, "10")
        limit(ledger, user(ANNA), "5")
        told = []
        for number, amount in enumerate(["2.49", "0.01", "1.5", "1"]):
            ledger.reserve(charge(f"job-{number}", amount, Payer(ANNA)))
            for _ in range(2):
                crossed = ledger.crossed([ACCOUNT, user(ANNA)], "2026-11")
                told.append([(str(one.standing.budget)[:4], one.percent) for one in crossed])
        assert told == [[], [], [("user", 50)], [], [("user", 80)], [], [("the ", 50), ("user", 90), ("user", 100)], []]
        ledger.settle("job-3", D("0.01"))
        ledger.reserve(charge("again", "0.99", Payer(ANNA)))
        assert ledger.crossed([ACCOUNT, user(ANNA)], "2026-11") == []
        clock.moment = datetime(2026, 12, 1, tzinfo=UTC)
        ledger.reserve(charge("december", "2.50", Payer(ANNA)))
        [one] = ledger.crossed([ACCOUNT, user(ANNA)], "2026-12")
        assert one.sentence() == (
            f"50 % of December 2026's $5.00 of user {ANNA} is committed: $0 billed, $2.50 reserved."
        )

    def test_without_a_limit_or_a_charge_there_is_nothing_to_tell(self, ledger: Ledger) -> None:
        ledger.reserve(charge("job", "100", Payer(BEN)))
        limit(ledger, user(ANNA), "0")
        assert ledger.crossed([ACCOUNT, user(ANNA), user(BEN)], "2026-11") == []


class TestKeeping:
    @pytest.mark.parametrize(
        "change",
        ["delete from budget_entries", "update budget_entries set reserved = '0'", "delete from budget_limits",
         "update budget_limits set amount = '999'", "delete from budget_crossings", "update budget_crossings set percent = 1",
         "delete from budget_allowances", "update budget_allowances set amount = '999'",
         "delete from budget_sightings", "update budget_sightings set at = null",
         "delete from budget_readings", "update budget_readings set running = '0'"],
    )  # fmt: skip
    def test_nothing_in_the_books_is_changed_or_deleted(self, ledger: Ledger, database: Database, change: str) -> None:
        limit(ledger, ACCOUNT, "1")
        ledger.reserve(charge("job", "1"))
        ledger.crossed([ACCOUNT], "2026-11")
        ledger.reserve(charge("big", "1"), allowance=Allowance(D(1), "Olga"))
        with database.writing() as connection:
            connection.execute(insert(budget_sightings).values(meter="m", at=ledger.now()))
            reading = {"meter": "m", "at": ledger.now(), "running": D(1), "most": D(1), "what": "v=1"}
            connection.execute(insert(budget_readings).values(**reading))
        change = change.replace("'", "" if database.kind == "postgresql" else "'")
        with pytest.raises(DBAPIError, match="append-only"), database.writing() as connection:
            connection.execute(text(change))

    def test_entries_are_dated_by_the_database(self, database: Database) -> None:
        ledger = Ledger(database)
        before = ledger.now()
        assert before <= ledger.reserve(charge("job", "1")).reserved_at <= ledger.now()

    def test_another_process_reads_what_this_one_wrote(self, ledger: Ledger, place: Place) -> None:
        written = ledger.reserve(charge("job", "1.10", Payer(ANNA, "vision")))
        with Ledger(database_at(place)) as other:
            assert other.find("job") == written


def test_a_stricter_isolation_than_ours_neither_oversells_nor_fails(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.migrated()
    strict = make_url(url).update_query_dict({"options": "-c default_transaction_isolation=serializable"})
    place = Place(strict.render_as_string(hide_password=False), tmp_path)
    script = """
from trainmaster.budget.ledger import Ledger; from books import charge
ledger = Ledger(catalogue.database); print("ready", flush=True); sys.stdin.readline()
for number in range(20):
    ledger.reserve(charge(f"{sys.argv[3]}-{number}", "1"))
"""
    started = [place.start(script, str(number)) for number in range(3)]
    for process in started:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    assert [(process.communicate("\n", timeout=60)[0], process.returncode) for process in started] == [("", 0)] * 3
    with Ledger(database_at(place)) as ledger:
        assert balance(ledger, ACCOUNT) == (0, 60)
    postgres.drop(url)


def test_a_database_without_the_tables_says_which_migration_to_apply(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.before()
    with (
        Ledger(database_at(Place(url, tmp_path))) as ledger,
        pytest.raises(NotConfiguredError, match="Apply the migrations"),
    ):
        ledger.reserve(charge("job", "1"))
    postgres.drop(url)
