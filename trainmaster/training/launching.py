"""Exactly one job for a plan, paid for before it is made, however often it is launched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from botocore.exceptions import ClientError

from trainmaster.aws.failures import is_missing, is_refusal, is_taken
from trainmaster.budget.ledger import Ledger
from trainmaster.errors import NameConflictError, OverBudgetError
from trainmaster.training.request import FINGERPRINT_TAG, TrainingPlan
from trainmaster.training.stopping import stop_training

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

Launch = Literal["created", "found", "joined"]
"""Joined: the job appeared while we were creating it, by a twin of ours or by a call of ours whose answer was lost."""


def launch_training(sagemaker: SageMakerClient, ledger: Ledger, plan: TrainingPlan) -> Launch:
    """Reserve the worst case and create the job, or find the one created earlier with what was reserved for it then.

    Whoever dies on the way leaves a reservation, or a job with one; the next launch goes on from there. Raises
    OverBudgetError, and NameConflictError when the name is another request's; of what AWS refused nothing stays reserved.
    """
    if _exists(sagemaker, plan):
        ledger.adopt(plan.charge)
        return "found"
    reservation = ledger.reserve(plan.charge, plan.approval.cheaper)
    if not reservation.is_open:
        return _require_exists(sagemaker, plan)
    launch = _create(sagemaker, ledger, plan, reservation.position)
    _require_paid(sagemaker, ledger, plan)
    return launch


def _create(sagemaker: SageMakerClient, ledger: Ledger, plan: TrainingPlan, position: int) -> Launch:
    try:
        sagemaker.create_training_job(**plan.create_request)
    except ClientError as error:
        if is_taken(error) and _exists(sagemaker, plan):
            return "joined"
        # Of any other failure nobody knows whether the job was made. The next try finds out, or reconcile does.
        if is_refusal(error) and not is_taken(error):
            ledger.release(plan.job_name, position)
        raise
    return "created"


def _require_paid(sagemaker: SageMakerClient, ledger: Ledger, plan: TrainingPlan) -> None:
    """A twin that AWS refused may have released our common reservation between our two calls, and another taken the money."""
    try:
        ledger.reserve(plan.charge, plan.approval.cheaper)
    except OverBudgetError:
        stop_training(sagemaker, plan.job_name)
        ledger.adopt(plan.charge)
        raise


def _require_exists(sagemaker: SageMakerClient, plan: TrainingPlan) -> Launch:
    """What is billed has run and is never run again on the same bill."""
    if _exists(sagemaker, plan):  # by a twin, all the way to the end, since we last looked
        return "joined"
    raise NameConflictError(
        f"Training job {plan.job_name} was run and billed, but AWS does not know it any more. Set attempt to one more to"
        " train again."
    )


def _exists(sagemaker: SageMakerClient, plan: TrainingPlan) -> bool:
    try:
        arn = sagemaker.describe_training_job(TrainingJobName=plan.job_name)["TrainingJobArn"]
    except ClientError as error:
        if is_missing(error):
            return False
        raise
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    tags = {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}
    if tags.get(FINGERPRINT_TAG) != plan.fingerprint:
        raise NameConflictError(
            f"Training job {plan.job_name} exists, made from a different request"
            f" (fingerprint {tags.get(FINGERPRINT_TAG, 'none')!s:.10}, ours {plan.fingerprint:.10})."
            " Choose another model_name or attempt."
        )
    return True
