"""From a request whose every question is answered to the job's name and the CreateTrainingJob request. Pure."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainmaster.budget.approval import Approval
from trainmaster.budget.charge import Charge
from trainmaster.training.request import TrainingRequest, decides
from trainmaster.training.trainers import Trainer

FINGERPRINT_TAG = "trainmaster:fingerprint"


@dataclass(frozen=True)
class Channel:
    """One input of a job: an S3 prefix or object, with a checksum since the address alone does not fix the content."""

    name: str
    uri: str
    checksum: str


@dataclass(frozen=True)
class TrainingInputs:
    """What a job runs and reads. Hyperparameters are as they go over the wire: strings, JSON each."""

    name: str
    """What jobs are named after."""
    trainer: Trainer
    channels: tuple[Channel, ...]
    source_uri: str
    image_uri: str
    hyperparameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where jobs run and what they leave is kept: `output_uri` is an S3 prefix without a slash at its end."""

    region: str
    role_arn: str
    output_uri: str


@dataclass(frozen=True)
class TrainingPlan:
    """A job ready to be created: its name and fingerprint follow from the request alone, so a retry finds it again."""

    job_name: str
    fingerprint: str
    request: TrainingRequest
    approval: Approval
    create_request: dict[str, Any]
    charge: Charge
    """What the ledger reserves for it, by the job's name."""
    notes: tuple[str, ...] = ()
    """What is worth knowing before it is launched, and no reason not to: a runtime that was cut, a quota nobody may read."""

    @property
    def longest_wait_seconds(self) -> int:
        """By when SageMaker itself will have ended the job, its uploads not counted."""
        stopping = self.create_request["StoppingCondition"]
        return int(stopping.get("MaxWaitTimeInSeconds", stopping["MaxRuntimeInSeconds"]))


def plan_training(request: TrainingRequest, inputs: TrainingInputs, approval: Approval, place: Place) -> TrainingPlan:
    """Pure: the same arguments give the same plan."""
    fingerprint = fingerprint_of(request, inputs, place.region)
    job_name = job_name_of(request, inputs, place.region)
    runtime = approval.max_runtime_seconds
    stopping = {"MaxRuntimeInSeconds": runtime}
    create: dict[str, Any] = {
        "TrainingJobName": job_name,
        "RoleArn": place.role_arn,
        "AlgorithmSpecification": {
            "TrainingImage": inputs.image_uri,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": name, "Regex": regex} for name, regex in inputs.trainer.metrics.items()],
        },
        "HyperParameters": {
            "sagemaker_program": json.dumps(inputs.trainer.entry_point),
            "sagemaker_submit_directory": json.dumps(inputs.source_uri),
            "sagemaker_region": json.dumps(place.region),
            "sagemaker_container_log_level": str(logging.WARNING),  # at INFO the toolkit logs its whole environment
            **inputs.hyperparameters,
        },
        "InputDataConfig": [_channel(channel, inputs.trainer.content_type) for channel in inputs.channels],
        "OutputDataConfig": {"S3OutputPath": place.output_uri},
        "ResourceConfig": {
            "InstanceType": request.instance_type,
            "InstanceCount": request.instance_count,
            "VolumeSizeInGB": request.volume_size_gb,
        },
        "StoppingCondition": stopping,
        # The toolkit installs requirements.txt: errors are news, what is there is not.
        "Environment": {"PIP_QUIET": "1", **request.environment},
        "EnableManagedSpotTraining": request.use_spot_instances,
        "Tags": [
            {"Key": FINGERPRINT_TAG, "Value": fingerprint},
            {"Key": "trainmaster:model", "Value": inputs.name},
            {"Key": "trainmaster:attempt", "Value": str(request.attempt)},
            {"Key": "trainmaster:budget-usd", "Value": str(request.budget_limit)},
        ],
    }
    if request.use_spot_instances:
        stopping["MaxWaitTimeInSeconds"] = runtime + request.longest_wait_seconds - request.max_runtime_seconds
        create["CheckpointConfig"] = {"S3Uri": f"{place.output_uri}/{job_name}/checkpoints"}
    arn = job_arn(job_name, place.role_arn, place.region)
    charge = Charge(job_name, approval.worst_case, approval.rate.hourly, arn, request.payer)
    return TrainingPlan(job_name, fingerprint, request, approval, create, charge)


def _channel(channel: Channel, content_type: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": channel.uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": channel.name, "ContentType": content_type, "DataSource": {"S3DataSource": source}}


def job_arn(job_name: str, role_arn: str, region: str) -> str:
    """Where a job is, in the account of its role."""
    _, partition, _, _, account, _ = role_arn.split(":", 5)
    return f"arn:{partition}:sagemaker:{region}:{account}:training-job/{job_name}"


def job_name_of(request: TrainingRequest, inputs: TrainingInputs, region: str) -> str:
    """At most 63 characters, as SageMaker wants them; known before anything is priced or reserved."""
    return f"{inputs.name}-{fingerprint_of(request, inputs, region)[:10]}-{request.attempt}"


def fingerprint_of(request: TrainingRequest, inputs: TrainingInputs, region: str) -> str:
    """SHA-256 over all that decides what is trained and what may be spent; not over the attempt, nor what we derive."""
    read = [[channel.name, channel.uri, channel.checksum] for channel in inputs.channels]
    ran = [inputs.trainer.entry_point, inputs.source_uri, inputs.image_uri, dict(inputs.hyperparameters)]
    whole = {**decides(request), "inputs": [read, ran], "region": region}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
