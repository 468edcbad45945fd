"""Stopping a job. A stop is asked for, not had: the follower sees it when Describe says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from trainmaster.aws.failures import code_of

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient


def stop_training(sagemaker: SageMakerClient, job_name: str) -> bool:
    """Ask SageMaker to stop the job; False when it has ended or never was. Safe to repeat."""
    try:
        sagemaker.stop_training_job(TrainingJobName=job_name)
    except ClientError as error:
        if code_of(error) == "ValidationException":  # a job that has ended, or of an unknown name
            return False
        raise
    return True
