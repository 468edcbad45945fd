"""Finding an endpoint and what it is made of, waiting for it, judging it, deleting it. Every function is safe to repeat."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from trainmaster.aws.failures import code_of, is_denied, is_missing
from trainmaster.aws.polling import Patience, answers
from trainmaster.endpoints.plan import (
    ENDPOINT_TAG,
    PROOF_TAG,
    SETTLING,
    Desired,
)
from trainmaster.errors import DeploymentFailedError, WaitTimedOutError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

OnStatus = Callable[[str], None]
Found = Mapping[str, Any] | None

NO_MACHINES = "Unable to provision requested ML compute capacity"
"""In AWS's reason for a failure, which is text alone: the same may do later."""
TRIES = 5
"""For what AWS may refuse only because it has not yet seen what was just written, or is still changing."""


def find_endpoint(sagemaker: SageMakerClient, name: str) -> Found:
    """DescribeEndpoint's answer, or None when there is no such endpoint."""
    return _found(sagemaker.describe_endpoint, EndpointName=name)


def find_config(sagemaker: SageMakerClient, name: str) -> Found:
    """DescribeEndpointConfig's answer, or None when there is no such configuration."""
    return _found(sagemaker.describe_endpoint_config, EndpointConfigName=name)


def find_model(sagemaker: SageMakerClient, name: str) -> Found:
    """DescribeModel's answer, or None when there is no such model."""
    return _found(sagemaker.describe_model, ModelName=name)


def tags_of(sagemaker: SageMakerClient, arn: str) -> dict[str, str]:
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}


def is_ours(sagemaker: SageMakerClient, arn: str, endpoint_name: str) -> bool:
    """True when the thing was tagged as made for that endpoint."""
    return tags_of(sagemaker, arn).get(ENDPOINT_TAG) == endpoint_name


def settle(
    sagemaker: SageMakerClient,
    name: str,
    patience: Patience,
    *,
    on_status: OnStatus = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Found:
    """Wait until the endpoint is in none of the passing statuses; its description then, or None when it is gone."""
    status = "unknown, since AWS could not be asked"
    for endpoint in answers(lambda: find_endpoint(sagemaker, name), patience, sleep=sleep):
        status = endpoint["EndpointStatus"] if endpoint else "not there"
        on_status(status)
        if status not in SETTLING:
            return endpoint
    raise WaitTimedOutError(
        f"Endpoint {name} did not settle within {patience.longest_seconds:.0f} s; it is {status}. AWS goes on by itself:"
        " run the deployment again to look after it."
    )


def require_serving(endpoint: Found, desired: Desired) -> None:
    """Raises DeploymentFailedError unless the settled endpoint is InService with the wanted configuration."""
    if endpoint is None:
        raise DeploymentFailedError(f"Endpoint {desired.endpoint_name} was deleted while it was being deployed.")
    status, config = endpoint["EndpointStatus"], endpoint["EndpointConfigName"]
    if status == "InService" and config == desired.config_name:
        return
    reason = endpoint.get("FailureReason", "AWS gave no reason")
    after = f"; it still serves {config}" if status == "InService" else ""
    raise DeploymentFailedError(
        f"Endpoint {desired.endpoint_name} does not serve {desired.config_name}{after}: {reason}",
        blames_it=NO_MACHINES not in reason,
    )


def note_proof(sagemaker: SageMakerClient, desired: Desired) -> None:
    """The configuration has answered its smoke test: from now on it is one to go back to."""
    tag_config(sagemaker, desired.config_name, {PROOF_TAG: "proven"})


def tag_config(sagemaker: SageMakerClient, config_name: str, tags: Mapping[str, str]) -> None:
    """Add these to a configuration's tags."""
    arn = sagemaker.describe_endpoint_config(EndpointConfigName=config_name)["EndpointConfigArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=tag_list(tags))


def tag_list(tags: Mapping[str, str]) -> list[Any]:
    """As AWS takes them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def delete_endpoint(sagemaker: SageMakerClient, name: str, patience: Patience) -> None:
    """Delete it and see it gone; raises DeploymentFailedError when AWS keeps it. Nothing there is fine."""
    for _ in range(TRIES):
        endpoint = settle(sagemaker, name, patience)
        if endpoint is None:
            return
        try:
            sagemaker.delete_endpoint(EndpointName=name)
        except ClientError as error:
            # Gone meanwhile, or changing again: the next look tells. What is gone has no tags, and is denied where a policy asks for them.
            if code_of(error) != "ValidationException" and not (
                is_denied(error) and not find_endpoint(sagemaker, name)
            ):
                raise
    endpoint = settle(sagemaker, name, patience)
    if endpoint is not None:
        raise DeploymentFailedError(
            f"Endpoint {name} could not be deleted; it is {endpoint['EndpointStatus']} and goes on costing money."
        )


def delete(remove: Callable[[], Any], still_there: Callable[[], bool]) -> None:
    """Delete something; what is gone already is fine, a refusal is raised."""
    try:
        remove()
    except ClientError:
        if still_there():
            raise


def _found(describe: Callable[..., Any], **names: str) -> Found:
    try:
        found: Mapping[str, Any] = describe(**names)
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    return found
