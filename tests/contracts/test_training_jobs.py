"""Training jobs run what they are given where AWS runs it, and leave what AWS leaves."""

from __future__ import annotations

import json
import sysconfig
import uuid
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import pytest

TRAIN = """
import argparse, json, os, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int)
parser.add_argument("--model-dir", default=os.environ["SM_MODEL_DIR"])
args = parser.parse_args()
rows = pathlib.Path(os.environ["SM_CHANNEL_TRAIN"], "rows.csv").read_text().split()
for epoch in range(args.epochs):
    print(f"loss={1 / (epoch + 1)};")
pathlib.Path(args.model_dir, "model.json").write_text(json.dumps([rows, os.environ["MINE"]]))
pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], "scores.json").write_text("{}")
"""
LOSS = [{"Name": "loss", "Regex": "loss=(.*?);"}]


@pytest.fixture(scope="module")
def trained(jobs: Any) -> dict[str, Any]:
    name = jobs.script(
        TRAIN,
        name="trained",
        HyperParameters={"epochs": "4"},
        InputDataConfig=[jobs.channel("train", jobs.put({"rows.csv": "1\n2\n"}))],
        Environment={"MINE": "yes"},
        Tags=[{"Key": "owner", "Value": "ann"}],
        algorithm={"MetricDefinitions": LOSS},
    )
    found: dict[str, Any] = jobs.finished(name)
    assert found["TrainingJobStatus"] == "Completed", jobs.lines(name)
    return found


def test_a_script_gets_its_hyperparameters_channels_and_environment_and_its_model_is_stored(
    jobs: Any, trained: dict[str, Any]
) -> None:
    name = trained["TrainingJobName"]
    assert trained["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{jobs.bucket}/out/{name}/output/model.tar.gz"
    assert json.loads(jobs.archive(name, "model")["model.json"]) == [["1", "2"], "yes"]
    assert jobs.archive(name, "output")["data/scores.json"] == "{}"


def test_a_job_walks_through_aws_statuses_without_a_gap(trained: dict[str, Any]) -> None:
    steps = trained["SecondaryStatusTransitions"]
    assert [step["Status"] for step in steps] == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert all(step["StatusMessage"] for step in steps)
    for before, after in pairwise(steps):
        assert before["StartTime"] <= before["EndTime"] == after["StartTime"]
    assert trained["CreationTime"] <= trained["TrainingStartTime"] == steps[1]["StartTime"]
    assert trained["TrainingEndTime"] == trained["LastModifiedTime"] == steps[-1]["EndTime"]
    assert trained["BillableTimeInSeconds"] == trained["TrainingTimeInSeconds"] >= 1


def test_a_description_repeats_the_request_with_its_defaults(jobs: Any, trained: dict[str, Any]) -> None:
    assert trained["RoleArn"] == jobs.role
    assert trained["HyperParameters"]["epochs"] == "4"
    assert trained["Environment"] == {"MINE": "yes"}
    assert trained["StoppingCondition"] == {"MaxRuntimeInSeconds": 100}
    assert trained["EnableManagedSpotTraining"] is False
    assert trained["AlgorithmSpecification"]["MetricDefinitions"] == LOSS
    tags = jobs.sagemaker.list_tags(ResourceArn=trained["TrainingJobArn"])["Tags"]
    assert tags == [{"Key": "owner", "Value": "ann"}]


def test_the_last_value_of_a_metric_is_described_and_all_are_in_cloudwatch(
    embedded: Any, trained: dict[str, Any]
) -> None:
    (metric,) = trained["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("loss", 0.25)
    now = datetime.now(UTC)
    statistics = embedded.client("cloudwatch").get_metric_statistics(
        Namespace="/aws/sagemaker/TrainingJobs", MetricName="loss",
        Dimensions=[{"Name": "TrainingJobName", "Value": trained["TrainingJobName"]}],
        StartTime=now - timedelta(hours=1), EndTime=now + timedelta(minutes=1), Period=7200,
        Statistics=["SampleCount", "Maximum"],
    )["Datapoints"]  # fmt: skip
    assert sum(each["SampleCount"] for each in statistics) == 4
    assert max(each["Maximum"] for each in statistics) == 1.0


def test_a_finished_jobs_disk_space_is_freed_but_for_its_log(jobs: Any, trained: dict[str, Any]) -> None:
    folder = jobs.state / "training-jobs" / trained["TrainingJobName"]
    assert [each.name for each in folder.iterdir()] == ["logs"]


def test_requirements_that_are_met_need_no_network(jobs: Any) -> None:
    name = jobs.script(
        "import sklearn",
        files={"requirements.txt": f"scikit-learn=={version('scikit-learn')}\n"},
        Environment={"PIP_INDEX_URL": "http://127.0.0.1:1/nowhere", "PIP_RETRIES": "0"},
    )
    assert jobs.finished(name)["TrainingJobStatus"] == "Completed", jobs.lines(name)


def test_the_entrypoint_replaces_the_toolkit_and_finds_everything_at_opt_ml(jobs: Any) -> None:
    script = """
set -e
test $$ = 1
cp /opt/ml/input/config/hyperparameters.json /opt/ml/model/
cp -r /opt/ml/input/data/train /opt/ml/model/train
python -c 'import sklearn'
test "$TRAINING_JOB_NAME" = "${TRAINING_JOB_ARN##*/}"
"""
    name = jobs.create(
        "/bin/bash",
        algorithm={"ContainerArguments": ["/opt/ml/input/data/code/run.sh"]},
        HyperParameters={"a": "1"},
        InputDataConfig=[
            jobs.channel("code", jobs.put({"run.sh": script})),
            jobs.channel("train", jobs.put({"a.csv": "1", "deep/b.csv": "2"})),
        ],
    )
    assert jobs.finished(name)["TrainingJobStatus"] == "Completed", jobs.lines(name)
    assert jobs.archive(name, "model") == {
        "hyperparameters.json": '{"a": "1"}', "train/a.csv": "1", "train/deep/b.csv": "2",
    }  # fmt: skip


def test_several_hosts_know_each_other_share_sharded_data_and_leave_one_archive(jobs: Any) -> None:
    script = """
import json, os, socket
config = json.load(open("/opt/ml/input/config/resourceconfig.json"))
me, hosts = config["current_host"], config["hosts"]
assert [socket.gethostbyname(host) for host in hosts] == ["127.0.0.1", "127.0.0.1"]
open(f"/opt/ml/model/{me}", "w").write(" ".join(sorted(os.listdir("/opt/ml/input/data/shards"))))
print("I am", me)
"""
    shards = jobs.put({"a": "1", "b": "2", "c": "3"})
    name = jobs.python(
        script,
        instances=2,
        InputDataConfig=[jobs.channel("shards", shards, S3DataDistributionType="ShardedByS3Key")],
    )
    assert jobs.finished(name)["TrainingJobStatus"] == "Completed", jobs.lines(name)
    assert jobs.archive(name, "model") == {"algo-1": "a c", "algo-2": "b"}
    assert (jobs.lines(name, "algo-1-"), jobs.lines(name, "algo-2-")) == (["I am algo-1"], ["I am algo-2"])


def test_a_host_that_fails_takes_the_others_with_it(jobs: Any) -> None:
    script = """
import json, sys, time
if json.load(open("/opt/ml/input/config/resourceconfig.json"))["current_host"] == "algo-2":
    sys.exit(7)
time.sleep(600)
"""
    failed = jobs.finished(jobs.python(script, instances=2))
    assert (failed["TrainingJobStatus"], failed["FailureReason"]) == ("Failed", "AlgorithmError: , exit code: 7")


def test_a_failed_job_says_why_and_stores_its_output_but_no_model(jobs: Any) -> None:
    script = """
import sys
open("/opt/ml/model/half", "w").write("done")
open("/opt/ml/output/failure", "w").write("rows are missing " + "x" * 5000)
sys.exit(3)
"""
    name = jobs.python(script)
    failed = jobs.finished(name)
    assert failed["FailureReason"].startswith("AlgorithmError: rows are missing xxx")
    assert failed["FailureReason"].endswith("xxx, exit code: 3")
    assert jobs.walk(name)[-2:] == ["Uploading", "Failed"]
    assert jobs.keys(f"out/{name}/") == [f"out/{name}/output/output.tar.gz"]
    assert jobs.archive(name, "output")["failure"].startswith("rows are missing")
    assert "ModelArtifacts" not in failed or not failed["ModelArtifacts"].get("S3ModelArtifacts")


@pytest.mark.parametrize("code", [3, 0])
def test_what_is_no_file_of_the_job_neither_holds_it_up_nor_gets_into_what_it_leaves(jobs: Any, code: int) -> None:
    script = f"""
import os, sys
for folder in ("model", "output", "output/data", "checkpoints"):
    os.mkfifo(f"/opt/ml/{{folder}}/failure")
    os.symlink("/etc/passwd", f"/opt/ml/{{folder}}/passwd")
    os.symlink("/etc", f"/opt/ml/{{folder}}/etc")
open("/opt/ml/model/weights", "w").write("1")
os.symlink("weights", "/opt/ml/model/latest")
open("/opt/ml/checkpoints/1", "w").write("1")
sys.exit({code})
"""
    place = f"checkpoints/{uuid.uuid4().hex}"
    name = jobs.python(
        script,
        OutputDataConfig={"S3OutputPath": f"s3://{jobs.bucket}/out", "CompressionType": "NONE"},
        CheckpointConfig={"S3Uri": f"s3://{jobs.bucket}/{place}"},
    )
    reason = jobs.finished(name).get("FailureReason")
    assert reason == ("AlgorithmError: , exit code: 3" if code else None), jobs.lines(name)
    assert jobs.keys(place) == [f"{place}/1"]
    model = f"out/{name}/output/model"
    assert jobs.keys(f"out/{name}/") == ([] if code else [f"{model}/latest", f"{model}/weights"])


def test_a_script_that_raises_is_reported_as_the_toolkit_reports_it(jobs: Any) -> None:
    failed = jobs.finished(jobs.script("raise ValueError('no')"))
    assert failed["FailureReason"].startswith("AlgorithmError: ExecuteUserScriptError:\nExitCode 1")


def test_data_that_cannot_be_downloaded_fails_the_job(jobs: Any) -> None:
    given = jobs.put({"there": "1"})
    manifest = jobs.put({"list": json.dumps([{"prefix": f"{given}/"}, "there", "gone"])})
    name = jobs.create("true", InputDataConfig=[jobs.channel("data", f"{manifest}/list", S3DataType="ManifestFile")])
    assert jobs.finished(name)["FailureReason"].startswith("ClientError: Data download failed:")


def test_a_manifest_names_the_objects_of_a_channel(jobs: Any) -> None:
    given = jobs.put({"a": "1", "deep/b": "2", "not-listed": "3"})
    manifest = jobs.put({"list": json.dumps([{"prefix": f"{given}/"}, "a", "deep/b"])})
    name = jobs.create(
        "cp", "-r", "/opt/ml/input/data/data/.", "/opt/ml/model",
        InputDataConfig=[jobs.channel("data", f"{manifest}/list", S3DataType="ManifestFile")],
    )  # fmt: skip
    jobs.finished(name)
    assert jobs.archive(name, "model") == {"a": "1", "deep/b": "2"}


def test_data_in_fast_file_mode_is_there_as_files(jobs: Any) -> None:
    name = jobs.create(
        "cp", "-r", "/opt/ml/input/data/data", "/opt/ml/input/config", "/opt/ml/model",
        InputDataConfig=[jobs.channel("data", jobs.put({"deep/a": "1"}))],
        algorithm={"TrainingInputMode": "FastFile"},
    )  # fmt: skip
    jobs.finished(name)
    model = jobs.archive(name, "model")
    assert model["data/deep/a"] == "1"
    assert json.loads(model["config/inputdataconfig.json"])["data"]["TrainingInputMode"] == "FastFile"


def test_an_uncompressed_model_is_stored_file_by_file(jobs: Any) -> None:
    output = {"S3OutputPath": f"s3://{jobs.bucket}/out", "CompressionType": "NONE"}
    name = jobs.create("touch", "/opt/ml/model/weights", "/opt/ml/output/data/scores", OutputDataConfig=output)
    found = jobs.finished(name)["ModelArtifacts"]["S3ModelArtifacts"]
    assert found == f"s3://{jobs.bucket}/out/{name}/output/model/"
    assert jobs.keys(f"out/{name}/") == [f"out/{name}/output/data/scores", f"out/{name}/output/model/weights"]


def test_a_job_reaches_this_aws_by_plain_boto3(jobs: Any) -> None:
    script = f"""
import boto3
boto3.client("s3").put_object(Bucket="{jobs.bucket}", Key="by-a-job", Body=b"1")
print(boto3.client("sts").get_caller_identity()["Account"])
"""
    name = jobs.python(script)
    assert jobs.finished(name)["TrainingJobStatus"] == "Completed", jobs.lines(name)
    assert jobs.keys("by-a-job") == ["by-a-job"]


def test_a_job_can_share_objects_between_its_processes(jobs: Any) -> None:
    script = """
import multiprocessing, os, tempfile
if __name__ == "__main__":
    with multiprocessing.Manager() as manager:
        assert list(manager.list([1])) == [1]
    assert tempfile.gettempdir() == "/tmp" and os.listdir("/tmp").count("of-another") == 0
    open("/tmp/of-another", "w").close()
"""
    names = [jobs.python(script) for _ in range(2)]
    assert [jobs.finished(name)["TrainingJobStatus"] for name in names] == ["Completed"] * 2, jobs.lines(names[0])


def test_a_job_can_change_neither_our_python_nor_this_aws_state(jobs: Any) -> None:
    script = f"""
import shutil, sys
from pathlib import Path
version = f"{{sys.version_info.major}}.{{sys.version_info.minor}}"
for name in ("pip", "pip3", f"pip{{version}}", "train", "python"):
    assert "/hosts/algo-1/python/bin/" in shutil.which(name), shutil.which(name)
try:
    Path({sysconfig.get_path("purelib")!r}, "by-a-job").touch()
except OSError as error:
    print(error.strerror)
state = Path({str(jobs.state.resolve())!r})
print(sorted(path.name for path in state.iterdir()), sorted(path.name for path in (state / "training-jobs").iterdir()))
"""
    name = jobs.python(script)
    assert jobs.finished(name)["TrainingJobStatus"] == "Completed", jobs.lines(name)
    assert jobs.lines(name) == ["Read-only file system", f"['pip-cache', 'training-jobs'] ['{name}']"]


def test_a_job_isolated_from_the_network_has_its_data_but_neither_network_nor_credentials(jobs: Any) -> None:
    script = f"""
import os, socket
assert not [name for name in os.environ if name.startswith("AWS_") and "KEY" in name]
try:
    socket.create_connection(("127.0.0.1", {jobs.sagemaker.meta.endpoint_url.rsplit(":", 1)[1]}), 5)
except OSError:
    open("/opt/ml/model/alone", "w").close()
"""
    name = jobs.python(script, EnableNetworkIsolation=True)
    assert jobs.finished(name)["TrainingJobStatus"] == "Completed", jobs.lines(name)
    assert jobs.archive(name, "model") == {"alone": ""}


def test_many_jobs_run_at_once(jobs: Any) -> None:
    names = [jobs.create("sh", "-c", "echo up; sleep 1; touch /opt/ml/model/m", name="many") for _ in range(12)]
    assert {jobs.finished(name)["TrainingJobStatus"] for name in names} == {"Completed"}
    assert [jobs.lines(name) for name in names] == [["up"]] * 12
