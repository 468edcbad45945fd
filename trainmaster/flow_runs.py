"""Runs of the deployments, at the Prefect server of PREFECT_API_URL. Like `cli` a door, not a room: it stands above the flows and
starts them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Scheduled
from prefect.utilities.urls import url_for

from trainmaster.errors import FlowRunRefusedError, FlowRunsUnavailableError
from trainmaster.form import filled_in
from trainmaster.http_api.office import StartedRun

ANSWERS_WITHIN = 10.0
"""Seconds that one call to the server may take."""
_NOT_TAKEN = {409, 422}
"""What Prefect answers where a form does not take what it is given."""
RETRIES = 1
"""Of a call; who asks over HTTP waits meanwhile, and can ask again."""


class PrefectRuns:
    """See FlowRuns. Safe to share between threads."""

    def start(self, deployment: str, request: Mapping[str, Any], *, once: str, about: str = "") -> StartedRun:
        """See FlowRuns."""
        try:
            with _client(f"{deployment} could not be started") as client:
                found = client.read_deployment_by_name(f"{deployment}/{deployment}")
                run = client.create_flow_run_from_deployment(
                    found.id,
                    parameters={"request": filled_in(request, found.parameter_openapi_schema or {})},
                    state=Scheduled(),
                    idempotency_key=once,
                    tags=[about] if about else [],
                )
        except ObjectNotFound as error:
            raise FlowRunsUnavailableError(
                f"{deployment} could not be started: the Prefect server has no such deployment. `trainmaster setup` makes it."
            ) from error
        return _started(run)

    def latest(self, about: str) -> StartedRun | None:
        """See FlowRuns."""
        tagged = FlowRunFilter(tags=FlowRunFilterTags(all_=[about]))
        newest = FlowRunSort.EXPECTED_START_TIME_DESC
        with _client("Runs could not be looked up") as client:
            runs = client.read_flow_runs(flow_run_filter=tagged, sort=newest, limit=1)
        return _started(runs[0]) if runs else None

    def find(self, run_id: str) -> StartedRun | None:
        """See FlowRuns."""
        try:
            with _client("The run could not be looked up") as client:
                return _started(client.read_flow_run(UUID(run_id)))
        except (ObjectNotFound, ValueError):
            return None

    def is_reachable(self) -> bool:
        """See FlowRuns."""
        try:
            with _client("") as client:
                return client.api_healthcheck() is None
        except FlowRunsUnavailableError:
            return False


@contextmanager
def _client(what: str) -> Iterator[SyncPrefectClient]:
    """Raises FlowRunsUnavailableError, saying what could not be done; a server that is not there is not started."""
    if not PREFECT_API_URL.value():
        raise FlowRunsUnavailableError(f"{what}: PREFECT_API_URL is not set. Set it for the server of this API.")
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: RETRIES}),
            get_client(sync_client=True, httpx_settings={"timeout": ANSWERS_WITHIN}) as client,
        ):
            yield client
    except ObjectNotFound:
        raise
    except PrefectHTTPStatusError as error:
        said = error.response.text[:300]
        if error.response.status_code in _NOT_TAKEN:
            raise FlowRunRefusedError(
                f"{what}: its form does not take this. {said} Choose something else, or have an operator bring the forms up to date:"
                " trainmaster setup"
            ) from error
        raise FlowRunsUnavailableError(f"{what}: Prefect answers {error.response.status_code}. {said}") from error
    except (httpx.HTTPError, RuntimeError) as error:  # RuntimeError: its version is not ours, says Prefect's client
        raise FlowRunsUnavailableError(
            f"{what}: the Prefect server does not answer ({type(error).__name__})."
        ) from error


def _started(run: FlowRun) -> StartedRun:
    state = run.state
    return StartedRun(
        str(run.id),
        run.name,
        run.state_name or "",
        url_for(run) or "",
        run.idempotency_key or "",
        (state.message or "") if state else "",
        bool(state and state.is_final()),
    )
