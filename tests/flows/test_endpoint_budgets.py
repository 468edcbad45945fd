"""An endpoint's hours are somebody's money: refused before anything is made, counted while it serves, billed when it is gone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from served_models import GOOD, put_model

from flows.deploy_endpoint import deploy_endpoint
from flows.reconcile import reconcile
from flows.remove_endpoint import remove_endpoint
from trainmaster.budget import ledger as ledger_module
from trainmaster.budget.budgets import Budget
from trainmaster.budget.ledger import Ledger, open_ledger
from trainmaster.budget.metering import Meters
from trainmaster.endpoints.request import EndpointRequest, RemovalRequest
from trainmaster.errors import DeploymentFailedError, OverBudgetError
from trainmaster.settings import Settings
from trainmaster.training.reconciling import ReconcileRequest

NAME = "paid-for"


@pytest.fixture
def user(user_id: UUID) -> Budget:
    return Budget("user", str(user_id))


@pytest.fixture
def ledger(stack: Any) -> Iterator[Ledger]:
    """The flows' own."""
    settings = Settings()
    with open_ledger(settings.database_url, settings.state_dir) as opened:
        yield opened


@pytest.fixture(autouse=True)
def nothing_left(stack: Any) -> Iterator[None]:
    yield
    remove_endpoint(RemovalRequest(endpoint_name=NAME, dry_run=False))


def request(stack: Any, user_id: UUID, price: str = "7") -> EndpointRequest:
    uri = put_model(stack, f"{NAME}-{price}.tar.gz", GOOD.format(version="v", price=price), "v")
    return EndpointRequest(model_uri=uri, endpoint_name=NAME, user_id=str(user_id))


def of_the_endpoint(ledger: Ledger, user: Budget) -> list[str]:
    """What happened to its hours, oldest first."""
    happened = [one for one in reversed(ledger.history(budget=user)) if f"/{NAME}@" in one.subject]
    return [one.what for one in happened]


def log_of(run_id: UUID | None) -> str:
    APILogWorker.drain_all(timeout=10)
    of_run = LogFilter(flow_run_id=LogFilterFlowRunId.model_validate({"any_": [run_id]}))
    with get_client(sync_client=True) as api:
        return "\n".join(line.message for line in api.read_logs(log_filter=of_run, limit=200))


def events(stack: Any, resource: str, at_least: int) -> list[dict[str, Any]]:
    EventsWorker.drain_all(timeout=10)
    wanted = {"filter": {"resource": {"id": [resource]}}}
    deadline = time.monotonic() + 90
    while True:
        answer = httpx.post(f"{stack.prefect.api_url}/events/filter", json=wanted, timeout=90).raise_for_status()
        found: list[dict[str, Any]] = answer.json()["events"]
        if len(found) >= at_least or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def test_an_endpoint_no_budget_has_money_for_is_refused_and_nothing_is_made(
    stack: Any, ledger: Ledger, user_id: UUID, user: Budget
) -> None:
    ledger.set_limit(user, Decimal("0.68"), set_by="a test")
    with pytest.raises(OverBudgetError, match=rf"endpoint {NAME}, hours 0 to 6 would cost \$0\.69; \$0\.68 of"):
        deploy_endpoint(request(stack, user_id))
    sagemaker = stack.client("sagemaker")
    assert sagemaker.list_endpoints(NameContains=NAME)["Endpoints"] == []
    assert sagemaker.list_endpoint_configs(NameContains=NAME)["EndpointConfigs"] == []
    assert sagemaker.list_models(NameContains=NAME)["Models"] == []
    assert of_the_endpoint(ledger, user) == []


def test_hours_are_reserved_once_told_of_when_they_run_out_of_money_and_billed_when_it_is_removed(
    stack: Any, ledger: Ledger, user_id: UUID, user: Budget
) -> None:
    asked = request(stack, user_id)
    for anew in (True, False):
        state = deploy_endpoint(asked, return_state=True)
        assert of_the_endpoint(ledger, user) == ["reserved"]
        said = log_of(state.state_details.flow_run_id)
        assert (f"reserved for endpoint {NAME}, hours 0 to 6" in said, "none anew" in said) == (anew, not anew)
    assert not [row for row in reconcile(ReconcileRequest()).changed if NAME in row["job"]]

    ledger.set_limit(user, Decimal("0.10"), set_by="a test")
    for _ in range(2):
        [row] = [row for row in reconcile(ReconcileRequest()).changed if NAME in row["job"]]
        assert (row["what"], "hours 6 to 12 would cost $0.69" in row["why"]) == ("exhausted", True)
    [told] = events(stack, f"trainmaster.endpoint.{NAME}", 1)
    assert told["event"] == "trainmaster.budget.exhausted"
    assert told["payload"]["sentence"] == row["why"]

    remove_endpoint(RemovalRequest(endpoint_name=NAME, dry_run=False))
    assert of_the_endpoint(ledger, user) == ["reserved", "settled"]
    standing = ledger.standing(user)
    assert (0 < standing.settled < Decimal("0.05"), standing.reserved) == (True, 0)


def test_another_model_has_hours_of_its_own_and_the_old_ones_are_billed(
    stack: Any, ledger: Ledger, user_id: UUID, user: Budget
) -> None:
    deploy_endpoint(request(stack, user_id))
    deploy_endpoint(request(stack, user_id, price="8"))
    assert of_the_endpoint(ledger, user) == ["reserved", "reserved", "settled"]
    [meter] = [one for one in Meters(ledger).running() if one.payer.user_id == user_id]
    serving = stack.client("sagemaker").describe_endpoint(EndpointName=NAME)["EndpointConfigName"]
    assert meter.part == serving


def test_a_deployment_that_fails_is_billed_for_the_time_it_tried(
    stack: Any, ledger: Ledger, user_id: UUID, user: Budget
) -> None:
    with pytest.raises(DeploymentFailedError):
        deploy_endpoint(request(stack, user_id, price="-5"))
    assert of_the_endpoint(ledger, user) == ["reserved", "settled"]
    assert ledger.standing(user).reserved == 0


def test_a_threshold_whose_teller_died_is_told_of_by_the_next_reconcile_and_arrives_once(
    stack: Any, ledger: Ledger, user_id: UUID, user: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.set_limit(user, Decimal("1.00"), set_by="a test")
    deploy_endpoint(request(stack, user_id))  # 69 % of it
    resource = f"trainmaster.budget.{user.code}"
    assert [one["payload"]["percent"] for one in events(stack, resource, 1)] == [50]

    ledger.set_limit(user, Decimal("0.80"), set_by="a test")
    [handed] = ledger.crossed([user], f"{ledger.now():%Y-%m}")  # to us, and we die
    assert handed.percent == 80
    reconcile(ReconcileRequest())
    assert len(events(stack, resource, 1)) == 1
    monkeypatch.setattr(ledger_module, "TELLING", timedelta(0))
    with monkeypatch.context() as dying:
        dying.setattr(Ledger, "told", lambda *_: None)  # killed when the event was sent already
        reconcile(ReconcileRequest())
    reconcile(ReconcileRequest())
    assert ledger.crossed([user], f"{ledger.now():%Y-%m}") == []
    told = sorted(one["payload"]["percent"] for one in events(stack, resource, 2))
    assert told == [50, 80]
