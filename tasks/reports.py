"""Steps that show people what happened: tables, pictures, links and summaries in the Prefect UI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.states import Completed

from tasks.aws import desk_of, step
from trainmaster.endpoints.results import PlannedDeployment, ServedModel
from trainmaster.main_job import TrainedAndServed
from trainmaster.reporting.endpoint_page import endpoint_markdown, endpoint_story
from trainmaster.reporting.main_job_page import main_job_page
from trainmaster.reporting.page import page
from trainmaster.reporting.training_page import training_page, training_story
from trainmaster.settings import Settings
from trainmaster.training.attempts import Attempt
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.result import TrainingResult
from trainmaster.training.showing import plan_markdown, plan_text

SUMMARY = "summary"
"""The key of the one page of a run that says what happened, what it cost and what now."""


@step(task_run_name="show the plan of {plan.job_name}")
def report_plan(plan: TrainingPlan) -> None:
    """All there is to know before the launch: in the log, and as the run's page."""
    get_run_logger().info("Nothing is launched. The plan:\n%s", plan_text(plan))
    create_markdown_artifact(plan_markdown(plan), key=SUMMARY, description=f"Plan of {plan.job_name}")


@step(task_run_name="report on {result.job_name}")
def report_result(result: TrainingResult, settings: Settings) -> None:
    """What happened, what it cost and what now, as the run's page; of a dry run that is its plan."""
    get_run_logger().info("%s", result.said)
    if result.status == "refused":
        again = (
            "Nothing is launched and nothing is reserved. Start it again when the budget allows it, or ask for less."
        )
        create_markdown_artifact(page("Not launched", result.said, [("What now", again)]), key=SUMMARY)
    elif result.status != "planned":
        _show_job(result.job_name, result.attempts, settings)


@step(task_run_name="report on {job_name}")
def report_failure(job_name: str, attempts: Sequence[Attempt], settings: Settings) -> None:
    """What happened to a job that did not complete, why likely, what it cost and what now, with the last lines of its log."""
    _show_job(job_name, attempts, settings)


def _show_job(job_name: str, attempts: Sequence[Attempt], settings: Settings) -> None:
    with desk_of(settings) as desk:
        story = training_story(desk, job_name, attempts)
    create_markdown_artifact(training_page(story), key=SUMMARY, description=story.sentence())


def ended_as(result: TrainingResult) -> TrainingResult:
    """The result, in the state that its run is to end in: one that somebody refused has not failed, nor is it just completed."""
    if result.status != "refused":
        return result
    return cast("TrainingResult", Completed(name="Refused", message=result.said, data=result))


@step(task_run_name="report on {served.endpoint_name}")
def report_endpoint(served: ServedModel, settings: Settings) -> None:
    """What serves, how it was proven, what it costs and what now, as the run's page."""
    get_run_logger().info("%s", served.sentence())
    with desk_of(settings) as desk:
        page_of_it = endpoint_markdown(endpoint_story(desk, served))
    create_markdown_artifact(page_of_it, key=SUMMARY, description=served.sentence())


@step(task_run_name="show the plan of {planned.endpoint_name}")
def report_deployment(planned: PlannedDeployment) -> None:
    """The steps a deployment would take, and what an hour costs before and after: in the log, and as an artifact."""
    get_run_logger().info("%s %s", planned.sentence(), "; ".join(planned.steps))
    create_table_artifact(key="endpoint-plan", table=planned.table(), description=planned.sentence())


@step(task_run_name="report on {result.served.endpoint_name}")
def report_main_job(result: TrainedAndServed, settings: Settings) -> None:
    """From the table to what answers, what that cost, what goes on costing and what now, as the run's page."""
    with desk_of(settings) as desk:
        shown = main_job_page(result, endpoint_story(desk, result.served))
    create_markdown_artifact(shown, key=SUMMARY, description=result.served.sentence())


@step(task_run_name="summarise", retries=0)
def summarise(title: str, parts: list[str]) -> None:
    """One page that says what came of the run."""
    create_markdown_artifact("\n\n".join([f"# {title}", *parts]), key=SUMMARY, description=title)
