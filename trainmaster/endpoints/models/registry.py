"""SageMaker's model registry: a group for each model, a version for each artifact, and which of them may be deployed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from trainmaster.aws.failures import code_of, is_missing
from trainmaster.endpoints.models.package import ModelPackage
from trainmaster.endpoints.models.version_card import (
    DATASET_SHA256,
    JOB,
    SHA256,
    Training,
    card_of,
    description_of,
    properties_of,
)
from trainmaster.endpoints.plan import PACKAGE_TAG
from trainmaster.errors import NotApprovedError, UnknownChoiceError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

Decision = Literal["Approved", "Rejected"]
PENDING = "PendingManualApproval"
TRIES = 5
"""For a version that AWS refuses only because another of its group is being made."""
_LISTED = 8


@dataclass(frozen=True)
class Registered:
    """A version of a model group. `status` is AWS's: Approved, Rejected or PendingManualApproval; what is unknown of a version that
    Trainmaster did not register is ""."""

    arn: str
    model_uri: str
    version: int
    status: str
    group: str = ""
    sha256: str = ""
    job_name: str = ""
    dataset_sha256: str = ""
    why: str = ""
    """What was said when it was approved or rejected."""

    def __str__(self) -> str:
        return f"version {self.version} of {self.group}"


def register(
    sagemaker: SageMakerClient,
    group: str,
    package: ModelPackage,
    training: Training,
    *,
    quality_uri: str = "",
    image_uri: str = "",
) -> str:
    """The ARN of the artifact's version in the group, which is made if there is none. Safe to repeat and to race.

    `image_uri` is of the container that serves it, where that is another than the job's. The job gets the ARN as a tag, as the version names the job: the way can be gone in both directions.
    """
    _ensure_group(sagemaker, group)
    arn = find_version(sagemaker, group, package.sha256)
    if arn is None:
        request = _request(group, package, training, image_uri or training.image_uri, quality_uri)
        arn = _create(sagemaker, group, package.sha256, request)
    sagemaker.add_tags(ResourceArn=training.job_arn, Tags=[{"Key": PACKAGE_TAG, "Value": arn}])
    return arn


def find_version(sagemaker: SageMakerClient, group: str, sha256: str) -> str | None:
    """The ARN of the group's version with that artifact, or None."""
    for summary in _versions(sagemaker, group):
        if sha256 in summary.get("ModelPackageDescription", ""):
            return str(summary["ModelPackageArn"])
    return None


def resolve(sagemaker: SageMakerClient, group: str, version: int | None = None) -> Registered:
    """The version to deploy: the one named, or the newest approved one.

    Raises UnknownChoiceError when there is no such group or version, NotApprovedError when it may not be deployed.
    """
    if version is not None:
        found = describe_version(sagemaker, group, version)
        if found.status != "Approved":
            said = f" ({found.why})" if found.why else ""
            raise NotApprovedError(f"{found} is {_spelt(found.status)}{said}. {_how_to_approve(group, version)}")
        return found
    _group_arn(sagemaker, group)
    newest = next(_versions(sagemaker, group, ModelApprovalStatus="Approved"), None)
    if newest is None:
        waiting = [str(one["ModelPackageVersion"]) for one in _versions(sagemaker, group)][:_LISTED]
        there = f"its versions, newest first: {', '.join(waiting)}" if waiting else "it has no versions at all"
        raise NotApprovedError(
            f"No version of model group {group} is approved; {there}. {_how_to_approve(group, waiting[0] if waiting else 1)}"
        )
    return _registered(sagemaker.describe_model_package(ModelPackageName=newest["ModelPackageArn"]))


def require_not_rejected(found: Registered) -> None:
    """Raises NotApprovedError for what somebody rejected: that is not deployed by its address either."""
    if found.status == "Rejected":
        said = f" ({found.why})" if found.why else ""
        raise NotApprovedError(
            f"The model is {found}, which was rejected{said}. {_how_to_approve(found.group, found.version)}"
        )


def describe_version(sagemaker: SageMakerClient, group: str, version: int) -> Registered:
    """Raises UnknownChoiceError when there is none, with those there are."""
    group_arn = _group_arn(sagemaker, group)
    found = describe_arn(sagemaker, f"{group_arn.replace(':model-package-group/', ':model-package/')}/{version}")
    if found:
        return found
    there = [str(one["ModelPackageVersion"]) for one in _versions(sagemaker, group)]
    shown = ", ".join(there[:_LISTED]) or "none"
    raise UnknownChoiceError(f"Model group {group} has no version {version}; newest first it has: {shown}.")


def describe_arn(sagemaker: SageMakerClient, arn: str) -> Registered | None:
    """The version with that ARN, or None when it is no more."""
    try:
        return _registered(sagemaker.describe_model_package(ModelPackageName=arn))
    except ClientError as error:
        if is_missing(error):
            return None
        raise


def decide(sagemaker: SageMakerClient, found: Registered, decision: Decision, why: str) -> Registered:
    """Approve or reject a version, with the reason for those who ask later: the same again without one keeps the one there is."""
    if found.status == decision:
        why = why or found.why
    if (found.status, found.why) != (decision, why):
        sagemaker.update_model_package(
            ModelPackageArn=found.arn, ModelApprovalStatus=decision, ApprovalDescription=why[:1024]
        )
    return _registered(sagemaker.describe_model_package(ModelPackageName=found.arn))


def versions(sagemaker: SageMakerClient, group: str) -> list[Registered]:
    """All of a group, newest first. Raises UnknownChoiceError when there is no such group."""
    _group_arn(sagemaker, group)
    return [
        _registered(sagemaker.describe_model_package(ModelPackageName=one["ModelPackageArn"]))
        for one in _versions(sagemaker, group)
    ]


def _request(group: str, package: ModelPackage, training: Training, image_uri: str, quality_uri: str) -> dict[str, Any]:
    container: dict[str, Any] = {"Image": image_uri, "ModelDataUrl": package.uri}
    types = list(package.kind.content_types)
    request: dict[str, Any] = {
        "ModelPackageGroupName": group,
        "ModelPackageDescription": description_of(package, training),
        "InferenceSpecification": {
            "Containers": [container],
            "SupportedContentTypes": types,
            "SupportedResponseMIMETypes": types,
        },
        "ModelApprovalStatus": PENDING,
        "MetadataProperties": {"GeneratedBy": training.job_arn},
        "CustomerMetadataProperties": properties_of(package, training),
        "ModelCard": {"ModelCardContent": card_of(package, training), "ModelCardStatus": "PendingReview"},
        "ClientToken": hashlib.sha256(f"{group} {package.sha256}".encode()).hexdigest()[:36],
    }
    if quality_uri:
        statistics = {"ContentType": "application/json", "S3Uri": quality_uri}
        request["ModelMetrics"] = {"ModelQuality": {"Statistics": statistics}}
    return request


def _create(sagemaker: SageMakerClient, group: str, sha256: str, request: dict[str, Any]) -> str:
    for tries_left in reversed(range(TRIES)):
        try:
            return str(sagemaker.create_model_package(**request)["ModelPackageArn"])
        except ClientError as error:
            if code_of(error) != "ConflictException" or not tries_left:
                raise
            if there := find_version(sagemaker, group, sha256):
                return there
            time.sleep(1.0)
    raise AssertionError("the last try returns or raises")


def _ensure_group(sagemaker: SageMakerClient, group: str) -> None:
    if _find_group(sagemaker, group):
        return
    try:
        sagemaker.create_model_package_group(
            ModelPackageGroupName=group,
            ModelPackageGroupDescription="Versions of a model that Trainmaster trains.",
            Tags=[{"Key": "trainmaster:model", "Value": group}],
        )
    except ClientError:
        if not _find_group(sagemaker, group):  # else somebody else was faster
            raise


def _find_group(sagemaker: SageMakerClient, group: str) -> str | None:
    try:
        return sagemaker.describe_model_package_group(ModelPackageGroupName=group)["ModelPackageGroupArn"]
    except ClientError as error:
        if is_missing(error):
            return None
        raise


def _group_arn(sagemaker: SageMakerClient, group: str) -> str:
    if arn := _find_group(sagemaker, group):
        return arn
    pages = sagemaker.get_paginator("list_model_package_groups").paginate()
    there = [one["ModelPackageGroupName"] for page in pages for one in page["ModelPackageGroupSummaryList"]]
    shown = ", ".join(there[:_LISTED]) or "none; a group is made when a model of that name has been trained"
    raise UnknownChoiceError(f"There is no model group {group}. There are: {shown}.")


def _versions(sagemaker: SageMakerClient, group: str, **filters: Any) -> Iterator[Any]:
    """Summaries, newest first."""
    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=group, SortBy="CreationTime", SortOrder="Descending", **filters
    )
    for page in pages:
        yield from page["ModelPackageSummaryList"]


def _registered(described: Any) -> Registered:
    container = described["InferenceSpecification"]["Containers"][0]
    properties = described.get("CustomerMetadataProperties", {})
    return Registered(
        arn=described["ModelPackageArn"],
        model_uri=container.get("ModelDataUrl", ""),
        version=described["ModelPackageVersion"],
        status=described.get("ModelApprovalStatus", PENDING),
        group=described["ModelPackageGroupName"],
        sha256=properties.get(SHA256, ""),
        job_name=properties.get(JOB, ""),
        dataset_sha256=properties.get(DATASET_SHA256, ""),
        why=described.get("ApprovalDescription", ""),
    )


def _spelt(status: str) -> str:
    return {"Rejected": "rejected", PENDING: "not approved yet"}.get(status, status)


def _how_to_approve(group: str, version: object) -> str:
    return f"`trainmaster endpoints approve {group} {version}` or the deployment approve-model lets it be deployed."
