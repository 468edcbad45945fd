"""What there is to look at when a soak has ended: AWS's own word, the rows and the books, and what of the logs is where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from sqlalchemy import select

from benchmarks.soaking.errands import Errand
from trainmaster.budget.budgets import Standing
from trainmaster.catalog.tables import budget_entries, cloud_deployments
from trainmaster.training.desk import Desk

GROUP = "/aws/sagemaker/TrainingJobs"

Lines = Counter[tuple[str, str]]
"""Stream and text."""


@dataclass(frozen=True)
class Entry:
    """Of the ledger. Amounts in US dollars."""

    key: str
    kind: str
    reserved: Decimal
    settled: Decimal


@dataclass(frozen=True)
class Shown:
    """A row as the application shows it."""

    job: str
    status: str
    started_at: datetime | None
    completed_at: datetime | None
    actual_cost: Decimal | None


@dataclass(frozen=True)
class Evidence:
    """All of it. `errands` are by their names, `followed` the runs that saw their job's end; `jobs` are AWS's descriptions.

    `written` is what each job's hosts wrote, `kept` what CloudWatch has of it, `told` what each run has in its file.
    """

    errands: Mapping[str, Errand]
    followed: frozenset[str]
    jobs: Mapping[str, Mapping[str, Any]]
    rows: Sequence[Shown]
    entries: Sequence[Entry]
    standings: Sequence[Standing]
    written: Mapping[str, Lines]
    kept: Mapping[str, Lines]
    told: Mapping[str, Lines]

    @classmethod
    def gathered(cls, desk: Desk, errands: Mapping[str, Errand], followed: set[str], files: Path) -> Self:
        """No faults may be in force. `files` is the folder of the runs' files."""
        sagemaker = desk.client("sagemaker")
        pages = sagemaker.get_paginator("list_training_jobs").paginate(MaxResults=100)
        names = [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]]
        with desk.catalogue.database.reading() as connection:
            rows = connection.execute(select(cloud_deployments)).all()
            entries = connection.execute(select(budget_entries)).all()
        runs = [run for errand in errands.values() for run in errand.runs()]
        folder = desk.settings.state_dir / "training-jobs"
        return cls(
            errands=errands,
            followed=frozenset(followed),
            jobs={name: sagemaker.describe_training_job(TrainingJobName=name) for name in names},
            rows=[
                Shown(row.deployment_id, row.status, row.started_at, row.completed_at, row.actual_cost) for row in rows
            ],
            entries=[Entry(entry.key, entry.kind, entry.reserved, entry.settled) for entry in entries],
            standings=desk.ledger.standings(),
            written={name: lines_on_disk(folder / name / "logs") for name in names},
            kept={name: lines_in_cloudwatch(desk.client("logs"), name) for name in names},
            told={run: lines_of_run(files / f"{run}.log") for run in runs},
        )


def lines_on_disk(folder: Path) -> Lines:
    """What a job's hosts wrote, as the embedded AWS keeps it: lines of `<milliseconds> <text>`."""
    found: Lines = Counter()
    for path in folder.glob("*.log"):
        for line in path.read_text(encoding="utf-8").splitlines():
            found[path.stem, line.partition(" ")[2]] += 1
    return found


def lines_in_cloudwatch(logs: Any, job: str) -> Lines:
    found: Lines = Counter()
    pages = logs.get_paginator("describe_log_streams").paginate(logGroupName=GROUP, logStreamNamePrefix=f"{job}/")
    for stream in [stream["logStreamName"] for page in pages for stream in page["logStreams"]]:
        token = None
        while True:
            more = {"nextToken": token} if token else {}
            page = logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True, **more)
            for event in page["events"]:
                found[stream.rpartition("/")[2], event["message"]] += 1
            if page["nextForwardToken"] == token:
                break
            token = page["nextForwardToken"]
    return found


def lines_of_run(path: Path) -> Lines:
    """What a follower has told: lines of `<time> <stream> <text>`."""
    found: Lines = Counter()
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            _, stream, text = line.split(" ", 2)
            found[stream, text] += 1
    return found
