"""Steps of serving: what is in a model, what is to be done, doing it, waiting for it, proving it, undoing it."""

from __future__ import annotations

from prefect import get_run_logger

from tasks.aws import client, step
from tasks.progress import Teller
from trainmaster.aws.polling import Patience
from trainmaster.budget.prices import shipped_prices
from trainmaster.endpoints import deploying, removing, smoke
from trainmaster.endpoints.package import ModelPackage
from trainmaster.endpoints.package import inspect_model as read_model
from trainmaster.endpoints.plan import Desired, desired_endpoint, plan_deployment
from trainmaster.endpoints.removing import Belongings
from trainmaster.endpoints.request import EndpointRequest
from trainmaster.endpoints.smoke import SmokeTest
from trainmaster.settings import Settings
from trainmaster.training.image import sklearn_image_uri


@step(task_run_name="inspect model")
def inspect_model(uri: str, settings: Settings) -> ModelPackage:
    """What is in the artifact; refused when it cannot be served."""
    package = read_model(client(settings, "s3"), uri)
    get_run_logger().info("%s: %s bytes, SHA-256 %.12s…", uri, f"{package.size:,}", package.sha256)
    return package


@step(task_run_name="desire {request.endpoint_name}", retries=0)
def desire_endpoint(request: EndpointRequest, package: ModelPackage, settings: Settings) -> Desired:
    """The endpoint as it should be, its names derived from its content; refused when an hour of it costs too much."""
    desired = desired_endpoint(
        request,
        package,
        image_uri=sklearn_image_uri(settings.region, request.instance_type),
        role_arn=settings.required("execution_role_arn"),
        region=settings.region,
        prices=shipped_prices(),
    )
    get_run_logger().info("%s will cost $%s an hour until it is removed.", desired.endpoint_name, desired.hourly_cost)
    return desired


@step(task_run_name="bring up {desired.endpoint_name}")
def bring_up(desired: Desired, settings: Settings) -> list[str]:
    """Plan and apply: create or update what differs, and wait until it serves. The steps taken; none when all was there."""
    logger, sagemaker, patience = get_run_logger(), client(settings, "sagemaker"), deploy_patience(settings)
    deploying.settle(sagemaker, desired.endpoint_name, patience)
    steps = plan_deployment(desired, deploying.describe_endpoint(sagemaker, desired))
    logger.info("Plan: %s.", "; ".join(map(str, steps)) or "nothing to do, it serves this already")
    deploying.apply_plan(sagemaker, desired, steps, patience)
    teller = Teller(logger.info)

    def say(status: str) -> None:
        teller.tell(status, f"Endpoint {desired.endpoint_name} is {status}.")

    deploying.require_serving(deploying.settle(sagemaker, desired.endpoint_name, patience, on_status=say), desired)
    return [str(done) for done in steps]


@step(task_run_name="smoke-test {desired.endpoint_name}")
def smoke_test(desired: Desired, package: ModelPackage, settings: Settings) -> SmokeTest:
    """Ask the endpoint a few times; fails unless it answers sensibly."""
    tested = smoke.smoke_test(client(settings, "sagemaker-runtime"), desired.endpoint_name, package)
    get_run_logger().info("%s answered %s for %s.", desired.endpoint_name, tested.answer, tested.inputs)
    return tested


@step(task_run_name="undo {desired.endpoint_name}")
def undo_deployment(desired: Desired, settings: Settings) -> str:
    """Back to what served before; what was newly made is removed."""
    said = deploying.undo_deployment(client(settings, "sagemaker"), desired, deploy_patience(settings))
    get_run_logger().warning("%s", said)
    return said


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
