"""Steps that show people what happened: tables, pictures, links and summaries in the Prefect UI."""

from __future__ import annotations

import base64

from prefect import get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from tasks.aws import client, step
from trainmaster.endpoints.results import ServedModel
from trainmaster.settings import Settings
from trainmaster.training.outcome import TrainingOutcome
from trainmaster.training.predictions import held_out_predictions, picture


@step(task_run_name="report on {outcome.job_name}")
def report_training(outcome: TrainingOutcome) -> None:
    """A table of metrics and cost, and a link to the job."""
    get_run_logger().info("%s", outcome.sentence())
    create_table_artifact(key="training-result", table=outcome.table(), description=outcome.sentence())
    create_link_artifact(
        outcome.console_url, link_text=outcome.job_name, key="training-job", description="In the AWS console"
    )


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


@step(task_run_name="summarise", retries=0)
def summarise(title: str, parts: list[str]) -> None:
    """One page that says what came of the run."""
    create_markdown_artifact("\n\n".join([f"# {title}", *parts]), key="summary", description=title)
