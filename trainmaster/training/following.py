"""Following a job to its end: what each Describe means, and a loop that survives throttling and network cuts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.aws.polling import Patience, answers
from trainmaster.budget.approval import Rate
from trainmaster.errors import WaitTimedOutError
from trainmaster.training.logs import LogReader
from trainmaster.training.stopping import stop_training

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

FINISHED = {"Completed", "Failed", "Stopped"}
ROUGH_PROGRESS = {
    "Starting": 5, "Pending": 5, "LaunchingMLInstances": 10, "PreparingTrainingStack": 15, "Downloading": 25,
    "DownloadingTrainingImage": 30, "Training": 50, "Interrupted": 40, "Restarting": 40, "Uploading": 90, "Stopping": 90,
}  # fmt: skip
"""Percent by secondary status, where the job itself does not say how far it is."""


@dataclass(frozen=True)
class Step:
    """What one Describe says: AWS's two statuses, dollars and seconds so far."""

    status: str
    secondary: str
    seconds: int
    cost: Decimal
    finished: bool

    @property
    def percent(self) -> float:
        return 100.0 if self.finished else float(ROUGH_PROGRESS.get(self.secondary, 50))


@dataclass(frozen=True)
class Update:
    """A step of the job, the log lines that came with it, and why there are none when the log cannot be read."""

    step: Step
    lines: list[str]
    description: Mapping[str, Any]
    log_problem: str = ""


@dataclass(frozen=True)
class Ending:
    """What was known of a job when it had ended, and the last lines of its log."""

    description: Mapping[str, Any]
    log_tail: list[str]


def next_step(description: Mapping[str, Any], now: datetime, rate: Rate) -> Step:
    """Pure: from a DescribeTrainingJob answer to what is known at this moment."""
    started = description.get("TrainingStartTime")
    ended = description.get("TrainingEndTime", now)
    seconds = int(
        description.get("TrainingTimeInSeconds") or (max((ended - started).total_seconds(), 0) if started else 0)
    )
    billable = description.get("BillableTimeInSeconds", seconds)
    finished = description["TrainingJobStatus"] in FINISHED
    return Step(
        status=description["TrainingJobStatus"],
        secondary=description["SecondaryStatus"],
        seconds=seconds,
        cost=rate.cost(billable),
        finished=finished,
    )


def follow_training(
    sagemaker: SageMakerClient,
    reader: LogReader,
    rate: Rate,
    patience: Patience,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Update]:
    """One Update per poll, the last one finished, with every log line by then.

    A job still running when patience ends is stopped and WaitTimedOutError raised: SageMaker itself should have ended it.
    """

    def ask() -> Mapping[str, Any]:
        return sagemaker.describe_training_job(TrainingJobName=reader.job_name)

    for description in answers(ask, patience, sleep=sleep):
        step = next_step(description, datetime.now(UTC), rate)
        if step.secondary != "Training":
            reader.look_again()
        lines, problem = _read(reader)
        if step.finished:
            late = [] if problem else _late_lines(reader, min(patience.poll_seconds, 2.0), sleep)
            yield Update(step, lines + late, description, problem)
            return
        yield Update(step, lines, description, problem)
    stop_training(sagemaker, reader.job_name)
    raise WaitTimedOutError(
        f"Training job {reader.job_name} was still running after {patience.longest_seconds:.0f} s, when SageMaker should"
        " have ended it. It was told to stop; look at it in the AWS console."
    )


def _read(reader: LogReader) -> tuple[list[str], str]:
    """New lines; or none and why not. A log that cannot be read is no reason to look away from a job that costs money."""
    try:
        return reader.new_lines(), ""
    except (ClientError, BotoCoreError) as error:
        return [], f"The job's log cannot be read: {error}"


def _late_lines(reader: LogReader, pause: float, sleep: Callable[[float], None]) -> list[str]:
    """CloudWatch shows a job's last lines a little after the job has ended: read until a pause brings nothing."""
    late: list[str] = []
    for _ in range(10):
        sleep(pause)
        lines, _problem = _read(reader)
        late += lines
        if not lines:
            break
    return late
