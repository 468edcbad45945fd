"""A flow that dies leaves a job that goes on; the next run finds it instead of launching another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from desks import desk_at
from paid_launch import DATA, plan_of

from trainmaster.budget.ledger import open_ledger
from trainmaster.errors import NameConflictError
from trainmaster.settings import Settings
from trainmaster.training.launching import launch_training
from trainmaster.training.plan import TrainingPlan

RUN = """
import sys
from flows.train_and_serve import train_and_serve
from trainmaster.main_job import TrainAndServeRequest
print(train_and_serve(TrainAndServeRequest.model_validate_json(sys.argv[1])).training.model_dump_json())
"""
WITHIN = 200.0


def start(stack: Any, name: str) -> subprocess.Popen[str]:
    request = json.dumps({"training": {"model_name": name}, "endpoint": {"endpoint_name": name}})
    return subprocess.Popen(
        [sys.executable, "-c", RUN, request], env={**os.environ, **stack.environment}, stdout=subprocess.PIPE, text=True
    )


def jobs(stack: Any, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.client("sagemaker").list_training_jobs(NameContains=name)[
        "TrainingJobSummaries"
    ]
    return found


def until(condition: Any) -> Any:
    deadline = time.monotonic() + WITHIN
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
    return found


def test_a_flow_killed_while_its_job_trains_finds_the_same_job_again(stack: Any) -> None:
    first = start(stack, "slain-flow")
    [job] = until(lambda: jobs(stack, "slain-flow"))
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait(WITHIN) == -signal.SIGKILL
    assert job["TrainingJobStatus"] == "InProgress"

    second = start(stack, "slain-flow")
    outcome = json.loads(second.communicate(timeout=WITHIN)[0])
    assert second.returncode == 0
    assert (outcome["job_name"], outcome["found"]) == (job["TrainingJobName"], True)
    assert [one["TrainingJobName"] for one in jobs(stack, "slain-flow")] == [job["TrainingJobName"]]
    assert stack.client("sagemaker").describe_endpoint(EndpointName="slain-flow")["EndpointStatus"] == "InService"
    settings = Settings()
    with open_ledger(settings.database_url, settings.state_dir) as ledger:
        of_this_job = [one.what for one in ledger.history(limit=1000) if one.subject == job["TrainingJobName"]]
    assert of_this_job == ["settled", "reserved"]


@pytest.fixture
def plan(stack: Any) -> TrainingPlan:
    name = f"plan-{time.time_ns()}"
    stack.client("s3").put_object(Bucket=stack.bucket, Key=f"{DATA}/data.csv", Body=b"1")
    return plan_of(name, stack.environment)


def test_of_many_launches_at_once_one_creates_and_all_find_the_job(
    stack: Any, plan: TrainingPlan, tmp_path: Path
) -> None:
    answers: list[str] = []
    gate = threading.Barrier(8)

    def launch() -> None:
        gate.wait()
        with desk_at(tmp_path, stack.environment) as desk:
            answers.append(launch_training(desk, plan))

    threads = [threading.Thread(target=launch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(answers), answers.count("created")) == (8, 1)
    assert len(jobs(stack, plan.job_name)) == 1


def test_a_job_of_that_name_from_another_request_is_a_conflict_not_a_success(
    stack: Any, plan: TrainingPlan, tmp_path: Path
) -> None:
    with desk_at(tmp_path, stack.environment) as desk:
        launch_training(desk, plan)
        with pytest.raises(NameConflictError, match=f"{plan.job_name}.*different request"):
            launch_training(desk, replace(plan, fingerprint="0" * 64))
