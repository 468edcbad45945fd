"""The HTTP API by its description alone: asked by whoever makes up requests from it, and by a client that is generated from it."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import uvicorn
from http_offices import asking, office_at, token

from trainmaster.http_api.application import application
from trainmaster.http_api.office import Office

WITHIN = 180.0
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def office(embedded: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with office_at(embedded.environment, tmp_path_factory.mktemp("office"), http_address_rate_limit="") as office:
        yield office


@pytest.fixture(scope="module")
def address(office: Office) -> Iterator[str]:
    """Of a server on loopback."""
    config = uvicorn.Config(application(office), port=0, log_config=None, access_log=False)
    server, listening = uvicorn.Server(config), config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(WITHIN)
    assert not thread.is_alive()


def until_answered(address: str) -> None:
    deadline = time.monotonic() + WITHIN
    while True:
        try:
            assert httpx.get(f"{address}/healthz", timeout=WITHIN).status_code == 200
        except httpx.ConnectError:
            assert time.monotonic() < deadline
        else:
            return


def test_whatever_is_asked_is_answered_as_described(address: str, tmp_path: Path) -> None:
    until_answered(address)
    told = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run"),
            *("--no-color", "--header", f"Authorization: Bearer {token(uuid4(), exp=int(time.time()) + 3600)}"),
            f"{address}/openapi.json",
        ],
        cwd=tmp_path,  # it leaves a cache
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )
    assert told.returncode == 0, told.stdout[-20_000:] + told.stderr


class TestAGeneratedClient:
    @pytest.fixture
    def package(self, office: Office, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        """Its name; made from the description, and importable."""
        folder = tmp_path_factory.mktemp("client")
        description, config = folder / "openapi.json", folder / "config.json"
        config.write_text(json.dumps({"post_hooks": []}))  # its own tools, which it looks for in PATH
        description.write_text(json.dumps(asking(office).get("/openapi.json").json()))
        made = subprocess.run(
            [
                *(sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning"),
                *("--config", str(config)),
                *("--path", str(description), "--output-path", str(folder / "generated_trainmaster")),
            ],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(folder))
            yield "generated_trainmaster"

    def test_asks_a_real_server_and_reads_what_it_answers(self, package: str, address: str) -> None:
        until_answered(address)
        user = uuid4()
        client = importlib.import_module(package).AuthenticatedClient(
            base_url=address, token=token(user), timeout=httpx.Timeout(WITHIN)
        )
        budget = importlib.import_module(f"{package}.api.budget.budget_budget").sync(client=client)
        assert str(user) in str(budget)
        launch = importlib.import_module(f"{package}.api.training.training_launch")
        wanted = importlib.import_module(f"{package}.models").DeployRequest(
            data_uri="s3://not-there/houses/", model_name="houses", budget_limit="1.00"
        )
        refused = launch.sync_detailed(client=client, body=wanted)
        assert refused.status_code == 400
        assert "not-there" in refused.parsed.problems[0].message
