"""Exactly one job for a plan, however often it is launched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from botocore.exceptions import ClientError

from trainmaster.aws.failures import is_missing, is_taken
from trainmaster.errors import NameConflictError
from trainmaster.training.request import FINGERPRINT_TAG, TrainingPlan

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

Launch = Literal["created", "found", "joined"]
"""Joined: the job appeared while we were creating it, by a twin of ours or by a call of ours whose answer was lost."""


def launch_training(sagemaker: SageMakerClient, plan: TrainingPlan) -> Launch:
    """Create the job, or find the one created earlier. Raises NameConflictError when the name is another request's."""
    if _exists(sagemaker, plan):
        return "found"
    try:
        sagemaker.create_training_job(**plan.create_request)
    except ClientError as error:
        if is_taken(error) and _exists(sagemaker, plan):
            return "joined"
        raise
    return "created"


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
