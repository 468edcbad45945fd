"""One real embedded AWS for the whole session, and a way to start others that a test may kill."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from trainmaster.embedded import processes
from trainmaster.embedded.state import State

HEALTHY_WITHIN = 60.0


class EmbeddedAws:
    """A `trainmaster embedded` child with its state folder."""

    def __init__(self, state: Path, **settings: str | float) -> None:
        self.state = state
        self.log = state.with_name(f"{state.name}.log")
        options = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        with self.log.open("ab") as log:
            self._child = processes.start(
                [sys.executable, "-m", "trainmaster.embedded.command", "--state", str(state), *options],
                env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
                stdout=log,
                stderr=log,
            )
        try:
            self.environment = self._wait()
        except BaseException:
            self._child.kill()
            raise
        self.pid: int = self.control("GET", "health")["pid"]

    def client(self, service: str, **config: Any) -> Any:
        """A boto3 client; `config` are botocore Config's. It tries once unless told otherwise."""
        environment = self.environment
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=environment["AWS_ENDPOINT_URL_S3" if service == "s3" else "AWS_ENDPOINT_URL"],
            region_name=environment["AWS_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(**{"retries": {"total_max_attempts": 1}, "connect_timeout": 5, "read_timeout": 70, **config}),
        )

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON a control call answers, refusals included."""
        request = urllib.request.Request(
            f"{self.environment['AWS_ENDPOINT_URL']}/_trainmaster/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refusal:
            return json.load(refusal)

    def kill(self) -> None:
        """SIGKILL to the embedded AWS's own process, as an out-of-memory killer would."""
        os.kill(self.pid, signal.SIGKILL)
        self._child.wait(10)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._child.stop(20)

    def _wait(self) -> dict[str, str]:
        deadline = time.monotonic() + HEALTHY_WITHIN
        state = State(self.state)
        while (environment := state.serving()) is None:
            assert self._child.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        return environment


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    """Shared by all tests: name what you make uniquely, and clear the faults you command."""
    aws = EmbeddedAws(tmp_path_factory.mktemp("embedded") / "state", stop_grace=3)
    yield aws
    aws.stop()


@pytest.fixture
def start_embedded(tmp_path: Path) -> Iterator[Callable[..., EmbeddedAws]]:
    """Starts one that the test may stop, kill and start again on the same `state`; ended with the test."""
    started: list[EmbeddedAws] = []

    def start(state: Path = tmp_path / "state", **settings: str | float) -> EmbeddedAws:
        (state / "serving.json").unlink(missing_ok=True)  # left by one that was killed
        started.append(EmbeddedAws(state, **settings))
        return started[-1]

    yield start
    for aws in started:
        aws.stop()
