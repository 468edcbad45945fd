"""What a job leaves beside its model: TensorBoard's files, its place in an experiment, the VPC, keys and profiler it was given."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

BOARD = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "/opt/ml/output/tensorboard")
folder.mkdir(parents=True, exist_ok=True)
(folder / "events.1").write_text("early")
print("written", flush=True)
for _ in range(600):
    time.sleep(0.1)
"""


def name_of(what: str) -> str:
    return f"{what}-{uuid.uuid4().hex[:8]}"


def refused(call: Any, **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as refusal:
        call(**request)
    error = refusal.value.response["Error"]
    return error["Code"], error["Message"]


@pytest.mark.parametrize("local", [None, "/opt/ml/output/board"])
def test_what_is_written_for_tensorboard_is_in_s3_while_the_job_runs(jobs: Any, local: str | None) -> None:
    place = f"s3://{jobs.bucket}/{name_of('board')}"
    config = {"S3OutputPath": place, **({"LocalPath": local} if local else {})}
    code = jobs.channel("code", jobs.put({"run.py": BOARD}))
    name = jobs.create(
        "python", "/opt/ml/input/data/code/run.py", *([local] if local else []), InputDataConfig=[code], TensorBoardOutputConfig=config
    )  # fmt: skip
    key = f"{place.removeprefix(f's3://{jobs.bucket}/')}/{name}/tensorboard-output/events.1"
    deadline = time.monotonic() + 90
    while key not in jobs.keys(key):
        assert time.monotonic() < deadline, jobs.describe(name)
        time.sleep(0.1)
    assert jobs.describe(name)["TensorBoardOutputConfig"] == config
    jobs.sagemaker.stop_training_job(TrainingJobName=name)
    jobs.finished(name)


def test_a_job_becomes_a_component_of_its_trial(jobs: Any) -> None:
    experiment, trial = name_of("houses"), name_of("week")
    client = jobs.sagemaker
    client.create_experiment(ExperimentName=experiment, Description="of houses")
    client.create_trial(TrialName=trial, ExperimentName=experiment)
    tracked = {"ExperimentName": experiment, "TrialName": trial, "TrialComponentDisplayName": "Training"}
    name = jobs.create("true", ExperimentConfig=tracked)
    assert jobs.finished(name)["ExperimentConfig"] == tracked
    component = client.describe_trial_component(TrialComponentName=f"{name}-aws-training-job")
    assert component["DisplayName"] == "Training"
    assert component["Source"]["SourceArn"] == jobs.describe(name)["TrainingJobArn"]
    of_trial = client.list_trial_components(TrialName=trial)["TrialComponentSummaries"]
    assert [each["TrialComponentName"] for each in of_trial] == [component["TrialComponentName"]]
    of_experiment = client.list_trial_components(ExperimentName=experiment)["TrialComponentSummaries"]
    assert of_experiment == of_trial
    assert [each["TrialName"] for each in client.list_trials(ExperimentName=experiment)["TrialSummaries"]] == [trial]


def test_a_run_that_is_named_is_the_component(jobs: Any) -> None:
    experiment, run = name_of("houses"), name_of("run")
    jobs.sagemaker.create_experiment(ExperimentName=experiment)
    jobs.finished(jobs.create("true", ExperimentConfig={"ExperimentName": experiment, "RunName": run}))
    found = jobs.sagemaker.list_trial_components(ExperimentName=experiment)["TrialComponentSummaries"]
    assert [each["TrialComponentName"] for each in found] == [run]


def test_experiments_and_trials_are_made_once_and_must_be_there(jobs: Any) -> None:
    client, experiment, trial = jobs.sagemaker, name_of("houses"), name_of("week")
    client.create_experiment(ExperimentName=experiment)
    code, message = refused(client.create_experiment, ExperimentName=experiment)
    assert (code, "Experiment names must be unique" in message) == ("ValidationException", True)
    client.create_trial(TrialName=trial, ExperimentName=experiment)
    code, message = refused(client.create_trial, TrialName=trial, ExperimentName=experiment)
    assert (code, "Trial names must be unique" in message) == ("ValidationException", True)
    assert refused(client.create_trial, TrialName="t", ExperimentName="not-there")[0] == "ResourceNotFound"
    assert refused(client.describe_experiment, ExperimentName="not-there")[0] == "ResourceNotFound"
    assert refused(client.delete_experiment, ExperimentName=experiment)[0] == "ValidationException"
    for config in ({"ExperimentName": "not-there"}, {"ExperimentName": experiment, "TrialName": "not-there"}):
        request = jobs.request("true", ExperimentConfig=config)
        assert refused(client.create_training_job, **request)[0] == "ResourceNotFound"
    client.delete_trial(TrialName=trial)
    client.delete_experiment(ExperimentName=experiment)


def test_a_vpc_keys_and_profiler_are_echoed(jobs: Any, embedded: Any) -> None:
    ec2, kms = embedded.client("ec2"), embedded.client("kms")
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.7.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName=name_of("g"), Description="g", VpcId=vpc)["GroupId"]
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    given = {
        "VpcConfig": {"Subnets": [subnet], "SecurityGroupIds": [group]},
        "OutputDataConfig": {"S3OutputPath": f"s3://{jobs.bucket}/out", "KmsKeyId": key},
        "ProfilerConfig": {"S3OutputPath": f"s3://{jobs.bucket}/profiles"},
    }
    found = jobs.finished(jobs.create("true", **given))
    assert found["VpcConfig"] == given["VpcConfig"]
    assert found["OutputDataConfig"]["KmsKeyId"] == key
    assert (found["ProfilerConfig"], found["ProfilingStatus"]) == (given["ProfilerConfig"], "Enabled")
    off = jobs.finished(jobs.create("true", ProfilerConfig={"DisableProfiler": True}))
    assert off["ProfilingStatus"] == "Disabled"

    kms.disable_key(KeyId=key)
    assert "is Disabled" in refused(jobs.sagemaker.create_training_job, **jobs.request("true", **given))[1]
    default = ec2.describe_security_groups()["SecurityGroups"]
    elsewhere = next(each["GroupId"] for each in default if each["VpcId"] != vpc)
    mixed = {"VpcConfig": {"Subnets": [subnet], "SecurityGroupIds": [elsewhere]}}
    assert "must be of one VPC" in refused(jobs.sagemaker.create_training_job, **jobs.request("true", **mixed))[1]
