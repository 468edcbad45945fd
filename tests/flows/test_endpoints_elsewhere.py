"""Hours of endpoints in many regions: one that fails keeps no other from being counted, and somebody is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from flows.check_drift import check_drift
from flows.reconcile import reconcile
from flows.stop_idle import stop_idle
from trainmaster.budget.budgets import Payer
from trainmaster.budget.ledger import Ledger, open_ledger
from trainmaster.budget.metering import Metered, Meters
from trainmaster.endpoints.watch.drift import CheckDriftRequest
from trainmaster.endpoints.watch.watching import StopIdleRequest
from trainmaster.errors import JobsLeftError
from trainmaster.settings import Settings
from trainmaster.training.reconciling import ReconcileRequest

NOBODYS = "a region of nobody's"


@pytest.fixture
def ledger(stack: Any) -> Iterator[Ledger]:
    """The flows' own."""
    settings = Settings()
    with open_ledger(settings.database_url, settings.state_dir) as opened:
        yield opened


@pytest.fixture
def metered(ledger: Ledger, stack: Any) -> Iterator[str]:
    """The name of an endpoint that AWS does not know, and hours are counted for here and in a region that AWS refuses."""
    account = stack.environment["TRAINMASTER_EXECUTION_ROLE_ARN"].split(":")[4]
    name, meters = f"elsewhere-{uuid4().hex[:8]}", Meters(ledger)
    begun = [
        meters.start(
            Metered(f"arn:aws:sagemaker:{region}:{account}:endpoint/{name}", Decimal("0.1"), "c", Payer(uuid4()))
        )
        for region in (NOBODYS, Settings().region)
    ]
    meters.look(begun[1])
    yield name
    for meter in begun:
        meters.end(meter)


def test_a_region_that_is_refused_keeps_no_other_from_being_counted_and_the_run_fails(
    ledger: Ledger, metered: str
) -> None:
    with pytest.raises(JobsLeftError, match=rf"endpoint {metered} \(c\): .*{NOBODYS}"):
        reconcile(ReconcileRequest())
    [left] = [one for one in Meters(ledger).running() if one.resource.endswith(metered)]
    assert NOBODYS in left.resource


def test_a_region_that_is_refused_keeps_no_other_from_being_checked_for_drift_and_the_run_fails(metered: str) -> None:
    with pytest.raises(JobsLeftError, match=rf"(?s)endpoints in {NOBODYS}: .*"):
        check_drift(CheckDriftRequest())


def test_a_region_that_is_refused_keeps_no_other_from_being_watched_and_the_run_fails(metered: str) -> None:
    with pytest.raises(
        JobsLeftError, match=rf"1 of the endpoints and workspaces could not .*\n.*Endpoint all in {NOBODYS} could not"
    ):
        stop_idle(StopIdleRequest())
