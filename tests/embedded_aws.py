"""A real `trainmaster embedded` as tests use it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from trainmaster.embedded import processes
from trainmaster.embedded.state import State

HEALTHY_WITHIN = 120.0
FOREIGN = {
    "AWS_PROFILE": "not-there",
    "AWS_ENDPOINT_URL_IAM": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "no_proxy": "intranet.example",
}
"""What a developer's shell may hold for the real AWS; none of it may reach the embedded one."""


class Served:
    """An embedded AWS that serves a state folder, whoever started it."""

    def __init__(self, state: Path, environment: dict[str, str]) -> None:
        self.state, self.environment = state, environment

    def client(self, service: str, **config: Any) -> Any:
        """A boto3 client; `config` are botocore Config's. It tries once unless told otherwise."""
        environment = self.environment
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=environment["AWS_ENDPOINT_URL_S3" if service == "s3" else "AWS_ENDPOINT_URL"],
            region_name=environment["AWS_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=environment.get("AWS_SESSION_TOKEN"),
            config=Config(
                **{"retries": {"total_max_attempts": 1}, "connect_timeout": 60, "read_timeout": 70, **config}
            ),
        )

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON a control call answers, refusals included."""
        request = urllib.request.Request(
            f"{self.environment['AWS_ENDPOINT_URL']}/_trainmaster/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refusal:
            return json.load(refusal)


class EmbeddedAws(Served):
    """One that the test started, and may stop or kill."""

    def __init__(self, state: Path, **settings: str | float) -> None:
        self.log = state.with_name(f"{state.name}.log")
        options = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        with self.log.open("ab") as log:
            self._child = processes.start(
                [sys.executable, "-m", "trainmaster.embedded.command", "--state", str(state), *options],
                env=os.environ | FOREIGN,
                stdout=log,
                stderr=log,
            )
        try:
            super().__init__(state, self._wait(state))
        except BaseException:
            self._child.kill()
            raise
        self.pid: int = self.control("GET", "health")["pid"]

    def kill(self) -> None:
        """SIGKILL to the embedded AWS's own process, as an out-of-memory killer would."""
        os.kill(self.pid, signal.SIGKILL)
        self._child.wait(90)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._child.stop(60)

    def _wait(self, state: Path) -> dict[str, str]:
        deadline = time.monotonic() + HEALTHY_WITHIN
        while (environment := State(state).serving()) is None:
            assert self._child.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        return environment
