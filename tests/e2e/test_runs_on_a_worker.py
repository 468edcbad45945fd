"""What people do to a training that a worker or a served flow carries out: cancel it, start it twice, answer for its cost, try it again.

And to a migration: cancel it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from served_api import TRAININGS, ServedApi
from sqlalchemy import select
from workshop import Workshop, until, user_of

from benchmarks.scale_out import catalogue_in, copies_of, stock
from trainmaster.budget.budgets import Budget
from trainmaster.catalog.catalogue import Catalogue
from trainmaster.catalog.tables import pending_objects


@pytest.fixture(scope="module")
def workshop(embedded: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    opened = Workshop(embedded, tmp_path_factory.mktemp("workshop"))
    try:
        opened.open("train-model", "train-and-serve", "reconcile", "migrate-datasets")
        yield opened
    finally:
        opened.close()


def seconds_until_stopped(workshop: Workshop, name: str, run: str) -> float:
    began = time.monotonic()
    workshop.cancel(run)
    workshop.job_in(name, "Stopped")
    seconds = time.monotonic() - began
    print(f"{name}: Stopped {seconds:.1f} s after the run was cancelled")
    return seconds


def test_cancelling_one_of_two_runs_leaves_the_job_to_the_other_and_cancelling_that_stops_it(
    workshop: Workshop,
) -> None:
    asked = workshop.request("twice")
    with workshop.no_spot_instances():
        runs = [workshop.start("train-model", asked) for _ in range(2)]
        job = workshop.job("twice")["TrainingJobName"]
        until(lambda: set(workshop.row(job).job.runs) == set(runs), "both never followed it")
        workshop.cancel(runs[0])
        workshop.in_state(runs[0], "Cancelled")
        assert workshop.job("twice")["TrainingJobStatus"] == "InProgress"
        row = workshop.row(job)
        assert (row.job.runs, row.job.stop) == ((runs[1],), None)

        seconds_until_stopped(workshop, "twice", runs[1])
    workshop.in_state(runs[1], "Cancelled")
    row = workshop.row(job)
    assert row.job.stop
    assert (row.job.stop.by, row.job.stop.why) == (f"flow run {runs[1]}", "its run was cancelled")
    assert len(workshop.jobs("twice")) == 1


def test_cancelling_the_main_job_stops_the_training_within_it(workshop: Workshop) -> None:
    asked = {"training": {"model_name": "whole"}, "endpoint": {"endpoint_name": "whole"}}
    with workshop.no_spot_instances():
        run = workshop.start("train-and-serve", asked)
        workshop.job("whole")
        until(lambda: any("launched" in line for line in workshop.logs_of_parts(run)), "the run never said so")
        seconds_until_stopped(workshop, "whole", run)


def test_cancelling_a_run_of_a_served_flow_stops_its_job(workshop: Workshop) -> None:
    asked = workshop.request("served")
    with workshop.serving("train-model", "train-model-served"), workshop.no_spot_instances():
        run = workshop.start("train-model-served", asked)
        job = workshop.job("served")["TrainingJobName"]
        until(lambda: any("launched" in line for line in workshop.logs(run)), "the run never said so")
        seconds_until_stopped(workshop, "served", run)
        workshop.in_state(run, "Cancelled")
    assert workshop.row(job).stop_asked


def test_a_run_over_budget_waits_for_an_answer_and_goes_on_with_what_was_approved(workshop: Workshop) -> None:
    asked = workshop.request("approved", on_over_budget="ask")
    user = Budget("user", str(user_of(asked)))
    with workshop.ledger() as ledger:
        ledger.set_limit(user, Decimal("0.05"), set_by="a test")
    run = workshop.start("train-model", asked)
    schema, description = workshop.form(run)
    assert list(schema["properties"]) == ["decision", "up_to", "decided_by", "remark"]
    up_to = schema["properties"]["up_to"]
    assert (up_to["type"], up_to["minimum"], up_to["default"]) == ("number", 0.03, 0.14)
    assert "may cost $0.1314; $0.05 of" in description
    assert "Would fit in what is left: up to $0.05." in description
    [wanted] = until(
        lambda: workshop.events("trainmaster.budget.approval-wanted", f"prefect.flow-run.{run}"), "nobody was told"
    )
    assert workshop.jobs("approved") == []

    assert workshop.answer(run, decision="approve", up_to=0.10) == "REJECT"  # by nobody
    assert workshop.answer(run, decision="approve", up_to=0.10, decided_by="Ada", remark="worth it") == "ACCEPT"
    ended = workshop.ended(run)
    assert ended["name"] == "Completed", ended
    assert "Approved up to $0.10 by Ada: worth it." in workshop.logs(run)
    job = workshop.aws.client("sagemaker").describe_training_job(
        TrainingJobName=workshop.job("approved")["TrainingJobName"]
    )
    with workshop.ledger() as ledger:
        reservation = ledger.find(job["TrainingJobName"])
    assert reservation
    assert reservation.charge.amount <= Decimal("0.10")
    assert job["StoppingCondition"]["MaxRuntimeInSeconds"] < 3600
    assert wanted["payload"]["sentence"].startswith("Training approved-")


def test_a_refused_run_ends_as_refused_and_leaves_nothing(workshop: Workshop) -> None:
    asked = workshop.request("refused", on_over_budget="ask")
    user = Budget("user", str(user_of(asked)))
    with workshop.ledger() as ledger:
        ledger.set_limit(user, Decimal("0.05"), set_by="a test")
    run = workshop.start("train-model", asked)
    workshop.form(run)
    with workshop.ledger() as ledger:  # money enough by now changes nothing: it was refused
        ledger.set_limit(user, Decimal("50.00"), set_by="a test")
    assert workshop.answer(run, decision="refuse", up_to=0.14, decided_by="Grace", remark="not this month") == "ACCEPT"
    ended = workshop.ended(run)
    assert (ended["type"], ended["name"]) == ("COMPLETED", "Refused")
    assert "was not launched. Refused by Grace: not this month." in ended["message"]
    assert workshop.jobs("refused") == []
    with workshop.ledger() as ledger:
        assert ledger.standing(user).committed == 0


def test_a_run_whose_worker_died_is_tried_again_and_finds_its_job(workshop: Workshop) -> None:
    asked = workshop.request("again")
    with workshop.no_spot_instances():
        run = workshop.start("train-model", asked)
        job = workshop.job("again")["TrainingJobName"]
        until(lambda: any("launched." in line for line in workshop.logs(run)), "the run never said so")
        workshop.kill_worker()
    workshop.set_state(run, "CRASHED")
    workshop.start_worker()
    workshop.set_state(run, "SCHEDULED", name="AwaitingRetry")
    assert workshop.ended(run)["name"] == "Completed"
    assert workshop.api(f"flow_runs/{run}")["run_count"] == 2
    assert [one["TrainingJobName"] for one in workshop.jobs("again")] == [job]
    lines = workshop.logs(run)
    assert len([line for line in lines if line.startswith("| r2=")]) == 1
    assert any(f"{job} was launched before; following it" in line for line in lines)


def test_a_run_cancelled_after_its_worker_died_is_stopped_by_reconcile(workshop: Workshop) -> None:
    asked = workshop.request("orphaned")
    with workshop.no_spot_instances():
        run = workshop.start("train-model", asked)
        job = workshop.job("orphaned")["TrainingJobName"]
        until(lambda: any("launched." in line for line in workshop.logs(run)), "the run never said so")
        workshop.kill_worker()
        workshop.cancel(run)
        workshop.start_worker()
        began = time.monotonic()
        reconciled = workshop.ended(workshop.start("reconcile", {}))
        assert reconciled["name"] == "Completed", reconciled
        workshop.job_in("orphaned", "Stopped")
        print(f"orphaned: Stopped {time.monotonic() - began:.1f} s after reconcile was started")
    assert workshop.row(job).stop_asked


def test_a_training_over_http_is_launched_at_once_and_followed_by_a_run_that_can_be_cancelled(
    workshop: Workshop, tmp_path: Path
) -> None:
    api = ServedApi(workshop.environment, tmp_path / "api.log")
    try:
        asked = {name: value for name, value in workshop.request("over-http").items() if name != "user_id"}
        with workshop.no_spot_instances():  # so that the job is not over before it has its run
            first = api.ask("POST", json=asked)
            assert first.status_code == 201, first.text
            made = followed(api, asked)
        job, run = made["training_job_name"], made["flow_run"]["id"]
        assert first.json()["training_job_name"] == job
        assert workshop.row(job).job.runs == (run,)
        assert workshop.ended(run)["name"] == "Completed"
        assert [one["TrainingJobName"] for one in workshop.jobs("over-http")] == [job]
        assert any(f"{job} was launched before; following it" in line for line in workshop.logs(run))
        seen = api.ask("GET", f"{TRAININGS}/{made['deployment_id']}").json()
        assert (seen["status"], seen["flow_run"]["state"], seen["cost"]["is_billed"]) == (
            "completed",
            "Completed",
            True,
        )
        assert Decimal(seen["cost"]["actual"]) <= Decimal(seen["cost"]["estimated"])
        assert any("r2=" in line for line in seen["logs"])

        with workshop.no_spot_instances():
            again = followed(api, {**asked, "attempt": 2})
            until(
                lambda: any("following it" in line for line in workshop.logs(again["flow_run"]["id"])), "never followed"
            )
            workshop.cancel(again["flow_run"]["id"])
            stopped = until(lambda: seen_ended(api, again["deployment_id"]), "it was never stopped")
        assert (stopped["status"], stopped["stop"]["by"]) == ("stopped", f"flow run {again['flow_run']['id']}")
    finally:
        api.close()


def followed(api: ServedApi, asked: dict[str, Any]) -> dict[str, Any]:
    """What is answered once a run follows the job: a Prefect server that is busy gets the same request again, and makes the same run."""
    said = ""

    def with_a_run() -> Any:
        nonlocal said
        said = api.ask("POST", json=asked).text
        found = json.loads(said)
        return found if found["flow_run"] else None

    try:
        return dict(until(with_a_run))
    except AssertionError:
        pytest.fail(said)


def seen_ended(api: ServedApi, deployment: str) -> dict[str, Any] | None:
    found: dict[str, Any] = api.ask("GET", f"{TRAININGS}/{deployment}").json()
    return found if found["completed_at"] else None


@pytest.mark.parametrize("task_runner", ["threads", "dask"])
def test_cancelling_a_migration_stops_it_and_gives_back_what_it_held(workshop: Workshop, task_runner: str) -> None:
    user = stock(workshop.environment, workshop.state_dir, 40, 250_000)
    asked = {"user_id": str(user), "workers": 2}
    slowly = {"task_runner": task_runner, "megabytes_per_second": 0.4}
    run = workshop.start("migrate-datasets", {**asked, **slowly})
    with catalogue_in(workshop.state_dir) as catalogue:
        until(lambda: claims(catalogue, user), "it never began")
        began = time.monotonic()
        workshop.cancel(run)
        workshop.in_state(run, "Cancelled")
        print(f"{task_runner}: Cancelled {time.monotonic() - began:.1f} s after it was asked for")
        until(lambda: all(until_ <= datetime.now(UTC) for until_ in claims(catalogue, user)), "a claim is held")

        again = workshop.start("migrate-datasets", asked)
        assert workshop.ended(again)["name"] == "Completed"
        assert claims(catalogue, user) == []
        assert len(copies_of(catalogue, user)) == 40


def claims(catalogue: Catalogue, user: UUID) -> list[datetime]:
    """Until when each object of the user's that is pending is held."""
    column = pending_objects.c
    with catalogue.database.reading() as connection:
        return list(connection.execute(select(column.lease_until).where(column.user_id == user)).scalars())
