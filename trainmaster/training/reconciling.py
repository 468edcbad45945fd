"""Bringing the ledger to what AWS says, for launches and followers that died before they could."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, Field

from trainmaster.aws.failures import is_missing
from trainmaster.budget.charge import Reservation
from trainmaster.budget.ledger import Ledger
from trainmaster.budget.money import shown
from trainmaster.training.desk import Desk
from trainmaster.training.following import FINISHED
from trainmaster.training.tending import tend

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

Finding = Literal["running", "settled", "released", "waiting", "adopted", "elsewhere"]
"""Waiting: AWS knows no such job, but its launch is too recent to be given up. Elsewhere: of another account or region."""

CHANGES = {"settled", "released", "adopted"}


@dataclass(frozen=True)
class Reconciled:
    """What was found of one reservation, and how it stands now."""

    finding: Finding
    reservation: Reservation


class ReconcileRequest(BaseModel):
    """How patient to be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release_after_minutes: Annotated[
        int,
        Field(
            title="Release after (minutes)",
            description="When a reservation is given up whose job AWS does not know. A launch takes ten at the very most.",
            ge=15,
            le=7 * 24 * 60,
        ),
    ] = 30


class Reconciliation(BaseModel):
    """What was found of how many reservations, and those that were changed."""

    counts: dict[Finding, int] = Field(default_factory=dict)
    changed: list[dict[str, str]] = Field(default_factory=list)

    def add(self, found: Reconciled) -> None:
        self.counts[found.finding] = self.counts.get(found.finding, 0) + 1
        if found.finding in CHANGES:
            booked = found.reservation
            row = {"job": booked.key, "what": found.finding, "reserved": shown(booked.charge.amount)}
            self.changed.append({**row, "billed": "" if booked.bill is None else shown(booked.bill)})

    def sentence(self) -> str:
        said = ", ".join(f"{count} {finding}" for finding, count in sorted(self.counts.items()))
        return f"Reservations: {said or 'none is open'}."

    def table(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self.changed]


def reconcile(desk: Desk, *, release_after: timedelta) -> Iterator[Reconciled]:
    """Settle what has ended, release what was never launched, book anew what runs although it was released.

    One Describe for each open reservation, and for those released lately. Any number of these may run at once.
    """
    sagemaker, ledger = desk.client("sagemaker"), desk.ledger
    of_account, region, now = desk.account, desk.settings.region, ledger.now()
    for reservation in ledger.open_reservations():
        if not _is_at(reservation, of_account, region):
            yield Reconciled("elsewhere", reservation)
        elif (description := _describe(sagemaker, reservation.key)) is None:
            yield _unlaunched(ledger, reservation, now - release_after)
        elif description["TrainingJobStatus"] in FINISHED:
            tended = tend(desk, reservation.key, description)
            yield Reconciled("settled", tended.reservation or reservation)
        else:
            yield Reconciled("running", reservation)
    for reservation in ledger.released_since(now - 2 * release_after):
        # A launch that was asleep when it was given up; in the next round it is settled like any other.
        if _is_at(reservation, of_account, region) and _describe(sagemaker, reservation.key):
            yield Reconciled("adopted", ledger.adopt(reservation.charge))


def _unlaunched(ledger: Ledger, reservation: Reservation, given_up_before: datetime) -> Reconciled:
    if reservation.reserved_at > given_up_before:
        return Reconciled("waiting", reservation)
    ledger.release(reservation.key, reservation.position)
    return Reconciled("released", ledger.find(reservation.key) or reservation)


def _describe(sagemaker: SageMakerClient, job_name: str) -> Mapping[str, Any] | None:
    try:
        return sagemaker.describe_training_job(TrainingJobName=job_name)
    except ClientError as error:
        if is_missing(error):
            return None
        raise


def _is_at(reservation: Reservation, account: str, region: str) -> bool:
    """Another account does not know the job, which does not mean that there is none."""
    _, _, _, its_region, its_account, _ = reservation.charge.resource.split(":", 5)
    return (its_region, its_account) == (region, account)
