"""One job as it stands now: its row, its money, what AWS says, why it ended and what it left; and stopping it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from trainmaster.aws.polling import Patience
from trainmaster.budget.approval import Rate
from trainmaster.budget.charge import Reservation
from trainmaster.catalog.deployments import Deployment
from trainmaster.training.causes import Cause, cause_of
from trainmaster.training.desk import Desk
from trainmaster.training.following import FINISHED, STOP_SECONDS, Cadence, interruptions_of, next_step
from trainmaster.training.leftovers import Leftovers, leftovers
from trainmaster.training.looking import describe
from trainmaster.training.progress import Course, Progress
from trainmaster.training.stopping import await_stopped
from trainmaster.training.tending import tend


@dataclass(frozen=True)
class Seen:
    """`description` is None where AWS knows no such job or cannot be asked, and then `problem` says why."""

    deployment: Deployment
    reservation: Reservation | None = None
    description: Mapping[str, Any] | None = None
    left: Leftovers = field(default_factory=Leftovers)
    problem: str = ""

    @property
    def has_ended(self) -> bool:
        return self.deployment.has_ended

    @property
    def is_billed(self) -> bool:
        """Whether the cost is AWS's last word."""
        return self.deployment.actual_cost is not None or bool(self.reservation and self.reservation.bill is not None)

    @property
    def cost(self) -> Decimal | None:
        """The bill, or what the job costs at most so far, in US dollars; None where nobody knows."""
        booked = self.reservation
        if booked is None or booked.bill is not None:
            return booked.bill if booked else self.deployment.actual_cost
        if self.description is None:
            return None
        any_cadence, rate = Cadence(30, 900), Rate(booked.charge.hourly)
        return next_step(self.description, datetime.now(UTC), any_cadence, rate).cost

    @property
    def interruptions(self) -> int:
        """How often its spot instances were taken away, as far as AWS was asked."""
        return interruptions_of(self.description) if self.description else 0

    @property
    def progress(self) -> Progress:
        return Course.of_json(self.deployment.job.progress).now

    @property
    def cause(self) -> Cause | None:
        """Why it did not complete, likely; None of a job that did, or goes on, or that AWS says nothing of."""
        if self.description is None:
            return None
        row, limits = self.deployment, self.description.get("StoppingCondition") or {}
        asked = row.job.request.get("max_runtime_seconds", 0)
        is_cut = limits.get("MaxRuntimeInSeconds", asked) < asked
        return cause_of(self.description, (row.logs or "").splitlines(), stop=row.job.stop, is_cut=is_cut)


def see(desk: Desk, deployment: Deployment, *, with_left: bool = True) -> Seen:
    """The job as AWS has it now, its row and the books brought to that; as they were when AWS cannot be asked. What it left in S3 is
    listed unless nobody wants to know."""
    name = deployment.deployment_id
    try:
        description = describe(desk.client("sagemaker"), name)
        if description is not None:
            return seen_at(desk, deployment, description, with_left=with_left)
    except (ClientError, BotoCoreError) as error:
        return Seen(deployment, desk.ledger.find(name), problem=str(error))
    return Seen(desk.deployments.find(name) or deployment, desk.ledger.find(name))


def seen_at(desk: Desk, deployment: Deployment, description: Mapping[str, Any], *, with_left: bool = True) -> Seen:
    """The job as a description has it, its row and the books brought to that."""
    tended = tend(desk, deployment.deployment_id, description)
    has_left = with_left and description["TrainingJobStatus"] in FINISHED
    left = leftovers(desk.client("s3"), description) if has_left else Leftovers()
    return Seen(tended.deployment or deployment, tended.reservation, description, left)


def stop_job(desk: Desk, deployment: Deployment, *, by: str, why: str, patience: Patience | None = None) -> Seen:
    """The job once AWS says that it has ended, however it did. Safe to repeat.

    The wish is kept before AWS is told: whatever becomes of the caller, the sweeps stop the job, or it is never launched. Raises
    WaitTimedOutError when it has not ended in time, and botocore's errors when AWS cannot be asked.
    """
    name = deployment.deployment_id
    seen = see(desk, deployment)
    if seen.has_ended:
        return seen
    deployment = desk.deployments.ask_stop(deployment.id, by=by, why=why)
    description = describe(desk.client("sagemaker"), name)
    if description is None:
        return Seen(desk.deployments.find(name) or deployment, desk.ledger.find(name))
    seen = seen_at(desk, deployment, description)
    if seen.has_ended:
        return seen
    settings = desk.settings
    patience = patience or Patience(settings.poll_seconds, settings.outage_seconds, STOP_SECONDS)
    return seen_at(desk, deployment, await_stopped(desk.client, name, patience))
