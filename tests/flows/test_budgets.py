"""Budgets hold for the flows: refused before anything is launched, booked to the millionth, told of once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from paid_launch import DATA, finished, plan_of
from prefect.events.worker import EventsWorker

from flows.reconcile import reconcile
from flows.train_model import train_model
from trainmaster.budget.budgets import Budget
from trainmaster.budget.ledger import Ledger, open_ledger
from trainmaster.errors import TrainingFailedError, TrainingRefusedError
from trainmaster.settings import Settings
from trainmaster.training.desk import open_desk
from trainmaster.training.launching import launch_training
from trainmaster.training.reconciling import ReconcileRequest
from trainmaster.training.request import TrainingRequest

HOUSES = Path(__file__).parents[2] / "model" / "data" / "house_data.csv"


@pytest.fixture
def user(user_id: UUID) -> Budget:
    return Budget("user", str(user_id))


@pytest.fixture
def ledger(stack: Any) -> Iterator[Ledger]:
    """The flows' own."""
    settings = Settings()
    with open_ledger(settings.database_url, settings.state_dir) as opened:
        yield opened


def request(stack: Any, name: str, user_id: UUID, data: bytes = HOUSES.read_bytes(), **choices: Any) -> TrainingRequest:
    stack.client("s3").put_object(Bucket=stack.bucket, Key=f"{name}/data.csv", Body=data)
    uri = f"s3://{stack.bucket}/{name}/"
    asked = {"budget_limit": Decimal("1.00"), "max_runtime_seconds": 3600, **choices}
    return TrainingRequest(model_name=name, data_uri=uri, user_id=str(user_id), **asked)


def jobs_named(stack: Any, name: str) -> list[str]:
    answer = stack.client("sagemaker").list_training_jobs(NameContains=name)
    return [job["TrainingJobName"] for job in answer["TrainingJobSummaries"]]


def events(stack: Any, budget: Budget) -> list[dict[str, Any]]:
    """Those of a budget that the Prefect server has, once it has any."""
    EventsWorker.drain_all(timeout=10)
    wanted = {"filter": {"resource": {"id": [f"trainmaster.budget.{budget.code}"]}}}
    deadline = time.monotonic() + 90
    while True:
        answer = httpx.post(f"{stack.prefect.api_url}/events/filter", json=wanted, timeout=90).raise_for_status()
        found: list[dict[str, Any]] = answer.json()["events"]
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def test_a_job_is_reserved_at_its_worst_and_billed_at_its_cost_once(
    stack: Any, ledger: Ledger, user_id: UUID, user: Budget
) -> None:
    ledger.set_limit(user, Decimal("0.20"), set_by="a test")
    asked = request(stack, "budgeted", user_id, team="vision")
    outcome = train_model(asked).completed
    assert ledger.standing(user).settled == outcome.bill > 0
    assert ledger.standing(user).reserved == 0
    assert train_model(asked).completed.found
    whats = [one.what for one in reversed(ledger.history(budget=user))]
    assert whats == ["limit", "reserved", "passed", "settled"]
    assert Budget("team", "vision") in ledger.history(budget=user)[0].of

    [told] = events(stack, user)
    assert told["event"] == "trainmaster.budget.reached-50-percent"
    assert told["payload"]["reserved"].startswith("0.1313")
    assert told["payload"]["sentence"].startswith("50 % of ")


def test_a_job_its_users_month_has_no_money_for_is_never_launched(
    stack: Any, ledger: Ledger, user_id: UUID, user: Budget
) -> None:
    ledger.set_limit(user, Decimal("0.10"), set_by="a test")
    with pytest.raises(
        TrainingRefusedError, match=rf"may cost \$0\.1314; \$0\.10 of .* of user {user_id} is left"
    ) as refused:
        train_model(request(stack, "no-money", user_id))
    [problem] = refused.value.problems
    assert (problem.kind, problem.remedy[:40]) == ("budget", "Choose a budget_limit of $0.10, have the")
    assert jobs_named(stack, "no-money") == []


def test_a_job_that_fails_is_billed_for_what_it_ran(stack: Any, ledger: Ledger, user_id: UUID, user: Budget) -> None:
    with pytest.raises(TrainingFailedError) as failed:
        train_model(request(stack, "fails", user_id, b"not,houses\n1,2\n"))
    assert ledger.standing(user).settled == failed.value.cost > 0
    assert ledger.standing(user).reserved == 0


def test_reconcile_settles_what_nobody_followed_and_tells_of_thresholds(
    stack: Any, ledger: Ledger, user_id: UUID, user: Budget
) -> None:
    stack.client("s3").put_object(Bucket=stack.bucket, Key=f"{DATA}/data.csv", Body=b"1")
    plan = plan_of("nobody-follows", stack.environment, user_id=str(user_id))
    with open_desk(Settings(), stack.client) as desk:
        launch_training(desk, plan)
    finished(stack.client("sagemaker"), plan.job_name)
    ledger.reserve(replace(plan.charge, key="launched-any-moment"))
    ledger.set_limit(user, Decimal("0.20"), set_by="a test")

    result = reconcile(ReconcileRequest())
    settled = ledger.find(plan.job_name)
    assert settled
    assert settled.bill
    assert {row["job"]: row["what"] for row in result.changed}[plan.job_name] == "settled"
    assert result.counts["waiting"] >= 1
    assert ledger.standing(user).settled == settled.bill
    assert [one["event"] for one in events(stack, user)] == ["trainmaster.budget.reached-50-percent"]
    assert reconcile(ReconcileRequest()).changed == []
    ledger.release("launched-any-moment")
