"""An endpoint past its time is warned of, removed, no longer billed, and brought back by one flow: all of it for real."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.events.worker import EventsWorker
from served_models import GOOD, put_model

from flows.deploy_endpoint import deploy_endpoint
from flows.reconcile import reconcile
from flows.remove_endpoint import remove_endpoint
from flows.report_endpoints import report_endpoints
from flows.rollback_endpoint import rollback_endpoint
from flows.stop_idle import stop_idle
from trainmaster.budget.budgets import Budget
from trainmaster.budget.idle_stops import Stopped, stopped_between
from trainmaster.budget.ledger import open_ledger
from trainmaster.endpoints.plan import EXPIRES_TAG
from trainmaster.endpoints.request import EndpointRequest, Lifetime, RemovalRequest, RollbackRequest
from trainmaster.endpoints.watch.idle import WARNED_TAG
from trainmaster.endpoints.watch.metric_report import ReportEndpointsRequest
from trainmaster.endpoints.watch.watching import StopIdleRequest
from trainmaster.settings import Settings
from trainmaster.training.reconciling import ReconcileRequest

NAME = "unwanted"
WITHIN = 90.0


@pytest.fixture(autouse=True)
def nothing_left(stack: Any) -> Iterator[None]:
    yield
    remove_endpoint(RemovalRequest(endpoint_name=NAME, dry_run=False))


def acts() -> list[tuple[str, str | None]]:
    """Of one sweep, what was done about it and why."""
    swept = stop_idle(StopIdleRequest(notice_minutes=0))
    return [(one.act, one.reason) for one in swept.endpoints if one.endpoint == NAME]


def until(condition: Any) -> Any:
    deadline = time.monotonic() + WITHIN
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.2)
    return found


def told(stack: Any) -> set[str]:
    EventsWorker.drain_all(timeout=10)
    wanted = {"filter": {"resource": {"id": [f"trainmaster.endpoint.{NAME}"]}}}
    answer = httpx.post(f"{stack.prefect.api_url}/events/filter", json=wanted, timeout=90).raise_for_status()
    return {one["event"] for one in answer.json()["events"]}


def test_one_past_its_time_is_warned_of_removed_billed_no_more_and_brought_back(stack: Any) -> None:
    user_id = uuid4()
    uri = put_model(stack, f"{NAME}.tar.gz", GOOD.format(version="v", price=7), "v")
    lifetime = Lifetime(hours=0.0005, when_over="remove")  # two seconds
    served = deploy_endpoint(
        EndpointRequest(model_uri=uri, endpoint_name=NAME, user_id=str(user_id), lifetime=lifetime)
    )
    until(lambda: acts() == [("remove", "expired")])  # the sweep before it has warned

    [noted] = noted_stops()
    assert (noted.reason, noted.user_id, noted.hourly) == ("expired", user_id, served.hourly_cost)
    sagemaker = stack.client("sagemaker")
    until(lambda: not sagemaker.list_endpoints(NameContains=NAME)["Endpoints"])
    reconcile(ReconcileRequest())
    assert standing(user_id).reserved == 0
    assert standing(user_id).settled > 0
    assert sagemaker.describe_endpoint_config(EndpointConfigName=served.config_name)
    assert {"trainmaster.endpoint.warn", "trainmaster.endpoint.remove"} <= until(
        lambda: len(told(stack)) >= 2 and told(stack)
    )

    asked = stack.client("sagemaker-runtime")
    moment = datetime.now(UTC)
    back = rollback_endpoint(RollbackRequest(endpoint_name=NAME))
    assert back.config_name == served.config_name
    endpoint = sagemaker.describe_endpoint(EndpointName=NAME)
    assert endpoint["EndpointStatus"] == "InService"
    tags = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=endpoint["EndpointArn"])["Tags"]}
    assert datetime.fromisoformat(tags[EXPIRES_TAG]) > moment  # it has as long again
    assert WARNED_TAG not in tags

    for _ in range(3):
        asked.invoke_endpoint(EndpointName=NAME, Body=b"{}", ContentType="application/json")
    [version] = [row for row in report_endpoints(ReportEndpointsRequest()).rows if row["endpoint"] == NAME]
    assert version["version"] == served.config_name
    assert int(version["invocations"]) >= 3
    assert version["per 1,000"].startswith("$")


def noted_stops() -> list[Stopped]:
    """What the weekly report will say was saved by it."""
    now = datetime.now(UTC)
    with open_ledger(Settings().database_url, Settings().state_dir) as ledger:
        found = stopped_between(ledger, now - timedelta(days=1), now + timedelta(days=1))
    return [one for one in found if one.resource.endswith(f":endpoint/{NAME}")]


def standing(user_id: UUID) -> Any:
    settings = Settings()
    with open_ledger(settings.database_url, settings.state_dir) as ledger:
        return ledger.standing(Budget("user", str(user_id)))
