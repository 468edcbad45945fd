"""What one sweep of `follow-jobs` costs: AWS calls by operation, seconds and memory, for 100 jobs at work and for 1,000.

A thousand live jobs would be a thousand processes here, so the jobs are a stand-in: records written into the embedded AWS's own
database once it serves, which its Describe answers from like from any other, and log lines put by PutLogEvents. Everything the sweep
touches is real: its rows and reservations in SQLite, the embedded AWS's HTTP service, boto3. What Prefect takes is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3

from trainmaster.aws.clients import client_config
from trainmaster.budget.budgets import ACCOUNT, Budget, Payer
from trainmaster.budget.charge import Charge
from trainmaster.catalog.deployments import Deployment, Job, deployment_id_of
from trainmaster.embedded import launch
from trainmaster.embedded.sagemaker.records import Records
from trainmaster.settings import Settings
from trainmaster.training.desk import open_desk
from trainmaster.training.followers import no_states
from trainmaster.training.logs import GROUP
from trainmaster.training.sweeping import FollowJobsRequest, Sweep, jobs_to_follow, read_logs, tend_jobs

SIZES = (100, 1000)
SWEEPS = 2
LINES = 5
"""Of each job between two sweeps."""
USER = uuid.UUID(int=7)
ARN = "arn:aws:sagemaker:us-east-1:123456789012:training-job/"


@dataclass(frozen=True)
class Measured:
    """One sweep. Memory is the peak of the whole process so far."""

    jobs: int
    calls: Mapping[str, int]
    seconds: float
    peak_mb: float
    lines: int

    @property
    def total(self) -> int:
        return sum(self.calls.values())


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sweeps-of", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.sweeps_of:
        sweep_when_told(given.sweeps_of)
        return 0
    last = [measure(size)[-1] for size in SIZES]
    print_table(last)
    return 0


def measure(size: int) -> list[Measured]:
    """The sweeps over so many jobs, by a process of their own."""
    with tempfile.TemporaryDirectory(prefix="bench-sweep-", ignore_cleanup_errors=True) as folder:
        state = Path(folder)
        with launch.running(state / "aws") as environment:
            os.environ |= {**environment, "TRAINMASTER_STATE_DIR": str(state)}
            names = [f"bench-{number:04d}-0123456789-1" for number in range(size)]
            print(f"{size} jobs: records, rows, reservations …", file=sys.stderr, flush=True)
            employ(names, state / "aws")
            return _sweeps(state, names)


def _sweeps(state: Path, names: list[str]) -> list[Measured]:
    logs = _client("logs")
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sweep", "--sweeps-of", str(state)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as sweeper:  # fmt: skip
        assert sweeper.stdin  # noqa: S101 - both are pipes
        assert sweeper.stdout  # noqa: S101
        measured = []
        for turn in range(SWEEPS):
            write_lines(logs, names, turn)
            sweeper.stdin.write("sweep\n")
            sweeper.stdin.flush()
            measured.append(Measured(**json.loads(sweeper.stdout.readline())))
        sweeper.stdin.close()
    return measured


def employ(names: list[str], aws: Path) -> None:
    """Have so many jobs at work: at AWS, in the catalogue and in the ledger."""
    records = Records(aws / "sagemaker.db")
    with open_desk(Settings(), _client) as desk, records.transaction():
        for budget in (ACCOUNT, Budget("user", str(USER))):
            desk.ledger.set_limit(budget, Decimal(100_000), set_by="the benchmark")
        for name in names:
            arn, now = f"{ARN}{name}", datetime.now(UTC)
            records.create("training-job", name, arn, _record(name, arn, now.timestamp()))
            request = {
                "instance_type": "ml.m5.large",
                "instance_count": 1,
                "max_runtime_seconds": 86_400,
                "user_id": str(USER),
            }
            job = Job(arn=arn, request=request, handed_over=True)
            desk.deployments.begin(Deployment(deployment_id_of(arn), USER, name, "training", now, job=job))
            desk.ledger.reserve(Charge(name, Decimal(4), Decimal("0.12"), arn, Payer(USER)))


def _record(name: str, arn: str, now: float) -> dict[str, Any]:
    """A job that trains, as the embedded AWS keeps it."""
    return {
        "TrainingJobName": name,
        "TrainingJobArn": arn,
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Training",
        "SecondaryStatusTransitions": [{"Status": "Training", "StartTime": now, "StatusMessage": "at work"}],
        "CreationTime": now,
        "LastModifiedTime": now,
        "TrainingStartTime": now,
        "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 86_400},
        "CheckpointConfig": {"S3Uri": f"s3://bench/{name}/checkpoints"},
        "EnableManagedSpotTraining": False,
    }


def write_lines(logs: Any, names: list[str], turn: int) -> None:
    """What each job says between two sweeps."""
    with suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=GROUP)
    now = int(time.time() * 1000)
    said = [
        {"timestamp": now + n, "message": f"epoch {turn + 1}/9, step {n} of {LINES}, loss=0.{n}"} for n in range(LINES)
    ]
    for name in names:
        stream = f"{name}/algo-1-1700000000"
        with suppress(logs.exceptions.ResourceAlreadyExistsException):
            logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
        logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=said)


def sweep_when_told(folder: Path) -> None:
    """One sweep for each line on stdin, one JSON object for each on stdout."""
    calls = Counter[str]()

    def counted(service: str) -> Any:
        client = _client(service)
        client.meta.events.register(
            "before-send.*", lambda event_name, **_: calls.update([event_name.rsplit(".", 1)[1]])
        )
        return client

    with open_desk(Settings(state_dir=folder), counted) as desk:
        for _line in sys.stdin:
            calls.clear()
            began, sweep = time.monotonic(), Sweep()
            jobs = list(jobs_to_follow(desk, no_states))
            lines = read_logs(desk, frozenset(jobs)).lines
            for batch in FollowJobsRequest().batches(jobs):
                sweep.add(tend_jobs(desk, batch))
            if sweep.failures:
                sys.exit("\n".join(sweep.failures))
            seconds, peak = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            told = Measured(len(jobs), dict(calls), round(seconds, 2), round(peak, 1), lines)
            print(json.dumps(told.__dict__), flush=True)


def _client(service: str) -> Any:
    return boto3.Session().client(service, config=client_config())  # type: ignore[call-overload]  # not the one of the last AWS


def print_table(measured: list[Measured]) -> None:
    operations = sorted({name for one in measured for name in one.calls})
    print(f"\n{'jobs':>6} {'calls':>6} {'seconds':>8} {'peak MB':>8} {'lines':>6}  calls by operation")
    for one in measured:
        by = ", ".join(f"{name} {one.calls.get(name, 0)}" for name in operations)
        print(f"{one.jobs:>6} {one.total:>6} {one.seconds:>8.1f} {one.peak_mb:>8.1f} {one.lines:>6}  {by}")
    few, many = measured[0], measured[-1]
    print(
        json.dumps(
            {
                "cores": os.cpu_count(),
                "jobs": many.jobs,
                "api_calls": many.total,
                "calls": many.calls,
                "seconds": many.seconds,
                "peak_mb": many.peak_mb,
                f"peak_mb_of_{few.jobs}": few.peak_mb,
            }
        )
    )


if __name__ == "__main__":
    sys.exit(main())
