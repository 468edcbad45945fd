"""Steps of training: what it may cost, what is run, running it once, following it."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import cast
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

from tasks.aws import client, step
from tasks.budget import ledger_of, tell_standing
from tasks.progress import Teller
from trainmaster.aws.polling import Patience
from trainmaster.budget.approval import ENDING_SECONDS, Approval, Rate
from trainmaster.budget.money import shown
from trainmaster.budget.prices import known_prices
from trainmaster.errors import DatasetRefusedError
from trainmaster.settings import Settings
from trainmaster.storage.address import S3Address
from trainmaster.storage.bodies import measured
from trainmaster.storage.s3 import S3Store, prefix_checksum, require_bucket
from trainmaster.training.following import Ending, follow_training
from trainmaster.training.image import sklearn_image_uri
from trainmaster.training.launching import launch_training
from trainmaster.training.logs import LogReader
from trainmaster.training.outcome import LOG_TAIL, TrainingOutcome, outcome_of
from trainmaster.training.reconciling import settle_training
from trainmaster.training.request import TrainingInputs, TrainingPlan, TrainingRequest, approve, plan_training
from trainmaster.training.source import source_archive, source_name

UPLOAD_SLACK_SECONDS = 3600
"""How long after its runtime a job may still be uploading its model."""


@step(task_run_name="approve cost of {request.instance_type}", retries=0)
def approve_cost(request: TrainingRequest, settings: Settings) -> Approval:
    """What the job may cost at worst, within the request's budget; refused when that is too little to be of use."""
    approval = approve(request, settings.region, known_prices(settings.refreshed_prices))
    cut = f", cut from {request.max_runtime_seconds} s to what the budget pays for" if approval.is_cut else ""
    get_run_logger().info(
        "At worst %s of %s: %s × %s at %s an hour for at most %s s%s, and %s s to end.",
        shown(approval.worst_case), shown(request.budget_limit), request.instance_count, request.instance_type,
        shown(approval.rate.hourly), approval.max_runtime_seconds, cut, ENDING_SECONDS,
    )  # fmt: skip
    return approval


@step(task_run_name="plan {request.model_name}")
def plan_job(request: TrainingRequest, approval: Approval, settings: Settings) -> TrainingPlan:
    """Upload the training code and derive the job's name from all that decides what it does."""
    s3, bucket, role_arn = client(settings, "s3"), settings.required("bucket"), settings.required("execution_role_arn")
    require_bucket(s3, bucket)
    checksum, objects, size = prefix_checksum(s3, S3Address.parse(request.data_uri))
    if not objects:
        raise DatasetRefusedError(f"There is nothing below {request.data_uri}. Upload the data first.")
    source = source_archive()
    folder = f"trainmaster/{request.model_name}"
    source_uri = S3Address(bucket, f"{folder}/source/{source_name(source)}")
    store = S3Store(s3, bucket)
    if not store.stat(source_uri.key):  # named after what is packed: other gzip bytes there hold the same code
        sha256, length = measured(io.BytesIO(source))
        store.put(source_uri.key, io.BytesIO(source), size=length, sha256=sha256, content_type="application/gzip")
    image = sklearn_image_uri(settings.region, request.instance_type)
    plan = plan_training(
        request,
        TrainingInputs(request.data_uri, checksum, str(source_uri), image),
        approval,
        role_arn=role_arn,
        output_uri=f"s3://{bucket}/{folder}/jobs",
        region=settings.region,
    )
    get_run_logger().info("Job %s will read %s object(s), %s bytes.", plan.job_name, objects, f"{size:,}")
    return plan


@step(task_run_name="launch {plan.job_name}")
def launch_job(plan: TrainingPlan, settings: Settings) -> bool:
    """Make sure the job runs, once, with its worst case reserved in every budget; True when an earlier run had launched it."""
    with ledger_of(settings) as ledger:
        found = launch_training(client(settings, "sagemaker"), ledger, plan) == "found"
        said = "was launched before; following it" if found else "launched"
        get_run_logger().info("Training job %s %s.", plan.job_name, said)
        tell_standing(ledger, plan.job_name)
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
    with ledger_of(settings) as ledger:
        settled = settle_training(ledger, plan.job_name, ending.description)
        if settled.excess:
            get_run_logger().warning(
                "The bill of %s is %s, %s above what was reserved. It is booked as it is.",
                plan.job_name, shown(settled.bill or settled.excess), shown(settled.excess),
            )  # fmt: skip
        tell_standing(ledger, plan.job_name)
    approval = replace(
        plan.approval, rate=Rate(settled.charge.hourly)
    )  # which the job was reserved at, and is billed at
    return outcome_of(ending.description, approval, region=settings.region, found=found, log_tail=ending.log_tail)
