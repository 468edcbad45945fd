"""A trained model into the registry: all that is said of it is read from its job and its artifact, so whoever registers says the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainmaster.endpoints.deploying import tags_of
from trainmaster.endpoints.models.package import ModelPackage, inspect_model
from trainmaster.endpoints.models.registry import Registered, describe_version, register
from trainmaster.endpoints.models.version_card import Training, quality_of
from trainmaster.errors import RefusedError
from trainmaster.storage.address import S3Address
from trainmaster.training.image import ANY_WITH_GPU, serving_image_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

MODEL_TAG = "trainmaster:model"
"""On a training job: the name of its model, which is its group's."""


def register_job(sagemaker: SageMakerClient, s3: S3Client, job_name: str) -> Registered:
    """Register what a completed job trained, in the group named after its model. Safe to repeat: the same artifact is the same version.

    Raises RefusedError for a job that left no model, ModelRefusedError for a model that cannot be served.
    """
    job = sagemaker.describe_training_job(TrainingJobName=job_name)
    artifact = (job.get("ModelArtifacts") or {}).get("S3ModelArtifacts", "")
    group = tags_of(sagemaker, job["TrainingJobArn"]).get(MODEL_TAG, "")
    if job["TrainingJobStatus"] != "Completed" or not artifact or not group:
        standing = f"it is {job['TrainingJobStatus']}" if group else f"it has no tag {MODEL_TAG}"
        raise RefusedError(f"Training job {job_name} has no model to register: {standing}. Name a completed one.")
    package, training = inspect_model(s3, artifact), training_of(job)
    arn = register(
        sagemaker,
        group,
        package,
        training,
        image_uri=_served_by(package, training),
        quality_uri=_keep_quality(s3, package, training),
    )
    return describe_version(sagemaker, group, int(arn.rpartition("/")[2]))


def training_of(job: Mapping[str, Any]) -> Training:
    """Of DescribeTrainingJob's answer."""
    metrics = {one["MetricName"]: one["Value"] for one in job.get("FinalMetricDataList") or []}
    given = {
        name: value for name, value in (job.get("HyperParameters") or {}).items() if not name.startswith("sagemaker_")
    }
    return Training(
        job_arn=job["TrainingJobArn"],
        image_uri=job["AlgorithmSpecification"]["TrainingImage"],
        metrics={name.removeprefix("validation:"): value for name, value in metrics.items() if math.isfinite(value)},
        hyperparameters={name: _plain(value) for name, value in given.items()},
    )


def _plain(value: str) -> str:
    """Script mode sends every value as JSON."""
    try:
        return str(json.loads(value))
    except ValueError:
        return value


def _served_by(package: ModelPackage, training: Training) -> str:
    """The container the registry names: that of the job where it serves as well, else the one for GPUs of its region."""
    if package.kind.trains_where_it_serves:
        return training.image_uri
    return serving_image_uri(package.kind.framework, training.job_arn.split(":")[3], ANY_WITH_GPU)


def _keep_quality(s3: S3Client, package: ModelPackage, training: Training) -> str:
    """Beside the artifact, where the registry looks for a version's metrics; always the same bytes, so it may be written again."""
    place = S3Address.parse(package.uri)
    key = f"{place.key.rpartition('/')[0]}/model_quality.json"
    s3.put_object(Bucket=place.bucket, Key=key, Body=quality_of(package, training), ContentType="application/json")
    return f"s3://{place.bucket}/{key}"
