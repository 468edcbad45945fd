"""What a job costs is what AWS says it bills, once it says so; and never nothing because it did not."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from trainmaster.budget.approval import Rate
from trainmaster.training.outcome import bill_of, is_billed, unreported

RATE = Rate(Decimal("3.60"))
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
END = START + timedelta(seconds=500.4)
SOON, LATER = END + timedelta(minutes=59), END + timedelta(hours=1)


def ended(**said: Any) -> dict[str, Any]:
    whole = {
        "TrainingJobStatus": "Completed",
        "TrainingStartTime": START,
        "TrainingEndTime": END,
        "LastModifiedTime": END,
        **said,
    }
    return {name: value for name, value in whole.items() if value is not None}


@pytest.mark.parametrize(
    ("said", "dollars"),
    [
        ({"BillableTimeInSeconds": 100, "TrainingTimeInSeconds": 300}, "0.1"),
        ({"TrainingTimeInSeconds": 300}, "0.3"),
        ({"BillableTimeInSeconds": 0, "TrainingTimeInSeconds": 300}, "0"),
        ({"TrainingTimeInSeconds": 0}, "0"),
        ({"TrainingStartTime": None, "TrainingJobStatus": "Failed"}, "0"),
    ],
)
def test_what_aws_reports_is_the_bill_at_once_zero_seconds_too(said: dict[str, Any], dollars: str) -> None:
    assert is_billed(ended(**said), END)
    assert (bill_of(ended(**said), RATE), unreported(ended(**said))) == (Decimal(dollars), "")


def test_a_job_that_trained_and_has_no_seconds_yet_is_not_billed_until_an_hour_after_its_end() -> None:
    assert not is_billed(ended(), SOON)
    assert is_billed(ended(), LATER)
    assert bill_of(ended(), RATE) == Decimal("0.501")
    assert (
        unreported(ended()) == "AWS reports no seconds it bills; 501 s are booked, those between its start and its end"
    )


def test_where_its_end_is_not_said_its_last_change_is_taken_for_it() -> None:
    assert not is_billed(ended(TrainingEndTime=None), SOON)
    assert bill_of(ended(TrainingEndTime=None), RATE) == Decimal("0.501")


def test_restarts_that_took_longer_than_start_and_end_say_are_paid_for() -> None:
    spans = [(START - timedelta(seconds=200), START), (START, END)]
    transitions = [{"Status": "Training", "StartTime": one, "EndTime": other} for one, other in spans]
    assert bill_of(ended(SecondaryStatusTransitions=transitions), RATE) == Decimal("0.700")


@pytest.mark.parametrize("pool", ["Available", "InUse"])
def test_nothing_is_final_while_its_warm_pool_costs_money(pool: str) -> None:
    assert not is_billed(ended(TrainingTimeInSeconds=300, WarmPoolStatus={"Status": pool}), LATER)
