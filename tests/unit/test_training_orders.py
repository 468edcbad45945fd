"""An order goes on to other machines when a job that lacked its own has ended, and not while it may be billed still."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from trainmaster.catalog.deployments import Deployment, Job, Stop
from trainmaster.training.attempts import FALLBACK
from trainmaster.training.ordering import _lacked
from trainmaster.training.seen import Seen

NOW = datetime(2026, 11, 16, tzinfo=UTC)


def row(status: str, **given: Any) -> Deployment:
    job = Job(stop=Stop(FALLBACK, "no capacity", NOW))
    return Deployment(uuid4(), uuid4(), "cats-1", status, NOW, job=job, **given)


def test_a_job_that_another_takes_the_place_of_makes_way_once_it_has_ended() -> None:
    assert _lacked(Seen(row("stopped", completed_at=NOW))) == "no capacity"
    assert _lacked(Seen(row("training"))) == ""
    assert _lacked(Seen(row("stopped"), problem="AWS does not answer")) == ""
