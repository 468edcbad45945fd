"""A Prefect server with our deployments and a worker that carries them out, on the session's embedded AWS: as `make up` has them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx

from trainmaster.budget.ledger import Ledger, open_ledger
from trainmaster.catalog.catalogue import open_catalogue
from trainmaster.catalog.deployments import Deployment
from trainmaster.embedded import processes
from trainmaster.prefect_server import PrefectServer

ROOT = Path(__file__).parents[2]
HOUSES = ROOT / "model" / "data" / "house_data.csv"
WITHIN = 120.0
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
T = TypeVar("T")


def until(condition: Callable[[], T], why: str = "it never happened") -> T:
    """What the condition says once it holds."""
    deadline = time.monotonic() + WITHIN
    while not (found := condition()):
        assert time.monotonic() < deadline, why
        time.sleep(0.1)
    return found


class Workshop:
    """Runs are started, cancelled and answered by Prefect's API alone, as its UI does."""

    def __init__(self, aws: Any, home: Path) -> None:
        self.aws, self.home = aws, home
        self.server = PrefectServer(home)
        self.environment = {
            **os.environ,
            **aws.environment,
            **self.server.environment,
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PWD": str(ROOT),
        }
        self.worker: processes.Child | None = None
        self.deployments: dict[str, str] = {}

    def open(self, *names: str) -> None:
        """With these deployments and a worker."""
        self.server.wait_until_healthy()
        self._prefect("work-pool", "create", "trainmaster", "--type", "process")
        self._prefect("deploy", *(part for name in names for part in ("--name", name)))
        self.deployments = {one["name"]: one["id"] for one in self.api("deployments/filter", {})}
        self.start_worker()

    def start_worker(self) -> None:
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "trainmaster"]
        with (self.home / "worker.log").open("ab") as log:
            self.worker = processes.start(command, env=self.environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)

    def kill_worker(self) -> None:
        """SIGKILL to it and all the runs it carries out, as when its machine is gone."""
        assert self.worker
        self.worker.kill()
        self.worker = None

    @contextmanager
    def serving(self, flow: str, name: str) -> Iterator[None]:
        """A flow served by a process of its own instead of the worker, as a deployment of that name."""
        module = flow.replace("-", "_")
        program = (
            f"from flows.{module} import {module}; from prefect.deployments.runner import EntrypointType;"
            f" {module}.serve(name={name!r}, pause_on_shutdown=False, entrypoint_type=EntrypointType.MODULE_PATH)"
        )
        with (self.home / "served.log").open("ab") as log:
            served = processes.start(
                [sys.executable, "-c", program], env=self.environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            found = {"deployments": {"name": {"any_": [name]}}}
            [deployment] = until(lambda: self.api("deployments/filter", found), f"{flow} is not served")
            self.deployments[name] = deployment["id"]
            yield
        finally:
            served.stop(20)

    def close(self) -> None:
        if self.worker:
            self.worker.stop(10)
        self.server.close()

    def api(self, path: str, body: Any = None) -> Any:
        """What Prefect answers: to a POST of the body, or to a GET."""
        answer = until(lambda: self._answer(path, body), f"{path}: Prefect's SQLite is busy for ever")
        return answer.raise_for_status().json() if answer.content else None

    def _answer(self, path: str, body: Any) -> httpx.Response | None:
        url = f"{self.server.api_url}/{path}"
        answer = httpx.get(url, timeout=60) if body is None else httpx.post(url, json=body, timeout=60)
        return None if answer.status_code == 503 else answer

    def start(self, deployment: str, request: dict[str, Any]) -> str:
        """The id of a run."""
        body = {"parameters": {"request": request}, "state": {"type": "SCHEDULED"}}
        return str(self.api(f"deployments/{self.deployments[deployment]}/create_flow_run", body)["id"])

    def set_state(self, run: str, kind: str, **state: Any) -> None:
        answer = self.api(f"flow_runs/{run}/set_state", {"state": {"type": kind, **state}})
        assert answer["status"] == "ACCEPT", answer

    def cancel(self, run: str) -> None:
        """As the button in the UI does."""
        self.set_state(run, "CANCELLING", name="Cancelling")

    def state(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api(f"flow_runs/{run}")["state"]
        return found

    def ended(self, run: str) -> dict[str, Any]:
        return until(lambda: state if (state := self.state(run))["type"] in ENDED else None, f"{run} never ended")

    def in_state(self, run: str, name: str) -> dict[str, Any]:
        return until(lambda: state if (state := self.state(run))["name"] == name else None, f"{run} is never {name}")

    def form(self, run: str) -> tuple[dict[str, Any], str]:
        """What a suspended run asks for, as a JSON schema, and what it says above that. It is there a moment after the state."""
        keys = self.in_state(run, "Suspended")["state_details"]["run_input_keyset"]

        def read(part: str) -> Any:
            answer = self._answer(f"flow_runs/{run}/input/{keys[part]}", None)
            return answer.json() if answer is not None and answer.status_code == 200 else None

        description = until(lambda: read("description"), f"{run} asks for nothing")
        return read("schema"), description

    def answer(self, run: str, **answer: str | float) -> str:
        """What Prefect says to it: ACCEPT or REJECT."""
        return str(self.api(f"flow_runs/{run}/resume", {"run_input": answer})["status"])

    def logs(self, run: str) -> list[str]:
        """Messages, by time."""
        filter_ = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        return [one["message"] for one in self.api("logs/filter", filter_)]

    def logs_of_parts(self, run: str) -> list[str]:
        """Of its subflows."""
        parts = self.api("flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}})
        return [line for part in parts for line in self.logs(part["id"])]

    def artifacts(self, run: str) -> dict[str, Any]:
        found = self.api("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
        return {one["key"]: one for one in found}

    def events(self, name: str, resource: str) -> list[dict[str, Any]]:
        wanted = {"event": {"name": [name]}, "resource": {"id": [resource]}}
        found: list[dict[str, Any]] = self.api("events/filter", {"filter": wanted})["events"]
        return found

    def request(self, name: str, **choices: Any) -> dict[str, Any]:
        """Of a job that trains on the shipped houses, of a user of its own."""
        bucket = self.aws.environment["TRAINMASTER_BUCKET"]
        self.aws.client("s3").put_object(Bucket=bucket, Key=f"{name}/data.csv", Body=HOUSES.read_bytes())
        asked = {"budget_limit": 1.00, "max_runtime_seconds": 3600, "user_id": str(uuid4())}
        return {"model_name": name, "data_uri": f"s3://{bucket}/{name}/", **asked, **choices}

    def jobs(self, name: str) -> list[dict[str, Any]]:
        """Those of a model of that name; tests that share the AWS may have jobs of longer names."""
        found = self.aws.client("sagemaker").list_training_jobs(NameContains=name, MaxResults=100)
        named = re.compile(rf"{re.escape(name)}-[0-9a-f]{{10}}-\d+")
        return [job for job in found["TrainingJobSummaries"] if named.fullmatch(job["TrainingJobName"])]

    def job(self, name: str) -> dict[str, Any]:
        """The only one, once it is there."""
        [only] = until(lambda: self.jobs(name), f"{name} was never launched")
        return only

    def job_in(self, name: str, status: str) -> dict[str, Any]:
        return until(
            lambda: job if (job := self.job(name))["TrainingJobStatus"] == status else None, f"{name} is never {status}"
        )

    def row(self, job_name: str) -> Deployment:
        catalogue = open_catalogue(None, self.state_dir)
        try:
            row = catalogue.deployments.find(job_name)
            assert row
            return row
        finally:
            catalogue.close()

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        with open_ledger(None, self.state_dir) as opened:
            yield opened

    @contextmanager
    def no_spot_instances(self) -> Iterator[None]:
        """Spot jobs wait for their instances until the block ends, or they are stopped."""
        self.aws.control("POST", "faults", {"operation": "LaunchingMLInstances", "error": "CapacityError"})
        try:
            yield
        finally:
            self.aws.control("DELETE", "faults")

    @property
    def state_dir(self) -> Path:
        return Path(self.aws.environment["TRAINMASTER_STATE_DIR"])

    def _prefect(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        done = subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def user_of(request: dict[str, Any]) -> UUID:
    return UUID(request["user_id"])
