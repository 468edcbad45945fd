"""Hold what endpoints are asked for against what their models were trained on, and tell where it has drifted.
Started every day by its schedule and by hand from the Prefect UI; any number may run at once, and again.
Leaves for each endpoint that captures what it is asked a table and a picture, and an event `trainmaster.drift` where that has drifted.
"""

from prefect import flow

from tasks.drift import check_endpoint, checked_in, find_captured, report_drift
from tasks.jobs import require_all_tended
from trainmaster.endpoints.watch.drift import CheckDriftRequest, DriftCheck
from trainmaster.settings import Settings


@flow(name="check-drift", flow_run_name="check drift")
def check_drift(request: CheckDriftRequest) -> DriftCheck:
    settings = Settings()
    captured = find_captured(request, settings)
    check = DriftCheck(failures=captured.failures)
    for region, name in captured.endpoints:
        # What fails is said at the end: no endpoint keeps another from being checked.
        state = check_endpoint(name, region, request, settings, return_state=True)
        if report := checked_in(check, state, name):
            report_drift(report, return_state=True)
    require_all_tended(check.failures, "endpoints")
    return check
