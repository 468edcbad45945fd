"""What was trained waits in the registry until somebody approves it, and only then is deployed from there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from flows.approve_model import approve_model
from flows.follow_jobs import follow_jobs
from flows.train_model import train_model
from trainmaster.endpoints.models import registry
from trainmaster.endpoints.models.approving import ApprovalRequest
from trainmaster.errors import ModelRefusedError, NotApprovedError
from trainmaster.training.outcome import TrainingOutcome
from trainmaster.training.request import TrainingRequest
from trainmaster.training.sweeping import FollowJobsRequest

HOUSES = Path(__file__).parents[2] / "model" / "data" / "house_data.csv"
GROUP = "approved-houses"
WITHIN = 90.0


def training_of(stack: Any, group: str, **choices: Any) -> TrainingRequest:
    stack.client("s3").put_object(Bucket=stack.bucket, Key=f"{group}/data.csv", Body=HOUSES.read_bytes())
    return TrainingRequest(model_name=group, data_uri=f"s3://{stack.bucket}/{group}/", **choices)


@pytest.fixture(scope="module")
def training(stack: Any) -> TrainingRequest:
    return training_of(stack, GROUP)


@pytest.fixture(scope="module")
def trained(training: TrainingRequest) -> TrainingOutcome:
    return train_model(training).completed


@pytest.fixture
def sagemaker(stack: Any) -> Any:
    return stack.client("sagemaker")


def test_a_training_run_registers_its_model_once(
    sagemaker: Any, training: TrainingRequest, trained: TrainingOutcome
) -> None:
    train_model(training)
    (version,) = registry.versions(sagemaker, GROUP)
    assert (version.job_name, version.model_uri) == (trained.job_name, trained.model_uri)
    with pytest.raises(NotApprovedError, match="deployment approve-model"):
        registry.resolve(sagemaker, GROUP)


def test_the_model_of_a_job_that_nobody_waits_for_is_registered_by_the_sweep(stack: Any, sagemaker: Any) -> None:
    group = "swept-houses"
    job = train_model(training_of(stack, group, wait=False)).job_name
    deadline = time.monotonic() + WITHIN
    while sagemaker.describe_training_job(TrainingJobName=job)["TrainingJobStatus"] == "InProgress":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    follow_jobs(FollowJobsRequest())
    assert [version.job_name for version in registry.versions(sagemaker, group)] == [job]


def test_an_approved_version_is_the_one_to_deploy_until_it_is_rejected(
    sagemaker: Any, trained: TrainingOutcome
) -> None:
    decision = ApprovalRequest(model_group=GROUP, model_version=1, reason="r2 is as before")
    assert approve_model(decision) == approve_model(decision)
    assert registry.resolve(sagemaker, GROUP).model_uri == trained.model_uri
    rejection = ApprovalRequest(model_group=GROUP, model_version=1, decision="reject", reason="too dear")
    assert approve_model(rejection).sentence().startswith(f"Version 1 of {GROUP} is rejected (too dear): it is not")
    with pytest.raises(NotApprovedError):
        registry.resolve(sagemaker, GROUP)


def test_a_version_whose_artifact_was_changed_is_not_approved(stack: Any, trained: TrainingOutcome) -> None:
    key, s3 = trained.model_uri.removeprefix(f"s3://{stack.bucket}/"), stack.client("s3")
    whole = s3.get_object(Bucket=stack.bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=stack.bucket, Key=key, Body=whole + b"\0")
    with pytest.raises(ModelRefusedError, match="not what was registered"):
        approve_model(ApprovalRequest(model_group=GROUP, model_version=1))
    s3.put_object(Bucket=stack.bucket, Key=key, Body=whole)


def test_a_rejection_needs_a_reason() -> None:
    with pytest.raises(ValidationError, match="say why the version is rejected"):
        ApprovalRequest(model_group=GROUP, model_version=1, decision="reject", reason=" ")
