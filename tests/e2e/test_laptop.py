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
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

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


def test_a_run_that_is_killed_leaves_no_process_and_the_next_one_goes_on(tmp_path: Path) -> None:
    """Killed while its job trains: the embedded AWS dies with it, so the job has failed and a next attempt is made."""
    killed = subprocess.Popen(
        [*COMMAND, "run"],
        env=environment(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert killed.stdout
    seen = next(line for line in killed.stdout if "launched" in line)
    job = seen.split("Training job ")[1].split()[0]
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(WITHIN)
    killed.stdout.close()
    until(lambda: not processes_of(tmp_path), why="a process outlived the run")

    again = run(tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"{job} had failed in an earlier run" in again.stderr
    assert f"job        {job.removesuffix('-1')}-2\n" in again.stdout
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
    assert processes_of(tmp_path) == []
    assert "Traceback" not in again.stderr

    once_more = run(tmp_path, "--json")
    assert once_more.returncode == 0, once_more.stderr
    result = json.loads(once_more.stdout.splitlines()[-1])
    assert (result["training"]["job_name"], result["training"]["found"]) == (f"{job.removesuffix('-1')}-2", True)
    assert result["served"]["steps"] == []


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
    assert (refused.returncode, refused.stderr[:29]) == (1, "budget_limit cannot be 'lots'")
    assert "http" not in refused.stderr


def test_a_budget_that_pays_for_nothing_useful_is_refused_before_anything_starts(tmp_path: Path) -> None:
    refused = run(tmp_path, "--budget", "0.01")
    assert refused.returncode == 1
    assert refused.stderr.count("budget_limit is $0.01") == 1
    assert not (tmp_path / "state").exists()


def test_up_serves_every_deployment_and_a_run_started_there_works(tmp_path: Path) -> None:
    up = subprocess.Popen(
        [*COMMAND, "up", "--port", "0"],
        env=environment(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert up.stdout
        up.stdout.readline()
        first = up.stdout.readline()
        assert first.startswith("Prefect UI: http://127.0.0.1:"), first + up.stdout.read()
        api = first.split()[2].removesuffix("/deployments") + "/api"
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
            "open-workspace",
            "close-workspace",
            "stop-idle",
            "report-endpoints",
            "check-drift",
            "upload-dataset",
            "sweep-uploads",
            "migrate-datasets",
            "verify-copies",
            "follow-jobs",
            "stop-training",
            "reconcile",
        }
        chats = tmp_path / "chats.jsonl"
        chats.write_text('{"text": "Something to learn from."}\n' * 3)
        upload = {"file": str(chats), "name": "chats", "storage": "both"}
        started = [
            call(f"{api}/deployments/{deployments[name]}/create_flow_run", {"parameters": {"request": request}})["id"]
            for name, request in (("train-and-serve", {"public": True}), ("upload-dataset", upload))
        ]
        for run_id in started:
            ended = until(lambda: finished(f"{api}/flow_runs/{run_id}"), why="the run never ended")  # noqa: B023
            assert ended["state_type"] == "COMPLETED", ended
        assert (tmp_path / "state" / "catalog.db").exists()
        assert asked_over_http(tmp_path)["predicted_price"] > 0
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
    until(lambda: not processes_of(tmp_path), why="a process outlived `up`")


def asked_over_http(folder: Path) -> dict[str, Any]:
    """What the API that train-and-serve published answers to whoever has its key."""
    told = json.loads((folder / "state" / "serving.json").read_text())
    own = {name: value for name, value in environment(folder).items() if name not in FOREIGN}

    def endpoints(*arguments: str) -> str:
        command = [*COMMAND, "endpoints", *arguments]
        return subprocess.run(
            command, env={**own, **told}, cwd=folder, stdout=subprocess.PIPE, text=True, timeout=WITHIN, check=True
        ).stdout  # fmt: skip

    published = json.loads(endpoints("publish", "house-prices", "--json"))
    assert published["steps"] == []
    headers = {"Content-Type": "application/json", "x-api-key": endpoints("key", "house-prices").strip()}
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
