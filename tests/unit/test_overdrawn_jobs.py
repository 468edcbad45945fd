"""When a budget is cut below what it has promised, the newest jobs are stopped: enough of them, and none in vain."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from books import charge, user
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.budget.budgets import ACCOUNT, Budget, Payer, Standing
from trainmaster.budget.charge import Reservation
from trainmaster.budget.cuts import Cut, Overdraft
from trainmaster.training.overdrawing import overdrawn

ANNA, BEN = UUID(int=1), UUID(int=2)
MONTH = "2026-11"
NOW = datetime(2026, 11, 21, 13, tzinfo=UTC)
cents = st.integers(1, 1000).map(lambda count: Decimal(count) / 100)


def reserved(
    position: int, amount: Decimal, payer: Payer, *, state: str = "reserved", resource: str = ""
) -> Reservation:
    about = charge(f"job-{position}", amount, payer, **({"resource": resource} if resource else {}))
    at = datetime(2026, 11, 21, 12, 0, position % 60, tzinfo=UTC)
    return Reservation(about, MONTH, at, state, None, position)  # type: ignore[arg-type]


def standing(
    budget: Budget, reservations: list[Reservation], limit: Decimal | None, settled: Decimal = Decimal(0)
) -> Standing:
    counted = [one.charge.amount for one in reservations if budget in one.charge.payer.budgets()]
    return Standing(budget, MONTH, limit, settled, sum(counted, Decimal(0)))


def cut(standing: Standing, owed: Decimal = Decimal("Infinity"), at: datetime = NOW) -> Overdraft:
    """Its limit was lowered then, by so much, after all that was reserved unless another time is said."""
    return Overdraft(standing, (Cut(at, owed),))


@st.composite
def books(draw: st.DrawFn) -> tuple[list[Standing], list[Reservation]]:
    payers = draw(st.lists(st.sampled_from([Payer(ANNA), Payer(BEN), Payer(ANNA, "vision")]), min_size=1, max_size=12))
    reservations = [reserved(number, draw(cents), payer) for number, payer in enumerate(payers)]
    budgets = [ACCOUNT, user(ANNA), user(BEN), Budget("team", "vision")]
    limits = st.none() | st.integers(0, 5000).map(lambda count: Decimal(count) / 100)
    return [
        standing(one, reservations, draw(limits), draw(cents | st.just(Decimal(0)))) for one in budgets
    ], reservations


@given(books())
def test_what_is_stopped_is_enough_for_every_budget_or_all_there_is(
    given_books: tuple[list[Standing], list[Reservation]],
) -> None:
    standings, reservations = given_books
    stopped = overdrawn([cut(one) for one in standings], reservations)
    for one in standings:
        mine = [each for each in reservations if one.budget in each.charge.payer.budgets()]
        freed = sum((each.charge.amount for each in mine if each.key in stopped), Decimal(0))
        enough = one.balance is None or one.balance + freed >= 0
        assert enough or {each.key for each in mine} <= stopped.keys()


@given(books())
def test_nothing_is_stopped_that_no_budget_wants_stopped(given_books: tuple[list[Standing], list[Reservation]]) -> None:
    standings, reservations = given_books
    short = {one.budget for one in standings if one.balance is not None and one.balance < 0}
    stopped = overdrawn([cut(one) for one in standings], reservations)
    assert all(short & {*one.charge.payer.budgets()} for one in reservations if one.key in stopped)


@given(st.lists(cents, min_size=1, max_size=12), st.integers(0, 3000))
def test_of_one_budget_the_newest_are_stopped_and_without_the_oldest_of_them_it_were_too_few(
    amounts: list[Decimal], limit: int
) -> None:
    reservations = [reserved(number, amount, Payer(ANNA)) for number, amount in enumerate(amounts)]
    over = standing(ACCOUNT, reservations, Decimal(limit) / 100)
    assert over.balance is not None
    stopped = overdrawn([cut(over)], reservations)
    newest = list(reversed(reservations))[: len(stopped)]
    assert {one.key for one in newest} == stopped.keys()
    if newest:
        assert over.balance + sum((one.charge.amount for one in newest[:-1]), Decimal(0)) < 0


def test_endpoints_and_what_is_billed_already_are_no_jobs_to_stop() -> None:
    endpoint = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/cats"
    reservations = [
        reserved(1, Decimal(5), Payer(ANNA)),
        reserved(2, Decimal(5), Payer(ANNA), state="settled"),
        reserved(3, Decimal(5), Payer(ANNA), resource=endpoint),
    ]
    assert set(overdrawn([cut(standing(ACCOUNT, reservations, Decimal(0)))], reservations)) == {"job-1"}


def test_a_job_stopped_for_its_user_counts_for_the_account_too() -> None:
    anna, ben = reserved(1, Decimal(5), Payer(ANNA)), reserved(2, Decimal(5), Payer(BEN))
    standings = [standing(ACCOUNT, [anna, ben], Decimal(6)), standing(user(ANNA), [anna, ben], Decimal(1))]
    assert set(overdrawn([cut(one) for one in standings], [anna, ben])) == {"job-1"}


def test_it_is_said_what_is_promised_and_what_is_allowed() -> None:
    job = reserved(1, Decimal(5), Payer(ANNA))
    assert overdrawn([cut(standing(ACCOUNT, [job], Decimal(0)))], [job]) == {
        "job-1": "$5.00 of the account is spent or promised for November 2026, $0 is allowed since its limit was lowered,"
        " and what was reserved last goes first"
    }


@given(books(), st.lists(st.tuples(st.integers(0, 13), cents), max_size=3))
def test_only_what_was_reserved_before_a_cut_is_stopped_and_for_no_more_than_was_cut(
    given_books: tuple[list[Standing], list[Reservation]], cuts: list[tuple[int, Decimal]]
) -> None:
    _, reservations = given_books
    over = standing(ACCOUNT, reservations, Decimal(0), Decimal(100))
    made = tuple(Cut(datetime(2026, 11, 21, 12, 0, second, tzinfo=UTC), owed) for second, owed in cuts)
    stopped = overdrawn([Overdraft(over, made)], reservations)
    mine = [one for one in reservations if one.key in stopped]
    assert all(any(one.reserved_at <= each.at for each in made) for one in mine)
    if mine:  # without the oldest that is stopped it were less than it may be asked for
        assert sum((one.charge.amount for one in mine[1:]), Decimal(0)) < max(each.owed for each in made)
    spared = [one for one in reservations if one.key not in stopped]
    freed = sum((one.charge.amount for one in mine), Decimal(0))
    assert all(freed >= max((each.owed for each in made if each.at >= one.reserved_at), default=0) for one in spared)


def test_without_a_cut_nobody_is_stopped_however_much_is_missing() -> None:
    job = reserved(1, Decimal(5), Payer(ANNA))
    assert overdrawn([Overdraft(standing(ACCOUNT, [job], Decimal(0)))], [job]) == {}
