"""Launching one attempt of several: when AWS has no capacity for it, it is closed for good before the next one is launched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from trainmaster.aws.failures import code_of
from trainmaster.errors import NameConflictError, NoCapacityError, RefusedError, TrainingRefusedError
from trainmaster.training.attempts import CAPACITY_CODES, FALLBACK, Attempt, Chain, Choice, cut_to
from trainmaster.training.desk import Desk
from trainmaster.training.inputs import find_inputs
from trainmaster.training.launching import Launch
from trainmaster.training.looking import describe
from trainmaster.training.plan import TrainingPlan, job_name_of
from trainmaster.training.preparing import prepare_training
from trainmaster.training.request import TrainingRequest


def plan_attempt(desk: Desk, chain: Chain) -> tuple[TrainingPlan, Chain]:
    """The plan of the next attempt, and the chain with those behind it that were refused on the way there.

    The first is refused with all its problems, unless only a quota keeps it from being launched and there are others. What this
    very request launched before comes before what it never tried: quotas, prices and budgets change, and there is one job at a
    time. Raises TrainingRefusedError, NoCapacityError when there is nothing left to try, and NameConflictError when the job that
    the request is said to be of is none of them.
    """
    _require_same(desk, chain)
    known = _launched_before(desk, chain)
    while choice := _next(chain, known):
        request = choice.of(chain.request)
        try:
            return cut_to(prepare_training(desk, request, first=chain.first), chain.left), chain
        except RefusedError as error:
            attempt = Attempt(job_name="", instance_type=choice.instance_type, spot=choice.spot, ended=str(error))
            after = chain.tried(attempt)
            if not chain.attempts and not (_only_quota(error) and after.next):
                raise
            chain = after
    raise NoCapacityError([one.sentence() for one in chain.attempts])


def _require_same(desk: Desk, chain: Chain) -> None:
    """Who launched the job may have had another bucket, team or version than we have, or the config was changed since: a second job
    must not come of that."""
    request = chain.request
    inputs = find_inputs(desk, request).inputs if request.of_job else None
    if inputs is None:
        return
    region = request.region or desk.settings.region
    names = [job_name_of(choice.of(request), inputs, region) for choice in chain.choices]
    if request.of_job not in names:
        raise NameConflictError(
            f"This run is of training job {request.of_job}, but the request comes to {names[0]} here, so nothing was launched: the"
            " training config was changed since, or the worker's bucket, team or version is not that of who launched it. The job"
            f" goes on; follow it by `trainmaster train logs {request.of_job} --follow`."
        )


def _next(chain: Chain, known: Mapping[Choice, bool]) -> Choice | None:
    choice = chain.next
    if choice in known:
        return choice
    return next((one for one in chain.untried if known.get(one)), choice)


def _launched_before(desk: Desk, chain: Chain) -> dict[Choice, bool]:
    """The choices that this request came to before: True of one that is paid for, False of one that another took the place of."""
    inputs = find_inputs(desk, chain.request).inputs if len(chain.choices) > 1 else None
    if inputs is None:  # and then nothing can be launched either
        return {}
    known = dict[Choice, bool]()
    for choice in chain.choices:
        job_name = job_name_of(choice.of(chain.request), inputs, chain.request.region or desk.settings.region)
        row, reservation = desk.deployments.find(job_name), desk.ledger.find(job_name)
        if row and row.job.stop and row.job.stop.by == FALLBACK:
            known[choice] = False
        elif row and reservation and reservation.stands and _has_same_fallbacks(row.job.request, chain.request):
            known[choice] = True
    return known


def _has_same_fallbacks(launched: Mapping[str, Any], request: TrainingRequest) -> bool:
    """Or it was asked for by itself, and is nobody's second choice."""
    ways = request.model_dump(mode="json", include={"instance_types", "fall_back_to_on_demand"})
    return all(launched.get(way) == value for way, value in ways.items())


def launch_attempt(desk: Desk, plan: TrainingPlan, launch: Callable[[], Launch], *, last: bool) -> Launch | str:
    """How the job of this attempt is there; or why AWS has no capacity for it, and then it is closed.

    Nobody launches a closed attempt any more: the next one takes its place, whoever comes back to this one. A twin that
    launched it in the same moment finds it closed too, and its job is stopped like any other that is to be. The last attempt
    is never closed. Raises what `launch` does.
    """
    row = desk.deployments.find(plan.job_name)
    if (
        row
        and row.job.stop
        and row.job.stop.by == FALLBACK
        and describe(desk.client("sagemaker"), plan.job_name) is None
    ):
        return row.job.stop.why
    try:
        return launch()
    except ClientError as error:
        if code_of(error) not in CAPACITY_CODES:
            raise
        if last:
            raise NoCapacityError([f"{plan.job_name}: {error}"]) from error
        row = desk.deployments.find(plan.job_name)
        if row:
            desk.deployments.ask_stop(row.id, by=FALLBACK, why=str(error))
        if describe(desk.client("sagemaker"), plan.job_name):
            return "joined"
        return str(error)


def _only_quota(error: RefusedError) -> bool:
    return isinstance(error, TrainingRefusedError) and {problem.kind for problem in error.problems} == {"quota"}
