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
from trainmaster.training.checking import Circumstances
from trainmaster.training.request import TrainingRequest, decides
from trainmaster.training.trainers import Trainer

FINGERPRINT_TAG = "trainmaster:fingerprint"
INSTALLATION_TAG = "trainmaster:installation"
"""By which reconciling knows the jobs that are its own to stop."""
DATA_TAG = "trainmaster:data-classification"
OUR_TAGS = (
    FINGERPRINT_TAG, "trainmaster:model", "trainmaster:attempt", "trainmaster:budget-usd", INSTALLATION_TAG, DATA_TAG,
)  # fmt: skip
OUR_VARIABLES = {"PIP_QUIET": "1"}
"""The toolkit installs requirements.txt: errors are news, what is there is not."""
CODE_CHANNEL = "code"
PROFILED_EVERY_MILLISECONDS = 500
"""SageMaker's own default."""


@dataclass(frozen=True)
class Channel:
    """One input of a job: an S3 prefix or object, with a checksum since the address alone does not fix the content."""

    name: str
    uri: str
    checksum: str
    manifest_uri: str = ""
    """Where a manifest lies that names the object at `uri` alone; SageMaker reads all that begins with `uri` without one."""


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
    source_checksum: str = ""
    """Of the program, where its address alone does not fix it."""


@dataclass(frozen=True)
class Place:
    """Where jobs run and what they leave is kept, `output_uri` an S3 prefix without a slash at its end; and whose they are."""

    region: str
    role_arn: str
    output_uri: str
    installation: str


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
    circumstances: Circumstances | None = None
    """What was found where it is to run: what is left of quotas and budgets."""

    @property
    def longest_wait_seconds(self) -> int:
        """By when SageMaker itself will have ended the job, its uploads not counted."""
        stopping = self.create_request["StoppingCondition"]
        return int(stopping.get("MaxWaitTimeInSeconds", stopping["MaxRuntimeInSeconds"]))


def plan_training(
    request: TrainingRequest,
    inputs: TrainingInputs,
    approval: Approval,
    place: Place,
    *,
    first: TrainingRequest | None = None,
) -> TrainingPlan:
    """Pure: the same arguments give the same plan. `first` is what was asked for where `request` takes its place on other machines:
    its checkpoints are gone on from."""
    fingerprint = fingerprint_of(request, inputs, place.region)
    job_name = job_name_of(request, inputs, place.region)
    folder = f"{place.output_uri}/{job_name}"
    kept_at = f"{place.output_uri}/{job_name_of(first or request, inputs, place.region)}/checkpoints"
    create: dict[str, Any] = {
        "TrainingJobName": job_name,
        "RoleArn": place.role_arn,
        "AlgorithmSpecification": {
            "TrainingImage": inputs.image_uri,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": name, "Regex": regex} for name, regex in inputs.trainer.metrics.items()],
        },
        "HyperParameters": {**inputs.hyperparameters, **_script_mode(request, inputs, place.region)},
        "InputDataConfig": _channels(request, inputs),
        "OutputDataConfig": {"S3OutputPath": place.output_uri, **_given(KmsKeyId=request.output_kms_key)},
        "ResourceConfig": {
            "InstanceType": request.instance_type,
            "InstanceCount": request.instance_count,
            "VolumeSizeInGB": request.volume_size_gb,
            **_given(VolumeKmsKeyId=request.volume_kms_key, KeepAlivePeriodInSeconds=request.warm_pool_seconds),
        },
        "StoppingCondition": _stopping(request, approval),
        "Environment": {**OUR_VARIABLES, **request.environment},
        "EnableManagedSpotTraining": request.use_spot_instances,
        "EnableNetworkIsolation": request.network_isolation,
        "CheckpointConfig": {"S3Uri": request.checkpoint_s3_uri or kept_at},
        "ProfilerConfig": _profiler(folder) if request.enable_profiler else {"DisableProfiler": True},
        "ExperimentConfig": _experiment(request.experiment or inputs.name, job_name),
        "Tags": [{"Key": key, "Value": value} for key, value in _tags(request, inputs, fingerprint, place).items()],
    }
    if request.enable_tensorboard:
        create["TensorBoardOutputConfig"] = {"S3OutputPath": f"{folder}/tensorboard"}
    if request.subnets and request.security_groups:
        create["VpcConfig"] = {"Subnets": request.subnets, "SecurityGroupIds": request.security_groups}
    arn = job_arn(job_name, place.role_arn, place.region)
    charge = Charge(job_name, approval.worst_case, approval.rate.hourly, arn, request.payer)
    return TrainingPlan(job_name, fingerprint, request, approval, create, charge)


def _given(**members: Any) -> dict[str, Any]:
    """Those that say something: AWS takes no empty ones."""
    return {name: value for name, value in members.items() if value}


def _script_mode(request: TrainingRequest, inputs: TrainingInputs, region: str) -> dict[str, str]:
    """What the container's toolkit is told. Without a network it cannot fetch the program, and gets it by a channel."""
    file = inputs.source_uri.rpartition("/")[2]
    source = f"/opt/ml/input/data/{CODE_CHANNEL}/{file}" if request.network_isolation else inputs.source_uri
    return {
        "sagemaker_program": json.dumps(inputs.trainer.entry_point),
        "sagemaker_submit_directory": json.dumps(source),
        "sagemaker_region": json.dumps(region),
        "sagemaker_container_log_level": str(logging.WARNING),  # at INFO the toolkit logs its whole environment
    }


def _channels(request: TrainingRequest, inputs: TrainingInputs) -> list[dict[str, Any]]:
    channels = [_channel(channel, inputs.trainer.content_type) for channel in inputs.channels]
    if request.network_isolation:
        channels.append(_channel(Channel(CODE_CHANNEL, inputs.source_uri, ""), "application/x-gzip"))
    return channels


def _channel(channel: Channel, content_type: str) -> dict[str, Any]:
    kind, uri = ("ManifestFile", channel.manifest_uri) if channel.manifest_uri else ("S3Prefix", channel.uri)
    source = {"S3DataType": kind, "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": channel.name, "ContentType": content_type, "DataSource": {"S3DataSource": source}}


def _stopping(request: TrainingRequest, approval: Approval) -> dict[str, int]:
    runtime = approval.max_runtime_seconds
    if not request.use_spot_instances:
        return {"MaxRuntimeInSeconds": runtime}
    patience = request.longest_wait_seconds - request.max_runtime_seconds
    return {"MaxRuntimeInSeconds": runtime, "MaxWaitTimeInSeconds": runtime + patience}


def _profiler(folder: str) -> dict[str, Any]:
    return {"S3OutputPath": f"{folder}/profiler", "ProfilingIntervalInMilliseconds": PROFILED_EVERY_MILLISECONDS}


def _experiment(experiment: str, job_name: str) -> dict[str, str]:
    """Runs of one experiment are shown together by SageMaker. Each has a trial of its own, by the job's name: a trial takes some 50
    runs, then AWS refuses the next; and a name by month would be another when a launch is tried again after midnight."""
    return {
        "ExperimentName": experiment,
        "TrialName": job_name,
        "TrialComponentDisplayName": job_name,
        "RunName": job_name,
    }


def _tags(request: TrainingRequest, inputs: TrainingInputs, fingerprint: str, place: Place) -> dict[str, str]:
    return {
        **request.tags,
        FINGERPRINT_TAG: fingerprint,
        "trainmaster:model": inputs.name,
        "trainmaster:attempt": str(request.attempt),
        "trainmaster:budget-usd": str(request.budget_limit),
        INSTALLATION_TAG: place.installation,
        **_given(**{DATA_TAG: request.data_classification}),
    }


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
    program = [inputs.trainer.entry_point, inputs.source_uri, inputs.source_checksum, inputs.image_uri]
    ran = [*program, dict(inputs.hyperparameters)]
    whole = {**decides(request), "inputs": [read, ran], "region": region}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
