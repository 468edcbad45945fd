"""Steps of serving: what is in a model, what is to be done, doing it, waiting for it, proving it, undoing it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prefect import get_run_logger

from tasks.aws import client, desk_of, step
from tasks.budget import tell_exhausted, tell_standing
from tasks.progress import Teller
from trainmaster.aws.polling import Patience
from trainmaster.budget.budgets import Payer
from trainmaster.budget.prices import known_prices
from trainmaster.endpoints import removing, smoke
from trainmaster.endpoints.deploying import apply_plan, describe_endpoint, note_proof, require_serving, settle
from trainmaster.endpoints.metering import (
    UNEVENTFUL,
    EndpointHours,
    meter_endpoint,
    meter_endpoints,
    regions_with_endpoints,
    reserve_hours,
    see_hours,
)
from trainmaster.endpoints.package import ModelPackage
from trainmaster.endpoints.package import inspect_model as read_model
from trainmaster.endpoints.plan import Desired, Step, approve_hosting, desired_endpoint, plan_deployment
from trainmaster.endpoints.removing import Belongings
from trainmaster.endpoints.request import EndpointChoices, EndpointRequest
from trainmaster.endpoints.smoke import SmokeTest
from trainmaster.endpoints.undoing import undo_deployment
from trainmaster.errors import DeploymentFailedError
from trainmaster.settings import Settings
from trainmaster.training.desk import Desk
from trainmaster.training.image import sklearn_image_uri


@step(task_run_name="approve cost of {choices.endpoint_name}", retries=0)
def approve_endpoint_cost(choices: EndpointChoices, settings: Settings) -> None:
    """Refused when an hour of serving costs more than was approved."""
    hourly = approve_hosting(choices, known_prices(settings.refreshed_prices), settings.region)
    get_run_logger().info("%s will cost $%s an hour until it is removed.", choices.endpoint_name, hourly)


@step(task_run_name="inspect model")
def inspect_model(uri: str, settings: Settings) -> ModelPackage:
    """What is in the artifact; refused when it cannot be served."""
    package = read_model(client(settings, "s3"), uri)
    get_run_logger().info("%s: %s bytes, SHA-256 %.12s…", uri, f"{package.size:,}", package.sha256)
    return package


@step(task_run_name="desire {request.endpoint_name}", retries=0)
def desire_endpoint(request: EndpointRequest, package: ModelPackage, settings: Settings) -> Desired:
    """The endpoint as it should be, its names derived from its content; refused when an hour of it costs too much."""
    return desired_endpoint(
        request,
        package,
        image_uri=sklearn_image_uri(settings.region),
        role_arn=settings.required("execution_role_arn"),
        region=settings.region,
        prices=known_prices(settings.refreshed_prices),
    )


@step(task_run_name="plan {desired.endpoint_name}")
def plan_endpoint(desired: Desired, settings: Settings) -> list[Step]:
    """What has to be done, once the endpoint has settled; refused when it is not ours or only a person can help it."""
    sagemaker = client(settings, "sagemaker")
    settle(sagemaker, desired.endpoint_name, deploy_patience(settings))
    steps = plan_deployment(desired, describe_endpoint(sagemaker, desired))
    get_run_logger().info("Plan: %s.", "; ".join(map(str, steps)) or "nothing to do, it serves this already")
    return steps


@step(task_run_name="reserve hours of {desired.endpoint_name}")
def reserve_first_hours(desired: Desired, steps: list[Step], payer: Payer, settings: Settings) -> None:
    """Set the endpoint's first hours aside in every budget of who pays; refused when one has too little left for them."""
    with desk_of(settings) as desk:
        meter = reserve_hours(desk, desired, payer, whatever=not steps)
        tell_standing(desk.ledger, meter.first.key)


@step(task_run_name="bring up {desired.endpoint_name}")
def bring_up(desired: Desired, steps: list[Step], payer: Payer, settings: Settings) -> None:
    """Carry out the plan and wait until the endpoint serves just this configuration; it is billed from when it is being made."""
    sagemaker, patience = client(settings, "sagemaker"), deploy_patience(settings)
    teller = Teller(get_run_logger().info)

    def say(status: str) -> None:
        teller.tell(status, f"Endpoint {desired.endpoint_name} is {status}.")

    apply_plan(sagemaker, desired, steps, patience)
    with desk_of(settings) as desk:
        see_hours(desk, desired, payer, whatever=not steps)
    require_serving(settle(sagemaker, desired.endpoint_name, patience, on_status=say), desired)


@step(task_run_name="smoke-test {desired.endpoint_name}")
def smoke_test(desired: Desired, package: ModelPackage, settings: Settings) -> SmokeTest:
    """Ask the endpoint a few times; fails unless it answers sensibly. What has answered is noted as proven."""
    tested = smoke.smoke_test(client(settings, "sagemaker-runtime"), desired.endpoint_name, package)
    note_proof(client(settings, "sagemaker"), desired)
    get_run_logger().info("%s answered %s for %s.", desired.endpoint_name, tested.answer, tested.inputs)
    return tested


@contextmanager
def undone_on_failure(desired: Desired, settings: Settings) -> Iterator[None]:
    """Whatever goes wrong inside, the endpoint goes back to what served before, and what was newly made is removed."""
    try:
        yield
    except Exception as error:  # raised again below; whatever it was, an unproven model must not go on serving
        said = undo(desired, settings)
        raise DeploymentFailedError(f"{error}\n{said}") from error


@step(task_run_name="undo {desired.endpoint_name}")
def undo(desired: Desired, settings: Settings) -> str:
    """Back to what served before; what was newly made is removed."""
    said = undo_deployment(client(settings, "sagemaker"), desired, deploy_patience(settings))
    get_run_logger().warning("%s", said)
    with desk_of(settings) as desk:
        _tell_hours(desk, meter_endpoint(desk, desired.endpoint_name))
    return said


@step(task_run_name="meter {endpoint_name}")
def meter_hours(endpoint_name: str, settings: Settings) -> None:
    """Bill what no longer serves, and count what does."""
    with desk_of(settings) as desk:
        _tell_hours(desk, meter_endpoint(desk, endpoint_name))


@step(task_run_name="meter all endpoints")
def meter_all_endpoints(settings: Settings) -> list[dict[str, str]]:
    """Bill the hours of all endpoints that are over and reserve those to come; what was done and found, in rows of a table.

    An endpoint whose next hours no budget has money for is told of, and goes on serving: that is for a person to end.
    """
    eventful: list[dict[str, str]] = []
    with desk_of(settings) as desk:
        regions = regions_with_endpoints(desk)
    for region in regions:
        with desk_of(settings.model_copy(update={"region": region})) as desk:
            found = list(meter_endpoints(desk))
            _tell_hours(desk, found)
            eventful += [one.row() for one in found if one.finding not in UNEVENTFUL]
    return eventful


def _tell_hours(desk: Desk, found: Sequence[EndpointHours]) -> None:
    for hours in found:
        if hours.finding == "exhausted":
            tell_exhausted(hours.wanted, f"endpoint {hours.endpoint}", hours.why)
        elif hours.finding == "failed":
            get_run_logger().warning("The hours of endpoint %s are not counted: %s", hours.endpoint, hours.why)
        elif hours.booked:
            tell_standing(desk.ledger, hours.booked.key)


@step(task_run_name="find what belongs to {endpoint_name}")
def find_belongings(endpoint_name: str, settings: Settings) -> Belongings:
    """The endpoint with the configurations and models made for it."""
    found = removing.belongings(client(settings, "sagemaker"), endpoint_name)
    get_run_logger().info("In AWS for %s: %s.", endpoint_name, found)
    return found


@step(task_run_name="remove {found.endpoint}")
def remove_belongings(found: Belongings, settings: Settings) -> None:
    """Delete them all; the artifacts in S3 stay."""
    removing.remove(client(settings, "sagemaker"), found, deploy_patience(settings))
    get_run_logger().info("Removed %s.", found)


def deploy_patience(settings: Settings) -> Patience:
    """How long a deployment may take, from the settings."""
    return Patience(settings.poll_seconds, settings.outage_seconds, settings.deploy_timeout_seconds)
