"""Steps of training: what is run and what it may cost, running it once, following it."""

from __future__ import annotations

from dataclasses import replace
from typing import cast
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run

from tasks.aws import client, desk_of, step
from tasks.budget import tell_standing
from tasks.progress import Teller
from trainmaster.aws.polling import Patience
from trainmaster.budget.approval import ENDING_SECONDS, Rate
from trainmaster.budget.money import shown
from trainmaster.settings import Settings
from trainmaster.training.following import Ending, follow_training
from trainmaster.training.launching import launch_training
from trainmaster.training.logs import LogReader
from trainmaster.training.outcome import LOG_TAIL, TrainingOutcome, outcome_of
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.preparing import prepare_training
from trainmaster.training.request import TrainingRequest
from trainmaster.training.tending import tend

UPLOAD_SLACK_SECONDS = 3600
"""How long after its runtime a job may still be uploading its model."""


@step(task_run_name="plan the job")
def plan_job(request: TrainingRequest, settings: Settings) -> TrainingPlan:
    """Everything about the request checked, its code uploaded, and its job's name derived from all that decides what it does."""
    with desk_of(settings) as desk:
        plan = prepare_training(desk, request)
    approval = plan.approval
    cut = f", cut from {request.max_runtime_seconds} s to what the budget pays for" if approval.is_cut else ""
    get_run_logger().info(
        "Job %s, at worst %s of %s: %s × %s at %s an hour for at most %s s%s, and %s s to end.",
        plan.job_name, shown(approval.worst_case), shown(request.budget_limit), request.instance_count, request.instance_type,
        shown(approval.rate.hourly), approval.max_runtime_seconds, cut, ENDING_SECONDS,
    )  # fmt: skip
    return plan


@step(task_run_name="launch {plan.job_name}")
def launch_job(plan: TrainingPlan, settings: Settings) -> bool:
    """Make sure the job runs, once, with its worst case reserved in every budget; True when an earlier run had launched it."""
    with desk_of(settings) as desk:
        found = launch_training(desk, plan, run=str(flow_run.id or "")) == "found"
        said = "was launched before; following it" if found else "launched"
        get_run_logger().info("Training job %s %s.", plan.job_name, said)
        tell_standing(desk.ledger, plan.job_name)
    return found


@step(task_run_name="follow {plan.job_name}")
def follow_job(plan: TrainingPlan, settings: Settings) -> Ending:
    """Show the job's log, state and cost until it ends, however it does."""
    logger = get_run_logger()
    reader = LogReader(client(settings, "logs"), plan.job_name, plan.create_request["ResourceConfig"]["InstanceCount"])
    patience = Patience(
        settings.poll_seconds, settings.outage_seconds, plan.longest_wait_seconds + UPLOAD_SLACK_SECONDS
    )
    bar = cast(
        "UUID", create_progress_artifact(0.0, key="training-progress", description=f"Training job {plan.job_name}")
    )
    teller, complainer, tail = Teller(logger.info), Teller(logger.warning), list[str]()
    for update in follow_training(client(settings, "sagemaker"), reader, plan.approval.rate, patience):
        for line in update.lines:
            logger.info("| %s", line)
        if update.log_problem:
            complainer.tell(update.log_problem, update.log_problem)
        tail = (tail + update.lines)[-LOG_TAIL:]
        now = update.step
        cost = f"{shown(now.cost)} billed" if now.finished else f"at most {shown(now.cost)} so far"
        sentence = f"{plan.job_name}: {now.secondary} after {now.seconds} s, {cost}."
        teller.tell(now.secondary, sentence)
        try:
            update_progress_artifact(bar, now.percent, sentence)
        except (httpx.HTTPError, PrefectException) as error:  # the job costs money whether Prefect is there or not
            complainer.tell("no progress artifact", f"The progress cannot be shown: {error}")
    return Ending(update.description, tail)


@step(task_run_name="settle {plan.job_name}")
def settle_job(plan: TrainingPlan, ending: Ending, found: bool, settings: Settings) -> TrainingOutcome:
    """Put the bill in the place of what was reserved; the job's outcome, or TrainingFailedError."""
    with desk_of(settings) as desk:
        settled = tend(desk, plan.job_name, ending.description).reservation
        assert settled is not None  # noqa: S101 - it was reserved before it was launched
        if settled.excess:
            get_run_logger().warning(
                "The bill of %s is %s, %s above what was reserved. It is booked as it is.",
                plan.job_name, shown(settled.bill or settled.excess), shown(settled.excess),
            )  # fmt: skip
        tell_standing(desk.ledger, plan.job_name)
    approval = replace(
        plan.approval, rate=Rate(settled.charge.hourly)
    )  # which the job was reserved at, and is billed at
    return outcome_of(ending.description, approval, region=settings.region, found=found, log_tail=ending.log_tail)
