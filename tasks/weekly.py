"""Steps of the weekly report: adding the week up, keeping it as files, showing it."""

from __future__ import annotations

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from tasks.aws import client, desk_of, step
from trainmaster.datasets.showing.markdown import plain
from trainmaster.reporting.keeping import keep
from trainmaster.reporting.page import embedded_picture
from trainmaster.reporting.weekly import WeeklyReport
from trainmaster.reporting.weekly import weekly_report as reported
from trainmaster.reporting.weekly_page import weekly_markdown
from trainmaster.reporting.weekly_pictures import weekly_pictures
from trainmaster.reporting.weeks import WeeklyReportRequest
from trainmaster.settings import Settings


@step(task_run_name="add the week up")
def add_up_week(request: WeeklyReportRequest, settings: Settings) -> WeeklyReport:
    """From the entries of the books, exactly."""
    with desk_of(settings) as desk:
        report = reported(desk, request)
    get_run_logger().info("%s", report.sentence())
    return report


@step(task_run_name="keep the report of {report.week}")
def keep_report(report: WeeklyReport, settings: Settings) -> list[str]:
    """As Markdown with its pictures beside it, and as JSON; where they are."""
    pictures = {f"{name}.png": png for name, png in weekly_pictures(report).items()}
    page = weekly_markdown(report, {name.removesuffix(".png"): name for name in pictures})
    files = {"report.md": page.encode(), **pictures, "report.json": report.model_dump_json(indent=2).encode()}
    kept = keep(f"{settings.reports_place}/{report.week}", files, lambda service: client(settings, service))
    get_run_logger().info("The report of %s is kept as %s.", report.week, kept[0])
    return kept


@step(task_run_name="show the report of {report.week}")
def show_report(report: WeeklyReport) -> None:
    """As the run's page, its pictures in it."""
    pictures = {name: embedded_picture(png) for name, png in weekly_pictures(report).items()}
    create_markdown_artifact(weekly_markdown(report, pictures), key="summary", description=plain(report.sentence()))
