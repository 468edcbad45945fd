"""What a user asks for when training, and the CreateTrainingJob request that says it to SageMaker."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from trainmaster.budget.approval import Approval, approve_training
from trainmaster.budget.budgets import TEAM_PATTERN, Payer
from trainmaster.budget.charge import Charge
from trainmaster.budget.money import Dollars
from trainmaster.budget.prices import PriceList, shipped_prices
from trainmaster.storage.address import S3Uri

_UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
FINGERPRINT_TAG = "trainmaster:fingerprint"
SPOT_PATIENCE_SECONDS = 3600
"""How much longer than its runtime a spot job may wait for instances. Waiting is not billed."""

METRICS = {
    "validation:r2": r"r2=([-+0-9.eE]+);",
    "validation:mae": r"mae=([-+0-9.eE]+);",
    "validation:rmse": r"rmse=([-+0-9.eE]+);",
}

ModelName = Annotated[
    str,
    Field(
        title="Model name",
        description="Letters, digits and single hyphens; at most 40 characters. Jobs are named after it.",
        pattern=r"^[a-zA-Z0-9](-?[a-zA-Z0-9])*$",
        max_length=40,
    ),
]


class TrainingChoices(BaseModel):
    """How to train: the same for every way of starting a run."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: ModelName = "house-prices"
    model_version: Annotated[
        str,
        Field(
            title="Model version",
            description="Told with every prediction.",
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$",
        ),
    ] = "v1"
    instance_type: Annotated[
        str,
        Field(
            title="Instance type",
            description="SageMaker training instance; those with a known price, cheapest first.",
            pattern=r"^ml\.\S+$",
            json_schema_extra={"enum": list[JsonValue](shipped_prices().instance_types("training", "us-east-1"))},
        ),
    ] = "ml.m5.large"
    instance_count: Annotated[
        int, Field(title="Instances", description="scikit-learn trains on one instance.", ge=1, le=1)
    ] = 1
    volume_size_gb: Annotated[
        int, Field(title="Volume (GB)", description="Disk of each instance, billed with it.", ge=1, le=16384)
    ] = 30
    max_runtime_seconds: Annotated[
        int,
        Field(
            title="Longest runtime (s)",
            description="SageMaker stops the job after this; cut further to what the budget pays for.",
            ge=60,
            le=28 * 86400,
        ),
    ] = 3600
    budget_limit: Annotated[
        Dollars,
        Field(title="Budget (USD)", description="The most this job may cost.", gt=0, le=1_000_000, decimal_places=2),
    ] = Decimal("1.00")
    use_spot_instances: Annotated[
        bool, Field(title="Spot instances", description="Cheaper; the job may wait or be interrupted and resumed.")
    ] = True
    validation_fraction: Annotated[
        float, Field(title="Validation fraction", description="Part of the rows held out to measure.", gt=0, lt=1)
    ] = 0.2
    seed: Annotated[int, Field(title="Seed", description="Of the random split.", ge=0, le=2**31 - 1)] = 42
    attempt: Annotated[
        int,
        Field(
            title="Attempt",
            description="The same request with the same attempt is the same job. One more trains it again.",
            ge=1,
            le=9999,
        ),
    ] = 1
    user_id: Annotated[
        str,
        Field(
            title="User",
            description="Whose budget pays (a UUID); empty for TRAINMASTER_USER_ID.",
            pattern=rf"^({_UUID})?$",
        ),
    ] = ""
    team: Annotated[
        str,
        Field(
            title="Team",
            description="Whose budget pays as well; empty for TRAINMASTER_TEAM.",
            pattern=rf"^({TEAM_PATTERN})?$",
        ),
    ] = ""


class TrainingRequest(TrainingChoices):
    """One training run on data that is in S3."""

    data_uri: Annotated[S3Uri, Field(title="Training data", description="S3 prefix of CSV files: s3://bucket/prefix/.")]

    def paid_by(self, payer: Payer) -> Self:
        """The same request with nobody left out who pays: those it names, else `payer`."""
        user_id = self.user_id or str(payer.user_id or "")
        return self.model_copy(update={"user_id": user_id.lower(), "team": self.team or payer.team})

    @property
    def payer(self) -> Payer:
        return Payer(UUID(self.user_id) if self.user_id else None, self.team)


def approve(choices: TrainingChoices, region: str, prices: PriceList) -> Approval:
    """What the job may cost. Raises UnknownPriceError, and OverBudgetError when its budget pays for nothing useful."""
    return approve_training(
        prices,
        instance_type=choices.instance_type,
        instance_count=choices.instance_count,
        volume_gb=choices.volume_size_gb,
        max_runtime_seconds=choices.max_runtime_seconds,
        budget_limit=choices.budget_limit,
        region=region,
    )


@dataclass(frozen=True)
class TrainingInputs:
    """What a job reads, each by its address, with checksums where the address alone does not fix the content."""

    data_uri: str
    data_checksum: str
    source_uri: str
    image_uri: str


@dataclass(frozen=True)
class TrainingPlan:
    """A job ready to be created: its name and fingerprint follow from the request alone, so a retry finds it again."""

    job_name: str
    fingerprint: str
    approval: Approval
    create_request: dict[str, Any]
    charge: Charge
    """What the ledger reserves for it, by the job's name."""

    @property
    def longest_wait_seconds(self) -> int:
        """By when SageMaker itself will have ended the job, its uploads not counted."""
        stopping = self.create_request["StoppingCondition"]
        return int(stopping.get("MaxWaitTimeInSeconds", stopping["MaxRuntimeInSeconds"]))


def plan_training(
    request: TrainingRequest, inputs: TrainingInputs, approval: Approval, *, role_arn: str, output_uri: str, region: str
) -> TrainingPlan:
    """Pure: the same arguments give the same plan. `output_uri` is an S3 prefix without a trailing slash."""
    fingerprint = fingerprint_of(request, inputs, region)
    job_name = f"{request.model_name}-{fingerprint[:10]}-{request.attempt}"
    runtime = approval.max_runtime_seconds
    stopping = {"MaxRuntimeInSeconds": runtime}
    create: dict[str, Any] = {
        "TrainingJobName": job_name,
        "RoleArn": role_arn,
        "AlgorithmSpecification": {
            "TrainingImage": inputs.image_uri,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": name, "Regex": regex} for name, regex in METRICS.items()],
        },
        "HyperParameters": {
            "sagemaker_program": json.dumps("train.py"),
            "sagemaker_submit_directory": json.dumps(inputs.source_uri),
            "sagemaker_region": json.dumps(region),
            "sagemaker_container_log_level": str(logging.WARNING),  # at INFO the toolkit logs its whole environment
            "validation-fraction": json.dumps(request.validation_fraction),
            "seed": json.dumps(request.seed),
            "model-version": json.dumps(request.model_version),
        },
        "InputDataConfig": [
            {
                "ChannelName": "training",
                "ContentType": "text/csv",
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": inputs.data_uri,
                        "S3DataDistributionType": "FullyReplicated",
                    }
                },
            }
        ],
        "OutputDataConfig": {"S3OutputPath": output_uri},
        "ResourceConfig": {
            "InstanceType": request.instance_type,
            "InstanceCount": request.instance_count,
            "VolumeSizeInGB": request.volume_size_gb,
        },
        "StoppingCondition": stopping,
        "Environment": {
            "PIP_QUIET": "1"
        },  # the toolkit installs requirements.txt: errors are news, what is there is not
        "EnableManagedSpotTraining": request.use_spot_instances,
        "Tags": [
            {"Key": FINGERPRINT_TAG, "Value": fingerprint},
            {"Key": "trainmaster:model", "Value": request.model_name},
            {"Key": "trainmaster:attempt", "Value": str(request.attempt)},
            {"Key": "trainmaster:budget-usd", "Value": str(request.budget_limit)},
        ],
    }
    if request.use_spot_instances:
        stopping["MaxWaitTimeInSeconds"] = runtime + SPOT_PATIENCE_SECONDS
        create["CheckpointConfig"] = {"S3Uri": f"{output_uri}/{job_name}/checkpoints"}
    charge = Charge(
        job_name, approval.worst_case, approval.rate.hourly, job_arn(job_name, role_arn, region), request.payer
    )
    return TrainingPlan(job_name, fingerprint, approval, create, charge)


def job_arn(job_name: str, role_arn: str, region: str) -> str:
    """Where a job is, in the account of its role."""
    _, partition, _, _, account, _ = role_arn.split(":", 5)
    return f"arn:{partition}:sagemaker:{region}:{account}:training-job/{job_name}"


def fingerprint_of(request: TrainingRequest, inputs: TrainingInputs, region: str) -> str:
    """SHA-256 over all that decides what is trained and what may be spent; not over the attempt, nor what we derive."""
    said = request.model_dump(mode="json", exclude={"attempt"})
    whole = {**said, "inputs": [inputs.data_checksum, inputs.source_uri, inputs.image_uri], "region": region}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
