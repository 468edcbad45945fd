"""Steps that show people what happened: tables, pictures, links and summaries in the Prefect UI."""

from __future__ import annotations

import base64
from typing import cast

from prefect import get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.states import Completed

from tasks.aws import client, step
from trainmaster.budget.money import shown
from trainmaster.datasets.showing.markdown import plain
from trainmaster.endpoints.results import PlannedDeployment, ServedModel
from trainmaster.errors import TrainingFailedError
from trainmaster.settings import Settings
from trainmaster.training.outcome import TrainingOutcome
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.predictions import held_out_predictions, picture
from trainmaster.training.result import TrainingResult
from trainmaster.training.showing import plan_markdown, plan_text


@step(task_run_name="show the plan of {plan.job_name}")
def report_plan(plan: TrainingPlan) -> None:
    """All there is to know before the launch: in the log, and as an artifact."""
    get_run_logger().info("Nothing is launched. The plan:\n%s", plan_text(plan))
    create_markdown_artifact(plan_markdown(plan), key="training-plan", description=f"Plan of {plan.job_name}")


@step(task_run_name="report on {result.job_name}")
def report_result(result: TrainingResult) -> None:
    """What happened, what it cost, and what was tried; of a model its figures and a link to its job."""
    get_run_logger().info("%s", result.said)
    if outcome := result.outcome:
        create_table_artifact(key="training-result", table=outcome.table(), description=result.said)
        create_link_artifact(
            outcome.console_url, link_text=outcome.job_name, key="training-job", description="In the AWS console"
        )
    if len(result.attempts) > 1:
        create_table_artifact(
            key="training-attempts", table=result.attempts_table(), description=f"{len(result.attempts)} attempts"
        )


@step(task_run_name="report on {error.job_name}")
def report_failure(error: TrainingFailedError) -> None:
    """What happened, why likely, what it cost and what now, with the last lines of its log; nothing of these is markup."""
    rows = {
        "what happened": f"{error.status}: {error.reason or 'AWS gave no reason'}",
        "likely cause": error.cause.why if error.cause else "",
        "bill": shown(error.cost),
        "left": error.left,
        "what now": " ".join([error.cause.advice if error.cause else "", "Set attempt to one more to train again."]),
    }
    parts = [
        f"# Training job {plain(error.job_name)} ended {plain(error.status)}",
        "\n".join(["| | |", "|---|---|", *(f"| {what} | {plain(value)} |" for what, value in rows.items() if value)]),
    ]
    if error.log_tail:
        parts += ["## Its last lines", "\n".join(f"    {line}" for line in error.log_tail)]
    said = f"{error.job_name} ended {error.status} for {shown(error.cost)}"
    create_markdown_artifact("\n\n".join(parts), key="training-failed", description=said)


def ended_as(result: TrainingResult) -> TrainingResult:
    """The result, in the state that its run is to end in: one that somebody refused has not failed, nor is it just completed."""
    if result.status != "refused":
        return result
    return cast("TrainingResult", Completed(name="Refused", message=result.said, data=result))


@step(task_run_name="draw {outcome.job_name}")
def draw_predictions(outcome: TrainingOutcome, settings: Settings) -> None:
    """A picture of predicted against actual prices, where the job left any."""
    held_out = held_out_predictions(client(settings, "s3"), outcome.output_uri)
    if held_out is None:
        get_run_logger().info("%s left no held-out predictions to draw.", outcome.job_name)
        return
    png = base64.b64encode(picture(held_out, outcome.job_name)).decode()
    create_markdown_artifact(
        f"![Predicted against actual prices](data:image/png;base64,{png})",
        key="predicted-against-actual",
        description=f"Validation rows of {outcome.job_name}",
    )


@step(task_run_name="report on {served.endpoint_name}")
def report_endpoint(served: ServedModel) -> None:
    """A table of what serves, what it costs and what it answered."""
    get_run_logger().info("%s", served.sentence())
    create_table_artifact(key="endpoint", table=served.table(), description=served.sentence())


@step(task_run_name="show the plan of {planned.endpoint_name}")
def report_deployment(planned: PlannedDeployment) -> None:
    """The steps a deployment would take, and what an hour costs before and after: in the log, and as an artifact."""
    get_run_logger().info("%s %s", planned.sentence(), "; ".join(planned.steps))
    create_table_artifact(key="endpoint-plan", table=planned.table(), description=planned.sentence())


@step(task_run_name="summarise", retries=0)
def summarise(title: str, parts: list[str]) -> None:
    """One page that says what came of the run."""
    create_markdown_artifact("\n\n".join([f"# {title}", *parts]), key="summary", description=title)
