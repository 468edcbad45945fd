"""Steps of training: what is run and what it may cost, running it once, on whichever machines there are, and settling it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import get_args
from uuid import UUID

from prefect import get_client, get_run_logger
from prefect.runtime import flow_run

from tasks.aws import desk_of, step
from tasks.budget import tell_standing
from tasks.cancelling import run_id
from tasks.reports import report_failure
from tasks.turns import wait_for_turn
from trainmaster.budget.approval import Rate
from trainmaster.budget.charge import Allowance
from trainmaster.budget.money import shown
from trainmaster.errors import NoCapacityError, TrainingFailedError
from trainmaster.settings import Settings
from trainmaster.setup.wanted import LAUNCHES
from trainmaster.training import preparing
from trainmaster.training.attempts import FALLBACK, Attempt, Chain, lacked_capacity
from trainmaster.training.falling_back import launch_attempt, plan_attempt
from trainmaster.training.following import Ending
from trainmaster.training.launching import Launch, launch_training
from trainmaster.training.leftovers import leftovers
from trainmaster.training.looking import describe
from trainmaster.training.outcome import TrainingOutcome, bill_of, outcome_of
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.request import TrainingRequest
from trainmaster.training.result import attempt_at
from trainmaster.training.tending import tend


@dataclass(frozen=True)
class Launched:
    """An attempt, and whether its job is there: found, since it was launched before this run, or created; or not, for lack of
    capacity, and then `attempt` says what AWS said."""

    attempt: Attempt
    runs: bool
    found: bool = False
    lacked: str = ""
    """Why it has ended already without the machines it needed, if it has: then there is another attempt to be made, by whoever
    comes back to it."""
    outcome: None = None


@dataclass(frozen=True)
class Settled:
    """An attempt whose job has ended, with its bill; without an outcome when AWS had no capacity, and another may have."""

    attempt: Attempt
    outcome: TrainingOutcome | None = None


def name_of_run() -> str:
    """What a run of `train-model` is called at first: after its model, or the beginning of its config's id."""
    request = TrainingRequest.model_validate(flow_run.parameters["request"])
    what = request.model_name or (f"config {request.training_config_id[:8]}" if request.training_config_id else "model")
    return _named(request, what)


def name_after_config(plan: TrainingPlan) -> None:
    """Call the run after its config, whose name is known by now; no step, since a run that goes on begins under its first name."""
    if plan.request.training_config_id and not plan.request.model_name:
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(flow_run.id), name=_named(plan.request, plan.job_name.rsplit("-", 2)[0]))


def _named(request: TrainingRequest, what: str) -> str:
    return f"{'plan' if request.dry_run else 'train'} {what} #{request.attempt}"


@step(task_run_name="migrate missing datasets")
def migrate_missing(request: TrainingRequest, settings: Settings) -> None:
    """Copy what the training config needs and S3 does not have, if the request says so."""
    with desk_of(settings) as desk:
        for dataset in preparing.migrate_missing(desk, request):
            get_run_logger().info("Dataset %s (%s) is in S3 now.", dataset.name, dataset.id)


def start(request: TrainingRequest, settings: Settings) -> Chain:
    """The way this request may go, nothing of it gone yet."""
    with desk_of(settings) as desk:
        return Chain.of(preparing.asked_by(desk, request), desk.prices, request.region or settings.region)


@step(task_run_name="plan the job")
def plan_job(chain: Chain, settings: Settings) -> tuple[TrainingPlan, Chain]:
    """Everything about the next attempt checked, its code uploaded, its job's name derived from all that decides what it does."""
    with desk_of(settings) as desk:
        plan, chain = plan_attempt(desk, chain)
    logger, approval, request = get_run_logger(), plan.approval, plan.request
    logger.info(
        "Job %s, at worst %s of %s: %s × %s%s at %s an hour for at most %s s.",
        plan.job_name, shown(approval.worst_case), shown(approval.approved), request.instance_count, request.instance_type,
        " (spot)" if request.use_spot_instances else "", shown(approval.rate.hourly), approval.max_runtime_seconds,
    )  # fmt: skip
    for note in plan.notes:
        logger.info("%s", note)
    return plan, chain


@step(task_run_name="launch {plan.job_name}")
def launch_job(plan: TrainingPlan, chain: Chain, allowance: Allowance | None, settings: Settings) -> Launched:
    """Make sure the job runs, once, with its worst case reserved in every budget; or say that AWS has no capacity for it."""
    logger, attempt = get_run_logger(), attempt_at(plan)
    wait_for_turn(LAUNCHES)
    with desk_of(settings) as desk:
        launch = partial(launch_training, desk, plan, run=run_id(), allowance=allowance)
        said = launch_attempt(desk, plan, launch, last=chain.tried(attempt).next is None)
        if said not in get_args(Launch):
            logger.warning("AWS has no capacity for %s: %s", plan.job_name, said)
            return Launched(attempt_at(plan, ended=said), runs=False)
        found = said == "found"
        logger.info("Training job %s %s.", plan.job_name, "was launched before; following it" if found else "launched")
        tell_standing(desk.ledger, plan.job_name)
        ended = describe(desk.client("sagemaker"), plan.job_name) if found else None
    return Launched(attempt, runs=True, found=found, lacked=lacked_capacity(ended) if ended else "")


@step(task_run_name="hand over {plan.job_name}")
def hand_over(plan: TrainingPlan, settings: Settings) -> None:
    """Leave the job to the sweep that follows all jobs nobody waits for."""
    with desk_of(settings) as desk:
        row = desk.deployments.find(plan.job_name)
        assert row is not None  # noqa: S101 - it was made before the job was
        desk.deployments.change(row.id, handed_over=True)
    get_run_logger().info("Training job %s is followed by the schedule follow-jobs from here.", plan.job_name)


@step(task_run_name="settle {plan.job_name}")
def settle_job(plan: TrainingPlan, chain: Chain, ending: Ending, launch: Launched, settings: Settings) -> Settled:
    """Put the bill in the place of what was reserved. Raises TrainingFailedError, and NoCapacityError after the last attempt."""
    logger, description = get_run_logger(), ending.description
    with desk_of(settings) as desk:
        tended = tend(desk, plan.job_name, description, logs="\n".join(ending.log_tail) or None)
        reservation = tended.reservation
        assert reservation is not None  # noqa: S101 - it was reserved before it was launched
        if reservation.excess:
            logger.warning(
                "The bill of %s is %s above what was reserved. It is booked as it is.",
                plan.job_name,
                shown(reservation.excess),
            )
        tell_standing(desk.ledger, plan.job_name)
        left = leftovers(desk.client("s3"), description)
    stop = tended.deployment.job.stop if tended.deployment else None
    lacked = stop.why if stop and stop.by == FALLBACK else lacked_capacity(description)
    rate = Rate(reservation.charge.hourly)  # it was reserved at, and is billed at
    so_far = bill_of(description, rate) if reservation.bill is None else reservation.bill
    attempt = attempt_at(plan, ended=lacked, bill=so_far)
    if lacked and chain.tried(attempt).next:
        logger.warning("AWS had no capacity for %s: %s.", plan.job_name, lacked)
        return Settled(attempt)
    if lacked and chain.attempts:
        raise NoCapacityError([one.sentence() for one in (*chain.attempts, attempt)])
    approval = replace(plan.approval, rate=rate)
    try:
        outcome = outcome_of(
            description,
            approval,
            found=launch.found,
            log_tail=ending.log_tail,
            stop=stop,
            left=left,
        )
    except TrainingFailedError:
        report_failure(plan.job_name, [*chain.attempts, attempt], settings, return_state=True)
        raise
    return Settled(attempt, outcome)
