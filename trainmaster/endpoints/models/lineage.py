"""From data to what serves and back: dataset, training job, version of the model, endpoint. All of it is read from AWS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from trainmaster.aws.failures import is_missing
from trainmaster.endpoints.deploying import tags_of
from trainmaster.endpoints.models.package import ModelPackage
from trainmaster.endpoints.models.registry import Registered, describe_arn, versions
from trainmaster.endpoints.plan import PACKAGE_TAG
from trainmaster.endpoints.seen import SeenEndpoint
from trainmaster.errors import UnknownChoiceError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient


@dataclass(frozen=True)
class Lineage:
    """A version, and the endpoints that serve it now; its data and its job are the version's own."""

    version: Registered
    endpoints: tuple[str, ...] = ()


def version_of_job(sagemaker: SageMakerClient, job_name: str) -> Registered | None:
    """What a training job's model is registered as; None where it is not, or is no more. Raises UnknownChoiceError."""
    try:
        job = sagemaker.describe_training_job(TrainingJobName=job_name)
    except ClientError as error:
        if is_missing(error):
            raise UnknownChoiceError(f"There is no training job {job_name} in this account and region.") from error
        raise
    return _tagged(sagemaker, job["TrainingJobArn"])


def version_of_artifact(sagemaker: SageMakerClient, package: ModelPackage) -> Registered | None:
    """What an artifact is registered as, found by the job whose folder it lies in; None of other bytes than were registered."""
    folders = package.uri.split("/")
    if len(folders) < 6 or folders[-2:] != ["output", "model.tar.gz"]:
        return None
    try:
        found = version_of_job(sagemaker, folders[-3])
    except UnknownChoiceError:  # a folder that is laid out like a job's
        return None
    return found if found and (found.model_uri, found.sha256) == (package.uri, package.sha256) else None


def versions_of_dataset(sagemaker: SageMakerClient, group: str, sha256: str) -> list[Registered]:
    """The versions of a group that were trained on a dataset with this checksum, newest first. Raises UnknownChoiceError."""
    return [one for one in versions(sagemaker, group) if one.dataset_sha256 == sha256]


def lineages(found: Iterable[Registered], seen: Iterable[SeenEndpoint]) -> Iterator[Lineage]:
    """Pure: each version with the endpoints that serve it. One that was deployed by its address counts by its bytes."""
    serving = list(seen)
    for version in found:
        names = [
            one.name
            for one in serving
            if one.version.package == version.arn or (version.sha256 and one.version.sha256 == version.sha256)
        ]
        yield Lineage(version, tuple(names))


def _tagged(sagemaker: SageMakerClient, job_arn: str) -> Registered | None:
    arn = tags_of(sagemaker, job_arn).get(PACKAGE_TAG)
    return describe_arn(sagemaker, arn) if arn else None
