"""Carrying out a plan and waiting for what it leads to. Every function is safe to repeat."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from trainmaster.aws.failures import code_of, is_missing
from trainmaster.aws.polling import Patience, answers
from trainmaster.endpoints.plan import (
    ENDPOINT_TAG,
    PROOF_TAG,
    REPLACES_TAG,
    SETTLING,
    Described,
    Desired,
    Step,
)
from trainmaster.errors import DeploymentFailedError, WaitTimedOutError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

OnStatus = Callable[[str], None]
Found = Mapping[str, Any] | None

TRIES = 5
"""For what AWS may refuse only because it has not yet seen what was just written, or is still changing."""


def describe_endpoint(sagemaker: SageMakerClient, desired: Desired) -> Described:
    """What AWS has of what is desired."""
    endpoint = find_endpoint(sagemaker, desired.endpoint_name)
    return Described(
        status=endpoint["EndpointStatus"] if endpoint else None,
        config_name=endpoint["EndpointConfigName"] if endpoint else None,
        has_model=_found(sagemaker.describe_model, ModelName=desired.model_name) is not None,
        has_config=find_config(sagemaker, desired.config_name) is not None,
        ours=endpoint is None or is_ours(sagemaker, endpoint["EndpointArn"], desired.endpoint_name),
    )


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
        status = endpoint["EndpointStatus"] if endpoint else "gone"
        on_status(status)
        if status not in SETTLING:
            return endpoint
    raise WaitTimedOutError(
        f"Endpoint {name} did not settle within {patience.longest_seconds:.0f} s; it is {status}. AWS goes on by itself:"
        " run the deployment again to look after it."
    )


def apply_plan(sagemaker: SageMakerClient, desired: Desired, steps: list[Step], patience: Patience) -> None:
    """Carry out the steps in order. What another run of the same plan did already counts as done."""
    endpoint, config = desired.endpoint_name, desired.config_name
    for step in steps:
        match step.kind:
            case "create-model":
                _create(
                    lambda: sagemaker.create_model(**desired.model),
                    lambda: find_model(sagemaker, desired.model_name) is not None,
                    patience,
                )
            case "create-config":
                _create(
                    lambda: sagemaker.create_endpoint_config(**desired.config),
                    lambda: find_config(sagemaker, config) is not None,
                    patience,
                )
            case "remember":
                _remember(sagemaker, config, step.name)
            case "delete-endpoint":
                delete_endpoint(sagemaker, endpoint, patience)
            case "create-endpoint":
                tags = desired.config["Tags"]
                _create(
                    lambda tags=tags: sagemaker.create_endpoint(  # type: ignore[misc]
                        EndpointName=endpoint, EndpointConfigName=config, Tags=tags
                    ),
                    lambda: find_endpoint(sagemaker, endpoint) is not None,
                    patience,
                )
            case "update-endpoint":
                _create(
                    lambda: sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config),
                    lambda: (
                        (found := find_endpoint(sagemaker, endpoint)) is not None
                        and (found["EndpointStatus"] in SETTLING or found["EndpointConfigName"] == config)
                    ),
                    patience,
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
        f"Endpoint {desired.endpoint_name} does not serve {desired.config_name}{after}: {reason}"
    )


def note_proof(sagemaker: SageMakerClient, desired: Desired) -> None:
    """The configuration has answered its smoke test: from now on it is one to go back to."""
    arn = sagemaker.describe_endpoint_config(EndpointConfigName=desired.config_name)["EndpointConfigArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": PROOF_TAG, "Value": "proven"}])


def delete_endpoint(sagemaker: SageMakerClient, name: str, patience: Patience) -> None:
    """Delete it and see it gone; raises DeploymentFailedError when AWS keeps it. Nothing there is fine."""
    for _ in range(TRIES):
        endpoint = settle(sagemaker, name, patience)
        if endpoint is None:
            return
        try:
            sagemaker.delete_endpoint(EndpointName=name)
        except ClientError as error:
            if code_of(error) != "ValidationException":  # gone meanwhile, or changing again: the next look tells
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


def _remember(sagemaker: SageMakerClient, config_name: str, replaced: str) -> None:
    arn = sagemaker.describe_endpoint_config(EndpointConfigName=config_name)["EndpointConfigArn"]
    proof = "new" if tags_of(sagemaker, arn).get(PROOF_TAG, "new") == "new" else "again"
    tags = {REPLACES_TAG: replaced, PROOF_TAG: proof}
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": key, "Value": value} for key, value in tags.items()])


def _found(describe: Callable[..., Any], **names: str) -> Found:
    try:
        found: Mapping[str, Any] = describe(**names)
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    return found


def _create(create: Callable[[], Any], done: Callable[[], bool], patience: Patience) -> None:
    """Do it, unless a look shows that it was done: by another run, or by a call whose answer was lost.

    AWS may not see yet what was written a moment ago and refuse by ValidationException: that is tried a few times.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            create()
        except ClientError as error:
            if done():
                return
            if code_of(error) != "ValidationException" or not tries_left:
                raise
            time.sleep(min(patience.poll_seconds, 5.0))
        else:
            _await(done, patience)
            return


def _await(done: Callable[[], bool], patience: Patience) -> None:
    """What was just created may not be seen for a moment; a minute later it is somebody else's doing."""
    pause = Patience(min(patience.poll_seconds, 2.0), patience.outage_seconds, 60.0)
    for seen in answers(done, pause):
        if seen:
            return
