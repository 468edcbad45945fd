"""Real jobs for tests of those who look after them: launched as users' are, and at work until they are stopped or told to end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from paid_launch import DATA, plan_of

from trainmaster.training.plan import TrainingPlan

LASTING = "import time; print('up', flush=True); time.sleep(600)"
BRIEF = "print('r2=0.75;', flush=True)"
WITHIN = 90.0


def put_data(embedded: Any) -> None:
    """What the jobs say they train on."""
    bucket = embedded.environment["TRAINMASTER_BUCKET"]
    embedded.client("s3").put_object(Bucket=bucket, Key=f"{DATA}/data.csv", Body=b"1")


def job_plan(
    embedded: Any, script: str = LASTING, *, create: Mapping[str, Any] | None = None, **choices: Any
) -> TrainingPlan:
    """Of a job of its own name that runs a script; `create` replaces members of what AWS is asked for, behind the plan's back."""
    name = choices.pop("name", "tended")
    plan = plan_of(f"{name}-{uuid.uuid4().hex[:8]}", embedded.environment, **choices)
    asked = plan.create_request
    algorithm = {**asked["AlgorithmSpecification"], "ContainerEntrypoint": ["python", "-c", script]}
    return replace(plan, create_request={**asked, "AlgorithmSpecification": algorithm, **(create or {})})


def create_alone(sagemaker: Any, plan: TrainingPlan) -> None:
    """The job without row, reservation or experiment: as one that somebody else made, or whose launch died and came back."""
    asked = {name: value for name, value in plan.create_request.items() if name != "ExperimentConfig"}
    sagemaker.create_training_job(**asked)


def described(sagemaker: Any, job_name: str, *statuses: str) -> dict[str, Any]:
    """Its description once its status or secondary status is one of these."""
    deadline = time.monotonic() + WITHIN
    while True:
        job: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=job_name)
        if {job["TrainingJobStatus"], job["SecondaryStatus"]} & set(statuses):
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
