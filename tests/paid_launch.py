"""`python paid_launch.py FOLDER NAME POINT`: launch and follow a job within budget, and be killed at a point on the way, or at none."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3

from trainmaster.budget.ledger import Ledger
from trainmaster.budget.prices import shipped_prices
from trainmaster.settings import Settings
from trainmaster.training.desk import open_desk
from trainmaster.training.following import FINISHED
from trainmaster.training.launching import launch_training
from trainmaster.training.plan import Channel, Place, TrainingInputs, TrainingPlan, plan_training
from trainmaster.training.request import TrainingRequest, approve
from trainmaster.training.tending import settle_training
from trainmaster.training.trainers import HOUSE_PRICES

POINTS = [
    "before the reservation",
    "after the reservation",
    "after Create, its answer unheard",
    "before the first poll",
    "before the settlement",
    "after the settlement",
]

DATA = "paid-launches"
"""Where the data of these jobs is, in the embedded AWS's bucket."""


def plan_of(name: str, environment: Mapping[str, str], **choices: Any) -> TrainingPlan:
    """Of a job that AWS takes and that fails in its first second, since there is no code for it to run."""
    bucket, region = environment["TRAINMASTER_BUCKET"], environment["AWS_REGION"]
    asked = {
        "budget_limit": Decimal("1.00"),
        "max_runtime_seconds": 3600,
        "user_id": environment["TRAINMASTER_USER_ID"],
    }
    request = TrainingRequest(**{"model_name": name, "data_uri": f"s3://{bucket}/{DATA}/", **asked, **choices})
    channel = Channel("training", request.data_uri, "checksum")
    return plan_training(
        request,
        TrainingInputs(name, HOUSE_PRICES, (channel,), f"s3://{bucket}/no-source.tar.gz", "image"),
        approve(request, region, shipped_prices()),
        Place(region, environment["TRAINMASTER_EXECUTION_ROLE_ARN"], f"s3://{bucket}/{name}/jobs"),
    )


def finished(sagemaker: Any, job_name: str) -> Mapping[str, Any]:
    """Its description once it has ended."""
    deadline = time.monotonic() + 60
    while (job := sagemaker.describe_training_job(TrainingJobName=job_name))["TrainingJobStatus"] not in FINISHED:
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    return job  # type: ignore[no-any-return]


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, name: str, point: str) -> None:
    sagemaker = boto3.client("sagemaker")
    if point == "before the reservation":
        Ledger.reserve = die  # type: ignore[assignment, method-assign]
    elif point == "after the reservation":
        sagemaker.meta.events.register("before-call.sagemaker.CreateTrainingJob", die)
    elif point == "after Create, its answer unheard":
        sagemaker.meta.events.register("after-call.sagemaker.CreateTrainingJob", die)
    plan = plan_of(name, os.environ, budget_limit=Decimal("0.50"))
    with open_desk(Settings(state_dir=folder), lambda _: sagemaker) as desk:
        print(launch_training(desk, plan), flush=True)
        if point == "before the first poll":
            die()
        ended = finished(sagemaker, plan.job_name)
        if point == "before the settlement":
            die()
        print(settle_training(desk.ledger, plan.job_name, ended).bill, flush=True)
        if point == "after the settlement":
            die()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
