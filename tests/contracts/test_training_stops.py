"""How training jobs end before they are done, and how spot jobs begin anew."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from trainmaster.embedded.sagemaker.records import Records

POLITE = """
import os, signal, sys, time
def end(*_):
    print("asked to end", flush=True)
    open("/opt/ml/model/saved", "w").write("in time")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
time.sleep(600)
"""
SPOT = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90},
}


def running(argument: str) -> bool:
    """Whether any process of this machine has the argument."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if argument.encode() in command.read_bytes().split(b"\0"):
                return True
        except OSError:
            continue
    return False


def put_back(state: Path, job: str, *, hours: float) -> None:
    """Let a recorded job have started earlier."""
    records = Records(state / "sagemaker.db")
    with records.changing("training-job", job) as record:
        record["TrainingStartTime"] -= hours * 3600
    records.close()


def until(condition: Any) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_stopped_job_is_asked_to_end_and_what_it_saves_is_stored(jobs: Any) -> None:
    name = jobs.python(POLITE)
    jobs.until_logged(name, "up")
    jobs.sagemaker.stop_training_job(TrainingJobName=name)
    jobs.sagemaker.stop_training_job(TrainingJobName=name)  # Stopping already: no error
    stopped = jobs.finished(name)
    assert (stopped["TrainingJobStatus"], stopped["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert jobs.walk(name) == ["Starting", "Downloading", "Training", "Stopping", "Uploading", "Stopped"]
    assert jobs.lines(name)[-1] == "asked to end"
    assert jobs.archive(name, "model") == {"saved": "in time"}
    with pytest.raises(ClientError, match="rejected because the training job is in status Stopped") as refused:
        jobs.sagemaker.stop_training_job(TrainingJobName=name)
    assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_aws_toolkit_does_not_pass_the_signal_on_and_the_whole_tree_is_killed_after_the_grace(jobs: Any) -> None:
    mark = f"mark-{uuid.uuid4().hex}"
    daemon = f"""
import os
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 3)
        os.execvp("python", ["python", "-c", "import time; time.sleep(600)", "{mark}"])
    os._exit(0)
"""
    name = jobs.script(daemon + POLITE)
    jobs.until_logged(name, "up")
    until(lambda: running(mark))
    jobs.sagemaker.stop_training_job(TrainingJobName=name)
    assert jobs.describe(name)["TrainingJobStatus"] == "Stopping"
    assert jobs.finished(name)["TrainingJobStatus"] == "Stopped"
    assert "asked to end" not in jobs.lines(name)
    assert not running(mark)


def out_of_time(jobs: Any, *limits: str, **members: Any) -> dict[str, Any]:
    """A job that was up when its time was over: a machine that needs longer for that is given more of these limits."""
    for seconds in (2, 8, 32):
        name = jobs.python(POLITE, StoppingCondition=dict.fromkeys(limits, seconds), **members)
        stopped = jobs.finished(name)
        if "up" in jobs.lines(name):
            break
    return dict(stopped)


def test_a_job_that_exceeds_its_runtime_is_stopped_and_its_model_stored(jobs: Any) -> None:
    stopped = out_of_time(jobs, "MaxRuntimeInSeconds")
    assert (stopped["TrainingJobStatus"], stopped["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert jobs.archive(stopped["TrainingJobName"], "model") == {"saved": "in time"}
    assert stopped["BillableTimeInSeconds"] >= stopped["StoppingCondition"]["MaxRuntimeInSeconds"]


def test_a_spot_job_whose_wait_is_over_while_it_trains_is_stopped_and_its_model_stored(jobs: Any) -> None:
    """The wait counts from its creation, and so ends before a runtime as long."""
    stopped = out_of_time(jobs, "MaxRuntimeInSeconds", "MaxWaitTimeInSeconds", EnableManagedSpotTraining=True)
    name = stopped["TrainingJobName"]
    assert (stopped["TrainingJobStatus"], stopped["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")
    assert "Training" in jobs.walk(name)
    assert jobs.archive(name, "model") == {"saved": "in time"}


def test_a_job_stopped_before_it_has_instances_costs_nothing(jobs: Any, embedded: Any) -> None:
    embedded.control("POST", "faults", {"operation": "LaunchingMLInstances", "latency": 50})
    try:
        name = jobs.python(POLITE)
        jobs.sagemaker.stop_training_job(TrainingJobName=name)
        stopped = jobs.finished(name)
    finally:
        embedded.control("DELETE", "faults")
    assert jobs.walk(name) == ["Starting", "Stopping", "Stopped"]
    assert not stopped.keys() & {"TrainingStartTime", "BillableTimeInSeconds"}


def test_a_job_stopped_while_its_data_comes_never_runs(jobs: Any) -> None:
    given = jobs.put({"there": "1"})
    manifest = jobs.put({"list": json.dumps([{"prefix": f"{given}/"}, *["there"] * 50_000])})
    data = jobs.channel("data", f"{manifest}/list", S3DataType="ManifestFile")
    name = jobs.python(POLITE, InputDataConfig=[data])
    jobs.until(name, SecondaryStatus={"Downloading"})
    jobs.sagemaker.stop_training_job(TrainingJobName=name)
    stopped = jobs.finished(name)
    assert jobs.walk(name) == ["Starting", "Downloading", "Stopping", "Stopped"]
    assert stopped["BillableTimeInSeconds"] >= 1
    assert jobs.lines(name) == []
    assert jobs.keys(f"out/{name}/") == []


def test_an_interrupted_spot_job_resumes_from_its_checkpoints(jobs: Any, embedded: Any) -> None:
    script = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
folder = "/opt/ml/checkpoints/steps"
os.makedirs(folder, exist_ok=True)
first = len(os.listdir(folder))
print("from", first, flush=True)
for step in range(first, first + (3 if first else 600)):
    open(f"{folder}/{step:04}", "w").write("x")
    time.sleep(0.05)
open("/opt/ml/model/m", "w").write("x")
"""
    checkpoints = f"checkpoints/{uuid.uuid4().hex}"
    name = jobs.python(script, CheckpointConfig={"S3Uri": f"s3://{jobs.bucket}/{checkpoints}"}, **SPOT)
    until(lambda: f"{checkpoints}/steps/0005" in jobs.keys(f"{checkpoints}/"))  # copied while it trains
    assert embedded.control("POST", "interrupt", {"training_job": name}) == {}
    done = jobs.finished(name)
    assert done["TrainingJobStatus"] == "Completed", jobs.lines(name)
    walk = jobs.walk(name)
    assert walk == [
        "Starting", "Downloading", "Training", "Interrupted", "Restarting", "Downloading", "Training", "Uploading", "Completed",
    ]  # fmt: skip
    first, second = sorted(int(line.split()[1]) for line in jobs.lines(name))
    assert (first, second >= 6) == (0, True)
    assert len(jobs.keys(f"{checkpoints}/")) == second + 3
    assert 1 <= done["BillableTimeInSeconds"] < done["TrainingTimeInSeconds"]


def test_a_checkpoint_that_a_job_deletes_is_deleted_in_s3(jobs: Any) -> None:
    restored = jobs.put({"old": "1", "kept": "1"})
    script = """
import os
os.remove("/opt/ml/checkpoints/old")
open("/opt/ml/checkpoints/new", "w").write("1")
"""
    name = jobs.python(script, CheckpointConfig={"S3Uri": restored})
    assert jobs.finished(name)["TrainingJobStatus"] == "Completed", jobs.lines(name)
    prefix = restored.removeprefix(f"s3://{jobs.bucket}/")
    assert jobs.keys(f"{prefix}/") == [f"{prefix}/kept", f"{prefix}/new"]


def test_only_running_spot_jobs_can_be_interrupted(jobs: Any, embedded: Any) -> None:
    name = jobs.create("true")
    jobs.finished(name)
    for job, reason in ((name, "does not use managed spot"), ("nobody", "Requested resource not found")):
        assert reason in embedded.control("POST", "interrupt", {"training_job": job})["error"]
    spot = jobs.create("true", **SPOT)
    jobs.finished(spot)
    assert "no instances" in embedded.control("POST", "interrupt", {"training_job": spot})["error"]


class TestWithoutCapacity:
    """Commanded to fail at LaunchingMLInstances."""

    @pytest.fixture(autouse=True)
    def none(self, embedded: Any) -> Any:
        message = "Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
        embedded.control(
            "POST", "faults", {"operation": "LaunchingMLInstances", "error": "CapacityError", "message": message}
        )
        yield
        embedded.control("DELETE", "faults")

    def test_an_on_demand_job_fails_and_costs_nothing(self, jobs: Any) -> None:
        failed = jobs.finished(jobs.create("true"))
        assert failed["FailureReason"].startswith("CapacityError: Unable to provision requested ML compute capacity.")
        assert not failed.keys() & {"TrainingStartTime", "TrainingTimeInSeconds", "BillableTimeInSeconds"}

    def test_a_spot_job_waits_and_runs_once_there_is_some(self, jobs: Any, embedded: Any) -> None:
        name = jobs.create("true", **SPOT)
        jobs.until(name, SecondaryStatus={"Pending"})
        embedded.control("DELETE", "faults")
        assert jobs.finished(name)["TrainingJobStatus"] == "Completed"

    def test_a_spot_job_waits_no_longer_than_it_may(self, jobs: Any) -> None:
        condition = {"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 1}
        stopped = jobs.finished(jobs.create("true", EnableManagedSpotTraining=True, StoppingCondition=condition))
        assert (stopped["TrainingJobStatus"], stopped["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")
        assert "BillableTimeInSeconds" not in stopped

    def test_a_waiting_job_can_be_stopped(self, jobs: Any) -> None:
        name = jobs.create("true", **SPOT)
        jobs.until(name, SecondaryStatus={"Pending"})
        jobs.sagemaker.stop_training_job(TrainingJobName=name)
        assert jobs.finished(name)["TrainingJobStatus"] == "Stopped"


def test_jobs_survive_a_restart_finished_ones_with_their_logs_and_running_ones_as_failed(
    start_embedded: Any, jobs_of: Any
) -> None:
    aws = start_embedded()
    before = jobs_of(aws)
    mark = f"mark-{uuid.uuid4().hex}"
    finished = before.create("sh", "-c", "echo done; touch /opt/ml/model/m")
    interrupted = before.create("sh", "-c", f"echo up; sleep 600; : {mark}")
    described = before.finished(finished)
    before.until_logged(interrupted, "up")
    aws.kill()
    until(lambda: not running(f"echo up; sleep 600; : {mark}"))
    killed = datetime.now(UTC)
    put_back(aws.state, interrupted, hours=1)  # as if the machine had been off as long

    again = start_embedded()
    after = jobs_of(again)
    failed = after.describe(interrupted)
    assert failed["TrainingJobStatus"] == failed["SecondaryStatus"] == "Failed"
    assert failed["FailureReason"].startswith("InternalServerError:")
    assert 1 <= failed["BillableTimeInSeconds"] <= (killed - described["CreationTime"]).total_seconds() + 1
    assert failed["TrainingEndTime"] <= killed
    same = after.describe(finished)
    assert {**same, "ResponseMetadata": None} == {**described, "ResponseMetadata": None}
    assert after.archive(finished, "model") == {"m": ""}
    after.until_logged(finished, "done")
    after.until_logged(interrupted, "up")
    assert not (after.state / "training-jobs" / interrupted / "hosts").exists()

    left = after.create("sh", "-c", f"echo up; sleep 600; : {mark}")
    after.until_logged(left, "up")
    assert again.stop() == 0
    assert not running(f"echo up; sleep 600; : {mark}")
    assert jobs_of(start_embedded()).describe(left)["FailureReason"].startswith("InternalServerError:")


def test_without_namespaces_jobs_run_by_their_environment_and_are_stopped_as_wholly(
    start_embedded: Any, jobs_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINMASTER_NAMESPACES", "off")
    aws = start_embedded(stop_grace=0.5)
    assert "without namespaces" in aws.control("GET", "health")["isolation"]
    jobs = jobs_of(aws)
    name = jobs.script(
        "import os; open(os.environ['SM_MODEL_DIR'] + '/m', 'w').write(os.environ['SM_CHANNEL_TRAIN'])",
        InputDataConfig=[jobs.channel("train", jobs.put({"a": "1"}))],
    )
    mark = f"mark-{uuid.uuid4().hex}"
    daemon = jobs.script(
        f"import subprocess, time; print('up', flush=True)\n"
        f"subprocess.Popen(['setsid', 'sh', '-c', ': {mark}; sleep 600; :']); time.sleep(600)"
    )
    assert jobs.finished(name)["TrainingJobStatus"] == "Completed", jobs.lines(name)
    assert jobs.archive(name, "model")["m"].endswith(f"{name}/hosts/algo-1/ml/input/data/train")
    jobs.until_logged(daemon, "up")
    until(lambda: running(f": {mark}; sleep 600; :"))
    jobs.sagemaker.stop_training_job(TrainingJobName=daemon)
    assert jobs.finished(daemon)["TrainingJobStatus"] == "Stopped"
    assert not running(f": {mark}; sleep 600; :")
