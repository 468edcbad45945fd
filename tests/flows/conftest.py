"""Flows run for real: on a Prefect server of the session's own, against the session's embedded AWS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    temporary_settings,
)

from trainmaster.prefect_server import PrefectServer


@dataclass(frozen=True)
class Stack:
    """What a flow needs around it."""

    aws: Any
    prefect: PrefectServer

    @property
    def environment(self) -> dict[str, str]:
        return {**self.aws.environment, **self.prefect.environment}

    def client(self, service: str) -> Any:
        return self.aws.client(service)

    @property
    def bucket(self) -> str:
        return self.aws.environment["TRAINMASTER_BUCKET"]


@pytest.fixture(scope="session")
def stack(embedded: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The flows of this process use it by settings and environment; those of a child by `stack.environment`."""
    server = PrefectServer(tmp_path_factory.mktemp("prefect"))
    try:
        server.wait_until_healthy()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in embedded.environment.items():
                patch.setenv(name, value)
            here = {PREFECT_API_URL: server.api_url, PREFECT_HOME: Path(server.home)}
            # Each run of a flow would wait a second for the thread that sends them to look whether it is over.
            silent = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
            with temporary_settings(here | silent):
                yield Stack(embedded, server)
                APILogWorker.drain_all(timeout=10)
                EventsWorker.drain_all(timeout=10)
    finally:
        server.close()
