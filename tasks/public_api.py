"""Steps of publishing: what an API is to be, bringing its stack there, withdrawing it."""

from __future__ import annotations

import json

from prefect import get_run_logger
from prefect.artifacts import create_link_artifact

from tasks.aws import client, step
from tasks.progress import Teller
from trainmaster.aws.polling import Patience
from trainmaster.endpoints import public_api
from trainmaster.endpoints.api_plan import ApiStep, DesiredApi, accepted_ranges, desired_api, plan_api
from trainmaster.endpoints.api_request import PublishRequest
from trainmaster.endpoints.package import inspect_model
from trainmaster.endpoints.public_api import PlannedApi, PublishedApi, Withdrawal
from trainmaster.endpoints.smoke import sample_inputs
from trainmaster.settings import Settings


@step(task_run_name="desire API of {request.endpoint_name}")
def desire_api(request: PublishRequest, settings: Settings) -> tuple[DesiredApi, str]:
    """The API as it should be, checking what the model served now accepts, and a house to ask it about."""
    sagemaker = client(settings, "sagemaker")
    arn = public_api.endpoint_arn(sagemaker, request.endpoint_name)
    package = inspect_model(client(settings, "s3"), public_api.served_artifact(sagemaker, request.endpoint_name))
    desired = desired_api(
        request,
        accepted_ranges(package.card, package.uri),
        endpoint_arn=arn,
        bucket=settings.required("bucket"),
        access_logs=public_api.may_log_accesses(client(settings, "apigateway")),
    )
    return desired, json.dumps(sample_inputs(package.card))


@step(task_run_name="plan {desired.stack_name}")
def plan_publishing(desired: DesiredApi, settings: Settings) -> list[ApiStep]:
    """What has to be done, once the stack has settled; refused when it is not ours or only a person can help it."""
    stack = public_api.settle_stack(client(settings, "cloudformation"), desired.stack_name, _patience(settings))
    steps = plan_api(desired, public_api.describe_api(stack, desired, client(settings, "s3")))
    get_run_logger().info("Plan: %s.", "; ".join(map(str, steps)) or "nothing to do, it is published already")
    return steps


@step(task_run_name="report on the plan of {desired.stack_name}", retries=0)
def report_plan(desired: DesiredApi, steps: list[ApiStep]) -> PlannedApi:
    """What a dry run leaves: the steps, none of them taken."""
    planned = PlannedApi(stack_name=desired.stack_name, steps=[str(each) for each in steps])
    get_run_logger().info("%s", planned.sentence())
    return planned


@step(task_run_name="publish {desired.stack_name}")
def publish_stack(desired: DesiredApi, steps: list[ApiStep], example: str, settings: Settings) -> PublishedApi:
    """Carry out the plan and wait until the stack is just that."""
    cloudformation, patience = client(settings, "cloudformation"), _patience(settings)
    teller = Teller(get_run_logger().info)

    def say(status: str) -> None:
        teller.tell(status, f"Stack {desired.stack_name} is {status}.")

    public_api.apply_api(cloudformation, client(settings, "s3"), desired, steps, patience)
    stack = public_api.settle_stack(cloudformation, desired.stack_name, patience, on_status=say)
    outputs = public_api.require_published(cloudformation, stack, desired)
    address = settings.api_url.format(id=outputs["ApiId"], region=settings.region, stage=outputs["Stage"])
    return PublishedApi(
        endpoint_name=desired.endpoint_name,
        stack_name=desired.stack_name,
        url=f"{address}/predict",
        key_id=outputs["KeyId"],
        region=settings.region,
        steps=[str(each) for each in steps],
        example=example,
        drifted=public_api.described_stack(stack, desired.endpoint_name).drifted,
    )


@step(task_run_name="report on {published.stack_name}")
def report_api(published: PublishedApi) -> None:
    """Where it is and how it is asked; the key itself is only shown to whoever runs the command."""
    get_run_logger().info("%s Ask it:\n%s", published.sentence(), published.ask_command)
    create_link_artifact(published.url, link_text=published.url, key="public-api", description=published.ask_command)


@step(task_run_name="find API of {endpoint_name}")
def find_api(endpoint_name: str, settings: Settings) -> Withdrawal:
    """The stack, and the code that was uploaded for it."""
    found = public_api.find_api(
        client(settings, "cloudformation"), client(settings, "s3"), endpoint_name, settings.required("bucket")
    )
    get_run_logger().info("%s", found.sentence())
    return found


@step(task_run_name="withdraw API of {found.endpoint_name}")
def withdraw_stack(found: Withdrawal, settings: Settings) -> Withdrawal:
    """Delete them; the endpoint goes on serving those who may invoke it."""
    teller = Teller(get_run_logger().info)

    def say(status: str) -> None:
        teller.tell(status, f"Stack {found.stack} is {status}.")

    public_api.withdraw_api(
        client(settings, "cloudformation"),
        client(settings, "s3"),
        found,
        settings.required("bucket"),
        _patience(settings),
        on_status=say,
    )
    return found.model_copy(update={"removed": True})


def _patience(settings: Settings) -> Patience:
    """A stack is made in a minute or two: it is looked at more often than a training job."""
    return Patience(min(settings.poll_seconds, 5.0), settings.outage_seconds, settings.deploy_timeout_seconds)
