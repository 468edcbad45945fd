"""Steps of serving: what is in a model, what is to be done, doing it, waiting for it, proving it, undoing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from prefect import get_run_logger

from tasks.aws import client, desk_of, step
from tasks.budget import tell_crossed, tell_standing
from tasks.endpoint_hours import tell_hours
from tasks.progress import Teller
from trainmaster.aws.clients import Clients
from trainmaster.budget.budgets import Payer
from trainmaster.budget.prices import known_prices
from trainmaster.endpoints import deployment, rehearsing, removing, rolling_back
from trainmaster.endpoints.desired import ChosenModels
from trainmaster.endpoints.metering import meter_endpoint
from trainmaster.endpoints.models.smoke import SmokeTest
from trainmaster.endpoints.plan import Desired, Plan
from trainmaster.endpoints.rehearsing import rehearsal_of
from trainmaster.endpoints.removing import Belongings
from trainmaster.endpoints.request import EndpointChoices, EndpointRequest, RollbackRequest
from trainmaster.endpoints.results import listed
from trainmaster.errors import DeploymentFailedError
from trainmaster.settings import Settings


@step(task_run_name="approve {choices.endpoint_name}", retries=0)
def approve_endpoint(choices: EndpointChoices, settings: Settings) -> None:
    """Refused when an hour of serving costs more than was approved, or the policy does not give it to whoever asks."""
    hourly = deployment.approve(choices, known_prices(settings.refreshed_prices), settings)
    get_run_logger().info("%s will cost $%s an hour until it is removed.", choices.endpoint_name, hourly)


@step(task_run_name="choose models of {request.endpoint_name}")
def choose_models(request: EndpointRequest, settings: Settings) -> ChosenModels:
    """The artifacts, looked into; refused when one cannot be served."""
    with desk_of(settings) as desk:
        models = deployment.choose_models(desk, request)
    for one in filter(None, (models.main, models.challenger, models.shadow)):
        get_run_logger().info("%s: %s bytes, SHA-256 %.12s…", one.uri, f"{one.size:,}", one.sha256)
    return models


@step(task_run_name="desire {request.endpoint_name}", retries=0)
def desire_endpoint(request: EndpointRequest, models: ChosenModels, settings: Settings) -> Desired:
    """The endpoint as it should be, its names derived from its content; refused when an hour of it costs too much."""
    with desk_of(settings) as desk:
        return deployment.desire(desk, request, models)


@step(task_run_name="choose the earlier version of {request.endpoint_name}")
def desire_earlier(request: RollbackRequest, settings: Settings) -> tuple[Desired, ChosenModels]:
    """The endpoint as it was, with the models it had; refused where nothing is kept to go back to."""
    with desk_of(settings) as desk:
        desired, models = rolling_back.desire_earlier(desk, request)
    get_run_logger().info("%s goes back to %s.", desired.endpoint_name, desired.config_name)
    return desired, models


@step(task_run_name="plan {desired.endpoint_name}")
def plan_endpoint(desired: Desired, settings: Settings) -> Plan:
    """What has to be done, once the endpoint has settled; refused when it is not ours or only a person can help it."""
    with desk_of(settings) as desk:
        planned = deployment.plan(desk, desired, on_status=_teller_of(desired))
    get_run_logger().info("Plan: %s.", planned)
    return planned


@step(task_run_name="reserve hours of {desired.endpoint_name}")
def reserve_first_hours(desired: Desired, planned: Plan, payer: Payer, settings: Settings) -> None:
    """Set the endpoint's first hours aside in every budget of who pays; refused when one has too little left for them."""
    with desk_of(settings) as desk:
        meter = deployment.reserve(desk, desired, planned, payer)
        if meter.seen_at is None:
            tell_standing(desk.ledger, meter.first.key)
        else:
            get_run_logger().info("Hours of %s are reserved since it came up; none anew.", desired.endpoint_name)
            tell_crossed(desk.ledger, meter.payer.budgets(), meter.last.month)


@step(task_run_name="rehearse {desired.endpoint_name}")
def rehearse(desired: Desired, models: ChosenModels, payer: Payer, settings: Settings) -> None:
    """Try the new version on an endpoint of its own; fails unless it answers sensibly there."""
    tried = rehearsal_of(desired)
    with desk_of(settings) as desk:
        tested = rehearsing.rehearse(desk, desired, models, payer, on_status=_teller_of(tried))
    get_run_logger().info(
        "%s answered %s for %s, and was removed again.",
        tried.endpoint_name,
        listed(tested.answer),
        listed(tested.inputs),
    )


@step(task_run_name="bring up {desired.endpoint_name}")
def bring_up(desired: Desired, planned: Plan, payer: Payer, settings: Settings) -> None:
    """Carry out the plan and wait until the endpoint serves just this configuration; it is billed from when it is being made."""
    with desk_of(settings) as desk:
        deployment.bring_up(desk, desired, planned, payer, on_status=_teller_of(desired))


@step(task_run_name="smoke-test {desired.endpoint_name}")
def smoke_test(desired: Desired, models: ChosenModels, settings: Settings) -> SmokeTest:
    """Ask the endpoint a few times; fails unless it answers sensibly. What has answered is noted as proven."""
    with desk_of(settings) as desk:
        tested = deployment.prove(desk, desired, models)
    get_run_logger().info("%s answered %s for %s.", desired.endpoint_name, listed(tested.answer), listed(tested.inputs))
    return tested


@step(task_run_name="prune {desired.endpoint_name}")
def prune_versions(desired: Desired, settings: Settings) -> None:
    """Remove old versions but the last few that can be gone back to."""
    with desk_of(settings) as desk:
        gone = deployment.prune(desk, desired)
    get_run_logger().info("Pruned from %s: %s.", desired.endpoint_name, gone)


@contextmanager
def undone_on_failure(desired: Desired, settings: Settings) -> Iterator[None]:
    """Whatever goes wrong inside, the endpoint goes back to what served before, and what was newly made is removed."""
    try:
        yield
    except Exception as error:  # raised again below; whatever it was, an unproven model must not go on serving
        said = undo(desired, error, settings)
        raise DeploymentFailedError(f"{error}\n{said}") from error


@step(task_run_name="undo {desired.endpoint_name}")
def undo(desired: Desired, error: Exception, settings: Settings) -> str:
    """Back to what served before; what was newly made is removed."""
    with desk_of(settings) as desk:
        said = deployment.undo(desk, desired, error)
        get_run_logger().warning("%s", said)
        tell_hours(desk, meter_endpoint(desk, desired.endpoint_name))
    return said


@step(task_run_name="find what belongs to {endpoint_name}")
def find_belongings(endpoint_name: str, settings: Settings) -> Belongings:
    """The endpoint with the configurations and models made for it."""
    found = removing.belongings(Clients(partial(client, settings)), endpoint_name)
    get_run_logger().info("In AWS for %s: %s.", endpoint_name, found)
    return found


@step(task_run_name="remove {found.endpoint}")
def remove_belongings(found: Belongings, settings: Settings) -> None:
    """Delete them all; the artifacts in S3 stay."""
    removing.remove(Clients(partial(client, settings)), found, deployment.patience_of(settings))
    get_run_logger().info("Removed %s.", found)


def _teller_of(desired: Desired) -> Callable[[str], None]:
    """Logs each status of the endpoint when it changes, and now and then while it does not."""
    teller = Teller(get_run_logger().info)
    return lambda status: teller.tell(status, f"Endpoint {desired.endpoint_name} is {status}.")
