"""How a training job ended and what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict

from trainmaster.aws.console import job_page
from trainmaster.budget.approval import Approval, Rate
from trainmaster.budget.money import rounded, shown
from trainmaster.catalog.deployments import Stop
from trainmaster.errors import TrainingFailedError
from trainmaster.training.causes import cause_of
from trainmaster.training.following import interruptions_of, seconds_of
from trainmaster.training.leftovers import Leftovers
from trainmaster.training.secrets import hidden
from trainmaster.training.stopping import ENDED
from trainmaster.training.uptime import up_seconds

LOG_TAIL = 15
"""Lines of its log an error shows; more are looked at for what it was."""
REPORTED_WITHIN = timedelta(hours=1)
"""How long after a job's end AWS may say for how many seconds it is billed."""


class TrainingOutcome(BaseModel):
    """A completed job: where its model is, how good it is, what was approved, billed and saved (US dollars)."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    job_name: str
    job_arn: str
    console_url: str
    model_uri: str
    output_uri: str
    metrics: dict[str, float]
    training_seconds: int
    billable_seconds: int
    worst_case: Decimal
    approved: Decimal
    bill: Decimal
    savings_percent: int
    """By AWS's formula: (1 - BillableTimeInSeconds / TrainingTimeInSeconds) * 100."""
    found: bool
    """True when the job had been launched before and was only followed."""
    saved: Decimal = Decimal(0)
    """What spot instances saved."""
    interruptions: int = 0
    left: Leftovers = Leftovers()
    """Its checkpoints and artifacts, where they were listed."""

    def sentence(self) -> str:
        again = ", launched earlier and only followed now" if self.found else ""
        return (
            f"Training job {self.job_name} completed for {shown(self.bill)} (at worst {shown(self.worst_case)}){again}."
        )


def output_uri(model_uri: str) -> str:
    """Where a job's output is that lies beside its model."""
    return model_uri.removesuffix("model.tar.gz") + "output.tar.gz"


def is_billed(description: Mapping[str, Any], now: datetime) -> bool:
    """Whether what AWS bills for a job is final: it has ended, the instances it kept for the next job are given back or are that
    one's, and AWS said for how many seconds, or did not for an hour."""
    pool = description.get("WarmPoolStatus", {}).get("Status", "Terminated")
    if description["TrainingJobStatus"] not in ENDED or pool not in ("Terminated", "Reused"):
        return False
    return not unreported(description) or now - _end_of(description) >= REPORTED_WITHIN


def bill_of(description: Mapping[str, Any], rate: Rate) -> Decimal:
    """What AWS bills for a finished job, to the millionth of a dollar: its billable seconds at the on-demand rate, and those of
    its warm pool. Of one that is not `is_billed` yet, so far; and where AWS says no seconds, all between its start and its end.
    """
    kept = int(description.get("WarmPoolStatus", {}).get("ResourceRetainedBillableTimeInSeconds", 0))
    return rounded(rate.cost(_billable_seconds(description) + kept))


def unreported(description: Mapping[str, Any]) -> str:
    """What is booked of a job that trained, and of which AWS says no seconds; "" where it says them, also when they are none."""
    if "TrainingStartTime" not in description or _reported_seconds(description) is not None:
        return ""
    booked = _billable_seconds(description)
    return f"AWS reports no seconds it bills; {booked} s are booked, those between its start and its end"


def _billable_seconds(description: Mapping[str, Any]) -> int:
    reported = _reported_seconds(description)
    if reported is not None:
        return reported
    if "TrainingStartTime" not in description:
        return 0
    end = _end_of(description)
    between: timedelta = end - description["TrainingStartTime"]
    # AWS bills from start to end, less what spot instances were away: with both this is never less than the bill.
    return max(math.ceil(between.total_seconds()), up_seconds(description, end), 0)


def _reported_seconds(description: Mapping[str, Any]) -> int | None:
    for member in ("BillableTimeInSeconds", "TrainingTimeInSeconds"):
        if (seconds := seconds_of(description, member, -1)) >= 0:
            return seconds
    return None


def _end_of(description: Mapping[str, Any]) -> datetime:
    end: datetime = description.get("TrainingEndTime", description["LastModifiedTime"])
    return end


def savings_of(description: Mapping[str, Any]) -> int:
    """The percentage that spot instances saved; 0 of a job without a training time, which no formula divides by."""
    training, billable = seconds_of(description, "TrainingTimeInSeconds"), _billable_seconds(description)
    return round((1 - billable / training) * 100) if 0 <= billable < training else 0


def outcome_of(
    description: Mapping[str, Any],
    approval: Approval,
    *,
    found: bool,
    log_tail: list[str],
    stop: Stop | None = None,
    left: Leftovers | None = None,
) -> TrainingOutcome:
    """The outcome of a finished job; raises TrainingFailedError, with no secret of its log, when it did not complete.

    `log_tail` are its last lines, 200 are enough to tell what it was; `stop` is its row's, `left` what it left in S3.
    """
    name, status = description["TrainingJobName"], description["TrainingJobStatus"]
    left = left or Leftovers()
    training = seconds_of(description, "TrainingTimeInSeconds")
    billable, bill = _billable_seconds(description), bill_of(description, approval.rate)
    if status != "Completed":
        limits = {"StoppingCondition": {"MaxRuntimeInSeconds": approval.max_runtime_seconds}}
        cause = cause_of({**limits, **description}, log_tail, stop=stop, is_cut=approval.is_cut)
        reason = hidden(str(description.get("FailureReason") or (cause.why if cause else "")))
        last_lines = hidden("\n".join(log_tail)).splitlines()[-LOG_TAIL:]
        raise TrainingFailedError(
            name, status, reason, bill, last_lines, found=found, cause=cause, left=left.sentence()
        )
    model_uri = str((description.get("ModelArtifacts") or {}).get("S3ModelArtifacts", ""))
    return TrainingOutcome(
        job_name=name,
        job_arn=description["TrainingJobArn"],
        console_url=job_page(description["TrainingJobArn"]),
        model_uri=model_uri,
        output_uri=output_uri(model_uri),
        metrics=_metrics(description),
        training_seconds=training,
        billable_seconds=billable,
        worst_case=rounded(approval.worst_case),
        approved=approval.approved,
        bill=bill,
        savings_percent=savings_of(description),
        found=found,
        saved=rounded(approval.rate.cost(max(training - billable, 0))),
        interruptions=interruptions_of(description),
        left=left,
    )


def _metrics(description: Mapping[str, Any]) -> dict[str, float]:
    known = {one["MetricName"]: one["Value"] for one in description.get("FinalMetricDataList") or []}
    return {name: value for name, value in known.items() if math.isfinite(value)}
