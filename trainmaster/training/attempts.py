"""The attempts at one request: where to go on when AWS has no capacity, and what is left to go on with. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from trainmaster.budget.approval import ENDING_SECONDS, SHORTEST_USEFUL_SECONDS, Rate, training_rate
from trainmaster.budget.money import rounded_up, shown
from trainmaster.budget.prices import PriceList
from trainmaster.errors import OverBudgetError, UnknownPriceError
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.request import TrainingRequest

FALLBACK = "fallback"
"""Who stopped a job, or closed the row of one that never was, because another attempt takes its place."""
CAPACITY_CODES = frozenset({"CapacityError", "InsufficientCapacityError", "ResourceLimitExceeded"})
"""AWS's codes, of a refused Create or at the beginning of a FailureReason, for: not now, not of this type."""


class Attempt(BaseModel):
    """One job of a request, or what would have been one: on which machines, what became of it, its bill in US dollars."""

    model_config = ConfigDict(frozen=True)

    job_name: str
    instance_type: str
    spot: bool
    ended: str = ""
    """Why it was not the last one: what AWS said. Empty for the attempt that trained, or trains."""
    bill: Decimal = Decimal(0)

    def sentence(self) -> str:
        return f"{self.job_name} on {kind_of(self.instance_type, spot=self.spot)}: {self.ended or 'trained'}"


@dataclass(frozen=True)
class Choice:
    """Machines to try, and what an hour of them costs; None where nobody knows, and then no plan of them is made."""

    instance_type: str
    spot: bool
    rate: Rate | None

    def of(self, request: TrainingRequest) -> TrainingRequest:
        """The same request on these machines; a wait for instances is for spot only."""
        wait = request.max_wait_seconds if self.spot else 0
        changed = {"instance_type": self.instance_type, "use_spot_instances": self.spot, "max_wait_seconds": wait}
        return request.model_copy(update=changed)

    def __str__(self) -> str:
        return kind_of(self.instance_type, spot=self.spot)


@dataclass(frozen=True)
class Chain:
    """Every choice of a request in the order they are tried, and what came of those that were.

    The same request at the same prices with the same attempts behind it goes on with the same choice: whoever comes back to it
    walks the way that was walked.
    """

    request: TrainingRequest
    choices: tuple[Choice, ...]
    attempts: tuple[Attempt, ...] = ()

    @classmethod
    def of(cls, request: TrainingRequest, prices: PriceList, region: str) -> Self:
        """What was asked for first; then the fallback types, cheapest first; then all of them on-demand, if that may be.

        Those without a price are left out, but for what was asked for: the plan of it is refused for all of them.
        """

        def rate(instance_type: str) -> Rate | None:
            try:
                return training_rate(prices, instance_type, request.instance_count, request.volume_size_gb, region)
            except UnknownPriceError:
                return None

        first, spot = request.instance_type, request.use_spot_instances
        others = {kind: found for kind in request.instance_types if kind != first and (found := rate(kind))}
        cheapest_first = sorted(others, key=lambda kind: others[kind].hourly)
        tried = [Choice(first, spot, rate(first)), *(Choice(kind, spot, others[kind]) for kind in cheapest_first)]
        if spot and request.fall_back_to_on_demand:
            tried += [replace(one, spot=False) for one in tried]
        return cls(request, tuple(tried))

    @property
    def first(self) -> TrainingRequest:
        """What was asked for. Its job's folder is where every attempt keeps its checkpoints, so that none pays again for what another
        trained before its instances were taken away."""
        return self.choices[0].of(self.request)

    @property
    def left(self) -> Decimal:
        """What the attempts so far have left of the request's budget, in US dollars."""
        return max(self.request.budget_limit - sum((one.bill for one in self.attempts), Decimal(0)), Decimal(0))

    @property
    def next(self) -> Choice | None:
        """What was asked for; then the first choice not tried yet that what is left pays for. None when there is none."""
        if not self.attempts:
            return self.choices[0]
        return next((choice for choice in self.untried if self._pays_for(choice)), None)

    @property
    def untried(self) -> list[Choice]:
        """Those without an attempt, whatever they cost."""
        tried = {(one.instance_type, one.spot) for one in self.attempts}
        return [choice for choice in self.choices if (choice.instance_type, choice.spot) not in tried]

    def tried(self, attempt: Attempt) -> Self:
        """The chain with one more attempt behind it."""
        return replace(self, attempts=(*self.attempts, attempt))

    def _pays_for(self, choice: Choice) -> bool:
        useful = min(SHORTEST_USEFUL_SECONDS, self.request.max_runtime_seconds)
        return (
            choice.rate is not None
            and choice.rate.seconds(self.left) >= useful + ENDING_SECONDS + self.request.warm_pool_seconds
        )


def kind_of(instance_type: str, *, spot: bool) -> str:
    """For people: `ml.g5.xlarge, spot`."""
    return f"{instance_type}, {'spot' if spot else 'on-demand'}"


def cut_to(plan: TrainingPlan, dollars: Decimal) -> TrainingPlan:
    """The same job, told to stop early enough to cost at most so much; unchanged when it does anyway.

    Its name and fingerprint stay: they follow from the request. Raises OverBudgetError when so much pays for nothing useful.
    """
    approval = plan.approval
    after = ENDING_SECONDS + approval.kept_seconds
    paid = approval.rate.seconds(dollars) - after
    if paid >= approval.max_runtime_seconds:
        return plan
    useful = min(SHORTEST_USEFUL_SECONDS, approval.asked_runtime_seconds)
    if paid < useful:
        least = rounded_up(approval.rate.cost(useful + after))
        subject = f"The shortest useful run of {plan.job_name} ({useful} s, and {after} s to end)"
        raise OverBudgetError(subject, f"${least}", dollars, [], f"approve at least ${least}")
    stopping = dict(plan.create_request["StoppingCondition"])
    for limit in stopping:
        stopping[limit] -= approval.max_runtime_seconds - paid
    cut = replace(approval, approved=min(dollars, approval.approved), max_runtime_seconds=paid)
    note = f"Its runtime is cut to {paid} s, which is what {shown(dollars)} pays for."
    return replace(
        plan,
        approval=cut,
        create_request={**plan.create_request, "StoppingCondition": stopping},
        charge=replace(plan.charge, amount=cut.worst_case),
        notes=(*plan.notes, note),
    )


def lacked_capacity(description: Mapping[str, Any]) -> str:
    """Why a job that has ended never had the machines it needed, or not long enough; empty when that was not it."""
    if description["SecondaryStatus"] == "MaxWaitTimeExceeded":
        return "no spot instances became free in time"
    reason = str(description.get("FailureReason", ""))
    failed = description["TrainingJobStatus"] == "Failed"
    return reason if failed and reason.partition(":")[0].strip() in CAPACITY_CODES else ""
