"""Following a job to its end: what each Describe means, and a loop that survives throttling, expired tokens and network cuts."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeGuard

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.aws.clients import renew
from trainmaster.aws.failures import is_expired, is_passing
from trainmaster.aws.polling import Patience, answers
from trainmaster.budget.approval import Rate
from trainmaster.errors import RefusedError, TrainmasterError, WaitTimedOutError
from trainmaster.training.log_sinks import Line
from trainmaster.training.logs import LogReader
from trainmaster.training.progress import Course
from trainmaster.training.stopping import ENDED, await_stopped, stop_training
from trainmaster.training.uptime import UNBILLED, up_seconds

FINISHED = ENDED
STATES = {"Completed": "completed", "Failed": "failed", "Stopped": "stopped", "Stopping": "stopping"}
TRAINING = frozenset({"Training", "Uploading"})
ROUGH_PROGRESS = {
    "Starting": 5, "Pending": 5, "LaunchingMLInstances": 10, "PreparingTrainingStack": 15, "Downloading": 25,
    "DownloadingTrainingImage": 30, "Training": 50, "Interrupted": 40, "Restarting": 40, "Uploading": 90, "Stopping": 90,
}  # fmt: skip
"""Percent by secondary status, where the job itself does not say how far it is; while it trains, more by the time it may take."""
UPLOAD_SLACK = timedelta(hours=1)
"""How long after its limits a job may still be uploading its model."""
LONGEST_PENDING = timedelta(hours=24)
"""How long a job that is not spot may wait for its instances; it costs nothing meanwhile."""
LONGEST_LIFE = timedelta(days=30)
"""SageMaker's own limit for any job, its uploads included."""
TAIL = 200
"""Lines kept to tell from why a job failed."""
READS_PER_POLL = 10
STOP_SECONDS = 600.0
LATE_PAUSE, LATE_READS = 5.0, 20
QUIET_READS, QUIET_READS_OF_SILENT = 2, 3
"""Reads without a line after which a log has ended, and one that never had any."""


@dataclass(frozen=True)
class Cadence:
    """Seconds between two Describes of a job, and how long AWS may be out of reach at a stretch."""

    poll_seconds: float
    outage_seconds: float

    def while_waiting(self, waited: float) -> float:
        """The longer a job has waited for instances, the longer it likely will: up to four times as long between two looks."""
        return min(max(self.poll_seconds, waited / 10), 4 * self.poll_seconds)


@dataclass(frozen=True)
class Step:
    """What one Describe says. `state` is what the application's row calls it, `status` and `secondary` are AWS's words.

    `seconds` are those with instances, `cost` in dollars is theirs at the on-demand rate: at most what is billed, until it is.
    `delay` is after how many seconds to look again, `percent` a rough guess. `starts` is how often training began, `interruptions` how often spot
    instances were taken away. `overdue` when SageMaker should have ended it long ago.
    """

    state: str
    status: str
    secondary: str
    seconds: int
    cost: Decimal
    delay: float
    finished: bool
    percent: float
    starts: int = 0
    interruptions: int = 0
    overdue: bool = False


@dataclass(frozen=True)
class Update:
    """A step of the job and the log lines that were told with it; of one poll there may be several, of the end too.

    `log_problem` is why there are no lines, or why where they end is not kept. `tail` are the last lines so far.
    """

    step: Step
    lines: list[Line]
    description: Mapping[str, Any]
    log_problem: str = ""
    course: Course = field(default_factory=Course)
    tail: tuple[str, ...] = ()

    @property
    def percent(self) -> float:
        """As the job itself says, else by what it is doing."""
        known = self.course.now.percent
        return self.step.percent if known is None or self.step.secondary != "Training" else known


@dataclass(frozen=True)
class Ending:
    """What was known of a job when it had ended, and the last lines of its log."""

    description: Mapping[str, Any]
    log_tail: list[str]


def next_step(description: Mapping[str, Any], now: datetime, cadence: Cadence, rate: Rate) -> Step:
    """Pure: from a DescribeTrainingJob answer to what is known at this moment, whatever it lacks and whatever is new in it."""
    status, secondary = str(description.get("TrainingJobStatus", "")), str(description.get("SecondaryStatus", ""))
    transitions = _transitions(description)
    finished = status in FINISHED
    up = _up_seconds(description, transitions, now, finished=finished)
    waiting = secondary in UNBILLED and not finished
    since = transitions[-1]["StartTime"] if transitions else now
    limits = description.get("StoppingCondition") or {}
    return Step(
        state=state_of(status, secondary),
        status=status,
        secondary=secondary,
        seconds=seconds_of(description, "TrainingTimeInSeconds", up),
        cost=rate.cost(seconds_of(description, "BillableTimeInSeconds", up)),
        delay=cadence.while_waiting(_seconds(now - since)) if waiting else cadence.poll_seconds,
        finished=finished,
        percent=100.0 if finished else _rough_percent(secondary, up, limits),
        starts=max(_count(transitions, "Training"), int(secondary in TRAINING)),
        interruptions=_count(transitions, "Interrupted"),
        overdue=not finished and now > _deadline(description),
    )


def _rough_percent(secondary: str, up: int, limits: Mapping[str, Any]) -> float:
    rough = float(ROUGH_PROGRESS.get(secondary, 50))
    longest = seconds_of(limits, "MaxRuntimeInSeconds")
    return rough + 40 * min(up / longest, 1.0) if secondary == "Training" and longest else rough


def state_of(status: str, secondary: str) -> str:
    """What the application's table calls the state of a job, by AWS's two words for it."""
    if status == "Deleting":
        return STATES[secondary] if secondary in FINISHED & STATES.keys() else "stopped"
    return STATES.get(status, "training" if secondary in TRAINING else "starting")


def interruptions_of(description: Mapping[str, Any]) -> int:
    """How often its spot instances were taken away."""
    return _count(_transitions(description), "Interrupted")


def seconds_of(description: Mapping[str, Any], member: str, otherwise: int = 0) -> int:
    """A member that is a number of seconds; `otherwise` where it is missing or none."""
    value = description.get(member)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return otherwise
    return min(int(value), 10**9)  # thirty years: dates end not long after


def _transitions(description: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those that say when they were."""
    found = description.get("SecondaryStatusTransitions") or []
    return [
        {**one, "EndTime": end}
        if _is_moment(end := one.get("EndTime"))
        else {k: one[k] for k in ("Status", "StartTime")}
        for one in found
        if _is_moment(one.get("StartTime")) and one.get("Status")
    ]


def _up_seconds(
    description: Mapping[str, Any], transitions: list[dict[str, Any]], now: datetime, *, finished: bool
) -> int:
    known = {name: description.get(name) for name in ("TrainingStartTime", "TrainingEndTime")}
    if not _is_moment(known["TrainingStartTime"]) or (finished and not _is_moment(known["TrainingEndTime"])):
        return 0
    moments = {name: moment for name, moment in known.items() if _is_moment(moment)}
    return up_seconds({**moments, "SecondaryStatusTransitions": transitions}, now)


def _deadline(description: Mapping[str, Any]) -> datetime:
    """When SageMaker will have ended it for certain, by the limits it was given."""
    limits, created = description.get("StoppingCondition") or {}, description.get("CreationTime")
    if not _is_moment(created):
        return datetime.max.replace(tzinfo=UTC)
    runtime = timedelta(seconds=seconds_of(limits, "MaxRuntimeInSeconds", 86_400))
    if longest := seconds_of(limits, "MaxWaitTimeInSeconds"):
        limit = created + timedelta(seconds=longest)
    else:
        pending = timedelta(seconds=seconds_of(limits, "MaxPendingTimeInSeconds"))
        started = description.get("TrainingStartTime")
        limit = (started if _is_moment(started) else created + max(pending, LONGEST_PENDING)) + runtime
    deadline: datetime = limit + UPLOAD_SLACK
    return deadline


def _is_moment(value: Any) -> TypeGuard[datetime]:
    return isinstance(value, datetime) and value.tzinfo is not None


def _seconds(time_: timedelta) -> float:
    return max(time_.total_seconds(), 0.0)


def _count(transitions: list[dict[str, Any]], status: str) -> int:
    return sum(one["Status"] == status for one in transitions)


def follow_training(
    client: Callable[[str], Any],
    reader: LogReader,
    rate: Rate,
    cadence: Cadence,
    *,
    course: Course | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Update]:
    """One Update or more per poll, until the job has ended and every line of its log is told; the first that is finished comes
    at once, those with late lines after it.

    `client` makes clients by service; `Clients` are renewed when a token has expired. `course` is what was known of its progress
    before. A log that cannot be read or told ends nothing. A job that runs on when SageMaker should have ended it is stopped, and
    WaitTimedOutError raised. Faults of AWS longer than `outage_seconds`, and refusals, are raised.
    """

    def ask() -> Mapping[str, Any]:
        found: Mapping[str, Any] = client("sagemaker").describe_training_job(TrainingJobName=reader.job_name)
        return found

    def step_of(description: Mapping[str, Any]) -> Step:
        return next_step(description, datetime.now(UTC), cadence, rate)

    follower = _Follower(client, reader, course or Course())
    patience = Patience(cadence.poll_seconds, cadence.outage_seconds, LONGEST_LIFE.total_seconds())
    looks = answers(
        ask,
        patience,
        delay_after=lambda description: step_of(description).delay,
        renew=lambda: renew(client),
        sleep=sleep,
    )
    for description in looks:
        step = step_of(description)
        yield from follower.updates(step, description)
        if step.finished:
            yield from follower.late_updates(step, description, cadence, sleep)
            return
        if step.overdue:
            break
    stop_training(client("sagemaker"), reader.job_name)
    ended = await_stopped(client, reader.job_name, Patience(cadence.poll_seconds, cadence.outage_seconds, STOP_SECONDS))
    raise WaitTimedOutError(
        f"Training job {reader.job_name} was still running when SageMaker should have ended it, and was told to stop: it is"
        f" {ended['TrainingJobStatus']} now. What it cost is booked by the next reconciliation."
    )


class _Follower:
    """What is carried from poll to poll: where the log is, how far the training, and its last lines."""

    def __init__(self, client: Callable[[str], Any], reader: LogReader, course: Course) -> None:
        self._client, self._reader, self._course = client, reader, course
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._starts = 0
        self._problem, self._passing = "", False
        self._any = False

    def updates(self, step: Step, description: Mapping[str, Any]) -> Iterator[Update]:
        """At least one; as many as the log has to say, but for one that grows faster than it can be read."""
        if step.starts > self._starts or step.finished:
            self._starts = step.starts
            self._reader.look_again(step.starts)
        self._course = self._course.at(description)
        reads = 0
        while True:
            lines = self._read() if step.starts or step.finished else []
            yield self._update(step, lines, description)
            reads += 1
            if not self._reader.has_more or self._problem or (reads == READS_PER_POLL and not step.finished):
                return

    def late_updates(
        self, step: Step, description: Mapping[str, Any], cadence: Cadence, sleep: Callable[[float], None]
    ) -> Iterator[Update]:
        """CloudWatch shows a job's last lines a little after the job has ended: read until two pauses bring nothing."""
        pause, quiet = min(cadence.poll_seconds, LATE_PAUSE), 0
        until = time.monotonic() + cadence.outage_seconds
        for _ in range(LATE_READS):
            sleep(pause)
            lines = self._read()
            while self._passing and time.monotonic() < until:
                sleep(pause)
                lines = self._read()
            yield self._update(step, lines, description)
            while self._reader.has_more and not self._problem:
                yield self._update(step, self._read(), description)
            quiet = 0 if lines else quiet + 1
            if self._problem or quiet >= (QUIET_READS if self._any or not step.starts else QUIET_READS_OF_SILENT):
                return
            self._reader.look_again(step.starts)

    def _update(self, step: Step, lines: list[Line], description: Mapping[str, Any]) -> Update:
        problem = self._problem or self._reader.unsaved_because
        return Update(step, lines, description, problem, self._course, tuple(self._tail))

    def _read(self) -> list[Line]:
        """New lines; or none, and why not. A log that cannot be read is no reason to look away from a job that costs money."""
        self._problem, self._passing = "", False
        try:
            lines = self._reader.new_lines()
        except (ClientError, BotoCoreError) as error:
            if is_expired(error):
                renew(self._client)
            self._problem, self._passing = f"The job's log cannot be read: {error}", is_passing(error)
            return []
        except (TrainmasterError, OSError) as error:
            self._problem = f"The job's log cannot be told: {error}"
            self._passing = not isinstance(error, RefusedError)
            return []
        self._any = self._any or bool(self._reader.heard)
        self._tail.extend(str(line) for line in self._reader.heard)
        self._course = self._course.after(self._reader.heard)
        return lines
