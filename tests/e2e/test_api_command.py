"""`trainmaster api`, as a platform engineer starts it: by several processes, to an orderly end, or not at all and told why."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_offices import ISSUER, NOWHERE, SECRET, bearer

from trainmaster.embedded.processes import Child, start

WITHIN = 120.0
USER = "6f9d2a34-3c30-4b31-8b7f-0a3f4a4f3c11"


@pytest.fixture
def silent_aws() -> Iterator[socket.socket]:
    """Takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(WITHIN)
        yield server


@pytest.fixture
def environment(tmp_path: Path, silent_aws: socket.socket) -> dict[str, str]:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TRAINMASTER_", "SUPABASE_"))
    }
    return {
        **clean,
        **NOWHERE,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent_aws.getsockname()[1]}",
        "SUPABASE_JWT_SECRET": SECRET,
        "TRAINMASTER_HTTP_TOKEN_ISSUER": ISSUER,
        "TRAINMASTER_STATE_DIR": str(tmp_path / "state"),
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
    }


class Served:
    """The command, and the address it says."""

    def __init__(self, child: Child, url: str, log: Path) -> None:
        self.child, self.url, self.log = child, url, log

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", headers=headers, timeout=WITHIN)


@pytest.fixture
def served(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Served]]:
    children = []

    def serve(*options: str) -> Served:
        log = tmp_path / "api.log"
        command = [sys.executable, "-m", "trainmaster.cli", "api", "--port", "0", *options]
        child = start(command, env=environment, stdout=subprocess.PIPE, stderr=log.open("wb"))
        children.append(child)
        assert child.stdout
        said = child.stdout.readline().decode()
        assert said.startswith("The HTTP API is at http://127.0.0.1:"), log.read_text()
        return Served(child, said.split()[5].rstrip(","), log)

    yield serve
    for child in children:
        child.kill()
        if child.stdout:
            child.stdout.close()


def test_several_processes_answer_as_one_and_end_together(served: Callable[..., Served]) -> None:
    api = served("--workers", "2")
    for _ in range(6):
        assert api.get("/api/budget", **bearer(USER), Connection="close").status_code == 200
    counted = 'trainmaster_http_requests_total{method="GET",route="/api/budget",status="200"} 6.0'
    assert counted in api.get("/metrics").text
    api.child.terminate()
    assert api.child.wait(WITHIN) == 0
    lines = api.log.read_text().splitlines()
    assert len([line for line in lines if '"/api/budget"' in line and USER in line]) == 6


def test_what_is_being_answered_when_it_is_told_to_end_is_answered(
    served: Callable[..., Served], silent_aws: socket.socket
) -> None:
    api = served()
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(api.get("/readyz")))
    asking.start()
    connection, _ = silent_aws.accept()  # the answer waits for what AWS says
    os.kill(api.child.pid, signal.SIGTERM)
    asking.join(WITHIN)
    connection.close()
    assert answers[0].status_code == 503
    assert answers[0].json()["checks"]["database"] == "ok"
    assert api.child.wait(WITHIN) == 0


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ({"TRAINMASTER_HTTP_TOKEN_ISSUER": "", "SUPABASE_URL": ""}, "Set SUPABASE_URL"),
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"},
            "no AWS credentials",
        ),
        ({"TRAINMASTER_HTTP_RATE_STORAGE": "papyrus://"}, "TRAINMASTER_HTTP_RATE_STORAGE"),
    ],
    ids=["project", "credentials", "rates"],
)
def test_what_is_missing_is_said_in_a_line(environment: dict[str, str], missing: dict[str, str], said: str) -> None:
    told = run({**environment, **missing}, "--port", "0")
    assert told.returncode == 1
    assert said in told.stderr
    assert len(told.stderr.strip().splitlines()) == 1


def test_a_port_that_is_taken_is_said_in_a_line(environment: dict[str, str], silent_aws: socket.socket) -> None:
    told = run(environment, "--port", str(silent_aws.getsockname()[1]))
    assert told.returncode == 1
    assert "Choose another with --port" in told.stderr
    assert len(told.stderr.strip().splitlines()) == 1


def run(environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainmaster.cli", "api", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WITHIN, check=False)
