"""The rules by which a training job's record changes, and what it is billed."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.embedded.sagemaker.training import statuses, uptime
from trainmaster.embedded.sagemaker.wire import Json


def walked(*secondaries: str) -> Json:
    job: Json = {"TrainingJobStatus": "InProgress"}
    for second, secondary in enumerate(secondaries):
        statuses.move(job, secondary, float(second))
    return job


def test_each_transition_begins_when_the_one_before_ends() -> None:
    job = walked("Starting", "Downloading", "Training")
    assert [(each["Status"], each["StartTime"], each.get("EndTime")) for each in job["SecondaryStatusTransitions"]] == [
        ("Starting", 0.0, 1.0),
        ("Downloading", 1.0, 2.0),
        ("Training", 2.0, None),
    ]
    assert (job["SecondaryStatus"], job["LastModifiedTime"]) == ("Training", 2.0)


def test_entering_the_same_status_again_changes_its_message_only() -> None:
    job = walked("Starting")
    statuses.move(job, "Starting", 5.0, message="Launching requested ML instances")
    assert job["SecondaryStatusTransitions"] == [
        {"Status": "Starting", "StartTime": 0.0, "StatusMessage": "Launching requested ML instances"}
    ]


def test_a_finished_job_has_ended_its_last_transition_and_its_training() -> None:
    job = walked("Starting", "Downloading") | {"TrainingStartTime": 1.0}
    statuses.finish(job, "Failed", 9.0, reason="x" * 2000)
    assert job["SecondaryStatusTransitions"][-1]["EndTime"] == 9.0
    assert (job["TrainingJobStatus"], job["SecondaryStatus"], job["TrainingEndTime"]) == ("Failed", "Failed", 9.0)
    assert len(job["FailureReason"]) == 1024


def test_a_job_that_never_got_instances_has_no_training_end() -> None:
    job = walked("Starting")
    statuses.finish(job, "Stopped", 9.0)
    assert "TrainingEndTime" not in job


@given(st.floats(min_value=0.001, max_value=28 * 86400))
def test_on_demand_seconds_are_billed_in_full_and_spot_seconds_at_the_spot_share(seconds: float) -> None:
    on_demand: Json = {}
    spot: Json = {"EnableManagedSpotTraining": True}
    statuses.bill(on_demand, seconds)
    statuses.bill(spot, seconds)
    assert on_demand["BillableTimeInSeconds"] == on_demand["TrainingTimeInSeconds"] == math.ceil(seconds)
    assert 1 <= spot["BillableTimeInSeconds"] <= spot["TrainingTimeInSeconds"] == math.ceil(seconds)
    assert spot["BillableTimeInSeconds"] == pytest.approx(seconds * statuses.SPOT_SHARE, abs=1)


def test_nothing_is_billed_when_no_instance_was_up() -> None:
    job: Json = {}
    statuses.bill(job, 0.0)
    assert job == {}


@given(st.text(max_size=3000), st.integers(1, 255))
def test_a_failure_reason_keeps_the_exit_code_however_long_the_failure_file(failure: str, code: int) -> None:
    reason = statuses.algorithm_error(failure, code)
    assert len(reason) <= 1024
    assert reason.startswith("AlgorithmError: " + failure[:900])
    assert reason.endswith(f", exit code: {code}")


def test_what_was_noted_of_a_jobs_uptime_is_found_until_it_is_forgotten(tmp_path: Path) -> None:
    assert uptime.noted(tmp_path) is None
    for seconds in (1.5, 2.5):
        uptime.note(tmp_path, uptime.Uptime(seconds, 1000.0))
    assert uptime.noted(tmp_path) == uptime.Uptime(2.5, 1000.0)
    uptime.forget(tmp_path)
    assert list(tmp_path.iterdir()) == []
