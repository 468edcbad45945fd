"""Find endpoints nobody calls, whose time is over or whose money is spent; warn of them, later scale them down or remove them.
Started every ten minutes by its schedule; any number may run at once, and again.
Leaves the configuration and model of what it removed, which bring it back, an event for each thing it did, and a table.
"""

from prefect import flow

from tasks.jobs import require_all_tended
from tasks.watching import report_watch, watch_all_endpoints
from trainmaster.endpoints.watch_results import Sweep
from trainmaster.endpoints.watching import StopIdleRequest
from trainmaster.settings import Settings


@flow(name="stop-idle", flow_run_name="stop idle endpoints")
def stop_idle(request: StopIdleRequest) -> Sweep:
    sweep = watch_all_endpoints(request, Settings())
    report_watch(sweep, return_state=True)  # a report that fails undoes nothing
    require_all_tended(sweep.failures, "endpoints")
    return sweep
