"""What was approved is never exceeded: the runtime AWS is told follows from it."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.budget.approval import ENDING_SECONDS, SHORTEST_USEFUL_SECONDS, Approval, Rate, approve_training
from trainmaster.budget.money import rounded_up, shown
from trainmaster.budget.prices import shipped_prices
from trainmaster.errors import OverBudgetError, UnknownPriceError

TYPES = shipped_prices().instance_types("training", "us-east-1")


def approve(**changes: object) -> Approval:
    asked: dict[str, object] = {
        "instance_type": "ml.m5.large", "instance_count": 1, "volume_gb": 30,
        "max_runtime_seconds": 3600, "budget_limit": Decimal("1.00"), "region": "us-east-1",
    }  # fmt: skip
    return approve_training(shipped_prices(), **{**asked, **changes})  # type: ignore[arg-type]


@given(
    kind=st.sampled_from(TYPES),
    count=st.integers(1, 20),
    volume=st.integers(1, 16384),
    runtime=st.integers(60, 28 * 86400),
    cents=st.integers(1, 10_000_000),
)
def test_no_approved_job_can_cost_more_than_its_budget(
    kind: str, count: int, volume: int, runtime: int, cents: int
) -> None:
    limit = Decimal(cents) / 100
    asked = {"instance_type": kind, "instance_count": count, "volume_gb": volume, "max_runtime_seconds": runtime}
    try:
        approval = approve(**asked, budget_limit=limit)
    except OverBudgetError:
        least = min(SHORTEST_USEFUL_SECONDS, runtime)
        rate = approve(**asked, budget_limit=Decimal(10) ** 12).rate
        assert rate.cost(least + ENDING_SECONDS) > limit
    else:
        assert approval.worst_case <= limit
        assert approval.max_runtime_seconds <= runtime
        longer = approval.rate.cost(approval.max_runtime_seconds + ENDING_SECONDS + 1)
        assert approval.max_runtime_seconds == runtime or longer > limit, "the cut takes no second that was paid for"


def test_a_job_within_budget_keeps_the_runtime_it_asked_for() -> None:
    approval = approve()
    assert (approval.max_runtime_seconds, approval.is_cut) == (3600, False)
    # $0.115 for the instance and 30 GB × $0.14 / 672 h, of the shortest month, for its disk
    hourly = Decimal("0.115") + Decimal(30) * Decimal("0.14") / 672
    assert approval.worst_case == hourly * 3900 / 3600, "AWS bills the stop and the upload too"


def test_a_runtime_the_budget_does_not_pay_for_is_cut() -> None:
    approval = approve(budget_limit=Decimal("0.05"))
    assert approval.is_cut
    assert approval.max_runtime_seconds == int(Decimal("0.05") * 3600 / approval.rate.hourly) - ENDING_SECONDS


def test_a_useless_budget_is_refused_with_both_amounts_and_what_would_fit() -> None:
    with pytest.raises(OverBudgetError) as refused:
        approve(instance_type="ml.p4d.24xlarge")
    assert refused.value.approved == Decimal("1.00")
    assert "budget_limit is $1.00" in str(refused.value)
    assert "$4.21" in str(refused.value)
    assert refused.value.choices
    assert all(
        approve(instance_type=kind.partition(" ")[0]).max_runtime_seconds >= SHORTEST_USEFUL_SECONDS
        for kind in refused.value.choices
    )


def test_an_unknown_type_is_refused_before_any_sum_is_done() -> None:
    with pytest.raises(UnknownPriceError):
        approve(instance_type="ml.p99.large")


def test_what_may_be_spent_is_rounded_up_never_down() -> None:
    assert rounded_up(Decimal("0.0000001")) == Decimal("0.01")
    assert rounded_up(Rate(Decimal(36)).cost(1)) == Decimal("0.01")


@pytest.mark.parametrize(
    ("dollars", "text"),
    [("0", "$0"), ("0.00003356", "$0.000034"), ("0.0099999", "$0.010000"), ("0.1208", "$0.1208"), ("18.4", "$18.40")],
)
def test_an_amount_is_never_shown_as_nothing_while_it_is_something(dollars: str, text: str) -> None:
    assert shown(Decimal(dollars)) == text
