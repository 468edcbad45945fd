"""Bring jobs, endpoints, workspaces, rows and ledger together: settle what ended unseen, stop jobs that must not go on, give up what was never launched.
Started every few minutes by its schedule; any number may run at once, and again.
Leaves the books right, an event for each threshold a budget has reached, and a table of what it did and found.
"""

from prefect import flow

from tasks.endpoint_hours import meter_all_endpoints
from tasks.images import settle_images
from tasks.jobs import reconcile_jobs, report_reconciliation, require_all_tended
from tasks.workspace_watch import meter_all_workspaces
from trainmaster.settings import Settings
from trainmaster.training.reconciling import ReconcileRequest, Reconciliation


@flow(name="reconcile", flow_run_name="reconcile")
def reconcile(request: ReconcileRequest) -> Reconciliation:
    settings = Settings()
    result = reconcile_jobs(request, settings)
    result.changed.extend([*meter_all_endpoints(settings), *meter_all_workspaces(settings), *settle_images(settings)])
    report_reconciliation(result, return_state=True)  # a report that fails spoils no books
    require_all_tended(result.failures)
    return result
