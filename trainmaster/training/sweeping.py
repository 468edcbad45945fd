"""Following many jobs at once, those that no flow run follows: a Describe for each, and one search for the lines of all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Self

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field

from trainmaster.budget.money import shown
from trainmaster.errors import TrainmasterError
from trainmaster.form import as_form
from trainmaster.training.desk import Desk
from trainmaster.training.followers import States, following
from trainmaster.training.following import FINISHED, TAIL
from trainmaster.training.log_sinks import Line
from trainmaster.training.log_sweep import GroupReader, job_of
from trainmaster.training.logs import last_lines
from trainmaster.training.looking import Books, Described, descriptions, is_here, read_books
from trainmaster.training.progress import Course
from trainmaster.training.tending import Tended, tend_known

PAGE = 200
"""Rows asked for together, with their flow runs."""
MOST_SHOWN = 500
"""Rows of the table that a sweep leaves; those that something was done about come first."""


class FollowJobsRequest(BaseModel):
    """How the sweep does it."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=as_form())

    jobs_per_task: Annotated[
        int,
        Field(
            title="Jobs per task",
            description="How many jobs one task looks after before the next begins.",
            ge=1,
            le=200,
        ),
    ] = 150

    def batches(self, jobs: Sequence[str]) -> list[list[str]]:
        """For each task its jobs."""
        size = self.jobs_per_task
        return [list(jobs[start : start + size]) for start in range(0, len(jobs), size)]


class SweptJob(BaseModel):
    """One job as the sweep left it; `said` is what was done about it or why it could not be looked after."""

    model_config = ConfigDict(frozen=True)

    job: str
    status: str
    billed: str = ""
    progress: str = ""
    said: str = ""
    failed: bool = False

    @classmethod
    def failure(cls, what: str, error: BaseException) -> Self:
        """Of a job, or of what else could not be looked after."""
        return cls(job=what, status="unknown", said=str(error), failed=True)

    @property
    def trained(self) -> bool:
        """Whether it has ended, and well, since the sweep before: its model can be registered."""
        return self.status.startswith("completed") and bool(self.billed)

    def row(self) -> dict[str, Any]:
        return self.model_dump(exclude={"failed"})


class Sweep(BaseModel):
    """What a sweep came to. `lines` are the new log lines of the jobs it follows."""

    jobs: list[SweptJob] = Field(default_factory=list)
    lines: int = 0
    left: int = 0
    """Jobs not in `jobs`: nothing was done about them, and there are too many to be shown."""

    def add(self, swept: Iterable[SweptJob]) -> None:
        found = sorted([*self.jobs, *swept], key=lambda one: (not one.failed, not one.said))
        self.left += max(len(found) - MOST_SHOWN, 0)
        self.jobs = [one for place, one in enumerate(found) if place < MOST_SHOWN or one.failed]

    @property
    def failures(self) -> list[str]:
        return [f"{one.job}: {one.said}" for one in self.jobs if one.failed]

    def sentence(self) -> str:
        return f"{len(self.jobs) + self.left} jobs followed, {self.lines} new lines of their logs."

    def table(self) -> list[dict[str, Any]]:
        return [one.row() for one in self.jobs]


def jobs_to_follow(desk: Desk, states: States) -> Iterator[str]:
    """The jobs of open rows that no living flow run follows, oldest first, of this account and region."""
    rows = desk.deployments.open_jobs(page=PAGE)
    while page := list(islice(rows, PAGE)):
        of_runs = states([run for row in page for run in row.job.runs])
        for row in page:
            if is_here(desk, row.job.arn) and following(row.job, of_runs) != "followed":
                yield row.deployment_id


@dataclass(frozen=True)
class LogsRead:
    """How many lines came for the jobs that were asked about, in how many searches, and whether more is to come."""

    lines: int
    calls: int
    is_behind: bool


def read_logs(desk: Desk, job_names: Collection[str]) -> LogsRead:
    """Put the new lines of these jobs into their rows: the last of them, and the progress they tell of.

    Lines of other jobs are passed over: somebody else tells them. Two sweeps at once may put a line there twice. Raises botocore's
    errors; the next sweep reads on from there.
    """
    reader, lines = GroupReader(desk), 0
    for page in reader.new_lines():
        of_job: dict[str, list[Line]] = defaultdict(list)
        for line in page:
            if (job := job_of(line.stream)) in job_names:
                of_job[job].append(line)
        for job, new in of_job.items():
            _note(desk, job, new)
            lines += len(new)
    return LogsRead(lines, reader.calls, reader.is_behind)


def _note(desk: Desk, job_name: str, new: Sequence[Line]) -> None:
    row = desk.deployments.find(job_name)
    if row is None:
        return
    several = int(row.job.request.get("instance_count", 1)) > 1
    said = [f"{_host(line)}: {line.text}" if several else line.text for line in new[-TAIL:]]
    tail = [*(row.logs or "").splitlines(), *said][-TAIL:]
    course = Course.of_json(row.job.progress).after(new)
    desk.deployments.change(row.id, logs="\n".join(tail), progress=course.as_json())


def _host(line: Line) -> str:
    return line.stream.rpartition("/")[2].rpartition("-")[0]


def tend_jobs(desk: Desk, job_names: Sequence[str]) -> Iterator[SweptJob]:
    """Look at each of these jobs and do what is due; a batch of them is in memory.

    What fails for one job is said of it. Raises botocore's error when AWS is out of reach altogether.
    """
    books = read_books(desk)
    for name, described in descriptions(desk, job_names):
        try:
            yield _tended(desk, name, books, described)
        except (ClientError, BotoCoreError, TrainmasterError) as error:
            yield SweptJob.failure(name, error)


def _tended(desk: Desk, name: str, books: Books, described: Described) -> SweptJob:
    if isinstance(described, Exception):
        return SweptJob.failure(name, described)
    if described is None:  # its launch is under way, or died: reconcile knows what to do then
        return SweptJob(job=name, status="not launched yet")
    logs = _end_of_log(desk, name) if described["TrainingJobStatus"] in FINISHED else None
    known = books.known(desk, name, desk.deployments.find(name))
    return _swept(name, described, tend_known(desk, name, known, described, logs=logs))


def _end_of_log(desk: Desk, job_name: str) -> str | None:
    """The last lines of a job that has ended: CloudWatch shows some of them late, and no sweep reads them for it any more."""
    try:
        return "\n".join(map(str, last_lines(desk.client("logs"), job_name, most=TAIL))) or None
    except (ClientError, BotoCoreError):  # its bill is more urgent than its last words; those read before stay
        return None


def _swept(name: str, description: Mapping[str, Any], tended: Tended) -> SweptJob:
    row, booked = tended.deployment, tended.reservation
    return SweptJob(
        job=name,
        status=f"{row.status if row else description['TrainingJobStatus']} ({description['SecondaryStatus']})",
        billed="" if booked is None or booked.bill is None else shown(booked.bill),
        progress=Course.of_json(row.job.progress).now.sentence() if row else "",
        said="; ".join([*map(str, tended.actions), *tended.drift]),
    )
