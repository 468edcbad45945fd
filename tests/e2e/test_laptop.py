"""`trainmaster run` and `trainmaster up`, as a user starts them: from a shell, in an empty folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import pytest

pytestmark = pytest.mark.timeout(
    600
)  # each is whole runs of everything, which take half a minute where nothing else runs
T = TypeVar("T")
COMMAND = [sys.executable, "-m", "trainmaster.cli"]
WITHIN = 150.0
FOREIGN = {
    "AWS_PROFILE": "of-another-job",
    "AWS_SESSION_TOKEN": "left-by-single-sign-on",
    "AWS_ENDPOINT_URL_SAGEMAKER": "http://127.0.0.1:9",
    "SUPABASE_URL": "http://127.0.0.1:9",
    "SUPABASE_SERVICE_ROLE_KEY": "of-a-real-project",
    "DATABASE_URL": "postgresql://somebody@127.0.0.1:9/real",
}
"""What may be left in a user's shell; none of it may matter."""


def environment(folder: Path) -> dict[str, str]:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PREFECT_", "TRAINMASTER_"))
    }
    return {**clean, **FOREIGN, "TRAINMASTER_STATE_DIR": str(folder / "state"), "HOME": str(folder)}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "run", *arguments],
        env=environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )


def processes_of(folder: Path) -> list[str]:
    """Command lines of living processes that mention the folder or have it in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            said = process.joinpath("cmdline").read_bytes() + process.joinpath("environ").read_bytes()
            zombie = " Z " in process.joinpath("stat").read_text()
        except OSError:
            continue
        if str(folder).encode() in said and not zombie:
            found.append(process.joinpath("cmdline").read_text().replace("\0", " "))
    return found


def until(condition: Callable[[], T], *, why: str) -> T:
    deadline = time.monotonic() + WITHIN
    while not (found := condition()):
        assert time.monotonic() < deadline, why
        time.sleep(0.05)
    return found


@dataclass(frozen=True)
class Laptop:
    """A folder in which a run was killed while its job trained, and then there was another."""

    folder: Path
    job: str
    again: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    """Killed while its job trains: the embedded AWS dies with it, so the job has failed and a next attempt is made."""
    folder = tmp_path_factory.mktemp("laptop")
    killed = subprocess.Popen(
        [*COMMAND, "run"],
        env=environment(folder),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert killed.stdout
    seen = next(line for line in killed.stdout if "launched" in line)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(WITHIN)
    killed.stdout.close()
    until(lambda: not processes_of(folder), why="a process outlived the run")
    return Laptop(folder, seen.split("Training job ")[1].split()[0], run(folder))


def test_a_run_that_is_killed_leaves_no_process_and_the_next_one_goes_on(laptop: Laptop) -> None:
    again, first = laptop.again, laptop.job
    assert again.returncode == 0, again.stderr
    assert f"{first} had failed in an earlier run" in again.stderr
    assert f"job        {first.removesuffix('-1')}-2\n" in again.stdout
    for said in (
        "R²",
        "billed; at worst",
        "endpoint   house-prices on",
        "asked      bedrooms",
        "answered   predicted_price",
        "public     POST http://127.0.0.1:",
        "Where the time went",
    ):
        assert said in again.stdout
    assert processes_of(laptop.folder) == []
    assert "Traceback" not in again.stderr


def test_a_bad_file_is_refused_at_once_with_line_and_column(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text(
        "bedrooms,bathrooms,sqft,year_built,price\n" + "3,2,1500,1990,400000\n" * 20 + "3,2,big,1990,400000\n"
    )
    refused = run(tmp_path, "--data", str(table))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "line 22, column sqft: found 'big'" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "state").exists()


def test_a_budget_that_is_no_amount_is_refused_by_name(tmp_path: Path) -> None:
    refused = run(tmp_path, "--budget", "lots")
    assert (refused.returncode, refused.stderr[:29]) == (2, "budget_limit cannot be 'lots'")
    assert "http" not in refused.stderr


def test_a_budget_that_pays_for_nothing_useful_is_refused_before_anything_starts(tmp_path: Path) -> None:
    refused = run(tmp_path, "--budget", "0.01")
    assert refused.returncode == 1
    assert refused.stderr.count("budget_limit is $0.01") == 1
    assert not (tmp_path / "state").exists()


def test_up_serves_every_deployment_and_runs_started_there_work_and_find_what_was_made_before(laptop: Laptop) -> None:
    folder = laptop.folder
    up = subprocess.Popen(
        [*COMMAND, "up", "--port", "0"],
        env=environment(folder),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert up.stdout
        up.stdout.readline()
        first = up.stdout.readline()
        assert first.startswith("Prefect UI: http://127.0.0.1:"), first + up.stdout.read()
        api = first.split()[2].removesuffix("/v2/deployments") + "/api"
        deployments = {one["name"]: one["id"] for one in call(f"{api}/deployments/filter", {})}
        assert set(deployments) == {
            "train-and-serve",
            "train-model",
            "deploy-endpoint",
            "rollback-endpoint",
            "remove-endpoint",
            "publish-api",
            "withdraw-api",
            "approve-model",
            "compile-image",
            "open-workspace",
            "close-workspace",
            "stop-idle",
            "report-endpoints",
            "weekly-report",
            "check-drift",
            "upload-dataset",
            "sweep-uploads",
            "migrate-datasets",
            "verify-copies",
            "follow-jobs",
            "stop-training",
            "reconcile",
        }
        until(lambda: budget_over_http(folder), why="the HTTP API never answered")
        chats = folder / "chats.jsonl"
        chats.write_text('{"text": "Something to learn from."}\n' * 3)
        upload = {"file": str(chats), "name": "chats", "storage": "both"}
        found = {"public": True, "training": {"attempt": 2}}
        started = [
            call(f"{api}/deployments/{deployments[name]}/create_flow_run", {"parameters": {"request": request}})["id"]
            for name, request in (("train-and-serve", found), ("upload-dataset", upload))
        ]
        for run_id in started:
            ended = until(lambda: finished(f"{api}/flow_runs/{run_id}"), why="the run never ended")  # noqa: B023
            assert ended["state_type"] == "COMPLETED", ended
        assert (folder / "state" / "catalog.db").exists()
        assert [job["job_name"] for job in jobs_on(folder)] == [f"{laptop.job.removesuffix('-1')}-2", laptop.job]
        assert asked_over_http(folder)["predicted_price"] > 0
        for name in ("follow-jobs", "reconcile", "sweep-uploads"):
            of_it = {"flow_runs": {"deployment_id": {"any_": [deployments[name]]}}}
            runs = until(lambda: call(f"{api}/flow_runs/filter", of_it), why=f"{name} was never scheduled")  # noqa: B023
            assert runs[0]["auto_scheduled"]
    finally:
        up.send_signal(signal.SIGINT)
        code = up.wait(90)
        assert up.stdout
        up.stdout.close()
    assert code == 0
    until(lambda: not processes_of(folder), why="a process outlived `up`")


def budget_over_http(folder: Path) -> list[Any] | None:
    """What the HTTP API of `up` tells the user of the file for another terminal; None until it answers."""
    told = (folder / "state" / "env").read_text()
    said = dict(line.removeprefix("export ").split("=", 1) for line in told.splitlines())
    request = urllib.request.Request(
        f"{said['TRAINMASTER_HTTP_URL']}/api/budget",
        headers={"Authorization": f"Bearer {said['TRAINMASTER_HTTP_TOKEN']}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=90) as answer:
            return list(json.load(answer))
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError:
        return None


def printed(folder: Path, *arguments: str) -> str:
    """What a command prints in the environment of the embedded AWS that serves the folder."""
    told = json.loads((folder / "state" / "serving.json").read_text())
    own = {name: value for name, value in environment(folder).items() if name not in FOREIGN}
    return subprocess.run(
        [*COMMAND, *arguments],
        env={**own, **told}, cwd=folder, stdout=subprocess.PIPE, text=True, timeout=WITHIN, check=True,
    ).stdout  # fmt: skip


def jobs_on(folder: Path) -> list[dict[str, Any]]:
    """The training jobs there are, newest first."""
    found: list[dict[str, Any]] = json.loads(printed(folder, "train", "list", "--json"))["jobs"]
    return found


def asked_over_http(folder: Path) -> dict[str, Any]:
    """What the API that train-and-serve published answers to whoever has its key."""
    published = json.loads(printed(folder, "endpoints", "publish", "house-prices", "--json"))
    assert published["steps"] == []
    headers = {
        "Content-Type": "application/json",
        "x-api-key": printed(folder, "endpoints", "key", "house-prices").strip(),
    }
    request = urllib.request.Request(published["url"], data=published["example"].encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=90) as answer:
        said: dict[str, Any] = json.load(answer)
        return said


def finished(url: str) -> dict[str, Any] | None:
    run: dict[str, Any] = call(url)
    return run if run["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None


def call(url: str, body: dict[str, Any] | None = None) -> Any:
    """What Prefect answers; asked again, as its own client does, when its database was busy."""
    request = urllib.request.Request(
        url, data=None if body is None else json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )

    def answered() -> tuple[Any] | None:
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return (json.load(answer),)
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
            return None

    return until(answered, why=f"{url} was never answered")[0]
