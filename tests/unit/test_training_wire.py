"""Every field of a request to train reaches SageMaker, in a request that AWS's own service model accepts."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from trainmaster.budget.approval import Approval, Rate, approval_of
from trainmaster.budget.budgets import Payer
from trainmaster.budget.charge import Charge
from trainmaster.budget.money import micro_up
from trainmaster.embedded.sagemaker import wire
from trainmaster.training.plan import CODE_CHANNEL, FINGERPRINT_TAG, Channel, Place, TrainingInputs, plan_training
from trainmaster.training.request import TrainingRequest
from trainmaster.training.trainers import HOUSE_PRICES

USER = "11111111-2222-4333-8444-555555555555"
CONFIG = "66666666-7777-4888-8999-000000000000"
ON_DEMAND = {"use_spot_instances": False}
INPUTS = TrainingInputs(
    "cats",
    HOUSE_PRICES,
    (Channel("training", "s3://bucket-1/u/datasets/d.jsonl.gz", "c", "s3://bucket-1/manifests/m.manifest"),),
    "s3://bucket-1/code/sourcedir.tar.gz",
    "image:1",
    {"seed": "1"},
)
PLACE = Place("eu-west-1", "arn:aws:iam::123456789012:role/r", "s3://bucket-1/jobs", "an-installation")

ELSEWHERE = {
    "budget_limit": "the runtime that was approved, and a tag",
    "max_runtime_seconds": "the runtime that was approved",
    "attempt": "the job's name, and a tag",
    "user_id": "the charge",
    "team": "the charge",
    "training_config_id": "the inputs and the fingerprint",
    "data_uri": "the inputs",
    "model_name": "the job's name",
    "hyperparameters": "the inputs",
    "region": "the place",
    "instance_types": "other attempts",
    "fall_back_to_on_demand": "other attempts",
    "on_over_budget": "before there is a plan",
    "migrate_missing": "before there is a plan",
    "of_job": "the chain of attempts is refused where it comes to another job",
    "platform": "before there is a plan",
    "dry_run": "not launched at all",
    "wait": "who follows",
}
"""Fields that decide otherwise than as a member of CreateTrainingJob, and what they decide."""

SENT: list[tuple[dict[str, Any], str, Any]] = [
    ({"instance_type": "ml.g5.2xlarge"}, "ResourceConfig.InstanceType", "ml.g5.2xlarge"),
    ({"instance_count": 3}, "ResourceConfig.InstanceCount", 3),
    ({"volume_size_gb": 77}, "ResourceConfig.VolumeSizeInGB", 77),
    ({"volume_kms_key": "alias/volumes"}, "ResourceConfig.VolumeKmsKeyId", "alias/volumes"),
    ({"warm_pool_seconds": 900, **ON_DEMAND}, "ResourceConfig.KeepAlivePeriodInSeconds", 900),
    ({"use_spot_instances": True}, "EnableManagedSpotTraining", True),
    ({"use_spot_instances": True}, "StoppingCondition.MaxWaitTimeInSeconds", 1800 + 3600),
    ({"max_wait_seconds": 86400 + 60}, "StoppingCondition.MaxWaitTimeInSeconds", 1800 + 60),
    (ON_DEMAND, "StoppingCondition", {"MaxRuntimeInSeconds": 1800}),
    ({"checkpoint_s3_uri": "s3://bucket-2/kept/"}, "CheckpointConfig", {"S3Uri": "s3://bucket-2/kept/"}),
    ({}, "CheckpointConfig", {"S3Uri": "s3://bucket-1/jobs/{job}/checkpoints"}),
    (ON_DEMAND, "CheckpointConfig", {"S3Uri": "s3://bucket-1/jobs/{job}/checkpoints"}),
    ({}, "ProfilerConfig", {"DisableProfiler": True}),
    ({"enable_profiler": True}, "ProfilerConfig",
     {"S3OutputPath": "s3://bucket-1/jobs/{job}/profiler", "ProfilingIntervalInMilliseconds": 500}),
    ({"enable_tensorboard": True}, "TensorBoardOutputConfig", {"S3OutputPath": "s3://bucket-1/jobs/{job}/tensorboard"}),
    ({}, "TensorBoardOutputConfig", None),
    ({"environment": {"A": "1"}}, "Environment", {"PIP_QUIET": "1", "A": "1"}),
    ({"subnets": ["subnet-1"], "security_groups": ["sg-1", "sg-2"]}, "VpcConfig",
     {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1", "sg-2"]}),
    ({}, "VpcConfig", None),
    ({"output_kms_key": "arn:aws:kms:eu-west-1:123456789012:key/1"}, "OutputDataConfig.KmsKeyId",
     "arn:aws:kms:eu-west-1:123456789012:key/1"),
    ({"network_isolation": True}, "EnableNetworkIsolation", True),
    ({}, "EnableNetworkIsolation", False),
    ({"experiment": "cats-of-may"}, "ExperimentConfig.ExperimentName", "cats-of-may"),
    ({"experiment": "cats-of-may"}, "ExperimentConfig.TrialName", "{job}"),
    ({}, "ExperimentConfig.ExperimentName", "cats"),
    ({}, "ExperimentConfig.RunName", "{job}"),
    ({"tags": {"team": "vision"}}, "Tags.team", "vision"),
    ({"data_classification": "public"}, "Tags.trainmaster:data-classification", "public"),
    ({"tags": {FINGERPRINT_TAG: "forged"}}, f"Tags.{FINGERPRINT_TAG}", "{fingerprint}"),
]  # fmt: skip


def create_request(**asked: Any) -> dict[str, Any]:
    """Checked by AWS's service model."""
    request = TrainingRequest(**{"training_config_id": CONFIG, "user_id": USER, **asked})
    approval = Approval(Rate(Decimal("0.12")), Decimal("1.00"), 1800, 86400, kept_seconds=request.warm_pool_seconds)
    create = plan_training(request, INPUTS, approval, PLACE).create_request
    operation = wire.operation_model("CreateTrainingJob")
    assert operation is not None
    assert wire.checked(operation, create) == create
    return create


@pytest.mark.parametrize(("asked", "member", "value"), SENT)
def test_what_is_asked_is_what_sagemaker_is_told(asked: dict[str, Any], member: str, value: Any) -> None:
    create = create_request(**asked)
    tags = {tag["Key"]: tag["Value"] for tag in create["Tags"]}
    assert len(tags) == len(create["Tags"])
    job, fingerprint = create["TrainingJobName"], tags[FINGERPRINT_TAG]

    def meant(said: Any) -> Any:
        if isinstance(said, dict):
            return {key: meant(one) for key, one in said.items()}
        return said.format(job=job, fingerprint=fingerprint) if isinstance(said, str) else said

    found: Any = {**create, "Tags": tags}
    for part in member.split(".", 1):
        found = found.get(part)
    assert found == meant(value)


def test_no_field_is_asked_for_nothing() -> None:
    sent = {name for asked, _, _ in SENT for name in asked}
    assert set(TrainingRequest.model_fields) == sent | ELSEWHERE.keys()
    assert not sent & ELSEWHERE.keys()


def test_a_job_without_a_network_gets_its_program_by_a_channel() -> None:
    create = create_request(network_isolation=True)
    code = create["InputDataConfig"][-1]
    assert code["ChannelName"] == CODE_CHANNEL
    assert code["DataSource"]["S3DataSource"]["S3Uri"] == INPUTS.source_uri
    told = create["HyperParameters"]["sagemaker_submit_directory"]
    assert told == f'"/opt/ml/input/data/{CODE_CHANNEL}/sourcedir.tar.gz"'


def test_a_catalogued_dataset_comes_by_its_manifest_and_a_table_by_its_prefix() -> None:
    [by_manifest] = create_request()["InputDataConfig"]
    assert by_manifest["DataSource"]["S3DataSource"]["S3DataType"] == "ManifestFile"
    assert by_manifest["DataSource"]["S3DataSource"]["S3Uri"] == "s3://bucket-1/manifests/m.manifest"
    request = TrainingRequest(data_uri="s3://bucket-1/data/", user_id=USER)
    inputs = replace(INPUTS, channels=(Channel("training", request.data_uri, "c"),))
    approval = Approval(Rate(Decimal("0.12")), Decimal("1.00"), 1800, 86400)
    [by_prefix] = plan_training(request, inputs, approval, PLACE).create_request["InputDataConfig"]
    assert by_prefix["DataSource"]["S3DataSource"]["S3DataType"] == "S3Prefix"
    assert by_prefix["ContentType"] == "text/csv"


def test_the_charge_is_whose_run_it_is_and_covers_the_warm_pool() -> None:
    request = TrainingRequest(training_config_id=CONFIG, user_id=USER.upper(), team="vision", warm_pool_seconds=600)
    approval = Approval(Rate(Decimal(36)), Decimal(100), 1800, 86400, kept_seconds=600)
    charge = plan_training(request, INPUTS, approval, PLACE).charge
    assert charge.payer == Payer(charge.payer.user_id, "vision")
    assert str(charge.payer.user_id) == USER
    assert charge.amount == Decimal(36) * (1800 + 300 + 600) / 3600


@pytest.mark.parametrize("hourly", ["0.115", "1.408", "98.3218462", "0.1186986301369863013698630137"])
@pytest.mark.parametrize(("runtime", "kept"), [(300, 0), (86399, 3600), (2419200, 0), (301, 1)])
def test_a_plan_made_of_a_reservation_costs_what_was_reserved(hourly: str, runtime: int, kept: int) -> None:
    asked = Approval(Rate(Decimal(hourly)), Decimal(10**6), runtime, runtime, kept_seconds=kept)
    charge = Charge("job", micro_up(asked.worst_case), Decimal(hourly), "arn")
    again = approval_of(charge, approved=asked.approved, asked_runtime_seconds=runtime, kept_seconds=kept)
    assert again == asked
    assert micro_up(again.worst_case) == charge.amount
