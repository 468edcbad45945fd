"""`trainmaster api`: the HTTP API, until Ctrl-C. Like `cli` a door, not a room: it stands above the flows and starts them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import httpx
import uvicorn
from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Scheduled
from prefect.utilities.urls import url_for

from trainmaster.aws.clients import default_clients
from trainmaster.errors import FlowRunsUnavailableError, TrainmasterError
from trainmaster.http_api.application import application
from trainmaster.http_api.office import Office, StartedRun
from trainmaster.settings import Settings
from trainmaster.training.desk import open_desk

PORT = 8000


class PrefectRuns:
    """The runs of the Prefect server of PREFECT_API_URL."""

    def start(self, deployment: str, request: Mapping[str, Any], *, once: str) -> StartedRun:
        """See FlowRuns."""
        try:
            with get_client(sync_client=True) as client:
                found = client.read_deployment_by_name(f"{deployment}/{deployment}")
                run = client.create_flow_run_from_deployment(
                    found.id, parameters={"request": dict(request)}, state=Scheduled(), idempotency_key=once
                )
        except (httpx.HTTPError, ObjectNotFound, PrefectHTTPStatusError) as error:
            raise FlowRunsUnavailableError(f"{deployment} could not be started: {error}") from error
        return _started(run)

    def find(self, run_id: str) -> StartedRun | None:
        """See FlowRuns."""
        try:
            with get_client(sync_client=True) as client:
                return _started(client.read_flow_run(UUID(run_id)))
        except ObjectNotFound:
            return None
        except httpx.HTTPError as error:
            raise FlowRunsUnavailableError(f"The Prefect server does not answer: {error}") from error

    def is_reachable(self) -> bool:
        """See FlowRuns."""
        with get_client(sync_client=True) as client:
            return client.api_healthcheck() is None


def _started(run: FlowRun) -> StartedRun:
    return StartedRun(str(run.id), run.name, run.state_name or "", url_for(run) or "", run.idempotency_key or "")


def add_parser(commands: Any) -> None:
    """`trainmaster api`."""
    api = commands.add_parser("api", help="the HTTP API of the web application, until Ctrl-C")
    api.add_argument("--host", default="127.0.0.1", help="to listen on (default %(default)s)")
    api.add_argument("--port", type=int, default=PORT, help="to listen on (default %(default)s)")
    api.set_defaults(run=serve)


def serve(args: argparse.Namespace) -> int:
    """Exit code 0 after Ctrl-C, 1 with the reason when it cannot begin."""
    settings = Settings()
    try:
        with open_desk(settings, default_clients(settings.region)) as desk:
            app = application(Office(settings, desk, PrefectRuns()))
            uvicorn.run(app, host=args.host, port=args.port, log_level="warning")
    except TrainmasterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
