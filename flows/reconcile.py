"""Bring the ledger to what AWS says: settle jobs whose follower died, release what was reserved for launches that never happened.
Started every few minutes by its schedule; any number may run at once, and again.
Leaves the books right, an event for each threshold a budget has reached, and a table of what it changed.
"""

from __future__ import annotations

from prefect import flow

from tasks.budget import reconcile_ledger, report_reconciliation
from trainmaster.settings import Settings
from trainmaster.training.reconciling import ReconcileRequest, Reconciliation


@flow(name="reconcile", flow_run_name="reconcile")
def reconcile(request: ReconcileRequest) -> Reconciliation:
    settings = Settings()
    result = reconcile_ledger(request, settings)
    report_reconciliation(result, return_state=True)  # a report that fails spoils no books
    return result
