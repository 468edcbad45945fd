"""Bringing a job's row and its reservation to what AWS says of it, and stopping it when it must stop: whoever looks, the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trainmaster.budget.approval import Rate
from trainmaster.budget.charge import Reservation
from trainmaster.budget.ledger import Ledger
from trainmaster.catalog.deployments import Deployment
from trainmaster.training.desk import Desk
from trainmaster.training.following import FINISHED
from trainmaster.training.outcome import bill_of

STATUSES = {"Completed": "completed", "Failed": "failed", "Stopped": "stopped", "Stopping": "stopping"}
"""Of a row, by TrainingJobStatus; of a job that is InProgress `training` or `starting`."""


@dataclass(frozen=True)
class Tended:
    """A job after it was looked after: its row, and what is reserved or billed for it. `actions` are what was done just now."""

    deployment: Deployment | None
    reservation: Reservation | None
    actions: tuple[str, ...] = ()


def tend(desk: Desk, job_name: str, description: Mapping[str, Any]) -> Tended:
    """Safe to repeat and to race: settles a job that has ended, and writes into its row how it stands."""
    deployment = desk.deployments.find(job_name)
    ended = description["TrainingJobStatus"] in FINISHED
    reservation = settle_training(desk.ledger, job_name, description) if ended else desk.ledger.find(job_name)
    if deployment:
        deployment = desk.deployments.change(
            deployment.id,
            status=status_of_row(description),
            started_at=description.get("TrainingStartTime"),
            completed_at=description.get("TrainingEndTime", description["LastModifiedTime"]) if ended else None,
            actual_cost=reservation.bill if reservation else None,
            error_message=description.get("FailureReason"),
            given_up=False,
        )
    return Tended(deployment, reservation)


def status_of_row(description: Mapping[str, Any]) -> str:
    """What the application's table calls the state of a job."""
    training = "training" if description["SecondaryStatus"] in ("Training", "Uploading") else "starting"
    return STATUSES.get(description["TrainingJobStatus"], training)


def settle_training(ledger: Ledger, job_name: str, description: Mapping[str, Any]) -> Reservation:
    """Book what AWS bills for a finished job, at the rate it was reserved at: whoever does it, the bill is the same.

    Raises UnknownChoiceError for a job nothing was ever reserved for.
    """
    reservation = ledger.find(job_name)
    rate = Rate(reservation.charge.hourly if reservation else Decimal(0))
    return ledger.settle(job_name, bill_of(description, rate))
