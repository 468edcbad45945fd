"""Deciding about a version of a model: what is asked, what is looked at before, what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainmaster.endpoints.models.package import inspect_model
from trainmaster.endpoints.models.registry import decide, describe_version
from trainmaster.form import as_form

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient


class ApprovalRequest(BaseModel):
    """Whether a version of a model may be deployed, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=as_form(), protected_namespaces=())

    model_group: Annotated[
        str,
        Field(
            title="Model group",
            description="The registry's group of the model's versions; training jobs register in the one named after their model.",
            pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$",
        ),
    ]
    model_version: Annotated[int, Field(title="Version", description="Its number in the group.", ge=1)]
    decision: Annotated[
        Literal["approve", "reject"],
        Field(title="Decision", description="An approved version may be deployed; a rejected one no more."),
    ] = "approve"
    reason: Annotated[
        str,
        Field(
            title="Reason",
            description="Kept with the version, for those who ask later; a rejection needs one.",
            max_length=1024,
            pattern=r"^[^\r\n]*$",
        ),
    ] = ""

    @model_validator(mode="after")
    def _explained(self) -> Self:
        if self.decision == "reject" and not self.reason.strip():
            raise ValueError("reason is empty; say why the version is rejected")
        return self


class Decided(BaseModel):
    """A version as it stands after the decision; `status` is AWS's word."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model_group: str
    model_version: int
    arn: str
    status: str
    reason: str
    model_uri: str
    job_name: str

    def sentence(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        after = (
            "may be deployed" if self.status == "Approved" else "is not deployed any more; what serves already goes on"
        )
        return f"Version {self.model_version} of {self.model_group} is {self.status.lower()}{why}: it {after}."


def decide_on_version(sagemaker: SageMakerClient, s3: S3Client, request: ApprovalRequest) -> Decided:
    """Write the decision into the registry; safe to repeat. Raises UnknownChoiceError when there is no such version, and
    ModelRefusedError when one to approve could not be deployed, or its artifact is not what was registered."""
    found = describe_version(sagemaker, request.model_group, request.model_version)
    if request.decision == "approve":
        inspect_model(s3, found.model_uri, sha256=found.sha256)
    status: Literal["Approved", "Rejected"] = "Approved" if request.decision == "approve" else "Rejected"
    after = decide(sagemaker, found, status, request.reason)
    return Decided(
        model_group=after.group,
        model_version=after.version,
        arn=after.arn,
        status=after.status,
        reason=after.why,
        model_uri=after.model_uri,
        job_name=after.job_name,
    )
