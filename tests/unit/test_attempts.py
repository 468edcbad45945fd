"""Without capacity a request goes on to the next machines, one at a time, within what is left: always along the same way."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paid_launch import plan_of

from trainmaster.budget.prices import shipped_prices
from trainmaster.errors import OverBudgetError
from trainmaster.training.attempts import Attempt, Chain, cut_to, lacked_capacity
from trainmaster.training.request import TrainingRequest

REGION = "us-east-1"
PRICES = shipped_prices()
ENVIRONMENT = {
    "TRAINMASTER_BUCKET": "bucket",
    "AWS_REGION": REGION,
    "TRAINMASTER_USER_ID": "00000000-0000-4000-8000-000000000001",
    "TRAINMASTER_EXECUTION_ROLE_ARN": "arn:aws:iam::123456789012:role/trainmaster",
}


def chain(**asked: Any) -> Chain:
    values = {
        "data_uri": "s3://bucket/houses/",
        "instance_type": "ml.g5.xlarge",
        "budget_limit": "50",
        "max_runtime_seconds": 3600,
    }
    return Chain.of(TrainingRequest(**{**values, **asked}), PRICES, REGION)


def walked(chain: Chain, bill: Decimal = Decimal(0)) -> list[str]:
    """All choices, each ended for lack of capacity with the same bill."""
    way = []
    while choice := chain.next:
        way.append(str(choice))
        attempt = Attempt(
            job_name="j", instance_type=choice.instance_type, spot=choice.spot, ended="CapacityError", bill=bill
        )
        chain = chain.tried(attempt)
    return way


def test_without_fallbacks_there_is_one_attempt() -> None:
    assert walked(chain()) == ["ml.g5.xlarge, spot"]
    assert walked(chain(use_spot_instances=False, fall_back_to_on_demand=True)) == ["ml.g5.xlarge, on-demand"]


def test_what_was_asked_for_comes_first_then_the_cheapest_then_all_on_demand() -> None:
    asked = chain(instance_types=["ml.g5.12xlarge", "ml.g5.xlarge", "ml.g4dn.xlarge"], fall_back_to_on_demand=True)
    types = ["ml.g5.xlarge", "ml.g4dn.xlarge", "ml.g5.12xlarge"]
    assert walked(asked) == [f"{kind}, spot" for kind in types] + [f"{kind}, on-demand" for kind in types]


def test_what_earlier_attempts_billed_is_not_spent_again() -> None:
    asked = chain(instance_types=["ml.g5.12xlarge", "ml.g4dn.xlarge"], budget_limit="10.00")
    assert walked(asked, bill=Decimal("9.00")) == ["ml.g5.xlarge, spot", "ml.g4dn.xlarge, spot"]
    assert walked(asked, bill=Decimal("10.00")) == ["ml.g5.xlarge, spot"]


def test_what_was_asked_for_is_first_also_when_its_budget_pays_for_nothing() -> None:
    """It is then refused with the reason, not passed over."""
    assert str(chain(instance_type="ml.p4d.24xlarge", budget_limit="1.00").next) == "ml.p4d.24xlarge, spot"


def test_a_choice_without_a_price_is_never_tried_but_what_was_asked_for_is_planned_and_refused() -> None:
    assert walked(chain(instance_types=["ml.nope.large", "ml.g4dn.xlarge"])) == [
        "ml.g5.xlarge, spot",
        "ml.g4dn.xlarge, spot",
    ]
    assert walked(chain(instance_type="ml.nope.large")) == ["ml.nope.large, spot"]


def test_on_demand_waits_for_nothing_and_the_first_attempt_is_the_request_itself() -> None:
    asked = chain(max_wait_seconds=7200, fall_back_to_on_demand=True)
    first, second = (choice.of(asked.request) for choice in asked.choices)
    assert first == asked.request
    assert (second.use_spot_instances, second.max_wait_seconds) == (False, 0)


TYPES = PRICES.instance_types("training", REGION)


@given(
    others=st.lists(st.sampled_from(TYPES), max_size=8),
    on_demand=st.booleans(),
    bills=st.lists(st.decimals("0", "20", places=2), max_size=20),
)
def test_no_choice_is_tried_twice_nor_beyond_the_budget_and_the_way_back_is_the_same(
    others: list[str], on_demand: bool, bills: list[Decimal]
) -> None:
    now = chain(instance_types=others, fall_back_to_on_demand=on_demand)
    seen = []
    for bill in bills:
        choice = now.next
        assert now.next == choice == chain_again(now).next
        if choice is None:
            break
        seen.append((choice.instance_type, choice.spot))
        assert choice.rate
        assert choice.rate.cost(600) <= now.left <= 50
        now = now.tried(
            Attempt(job_name="j", instance_type=choice.instance_type, spot=choice.spot, ended="x", bill=bill)
        )
    assert len(seen) == len(set(seen)) <= 18


def chain_again(known: Chain) -> Chain:
    again = Chain.of(known.request, PRICES, REGION)
    for attempt in known.attempts:
        again = again.tried(attempt)
    return again


def plan() -> Any:
    return plan_of("cats", ENVIRONMENT, budget_limit=Decimal("1.00"))


def test_a_plan_cut_to_less_money_is_the_same_job_told_to_stop_earlier() -> None:
    whole = plan()
    less = cut_to(whole, Decimal("0.05"))
    assert (less.job_name, less.fingerprint) == (whole.job_name, whole.fingerprint)
    stopping, before = less.create_request["StoppingCondition"], whole.create_request["StoppingCondition"]
    assert stopping["MaxRuntimeInSeconds"] == less.approval.max_runtime_seconds < before["MaxRuntimeInSeconds"]
    waiting = before["MaxWaitTimeInSeconds"] - before["MaxRuntimeInSeconds"]
    assert stopping["MaxWaitTimeInSeconds"] - stopping["MaxRuntimeInSeconds"] == waiting
    assert less.charge.amount == less.approval.worst_case <= Decimal("0.05")
    assert "what $0.05 pays for" in less.notes[-1]
    assert whole.create_request["StoppingCondition"] == before


def test_a_plan_that_costs_less_anyway_is_left_as_it_is() -> None:
    assert cut_to(plan(), Decimal("1.00")) == plan()


def test_money_for_nothing_useful_is_refused_with_what_would_be() -> None:
    with pytest.raises(
        OverBudgetError, match=r"would cost \$0\.03; \$0\.01 is approved\. Please approve at least \$0\.03"
    ):
        cut_to(plan(), Decimal("0.01"))


@pytest.mark.parametrize(
    ("status", "secondary", "reason", "lacked"),
    [
        ("Failed", "Failed", "CapacityError: Unable to provision requested ML compute capacity.", True),
        ("Failed", "Failed", "ResourceLimitExceeded: The account-level limit …", True),
        ("Stopped", "MaxWaitTimeExceeded", "", True),
        ("Failed", "Failed", "AlgorithmError: CapacityError: of the script's own, exit code: 1", False),
        ("Stopped", "Stopped", "", False),
        ("Completed", "Completed", "", False),
    ],
)
def test_lack_of_capacity_is_told_by_aws_words_not_by_the_scripts(
    status: str, secondary: str, reason: str, lacked: bool
) -> None:
    description = {"TrainingJobStatus": status, "SecondaryStatus": secondary, "FailureReason": reason}
    assert bool(lacked_capacity(description)) is lacked
