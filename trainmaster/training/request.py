"""What a user asks for when training: what is trained, on which machines, within which budget."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, field_validator

from trainmaster.budget.approval import Approval, approve_training
from trainmaster.budget.budgets import TEAM_PATTERN, Payer
from trainmaster.budget.choices import instance_choices, instance_label, instance_of, known_types
from trainmaster.budget.money import Dollars
from trainmaster.budget.prices import PriceList, shipped_prices
from trainmaster.form import Words, as_form
from trainmaster.training.regions import REGIONS

_UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_S3_FOLDER = r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?)?$"
_KMS_KEY = r"^[a-zA-Z0-9:/_-]*$"
_VpcId = Annotated[str, Field(pattern=r"^[-0-9a-zA-Z]+$", max_length=32)]
SPOT_PATIENCE_SECONDS = 3600
"""How much longer than its runtime a spot job may wait for instances. Waiting is not billed."""

_DEFAULT_TYPE = "ml.m5.large"


def _instance_types(schema: dict[str, Any]) -> None:
    schema["enum"] = instance_choices("training", known_types("training"))
    schema["default"] = instance_label(_DEFAULT_TYPE, "training", shipped_prices())
    schema["description"] = (
        "What trains, cheapest first: the price is that of an hour of one in us-east-1, not on spot."
    )


def _fallback_types(schema: dict[str, Any]) -> None:
    schema["items"] = {"type": "string", "enum": instance_choices("training", known_types("training"))}


def _regions(schema: dict[str, Any]) -> None:
    schema["enum"] = [*REGIONS, ""]


RuntimeSeconds = Annotated[
    int,
    Field(
        title="Longest runtime (s)",
        description="SageMaker stops the job after this; cut further to what the budget pays for.",
        ge=60,
        le=28 * 86400,
    ),
]
JobBudget = Annotated[
    Dollars,
    Field(title="Budget (USD)", description="The most this job may cost.", gt=0, le=1_000_000, decimal_places=2),
]
ModelName = Annotated[
    str,
    Field(
        title="Model name",
        description="Letters, digits and single hyphens; at most 40 characters. Jobs are named after it.",
        pattern=r"^[a-zA-Z0-9](-?[a-zA-Z0-9])*$",
        max_length=40,
    ),
]


_JOB = (
    "instance_type", "instance_count", "volume_size_gb", "budget_limit", "max_runtime_seconds", "use_spot_instances",
)  # fmt: skip
_FORM = (
    "training_config_id", "data_uri", "model_name", *_JOB, "on_over_budget", "hyperparameters", "dry_run", "wait", "attempt",
    "migrate_missing", "max_wait_seconds", "instance_types", "fall_back_to_on_demand", "warm_pool_seconds", "user_id", "team",
    "data_classification", "tags", "environment", "experiment", "checkpoint_s3_uri", "enable_profiler", "enable_tensorboard", "region",
)  # fmt: skip
"""What people are asked first: what is trained, on what, for how much; then what few change; networks and keys at the end."""


class JobChoices(BaseModel):
    """Which machines, for how long, for how much, and who pays: the same for every way of starting a run."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    instance_type: Annotated[
        str,
        Field(
            title="Instance type",
            description="SageMaker training instance; those with a known price, cheapest first.",
            max_length=64,
            json_schema_extra=_instance_types,
        ),
        BeforeValidator(instance_of),
    ] = _DEFAULT_TYPE
    instance_count: Annotated[int, Field(title="Instances", description="How many train together.", ge=1, le=20)] = 1
    volume_size_gb: Annotated[
        int, Field(title="Volume (GB)", description="Disk of each instance, billed with it.", ge=1, le=16384)
    ] = 30
    max_runtime_seconds: RuntimeSeconds = 86400
    budget_limit: JobBudget = Decimal("10.00")
    use_spot_instances: Annotated[
        bool, Field(title="Spot instances", description="Cheaper; the job may wait or be interrupted and resumed.")
    ] = True
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
            description="Whose run it is and whose budget pays (a UUID); empty for TRAINMASTER_USER_ID.",
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

    data_classification: Annotated[
        str,
        Field(
            title="Data classification",
            description="Of what is trained on, as the policy names them: such as public or confidential.",
            pattern=r"^[a-z0-9-]{0,60}$",
        ),
    ] = ""
    tags: Annotated[
        dict[str, str],
        Field(title="Tags", description="Of the job, in addition to Trainmaster's."),
        Words(),
    ] = {}

    def paid_by(self, payer: Payer) -> Self:
        """The same request with nobody left out who pays: those it names, else `payer`."""
        user_id = self.user_id or str(payer.user_id or "")
        return self.model_copy(update={"user_id": user_id.lower(), "team": self.team or payer.team})

    @property
    def payer(self) -> Payer:
        return Payer(UUID(self.user_id) if self.user_id else None, self.team)


class TrainingChoices(JobChoices):
    """How to train the model of house prices."""

    model_config = ConfigDict(json_schema_extra=as_form("model_name", "model_version", *_JOB))

    model_name: ModelName = "house-prices"
    model_version: Annotated[
        str,
        Field(
            title="Model version",
            description="Told with every prediction.",
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$",
        ),
    ] = "v1"
    instance_count: Annotated[
        int, Field(title="Instances", description="scikit-learn trains on one instance.", ge=1, le=1)
    ] = 1
    max_runtime_seconds: RuntimeSeconds = 3600
    budget_limit: JobBudget = Decimal("1.00")
    validation_fraction: Annotated[
        float, Field(title="Validation fraction", description="Part of the rows held out to measure.", gt=0, lt=1)
    ] = 0.2
    seed: Annotated[int, Field(title="Seed", description="Of the random split.", ge=0, le=2**31 - 1)] = 42

    def request(self, data_uri: str) -> TrainingRequest:
        """The request to train the model on a table in S3."""
        hyperparameters: dict[str, JsonValue] = {
            "validation-fraction": self.validation_fraction,
            "seed": self.seed,
            "model-version": self.model_version,
        }
        job = self.model_dump(include=set(JobChoices.model_fields) | {"model_name"})
        return TrainingRequest(data_uri=data_uri, hyperparameters=hyperparameters, **job)


class TrainingRequest(JobChoices):
    """One training run: of a training config on its datasets, or of house prices on a table in S3."""

    model_config = ConfigDict(json_schema_extra=as_form(*_FORM, hidden=("platform", "of_job")))

    training_config_id: Annotated[
        str,
        Field(
            title="Training config",
            description="Id (a UUID) of the training config to run, on the datasets it names.",
            pattern=rf"^({_UUID})?$",
        ),
    ] = ""
    data_uri: Annotated[
        str,
        Field(
            title="Training data",
            description="Instead of a training config: S3 prefix of CSV files of houses, s3://bucket/prefix/.",
            pattern=_S3_FOLDER,
            max_length=1024,
        ),
    ] = ""
    model_name: Annotated[
        str,
        Field(
            title="Model name",
            description="Letters, digits and single hyphens; at most 40 characters. Jobs are named after it; the training config's name when empty.",
            pattern=r"^([a-zA-Z0-9](-?[a-zA-Z0-9])*)?$",
            max_length=40,
        ),
    ] = ""
    instance_types: Annotated[
        list[Annotated[str, BeforeValidator(instance_of)]],
        Field(
            title="Fallback instance types",
            description="Tried when there is no capacity for the first: the cheapest that fits the budget next, one at a time.",
            max_length=8,
            json_schema_extra=_fallback_types,
        ),
    ] = []
    fall_back_to_on_demand: Annotated[
        bool,
        Field(
            title="Fall back to on-demand",
            description="When no spot instances become free in time, train on instances that are not spot.",
        ),
    ] = False
    max_wait_seconds: Annotated[
        int,
        Field(
            title="Longest wait (s)",
            description="Spot only: runtime and waiting for instances together; 0 for the longest runtime and an hour.",
            ge=0,
            le=35 * 86400,
        ),
    ] = 0
    on_over_budget: Annotated[
        Literal["refuse", "ask"],
        Field(
            title="When a monthly budget has too little left",
            description="Refuse the run, or suspend it until somebody approves it or not.",
        ),
    ] = "refuse"
    migrate_missing: Annotated[
        bool, Field(title="Migrate datasets", description="Copy datasets to S3 first that are not there yet.")
    ] = False
    dry_run: Annotated[
        bool,
        Field(title="Dry run", description="Check everything and show the plan with its cost; launch nothing."),
    ] = False
    wait: Annotated[
        bool,
        Field(
            title="Wait for the end",
            description="Off: the run ends when the job is launched, and the schedule follow-jobs follows it.",
        ),
    ] = True
    hyperparameters: Annotated[
        dict[str, JsonValue],
        Field(
            title="Hyperparameters",
            description="In addition to the training config's and instead of those of the same name.",
        ),
        Words(json_values=True),
    ] = {}
    checkpoint_s3_uri: Annotated[
        str,
        Field(
            title="Checkpoints",
            description="S3 prefix that checkpoints are kept in and resumed from; the job's own folder when empty.",
            pattern=_S3_FOLDER,
            max_length=1024,
        ),
    ] = ""
    enable_profiler: Annotated[
        bool, Field(title="Profiler", description="SageMaker's system metrics of CPU, GPU, memory and disk.")
    ] = False
    enable_tensorboard: Annotated[
        bool, Field(title="TensorBoard", description="Keep what the job writes for TensorBoard in S3.")
    ] = False
    warm_pool_seconds: Annotated[
        int,
        Field(
            title="Warm pool (s)",
            description="Keep the instances for the next job for so long; billed, and not with spot.",
            ge=0,
            le=3600,
        ),
    ] = 0
    environment: Annotated[
        dict[str, str],
        Field(
            title="Environment",
            description="Variables of the container; no secrets, give their references.",
        ),
        Words(),
    ] = {}
    experiment: Annotated[
        str,
        Field(
            title="Experiment",
            description="SageMaker experiment the run is tracked in; what jobs are named after when empty.",
            pattern=r"^([a-zA-Z0-9](-*[a-zA-Z0-9])*)?$",
            max_length=100,
        ),
    ] = ""
    region: Annotated[
        str,
        Field(
            title="Region",
            description="AWS region; empty for the configured one.",
            pattern=r"^([a-z]{2}(-[a-z]+)+-\d)?$",
            json_schema_extra=_regions,
        ),
    ] = ""
    subnets: Annotated[
        list[_VpcId], Field(title="Subnets", description="Ids of the VPC's to train in; at most 16.", max_length=16)
    ] = []
    security_groups: Annotated[
        list[_VpcId],
        Field(title="Security groups", description="Ids of the VPC's to train in; at most 5.", max_length=5),
    ] = []
    volume_kms_key: Annotated[
        str,
        Field(
            title="KMS key of the volume",
            description="Id or ARN; AWS's own when empty. Not for instance types with disks of their own.",
            pattern=_KMS_KEY,
            max_length=2048,
        ),
    ] = ""
    output_kms_key: Annotated[
        str,
        Field(
            title="KMS key of the output",
            description="Id or ARN; the bucket's own when empty.",
            pattern=_KMS_KEY,
            max_length=2048,
        ),
    ] = ""
    network_isolation: Annotated[
        bool, Field(title="Network isolation", description="No network in the container, not even to S3.")
    ] = False
    platform: Annotated[
        str,
        Field(
            title="Platform",
            description="SageMaker; Lambda Labs is retired.",
            max_length=40,
            json_schema_extra={"enum": ["sagemaker"]},
        ),
    ] = "sagemaker"
    of_job: Annotated[
        str,
        Field(
            title="Of the job",
            description="Name of the job that was launched for this run; refused where the request comes to another one by now.",
            pattern=r"^([a-zA-Z0-9](-*[a-zA-Z0-9])*)?$",
            max_length=63,
        ),
    ] = ""

    @field_validator("training_config_id", "user_id")
    @classmethod
    def _one_spelling(cls, uuid: str) -> str:
        return uuid.lower()

    @property
    def longest_wait_seconds(self) -> int:
        """Of a spot job: MaxWaitTimeInSeconds as it was asked for."""
        return self.max_wait_seconds or self.max_runtime_seconds + SPOT_PATIENCE_SECONDS


def approve(choices: JobChoices, region: str, prices: PriceList) -> Approval:
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


def decides(request: TrainingRequest) -> dict[str, Any]:
    """All of a request that decides what is trained and what may be spent; not how it is watched, nor the attempt."""
    ways = {
        "attempt",
        "dry_run",
        "wait",
        "migrate_missing",
        "data_classification",
        "on_over_budget",
        "instance_types",
        "fall_back_to_on_demand",
        "of_job",
    }
    return request.model_dump(mode="json", exclude=ways)
