"""`python paid_launch.py FOLDER NAME…`: jobs launched and followed within budget by processes that are killed, or halted while a
twin passes them, at every point on the way."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3

from trainmaster.budget.ledger import Ledger
from trainmaster.budget.prices import shipped_prices
from trainmaster.catalog.deployments import Deployments
from trainmaster.catalog.log_positions import LogPositions
from trainmaster.settings import Settings
from trainmaster.training.desk import open_desk
from trainmaster.training.following import FINISHED
from trainmaster.training.launching import launch_training
from trainmaster.training.log_sinks import FileSink
from trainmaster.training.logs import LogReader
from trainmaster.training.plan import Channel, Place, TrainingInputs, TrainingPlan, plan_training
from trainmaster.training.request import TrainingRequest, approve
from trainmaster.training.tending import tend
from trainmaster.training.trainers import HOUSE_PRICES

CALLS = {
    "the experiment": "CreateExperiment",
    "the trial": "CreateTrial",
    "the job": "CreateTrainingJob",
}
"""Side effects at AWS, by the operation."""
METHODS = {
    "the row": (Deployments, "begin"),
    "the reservation": (Ledger, "reserve"),
    "the first look": (LogReader, "new_lines"),
    "the lines": (FileSink, "tell"),
    "the log position": (LogPositions, "save"),
    "the settlement": (Ledger, "settle"),
    "the row's end": (Deployments, "change"),
}
"""Side effects of ours, by what does them."""
POINTS = [
    f"{when} {what}"
    for what in (
        "the row", "the reservation", "the experiment", "the trial", "the job", "the first look", "the lines",
        "the log position", "the settlement", "the row's end",
    )
    for when in ("before", "after")
]  # fmt: skip
"""Where a launch and its follower may be, in this order. After one at AWS, its answer was not heard."""
TWIN_POINTS = POINTS[::2]

SCRIPT = "echo one line; echo another; exit 1"
DATA = "paid-launches"
"""Where the data of these jobs is, in the embedded AWS's bucket."""


def plan_of(name: str, environment: Mapping[str, str], **choices: Any) -> TrainingPlan:
    """Of a job that AWS takes, and that says two lines and fails, in less time than AWS's toolkit takes to start."""
    bucket, region = environment["TRAINMASTER_BUCKET"], environment["AWS_REGION"]
    asked = {
        "budget_limit": Decimal("1.00"),
        "max_runtime_seconds": 3600,
        "user_id": environment["TRAINMASTER_USER_ID"],
    }
    request = TrainingRequest(**{"model_name": name, "data_uri": f"s3://{bucket}/{DATA}/", **asked, **choices})
    channel = Channel("training", request.data_uri, "checksum")
    plan = plan_training(
        request,
        TrainingInputs(name, HOUSE_PRICES, (channel,), f"s3://{bucket}/no-source.tar.gz", "image"),
        approve(request, region, shipped_prices()),
        Place(region, environment["TRAINMASTER_EXECUTION_ROLE_ARN"], f"s3://{bucket}/{name}/jobs", "tests"),
    )
    algorithm = {**plan.create_request["AlgorithmSpecification"], "ContainerEntrypoint": ["/bin/sh", "-c", SCRIPT]}
    return replace(plan, create_request={**plan.create_request, "AlgorithmSpecification": algorithm})


def finished(sagemaker: Any, job_name: str) -> Mapping[str, Any]:
    """Its description once it has ended."""
    deadline = time.monotonic() + 150
    while (job := sagemaker.describe_training_job(TrainingJobName=job_name))["TrainingJobStatus"] not in FINISHED:
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    return job  # type: ignore[no-any-return]


def halt(signal_number: int, point: str, sagemaker: Any) -> None:
    """Have the process send itself that signal at the point, the first time it is there."""
    when, _, what = point.partition(" ")
    left = [signal_number]

    def here(*_: Any, **__: Any) -> None:
        while left:
            os.kill(os.getpid(), left.pop())

    if what in CALLS:
        sagemaker.meta.events.register(f"{when}-call.sagemaker.{CALLS[what]}", here)
        return
    kind, name = METHODS[what]
    real = getattr(kind, name)

    def halting(*args: Any, **kwargs: Any) -> Any:
        counts = what != "the row's end" or "completed_at" in kwargs
        if counts and when == "before":
            here()
        answer = real(*args, **kwargs)
        if counts and when == "after":
            here()
        return answer

    setattr(kind, name, halting)


def launch_and_follow(clients: Mapping[str, Any], folder: Path, name: str, run: str) -> str:
    """To the end; how it was launched."""
    plan = plan_of(name, os.environ, budget_limit=Decimal("0.50"))
    with (
        open_desk(Settings(state_dir=folder), clients.__getitem__) as desk,
        FileSink(folder / f"{name}-{run}.log") as sink,
    ):
        launch = launch_training(desk, plan, run=run)
        reader = LogReader(desk.client, plan.job_name, 1, sink, LogPositions(desk.catalogue.database), run)
        ended = finished(desk.client("sagemaker"), plan.job_name)
        while reader.new_lines():
            pass
        tend(desk, plan.job_name, ended)
    return launch


def forked(work: Callable[[], object]) -> int:
    """The pid of a child that does it; what it returns goes to our standard output."""
    if child := os.fork():
        return child
    code = 1
    try:
        os.write(1, f"{work()}\n".encode())
        code = 0
    finally:
        if code:
            traceback.print_exc()
        os._exit(code)


def main(folder: Path, names: Sequence[str]) -> None:
    """For each point a name: a follower is killed there and comes again. In the folder `twins`, one halts before each side effect
    until a twin has done it all."""
    # Made before anything is forked, used only afterwards: they have no connections yet.
    clients = {service: boto3.client(service) for service in ("sagemaker", "logs", "s3")}  # type: ignore[call-overload]

    def begin(where: Path, name: str, run: str, point: str = "", signal_number: int = 0) -> int:
        def work() -> str:
            if point:
                halt(signal_number, point, clients["sagemaker"])
            return f"{name} {launch_and_follow(clients, where, name, run)}"

        return forked(work)

    points = dict(zip(POINTS, names, strict=True))
    mortal = [begin(folder, f"{points[at]}-kill", "first", at, signal.SIGKILL) for at in POINTS]
    halted = [begin(folder / "twins", f"{points[at]}-twin", "halted", at, signal.SIGSTOP) for at in TWIN_POINTS]
    assert {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in mortal} == {-signal.SIGKILL}
    assert all(os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1]) for child in halted)
    again = [begin(folder, f"{points[at]}-kill", "first") for at in POINTS]
    again += [begin(folder / "twins", f"{points[at]}-twin", "passing") for at in TWIN_POINTS]
    ended = [os.waitpid(child, 0)[1] for child in again]
    for child in halted:
        os.kill(child, signal.SIGCONT)
    ended += [os.waitpid(child, 0)[1] for child in halted]
    sys.exit(any(ended))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
