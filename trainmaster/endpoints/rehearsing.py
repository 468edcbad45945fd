"""A new version tried on an endpoint of its own before any of the traffic is its; that endpoint is taken away again."""

from __future__ import annotations

from dataclasses import replace

from trainmaster.aws.polling import Patience
from trainmaster.budget.budgets import Payer
from trainmaster.endpoints.applying import apply_plan
from trainmaster.endpoints.deploying import delete_endpoint, is_ours, require_serving, settle
from trainmaster.endpoints.deployment import OnStatus, ask, patience_of
from trainmaster.endpoints.described import describe_endpoint
from trainmaster.endpoints.desired import ChosenModels
from trainmaster.endpoints.metering import meter_endpoint, reserve_hours, see_hours
from trainmaster.endpoints.plan import REHEARSAL_SUFFIX, Desired, Kind, Step, plan_deployment
from trainmaster.endpoints.request import Lifetime, Rollout
from trainmaster.endpoints.smoke import SmokeTest
from trainmaster.training.desk import Desk

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

    Its hours are reserved and billed like any others. One that an earlier try left is gone on with. Raises OverBudgetError,
    NameConflictError, and DeploymentFailedError when it does not come into service or does not answer as it should.
    """
    tried = rehearsal_of(desired)
    sagemaker, patience = desk.client("sagemaker"), patience_of(desk.settings, tried)
    steps = _planned(desk, tried, patience)
    reserve_hours(desk, tried, payer)
    try:
        apply_plan(desk.client, tried, steps, patience)
        see_hours(desk, tried, payer)
        require_serving(settle(sagemaker, tried.endpoint_name, patience, on_status=on_status), tried)
        return ask(desk, tried, models)
    finally:
        delete_endpoint(sagemaker, tried.endpoint_name, patience)
        meter_endpoint(desk, tried.endpoint_name)


def _planned(desk: Desk, tried: Desired, patience: Patience) -> list[Step]:
    """What is missing, once what an earlier try left of another version is gone."""
    sagemaker, name = desk.client("sagemaker"), tried.endpoint_name
    left = settle(sagemaker, name, patience)
    if left and left["EndpointConfigName"] != tried.config_name and is_ours(sagemaker, left["EndpointArn"], name):
        delete_endpoint(sagemaker, name, patience)
    steps = plan_deployment(tried, describe_endpoint(desk.client, tried))
    return [step for step in steps if step.kind in _STEPS]
