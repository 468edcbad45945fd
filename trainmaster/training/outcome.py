"""How a training job ended and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict

from trainmaster.budget.approval import Approval, Rate
from trainmaster.budget.money import rounded, shown
from trainmaster.errors import TrainingFailedError
from trainmaster.training.stopping import ENDED

LOG_TAIL = 15


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
    found: bool
    """True when the job had been launched before and was only followed."""

    def sentence(self) -> str:
        again = ", launched earlier and only followed now" if self.found else ""
        return (
            f"Training job {self.job_name} completed for {shown(self.bill)} (at worst {shown(self.worst_case)}){again}."
        )

    def table(self) -> list[dict[str, Any]]:
        rows = {name: f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}" for name, value in self.metrics.items()}
        rows |= {
            "bill": shown(self.bill),
            "worst case": f"{shown(self.worst_case)} of {shown(self.approved)} approved",
            "billable time": f"{self.billable_seconds} s of {self.training_seconds} s ({self.savings_percent} % saved by spot)",
            "model": self.model_uri,
        }
        return [{"what": what, "value": value} for what, value in rows.items()]


def is_billed(description: Mapping[str, Any]) -> bool:
    """Whether what AWS bills for a job is final: it has ended, and the instances it kept for the next job are given back or are
    that one's."""
    pool = description.get("WarmPoolStatus", {}).get("Status", "Terminated")
    return description["TrainingJobStatus"] in ENDED and pool in ("Terminated", "Reused")


def bill_of(description: Mapping[str, Any], rate: Rate) -> Decimal:
    """What AWS bills for a finished job, to the millionth of a dollar: its billable seconds at the on-demand rate, and those of
    its warm pool. Of one that is not `is_billed` yet, so far.
    """
    kept = int(description.get("WarmPoolStatus", {}).get("ResourceRetainedBillableTimeInSeconds", 0))
    return rounded(rate.cost(_billable_seconds(description) + kept))


def _billable_seconds(description: Mapping[str, Any]) -> int:
    return int(description.get("BillableTimeInSeconds", description.get("TrainingTimeInSeconds", 0)))


def outcome_of(
    description: Mapping[str, Any], approval: Approval, *, region: str, found: bool, log_tail: list[str]
) -> TrainingOutcome:
    """The outcome of a finished job; raises TrainingFailedError when it did not complete."""
    name, status = description["TrainingJobName"], description["TrainingJobStatus"]
    training = int(description.get("TrainingTimeInSeconds", 0))
    billable, bill = _billable_seconds(description), bill_of(description, approval.rate)
    if status != "Completed":
        raise TrainingFailedError(name, status, _reason(description, approval), bill, log_tail[-LOG_TAIL:], found=found)
    model_uri = description["ModelArtifacts"]["S3ModelArtifacts"]
    return TrainingOutcome(
        job_name=name,
        job_arn=description["TrainingJobArn"],
        console_url=f"https://{region}.console.aws.amazon.com/sagemaker/home?region={region}#/jobs/{name}",
        model_uri=model_uri,
        output_uri=model_uri.removesuffix("model.tar.gz") + "output.tar.gz",
        metrics={metric["MetricName"]: metric["Value"] for metric in description.get("FinalMetricDataList", [])},
        training_seconds=training,
        billable_seconds=billable,
        worst_case=rounded(approval.worst_case),
        approved=approval.approved,
        bill=bill,
        savings_percent=round((1 - billable / training) * 100) if training else 0,
        found=found,
    )


def _reason(description: Mapping[str, Any], approval: Approval) -> str:
    match description["SecondaryStatus"]:
        case "MaxRuntimeExceeded":
            why = "what its budget pays for" if approval.is_cut else "the longest runtime asked for"
            return f"it ran for {approval.max_runtime_seconds} s, {why}"
        case "MaxWaitTimeExceeded":
            return "no spot instances became free in time; try use_spot_instances=False"
        case _:
            return str(description.get("FailureReason", ""))
