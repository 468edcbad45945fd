"""What came of a request to train: planned, refused, launched and handed over, or trained."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from trainmaster.budget.money import shown
from trainmaster.training.attempts import Attempt, Chain
from trainmaster.training.outcome import TrainingOutcome
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.showing import plan_value

Status = Literal["planned", "refused", "launched", "completed"]
"""Launched: the run has ended, the job goes on, and the sweep follows it. What failed is an error and no result."""


class TrainingResult(BaseModel):
    """`job_name` is the last attempt's; `said` is for people. Amounts are US dollars."""

    model_config = ConfigDict(frozen=True)

    status: Status
    job_name: str
    worst_case: Decimal
    said: str
    attempts: list[Attempt]
    outcome: TrainingOutcome | None = None
    """Of a job that completed."""
    plan: dict[str, Any] | None = None
    """Of a dry run: all there is to know before the launch."""

    @property
    def completed(self) -> TrainingOutcome:
        """The outcome of a request that waits for its end, and whose budget nobody is asked about."""
        assert self.outcome is not None, self.said  # noqa: S101
        return self.outcome

    @property
    def bill(self) -> Decimal:
        """What all attempts were billed; 0 while the job runs."""
        return sum((one.bill for one in self.attempts), Decimal(0))


def planned(plan: TrainingPlan) -> TrainingResult:
    """Of a dry run."""
    said = f"{plan.job_name} would cost at most {shown(plan.approval.worst_case)}. Nothing was launched."
    return _result("planned", plan, said, []).model_copy(update={"plan": plan_value(plan)})


def refused(plan: TrainingPlan, chain: Chain, why: str) -> TrainingResult:
    """Of a request that somebody refused to pay for, or nobody approved in time."""
    return _result("refused", plan, f"{plan.job_name} was not launched. {why}.", list(chain.attempts))


def launched(plan: TrainingPlan, chain: Chain) -> TrainingResult:
    """Of a request whose run does not wait."""
    said = (
        f"{plan.job_name} runs and costs at most {shown(plan.approval.worst_case)}. It is followed by the schedule"
        " follow-jobs; the same request again, with wait, follows it as well."
    )
    return _result("launched", plan, said, [*chain.attempts, attempt_at(plan)])


def completed(plan: TrainingPlan, chain: Chain, outcome: TrainingOutcome) -> TrainingResult:
    """Of a request that trained a model."""
    attempts = [*chain.attempts, attempt_at(plan, bill=outcome.bill)]
    return _result("completed", plan, outcome.sentence(), attempts).model_copy(update={"outcome": outcome})


def attempt_at(plan: TrainingPlan, *, ended: str = "", bill: Decimal = Decimal(0)) -> Attempt:
    """The attempt that a plan is."""
    request = plan.request
    return Attempt(
        job_name=plan.job_name,
        instance_type=request.instance_type,
        spot=request.use_spot_instances,
        ended=ended,
        bill=bill,
    )


def _result(status: Status, plan: TrainingPlan, said: str, attempts: list[Attempt]) -> TrainingResult:
    worst = plan.approval.worst_case
    return TrainingResult(status=status, job_name=plan.job_name, worst_case=worst, said=said, attempts=attempts)
