"""Requests about training jobs are refused as AWS refuses them, and lists are paged and filtered as AWS does."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

DAY = 24 * 3600
DATA = {"S3DataType": "S3Prefix", "S3Uri": "s3://BUCKET/empty/"}


def channel(**source: Any) -> dict[str, Any]:
    return {"InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": {**DATA, **source}}}]}


def stopping(runtime: int | None = None, wait: int | None = None, *, spot: bool = False) -> dict[str, Any]:
    given = {"MaxRuntimeInSeconds": runtime, "MaxWaitTimeInSeconds": wait}
    condition = {name: value for name, value in given.items() if value}
    return {"StoppingCondition": condition, "EnableManagedSpotTraining": spot}


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (channel(), "No S3 objects found under S3 URL"),
        (channel(S3Uri="s3://no-such-bucket-at-all/x"), "No S3 objects found under S3 URL"),
        (channel(S3DataType="AugmentedManifestFile"), "not AugmentedManifestFile"),
        (channel(S3DataType="ManifestFile", S3Uri="s3://BUCKET/not-a-manifest"), "manifest"),
        (channel(S3Uri="https://BUCKET/x"), "is not an S3 URI"),
        ({"InputDataConfig": channel()["InputDataConfig"] * 2}, "Channel names must be unique: train"),
        (channel() | {"algorithm": {"TrainingInputMode": "Pipe"}}, "not Pipe"),
        ({"InputDataConfig": [channel()["InputDataConfig"][0] | {"ChannelName": ".."}]}, "not '.' or '..'"),
        ({"RetryStrategy": {"MaximumRetryAttempts": 1}}, "RetryStrategy"),
        (
            stopping(10, 20, spot=True)
            | {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1, "KeepAlivePeriodInSeconds": 60}},
            "KeepAlivePeriodInSeconds cannot be used together with EnableManagedSpotTraining",
        ),
        (
            {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1, "KeepAlivePeriodInSeconds": 3601}},
            "It must be at most 3600",
        ),
        ({"TensorBoardOutputConfig": {"S3OutputPath": "s3://no-such-bucket-at-all/x"}}, "TensorBoardOutputConfig.S3OutputPath"),
        ({"TensorBoardOutputConfig": {"S3OutputPath": "s3://BUCKET/x", "LocalPath": "/tmp/board"}}, "below /opt/ml only"),
        ({"ProfilerConfig": {"S3OutputPath": "s3://no-such-bucket-at-all/x"}}, "ProfilerConfig.S3OutputPath"),
        ({"ProfilerConfig": {"ProfilingIntervalInMilliseconds": 500}}, "must have an S3OutputPath"),
        ({"ProfilerConfig": {"S3OutputPath": "s3://BUCKET/x", "ProfilingIntervalInMilliseconds": 7}}, "one of 100, 200"),
        ({"ProfilerConfig": {"DisableProfiler": True, "S3OutputPath": "s3://BUCKET/x"}}, "must hold nothing else"),
        ({"VpcConfig": {"Subnets": ["subnet-0"], "SecurityGroupIds": ["sg-0"]}}, "The subnet ID 'subnet-0' does not exist"),
        ({"OutputDataConfig": {"S3OutputPath": "s3://BUCKET/x", "KmsKeyId": "no-such-key"}}, "OutputDataConfig.KmsKeyId"),
        (
            {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1, "VolumeKmsKeyId": "nokey"}},
            "ResourceConfig.VolumeKmsKeyId",
        ),
        (
            {"ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1, "VolumeKmsKeyId": "nokey"}},
            "which has local storage",
        ),
        ({"instances": 2, "EnableNetworkIsolation": True}, "could not reach each other"),
        ({"OutputDataConfig": {"S3OutputPath": "s3://no-such-bucket-at-all/x"}}, 'S3 bucket "no-such-bucket-at-all"'),
        ({"OutputDataConfig": {"S3OutputPath": "nowhere"}}, "failed to satisfy constraint"),
        ({"CheckpointConfig": {"S3Uri": "s3://no-such-bucket-at-all/x"}}, "CheckpointConfig.S3Uri"),
        ({"CheckpointConfig": {"S3Uri": "s3://BUCKET/x", "LocalPath": "/tmp/x"}}, "below /opt/ml only"),
        ({"CheckpointConfig": {"S3Uri": "s3://BUCKET/x", "LocalPath": "/opt/ml/model"}}, "reserved by SageMaker"),
        (stopping(10, 9, spot=True), "greater than or equal to MaxRuntimeInSeconds"),
        (stopping(10, spot=True), "It must be present"),
        (stopping(wait=DAY - 1, spot=True), "greater than or equal to MaxRuntimeInSeconds"),
        (stopping(10, 20), "only supported when EnableManagedSpotTraining is set to true"),
        (stopping(28 * DAY + 1), "28 days"),
        ({"RoleArn": "arn:aws:iam::123456789012:role/nobody"}, "Could not assume role"),
        ({"RoleArn": "garbage-of-twenty-characters"}, "failed to satisfy constraint"),
        ({"TrainingJobName": "no_underscores"}, "Member must satisfy regular expression pattern"),
        ({"ResourceConfig": {"InstanceType": "ml.nope", "InstanceCount": 1, "VolumeSizeInGB": 1}}, "enum value set"),
        ({"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 0}}, "InstanceCount of at least 1"),
        (
            {"ResourceConfig": {"InstanceGroups": [{"InstanceType": "ml.m5.large", "InstanceCount": 1, "InstanceGroupName": "g"}]}},
            "does not do ResourceConfig.InstanceGroups",
        ),
        ({"AlgorithmSpecification": {"TrainingInputMode": "File"}}, "Exactly one of AlgorithmName and TrainingImage"),
        ({"algorithm": {"AlgorithmName": "mine"}}, "Exactly one of AlgorithmName and TrainingImage"),
        ({"AlgorithmSpecification": {"AlgorithmName": "mine", "TrainingInputMode": "File"}}, "does not exist"),
        ({"algorithm": {"MetricDefinitions": [{"Name": "m", "Regex": "("}]}}, "no regular expression"),
    ],
)  # fmt: skip
def test_a_job_aws_would_not_take_is_refused(jobs: Any, members: dict[str, Any], reason: str) -> None:
    jobs.s3.put_object(Bucket=jobs.bucket, Key="not-a-manifest", Body=b"1,2")
    request = replaced(jobs.request("true", **members), jobs.bucket)
    with pytest.raises(ClientError) as refused:
        jobs.sagemaker.create_training_job(**request)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert reason in refused.value.response["Error"]["Message"]
    if request["TrainingJobName"].startswith("job-"):
        with pytest.raises(ClientError, match="Requested resource not found"):
            jobs.describe(request["TrainingJobName"])


def replaced(value: Any, bucket: str) -> Any:
    """The value with BUCKET being a bucket that exists."""
    if isinstance(value, dict):
        return {key: replaced(item, bucket) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, bucket) for item in value]
    return value.replace("BUCKET", bucket) if isinstance(value, str) else value


def test_a_name_is_taken_for_ever(jobs: Any) -> None:
    request = jobs.request("true")
    jobs.sagemaker.create_training_job(**request)
    jobs.finished(request["TrainingJobName"])
    with pytest.raises(ClientError, match="names must be unique") as refused:
        jobs.sagemaker.create_training_job(**request)
    assert refused.value.response["Error"]["Code"] == "ResourceInUse"


@pytest.mark.parametrize("operation", ["describe_training_job", "stop_training_job"])
def test_a_job_that_is_not_there_is_not_found(jobs: Any, operation: str) -> None:
    call: Callable[..., Any] = getattr(jobs.sagemaker, operation)
    with pytest.raises(ClientError, match="Requested resource not found") as refused:
        call(TrainingJobName="nobody")
    assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_jobs_are_listed_page_by_page_in_the_order_and_by_the_filters_asked_for(jobs: Any) -> None:
    mark = uuid.uuid4().hex[:8]
    names = [jobs.create("true", name=f"{letter}-{mark}") for letter in "acb"]
    failing = jobs.create("false", name=f"d-{mark}")
    made = {name: jobs.finished(name) for name in [*names, failing]}

    def listed(**request: Any) -> list[str]:
        pages = jobs.sagemaker.get_paginator("list_training_jobs").paginate(
            NameContains=mark, PaginationConfig={"PageSize": 2}, **request
        )
        return [each["TrainingJobName"] for page in pages for each in page["TrainingJobSummaries"]]

    assert listed(SortBy="Name", SortOrder="Descending") == sorted([*names, failing], reverse=True)
    assert listed(SortBy="CreationTime", SortOrder="Ascending") == [*names, failing]
    assert listed(StatusEquals="Failed") == [failing]
    assert listed(CreationTimeAfter=made[failing]["CreationTime"] + timedelta(seconds=1)) == []
    (summary,) = jobs.sagemaker.list_training_jobs(NameContains=failing)["TrainingJobSummaries"]
    assert summary["TrainingJobArn"] == made[failing]["TrainingJobArn"]
    assert summary["TrainingEndTime"] == made[failing]["TrainingEndTime"]
    assert summary["TrainingJobStatus"] == "Failed"
