"""What the page of a run says that failed before anything else could be said on it."""

from __future__ import annotations

from typing import Any

import httpx
from prefect import Flow, State, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import MissingResult, PrefectException
from prefect.logging.loggers import flow_run_logger

from tasks.reports import SUMMARY
from trainmaster.reporting.failure_page import failure_page
from trainmaster.reporting.page import safe


def say_why(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook `on_failure` and `on_crashed`: the run's page, where it has none yet, says what happened and what to do now."""
    page = failure_page(flow_run.name, _error_in(state), state.message or "")
    try:
        with get_client(sync_client=True) as client:
            if not _has_page(client, flow_run):
                said = safe((state.message or flow_run.name).splitlines()[0])
                made = ArtifactCreate(
                    key=SUMMARY, type="markdown", data=page, description=said, flow_run_id=flow_run.id
                )
                client.create_artifact(made)
    except (httpx.HTTPError, PrefectException) as failed:  # what failed is in the run's state and log all the same
        flow_run_logger(flow_run, flow).warning("Why it failed cannot be shown: %s", type(failed).__name__)


def _error_in(state: State[Any]) -> BaseException | None:
    """None where it is not known in this process."""
    try:
        error = state.result(raise_on_failure=False)
    except MissingResult:
        return None
    return error if isinstance(error, BaseException) else None


def _has_page(client: SyncPrefectClient, flow_run: FlowRun) -> bool:
    of_run = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id]), key=ArtifactFilterKey(any_=[SUMMARY])
    )
    return bool(client.read_artifacts(artifact_filter=of_run, limit=1))
