"""Publishing an endpoint from beginning to end, for flows and commands alike: what is to be, the plan, carrying it out, the key."""

from __future__ import annotations

import json
from dataclasses import dataclass

from trainmaster.aws.polling import Patience
from trainmaster.endpoints.api import stack as public_api
from trainmaster.endpoints.api.plan import (
    ApiStep,
    DesiredApi,
    accepted_ranges,
    desired_api,
    plan_api,
    published_request,
    stack_name,
)
from trainmaster.endpoints.api.request import PublishRequest
from trainmaster.endpoints.api.stack import OnStatus, PublishedApi, Withdrawal
from trainmaster.endpoints.models.package import inspect_model
from trainmaster.endpoints.models.smoke import sample_inputs
from trainmaster.errors import UnknownChoiceError
from trainmaster.settings import Settings
from trainmaster.training.desk import Client

LONGEST_LOOK_SECONDS = 5.0
"""Between two looks: a stack is made in a minute or two, sooner than an endpoint."""


@dataclass(frozen=True)
class Publication:
    """An API as it should be, and a typical house, as JSON, to ask it about."""

    desired: DesiredApi
    example: str


def desired_publication(client: Client, request: PublishRequest, settings: Settings) -> Publication:
    """What the API is to be, checking what the model served now accepts. Raises RefusedError for what cannot be published."""
    sagemaker = client("sagemaker")
    arn = public_api.endpoint_arn(sagemaker, request.endpoint_name)
    package = inspect_model(client("s3"), public_api.served_artifact(sagemaker, request.endpoint_name))
    desired = desired_api(
        request,
        accepted_ranges(package.card, package.uri),
        endpoint_arn=arn,
        bucket=settings.required("bucket"),
        access_logs=public_api.may_log_accesses(client("apigateway")),
    )
    return Publication(desired, json.dumps(sample_inputs(package.card)))


def planned(client: Client, desired: DesiredApi, settings: Settings) -> list[ApiStep]:
    """What has to be done, once the stack has settled. Raises RefusedError when it is not ours or only a person can help it."""
    stack = public_api.settle_stack(client("cloudformation"), desired.stack_name, patience_of(settings))
    return plan_api(desired, public_api.describe_api(stack, desired, client("s3")))


def published(
    client: Client, publication: Publication, steps: list[ApiStep], settings: Settings, on_status: OnStatus
) -> PublishedApi:
    """Carry out the plan and wait until the stack is just that. Raises DeploymentFailedError with AWS's reasons."""
    cloudformation, desired, patience = client("cloudformation"), publication.desired, patience_of(settings)
    public_api.apply_api(cloudformation, client("s3"), desired, steps, patience)
    stack = public_api.settle_stack(cloudformation, desired.stack_name, patience, on_status=on_status)
    outputs = public_api.require_published(cloudformation, stack, desired)
    address = settings.api_url.format(id=outputs["ApiId"], region=settings.region, stage=outputs["Stage"])
    return PublishedApi(
        endpoint_name=desired.endpoint_name,
        stack_name=desired.stack_name,
        url=f"{address}/predict",
        steps=[str(each) for each in steps],
        example=publication.example,
        drifted=public_api.described_stack(stack, desired.endpoint_name).drifted,
    )


def republished(client: Client, endpoint_name: str, settings: Settings, on_status: OnStatus) -> PublishedApi | None:
    """The API as it was published, checking what the model served by now accepts; None where ours has not been published.

    Raises DeploymentFailedError, and RefusedError for a model whose ranges nobody knows: then it checks those of the last one.
    """
    stack = public_api.find_stack(client("cloudformation"), stack_name(endpoint_name))
    if stack is None or not public_api.described_stack(stack, endpoint_name).ours:
        return None
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", [])}
    publication = desired_publication(client, published_request(endpoint_name, parameters), settings)
    steps = planned(client, publication.desired, settings)
    return published(client, publication, steps, settings, on_status)


def found_api(client: Client, endpoint_name: str, settings: Settings) -> Withdrawal:
    """What there is of an endpoint's API. Raises NameConflictError for a stack that Trainmaster did not make."""
    return public_api.find_api(client("cloudformation"), client("s3"), endpoint_name, settings.required("bucket"))


def withdrawn(client: Client, found: Withdrawal, settings: Settings, on_status: OnStatus) -> Withdrawal:
    """Remove it; the endpoint goes on serving those who may invoke it. Raises DeploymentFailedError when AWS keeps some of it."""
    public_api.withdraw_api(
        client("cloudformation"),
        client("s3"),
        found,
        settings.required("bucket"),
        patience_of(settings),
        on_status=on_status,
    )
    return found.model_copy(update={"removed": True})


def key_of(client: Client, endpoint_name: str) -> str:
    """The API key's value: for the eyes of who asks, never for a log. Raises UnknownChoiceError where nothing is published."""
    stack = public_api.find_stack(client("cloudformation"), stack_name(endpoint_name))
    outputs = {each["OutputKey"]: each["OutputValue"] for each in (stack or {}).get("Outputs", [])}
    if "KeyId" not in outputs:
        raise UnknownChoiceError(
            f"Endpoint {endpoint_name} has no public API. Publish it first: trainmaster endpoints publish {endpoint_name}"
        )
    return str(client("apigateway").get_api_key(apiKey=outputs["KeyId"], includeValue=True)["value"])


def patience_of(settings: Settings) -> Patience:
    """How long a stack may take, from the settings."""
    look = min(settings.poll_seconds, LONGEST_LOOK_SECONDS)
    return Patience(look, settings.outage_seconds, settings.deploy_timeout_seconds)
