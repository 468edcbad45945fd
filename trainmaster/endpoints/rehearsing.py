"""A new version tried on an endpoint of its own before any of the traffic is its; that endpoint is taken away again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from trainmaster.aws.failures import is_missing
from trainmaster.aws.polling import Patience, answers
from trainmaster.budget.budgets import Payer
from trainmaster.endpoints.applying import apply_plan
from trainmaster.endpoints.deploying import (
    Found,
    delete_endpoint,
    find_endpoint,
    is_ours,
    require_serving,
    settle,
    tag_list,
    tags_of,
)
from trainmaster.endpoints.deployment import OnStatus, ask, patience_of
from trainmaster.endpoints.described import describe_endpoint
from trainmaster.endpoints.desired import ChosenModels
from trainmaster.endpoints.metering import meter_endpoint, reserve_hours, see_hours
from trainmaster.endpoints.models.smoke import SmokeTest
from trainmaster.endpoints.plan import REHEARSAL_SUFFIX, Desired, Kind, Step, plan_deployment
from trainmaster.endpoints.request import Lifetime, Rollout
from trainmaster.endpoints.turns import Turn
from trainmaster.errors import WaitTimedOutError
from trainmaster.training.desk import Desk

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

LIFETIME = Lifetime(hours=3, when_over="remove")
"""Of one whose deployment died: `stop-idle` removes it then."""
_STEPS: frozenset[Kind] = frozenset({"create-model", "create-config", "delete-endpoint", "create-endpoint"})


def rehearsal_of(desired: Desired) -> Desired:
    """The same configuration on an endpoint of its own, which nobody but the smoke test knows."""
    name = f"{desired.endpoint_name}{REHEARSAL_SUFFIX}"
    return replace(desired, endpoint_name=name, alarms=(), scaling=None, rollout=Rollout(), lifetime=LIFETIME)


def rehearse(
    desk: Desk, desired: Desired, models: ChosenModels, payer: Payer, *, on_status: OnStatus = lambda _: None
) -> SmokeTest:
    """Bring the configuration into service beside what serves, ask it, and take it away again; the endpoint itself is not touched.

    Its hours are reserved and billed like any others. One that an earlier try left is gone on with; while another deployment rehearses,
    it is waited for. Raises OverBudgetError, NameConflictError, WaitTimedOutError, and DeploymentFailedError when it does not come into
    service or does not answer as it should.
    """
    tried, turn = rehearsal_of(desired), Turn.begun()
    sagemaker, patience = desk.client("sagemaker"), patience_of(desk.settings, tried)
    try:
        while not _is_ours_now(desk, tried, turn, payer, patience):
            continue  # another deployment was faster; each look waits until it is done
        see_hours(desk, tried, payer)
        on_look = _renewing(sagemaker, tried.endpoint_name, turn, on_status)
        require_serving(settle(sagemaker, tried.endpoint_name, patience, on_status=on_look), tried)
        return ask(desk, tried, models)
    finally:
        if _is_held(sagemaker, tried.endpoint_name, turn):
            delete_endpoint(sagemaker, tried.endpoint_name, patience)
        meter_endpoint(desk, tried.endpoint_name)


def _is_ours_now(desk: Desk, tried: Desired, turn: Turn, payer: Payer, patience: Patience) -> bool:
    """Whether it is being made, or was left, and nobody's but this turn."""
    sagemaker, name, turn = desk.client("sagemaker"), tried.endpoint_name, turn.renewed()
    steps = _planned(desk, tried, patience)
    reserve_hours(desk, tried, payer)
    apply_plan(desk.client, replace(tried, tags={**tried.tags, **turn.tags()}), steps, patience)
    found, there = find_endpoint(sagemaker, name), _turn_at(sagemaker, name)
    if found and (there is None or there.is_over()):
        sagemaker.add_tags(ResourceArn=found["EndpointArn"], Tags=tag_list(turn.tags()))
    return _is_held(sagemaker, name, turn)


def _turn_at(sagemaker: SageMakerClient, name: str) -> Turn | None:
    """Whose turn it is by the endpoint's tag; None where it is nobody's, or the endpoint is gone."""
    found = find_endpoint(sagemaker, name)
    try:
        return Turn.read(tags_of(sagemaker, found["EndpointArn"])) if found else None
    except ClientError as error:
        if is_missing(error):
            return None
        raise


def _is_held(sagemaker: SageMakerClient, name: str, turn: Turn) -> bool:
    there = _turn_at(sagemaker, name)
    return there is not None and there.holder == turn.holder


def _renewing(sagemaker: SageMakerClient, name: str, turn: Turn, on_status: OnStatus) -> OnStatus:
    """At each look at its status the turn is renewed, if that is due."""
    held = turn

    def on_look(status: str) -> None:
        nonlocal held
        on_status(status)
        if (renewed := held.renewed()) is not held and (found := find_endpoint(sagemaker, name)):
            sagemaker.add_tags(ResourceArn=found["EndpointArn"], Tags=tag_list(renewed.tags()))
            held = renewed

    return on_look


def _once_free(sagemaker: SageMakerClient, name: str, patience: Patience) -> Found:
    """What an earlier rehearsal left, settled, once it is nobody's turn any more; None where nothing is left."""
    turn: Turn | None = None
    for turn in answers(lambda: _turn_at(sagemaker, name), patience):
        if turn is None or turn.is_over():
            return settle(sagemaker, name, patience)
    raise WaitTimedOutError(
        f"Another deployment has been rehearsing on endpoint {name} for more than {patience.longest_seconds:.0f} s:"
        f" {turn.holder if turn else 'nobody knows whose'}. Try again when it has ended."
    )


def _planned(desk: Desk, tried: Desired, patience: Patience) -> list[Step]:
    """What is missing, once what an earlier try left of another version is gone."""
    sagemaker, name = desk.client("sagemaker"), tried.endpoint_name
    left = _once_free(sagemaker, name, patience)
    if left and left["EndpointConfigName"] != tried.config_name and is_ours(sagemaker, left["EndpointArn"], name):
        delete_endpoint(sagemaker, name, patience)
    steps = plan_deployment(tried, describe_endpoint(desk.client, tried))
    return [step for step in steps if step.kind in _STEPS]
