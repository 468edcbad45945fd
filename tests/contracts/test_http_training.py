"""Trainings over HTTP, on the embedded AWS: launched once within budget, refused with all that is wrong, looked at, stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from http_offices import RecordingRuns, asking, office_at
from training_configs import bench_at

from trainmaster.budget.budgets import Budget
from trainmaster.http_api.office import Office
from trainmaster.storage.store import StorageProvider
from trainmaster.training.followers import following

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


@pytest.fixture
def fault(embedded: Any) -> Iterator[Callable[..., Any]]:
    yield lambda **rule: embedded.control("POST", "faults", rule)
    embedded.control("DELETE", "faults")


@pytest.fixture
def no_machines(fault: Callable[..., Any]) -> None:
    """Spot jobs wait for theirs until they are stopped."""
    fault(operation="LaunchingMLInstances", error="CapacityError")


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


@pytest.mark.usefixtures("no_machines")
def test_one_request_sent_many_times_at_once_is_one_job_and_with_one_key_one_answer(counter: Counter) -> None:
    asked, key = counter.asked, {"Idempotency-Key": "k1"}
    gate = threading.Barrier(6)

    def send(headers: dict[str, str]) -> Any:
        gate.wait()
        return counter.client.post(PATH, json=asked, headers=headers)

    with ThreadPoolExecutor(6) as threads:
        keyed, free = [threads.submit(send, key) for _ in range(3)], [threads.submit(send, {}) for _ in range(3)]
    answers = [one.result() for one in keyed]
    assert {one.status_code for one in answers + [each.result() for each in free]} <= {200, 201}
    assert len({one.content for one in answers}) == 1
    assert len(counter.jobs()) == 1

    again = counter.client.post(PATH, json=asked, headers=key)
    assert (again.status_code, again.content) == (answers[0].status_code, answers[0].content)
    assert again.headers["Idempotent-Replayed"] == "true"
    other = counter.client.post(PATH, json={**asked, "attempt": 2}, headers=key)
    assert (other.status_code, other.json()["error"]) == (409, "KeyReused")
    found = counter.client.post(PATH, json=asked)
    assert (found.status_code, found.json()["deployment_id"]) == (200, again.json()["deployment_id"])
    with asking(counter.office, uuid4()) as stranger:
        stranger.post(PATH, json={**asked, "budget_limit": "0.01"}, headers=key)
    assert len(counter.jobs()) == 1
    assert len(counter.runs.started) == 1

    stopped = counter.client.delete(f"{PATH}/{again.json()['deployment_id']}")
    assert stopped.status_code == 202


@pytest.mark.usefixtures("no_machines")
def test_a_training_is_stopped_once_and_says_who_wanted_it(counter: Counter) -> None:
    id_ = counter.client.post(PATH, json=counter.asked).json()["deployment_id"]
    stopped = counter.client.delete(PATH, params={"deployment_id": id_, "reason": "too dear"})
    assert (stopped.status_code, stopped.json()["stop"]["why"]) == (202, "too dear")
    again = counter.client.delete(f"{PATH}/{id_}", params={"reason": "another"})
    assert again.status_code in (200, 202)
    ended = counter.until(id_, lambda one: one["status"] == "stopped" and one["completed_at"])
    assert (ended["stop"]["why"], ended["failure"]["kind"], ended["cost"]["actual"]) == (
        "too dear",
        "stopped",
        "0.000000",
    )
    last = counter.client.delete(f"{PATH}/{id_}")
    assert (last.status_code, last.json()["status"]) == (200, "stopped")
    found = counter.client.post(PATH, json=counter.asked)
    assert (found.status_code, found.json()["status"], found.json()["flow_run"]) == (200, "stopped", None)
    [left] = [one for one in counter.client.get("/api/budget").json() if one["scope"] == "user"]
    assert Decimal(left["reserved"]) == 0


@pytest.mark.usefixtures("no_machines")
def test_without_prefect_a_job_is_launched_all_the_same_and_left_to_the_sweep(counter: Counter) -> None:
    counter.runs.away = True
    made = counter.client.post(PATH, json=counter.asked)
    assert (made.status_code, made.json()["flow_run"]) == (201, None)
    assert any("follow-jobs follows it" in note for note in made.json()["notes"])
    row = counter.office.desk.deployments.get(UUID(made.json()["deployment_id"]), counter.user)
    assert row
    assert following(row.job, {}) == "left"
    counter.runs.away = False
    found = counter.client.post(PATH, json=counter.asked)
    assert found.json()["flow_run"]["name"].startswith("train-model")
    counter.runs.away = True
    seen = counter.client.get(f"{PATH}/{made.json()['deployment_id']}")
    assert any("flow run cannot be looked up" in note for note in seen.json()["notes"])
    assert counter.client.delete(f"{PATH}/{made.json()['deployment_id']}").status_code == 202


def test_what_aws_is_too_busy_for_is_told_as_later_and_the_same_request_goes_on(
    counter: Counter, fault: Callable[..., Any]
) -> None:
    asked, key = counter.asked, {"Idempotency-Key": "k"}
    fault(operation="LaunchingMLInstances", error="CapacityError")
    fault(operation="CreateTrainingJob", error="ThrottlingException", count=5)
    busy = counter.client.post(PATH, json=asked, headers=key)
    assert (busy.status_code, busy.json()["error"]) == (503, "AwsUnavailable")
    assert int(busy.headers["Retry-After"]) > 0
    assert counter.jobs() == []
    made = counter.client.post(PATH, json=asked, headers=key)
    assert made.status_code == 201, made.text
    assert len(counter.jobs()) == 1
    fault(operation="DescribeTrainingJob", error="ThrottlingException", count=5)
    seen = counter.client.get(f"{PATH}/{made.json()['deployment_id']}")
    assert seen.status_code == 200
    assert any("how it stood last" in note for note in seen.json()["notes"])
    counter.client.delete(f"{PATH}/{made.json()['deployment_id']}")


def test_a_launch_without_machines_anywhere_is_told_as_later(counter: Counter, fault: Callable[..., Any]) -> None:
    fault(operation="CreateTrainingJob", error="ResourceLimitExceeded")
    said = counter.client.post(PATH, json=counter.asked)
    assert (said.status_code, said.json()["error"]) == (503, "NoCapacity")
    assert int(said.headers["Retry-After"]) > 0
    [left] = [one for one in counter.client.get("/api/budget").json() if one["scope"] == "user"]
    assert Decimal(left["reserved"]) == 0


@pytest.mark.usefixtures("no_machines")
def test_another_users_training_is_as_missing_as_none(counter: Counter) -> None:
    made = counter.client.post(PATH, json=counter.asked).json()
    with asking(counter.office, uuid4()) as stranger:
        for which in (made["deployment_id"], made["training_job_name"], str(uuid4()), "no-such-job"):
            for said in (stranger.get(f"{PATH}/{which}"), stranger.delete(f"{PATH}/{which}")):
                assert (said.status_code, said.json()["error"]) == (404, "TrainingMissing")
            assert stranger.get(PATH, params={"deployment_id": which}).status_code == 404
        assert stranger.get(PATH).json()["deployments"] == []
    assert counter.client.get(f"{PATH}/{made['training_job_name']}").json()["deployment_id"] == made["deployment_id"]
    [listed] = counter.client.get(PATH).json()["deployments"]
    assert listed["deployment_id"] == made["deployment_id"]
    assert counter.client.get(PATH, params={"status": "completed"}).json()["deployments"] == []
    assert counter.client.delete(f"{PATH}/{made['deployment_id']}").status_code == 202


def test_who_asks_is_told_by_the_token_alone(counter: Counter) -> None:
    for who in ("user_id", "team"):
        said = counter.client.post(PATH, json={**counter.asked, who: str(uuid4())})
        assert said.status_code == 400
        [problem] = said.json()["problems"]
        assert (problem["field"], problem["remedy"]) == (who, "Who asks is told by the token alone.")
    with asking(counter.office) as nobody:
        for said in (nobody.post(PATH, json={}), nobody.get(PATH), nobody.delete(PATH, params={"deployment_id": "x"})):
            assert said.status_code == 401
    assert counter.jobs() == []


def test_everything_that_is_wrong_is_said_at_once_and_nothing_is_launched(counter: Counter) -> None:
    wrong = {"instance_type": "ml.nope.large", "subnets": ["subnet-0"], "data_uri": "s3://no-such-bucket-at-all/x/"}
    said = counter.client.post(PATH, json={**counter.asked, **wrong}, headers={"Idempotency-Key": "free"})
    assert (said.status_code, said.json()["error"]) == (400, "TrainingRefused")
    assert {one["kind"] for one in said.json()["problems"]} >= {"instance_type", "network", "datasets"}
    assert all(one["remedy"] for one in said.json()["problems"])
    assert said.json()["non_s3_datasets"] == []
    assert counter.client.get(PATH).json()["deployments"] == []
    with_key = counter.client.post(
        PATH, json={**counter.asked, "budget_limit": "0.000001"}, headers={"Idempotency-Key": "free"}
    )
    assert with_key.json()["error"] != "KeyReused"


def test_what_the_budget_does_not_pay_for_is_402_with_what_is_left_unless_somebody_is_to_be_asked(
    counter: Counter,
) -> None:
    budget = Budget("user", str(counter.user))
    counter.office.desk.ledger.set_limit(budget, Decimal("0.05"), set_by="a test")
    asked = {**counter.asked, "max_runtime_seconds": 3600}
    said = counter.client.post(PATH, json=asked)
    assert (said.status_code, said.json()["error"]) == (402, "OverBudget")
    [left] = [one for one in said.json()["budgets"] if one["scope"] == "user"]
    assert (left["left"], left["limit"]) == ("0.05", "0.05")
    assert "is left" in said.json()["message"]
    assert counter.runs.started == []

    waits = counter.client.post(PATH, json={**asked, "on_over_budget": "ask"})
    assert waits.status_code == 202, waits.text
    assert (waits.json()["status"], waits.json()["estimated_cost"]) == ("queued", "0.131354")
    assert "$0.05 of" in waits.json()["message"]
    assert counter.client.get(PATH).json()["deployments"] == []
    [(deployment, request, _)] = counter.runs.started
    assert (deployment, request["on_over_budget"]) == ("train-model", "ask")
    counter.runs.away = True
    assert counter.client.post(PATH, json={**asked, "on_over_budget": "ask"}).status_code == 503
    assert counter.jobs() == []


def test_a_request_whose_run_ended_without_a_job_is_asked_for_anew(counter: Counter) -> None:
    counter.office.desk.ledger.set_limit(Budget("user", str(counter.user)), Decimal("0.05"), set_by="a test")
    asked = {**counter.asked, "max_runtime_seconds": 3600, "on_over_budget": "ask"}
    first = counter.client.post(PATH, json=asked).json()["flow_run"]["id"]
    assert counter.client.post(PATH, json=asked).json()["flow_run"]["id"] == first

    counter.runs.become(first, "Failed")  # nobody approved it
    second = counter.client.post(PATH, json=asked).json()["flow_run"]
    assert (second["id"] != first, second["state"]) == (True, "Scheduled")
    assert counter.client.post(PATH, json=asked).json()["flow_run"]["id"] == second["id"]
    counter.runs.become(second["id"], "Cancelled")
    assert counter.client.post(PATH, json=asked).json()["flow_run"]["id"] not in (first, second["id"])
    assert len(counter.runs.started) == 3


def test_datasets_that_are_not_in_s3_are_named_and_copied_first_where_that_is_asked(
    embedded: Any, tmp_path: Path
) -> None:
    with bench_at(tmp_path, embedded.environment) as bench:
        dataset = bench.dataset("owls", StorageProvider.SUPABASE)
        trainer = bench.program("print('trained')")
        config = bench.config({"trainer": trainer}, [dataset])
        foreign = bench.config({"trainer": trainer}, [], user_id=uuid4())
        runs = RecordingRuns()
        environment = embedded.environment
        with (
            office_at(environment, bench.shelves.settings.state_dir, runs) as office,
            asking(office, bench.user_id) as client,
        ):
            asked = {"training_config_id": config, "max_runtime_seconds": 600, "budget_limit": "1.00"}
            said = client.post(PATH, json=asked)
            assert said.status_code == 400
            named = {"id": str(dataset), "name": "chats about owls", "provider": "supabase"}
            assert said.json()["non_s3_datasets"] == [named]
            assert "set migrate_missing" in said.json()["problems"][0]["remedy"]
            waits = client.post(PATH, json={**asked, "migrate_missing": True})
            assert (waits.status_code, waits.json()["message"]) == (202, "1 dataset is copied to S3 first.")
            [(_, request, _)] = runs.started
            assert (request["training_config_id"], request["migrate_missing"]) == (config, True)
            for missing in (foreign, str(uuid4())):
                said = client.post(PATH, json={**asked, "training_config_id": missing})
                assert (said.status_code, said.json()["error"]) == (404, "TrainingMissing")
