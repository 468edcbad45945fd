"""What is answered of trainings: one deployment as it stands, some of them, and one that waits for something first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from trainmaster.catalog.deployments import Deployment
from trainmaster.http_api.office import StartedRun
from trainmaster.training.logs import GROUP
from trainmaster.training.seen import Seen
from trainmaster.training.tending import console_url, metrics_of

Status = Literal[
    "queued", "creating", "building", "starting", "running", "training", "completed", "failed", "cancelled", "stopping",
    "stopped",
]  # fmt: skip
UsDollars = Annotated[str, Field(description="US dollars, as text so that no digit is lost.", examples=["1.4081"])]
_ID = "7a0d3c52-9d0b-5f6e-8a41-1f0f6c115a58"
_JOB = "support-chat-4f1e9a2b7c-1"


class FlowRunAnswer(BaseModel):
    """The run that follows it in the Prefect UI."""

    id: str
    name: str
    state: str
    url: Annotated[str, Field(description="Its page in the Prefect UI.")]

    @classmethod
    def of(cls, run: StartedRun) -> FlowRunAnswer:
        return cls(id=run.id, name=run.name, state=run.state, url=run.url)


class Instance(BaseModel):
    """The machines it runs on."""

    type: Annotated[str, Field(examples=["ml.g5.xlarge"])]
    count: Annotated[int, Field(examples=[1])]
    spot: bool


class Cost(BaseModel):
    """What it may cost at the very most and is reserved for it, what it was billed, and what was approved for it."""

    estimated: Annotated[UsDollars | None, Field(description="Worst case: reserved before anything was launched.")]
    actual: Annotated[
        UsDollars | None, Field(description="The bill once it is final; until then at most so much so far.")
    ]
    is_billed: Annotated[bool, Field(description="Whether `actual` is AWS's last word.")]
    limit: Annotated[UsDollars | None, Field(description="The budget_limit of the request.")]
    currency: Literal["USD"] = "USD"


class Failure(BaseModel):
    """Why it did not complete, likely, and what to do about it."""

    kind: Annotated[str, Field(description="In a word.", examples=["memory", "capacity", "data", "refused"])]
    reason: Annotated[str, Field(description="AWS's own words, where it has any.")]
    advice: str


class StopAnswer(BaseModel):
    """Who wanted it stopped, since when."""

    by: str
    why: str
    at: datetime


class TrainingDeployment(BaseModel):
    """One training as it stands."""

    model_config = ConfigDict(
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {
                    "deployment_id": _ID,
                    "training_job_name": _JOB,
                    "training_job_arn": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{_JOB}",
                    "training_config_id": "3f2c9a0e-5b1d-4c8e-9f60-2a7d1e4b8c55",
                    "status": "training",
                    "secondary_status": "Training",
                    "instance": {"type": "ml.g5.xlarge", "count": 1, "spot": True},
                    "cost": {
                        "estimated": "5.6851", "actual": "0.3912", "is_billed": False, "limit": "12.00", "currency": "USD",
                    },
                    "s3_output_path": "s3://my-bucket/trainmaster/support-chat/jobs",
                    "model_artifact": None,
                    "log_group": GROUP,
                    "log_stream_prefix": f"{_JOB}/",
                    "logs": ["step 40/100 loss=1.02"],
                    "metrics": {"loss": 1.02},
                    "progress": {"step": 40, "steps": 100, "percent": 40.0},
                    "billable_seconds": None,
                    "training_seconds": None,
                    "checkpoint_urls": [],
                    "created_at": "2026-11-22T09:00:00Z",
                    "started_at": "2026-11-22T09:03:10Z",
                    "completed_at": None,
                    "failure": None,
                    "stop": None,
                    "console_url": "https://us-east-1.console.aws.amazon.com/sagemaker/home?region=us-east-1#/jobs/" + _JOB,
                    "flow_run": None,
                    "notes": [],
                }
            ]
        },
    )  # fmt: skip

    deployment_id: Annotated[UUID, Field(description="Of its row in cloud_deployments.")]
    training_job_name: str
    training_job_arn: str
    training_config_id: UUID | None
    status: Status
    secondary_status: Annotated[str | None, Field(description="AWS's own, finer; null where AWS was not asked.")]
    instance: Instance | None
    cost: Cost
    s3_output_path: Annotated[str | None, Field(description="Where its model and output are kept, once AWS knows it.")]
    model_artifact: Annotated[str | None, Field(description="The model of one that completed.")]
    log_group: Annotated[str, Field(description="In CloudWatch.")] = GROUP
    log_stream_prefix: Annotated[str, Field(description="Its streams begin so, one for each machine.")]
    logs: Annotated[list[str], Field(description="Its last lines.")]
    metrics: Annotated[dict[str, float], Field(description="The last value of each.")]
    progress: Annotated[dict[str, float | bool], Field(description="How far it is, where its log says so.")]
    billable_seconds: Annotated[int | None, Field(description="AWS's, once it has ended.")]
    training_seconds: int | None
    checkpoint_urls: Annotated[list[str], Field(description="The newest checkpoints: addresses in S3, not links.")]
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    failure: Failure | None
    stop: StopAnswer | None
    console_url: str
    flow_run: FlowRunAnswer | None
    notes: Annotated[list[str], Field(description="Worth knowing, and no reason not to go on.")]

    @classmethod
    def of(
        cls, seen: Seen, *, run: StartedRun | None = None, logs: Sequence[str] = (), notes: Sequence[str] = ()
    ) -> TrainingDeployment:
        """From the job as it was seen last."""
        row, described = seen.deployment, seen.description or {}
        stop, request = row.job.stop, row.job.request
        return cls(
            deployment_id=row.id,
            training_job_name=row.deployment_id,
            training_job_arn=row.job.arn,
            training_config_id=row.training_config_id,
            status=_status(row),
            secondary_status=described.get("SecondaryStatus"),
            instance=_instance(request) if request else None,
            cost=Cost(
                estimated=_dollars(row.estimated_cost),
                actual=_dollars(row.actual_cost if row.actual_cost is not None else seen.cost),
                is_billed=seen.is_billed,
                limit=_dollars(row.budget_limit),
            ),
            s3_output_path=(described.get("OutputDataConfig") or {}).get("S3OutputPath"),
            model_artifact=_artifact(row, described),
            log_stream_prefix=f"{row.deployment_id}/",
            logs=list(logs),
            metrics=dict(row.metrics or metrics_of(described) or {}),
            progress={name: value for name, value in asdict(seen.progress).items() if value not in (None, False)},
            billable_seconds=described.get("BillableTimeInSeconds"),
            training_seconds=described.get("TrainingTimeInSeconds"),
            checkpoint_urls=list(row.checkpoint_urls),
            created_at=row.created_at,
            started_at=row.started_at,
            completed_at=row.completed_at,
            failure=_failure(seen),
            stop=StopAnswer(by=stop.by, why=stop.why, at=stop.at) if stop else None,
            console_url=row.url or console_url(row.job.arn),
            flow_run=FlowRunAnswer.of(run) if run else None,
            notes=[*([_unsure(seen)] if seen.problem else []), *notes],
        )


class TrainingList(BaseModel):
    """The caller's trainings, newest first, as their rows have them: AWS is asked of one by its id."""

    deployments: list[TrainingDeployment]
    cursor: Annotated[str | None, Field(description="Asks for the next page; null where this is the last.")]


class TrainingAwaited(BaseModel):
    """Nothing is launched yet: its flow run copies datasets first, or waits for somebody to approve the cost."""

    status: Literal["queued"] = "queued"
    training_job_name: Annotated[
        str, Field(description="What it would be called, as far as is known.", examples=[_JOB])
    ]
    message: Annotated[str, Field(examples=["2 datasets are copied to S3 first."])]
    estimated_cost: UsDollars
    flow_run: FlowRunAnswer
    notes: list[str]


class ForeignDataset(BaseModel):
    """A dataset of the training config that is not in S3, where SageMaker reads."""

    id: UUID
    name: str
    provider: Annotated[str, Field(examples=["supabase"])]


def _status(row: Deployment) -> Any:
    return "stopping" if row.stop_asked and not row.has_ended and row.status != "cancelled" else row.status


def _instance(request: Mapping[str, Any]) -> Instance:
    return Instance(type=request["instance_type"], count=request["instance_count"], spot=request["use_spot_instances"])


def _artifact(row: Deployment, described: Mapping[str, Any]) -> str | None:
    """AWS names where it would be of any job."""
    if row.status != "completed":
        return None
    return (described.get("ModelArtifacts") or {}).get("S3ModelArtifacts")


def _failure(seen: Seen) -> Failure | None:
    row, cause = seen.deployment, seen.cause
    if row.status == "completed" or not row.has_ended:
        return None
    if cause is None:
        kind = "refused" if row.job.given_up and not row.stop_asked else "unknown"
        return Failure(kind=kind, reason=row.error_message or "", advice="")
    return Failure(kind=cause.kind, reason=row.error_message or cause.why, advice=cause.advice)


def _unsure(seen: Seen) -> str:
    return f"AWS could not be asked, so this is how it stood last: {seen.problem}"


def _dollars(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"
