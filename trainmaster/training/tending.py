"""Bringing a job's row and its reservation to what AWS says of it, and stopping it when it must stop: whoever looks, the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from trainmaster.aws.console import job_page
from trainmaster.budget.approval import ENDING_SECONDS, Rate, training_rate
from trainmaster.budget.charge import Charge, Reservation
from trainmaster.budget.ledger import Ledger
from trainmaster.catalog.deployments import Deployment, Stop
from trainmaster.storage.address import S3Address
from trainmaster.training.desk import Desk
from trainmaster.training.drift import Drift, drift, tag_drift
from trainmaster.training.following import FINISHED, state_of
from trainmaster.training.leftovers import leftovers
from trainmaster.training.outcome import bill_of, is_billed, unreported
from trainmaster.training.overdrawing import overdrawn_by
from trainmaster.training.request import TrainingRequest
from trainmaster.training.stopping import stop_training
from trainmaster.training.uptime import overrun

TRAINMASTER, APPLICATION = "Trainmaster", "the application"
"""Who stops a job that no person stops."""
ASK_SECONDS = 10.0
"""How long one look asks for a stop: it keeps others from being looked at, and the next look asks again."""


@dataclass(frozen=True)
class Known:
    """What we have of a job when we look at it. `overdrawn` says why a monthly budget wants it stopped, if one does."""

    deployment: Deployment | None
    reservation: Reservation | None
    overdrawn: str = ""


@dataclass(frozen=True)
class Action:
    """What is to be done about a job, or was done just now; by whom and why."""

    what: Literal["adopt", "settle", "stop"]
    why: str
    by: str = TRAINMASTER

    def __str__(self) -> str:
        return f"{self.what}: {self.why} (by {self.by})"


@dataclass(frozen=True)
class Tended:
    """A job after it was looked after: its row, and what is reserved or billed for it. `actions` are what was done just now,
    `drift` how the job differs from what was asked for."""

    deployment: Deployment | None
    reservation: Reservation | None
    actions: tuple[Action, ...] = ()
    drift: tuple[str, ...] = ()


def tend(desk: Desk, job_name: str, description: Mapping[str, Any], *, logs: str | None = None) -> Tended:
    """Settle a job that has ended, stop one that must not go on, and write into its row how it stands.

    Safe to repeat and to race. A stop is asked for again at each look until Describe shows it. `logs`, where they are known, are
    the last lines for its row. Raises botocore's errors and those of the ledger; the next look goes on from there.
    """
    reservation = desk.ledger.find(job_name)
    known = Known(desk.deployments.find(job_name), reservation, overdrawn_by(desk.ledger, reservation))
    return tend_known(desk, job_name, known, description, logs=logs)


def tend_known(
    desk: Desk, job_name: str, known: Known, description: Mapping[str, Any], *, logs: str | None = None
) -> Tended:
    """As `tend`, of a job whose row and reservation were read with those of others."""
    now = desk.ledger.now()
    differences = drift(description, known.deployment, known.reservation, desk.prices)
    actions = due(description, known, now, costly=next((one.what for one in differences if one.is_costly), ""))
    reservation = known.reservation
    if any(action.what == "adopt" for action in actions):
        reservation = desk.ledger.adopt(reservation.charge if reservation else charge_of(desk, known, description))
    if any(action.what == "settle" for action in actions):
        reservation = settle_training(desk.ledger, job_name, description)
        differences = [*differences, *(Drift(one) for one in [unreported(description)] if one)]
    stop = next((action for action in actions if action.what == "stop"), None)
    known = replace(known, reservation=reservation)
    deployment = _written(desk, known, description, stop=stop, now=now, logs=logs)
    if stop:  # after the row says so: whoever dies here, the next look stops it
        stop_training(desk.client("sagemaker"), job_name, ask_seconds=ASK_SECONDS)
    said = [one.what for one in differences]
    if known.deployment and known.deployment.status == "creating":  # tags cost a call, so they are looked at once
        said += tag_drift(desk.client("sagemaker"), description)
    return Tended(deployment, reservation, tuple(actions), tuple(said))


def due(description: Mapping[str, Any], known: Known, now: datetime, *, costly: str = "") -> list[Action]:
    """Pure: what there is to be done. `costly` is how the job may cost more than was approved."""
    actions: list[Action] = []
    ended = description["TrainingJobStatus"] in FINISHED
    if known.reservation is None and known.deployment:
        actions.append(Action("adopt", "nothing was reserved for it"))
    elif known.reservation and known.reservation.state == "released" and not ended:
        actions.append(Action("adopt", "it runs although its reservation was released"))
    if ended and (known.reservation or known.deployment):
        if is_billed(description, now) and (known.reservation is None or known.reservation.bill is None):
            actions.append(Action("settle", f"it ended {description['TrainingJobStatus']}"))
    elif description["TrainingJobStatus"] == "InProgress" and (
        stop := _reason_to_stop(description, known, now, costly)
    ):
        actions.append(stop)
    return actions


def _reason_to_stop(description: Mapping[str, Any], known: Known, now: datetime, costly: str) -> Action | None:
    row = known.deployment
    stop = row.job.stop if row else None
    # What only uploads its model any more is stopped where somebody wants it: it saves nothing, and may lose the model.
    uploading = description["SecondaryStatus"] == "Uploading"
    if stop and not (uploading and stop.by == TRAINMASTER):
        return Action("stop", stop.why, stop.by)
    if row and row.stop_asked and (stop is None or row.status == "cancelled"):
        return Action("stop", f"its deployment was set to {row.status}", APPLICATION)
    if uploading:
        return None
    spent = overrun(description, known.reservation, now) if known.reservation else ""
    why = spent or known.overdrawn or (f"it may cost more than was approved: {costly}" if costly else "")
    return Action("stop", why) if why else None


def settle_training(ledger: Ledger, job_name: str, description: Mapping[str, Any]) -> Reservation:
    """Book what AWS bills for a finished job, at the rate it was reserved at: whoever does it, the bill is the same.

    Raises UnknownChoiceError for a job nothing was ever reserved for.
    """
    reservation = ledger.find(job_name)
    rate = Rate(reservation.charge.hourly if reservation else Decimal(0))
    return ledger.settle(job_name, bill_of(description, rate))


def charge_of(desk: Desk, known: Known, description: Mapping[str, Any]) -> Charge:
    """What a job costs at worst that nothing was reserved for. Raises UnknownPriceError."""
    assert known.deployment is not None  # noqa: S101 - others' jobs are not paid for
    resources, request = description["ResourceConfig"], TrainingRequest.model_validate(known.deployment.job.request)
    rate = training_rate(
        desk.prices,
        resources["InstanceType"],
        resources["InstanceCount"],
        resources["VolumeSizeInGB"],
        description["TrainingJobArn"].split(":")[3],
    )
    pool = resources.get("KeepAlivePeriodInSeconds", 0)
    worst = rate.cost(description["StoppingCondition"]["MaxRuntimeInSeconds"] + ENDING_SECONDS + pool)
    name = description["TrainingJobName"]
    return Charge(name, worst, rate.hourly, description["TrainingJobArn"], request.payer)


def console_url(job_arn: str) -> str:
    """Of a job's page in the AWS console."""
    return job_page(job_arn)


def _written(
    desk: Desk, known: Known, description: Mapping[str, Any], *, stop: Action | None, now: datetime, logs: str | None
) -> Deployment | None:
    """The row as it is now; written only where it says something else, for most looks bring nothing new."""
    deployment, reservation = known.deployment, known.reservation
    if deployment is None or (deployment.has_ended and not deployment.job.given_up):
        return deployment
    ended = description["TrainingJobStatus"] in FINISHED
    row: dict[str, Any] = {
        "status": "stopping" if stop else state_of(description["TrainingJobStatus"], description["SecondaryStatus"]),
        "url": console_url(description["TrainingJobArn"]),
        "started_at": description.get("TrainingStartTime"),
    }
    if deployment.status == "cancelled":  # by the application, which means to find it so
        row["status"] = "cancelled"
    if ended:
        row |= {
            # Left open while its warm pool costs money: a row that has ended is looked at no more.
            "completed_at": description.get("TrainingEndTime", description["LastModifiedTime"])
            if is_billed(description, now)
            else None,
            "actual_cost": reservation.bill if reservation else None,
            "error_message": why_ended(description, deployment.job.stop),
            "metrics": metrics_of(description),
            "checkpoint_urls": checkpoints_of(desk, description),
        }
    if logs is not None:
        row["logs"] = logs
    changes = {name: value for name, value in row.items() if getattr(deployment, name) != value}
    if stop and deployment.job.stop is None:
        changes["stop"] = Stop(stop.by, stop.why, now)
    if deployment.job.given_up:
        changes |= {
            "given_up": False,
            "completed_at": row.get("completed_at"),
            "error_message": row.get("error_message"),
        }
    return desk.deployments.change(deployment.id, **changes) if changes else deployment


def why_ended(description: Mapping[str, Any], stop: Stop | None) -> str | None:
    """For people; None of a job that completed."""
    if description["TrainingJobStatus"] == "Completed":
        return None
    if reason := description.get("FailureReason"):
        return str(reason)
    limits = description.get("StoppingCondition", {})
    match description["SecondaryStatus"]:
        case "MaxRuntimeExceeded":
            return f"SageMaker stopped it after its longest runtime, {limits.get('MaxRuntimeInSeconds')} s."
        case "MaxWaitTimeExceeded":
            return f"No spot instances became free within its longest wait, {limits.get('MaxWaitTimeInSeconds')} s."
        case _:
            return f"Stopped by {stop.by}: {stop.why}." if stop else "Stopped; AWS does not say by whom."


def metrics_of(description: Mapping[str, Any]) -> dict[str, float] | None:
    """The last value of each metric, where the job had any; NaN is none, and no JSON either."""
    found = {one["MetricName"]: one["Value"] for one in description.get("FinalMetricDataList") or []}
    return {name: value for name, value in found.items() if math.isfinite(value)} or None


def checkpoints_of(desk: Desk, description: Mapping[str, Any]) -> tuple[str, ...]:
    """Addresses of the newest checkpoints the job left, as far as S3 tells."""
    left = leftovers(desk.client("s3"), description).checkpoints
    return tuple(f"s3://{S3Address.parse(left.uri).bucket}/{key}" for key, _size in left.newest)
