"""Find endpoints nobody calls and workspaces nobody uses, whose time is over or whose money is spent; warn of them, later stop them.
Started every ten minutes by its schedule; any number may run at once, and again.
Leaves what brings each back and every file in it, an event for each thing it did, and a table of endpoints and one of workspaces.
"""

from prefect import flow

from tasks.jobs import require_all_tended
from tasks.watching import report_watch, watch_all_endpoints
from tasks.workspace_watch import report_idle_workspaces, watch_all_workspaces
from trainmaster.endpoints.watch.watching import StopIdleRequest
from trainmaster.settings import Settings
from trainmaster.workspaces.watch.results import StopIdleReport


@flow(name="stop-idle", flow_run_name="stop what is idle")
def stop_idle(request: StopIdleRequest) -> StopIdleReport:
    settings = Settings()
    endpoints = watch_all_endpoints(request, settings)
    workspaces = watch_all_workspaces(request, settings)
    report_watch(endpoints, return_state=True)  # a report that fails undoes nothing
    report_idle_workspaces(workspaces, return_state=True)
    require_all_tended([*endpoints.failures, *workspaces.failures], "endpoints and workspaces")
    return StopIdleReport(endpoints=endpoints.endpoints, workspaces=workspaces.workspaces)
