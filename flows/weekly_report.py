"""Say what a week cost, by whom and for what, against the week before and the budgets, and what the month is likely to come to.
Started every Monday by its schedule, or from the Prefect UI for another week; the same week again gives the same figures of it.
Leaves the report on the run's page and as a Markdown file with its pictures, in the state folder or wherever reports are kept.
"""

from prefect import flow

from tasks.weekly import add_up_week, keep_report, show_report
from trainmaster.reporting.weekly import WeeklyReport
from trainmaster.reporting.weeks import WeeklyReportRequest
from trainmaster.settings import Settings


@flow(name="weekly-report", flow_run_name="weekly report {request.week}")
def weekly_report(request: WeeklyReportRequest) -> WeeklyReport:
    settings = Settings()
    report = add_up_week(request, settings)
    show_report(report, return_state=True)  # a page that cannot be shown keeps no file from being written
    keep_report(report, settings)
    return report
