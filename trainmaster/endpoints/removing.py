"""Taking an endpoint away with all that was made for it, and nothing else. The artifacts in S3 stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel

from trainmaster.aws.polling import Patience
from trainmaster.endpoints.alarms import alarm_names, delete_alarms, described_alarms
from trainmaster.endpoints.deploying import (
    Found,
    delete,
    delete_endpoint,
    find_config,
    find_endpoint,
    find_model,
    is_ours,
)
from trainmaster.endpoints.described import Client
from trainmaster.endpoints.plan import CHALLENGER, ENDPOINT_TAG, REHEARSAL_SUFFIX, VARIANT
from trainmaster.endpoints.scaling import stop_scaling
from trainmaster.errors import NameConflictError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient


class Belongings(BaseModel):
    """What stands in AWS for an endpoint's name."""

    endpoint: str | None
    configs: list[str]
    models: list[str]
    alarms: list[str] = []
    rehearsal: str | None = None
    """The endpoint that a deployment tries a new version on: there while it does, or when it died."""

    def __str__(self) -> str:
        named = [f"endpoint {name}" for name in (self.endpoint, self.rehearsal) if name]
        named += [f"config {name}" for name in self.configs]
        named += [f"model {name}" for name in self.models] + [f"alarm {name}" for name in self.alarms]
        return ", ".join(named) or "nothing"


def belongings(client: Client, endpoint_name: str) -> Belongings:
    """The endpoint and its rehearsal, the configurations and models that were tagged as made for it, and its alarms.

    `client` makes the boto3 client of a service. Raises NameConflictError for an endpoint that Trainmaster did not make.
    """
    sagemaker, alarms = client("sagemaker"), alarm_names(endpoint_name, [VARIANT, CHALLENGER])
    endpoint = find_endpoint(sagemaker, endpoint_name)
    if endpoint and not is_ours(sagemaker, endpoint["EndpointArn"], endpoint_name):
        raise NameConflictError(
            f"Endpoint {endpoint_name} was not made by Trainmaster, which removes only its own. Remove it in the AWS console,"
            f" or hand it over by the tag {ENDPOINT_TAG}={endpoint_name}."
        )
    rehearsal = f"{endpoint_name}{REHEARSAL_SUFFIX}"
    tried = find_endpoint(sagemaker, rehearsal)
    return Belongings(
        endpoint=endpoint_name if endpoint else None,
        rehearsal=rehearsal if tried and is_ours(sagemaker, tried["EndpointArn"], rehearsal) else None,
        configs=[name for name, arn in _configs(sagemaker, endpoint_name) if is_ours(sagemaker, arn, endpoint_name)],
        models=[name for name, _ in tagged_models(sagemaker, endpoint_name)],
        alarms=sorted(alarm.name for alarm in described_alarms(client("cloudwatch"), alarms)),
    )


def remove(client: Client, found: Belongings, patience: Patience) -> None:
    """Delete them, the endpoints first, with their autoscaling: they are what costs money, and AWS forgets what one runs on without
    its configuration.

    Safe to repeat; what is gone already is fine. Raises DeploymentFailedError when AWS keeps the endpoint.
    """
    sagemaker = client("sagemaker")
    if found.endpoint:
        for variant in (VARIANT, CHALLENGER):
            stop_scaling(client("application-autoscaling"), found.endpoint, variant)
        delete_endpoint(sagemaker, found.endpoint, patience)
    if found.rehearsal:
        delete_endpoint(sagemaker, found.rehearsal, patience)
    delete_alarms(client("cloudwatch"), found.alarms)
    for config in found.configs:
        delete(
            lambda config=config: sagemaker.delete_endpoint_config(EndpointConfigName=config),  # type: ignore[misc]
            lambda config=config: find_config(sagemaker, config) is not None,  # type: ignore[misc]
        )
    for model in found.models:
        delete(
            lambda model=model: sagemaker.delete_model(ModelName=model),  # type: ignore[misc]
            lambda model=model: find_model(sagemaker, model) is not None,  # type: ignore[misc]
        )


def tagged_models(sagemaker: SageMakerClient, endpoint_name: str) -> Iterator[tuple[str, datetime]]:
    """The models made for an endpoint, and when each was made."""
    for page in sagemaker.get_paginator("list_models").paginate(NameContains=endpoint_name):
        for model in page["Models"]:
            if is_ours(sagemaker, model["ModelArn"], endpoint_name):
                yield model["ModelName"], model["CreationTime"]


def model_names(config: Found) -> set[str]:
    """Of all variants of a configuration; none where there is no such configuration."""
    given = [*(config or {}).get("ProductionVariants", []), *(config or {}).get("ShadowProductionVariants", [])]
    return {variant["ModelName"] for variant in given if "ModelName" in variant}


def _configs(sagemaker: SageMakerClient, endpoint_name: str) -> Iterator[tuple[str, str]]:
    for page in sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=endpoint_name):
        for config in page["EndpointConfigs"]:
            yield config["EndpointConfigName"], config["EndpointConfigArn"]
