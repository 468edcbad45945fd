"""Stopping a job. A stop is asked for until Describe shows it; that it has ended is another wait."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.aws.clients import renew
from trainmaster.aws.failures import code_of, is_missing, is_passing
from trainmaster.aws.polling import Patience, answers
from trainmaster.errors import WaitTimedOutError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

ENDED = frozenset({"Completed", "Failed", "Stopped", "Deleting"})
"""TrainingJobStatus of a job that does nothing any more; only such a job can be deleted."""
ASK_SECONDS = 120.0
"""How long to go on asking for a stop; botocore has then retried each call several times itself."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0


def stop_training(
    sagemaker: SageMakerClient,
    job_name: str,
    *,
    ask_seconds: float = ASK_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Tell SageMaker to stop the job until Describe says that it does; False when it has ended or never was.

    Safe to repeat and to race. Throttling, server faults and cut connections are outlived for `ask_seconds`, then raised, as a
    refusal is at once; WaitTimedOutError when SageMaker took the stop and the job still shows none.
    """
    until, pause, fault = time.monotonic() + ask_seconds, FIRST_PAUSE, None
    while True:
        try:
            taken = _ask(sagemaker, job_name)
            status = _status(sagemaker, job_name)
            if status in ENDED or status is None:
                return taken
            if status == "Stopping":
                return True
            fault = None
        except (ClientError, BotoCoreError) as error:
            if not is_passing(error):
                raise
            fault = error
        if time.monotonic() > until:
            raise fault or WaitTimedOutError(
                f"Training job {job_name} was told to stop for {ask_seconds:.0f} s, and is {status} still. Look at it in the AWS"
                " console; the next reconciliation tells it again."
            )
        sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, not a secret
        pause = min(pause * 2, LONGEST_PAUSE)


def await_stopped(
    client: Callable[[str], Any],
    job_name: str,
    patience: Patience,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Mapping[str, Any]:
    """The description of a job that was told to stop, once it has ended, however it did. `client` makes clients by service;
    `Clients` are renewed when a token has expired.

    Raises WaitTimedOutError when it has not within the patience, and botocore's errors of a job that is not known.
    """

    def ask() -> Mapping[str, Any]:
        found: Mapping[str, Any] = client("sagemaker").describe_training_job(TrainingJobName=job_name)
        return found

    for description in answers(ask, patience, renew=lambda: renew(client), sleep=sleep):
        if description["TrainingJobStatus"] in ENDED:
            return description
    raise WaitTimedOutError(
        f"Training job {job_name} was told to stop and had not ended {patience.longest_seconds:.0f} s later. Look at it in the"
        " AWS console; it goes on to cost money until it has."
    )


def _ask(sagemaker: SageMakerClient, job_name: str) -> bool:
    """False when SageMaker said that there is nothing to stop."""
    try:
        sagemaker.stop_training_job(TrainingJobName=job_name)
    except ClientError as error:
        if code_of(error) == "ValidationException":  # a job that has ended, or of an unknown name
            return False
        raise
    return True


def _status(sagemaker: SageMakerClient, job_name: str) -> str | None:
    """None of a job SageMaker does not know."""
    try:
        return sagemaker.describe_training_job(TrainingJobName=job_name)["TrainingJobStatus"]
    except ClientError as error:
        if is_missing(error):
            return None
        raise
