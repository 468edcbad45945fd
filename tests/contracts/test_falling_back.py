"""Whoever comes back to a request goes on with the job it launched, whatever changed since; it never launches a second beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from desks import desk_at
from lasting_jobs import job_plan, put_data
from paid_launch import DATA

from trainmaster.budget.prices import PriceList
from trainmaster.errors import NameConflictError
from trainmaster.training.attempts import FALLBACK, Chain
from trainmaster.training.desk import Desk
from trainmaster.training.falling_back import launch_attempt, plan_attempt
from trainmaster.training.launching import deployment_of, launch_training
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.preparing import asked_by
from trainmaster.training.request import TrainingRequest
from trainmaster.training.result import attempt_at

FULL = {"quota": "ml.m5.large for spot training job usage", "value": 0}


@pytest.fixture
def desk(embedded: Any, tmp_path: Path) -> Iterator[Desk]:
    put_data(embedded)
    with desk_at(tmp_path, embedded.environment) as opened:
        yield opened


@pytest.fixture
def no_room(embedded: Any) -> Iterator[Callable[[], None]]:
    """Takes the quota of the first choice away."""
    yield lambda: embedded.control("POST", "quotas", FULL)
    embedded.control("DELETE", "quotas")


def walk(desk: Desk, *others: str, prices: PriceList | None = None, **asked: Any) -> TrainingPlan:
    """What a run of the request plans first, of a chain begun anew."""
    uri = f"s3://{desk.settings.required('bucket')}/{DATA}/"
    choices = {"instance_type": "ml.m5.large", "max_runtime_seconds": 3600, **asked}
    request = asked_by(desk, TrainingRequest(data_uri=uri, instance_types=list(others), **choices))
    plan, _ = plan_attempt(desk, Chain.of(request, prices or desk.prices, desk.settings.region))
    return plan


def begin(desk: Desk, plan: TrainingPlan) -> None:
    """As far as a launch comes before the job is made: row and money."""
    desk.deployments.begin(deployment_of(plan, "run"))
    desk.ledger.reserve(plan.charge)


def _after_first(chain: Chain, first: TrainingPlan) -> Chain:
    return chain.tried(attempt_at(first, ended="CapacityError"))


def test_a_quota_that_has_room_again_launches_nothing_beside_the_job_that_took_its_place(
    desk: Desk, embedded: Any, no_room: Callable[[], None]
) -> None:
    no_room()
    second = walk(desk, "ml.m5.xlarge")
    assert second.request.instance_type == "ml.m5.xlarge"
    begin(desk, second)
    embedded.control("DELETE", "quotas")
    assert walk(desk, "ml.m5.xlarge").job_name == second.job_name
    desk.ledger.settle(second.job_name, Decimal("0.10"))
    assert walk(desk, "ml.m5.xlarge").job_name == second.job_name


def test_a_run_of_a_job_goes_on_with_that_job_or_one_of_its_fallbacks_and_launches_no_other(desk: Desk) -> None:
    first = walk(desk, "ml.m5.xlarge")
    assert walk(desk, "ml.m5.xlarge", of_job=first.job_name).job_name == first.job_name
    fallback = walk(desk, instance_type="ml.m5.xlarge").job_name
    assert walk(desk, "ml.m5.xlarge", of_job=fallback).job_name == first.job_name
    with pytest.raises(NameConflictError, match=f"of training job {first.job_name}, but .* nothing was launched"):
        walk(desk, of_job=first.job_name, max_runtime_seconds=1800)


def test_prices_that_changed_lead_to_no_other_choice(desk: Desk) -> None:
    first = walk(desk, "ml.m5.xlarge", "ml.m5.2xlarge")
    begin(desk, first)
    desk.ledger.release(first.job_name)
    closed = desk.deployments.ask_stop(deployment_of(first, "run").id, by=FALLBACK, why="CapacityError")
    desk.deployments.give_up(closed.id, "CapacityError")
    dearer = PriceList(
        replace(price, usd=price.usd * 9) if price.item == "ml.m5.xlarge" and price.use == "training" else price
        for price in desk.prices
    )
    request = first.request
    chain = Chain.of(request, desk.prices, desk.settings.region)
    assert [one.instance_type for one in chain.choices][1] == "ml.m5.xlarge"
    begin(desk, plan_attempt(desk, _after_first(chain, first))[0])
    again = Chain.of(request, dearer, desk.settings.region)
    assert [one.instance_type for one in again.choices][1] == "ml.m5.2xlarge"
    assert plan_attempt(desk, _after_first(again, first))[0].request.instance_type == "ml.m5.xlarge"


@pytest.mark.parametrize(
    ("operation", "error"), [("CreateExperiment", "ResourceLimitExceeded"), ("CreateTrial", "AccessDeniedException")]
)
def test_a_job_that_cannot_be_tracked_is_launched_all_the_same_and_found_again(
    desk: Desk, embedded: Any, operation: str, error: str
) -> None:
    plan = job_plan(embedded, name="full")
    embedded.control("POST", "faults", {"operation": operation, "error": error, "count": 1})
    try:
        assert launch_attempt(desk, plan, partial(launch_training, desk, plan), last=False) == "created"
    finally:
        embedded.control("DELETE", "faults")
    assert "ExperimentConfig" not in desk.client("sagemaker").describe_training_job(TrainingJobName=plan.job_name)
    assert launch_training(desk, plan) == "found"
    desk.client("sagemaker").stop_training_job(TrainingJobName=plan.job_name)


def test_every_attempt_goes_on_from_the_checkpoints_of_those_before_it_and_a_new_one_of_the_users_begins_anew(
    desk: Desk, embedded: Any, no_room: Callable[[], None]
) -> None:
    def checkpoints(plan: TrainingPlan) -> str:
        return str(plan.create_request["CheckpointConfig"]["S3Uri"])

    first = walk(desk, "ml.m5.xlarge", "ml.m5.2xlarge")
    chain = _after_first(Chain.of(first.request, desk.prices, desk.settings.region), first)
    second, _ = plan_attempt(desk, chain)
    third, _ = plan_attempt(desk, chain.tried(attempt_at(second, ended="MaxWaitTimeExceeded")))
    assert len({first.job_name, second.job_name, third.job_name}) == 3
    assert checkpoints(second) == checkpoints(third) == checkpoints(first)
    assert f"/{first.job_name}/" in checkpoints(first)
    assert plan_attempt(desk, chain)[0] == second
    no_room()  # and then it is the second that a run begins with
    begun = walk(desk, "ml.m5.xlarge", "ml.m5.2xlarge")
    assert (begun.job_name, checkpoints(begun)) == (second.job_name, checkpoints(first))
    embedded.control("DELETE", "quotas")
    again = walk(desk, "ml.m5.xlarge", "ml.m5.2xlarge", attempt=2)
    assert checkpoints(again) != checkpoints(first)


def test_a_job_that_was_asked_for_by_itself_is_nobodys_second_choice(desk: Desk) -> None:
    alone = walk(desk, instance_type="ml.m5.xlarge")
    begin(desk, alone)
    assert walk(desk, "ml.m5.xlarge").request.instance_type == "ml.m5.large"
