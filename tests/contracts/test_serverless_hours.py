"""Serverless endpoints in the books: the most they can cost is reserved, what their requests took is billed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from books import Still
from desks import desk_at
from hosting import Hosting

from trainmaster.budget.budgets import ACCOUNT, Payer
from trainmaster.budget.ledger import Ledger
from trainmaster.endpoints.metering import meter_endpoints, see_hours
from trainmaster.endpoints.plan import Desired
from trainmaster.endpoints.watch.datapoints import Series, datapoints
from trainmaster.training.desk import Desk

MEMORY_GB = 2
MOST = Decimal("0.288")  # two places of 2 GB all of an hour
GB_SECOND = Decimal("0.00002")


@pytest.fixture
def clock() -> Still:
    """From now on: CloudWatch dates what it counts by the real time."""
    return Still(datetime.now(UTC))


@pytest.fixture
def desk(embedded: Any, tmp_path: Path, clock: Still) -> Iterator[Desk]:
    with desk_at(tmp_path, embedded.environment) as opened:
        yield replace(opened, ledger=Ledger(opened.catalogue.database, clock))


@pytest.fixture
def hosting(embedded: Any) -> Iterator[Hosting]:
    made = Hosting(embedded)
    yield made
    made.remove()


@pytest.fixture
def name(hosting: Hosting) -> str:
    serverless = {"MemorySizeInMB": MEMORY_GB * 1024, "MaxConcurrency": 2}
    return hosting.serve({"VariantName": "AllTraffic", "ModelName": hosting.model(), "ServerlessConfig": serverless})


@pytest.fixture
def config(desk: Desk, hosting: Hosting, name: str) -> str:
    """Its hours are reserved, and it was seen."""
    found = str(hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"])
    see_hours(desk, Desired(name, "model", found, {}, {}, MOST), Payer(UUID(int=1)))
    return found


def called(desk: Desk, hosting: Hosting, name: str) -> Decimal:
    """What a few requests to it cost, by what CloudWatch says they took."""
    for seconds in (0.1, 0.2):
        hosting.invoke(name, seconds=seconds)
    series, now = Series(name, "AllTraffic", "ModelLatency", "Sum", 60), datetime.now(UTC)
    read = datapoints(desk.client("cloudwatch"), [series], now - timedelta(hours=1), now + timedelta(minutes=1))
    seconds_ = Decimal(str(sum(value for _, value in read[series]))) / 10**6
    assert seconds_ > Decimal("0.3")
    return (GB_SECOND * MEMORY_GB * seconds_).quantize(Decimal("0.000001"))


def found(desk: Desk) -> list[tuple[str, str]]:
    return [(one.config, one.finding) for one in meter_endpoints(desk)]


def spent(desk: Desk) -> tuple[Decimal, Decimal]:
    standing = desk.ledger.standing(ACCOUNT)
    return standing.settled, standing.reserved


def gone(hosting: Hosting, name: str) -> None:
    hosting.sagemaker.delete_endpoint(EndpointName=name)
    hosting.sagemaker.get_waiter("endpoint_deleted").wait(
        EndpointName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600}
    )


def test_the_most_is_reserved_and_what_requests_took_is_billed_when_cloudwatch_has_shown_all_of_them(
    desk: Desk, hosting: Hosting, name: str, config: str, clock: Still
) -> None:
    cost = called(desk, hosting, name)
    assert spent(desk) == (0, 6 * MOST)
    clock.pass_(hours=6)
    assert found(desk) == [(config, "reserved")]
    clock.pass_(minutes=5)
    assert found(desk) == [(config, "settled")]
    assert spent(desk) == (cost, 6 * MOST)
    clock.pass_(hours=12)
    assert found(desk) == [(config, "settled")]
    assert spent(desk) == (cost, 6 * MOST)


def test_when_it_is_gone_its_last_requests_are_waited_for_and_billed(
    desk: Desk, hosting: Hosting, name: str, config: str, clock: Still
) -> None:
    cost = called(desk, hosting, name)
    gone(hosting, name)
    clock.moment = datetime.now(UTC) + timedelta(minutes=1)
    assert found(desk) == [(config, "waiting")]
    clock.pass_(minutes=6)
    assert found(desk) == [(config, "ended")]
    assert spent(desk) == (cost, 0)


def test_one_that_nobody_called_costs_nothing(
    desk: Desk, hosting: Hosting, name: str, config: str, clock: Still
) -> None:
    clock.pass_(hours=13)
    assert found(desk) == [(config, "settled")]
    gone(hosting, name)
    assert found(desk) == [(config, "ended")]
    assert spent(desk) == (0, 0)


def test_while_cloudwatch_cannot_be_asked_nothing_is_billed_and_later_all_is(
    desk: Desk, hosting: Hosting, name: str, config: str, clock: Still
) -> None:
    cost = called(desk, hosting, name)
    clock.pass_(hours=7)
    hosting.embedded.control("POST", "faults", {"operation": "GetMetricData", "error": "AccessDenied", "status": 403})
    try:
        assert found(desk) == [(config, "failed")]
    finally:
        hosting.embedded.control("DELETE", "faults")
    assert spent(desk) == (0, 6 * MOST)
    assert found(desk) == [(config, "settled")]
    assert spent(desk)[0] == cost
