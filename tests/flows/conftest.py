"""Flows run for real: on a Prefect server of the session's own, against the session's embedded AWS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import roles_held
from embedded_aws import Served
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    temporary_settings,
)

from trainmaster.catalog.catalogue import open_catalogue
from trainmaster.prefect_server import PrefectServer
from trainmaster.training.plan import INSTALLATION_TAG


@dataclass(frozen=True)
class Stack:
    """What a flow needs around it."""

    aws: Any
    prefect: PrefectServer
    installation: str

    @property
    def environment(self) -> dict[str, str]:
        return {**self.aws.environment, **self.prefect.environment}

    def client(self, service: str) -> Any:
        """Of somebody who may do everything. Endpoints it makes are the flows' installation's."""
        client = self.aws.client(service)
        client.meta.events.register("provide-client-params.sagemaker.CreateEndpoint", self._tagged)
        return client

    def _tagged(self, params: dict[str, Any], **_: object) -> dict[str, Any]:
        tags = params.get("Tags", [])
        if INSTALLATION_TAG in {tag["Key"] for tag in tags}:
            return params
        return {**params, "Tags": [*tags, {"Key": INSTALLATION_TAG, "Value": self.installation}]}

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
                yield Stack(embedded, server, installation_at(embedded))
                APILogWorker.drain_all(timeout=10)
                EventsWorker.drain_all(timeout=10)
    finally:
        server.close()


def installation_at(embedded: Any) -> str:
    """That of the flows' catalogue."""
    with closing(open_catalogue(None, Path(embedded.environment["TRAINMASTER_STATE_DIR"]))) as catalogue:
        return str(catalogue.installation)


@dataclass(frozen=True)
class Worker:
    """A role with all policies of a worker, and a session of it."""

    role: str
    session: Served


@pytest.fixture(scope="session")
def worker(stack: Stack) -> Worker:
    """Made as docs/going-to-aws.md says."""
    execution = {"TRAINMASTER_EXECUTION_ROLE_ARN": roles_held.execution_role(stack.aws)}
    names = ("worker", "worker-public-api", "worker-workspaces")
    policies = [roles_held.policy(name, stack.bucket, INSTALLATION=stack.installation) for name in names]
    role = roles_held.role_with(stack.aws, *policies)
    held = roles_held.session(stack.aws, role)
    return Worker(role, Served(held.state, {**held.environment, **execution}))


@pytest.fixture(scope="module")
def as_a_worker(stack: Stack, worker: Worker) -> Iterator[None]:
    """Flows of the module's tests act by the role of a worker: what its policies do not allow is refused, by AWS, at once.

    Afterwards: nothing was refused that was asked for, and each call is allowed by one statement and no more. What is gone has no
    tags, so that to delete it a second time, where the first answer was lost or another was faster, is refused.
    """
    before = roles_held.asked(stack.aws, [worker.role])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in worker.session.environment.items():
            patch.setenv(name, value)
        yield
    asked = [one for one in roles_held.asked(stack.aws, [worker.role]) if one not in before]
    wrong = [one for one in asked if not one["allowed"] or len(one["by"]) != 1]
    assert [one for one in wrong if one["action"] != "sagemaker:DeleteEndpoint" or one["context"]] == []
