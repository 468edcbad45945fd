"""Carrying out a plan, waiting for what it leads to, and undoing it. Every function is safe to repeat."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from trainmaster.aws.failures import is_missing
from trainmaster.aws.polling import Patience, answers
from trainmaster.endpoints.plan import REPLACES_TAG, SETTLING, Described, Desired, Step
from trainmaster.errors import DeploymentFailedError, WaitTimedOutError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

OnStatus = Callable[[str], None]


def describe_endpoint(sagemaker: SageMakerClient, desired: Desired) -> Described:
    """What AWS has of what is desired."""
    endpoint = find_endpoint(sagemaker, desired.endpoint_name)
    return Described(
        status=endpoint["EndpointStatus"] if endpoint else None,
        config_name=endpoint["EndpointConfigName"] if endpoint else None,
        has_model=_found(sagemaker.describe_model, ModelName=desired.model_name) is not None,
        has_config=_found(sagemaker.describe_endpoint_config, EndpointConfigName=desired.config_name) is not None,
    )


def find_endpoint(sagemaker: SageMakerClient, name: str) -> Mapping[str, Any] | None:
    """DescribeEndpoint's answer, or None when there is no such endpoint."""
    return _found(sagemaker.describe_endpoint, EndpointName=name)


def find_config(sagemaker: SageMakerClient, name: str) -> Mapping[str, Any] | None:
    """DescribeEndpointConfig's answer, or None when there is no such configuration."""
    return _found(sagemaker.describe_endpoint_config, EndpointConfigName=name)


def settle(
    sagemaker: SageMakerClient,
    name: str,
    patience: Patience,
    *,
    on_status: OnStatus = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Mapping[str, Any] | None:
    """Wait until the endpoint is in none of the passing statuses; its description then, or None when it is gone."""
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
    for step in steps:
        match step.kind:
            case "create-model":
                create_or_find(
                    sagemaker.create_model,
                    desired.model,
                    lambda: _found(sagemaker.describe_model, ModelName=desired.model_name),
                )
            case "create-config":
                create_or_find(
                    sagemaker.create_endpoint_config,
                    desired.config,
                    lambda: find_config(sagemaker, desired.config_name),
                )
            case "remember":
                config = sagemaker.describe_endpoint_config(EndpointConfigName=desired.config_name)
                sagemaker.add_tags(
                    ResourceArn=config["EndpointConfigArn"], Tags=[{"Key": REPLACES_TAG, "Value": step.name}]
                )
            case "delete-endpoint":
                delete_quietly(sagemaker.delete_endpoint, EndpointName=step.name)
                settle(sagemaker, step.name, patience)
            case "create-endpoint":
                request = {
                    "EndpointName": step.name,
                    "EndpointConfigName": desired.config_name,
                    "Tags": desired.config["Tags"],
                }
                create_or_find(
                    sagemaker.create_endpoint, request, lambda: find_endpoint(sagemaker, desired.endpoint_name)
                )
            case "update-endpoint":
                sagemaker.update_endpoint(EndpointName=step.name, EndpointConfigName=desired.config_name)


def require_serving(endpoint: Mapping[str, Any] | None, desired: Desired) -> None:
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


def undo_deployment(sagemaker: SageMakerClient, desired: Desired, patience: Patience) -> str:
    """Back to the configuration that served before, or to nothing where nothing did; then remove what was made for this.

    Returns a sentence that says what serves now. What served before is read off AWS, so a new process can undo too.
    """
    endpoint = settle(sagemaker, desired.endpoint_name, patience)
    previous = _replaced_config(sagemaker, desired.config_name)
    said = (
        f"Endpoint {desired.endpoint_name} still serves {endpoint['EndpointConfigName']}."
        if endpoint
        else "No endpoint was there before."
    )
    if endpoint and endpoint["EndpointConfigName"] == desired.config_name:
        if previous and endpoint["EndpointStatus"] == "InService" and find_config(sagemaker, previous):
            sagemaker.update_endpoint(EndpointName=desired.endpoint_name, EndpointConfigName=previous)
            settle(sagemaker, desired.endpoint_name, patience)
            said = f"Endpoint {desired.endpoint_name} is back on {previous}."
        else:
            delete_quietly(sagemaker.delete_endpoint, EndpointName=desired.endpoint_name)
            settle(sagemaker, desired.endpoint_name, patience)
            said = f"Endpoint {desired.endpoint_name} was removed again; none served before."
    _remove_unused(sagemaker, desired)
    return said


def _remove_unused(sagemaker: SageMakerClient, desired: Desired) -> None:
    endpoint = find_endpoint(sagemaker, desired.endpoint_name)
    serving = find_config(sagemaker, endpoint["EndpointConfigName"]) if endpoint else None
    if serving and serving["EndpointConfigName"] == desired.config_name:
        return
    delete_quietly(sagemaker.delete_endpoint_config, EndpointConfigName=desired.config_name)
    if serving is None or desired.model_name not in {variant["ModelName"] for variant in serving["ProductionVariants"]}:
        delete_quietly(sagemaker.delete_model, ModelName=desired.model_name)


def _replaced_config(sagemaker: SageMakerClient, config_name: str) -> str | None:
    config = find_config(sagemaker, config_name)
    if config is None:
        return None
    tags = sagemaker.list_tags(ResourceArn=config["EndpointConfigArn"])["Tags"]
    return next((tag["Value"] for tag in tags if tag["Key"] == REPLACES_TAG), None)


def _found(describe: Callable[..., Any], **names: str) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = describe(**names)
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    return found


def create_or_find(create: Callable[..., Any], request: dict[str, Any], find: Callable[[], Any]) -> None:
    """AWS says "exists" by different codes for different things; looking again tells it from a real refusal."""
    try:
        create(**request)
    except ClientError:
        if find() is None:
            raise


def delete_quietly(delete: Callable[..., Any], **names: str) -> None:
    """Delete by boto3 method and name; what is not there is fine."""
    try:
        delete(**names)
    except ClientError as error:
        if not is_missing(error):
            raise
