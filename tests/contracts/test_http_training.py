"""Trainings over HTTP, on the embedded AWS: launched once within budget, refused with all that is wrong, looked at, stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from http_offices import RecordingRuns, asking, office_at

from trainmaster.http_api.office import Office

PATH = "/api/training/deploy/sagemaker"
WITHIN = 120.0
HOUSES = (Path(__file__).parents[2] / "model" / "data" / "house_data.csv").read_bytes()


@dataclass(frozen=True)
class Counter:
    """Where one user asks, and what is behind it."""

    office: Office
    runs: RecordingRuns
    user: UUID
    client: TestClient
    name: str

    @property
    def asked(self) -> dict[str, Any]:
        """A request that can be launched, of data nobody else trains on."""
        bucket = self.office.settings.required("bucket")
        self.office.desk.client("s3").put_object(Bucket=bucket, Key=f"{self.name}/data.csv", Body=HOUSES)
        return {
            "data_uri": f"s3://{bucket}/{self.name}/",
            "model_name": self.name,
            "budget_limit": "1.00",
            "max_runtime_seconds": 600,
        }

    def jobs(self) -> list[str]:
        found = self.office.desk.client("sagemaker").list_training_jobs(NameContains=self.name)
        return [one["TrainingJobName"] for one in found["TrainingJobSummaries"]]

    def until(self, deployment: str, is_so: Callable[[Any], bool]) -> Any:
        deadline = time.monotonic() + WITHIN
        while not is_so(found := self.client.get(f"{PATH}/{deployment}").json()):
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        return found


@contextmanager
def counter_at(folder: Path, environment: Any, **settings: Any) -> Iterator[Counter]:
    runs, user = RecordingRuns(), uuid4()
    with office_at(environment, folder, runs, **settings) as office, asking(office, user) as client:
        yield Counter(office, runs, user, client, f"http-{uuid4().hex[:8]}")


@pytest.fixture
def counter(embedded: Any, tmp_path: Path) -> Iterator[Counter]:
    with counter_at(tmp_path, embedded.environment) as opened:
        yield opened


def test_a_training_is_launched_followed_by_a_run_and_seen_to_its_end(counter: Counter) -> None:
    made = counter.client.post(PATH, json=counter.asked)
    assert made.status_code == 201, made.text
    said = made.json()
    [job] = counter.jobs()
    assert (said["training_job_name"], said["training_job_arn"].rpartition("/")[2]) == (job, job)
    assert made.headers["Location"] == f"{PATH}/{said['deployment_id']}"
    assert said["instance"] == {"type": "ml.m5.large", "count": 1, "spot": True}
    assert Decimal(said["cost"]["estimated"]) <= Decimal(said["cost"]["limit"]) == Decimal("1.00")
    assert said["cost"]["currency"] == "USD"

    [(deployment, request, once)] = counter.runs.started
    assert (deployment, request["user_id"], once.split()[0]) == ("train-model", str(counter.user), str(counter.user))
    row = counter.office.desk.deployments.find(job, counter.user)
    assert row
    assert row.job.runs == (said["flow_run"]["id"],)

    ended = counter.until(said["deployment_id"], lambda one: one["status"] == "completed" and one["cost"]["is_billed"])
    assert ended["secondary_status"] == "Completed"
    assert ended["model_artifact"].startswith(ended["s3_output_path"])
    assert ended["billable_seconds"] >= 0
    assert ended["training_seconds"] >= 0
    assert Decimal(ended["cost"]["actual"]) < Decimal(ended["cost"]["estimated"])
    assert any("r2=" in line for line in ended["logs"])
    assert ended["metrics"]
    assert ended["failure"] is None
