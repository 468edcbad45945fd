"""Say how each version of every endpoint did: calls, latency, errors, and what a thousand predictions cost.
Started every morning by its schedule, or from the Prefect UI with more hours to look back; it changes nothing.
Leaves a table of the versions that served; and fails at the end where one could not be asked about.
"""

from prefect import flow

from tasks.jobs import require_all_tended
from tasks.watching import measure_endpoints, report_versions
from trainmaster.endpoints.watch.metric_report import EndpointsReport, ReportEndpointsRequest
from trainmaster.settings import Settings


@flow(name="report-endpoints", flow_run_name="report on endpoints")
def report_endpoints(request: ReportEndpointsRequest) -> EndpointsReport:
    report = measure_endpoints(request, Settings())
    report_versions(report)
    require_all_tended(report.failures, "endpoints")
    return report
