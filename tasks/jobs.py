"""Steps that look after training jobs nobody follows: their books, their stops, their logs."""

from __future__ import annotations

from datetime import timedelta

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact

from tasks.aws import desk_of, step
from tasks.budget import tell_crossed, tell_standing
from tasks.cancelling import states_of_runs
from trainmaster.errors import JobsLeftError
from trainmaster.settings import Settings
from trainmaster.training.reconciling import CHANGES, ReconcileRequest, Reconciliation, reconcile


@step(task_run_name="reconcile jobs, rows and ledger")
def reconcile_jobs(request: ReconcileRequest, settings: Settings) -> Reconciliation:
    """Bring every open row and reservation to what AWS says of its job, and tell of thresholds nobody told of."""
    result, patience = Reconciliation(), timedelta(minutes=request.release_after_minutes)
    with desk_of(settings) as desk:
        for found in reconcile(desk, release_after=patience, states=states_of_runs, stop_orphans=request.stop_orphans):
            result.add(found)
            if found.finding in CHANGES:
                tell_standing(desk.ledger, found.job_name)
        standings = desk.ledger.standings()
        tell_crossed(desk.ledger, [standing.budget for standing in standings], standings[0].month)
    get_run_logger().info("%s", result.sentence())
    return result


@step(task_run_name="report what was reconciled")
def report_reconciliation(result: Reconciliation) -> None:
    """A table of what was done and found, if anything was."""
    if result.changed:
        create_table_artifact(key="reconciled", table=result.table(), description=result.sentence())


def require_all_tended(failures: list[str]) -> None:
    """Raises JobsLeftError: the run fails when all that could be done is done, so that somebody looks."""
    if failures:
        raise JobsLeftError(failures)
