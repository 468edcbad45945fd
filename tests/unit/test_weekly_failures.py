"""Failures of a week are counted by what they likely were; what a person stopped has not failed."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from trainmaster.catalog.deployments import Deployment, Job, Stop
from trainmaster.reporting.failures import cause_of_row, failed_jobs, jobs_that_were
from trainmaster.training.attempts import FALLBACK
from trainmaster.training.causes import TRAINMASTER

NOW = datetime(2026, 11, 16, tzinfo=UTC)


def row(status: str = "failed", error: str | None = None, stopped_by: str = "", **changed: Any) -> Deployment:
    stop = Stop(stopped_by, "it was time", NOW) if stopped_by else None
    given = {"completed_at": NOW, "error_message": error, "job": Job(stop=stop), **changed}
    return Deployment(uuid4(), uuid4(), "cats-1", status, NOW, **given)


@pytest.mark.parametrize(
    ("ended", "kind"),
    [
        (row("completed"), None),
        (row("stopped", "Stopped by user 7: enough.", stopped_by="user 7"), None),
        (row("running", completed_at=None), None),
        (row(error="AlgorithmError: ExecuteUserScriptError: exit code: 137"), "memory"),
        (row(error="AlgorithmError: , exit code: 1", logs="loss 1\nValueError: no"), "code"),
        (row(error="ResourceLimitExceeded: 0 instances"), "quota"),
        (row("stopped", "Stopped by Trainmaster: spent.", stopped_by=TRAINMASTER), "budget"),
        (row("stopped", "Stopped by fallback: none free.", stopped_by=FALLBACK), "capacity"),
        (row("stopped", "SageMaker stopped it after its longest runtime, 60 s."), "runtime"),
        (row("stopped", "No spot instances became free within its longest wait, 60 s."), "capacity"),
        (row(error=None), "unknown"),
    ],
    ids=[
        "completed", "stopped by a person", "running", "killed", "of its program", "quota", "out of money", "fell back",
        "too long", "no spot", "for no reason",
    ],
)  # fmt: skip
def test_a_row_tells_what_its_job_likely_failed_of(ended: Deployment, kind: str | None) -> None:
    cause = cause_of_row(ended)
    assert (cause.kind if cause else None) == kind


def test_a_job_that_was_refused_or_never_launched_is_none_that_failed_or_ended() -> None:
    refused = row(error="Training cats-1 would cost $2.92; $1.00 is left.", job=Job(given_up=True))
    ran = row("completed")
    assert failed_jobs([refused, ran]) == []
    assert jobs_that_were([refused, ran]) == [ran]


def test_they_are_counted_by_kind_with_their_bills_the_most_frequent_first() -> None:
    memory = [row(error="CUDA out of memory", actual_cost=Decimal(cost)) for cost in ("1.10", "0.000001")]
    quota = row(error="ResourceLimitExceeded: 0")
    found = failed_jobs([quota, *memory, row("completed")])
    assert [(one.kind, one.count, one.billed) for one in found] == [
        ("memory", 2, Decimal("1.100001")),
        ("quota", 1, Decimal(0)),
    ]
    assert all(one.advice for one in found)
