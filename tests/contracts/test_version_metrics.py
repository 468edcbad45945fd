"""How each version of an endpoint did, by what CloudWatch counted while it alone served and by what its hours cost."""

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
from botocore.exceptions import ClientError
from desks import desk_at
from hosting import Hosting

from trainmaster.budget.budgets import Payer
from trainmaster.budget.ledger import Ledger
from trainmaster.budget.metering import Metered, Meters
from trainmaster.budget.stays import Stay, stays_of
from trainmaster.endpoints.metering import endpoint_arn, meter_endpoint, see_hours
from trainmaster.endpoints.plan import Desired
from trainmaster.endpoints.watch.metrics import alone, version_metrics
from trainmaster.training.desk import Desk

HOURLY = Decimal("0.115")
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> Still:
    """From a while ago, so that what is called now is called while it serves."""
    return Still(datetime.now(UTC) - timedelta(hours=2))


@pytest.fixture
def desk(embedded: Any, tmp_path: Path, clock: Still) -> Iterator[Desk]:
    with desk_at(tmp_path, embedded.environment) as opened:
        yield replace(opened, ledger=Ledger(opened.catalogue.database, clock))


@pytest.fixture
def hosting(embedded: Any) -> Iterator[Hosting]:
    made = Hosting(embedded)
    yield made
    made.remove()


def config_of(hosting: Hosting, name: str) -> str:
    return str(hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"])


def seen(desk: Desk, name: str, config: str) -> None:
    see_hours(desk, Desired(name, "model", config, {}, {}, HOURLY), Payer(UUID(int=1)))


def test_calls_latencies_errors_and_the_cost_of_a_thousand(desk: Desk, hosting: Hosting, clock: Still) -> None:
    name = hosting.serve()
    config = config_of(hosting, name)
    seen(desk, name, config)
    for seconds in (0.0, 0.0, 0.05):
        hosting.invoke(name, seconds=seconds)
    with pytest.raises(ClientError):
        hosting.invoke(name, refuse=True)
    clock.pass_(hours=3)
    [version] = version_metrics(desk, name)
    [variant] = version.variants
    assert (version.config, variant.variant, variant.invocations) == (config, "AllTraffic", 4)
    assert (variant.errors, variant.client_errors, variant.server_errors, variant.error_percent) == (1, 1, 0, 25.0)
    half, most = variant.milliseconds["p50"], variant.milliseconds["p99"]
    assert half
    assert most
    assert 0 < half <= most
    assert most >= 49
    assert version.cost == 3 * HOURLY
    assert version.cost_per_1000 == 3 * HOURLY * 1000 / 4
    [row] = version.rows()
    assert (row["invocations"], row["errors"], row["per 1,000"]) == ("4", "25.00 %", "$86.25")


def test_each_version_has_the_calls_of_when_it_alone_served(desk: Desk, hosting: Hosting, clock: Still) -> None:
    name = hosting.serve()
    old = config_of(hosting, name)
    seen(desk, name, old)
    clock.pass_(hours=1)
    new = hosting.config(hosting.variant(hosting.model("v2")))
    seen(desk, name, new)
    hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=new)
    assert hosting.settled(name)["EndpointConfigName"] == new
    clock.pass_(minutes=30)
    meter_endpoint(desk, name)
    hosting.invoke(name)
    clock.pass_(hours=1)
    newer, older = version_metrics(desk, name)
    assert ((newer.config, newer.invocations), (older.config, older.invocations)) == ((new, 1), (old, 0))
    assert (older.cost, newer.cost) == (HOURLY, HOURLY)  # and half an hour of each while both were there
    assert (older.ends - older.begins, newer.ends - newer.begins) == (timedelta(hours=1), timedelta(hours=1))
    assert older.cost_per_1000 is None
    assert [stay.cost for stay in stays_of(desk.ledger, endpoint_arn(desk, name))] == [
        HOURLY * Decimal("1.5"),
        HOURLY * Decimal("1.5"),
    ]


def test_a_version_that_came_back_has_all_its_calls(desk: Desk, hosting: Hosting, clock: Still) -> None:
    """Of two stays that are read by periods of different lengths."""
    name = hosting.serve()
    config = config_of(hosting, name)
    began = clock.moment
    clock.moment = began - timedelta(hours=30)
    meter = Meters(desk.ledger).start(Metered(endpoint_arn(desk, name), HOURLY, config))
    Meters(desk.ledger).look(meter)
    clock.pass_(hours=20)
    Meters(desk.ledger).end(meter)
    clock.moment = began
    seen(desk, name, config)
    hosting.invoke(name)
    clock.pass_(hours=2.5)
    [version] = version_metrics(desk, name, timedelta(hours=40))
    assert (version.invocations, version.cost) == (1, HOURLY * Decimal("22.5"))


def test_one_nobody_knows_has_none(desk: Desk) -> None:
    assert version_metrics(desk, "never-there") == []


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


@pytest.mark.parametrize(
    ("stays", "spans"),
    [
        ([("a", 0, None)], [("a", 0, 10)]),
        ([("a", -5, 4), ("b", 4, None)], [("a", 0, 4), ("b", 4, 10)]),
        ([("a", 0, 5), ("b", 4, None)], [("a", 0, 4), ("b", 5, 10)]),
        ([("a", 0, None), ("failed", 4, 5)], [("a", 0, 4), ("a", 5, 10)]),
        ([("a", -5, -1)], []),
        ([("a", 1, 2), ("a", 3, 4)], [("a", 1, 2), ("a", 3, 4)]),
    ],
    ids=["one", "one-after-the-other", "overlapping", "a-failed-update", "long-gone", "back-again"],
)
def test_only_the_time_in_which_one_alone_was_there_counts(
    stays: list[tuple[str, float, float | None]], spans: list[tuple[str, float, float]]
) -> None:
    given = [Stay(part, at(begins), at(ends) if ends is not None else None, Decimal(0)) for part, begins, ends in stays]
    found = [(stay.part, begins, ends) for stay, (begins, ends) in alone(given, at(0), at(10))]
    assert found == [(part, at(begins), at(ends)) for part, begins, ends in spans]
