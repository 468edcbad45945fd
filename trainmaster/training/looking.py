"""Looking at many jobs: a Describe for each, several at a time, and what we know of each beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.aws.failures import is_missing
from trainmaster.budget.charge import Reservation
from trainmaster.catalog.deployments import Deployment
from trainmaster.training.desk import Desk
from trainmaster.training.overdrawing import is_of_job, overdrawn_now
from trainmaster.training.tending import Known

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

AT_ONCE = 8
"""Calls under way together; botocore keeps ten connections."""
FAILURES_IN_A_ROW = 16
"""After so many jobs that could not be looked at one after the other it is AWS that is out of reach, not a job."""

Described = Mapping[str, Any] | Exception | None
"""A job's description; why it could not be had; or None when AWS knows no such job."""


def is_in_region(desk: Desk, arn: str) -> bool:
    """Whether the desk's clients are of the region of an ARN."""
    return bool(arn.split(":")[3] == desk.client("sagemaker").meta.region_name)


def is_here(desk: Desk, arn: str) -> bool:
    """Whether they are of its region and account: what another does not know there may be all the same."""
    return is_in_region(desk, arn) and arn.split(":")[4] == desk.account


def regions_with_jobs(desk: Desk) -> list[str]:
    """Where there is something to look after: the desk's own region, then those of open rows and reservations, of any account."""
    arns = [row.job.arn for row in desk.deployments.open_jobs()]
    arns += [one.charge.resource for one in desk.ledger.open_reservations() if is_of_job(one)]
    return list(dict.fromkeys([desk.settings.region, *sorted(arn.split(":")[3] for arn in arns)]))


def describe(sagemaker: SageMakerClient, job_name: str) -> Mapping[str, Any] | None:
    """None when AWS knows no such job."""
    try:
        return sagemaker.describe_training_job(TrainingJobName=job_name)
    except ClientError as error:
        if is_missing(error):
            return None
        raise


def descriptions(desk: Desk, job_names: Sequence[str]) -> Iterator[tuple[str, Described]]:
    """Each job with what AWS says of it, in order; all are in memory, so give a batch of them.

    A job that cannot be looked at does not keep the others from it. Raises botocore's error when none can.
    """
    sagemaker = desk.client("sagemaker")

    def look(job_name: str) -> Described:
        try:
            return describe(sagemaker, job_name)
        except (ClientError, BotoCoreError) as error:
            return error

    failed = 0
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for job_name, described in zip(job_names, threads.map(look, job_names), strict=True):
            failed = failed + 1 if isinstance(described, Exception) else 0
            if failed == FAILURES_IN_A_ROW and isinstance(described, Exception):
                threads.shutdown(wait=False, cancel_futures=True)
                raise described
            yield job_name, described


@dataclass(frozen=True)
class Books:
    """What is reserved and which jobs budgets want stopped, read at once for many jobs."""

    reserved: Mapping[str, Reservation]
    overdrawn: Mapping[str, str]

    def known(self, desk: Desk, job_name: str, deployment: Deployment | None) -> Known:
        """With a look at the ledger for a job that has nothing open: it may be settled, or reserved a moment ago."""
        reservation = self.reserved.get(job_name) or desk.ledger.find(job_name)
        return Known(deployment, reservation, self.overdrawn.get(job_name, ""))


def read_books(desk: Desk) -> Books:
    reservations = desk.ledger.open_reservations()
    return Books({one.key: one for one in reservations}, overdrawn_now(desk.ledger, reservations))
