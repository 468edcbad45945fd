"""From a request to its job on AWS, without a flow: planned, paid for, launched once, on the first machines that AWS gives."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import cast, get_args

from trainmaster.training.attempts import FALLBACK, Chain, lacked_capacity
from trainmaster.training.desk import Desk
from trainmaster.training.falling_back import launch_attempt, plan_attempt
from trainmaster.training.launching import Launch, launch_training
from trainmaster.training.plan import TrainingPlan
from trainmaster.training.preparing import asked_by
from trainmaster.training.request import TrainingRequest
from trainmaster.training.result import attempt_at
from trainmaster.training.seen import Seen, see


@dataclass(frozen=True)
class Order:
    """A request's job: how it came to be there, and how it stands."""

    plan: TrainingPlan
    launch: Launch
    seen: Seen


def rehearse(desk: Desk, request: TrainingRequest) -> TrainingPlan:
    """The plan of what would be launched; nothing is, and nothing is copied. Raises as `order_training`, but for what AWS refuses."""
    plan, _ = plan_attempt(desk, _chain(desk, request.model_copy(update={"dry_run": True})))
    return plan


def order_training(desk: Desk, request: TrainingRequest) -> Order:
    """The request's job, launched now or before. The same again, at once or after a death at any point, finds the same job.

    Raises TrainingRefusedError with every problem, OverBudgetError, NameConflictError, NoCapacityError when AWS has none of the
    machines that were asked for; and botocore's errors when AWS does not answer: the same request then goes on from there.
    """
    chain = _chain(desk, request)
    while True:
        plan, chain = plan_attempt(desk, chain)
        last = chain.tried(attempt_at(plan)).next is None
        said = launch_attempt(desk, plan, partial(launch_training, desk, plan), last=last)
        if said not in get_args(Launch):
            chain = chain.tried(attempt_at(plan, ended=said))
            continue
        row = desk.deployments.find(plan.job_name)
        assert row is not None  # noqa: S101 - it was made before the job was
        seen = see(desk, row, with_left=False)
        lacked = _lacked(seen)
        after = chain.tried(attempt_at(plan, ended=lacked, bill=seen.cost or Decimal(0)))
        if not lacked or after.next is None:
            return Order(plan, cast("Launch", said), seen)
        chain = after


def _chain(desk: Desk, request: TrainingRequest) -> Chain:
    return Chain.of(asked_by(desk, request), desk.prices, request.region or desk.settings.region)


def _lacked(seen: Seen) -> str:
    """Why AWS had no machines for a job that has ended, if it was that; one that has not may be billed still."""
    if not seen.has_ended:
        return ""
    stop = seen.deployment.job.stop
    if stop and stop.by == FALLBACK:
        return stop.why
    return lacked_capacity(seen.description) if seen.description else ""
