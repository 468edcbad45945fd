"""For how long a job has had instances, and when that is more than its reservation pays for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from trainmaster.budget.approval import ENDING_SECONDS, Rate
from trainmaster.budget.charge import Reservation
from trainmaster.budget.money import shown

UNBILLED = frozenset(
    {"Starting", "Pending", "LaunchingMLInstances", "PreparingTrainingStack", "Interrupted", "Restarting"}
)
"""Secondary statuses of a job that has no instances, or has not got them yet."""
LATE_SECONDS = 30
"""SageMaker ends a job itself at its longest runtime, and where it does, its word for it is worth waiting for."""


def up_seconds(description: Mapping[str, Any], now: datetime) -> int:
    """Seconds with instances, over all restarts: never less than what AWS bills for an instance, spot or not."""
    transitions = description.get("SecondaryStatusTransitions", [])
    if not transitions:
        started = description.get("TrainingStartTime", now)
        return max(int((description.get("TrainingEndTime", now) - started).total_seconds()), 0)
    spans = [
        (one.get("EndTime", now) - one["StartTime"]).total_seconds()
        for one in transitions
        if one["Status"] not in UNBILLED
    ]
    return int(sum(max(span, 0.0) for span in spans))


def paid_seconds(description: Mapping[str, Any], reservation: Reservation) -> int:
    """For how long a job may have instances before it must begin to end; a warm pool is paid for as well."""
    hourly = reservation.charge.hourly
    if not hourly:  # nothing known of its price: nothing to be over
        return int(description["StoppingCondition"]["MaxRuntimeInSeconds"])
    pool = int(description.get("ResourceConfig", {}).get("KeepAlivePeriodInSeconds", 0))
    return Rate(hourly).seconds(reservation.charge.amount) - ENDING_SECONDS - pool


def overrun(description: Mapping[str, Any], reservation: Reservation, now: datetime) -> str:
    """Why a running job must stop so as to end within its reservation; "" while it need not.

    One that uploads is let be: what it trained is paid for, and its instances are done.
    """
    up, paid = up_seconds(description, now), paid_seconds(description, reservation)
    if up <= paid + LATE_SECONDS or description["SecondaryStatus"] == "Uploading":
        return ""
    cost = Rate(reservation.charge.hourly).cost(up)
    return (
        f"its instances have been up for {up} s, at most {shown(cost)}; the {shown(reservation.charge.amount)} reserved for it"
        f" pay for {paid} s and its ending"
    )
