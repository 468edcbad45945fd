"""Steps of the weekly report: adding the week up, keeping it as files, showing it."""

from __future__ import annotations

from collections import Counter, defaultdict
from uuid import UUID

from prefect import get_client, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType

from tasks.aws import client, desk_of, step
from tasks.reports import SUMMARY
from trainmaster.datasets.showing.markdown import plain
from trainmaster.reporting.failures import FailedRuns
from trainmaster.reporting.keeping import keep_weekly
from trainmaster.reporting.page import embedded_picture
from trainmaster.reporting.weekly import WeeklyReport
from trainmaster.reporting.weekly import weekly_report as reported
from trainmaster.reporting.weekly_page import weekly_markdown
from trainmaster.reporting.weekly_pictures import weekly_pictures
from trainmaster.reporting.weeks import Week, WeeklyReportRequest
from trainmaster.settings import Settings

PAGE, MOST_RUNS = 200, 10_000
"""Runs asked for at once, and looked at in all: more that failed in a week would be named after the same flows."""


@step(task_run_name="add the week up")
def add_up_week(request: WeeklyReportRequest, settings: Settings) -> WeeklyReport:
    """From the entries of the books, exactly."""
    with desk_of(settings) as desk:
        report = reported(desk, request, failed_runs)
    get_run_logger().info("%s", report.sentence())
    return report


def failed_runs(week: Week) -> list[FailedRuns]:
    """Those of each flow that failed or crashed in the week, the flow with most of them first."""
    ended = FlowRunFilter(
        end_time=FlowRunFilterEndTime.model_validate({"after_": week.since, "before_": week.until}),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.FAILED, StateType.CRASHED])),
    )
    found: defaultdict[UUID, Counter[StateType]] = defaultdict(Counter)
    with get_client(sync_client=True) as client:
        for offset in range(0, MOST_RUNS, PAGE):
            runs = client.read_flow_runs(flow_run_filter=ended, limit=PAGE, offset=offset)
            for run in runs:
                if run.state_type:
                    found[run.flow_id][run.state_type] += 1
            if len(runs) < PAGE:
                break
        names = {flow_id: client.read_flow(flow_id).name for flow_id in found}
    failed = [
        FailedRuns(flow=names[flow_id], failed=counts[StateType.FAILED], crashed=counts[StateType.CRASHED])
        for flow_id, counts in found.items()
    ]
    return sorted(failed, key=lambda one: (-one.failed - one.crashed, one.flow))


@step(task_run_name="keep the report of {report.week}")
def keep_report(report: WeeklyReport, settings: Settings) -> list[str]:
    """As Markdown with its pictures beside it, and as JSON; where they are."""
    kept = keep_weekly(report, settings.reports_place, lambda service: client(settings, service))
    get_run_logger().info("The report of %s is kept as %s.", report.week, kept[0])
    return kept


@step(task_run_name="show the report of {report.week}")
def show_report(report: WeeklyReport) -> None:
    """As the run's page, its pictures in it."""
    pictures = {name: embedded_picture(png) for name, png in weekly_pictures(report).items()}
    create_markdown_artifact(weekly_markdown(report, pictures), key=SUMMARY, description=plain(report.sentence()))
