"""Steps that look after training jobs nobody follows: their books, their stops, their logs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from prefect import State, get_run_logger
from prefect.artifacts import create_table_artifact

from tasks.aws import desk_of, step
from tasks.budget import tell_crossed, tell_standing
from tasks.cancelling import states_of_runs
from trainmaster.errors import JobsLeftError
from trainmaster.settings import Settings
from trainmaster.training.finding import find_job
from trainmaster.training.looking import regions_with_jobs
from trainmaster.training.reconciling import CHANGES, PASSING, Reconciled, ReconcileRequest, Reconciliation, reconcile
from trainmaster.training.seen import stop_job
from trainmaster.training.stop_request import StoppedJob, StopRequest
from trainmaster.training.sweeping import Sweep, SweptJob, jobs_to_follow, read_logs, tend_jobs

T = TypeVar("T")


def in_region(settings: Settings, region: str) -> Settings:
    """The same settings in another region."""
    return settings.model_copy(update={"region": region})


@step(task_run_name="reconcile jobs, rows and ledger")
def reconcile_jobs(request: ReconcileRequest, settings: Settings) -> Reconciliation:
    """Bring every open row and reservation to what AWS says of its job, and tell of thresholds nobody told of.

    A region that AWS refuses or that does not answer is a finding, and keeps no other from being looked after.
    """
    result = Reconciliation()
    with desk_of(settings) as desk:
        regions = regions_with_jobs(desk)
    for region in regions:
        try:
            for found in _reconciled(request, in_region(settings, region)):
                result.add(found)
        except PASSING as error:
            result.add(Reconciled("failed", f"region {region}", why=str(error)))
    _tell_thresholds(settings)
    with desk_of(settings) as desk:
        desk.catalogue.log_positions.forget_unread()
    get_run_logger().info("%s", result.sentence())
    return result


def _reconciled(request: ReconcileRequest, here: Settings) -> Iterator[Reconciled]:
    """All of one region."""
    patience = timedelta(minutes=request.release_after_minutes)
    with desk_of(here) as desk:
        for found in reconcile(desk, release_after=patience, states=states_of_runs, stop_orphans=request.stop_orphans):
            yield found
            if found.finding in CHANGES:
                tell_standing(desk.ledger, found.job_name)


def _tell_thresholds(settings: Settings) -> None:
    with desk_of(settings) as desk:
        standings = desk.ledger.standings()
        tell_crossed(desk.ledger, [standing.budget for standing in standings], standings[0].month)


@step(task_run_name="report what was reconciled")
def report_reconciliation(result: Reconciliation) -> None:
    """A table of what was done and found, if anything was."""
    if result.changed:
        create_table_artifact(key="reconciled", table=result.table(), description=result.sentence())


def require_all_tended(failures: list[str], things: str = "jobs") -> None:
    """Raises JobsLeftError: the run fails when all that could be done is done, so that somebody looks."""
    if failures:
        raise JobsLeftError(failures, things)


@dataclass(frozen=True)
class ToFollow:
    """By region, the names of open jobs that no living flow run follows, oldest first; and the regions that failed."""

    jobs: dict[str, list[str]] = field(default_factory=dict)
    failed: list[SweptJob] = field(default_factory=list)


@step(task_run_name="find the jobs nobody follows")
def find_jobs_to_follow(settings: Settings) -> ToFollow:
    """In all regions; one that fails keeps none of the others from being looked at."""
    found = ToFollow()
    with desk_of(settings) as desk:
        regions = regions_with_jobs(desk)
    for region in regions:
        try:
            with desk_of(in_region(settings, region)) as desk:
                if jobs := list(jobs_to_follow(desk, states_of_runs)):
                    found.jobs[region] = jobs
        except PASSING as error:
            found.failed.append(SweptJob.failure(f"region {region}", error))
    get_run_logger().info("%s jobs are followed here.", sum(map(len, found.jobs.values())))
    return found


def result_in(sweep: Sweep, state: State[T], what: str) -> T | None:
    """What a step came to; None of one that failed, and then the sweep has why."""
    result = state.result(raise_on_failure=False)
    if isinstance(result, BaseException):
        sweep.add([SweptJob.failure(what, result)])
        return None
    return result


@step(task_run_name="read the new lines of their logs")
def read_new_lines(job_names: list[str], settings: Settings) -> int:
    """Put the new log lines of all these jobs into their rows, and the progress they tell of; how many there were."""
    with desk_of(settings) as desk:
        read = read_logs(desk, frozenset(job_names))
    more = "; more come with the next sweep" if read.is_behind else ""
    get_run_logger().info("%s new lines in %s searches%s.", read.lines, read.calls, more)
    return read.lines


@step(task_run_name="look after {job_names[0]} and others")
def tend_batch(job_names: list[str], settings: Settings) -> list[SweptJob]:
    """One look at each of these jobs: settled, stopped and written down as is due."""
    with desk_of(settings) as desk:
        swept = list(tend_jobs(desk, job_names))
        for one in swept:
            if one.said:
                get_run_logger().info("%s: %s.", one.job, one.said)
            if one.billed:
                tell_standing(desk.ledger, one.job)
    return swept


@step(task_run_name="report the sweep")
def report_sweep(sweep: Sweep) -> None:
    """A table of the jobs that are followed here, if there are any."""
    get_run_logger().info("%s", sweep.sentence())
    if sweep.jobs:
        create_table_artifact(key="followed-jobs", table=sweep.table(), description=sweep.sentence())


@step(task_run_name="stop {request.job}")
def stop_one(request: StopRequest, settings: Settings) -> StoppedJob:
    """The user's job once it has ended; the wish is kept first, so that the sweeps stop it should this run die."""
    user_id = UUID(request.user_id or settings.required("user_id"))
    with desk_of(settings) as desk:
        job = find_job(desk.deployments, user_id, request.job)
    with desk_of(in_region(settings, job.job.arn.split(":")[3])) as desk:
        seen = stop_job(desk, job, by=f"user {user_id}", why=request.reason)
        tell_standing(desk.ledger, job.deployment_id)
    return StoppedJob.of(seen, had_ended=job.has_ended)


@step(task_run_name="report on {stopped.job_name}")
def report_stopped(stopped: StoppedJob) -> None:
    """What was stopped, by whom and why, and a table of what it left."""
    get_run_logger().info("%s", stopped.sentence())
    create_table_artifact(key="stopped-job", table=stopped.table(), description=stopped.sentence())
